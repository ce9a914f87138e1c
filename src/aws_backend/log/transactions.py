"""The transaction that appends to a log: built, and read again when it was refused. Pure.

One `TransactWriteItems` (AWS: "DynamoDB transactions: how it works") does all of it or nothing:

1. it carries the sequence item on, on condition that it is as expected,
2. puts a request item for each member, on condition that there is none,
3. puts the changes, on condition that there are none.
"""

from __future__ import annotations

from aws_backend.dynamodb.errors import THROTTLING
from aws_backend.log.actions import advance, put_change, put_request
from aws_backend.log.items import NO_LOG, LogEnd, Request, advanced, log_end_of, request_of
from sltt_core.base.record import Record
from sltt_core.log.batches import Chunk, number_changes
from sltt_core.log.pages import Head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aws_backend.log.actions import Action
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
