"""Builds the transaction that appends to a log, and reads the reasons if DynamoDB cancels it. Pure functions.

One `TransactWriteItems` (AWS: "DynamoDB transactions: how it works") carries out all of these actions or none:

1. update the sequence item, if it is as expected,
2. put a request item for each member, if it does not exist,
3. put the changes, if they do not exist,
4. where there is a grant among them: put the access item, if it is as expected, and member items.
"""

from __future__ import annotations

from aws_backend.dynamodb.errors import THROTTLING
from aws_backend.log.access_items import access_item, member_item
from aws_backend.log.items import (
    NO_LOG,
    LogEnd,
    Request,
    advanced,
    carried,
    change_item,
    log_end_of,
    log_end_values,
    registry_values,
    request_item,
    request_key,
    request_of,
    sequence_key,
)
from aws_backend.log.rules import FORMAT
from sltt_core.base.errors import LogDamaged
from sltt_core.base.record import Record
from sltt_core.log.batches import Chunk, number_changes
from sltt_core.log.pages import Head
from sltt_core.model.grants import MEMBER, NO_MEMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aws_backend.dynamodb.errors import TransactionCanceled
    from aws_backend.log.items import Item
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change
    from sltt_core.model.grants import Members

    Action = dict[str, Any]

MAX_ACTIONS = 100
"""Largest number of actions in a transaction (AWS: TransactWriteItems, "up to 100 action requests")."""

GRANT_ACTIONS = 3
"""Number of actions of a grant: its change, the access item and a member item."""


class Member(Record):
    """A chunk in a transaction, which it may share with other chunks of its project."""

    chunk: Chunk
    key: str
    """The caller's idempotency key; a random one if there is none."""
    expires: int
    """When its request item may be deleted, in seconds since 1970."""


class Built(Record):
    """A transaction, and its effect if it is carried out."""

    actions: Sequence[Action]
    token: str
    before: LogEnd
    after: LogEnd
    changes: Sequence[tuple[Change, ...]]
    """The changes of each member."""


def build(table: str, members: Sequence[Member], before: LogEnd, now: str, token: str) -> Built:
    """Build the transaction that appends the members' changes after `before`, at the time `now` (ISO 8601)."""
    project_id = members[0].chunk.project_id
    head = before.head
    requests: list[Action] = []
    stored: list[Change] = []
    changes: list[tuple[Change, ...]] = []
    for member in members:
        chunk = member.chunk
        written = number_changes(chunk, head, now)
        numbered = written[chunk.grants :]
        request = Request(numbered[0].seq, len(numbered), chunk.offset, chunk.fingerprint, token, now, member.expires)
        requests.append(put_request(table, project_id, member.key, chunk.number, request))
        stored += written
        changes.append(numbered)
        head = Head(numbered[-1].seq, numbered[-1].chain)
    # The changes of callers are no grants. Only the first change of a log can be one here.
    memberships = grant(table, NO_MEMBERS, stored) if stored[0].entity_type == MEMBER else []
    after = advanced(before, stored)
    puts = [put_change(table, change) for change in stored]
    actions = [advance(table, project_id, before, after), *requests, *puts, *memberships]
    return Built(actions, token, before, after, changes)


def build_verbatim(
    table: str,
    changes: Sequence[Change],
    requests: Sequence[NamedRequest],
    before: LogEnd,
    members: Members,
    token: str,
) -> Built:
    """Build the transaction that appends changes after `before` verbatim, and puts the items of their requests.

    `members` are those before the changes.
    """
    project_id = changes[0].project_id
    after = advanced(before, changes)
    actions = [advance(table, project_id, before, after), *[put_change(table, change) for change in changes]]
    for request in requests:  # the item is there if the log ended in the middle of the chunk
        key = request_key(project_id, request.key, request.number)
        actions.append({"Put": {"TableName": table, "Item": request_item(key, carried(request, token))}})
    return Built([*actions, *grant(table, members, changes)], token, before, after, [tuple(changes)])


# The actions of a transaction: each is a conditional put or update of one item (AWS: TransactWriteItems). Attribute
# names that may be reserved words are replaced by placeholders.


def put_change(table: str, change: Change) -> Action:
    """Return the action that puts a change, if its number is free."""
    return put_item(table, change_item(change))


def put_item(table: str, item: Mapping[str, Any]) -> Action:
    """Return the action that puts an item, if there is none with its key."""
    return {"Put": _put(table, item)}


def update_item(table: str, key: Item, sets: Mapping[str, Any], expected: Mapping[str, Any]) -> Action:
    """Return the action that updates an item as `update` does."""
    return {"Update": update(table, key, sets, expected)}


def put_request(table: str, project_id: str, key: str, number: int, request: Request) -> Action:
    """Return the action that puts a request item, if it does not exist; a refusal contains the existing item."""
    put = _put(table, request_item(request_key(project_id, key, number), request))
    return {"Put": put | {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}}


def _put(table: str, item: Mapping[str, Any]) -> Action:
    return {"TableName": table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}


def advance(table: str, project_id: str, before: LogEnd, after: LogEnd) -> Action:
    """Return the action that sets the sequence item to `after`, if it is `before`; a refusal contains the true item."""
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


