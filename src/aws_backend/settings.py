"""Settings: opens the storage that the environment names, or `dynamodb:TABLE` on the command line."""

from __future__ import annotations

import os

from aws_backend.storage import LOCAL_ENDPOINT, DynamoDBStorageService
from sltt_core.base.errors import InvalidInput
from sltt_core.http_client.transport import parse_origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")


def storage_from_environment(
    environ: Mapping[str, str] = os.environ, project_id: str | None = None, **options: Any
) -> DynamoDBStorageService:
    """Return the storage that DYNAMODB_TABLE and the related variables name. It is not initialized.

    `options` are passed to `DynamoDBStorageService`. Raises `InvalidInput`, with the name of the variable, for one that
    is missing or not valid.
    """
    name = environ.get("DYNAMODB_TABLE", "").strip()
    if not name:
        raise InvalidInput("DYNAMODB_TABLE is not set", field="DYNAMODB_TABLE", hint="Set it to the name of the table.")
    return _open(name, "DYNAMODB_TABLE", project_id, environ, options)


def open_dynamodb(
    name: str, project_id: str | None = None, environ: Mapping[str, str] = os.environ
) -> DynamoDBStorageService:
    """Return the storage that `dynamodb:TABLE` names. Region and endpoint come from the environment.

    Raises `InvalidInput` for a table name or a variable that is not valid.
    """
    return _open(name, "storage", project_id, environ, {})


def _open(
    name: str, field: str, project_id: str | None, environ: Mapping[str, str], options: Mapping[str, Any]
) -> DynamoDBStorageService:
    """Return a storage on a table. It is local if USE_LOCAL_DYNAMODB is true, or DYNAMODB_ENDPOINT is set.

    `field` is the name that errors use for the table name. The rule for table names: AWS, "Supported data types and
    naming rules in Amazon DynamoDB".
    """
    if not (3 <= len(name) <= 255) or name.strip(_TABLE_CHARS):
        raise InvalidInput(
            f"{field}: table name {name!r} is not valid",
            field=field,
            hint="Table names are 3–255 characters of A–Z a–z 0–9 _ . -",
        )
    local = _flag(environ, "USE_LOCAL_DYNAMODB")
    endpoint = environ.get("DYNAMODB_ENDPOINT", "").strip()
    if endpoint:
        try:
            host = parse_origin(endpoint).host
        except ValueError as error:
            raise InvalidInput(
                f"DYNAMODB_ENDPOINT: {error}", field="DYNAMODB_ENDPOINT", hint=f"An example is {LOCAL_ENDPOINT}."
            ) from None
        if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            raise InvalidInput(
                "DYNAMODB_ENDPOINT is for a local DynamoDB, but names one on AWS",
                field="DYNAMODB_ENDPOINT",
                hint="Unset it, and set DYNAMODB_REGION.",
            )
        if local is None:
            local = True
        elif not local:
            raise InvalidInput(
                "DYNAMODB_ENDPOINT names a local DynamoDB, but USE_LOCAL_DYNAMODB is false",
                field="DYNAMODB_ENDPOINT",
                hint="Unset one of them.",
            )
    return DynamoDBStorageService(
        name,
        project_id,
        region=environ.get("DYNAMODB_REGION", "").strip() or None,
        use_local_dynamodb=bool(local),
        local_endpoint=endpoint or LOCAL_ENDPOINT,
        **options,
    )


_TABLE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"


def _flag(environ: Mapping[str, str], name: str) -> bool | None:
    value = environ.get(name, "")
    text = value.strip().lower()
    if not text:
        return None
    if text not in _TRUE + _FALSE:
        raise InvalidInput(
            f"{name} is {value!r}, neither true nor false", field=name, hint="Set it to true, or unset it."
        )
    return text in _TRUE
