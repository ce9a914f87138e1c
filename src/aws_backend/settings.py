"""Settings: opens the storage that the environment names, or `dynamodb:TABLE` on the command line."""

from __future__ import annotations

import os

from aws_backend.dynamodb.client import AWS_SUFFIXES
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
    """Return a storage on a table. `field` is the name that errors use for the table name.

    It is local if USE_LOCAL_DYNAMODB is true, or if that is not set and DYNAMODB_ENDPOINT names a host that is not
    AWS's. The rule for table names: AWS, "Supported data types and naming rules in Amazon DynamoDB".
    """
    if not (3 <= len(name) <= 255) or name.strip(_TABLE_CHARS):
        hint = "Table names are 3–255 characters of A–Z a–z 0–9 _ . -"
        # A URL, an ARN, or the name of a storage in the variable.
        meant = name.rstrip("/").rpartition("/")[2].removeprefix("dynamodb:")
        if meant != name and meant and not meant.strip(_TABLE_CHARS):
            hint = f"Did you mean {'dynamodb:' if field == 'storage' else ''}{meant}? {hint}"
        raise InvalidInput(f"{field}: table name {name!r} is not valid", field=field, hint=hint)
    local = _flag(environ, "USE_LOCAL_DYNAMODB")
    name_of_url, endpoint = _endpoint(environ, bool(local))
    if endpoint:
        try:
            host = parse_origin(endpoint).host
        except ValueError as error:
            raise InvalidInput(
                f"{name_of_url}: {error}", field=name_of_url, hint=f"An example is {LOCAL_ENDPOINT}."
            ) from None
        on_aws = host.endswith(AWS_SUFFIXES)
        if local and on_aws:
            raise InvalidInput(
                f"{name_of_url} names a DynamoDB on AWS, but USE_LOCAL_DYNAMODB is true",
                field=name_of_url,
                hint="Unset one of them.",
            )
        if local is None:
            local = not on_aws
    for variant in ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT") if endpoint or local else ():
        if _flag(environ, variant):
            raise InvalidInput(
                f"{variant} is true, but {name_of_url or 'USE_LOCAL_DYNAMODB'} defines the endpoint",
                field=variant,
                hint="Unset one of them.",
            )
    return DynamoDBStorageService(
        name,
        project_id,
        region=environ.get("DYNAMODB_REGION", "").strip() or None,
        use_local_dynamodb=bool(local),
        local_endpoint=endpoint or LOCAL_ENDPOINT,
        endpoint=None if local else endpoint or None,
        write_region=environ.get("DYNAMODB_WRITE_REGION", "").strip() or None,
        **options,
    )


def _endpoint(environ: Mapping[str, str], local: bool) -> tuple[str, str]:
    """Return the name and the value of the variable that defines the endpoint; both are empty without one.

    AWS's own variables are for a `local` DynamoDB here; otherwise `aws_backend.dynamodb.connections` reads them.
    """
    for name in ("DYNAMODB_ENDPOINT", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL")[: 3 if local else 1]:
        url = environ.get(name, "").strip()
        if url:
            return name, url
    return "", ""


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
