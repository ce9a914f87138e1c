"""What stands in the table: the keys, and a change, a sequence and a request as DynamoDB's items.

    item       pk                          seq          what it is
    change     <projectId>                 1, 2, 3, …   one change of a log
    sequence   SEQUENCE#<projectId>        0            the end of a log, and its counts
    request    REQUEST#<projectId>#<key>   0, 1, 2, …   what one chunk of a batch wrote under an idempotency key

`#` separates the parts of a key, and no project id holds one: so no project reaches another's items. `docs/table.md`
tells the schema to users. The types of the values are DynamoDB's: `{"S": text}`, `{"N": digits}`, `{"M": map}`.
"""

from __future__ import annotations

from sltt_core.base.errors import NotALog
from sltt_core.base.json_reader import quote
from sltt_core.base.record import Record
from sltt_core.log.batches import StoredChunk
from sltt_core.log.pages import ChangeStats, Head
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import Change
from sltt_core.model.fields import FIELDS, OPERATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    Item = Mapping[str, Any]

FORMAT = 1
"""The format of a log that this program reads and writes, on its sequence item."""
REGISTRY = "projects"
"""Where every sequence item stands in the index: its partition key there."""

_REQUIRED = tuple(field.attribute for field in FIELDS if not field.optional)
"""The attributes that every change has, its key among them."""
_REQUIRED_COUNT = len(_REQUIRED)


def change_key(project_id: str, seq: int) -> dict[str, Any]:
    """Return the key of a change."""
    return {"pk": {"S": project_id}, "seq": {"N": str(seq)}}


def sequence_key(project_id: str) -> dict[str, Any]:
    """Return the key of a project's sequence item."""
    return {"pk": {"S": f"SEQUENCE#{project_id}"}, "seq": {"N": "0"}}


def request_key(project_id: str, key: str, number: int) -> dict[str, Any]:
    """Return the key of the request item of a chunk, by the batch's idempotency key and the chunk's number."""
    return {"pk": {"S": f"REQUEST#{project_id}#{key}"}, "seq": {"N": str(number)}}


def change_item(change: Change) -> dict[str, Any]:
    """Write a change as its item."""
    project, seq, kind, entity, operation, timestamp, cloud_at, data, outdated_by, cid, change_by, chain = (
        change.as_tuple()
    )
    item = {
        "pk": {"S": project},
        "seq": {"N": str(seq)},
        "entityType": {"S": kind},
        "entityId": {"S": entity},
        "operation": {"S": operation},
        "timestamp": {"S": timestamp},
        "cloudAt": {"S": cloud_at},
        "dataJson": {"S": data},
        "chain": {"S": chain},
    }
    if outdated_by is not None:
        item["outdatedBy"] = {"N": str(outdated_by)}
    if cid is not None:
        item["cid"] = {"S": cid}
    if change_by is not None:
        item["changeBy"] = {"S": change_by}
    return item


def change_of(item: Item) -> Change:
    """Read a change from its item; raises `NotALog` when it is not one of this format."""
    try:
        return Change.of(
            (
                item["pk"]["S"],
                int(item["seq"]["N"]),
                item["entityType"]["S"],
                item["entityId"]["S"],
                item["operation"]["S"],
                item["timestamp"]["S"],
                item["cloudAt"]["S"],
                item["dataJson"]["S"],
                int(item["outdatedBy"]["N"]) if "outdatedBy" in item else None,
                item["cid"]["S"] if "cid" in item else None,
                item["changeBy"]["S"] if "changeBy" in item else None,
                item["chain"]["S"],
            )
        )
    except (KeyError, TypeError, ValueError):
        raise _not_a_change(item) from None


def _not_a_change(item: Item) -> NotALog:
    project, seq = item["pk"].get("S"), item["seq"].get("N")
    missing = [name for name in _REQUIRED if name not in item]
    reason = f"it has no {', '.join(missing)}" if missing else "an attribute is of another type"
    return NotALog(f"change {seq} of project {project} is not of this format: {reason}", hint=REPAIR_HINT)


