"""The table itself: how it is made on a local DynamoDB, and how one sees that it is the right one."""

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
"""How long a table may take to become active."""
READY_PAUSE = 0.05
LOCAL_SECONDS = 3.0
"""How long a local DynamoDB may take to be reached."""
USABLE = ("ACTIVE", "UPDATING")
"""What a table can be written and read in (AWS: TableDescription, `TableStatus`)."""


def definition(name: str) -> dict[str, Any]:
    """Return what `CreateTable` takes to make a table for logs."""
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
    """See that the table is there, and has the keys of this project; raises `StorageError` or `NotALog`."""
    try:
        found = _describe(table)
    except TableNotFound as error:
        raise StorageError(
            f"there is no table {table.name} in {region}",
            hint=f"Look at its name, and at DYNAMODB_REGION. {_NEVER_MADE}",
        ) from error
    except CredentialError as error:
        raise StorageError("no AWS credentials that work", hint=f"{CredentialError.hint} {LOCAL_HINT}") from error
    except TransportError as error:
        raise StorageError(
            f"DynamoDB in {region} cannot be reached", hint="Look at DYNAMODB_REGION (or AWS_REGION) and the network."
        ) from error
    if found["TableStatus"] not in USABLE:
        raise StorageError(
            f"the table {table.name} is not ready: it is {found['TableStatus']}", hint="Try again when it is ACTIVE."
        )
    _check_keys(table.name, found)


_NEVER_MADE = "On AWS a table is never made by this program: docs/table.md shows the command."


def create(table: LogTable) -> None:
    """Make the table when it is missing, and wait until it is active; for a local DynamoDB.

    Raises `StorageError` when none answers, or the table does not become active, and `NotALog`.
    """
    endpoint = table.client.endpoint
    try:
        table.client.warm(LOCAL_SECONDS)  # it is there at once or not at all: no use in trying again
        found = _made(table)
    except TransportError as error:
        raise StorageError(
            f"no DynamoDB answers at {endpoint}",
            hint="`make dynamodb` starts one at http://localhost:8000; DYNAMODB_ENDPOINT names another.",
        ) from error
    except AccessDenied as error:
        raise StorageError(
            f"{endpoint} wants real credentials",
            hint="DYNAMODB_ENDPOINT and USE_LOCAL_DYNAMODB are for a local DynamoDB; for AWS, set neither.",
        ) from error
    except DynamoDBError as error:
        raise StorageError(
            f"what answers at {endpoint} does not answer as DynamoDB does: {error.code}",
            hint="Look at DYNAMODB_ENDPOINT.",
        ) from error
    _check_keys(table.name, found)


def _made(table: LogTable) -> dict[str, Any]:
    """Return the description of the table, once it is active."""
    try:
        found = _describe(table)
    except TableNotFound:
        try:
            table.client.call("CreateTable", definition(table.name))
        except TableInUse:
            pass  # another process was faster
        found = _describe(table)
    deadline = table.runtime.steady_clock() + READY_SECONDS
    while found["TableStatus"] != "ACTIVE":
        if table.runtime.steady_clock() >= deadline:
            raise StorageError(f"the table {table.name} does not become active: it is {found['TableStatus']}")
        table.runtime.pause(READY_PAUSE)
        found = _describe(table)
    return found


def _describe(table: LogTable) -> dict[str, Any]:
    found: dict[str, Any] = table.client.call("DescribeTable", {"TableName": table.name})["Table"]
    return found


def _check_keys(name: str, found: Mapping[str, Any]) -> None:
    types = {entry["AttributeName"]: entry["AttributeType"] for entry in found["AttributeDefinitions"]}
    if _keys(found) != KEYS or any(types[key] != TYPES[key] for key in KEYS):
        said = ", ".join(f"{key} ({types[key]})" for key in _keys(found))
        raise NotALog(
            f"the table {name} has the key {said}; a table of logs has pk (S) and seq (N)",
            hint="Name another table; this one was not altered.",
        )
    indexes = {index["IndexName"]: index for index in found.get("GlobalSecondaryIndexes") or ()}
    if INDEX not in indexes or _keys(indexes[INDEX]) != INDEX_KEYS:
        raise NotALog(
            f"the table {name} has no index {INDEX!r} with the key registry, projectId",
            hint="A table of the original backend has none. docs/table.md shows the command that adds it.",
        )


def _keys(found: Mapping[str, Any]) -> dict[str, str]:
    return {entry["AttributeName"]: entry["KeyType"] for entry in found["KeySchema"]}
