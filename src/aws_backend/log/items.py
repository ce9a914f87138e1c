"""The items of the table: their keys, and conversion of changes, log ends and requests from and to items.

    item       pk                          seq          content
    change     <projectId>                 1, 2, 3, …   one change of a log
    sequence   SEQUENCE#<projectId>        0            the end of a log, and its counts
    request    REQUEST#<projectId>#<key>   0, 1, 2, …   what one chunk of a batch wrote under an idempotency key

`#` separates the parts of a key. Project ids cannot contain it, so the keys of two projects never collide.
`docs/table.md` documents the schema for users. Values have DynamoDB's types: `{"S": text}`, `{"N": digits}`,
`{"M": map}`.
"""

from __future__ import annotations

from aws_backend.log.rules import END_RULES, FORMAT, REQUEST_RULES, whole
from sltt_core.base.errors import LogDamaged, NotALog, StorageError
from sltt_core.base.record import Record
from sltt_core.log.batches import StoredChunk
from sltt_core.log.pages import ChangeStats, Head
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import Change
from sltt_core.model.fields import FIELDS, OPERATIONS
from sltt_core.model.stored import sound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.fields import Field

    Item = Mapping[str, Any]

REGISTRY = "projects"
"""The partition key of every sequence item in the index."""

NAMES = {field.name: field.attribute for field in FIELDS}
"""The attribute of each field of a change."""
_REQUIRED = tuple(field.attribute for field in FIELDS if not field.optional)
"""The attributes that every change has, its key among them."""


def change_key(project_id: str, seq: int) -> dict[str, Any]:
    """Return the key of a change."""
    return {"pk": {"S": project_id}, "seq": {"N": str(seq)}}


def sequence_key(project_id: str) -> dict[str, Any]:
    """Return the key of a project's sequence item."""
    return {"pk": {"S": f"SEQUENCE#{project_id}"}, "seq": {"N": "0"}}


def request_key(project_id: str, key: str, number: int) -> dict[str, Any]:
    """Return the key of a chunk's request item: from the idempotency key of its batch and the number of the chunk."""
    return {"pk": {"S": f"REQUEST#{project_id}#{key}"}, "seq": {"N": str(number)}}


def change_item(change: Change) -> dict[str, Any]:
    """Return the item of a change."""
    project, seq, kind, entity, operation, timestamp, cloud_at, data, outdated_by, cid, change_by, chain, name = (
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
    if name is not None:
        item["requestKey"] = {"S": name}
    return item


def change_of(item: Item) -> Change:
    """Return the change of an item.

    Raises `LogDamaged` for an item that breaks a rule of this format, and `NotALog` for one of the original backend.
    """
    try:
        change = Change.of(
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
                item["requestKey"]["S"] if "requestKey" in item else None,
            )
        )
    except (KeyError, TypeError, ValueError):
        raise _not_a_change(item) from None
    return sound(change, NAMES)


def _not_a_change(item: Item) -> StorageError:
    where = f"change {item['seq'].get('N')} of project {item['pk'].get('S')}"
    missing = [name for name in _REQUIRED if name not in item]
    if "chain" not in item and "timestamp" not in item:  # the original backend wrote neither
        reason = f"it has no {', '.join(missing)}"
        return NotALog(f"{where} does not have this format: {reason}", hint=REPAIR_HINT)
    mistyped = [field.attribute for field in FIELDS if field.attribute in item and not has_type(item, field)]
    reason = f"it has no {', '.join(missing)}" if missing else f"{', '.join(mistyped)} has the wrong type"
    return LogDamaged(f"{where} is damaged: {reason}")


def has_type(item: Item, field: Field) -> bool:
    """Return whether an attribute of an item has the type of its field: S, or N with an integer."""
    value = item[field.attribute]
    return whole(value) is not None if field.type == "integer" else type(value.get("S")) is str


REPAIR_HINT = (
    "Stop all other writers of this project, run verify(project_id) to find what is wrong, and repair it with repair()."
)
"""Hint for a log that was written by the original backend, or by hand."""


class StoredChanges:
    """A sequence of changes that is kept as DynamoDB's items, and converted to `Change` objects only when needed."""

    __slots__ = ("_changes", "_items")

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._changes: tuple[Change, ...] | None = None

    @property
    def changes(self) -> tuple[Change, ...]:
        """All of them, as `Change` objects."""
        if self._changes is None:
            self._changes = tuple(map(change_of, self._items))
        return self._changes

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __getitem__(self, place: Any) -> Any:
        if self._changes is None and type(place) is int:  # a page reads its last change only
            return change_of(self._items[place])
        return self.changes[place]

    def __eq__(self, other: object) -> bool:
        return self.changes == (other.changes if isinstance(other, StoredChanges) else other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.changes)

    def marks(self) -> list[tuple[int, int]]:
        """Return `(seq, outdated_by)` of each change that is marked as outdated."""
        return [(change.seq, change.outdated_by) for change in self.changes if change.outdated_by is not None]

    def to_json(self) -> str:
        """Return the same JSON as `Change.to_json` for each change, separated by commas."""
        return ",".join([change.to_json() for change in self.changes])


class LogEnd(Record):
    """A project's sequence item: the end of its log, and the counts of its changes."""

    value: int
    """The next sequence number to assign."""
    chain: str
    """The link (hash) of the last change."""
    creates: int
    updates: int
    deletes: int
    entity_types: Mapping[str, int]
    """The number of changes of each entity type."""
    repairs: int
    """How often a repair changed this item. An append that expects an earlier count is refused and reads it again."""
    exists: bool
    """Whether the item is in the table. The first append creates it."""

    @property
    def head(self) -> Head:
        """The last sequence number and its link."""
        return Head(self.value - 1, self.chain)

    @property
    def stats(self) -> ChangeStats:
        """The counts by operation."""
        return ChangeStats(self.value - 1, self.creates, self.updates, self.deletes)