def grant(table: str, before: Members, changes: Sequence[Change]) -> list[Action]:
    """Return the actions that change the members of a project as the grants among these changes say.

    They are refused if the members are not `before` any more.
    """
    after = before.after(changes)
    if after == before:
        return []
    project_id = changes[0].project_id
    absent = "" if before.roles else "attribute_not_exists(pk) OR "  # or repaired: without a member
    put = {
        "TableName": table,
        "Item": access_item(project_id, after),
        "ConditionExpression": f"{absent}#version = :version",
        "ExpressionAttributeNames": {"#version": "version"},
        "ExpressionAttributeValues": {":version": {"N": str(before.version)}},
    }
    actions: list[Action] = [{"Put": put}]
    for principal, member in after.roles.items():
        if member.since > before.version:
            actions.append({"Put": {"TableName": table, "Item": member_item(project_id, principal, member.role)}})
    return actions


def update(table: str, key: Item, sets: Mapping[str, Any], expected: Mapping[str, Any]) -> Action:
    """Return an update that sets attributes, if others are as `expected`: a value, or `None` for absent."""
    condition = expectation(expected)
    values = {f":{name}": value for name, value in sets.items()} | condition.get("ExpressionAttributeValues", {})
    return {
        "TableName": table,
        "Key": key,
        "UpdateExpression": "SET " + ", ".join([f"#{name} = :{name}" for name in sets]),
        "ConditionExpression": condition["ConditionExpression"],
        "ExpressionAttributeNames": {f"#{name}": name for name in (*sets, *expected)},
        "ExpressionAttributeValues": values,
    }


def expectation(expected: Mapping[str, Any]) -> dict[str, Any]:
    """Return the condition, with its names and values, that attributes are as `expected`, like in `update`."""
    conditions = [
        f"attribute_not_exists(#{name})" if value is None else f"#{name} = :was_{name}"
        for name, value in expected.items()
    ]
    values = {f":was_{name}": value for name, value in expected.items() if value is not None}
    return {
        "ConditionExpression": " AND ".join(conditions),
        "ExpressionAttributeNames": {f"#{name}": name for name in expected},
        **({"ExpressionAttributeValues": values} if values else {}),  # DynamoDB refuses an empty map
    }


# The reasons of a cancelled transaction.


class Refusal(Record):
    """Why DynamoDB cancelled a transaction."""

    replays: Mapping[int, Request]
    """The stored requests of members that were written before, by the index of the member."""
    end: LogEnd | None
    """The true end of the log, if it differs from the expected one."""
    conflict: bool
    """Whether another transaction held one of the items."""
    throttled: bool
    """Whether the table was throttled."""
    occupied: int | None
    """A number after the recorded end of the log that already has a change."""


def read_reasons(reasons: Sequence[Mapping[str, Any]], built: Built, members: Sequence[Member]) -> Refusal | None:
    """Read the reasons of a `TransactionCanceledException`; `None` if another attempt cannot help.

    Raises the errors of `log_end_of` and `request_of`, and `LogDamaged` if the access item contradicts the log.
    """
    project_id = members[0].chunk.project_id
    codes = [reason.get("Code") for reason in reasons]
    failed = [place for place, code in enumerate(codes) if code == "ConditionalCheckFailed"]
    first_change = 1 + len(members)
    end = None
    replays: dict[int, Request] = {}
    occupied = None
    for place in failed:
        item = reasons[place].get("Item")
        if place == 0:
            end = log_end_of(item, project_id) if item else NO_LOG
        elif place < first_change:
            if item:
                replays[place - 1] = request_of(item)
        elif place >= first_change + built.after.value - built.before.value:
            if failed[0] != 0:
                raise LogDamaged(f"the access item of project {project_id} has members that its log does not have")
        elif occupied is None:
            occupied = built.before.value + place - first_change
    conflict = "TransactionConflict" in codes
    throttled = any(code in THROTTLING for code in codes)
    if not failed and not conflict and not throttled:
        return None
    return Refusal(replays, end, conflict, throttled, occupied)


def check_verbatim(error: TransactionCanceled, built: Built) -> None:
    """Raise `LogDamaged` if the refusal of what `build_verbatim` built shows damage, so that no other attempt can help.

    Further actions may follow those that were built.
    """
    if error.codes != {"ConditionalCheckFailed"}:
        return
    failed = [reason.get("Code") is not None and reason["Code"] != "None" for reason in error.reasons]
    changes = built.changes[0]
    project_id = changes[0].project_id
    if failed[0]:
        item = error.reasons[0].get("Item")
        if item and log_end_of(item, project_id) == built.before:
            raise fails_itself(project_id)
    elif any(failed[1 : 1 + len(changes)]):
        raise occupied(project_id, built.before.value + failed.index(True) - 1, built.before.value)
    elif any(failed[: len(built.actions)]):
        raise LogDamaged(f"the access item of project {project_id} has a version that is not the one of its members")


def fails_itself(project_id: str) -> LogDamaged:
    """Return the error for a sequence item that fails a condition on the values that it has."""
    return LogDamaged(f"the sequence item of project {project_id} is not valid: it fails a condition on its own values")


def occupied(project_id: str, seq: int, value: int) -> LogDamaged:
    """Return the error for a change that is there although the sequence item has `value` as the next number."""
    return LogDamaged(
        f"change {seq} of project {project_id} already exists, but the sequence item has {value} as the next number; "
        "nothing was written"
    )
