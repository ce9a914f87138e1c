"""The schema of the table: `create` creates a missing table on a local DynamoDB, `check` checks one on AWS."""

from __future__ import annotations

from aws_backend.dynamodb.credentials import CredentialError
from aws_backend.dynamodb.errors import AccessDenied, DynamoDBError, TableInUse, TableNotFound
from aws_backend.log.table import INDEX, LOCAL_HINT
from sltt_core.base.errors import NotALog, StorageError
from sltt_core.http_client.transport import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aws_backend.log.table import LogTable

KEYS = {"pk": "HASH", "seq": "RANGE"}
INDEX_KEYS = {"registry": "HASH", "projectId": "RANGE"}
TYPES = {"pk": "S", "seq": "N", "registry": "S", "projectId": "S"}
READY_SECONDS = 60.0
"""How long a table may take to become active, in seconds."""
READY_PAUSE = 0.05
"""Seconds between two reads of the table's status."""
LOCAL_SECONDS = 3.0
"""Time limit for the connection to a local DynamoDB, in seconds."""
USABLE = ("ACTIVE", "UPDATING")
"""States in which a table can be read and written (AWS: TableDescription, `TableStatus`)."""


def definition(name: str) -> dict[str, Any]:
    """Return the parameters of `CreateTable` for a table of logs."""
    return {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, kind in TYPES.items()],
        "KeySchema": _schema(KEYS),
        "GlobalSecondaryIndexes": [
            {"IndexName": INDEX, "KeySchema": _schema(INDEX_KEYS), "Projection": {"ProjectionType": "KEYS_ONLY"}}
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }


def _schema(keys: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()]


def check(table: LogTable, region: str) -> None:
    """Check that the table exists, is ready, and has the right keys and index.

    Raises `StorageError` if it does not exist, is not ready or cannot be reached, and `NotALog` for other keys.
    """
    try:
        found = _describe(table)
    except TableNotFound as error:
        raise StorageError(
            f"table {table.name} does not exist in {region}",
            hint=f"Check the table name and DYNAMODB_REGION. {_NEVER_CREATED}",
        ) from error
    except CredentialError as error:
        raise StorageError("no valid AWS credentials found", hint=f"{CredentialError.hint} {LOCAL_HINT}") from error
    except TransportError as error:
        raise StorageError(
            f"DynamoDB in {region} cannot be reached", hint="Check DYNAMODB_REGION (or AWS_REGION) and the network."
        ) from error
    if found["TableStatus"] not in USABLE:
        raise StorageError(
            f"table {table.name} is not ready: its status is {found['TableStatus']}",
            hint="Try again when it is ACTIVE.",
        )
    _check_keys(table.name, found)


_NEVER_CREATED = "This program does not create tables on AWS; docs/table.md shows the command."


def create(table: LogTable) -> None:
    """Create the table on a local DynamoDB if it is missing, and wait until it is active.

    Raises `StorageError` if the endpoint does not respond as DynamoDB, or if the table does not become active, and
    `NotALog` if the table has other keys.
    """
    endpoint = table.client.endpoint
    try:
        table.client.warm(LOCAL_SECONDS)  # a local endpoint responds at once or not at all: no retries
        found = _ensure(table)
    except TransportError as error:
        raise StorageError(
            f"DynamoDB does not respond at {endpoint}",
            hint="Run `make dynamodb` to start it at http://localhost:8000, or set DYNAMODB_ENDPOINT.",
        ) from error
    except AccessDenied as error:
        raise StorageError(
            f"{endpoint} requires real credentials",
            hint="Set DYNAMODB_ENDPOINT and USE_LOCAL_DYNAMODB for a local DynamoDB only, not for AWS.",
        ) from error
    except DynamoDBError as error:
        raise StorageError(
            f"the server at {endpoint} does not respond as DynamoDB: {error.code}",
            hint="Check DYNAMODB_ENDPOINT.",
        ) from error
    _check_keys(table.name, found)


def _ensure(table: LogTable) -> dict[str, Any]:
    """Create the table if it is missing; return its description when it is active."""
    try:
        found = _describe(table)
    except TableNotFound:
        try:
            table.client.call("CreateTable", definition(table.name))
        except TableInUse:
            pass  # another process created it
        found = _describe(table)
    deadline = table.runtime.steady_clock() + READY_SECONDS
    while found["TableStatus"] != "ACTIVE":
        if table.runtime.steady_clock() >= deadline:
            raise StorageError(f"table {table.name} does not become active: its status is {found['TableStatus']}")
        table.runtime.pause(READY_PAUSE)
        found = _describe(table)
    return found


def _describe(table: LogTable) -> dict[str, Any]:
    found: dict[str, Any] = table.client.call("DescribeTable", {"TableName": table.name})["Table"]
    return found


def _check_keys(name: str, found: Mapping[str, Any]) -> None:
    types = {entry["AttributeName"]: entry["AttributeType"] for entry in found["AttributeDefinitions"]}
    if _keys(found) != KEYS or any(types[key] != TYPES[key] for key in KEYS):
        key_text = ", ".join(f"{key} ({types[key]})" for key in _keys(found))
        raise NotALog(
            f"table {name} has the key {key_text}; a table of logs has pk (S) and seq (N)",
            hint="Use another table. This one was not altered.",
        )
    indexes = {index["IndexName"]: index for index in found.get("GlobalSecondaryIndexes") or ()}
    if INDEX not in indexes or _keys(indexes[INDEX]) != INDEX_KEYS:
        raise NotALog(
            f"table {name} has no index {INDEX!r} with the key registry, projectId",
            hint="Add the index; docs/table.md shows the command. A table of the original backend does not have it.",
        )


def _keys(found: Mapping[str, Any]) -> dict[str, str]:
    return {entry["AttributeName"]: entry["KeyType"] for entry in found["KeySchema"]}
