"""Reads and conditional writes that only `verify` and `repair` need. No request of the API uses them."""

from __future__ import annotations

from aws_backend.dynamodb.errors import ConditionFailed
from aws_backend.log.access_items import access_item, access_key, member_item
from aws_backend.log.items import carried, log_end_values, registry_values, request_key, sequence_key
from aws_backend.log.transactions import expectation, put_request, update

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from aws_backend.log.items import Item, LogEnd
    from aws_backend.log.table import LogTable
    from aws_backend.log.transactions import Action
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.grants import Members

PAGE_CHANGES = 1000
"""Largest number of items that one call reads."""


def all_items_after(table: LogTable, project_id: str, seq: int, last: int | None = None) -> Iterator[Item]:
    """Yield the items of a log after number `seq`, up to `last` if given, in order, by strongly consistent reads."""
    values = {":pk": {"S": project_id}, ":from": {"N": str(seq + 1)}}
    condition = "pk = :pk AND seq >= :from"
    if last is not None:
        condition = "pk = :pk AND seq BETWEEN :from AND :to"
        values[":to"] = {"N": str(last)}
    payload: dict[str, Any] = {
        "KeyConditionExpression": condition,
        "ExpressionAttributeValues": values,
        "ConsistentRead": True,
        "Limit": PAGE_CHANGES,
    }
    for items in table.pages("Query", payload, None):
        yield from items


def items_before_the_first(table: LogTable, project_id: str) -> Iterator[Item]:
    """Yield the items of a log whose number is less than 1: no change has one."""
    payload: dict[str, Any] = {
        "KeyConditionExpression": "pk = :pk AND seq < :one",
        "ExpressionAttributeValues": {":pk": {"S": project_id}, ":one": {"N": "1"}},
        "ConsistentRead": True,
    }
    for items in table.pages("Query", payload, None):
        yield from items


def request_and_member_items(table: LogTable, project_id: str) -> Iterator[Item]:
    """Yield the request items and the member items of a project. This scans the whole table."""
    payload: dict[str, Any] = {
        "FilterExpression": "begins_with(pk, :requests) OR begins_with(pk, :members)",
        "ExpressionAttributeValues": {
            ":requests": {"S": f"REQUEST#{project_id}#"},
            ":members": {"S": f"MEMBER#{project_id}#"},
        },
        "ConsistentRead": True,
    }
    for items in table.pages("Scan", payload, None):
        yield from items


def delete_request(table: LogTable, item: Item) -> bool:
    """Delete a request item if it has not changed since it was read; return whether it was deleted."""
    expected = {name: item.get(name) for name in ("firstSeq", "createdAt", "token")}
    payload = {"Key": {"pk": item["pk"], "seq": item["seq"]}, **expectation(expected)}
    return _succeeds(table, "DeleteItem", payload)


def has_request(table: LogTable, project_id: str, key: str, number: int) -> bool:
    """Return whether a chunk has a request item, whatever it contains, by a strong read."""
    payload = {"Key": request_key(project_id, key, number), "ConsistentRead": True}
    return "Item" in table.call("GetItem", payload, table.deadline())


def put_named_request(table: LogTable, project_id: str, named: NamedRequest) -> bool:
    """Put the item of a request that a change names, if there is none; return whether it was put."""
    request = carried(named, table.runtime.new_token())
    payload = put_request(table.name, project_id, named.key, named.number, request)["Put"]
    return _succeeds(table, "PutItem", {**payload, "ReturnValuesOnConditionCheckFailure": "NONE"})


def access_action(table: str, project_id: str, members: Members) -> Action:
    """Return the action that puts the access item, whatever is there."""
    return {"Put": {"TableName": table, "Item": access_item(project_id, members)}}


def member_actions(table: str, project_id: str, members: Members, principals: Sequence[str]) -> list[Action]:
    """Return the actions that put the member items of some principals, if the access item has these members."""
    version = {"version": {"N": str(members.version)}}
    puts = [
        {"Put": {"TableName": table, "Item": member_item(project_id, principal, members.roles[principal].role)}}
        for principal in principals
    ]
    return [{"Update": update(table, access_key(project_id), version, version)}, *puts]


def delete_action(table: str, item: Item) -> Action:
    """Return the action that deletes an item, whatever it contains."""
    return {"Delete": {"TableName": table, "Key": {"pk": item["pk"], "seq": item["seq"]}}}


def note_relinking(table: LogTable, project_id: str, found: Item | None, first: int) -> bool:
    """Set `relinking` on the sequence item to `first`: links change from there on.

    Returns whether that was done: only if `relinking` still is as in the item `found`.
    """
    action = update(
        table.name, sequence_key(project_id), {"relinking": {"N": str(first)}}, {"relinking": _of(found, "relinking")}
    )
    del action["TableName"]
    return _succeeds(table, "UpdateItem", action)


def _succeeds(table: LogTable, operation: str, payload: Mapping[str, Any]) -> bool:
    try:
        table.call(operation, payload, table.deadline(), repeatable=True)
    except ConditionFailed:
        return False
    return True


def repair_sequence(table: str, project_id: str, found: Item | None, after: LogEnd) -> Action:
    """Return the action that sets the sequence item to `after` and removes `relinking`, if it still is as `found`."""
    sets = {**log_end_values(after), **registry_values(project_id), "repairs": {"N": str(after.repairs)}}
    expected = {name: _of(found, name) for name in ("value", "chain", "format", "repairs")}
    action = update(table, sequence_key(project_id), sets, expected)
    action["UpdateExpression"] += " REMOVE relinking"
    return {"Update": action}


def _of(item: Item | None, name: str) -> Any:
    return None if item is None else item.get(name)


def relink(table: str, item: Item, chain: str, missing: Mapping[str, Any]) -> Action:
    """Return the action that sets a change's link and its missing attributes, if its link still is as in `item`."""
    sets = {"chain": {"S": chain}, **missing}
    action = update(table, {"pk": item["pk"], "seq": item["seq"]}, sets, {"chain": item.get("chain")})
    action["ConditionExpression"] += " AND attribute_exists(pk)"
    return {"Update": action}
