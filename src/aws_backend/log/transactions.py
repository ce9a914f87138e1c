"""The transaction that appends to a log: built, and read again when it was refused. Pure.

One `TransactWriteItems` (AWS: "DynamoDB transactions: how it works") does all of it or nothing:

1. it carries the sequence item on, on condition that it is as expected,
2. puts a request item for each member, on condition that there is none,
3. puts the changes, on condition that there are none.
"""

from __future__ import annotations

from aws_backend.dynamodb.errors import THROTTLING
from aws_backend.log.items import (
    FORMAT,
    NO_LOG,
    LogEnd,
    Request,
    advanced,
    change_item,
    log_end_of,
    log_end_values,
    registry_values,
    request_item,
    request_key,
    request_of,
    sequence_key,
)
from sltt_core.base.record import Record
from sltt_core.log.batches import Chunk, number_changes
from sltt_core.log.pages import Head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aws_backend.log.items import Item
    from sltt_core.model.changes import Change

    Action = dict[str, Any]

MAX_ACTIONS = 100
"""Actions of one transaction (AWS: TransactWriteItems, "up to 100 action requests")."""


class Member(Record):
    """A chunk that shares a transaction with others of its project."""

    chunk: Chunk
    key: str
    """The caller's idempotency key, or a random one: there is one path for both."""
    expires: int
    """When its request item may go, in seconds since 1970."""


class Built(Record):
    """A transaction, and what it does if it is carried out."""

    actions: Sequence[Action]
    token: str
    before: LogEnd
    after: LogEnd
    changes: Sequence[tuple[Change, ...]]
    """Of each member."""


def build(table: str, members: Sequence[Member], before: LogEnd, now: str, token: str) -> Built:
    """Make the transaction that appends the members' changes after `before`, at the time `now`."""
    project_id = members[0].chunk.project_id
    head = before.head
    requests: list[Action] = []
    puts: list[Action] = []
    changes: list[tuple[Change, ...]] = []
    for member in members:
        chunk = member.chunk
        numbered = number_changes(chunk, head, now)
        request = Request(head.seq + 1, len(numbered), chunk.offset, chunk.fingerprint, token, now, member.expires)
        requests.append(put_request(table, project_id, member.key, chunk.number, request))
        puts += [put_change(table, change) for change in numbered]
        changes.append(numbered)
        head = Head(numbered[-1].seq, numbered[-1].chain)
    after = advanced(before, [change for numbered in changes for change in numbered])
    return Built([advance(table, project_id, before, after), *requests, *puts], token, before, after, changes)


def build_restore(table: str, changes: Sequence[Change], before: LogEnd, token: str) -> Built:
    """Make the transaction that puts changes after `before` just as they are."""
    after = advanced(before, changes)
    actions = [advance(table, changes[0].project_id, before, after), *[put_change(table, change) for change in changes]]
    return Built(actions, token, before, after, [tuple(changes)])


# The actions of a transaction: each a put or an update of one item, with its condition (AWS: TransactWriteItems). A
# condition's attribute names are placeholders where they may be reserved words.


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


# What a refused transaction says.


class Refusal(Record):
    """Why a transaction was refused."""

    replays: Mapping[int, Request]
    """Members, by their place, whose requests are stored already."""
    end: LogEnd | None
    """The true end of the log, when it is not the expected one."""
    conflict: bool
    """Whether another transaction held an item."""
    throttled: bool
    """Whether there was more to do than the table may."""
    occupied: int | None
    """A number that has a change although the sequence item says that it is the next, or comes after."""


def read_reasons(reasons: Sequence[Mapping[str, Any]], built: Built, members: Sequence[Member]) -> Refusal | None:
    """Read the reasons of a `TransactionCanceledException`; `None` when they say nothing that helps.

    Raises `NotALog` when the sequence item is not of this format.
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
        elif occupied is None:
            occupied = built.before.value + place - first_change
    conflict = "TransactionConflict" in codes
    throttled = any(code in THROTTLING for code in codes)
    if not failed and not conflict and not throttled:
        return None
    return Refusal(replays, end, conflict, throttled, occupied)