REPAIR_HINT = (
    "Stop everything else that writes to this project, see what verify(project_id) finds, and repair it with repair()."
)
"""The way out of a log that was written by the original backend, or by hand."""
DAMAGED_HINT = "See what verify(project_id) finds, and repair it with repair()."


class StoredChanges:
    """A run of changes as DynamoDB gave it: read as `Change` when one is looked at, and written without that.

    A page that goes straight into an answer costs a fifth more than the parsing of DynamoDB's reply this way.
    """

    __slots__ = ("_changes", "_items")

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._changes: tuple[Change, ...] | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """All of them, read."""
        if self._changes is None:
            self._changes = tuple(map(change_of, self._items))
        return self._changes

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __getitem__(self, place: Any) -> Any:
        if self._changes is None and type(place) is int:  # a page asks for its last change, and for no other
            return change_of(self._items[place])
        return self.changes[place]

    def __eq__(self, other: object) -> bool:
        return self.changes == (other.changes if isinstance(other, StoredChanges) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.changes)

    def marks(self) -> list[tuple[int, int]]:
        """Return the number of each change that a later one made obsolete, and the later one's."""
        return [(int(item["seq"]["N"]), int(item["outdatedBy"]["N"])) for item in self._items if "outdatedBy" in item]

    def to_json(self) -> str:
        """Write them as the API sends them, with commas between; what `Change.to_json` gives for each."""
        parts: list[str] = []
        add = parts.append
        # A query is of one partition.
        before = f'{{"projectId":"{self._items[0]["pk"]["S"]}","seq":' if self._items else ""
        try:
            for item in self._items:
                optional = "" if len(item) == _REQUIRED_COUNT else _optional_json(item)
                add(
                    f"{before}{item['seq']['N']}"
                    f',"entityType":"{item["entityType"]["S"]}","entityId":{quote(item["entityId"]["S"])}'
                    f',"operation":"{item["operation"]["S"]}","timestamp":"{item["timestamp"]["S"]}"'
                    f',"cloudAt":"{item["cloudAt"]["S"]}","data":{item["dataJson"]["S"]}'
                    f'{optional},"chain":"{item["chain"]["S"]}"}}'
                )
        except (KeyError, TypeError):
            return ",".join([change.to_json() for change in self.changes])  # raises what is wrong, and with which
        return ",".join(parts)


def _optional_json(item: Item) -> str:
    text = f',"outdatedBy":{item["outdatedBy"]["N"]}' if "outdatedBy" in item else ""
    if "cid" in item:
        text += f',"cid":{quote(item["cid"]["S"])}'
    if "changeBy" in item:
        text += f',"changeBy":{quote(item["changeBy"]["S"])}'
    return text


class LogEnd(Record):
    """A project's sequence item: the end of its log, and what is counted of it."""

    value: int
    """The next sequence number to assign."""
    chain: str
    """The link of the last change."""
    creates: int
    updates: int
    deletes: int
    entity_types: Mapping[str, int]
    """How many changes there are of each entity type."""
    repairs: int
    """How often a repair changed this item: an append that knew it before is refused and looks again."""
    exists: bool
    """Whether the item is in the table; it comes with the first change."""

    @property
    def head(self) -> Head:
        """The last sequence number and its link."""
        return Head(self.value - 1, self.chain)

    @property
    def stats(self) -> ChangeStats:
        """The counts by operation."""
        return ChangeStats(self.value - 1, self.creates, self.updates, self.deletes)


NO_LOG = LogEnd(1, GENESIS, 0, 0, 0, {}, 0, False)
"""The end of a log that does not exist yet."""


class Counts:
    """What a sequence item counts: changes by operation and by entity type."""

    __slots__ = ("operations", "types")

    def __init__(self, operations: Mapping[str, int], types: Mapping[str, int]) -> None:
        self.operations = dict(operations)
        self.types = dict(types)

    def add(self, change: Change) -> None:
        """Count a change."""
        self.operations[change.operation] = self.operations.get(change.operation, 0) + 1
        self.types[change.entity_type] = self.types.get(change.entity_type, 0) + 1

    def copy(self) -> Counts:
        """Return a copy that counts by itself."""
        return Counts(self.operations, self.types)

    def end(self, seq: int, chain: str, repairs: int) -> LogEnd:
        """Return the log's end that these counts belong to."""
        creates, updates, deletes = (self.operations.get(name, 0) for name in OPERATIONS)
        return LogEnd(seq + 1, chain, creates, updates, deletes, dict(self.types), repairs, True)


