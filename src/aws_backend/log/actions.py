"""The actions of a transaction: each a put or an update of one item, with its condition. Pure.

AWS: "TransactWriteItems". A condition's attribute names are always placeholders, because some are reserved words.
"""

from __future__ import annotations

from aws_backend.log.items import (
    FORMAT,
    change_item,
    log_end_values,
    registry_values,
    request_item,
    request_key,
    sequence_key,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from aws_backend.log.items import Item, LogEnd, Request
    from sltt_core.model.changes import Change

    Action = dict[str, Any]


def put_change(table: str, change: Change) -> Action:
    """Put a change, on condition that its number is free."""
    return {"Put": _put(table, change_item(change))}


def put_request(table: str, project_id: str, key: str, number: int, request: Request) -> Action:
    """Put a request item, on condition that there is none; a refusal returns the one that is there."""
    put = _put(table, request_item(request_key(project_id, key, number), request))
    return {"Put": put | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}}


def _put(table: str, item: Mapping[str, Any]) -> Action:
    return {"TableName": table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}


def advance(table: str, project_id: str, before: LogEnd, after: LogEnd) -> Action:
    """Set the sequence item to `after`, on condition that it is still `before`; a refusal returns the true one."""
    sets = log_end_values(after)
    if not before.exists:
        action = update(table, sequence_key(project_id), sets | registry_values(project_id), {"pk": None})
    else:
        expected = {
            "value": {"N": str(before.value)},
            "chain": {"S": before.chain},
            "format": {"N": str(FORMAT)},
            "repairs": {"N": str(before.repairs)} if before.repairs else None,
        }
        action = update(table, sequence_key(project_id), sets, expected)
    return {"Update": action | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}}


def update(table: str, key: Item, sets: Mapping[str, Any], expected: Mapping[str, Any]) -> Action:
    """Make an update that sets attributes if others are as `expected`: a value, or `None` for absent."""
    conditions = [
        f"attribute_not_exists(#{name})" if value is None else f"#{name} = :was_{name}"
        for name, value in expected.items()
    ]
    values = {f":{name}": value for name, value in sets.items()}
    values |= {f":was_{name}": value for name, value in expected.items() if value is not None}
    return {
        "TableName": table,
        "Key": key,
        "UpdateExpression": "SET " + ", ".join([f"#{name} = :{name}" for name in sets]),
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": {f"#{name}": name for name in (*sets, *expected)},
        "ExpressionAttributeValues": values,
    }
