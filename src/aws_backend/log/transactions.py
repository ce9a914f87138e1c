"""The transaction that appends to a log: built, and read again when it was refused. Pure.

One `TransactWriteItems` (AWS: "DynamoDB transactions: how it works") does all of it or nothing:

1. it carries the sequence item on, on condition that it is as expected,
2. puts a request item for each member, on condition that there is none,
3. puts the changes, on condition that there are none.
"""

from __future__ import annotations

from aws_backend.dynamodb.errors import THROTTLING, Throttled
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

    from sltt_core.model.changes import Change

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

    payload: Mapping[str, Any]
    token: str
    before: LogEnd
    after: LogEnd
    changes: Sequence[tuple[Change, ...]]
    """Of each member."""


def build(table: str, members: Sequence[Member], before: LogEnd, now: str, token: str) -> Built:
    """Make the transaction that appends the members' changes after `before`, at the time `now`."""
    project_id = members[0].chunk.project_id
    head = before.head
    requests: list[dict[str, Any]] = []
    puts: list[dict[str, Any]] = []
    changes: list[tuple[Change, ...]] = []
    for member in members:
        numbered = number_changes(member.chunk, head, now)
        chunk = member.chunk
        request = Request(head.seq + 1, len(numbered), chunk.offset, chunk.fingerprint, token, now, member.expires)
        requests.append(_put(table, request_item(request_key(project_id, member.key, chunk.number), request), True))
        puts += [_put(table, change_item(change), False) for change in numbered]
        changes.append(numbered)
        head = Head(numbered[-1].seq, numbered[-1].chain)
    after = advanced(before, [change for numbered in changes for change in numbered])
    update = {"Update": sequence_update(table, project_id, before, after)}
    payload = {"TransactItems": [update, *requests, *puts], "ClientRequestToken": token}
    return Built(payload, token, before, after, changes)


def build_restore(table: str, changes: Sequence[Change], before: LogEnd, token: str) -> Built:
    """Make the transaction that puts changes after `before` just as they are."""
    after = advanced(before, changes)
    update = {"Update": sequence_update(table, changes[0].project_id, before, after)}
    puts = [_put(table, change_item(change), False) for change in changes]
    payload = {"TransactItems": [update, *puts], "ClientRequestToken": token}
    return Built(payload, token, before, after, [tuple(changes)])


def sequence_update(table: str, project_id: str, before: LogEnd, after: LogEnd) -> dict[str, Any]:
    """Make the update that carries the sequence item on, if it is still what it was before."""
    values = log_end_values(after)
    if not before.exists:
        values |= registry_values(project_id)
        condition, expected = "attribute_not_exists(pk)", {}
    else:
        condition = "#value = :was AND #chain = :link AND #format = :format AND "
        condition += "#repairs = :repairs" if before.repairs else "attribute_not_exists(#repairs)"
        expected = {
            ":was": {"N": str(before.value)},
            ":link": {"S": before.chain},
            ":format": {"N": str(FORMAT)},
        }
        if before.repairs:
            expected[":repairs"] = {"N": str(before.repairs)}
    used = (*values, "format", "repairs") if before.exists else (*values,)
    return {
        "TableName": table,
        "Key": sequence_key(project_id),
        "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
        "ConditionExpression": condition,
        "ExpressionAttributeNames": {f"#{name}": name for name in used},
        "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()} | expected,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }


def _put(table: str, item: dict[str, Any], returned: bool) -> dict[str, Any]:
    put = {"TableName": table, "Item": item, "ConditionExpression": "attribute_not_exists(pk)"}
    if returned:
        put["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
    return {"Put": put}


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


def throttled_error() -> Throttled:
    """Make the error for a transaction that was refused for want of capacity until the time was up."""
    error = Throttled("more was written to the table than it may take just now")
    error.code = "ThrottlingError"
    return error