def advanced(end: LogEnd, changes: Sequence[Change]) -> LogEnd:
    """Return the log's end after these changes were appended to it."""
    counts = Counts({"create": end.creates, "update": end.updates, "delete": end.deletes}, end.entity_types)
    for change in changes:
        counts.add(change)
    return counts.end(changes[-1].seq, changes[-1].chain, end.repairs)


def log_end_of(item: Item | None, project_id: str) -> LogEnd:
    """Read a sequence item; `None` is a log that does not exist yet.

    Raises `NotALog` for the original's, which has no `format`, and for a newer one.
    """
    if item is None:
        return NO_LOG
    if "format" not in item:
        raise NotALog(f"the log of project {project_id} was written by the original backend", hint=REPAIR_HINT)
    found = item["format"].get("N")
    if found != str(FORMAT):
        raise NotALog(
            f"the log of project {project_id} has the format {found}; this program knows {FORMAT}",
            hint="Use the program that wrote it, or a newer one; nothing was altered.",
        )
    try:
        return LogEnd(
            int(item["value"]["N"]),
            item["chain"]["S"],
            int(item["creates"]["N"]),
            int(item["updates"]["N"]),
            int(item["deletes"]["N"]),
            {name: int(count["N"]) for name, count in item["entityTypes"]["M"].items()},
            int(item["repairs"]["N"]) if "repairs" in item else 0,
            True,
        )
    except (KeyError, ValueError):
        raise NotALog(f"the sequence item of project {project_id} is not whole", hint=REPAIR_HINT) from None


def log_end_values(end: LogEnd) -> dict[str, Any]:
    """Return the attributes of a sequence item that an append writes."""
    return {
        "value": {"N": str(end.value)},
        "chain": {"S": end.chain},
        "creates": {"N": str(end.creates)},
        "updates": {"N": str(end.updates)},
        "deletes": {"N": str(end.deletes)},
        "entityTypes": {"M": {name: {"N": str(count)} for name, count in end.entity_types.items()}},
    }


def registry_values(project_id: str) -> dict[str, Any]:
    """Return the attributes of a sequence item that never change: its format, and its place in the index."""
    return {"format": {"N": str(FORMAT)}, "registry": {"S": REGISTRY}, "projectId": {"S": project_id}}


class Request(Record):
    """A request item: what one chunk wrote."""

    first_seq: int
    count: int
    offset: int
    """How many changes of the project's part of the batch came before."""
    fingerprint: str
    """Of the whole batch."""
    token: str
    """Of the transaction that wrote it: so a writer knows its own work again."""
    created_at: str
    """ISO 8601, UTC."""
    expires: int
    """Seconds since 1970, for DynamoDB's time to live."""

    @property
    def stored(self) -> StoredChunk:
        """What a replay answers."""
        return StoredChunk(self.first_seq, self.count, self.fingerprint, None, self.offset)


def request_item(key: Item, request: Request) -> dict[str, Any]:
    """Write a request as the item of the given key."""
    return {
        **key,
        "firstSeq": {"N": str(request.first_seq)},
        "count": {"N": str(request.count)},
        "offset": {"N": str(request.offset)},
        "fingerprint": {"S": request.fingerprint},
        "token": {"S": request.token},
        "createdAt": {"S": request.created_at},
        "expires": {"N": str(request.expires)},
    }


def request_of(item: Item) -> Request:
    """Read a request item."""
    return Request(
        int(item["firstSeq"]["N"]),
        int(item["count"]["N"]),
        int(item["offset"]["N"]),
        item["fingerprint"]["S"],
        item["token"]["S"],
        item["createdAt"]["S"],
        int(item["expires"]["N"]),
    )
