"""The schema of the table: `create` creates a missing table on a local DynamoDB, `check` checks one on AWS."""

from __future__ import annotations

from aws_backend.dynamodb.credentials import CredentialError
from aws_backend.dynamodb.errors import AccessDenied, DynamoDBError, NotDynamoDB, TableInUse, TableNotFound
from aws_backend.dynamodb.responses import check_response
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


def check(table: LogTable, region: str, write_region: str | None = None) -> None:
    """Check that the table exists, is ready, and has the right keys and index.

    A global table is refused unless `write_region`, the only region in which it is written, is this `region`.

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
    except NotDynamoDB as error:
        raise StorageError(
            f"the response at {table.client.endpoint} is not DynamoDB's", hint="Check the endpoint and the proxy."
        ) from error
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
    _check_replicas(table.name, found, region, write_region)
    status = _index_status(found)
    if status not in USABLE:
        raise StorageError(
            f"the index {INDEX} of table {table.name} is not ready: its status is {status}",
            hint="Try again when it is ACTIVE; until then the list of projects is not complete.",
        )


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
    except NotDynamoDB as error:
        raise StorageError(
            f"DynamoDB does not respond at {endpoint}: the server does not respond as DynamoDB: {error.code}",
            hint="Check DYNAMODB_ENDPOINT.",
        ) from error
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
    while found["TableStatus"] != "ACTIVE" or _index_status(found) not in USABLE:
        if table.runtime.steady_clock() >= deadline:
            status = found["TableStatus"]
            if status == "ACTIVE":
                status = f"ACTIVE, and its index {INDEX} is {_index_status(found)}"
            raise StorageError(f"table {table.name} does not become active: its status is {status}")
        table.runtime.pause(READY_PAUSE)
        found = _describe(table)
    return found


def _describe(table: LogTable) -> dict[str, Any]:
    response = table.client.call("DescribeTable", {"TableName": table.name})
    check_response("DescribeTable", response, has_table)
    found: dict[str, Any] = response["Table"]
    return found


def has_table(response: Mapping[str, Any]) -> bool:
    """Check the response to DescribeTable: the table, its indexes and its replicas."""
    table = response["Table"]
    indexes, replicas = table.get("GlobalSecondaryIndexes") or [], table.get("Replicas") or []
    schemas = [*table["KeySchema"], *(entry for index in indexes for entry in index["KeySchema"])]
    texts = [table["TableStatus"]]
    texts += [entry[name] for entry in table["AttributeDefinitions"] for name in ("AttributeName", "AttributeType")]
    texts += [entry[name] for entry in schemas for name in ("AttributeName", "KeyType")]
    texts += [index["IndexName"] for index in indexes]
    texts += [index.get("IndexStatus", "") for index in indexes]
    texts += [replica["RegionName"] for replica in replicas]
    lists = [indexes, replicas, table["KeySchema"], table["AttributeDefinitions"]]
    lists += [index["KeySchema"] for index in indexes]
    return set(map(type, texts)) == {str} and set(map(type, lists)) == {list}


def _index_status(found: Mapping[str, Any]) -> str:
    """Return the status of the index of projects (AWS: GlobalSecondaryIndexDescription, `IndexStatus`).

    An index that is missing counts as active: it is an error of its own.
    """
    for index in found.get("GlobalSecondaryIndexes") or ():
        if index["IndexName"] == INDEX:
            return "CREATING" if index.get("Backfilling") else str(index.get("IndexStatus") or "ACTIVE")
    return "ACTIVE"


def _check_replicas(name: str, found: Mapping[str, Any], region: str, write_region: str | None) -> None:
    """Refuse a global table that other regions may write: DynamoDB then lets the last writer win, and loses changes.

    AWS, "How DynamoDB global tables work": transactions hold in one region only, and not at all with strong consistency
    between regions.
    """
    others = sorted({replica["RegionName"] for replica in found.get("Replicas") or ()} - {region})
    if not others:
        return
    if found.get("MultiRegionConsistency") == "STRONG":
        raise StorageError(
            f"the table {name} is a global table with strong consistency, which has no transactions",
            hint="Use a table in one region, or a global table with eventual consistency.",
        )
    if write_region != region:
        raise StorageError(
            f"the table {name} is a global table, with replicas in {', '.join(others)}",
            hint=f"If {region} is the only region that writes to it, set DYNAMODB_WRITE_REGION={region}.",
        )


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