NO_LOG = LogEnd(1, GENESIS, 0, 0, 0, {}, 0, False)
"""The end of a log without changes, which has no sequence item."""


class Counts:
    """The counts of a sequence item: changes by operation and by entity type."""

    __slots__ = ("operations", "types")

    def __init__(self, operations: Mapping[str, int], types: Mapping[str, int]) -> None:
        self.operations = dict(operations)
        self.types = dict(types)

    def add(self, change: Change) -> None:
        """Count a change."""
        self.operations[change.operation] = self.operations.get(change.operation, 0) + 1
        self.types[change.entity_type] = self.types.get(change.entity_type, 0) + 1

    def end(self, seq: int, chain: str, repairs: int) -> LogEnd:
        """Return the end of a log with these counts, whose last change has this number and link."""
        creates, updates, deletes = (self.operations.get(name, 0) for name in OPERATIONS)
        return LogEnd(seq + 1, chain, creates, updates, deletes, dict(self.types), repairs, True)


def advanced(end: LogEnd, changes: Sequence[Change]) -> LogEnd:
    """Return the end of the log after these changes are appended."""
    counts = Counts({"create": end.creates, "update": end.updates, "delete": end.deletes}, end.entity_types)
    for change in changes:
        counts.add(change)
    return counts.end(changes[-1].seq, changes[-1].chain, end.repairs)


def log_end_of(item: Item | None, project_id: str) -> LogEnd:
    """Return the log end of a sequence item; `NO_LOG` for `None`.

    Raises `NotALog` if the original backend wrote the item or if it has a newer format, and `LogDamaged` if an
    attribute breaks a rule of this format.
    """
    if item is None:
        return NO_LOG
    check_format(item, project_id)
    for name in END_RULES:
        _check_end(item, name, project_id)
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


def head_of(item: Item, project_id: str) -> Head:
    """Return the end of the log of a sequence item; raises `LogDamaged` if it is not valid."""
    for name in ("value", "chain"):
        _check_end(item, name, project_id)
    return Head(int(item["value"]["N"]) - 1, item["chain"]["S"])


def _check_end(item: Item, name: str, project_id: str) -> None:
    if not END_RULES[name](item.get(name)):
        raise LogDamaged(f"the sequence item of project {project_id} is damaged: {name} is missing or not valid")


def is_original(item: Item) -> bool:
    """Return whether the original backend wrote a sequence item: its items have neither a format nor a link."""
    return "format" not in item and "chain" not in item


def check_format(item: Item, project_id: str) -> None:
    """Raise `NotALog` if the original backend wrote a sequence item, or if it has a newer format."""
    if is_original(item):
        raise NotALog(f"the log of project {project_id} was written by the original backend", hint=REPAIR_HINT)
    found = whole(item.get("format", {}))
    if found is not None and found > FORMAT:
        raise NotALog(
            f"the log of project {project_id} has format {found}; this program supports format {FORMAT}",
            hint="Use the program that wrote it, or a newer one. Nothing was altered.",
        )


def log_end_values(end: LogEnd) -> dict[str, Any]:
    """Return the attributes that every append sets on the sequence item."""
    return {
        "value": {"N": str(end.value)},
        "chain": {"S": end.chain},
        "creates": {"N": str(end.creates)},
        "updates": {"N": str(end.updates)},
        "deletes": {"N": str(end.deletes)},
        "entityTypes": {"M": {name: {"N": str(count)} for name, count in end.entity_types.items()}},
    }


def registry_values(project_id: str) -> dict[str, Any]:
    """Return the attributes of a sequence item that never change: its format, and its keys in the index."""
    return {"format": {"N": str(FORMAT)}, "registry": {"S": REGISTRY}, "projectId": {"S": project_id}}


class Request(Record):
    """A request item: the record of what one chunk of a batch wrote."""

    first_seq: int
    count: int
    offset: int
    """How many changes of the same project precede the chunk in the batch."""
    fingerprint: str
    """The fingerprint of the whole batch."""
    token: str
    """The token of the transaction that wrote it. A writer recognises its own transaction by it."""
    created_at: str
    """ISO 8601, UTC."""
    expires: int
    """When DynamoDB may delete the item (time to live), in seconds since 1970."""

    @property
    def stored(self) -> StoredChunk:
        """The result of an append that repeats this one; without the changes."""
        return StoredChunk(self.first_seq, self.count, self.fingerprint, None, self.offset)


def request_item(key: Item, request: Request) -> dict[str, Any]:
    """Return the item of a request, with the given key."""
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


def carried(named: NamedRequest, token: str) -> Request:
    """Return the request that a copied change names, as the transaction with this token stores it."""
    stored = named.stored
    return Request(
        stored.first_seq,
        stored.count,
        stored.offset,
        stored.fingerprint,
        token,
        named.stored_at,
        int(named.expires),
    )


def request_of(item: Item) -> Request:
    """Return the request of a request item; raises `LogDamaged` with the attribute that breaks a rule."""
    for name, rule in REQUEST_RULES.items():
        if not rule(item.get(name)):
            _, project_id, key = item["pk"]["S"].split("#", 2)
            raise LogDamaged(
                f"chunk {item['seq']['N']} of the idempotency key {key} of project {project_id} is damaged: "
                f"{name} is missing or not valid"
            )
    return Request(
        int(item["firstSeq"]["N"]),
        int(item["count"]["N"]),
        int(item["offset"]["N"]),
        item["fingerprint"]["S"],
        item["token"]["S"],
        item["createdAt"]["S"],
        int(item["expires"]["N"]),
    )
