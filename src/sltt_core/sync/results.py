"""The typed results of a client of the REST API."""

from __future__ import annotations

from typing import Any

from sltt_core.base.json_reader import Reader
from sltt_core.base.record import Record
from sltt_core.log.pages import ChangeStats, Head
from sltt_core.model.changes import Change
from sltt_core.model.fields import FIELDS, STORED_OPERATIONS
from sltt_core.sync.errors import ForeignResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sltt_core.sync.documents import RemoteResponse


class AppendResult(Record):
    """The result of an append."""

    seqs: tuple[int, ...]
    """The sequence number of each change, in the order of the batch."""
    replayed: bool
    """Whether nothing was written because the batch was already stored under the same key."""
    timestamp: str
    """The server's time: ISO 8601, UTC."""


class RemotePage(Record):
    """A contiguous run of changes of one project."""

    changes: tuple[Change, ...]
    through: int
    """The last sequence number examined: the next cursor."""
    chain: str | None
    """The link at `through`; `None` only if the cursor is beyond the end of the log."""
    cursor: int | None
    """`through` if the log has more changes now, else `None`."""
    waited: float
    """Seconds that the server waited for a change."""
    max_wait: float
    """The longest time that the server waits, in seconds; 0 if it never does."""
    timestamp: str
    """The server's time: ISO 8601, UTC."""


class Heads(Record):
    """The ends of the logs that moved."""

    heads: Mapping[str, Head]
    """The end of each log that has more changes than the caller knew, by project."""
    diverged: tuple[str, ...]
    """The projects whose log ends before the number that the caller knew, or ends there with another link."""
    refused: tuple[str, ...]
    """The projects that do not exist, or that the sender may not read."""
    waited: float
    """Seconds that the server waited for a change."""
    max_wait: float
    """The longest time that the server waits, in seconds; 0 if it never does."""
    timestamp: str
    """The server's time: ISO 8601, UTC."""


class RemoteStats(Record):
    """The counts of a log."""

    changes: ChangeStats
    entity_types: Mapping[str, int]
    """The number of changes of each entity type."""
    head: Head
    """The end of the log."""
    storage_type: str
    timestamp: str
    """The server's time: ISO 8601, UTC."""


class RemoteMember(Record):
    """A member of a project."""

    principal: str
    role: str
    since: int
    """The number of the change that granted the role."""


class Me(Record):
    """Who the sender of a request is."""

    principal: str | None
    """`None` for an anonymous sender."""
    admin: bool


class Health(Record):
    """The state of a server."""

    status: str
    server: str
    """The name of the server."""
    storage_type: str
    timestamp: str
    """The server's time: ISO 8601, UTC."""


_WIRE = tuple(field.wire for field in FIELDS)
_KNOWN = frozenset(filter(None, _WIRE))


def _kinds() -> frozenset[tuple[type, ...]]:
    """Return the types that the values of a change may have, in the order of `FIELDS`."""
    found: list[tuple[type, ...]] = [()]
    for field in FIELDS:
        kind = int if field.type == "integer" else str
        allowed = (type(None),) if not field.wire else (kind, type(None)) if field.optional else (kind,)
        found = [(*kinds, one) for kinds in found for one in allowed]
    return frozenset(found)


_KINDS = _kinds()


def change_of(members: Mapping[str, Any]) -> Change:
    """Return the change of its members in JSON, with the text of `data`; raises `ValueError`."""
    values = tuple([members.get(name) for name in _WIRE])
    if tuple(map(type, values)) not in _KINDS or not _KNOWN.issuperset(members):
        raise ValueError("a change lacks a field, or has one of another type")
    change = Change.of(values)
    if change.seq < 1 or change.operation not in STORED_OPERATIONS or change.data_json[:1] != "{":
        raise ValueError("a change has a field with a value that no change has")
    return change


def read_change(text: str) -> Change:
    """Return the change of a JSON text whose `data` is an object, with its text verbatim; raises `ValueError`."""
    reader = Reader(text)
    change = _read(reader)
    reader.finish()
    return change


def _read(reader: Reader) -> Change:
    members: dict[str, Any] = {}
    for name in reader.members():
        start = reader.at
        value = reader.value()
        members[name] = reader.text[start : reader.at] if name == "data" and type(value) is dict else value
    return change_of(members)


def changes_of(response: RemoteResponse, listed: Sequence[Any]) -> tuple[Change, ...]:
    """Return the changes of a page; `listed` are its parsed members `changes`. Raises `ForeignResponse`.

    With `data=text`, each `data` is a string already. Otherwise the page is read again, slowly, to keep the texts.
    """
    try:
        if all(type(one) is dict and type(one.get("data")) is str for one in listed):
            return tuple([change_of(one) for one in listed])
        reader = Reader(response.body.decode())
        for name in reader.members():
            if name == "changes":
                return tuple([_read(reader) for _ in reader.elements()])
            reader.skip()
    except ValueError as error:
        raise ForeignResponse(
            f"the page of {response.path[:80]} is not of this API: {error}", status=response.status
        ) from None
    raise ForeignResponse(f"the page of {response.path[:80]} has no changes", status=response.status)
