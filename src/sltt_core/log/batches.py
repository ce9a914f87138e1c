"""Batches: divides a batch into chunks, each an atomic write, and gives its changes their numbers and links."""

from __future__ import annotations

from sltt_core.base.errors import (
    HeadMoved,
    InvalidBatch,
    KeyReused,
    LogDamaged,
    PartialAppend,
    Problem,
    ProjectExists,
    SlttError,
)
from sltt_core.base.record import Record
from sltt_core.log.pages import Head
from sltt_core.model.chain import link
from sltt_core.model.changes import Change, NewChange, fingerprint, item_size
from sltt_core.model.fields import MAX_ENTITY_TYPES, MAX_ITEM_BYTES
from sltt_core.model.grants import RESERVED, new_grant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

CHUNK_CHANGES = 98
"""The most changes of an atomic write. A DynamoDB transaction has at most 100 items; the log needs two itself."""
OWNED_CHANGES = CHUNK_CHANGES - 3
"""The most changes of an atomic write that also grants a role: the grant takes three items."""
CHUNK_BYTES = 3_500_000
"""The most bytes of an atomic write, as stored. A DynamoDB transaction has at most 4 MB."""
KEY_DAYS = 400
"""How long an idempotency key is remembered, in days."""


class Appended(Record):
    """The result of `create_changes`."""

    seqs: tuple[int, ...]
    """The sequence number of each change, in the order of the batch."""
    replayed: bool
    """Whether nothing was written because the batch was already stored with the same key."""


class Chunk(Record):
    """An atomic write to do: some changes of one project in a batch."""

    project_id: str
    key: str | None
    """The idempotency key, or `None`."""
    number: int
    """Its position among the chunks of the project in the batch, from 0."""
    offset: int
    """The number of changes of the project in the batch before this chunk."""
    fingerprint: str
    """The fingerprint of the whole batch."""
    changes: tuple[NewChange, ...]
    size: int
    """The bytes of the changes as stored (`item_size`)."""
    owner: str | None = None
    """The principal who becomes the owner of the project, which must not have any change yet; `None` for no grant."""
    if_head: int | None = None
    """The number at which the log must end; `None` for any."""

    @property
    def grants(self) -> int:
        """How many changes the log stores before those of the chunk: 1 for the grant to the owner."""
        return 0 if self.owner is None else 1


class Batch(Record):
    """The checked changes of a batch. Each has a project id."""

    changes: tuple[NewChange, ...]
    sizes: tuple[int, ...]
    """The bytes of each change as stored (`item_size`)."""


class StoredChunk(Record):
    """An atomic write that was done, in this call or in an earlier one with the same key."""

    first_seq: int
    count: int
    fingerprint: str
    changes: tuple[Change, ...] | None
    """The changes as stored; `None` if an earlier call stored them."""
    offset: int
    """The number of changes of the project in the batch before this chunk."""


class BatchAppend:
    """Stores a batch: one project after the other, each chunk by chunk."""

    __slots__ = ("_append", "_if_head", "_key", "_owners", "_parts", "batch", "chunks", "fingerprint", "seqs")

    def __init__(
        self,
        batch: Batch,
        key: str | None,
        append: Callable[[Chunk], StoredChunk],
        max_changes: int = CHUNK_CHANGES,
        max_bytes: int = CHUNK_BYTES,
        owners: Mapping[str, str] = {},
        if_head: int | None = None,
    ) -> None:
        """`append` stores a chunk of at most `max_changes` changes and `max_bytes` bytes.

        `owners` has the projects that must not have any change yet, and the principal who becomes the owner of each.
        `if_head` is the number at which the log must end before a batch of one chunk.
        """
        self.batch = batch
        self.seqs: list[int | None] = [None] * len(batch.changes)
        """The sequence number of each change of the batch; `None` if it is not stored yet."""
        self.chunks: list[StoredChunk] = []
        self.fingerprint = fingerprint(batch.changes)
        self._key = key
        self._append = append
        self._owners = owners
        self._if_head = if_head
        indexes: dict[str, list[int]] = {}
        for index, change in enumerate(batch.changes):
            indexes.setdefault(str(change.project_id), []).append(index)
        self._parts = {name: _Part(batch, part, max_changes, max_bytes) for name, part in indexes.items()}

    @property
    def writes(self) -> int:
        """The number of atomic writes, if none was done before."""
        return sum(len(part.chunks) for part in self._parts.values())

    def check(
        self,
        stored_chunk: Callable[[str, str, int], StoredChunk | None],
        entity_types: Callable[[str], Iterable[str]],
    ) -> None:
        """Check the key and the entity types of a batch before its first write.

        `stored_chunk` returns the stored chunk of a project, a key and a chunk's number. `entity_types` returns the
        entity types of a project. Raises `KeyReused`, or `InvalidBatch` with the first change that has an entity type
        too many.
        """
        if self._key is not None and len(self._parts) > 1:
            for project_id in self._parts:
                stored = stored_chunk(project_id, self._key, 0)
                if stored is not None and stored.fingerprint != self.fingerprint:
                    raise key_reused(project_id)
        for project_id, part in self._parts.items():
            types = (self.batch.changes[index].entity_type for index in part.indexes)
            excess = first_excess_type(set(entity_types(project_id)), types)
            if excess is not None:
                raise too_many_entity_types(part.indexes[excess])

    def run(self) -> Appended:
        """Store the batch; raises `PartialAppend` if a write fails after another has succeeded."""
        try:
            for project_id, part in self._parts.items():
                self._run_part(project_id, part)
        except SlttError as error:
            if not self.chunks:
                raise
            raise PartialAppend(self.seqs, error) from error
        replayed = all(chunk.changes is None for chunk in self.chunks)
        return Appended(tuple(seq for seq in self.seqs if seq is not None), replayed)

    def _run_part(self, project_id: str, part: _Part) -> None:
        """Store the changes of one project.

        An earlier call with the key may have used another chunk size. The length of each stored chunk determines where
        the next chunk begins.
        """
        offset = number = 0
        length = len(part.indexes)
        while offset < length:
            end, size = part.chunk_at(offset)
            changes = tuple([self.batch.changes[index] for index in part.indexes[offset:end]])
            owner = None if number else self._owners.get(project_id)
            chunk = Chunk(project_id, self._key, number, offset, self.fingerprint, changes, size, owner, self._if_head)
            stored = self._append(chunk)
            if stored.fingerprint != self.fingerprint:
                raise key_reused(project_id)
            if stored.offset != offset or offset + stored.count > length:
                raise LogDamaged(
                    f"project {project_id} lacks a chunk of the batch that was stored with this idempotency key",
                    hint="Send the missing changes with another key. The restore of a table can lose a chunk.",
                )
            for step in range(stored.count):
                self.seqs[part.indexes[offset + step]] = stored.first_seq + step
            self.chunks.append(stored)
            offset += stored.count
            number += 1


class _Part:
    """The changes of one project in a batch, divided into chunks."""

    __slots__ = ("_limits", "_sizes", "chunks", "indexes")

    def __init__(self, batch: Batch, indexes: list[int], max_changes: int, max_bytes: int) -> None:
        self.indexes = indexes
        """The indexes of the changes in the batch."""
        self._sizes = [batch.sizes[index] for index in indexes]
        self._limits = (max_changes, max_bytes)
        self.chunks = cut(self._sizes, max_changes, max_bytes)

    def chunk_at(self, start: int) -> tuple[int, int]:
        """Return the end of the chunk that begins at `start`, and its size in bytes.

        If no chunk begins there because an earlier call divided the changes otherwise, divide the rest again.
        """
        if start not in self.chunks:
            self.chunks |= cut(self._sizes, *self._limits, start)
        return self.chunks[start]


def cut(sizes: Sequence[int], max_changes: int, max_bytes: int, start: int = 0) -> dict[int, tuple[int, int]]:
    """Divide changes of these sizes, from index `start`, into the largest chunks within the limits.

    Each chunk has at least one change. Returns, in order, the end and the size in bytes of each chunk, by its start.
    """
    chunks = {}
    total = 0
    for index in range(start, len(sizes)):
        if index > start and (index - start == max_changes or total + sizes[index] > max_bytes):
            chunks[start] = (index, total)
            start, total = index, 0
        total += sizes[index]
    if start < len(sizes):
        chunks[start] = (len(sizes), total)
    return chunks


def key_reused(project_id: str) -> KeyReused:
    """Return the error for an idempotency key that a project already has with another batch."""
    return KeyReused(f"the idempotency key was used before with another batch in project {project_id}")


def chunk_of(project_id: str, change: NewChange) -> Chunk:
    """Return a chunk with one change and without an idempotency key."""
    return Chunk(project_id, None, 0, 0, "", (change,), item_size(change))


def number_changes(chunk: Chunk, head: Head, now: str) -> tuple[Change, ...]:
    """Return the changes of a chunk as the log stores them after `head`, at the time `now`.

    If the chunk has a key, its first change names it (`sltt_core.log.requests`), unless it has no room for the name. If
    it has an owner, the grant to the owner is stored before its changes: the first `chunk.grants` of those returned.
    """
    seq, previous = head.seq, head.chain
    stored = []
    names: list[str | None] = [None] * (chunk.grants + len(chunk.changes))
    if chunk.key is not None and (chunk.size <= _NAMING or item_size(chunk.changes[0]) <= _NAMING):
        names[chunk.grants] = f"{chunk.key} {chunk.number} {chunk.offset} {len(chunk.changes)} {chunk.fingerprint}"
    changes = chunk.changes
    if chunk.owner is not None:
        changes = (new_grant(chunk.project_id, chunk.owner, "owner", chunk.owner), *changes)
    for new, name in zip(changes, names, strict=True):
        seq += 1
        values = (
            chunk.project_id,
            seq,
            new.entity_type,
            new.entity_id,
            new.operation or "create",
            new.timestamp or now,
            now,
            new.data_json,
        )
        previous = link(previous, *values, new.cid, new.change_by)
        stored.append(Change.of((*values, None, new.cid, new.change_by, previous, name)))
    return tuple(stored)


_NAMING = MAX_ITEM_BYTES - 256
"""The most bytes of a change, as stored, that can name a request: a name has up to 236 bytes, and its own name 10."""


def first_excess_type(known: set[str], types: Iterable[str]) -> int | None:
    """Return the index of the first entity type that exceeds `MAX_ENTITY_TYPES`, or `None`.

    `known` has the entity types of the project, `types` those of new changes. Reserved types do not count.
    """
    all_types = {entity_type for entity_type in known if not entity_type.startswith(RESERVED)}
    for index, entity_type in enumerate(types):
        if entity_type.startswith(RESERVED):
            continue
        if entity_type not in all_types and len(all_types) >= MAX_ENTITY_TYPES:
            return index
        all_types.add(entity_type)
    return None


def project_exists(project_id: str) -> ProjectExists:
    """Return the error for a chunk that names an owner, if the log has changes already."""
    return ProjectExists(f"project {project_id} has changes already")


def head_moved(project_id: str, head: Head) -> HeadMoved:
    """Return the error for a chunk whose `if_head` is not the log's `head`."""
    return HeadMoved(f"project {project_id} ends at {head.seq}", head.seq, head.chain)


def too_many_entity_types(index: int) -> InvalidBatch:
    """Return the error for the change at `index`, whose entity type exceeds `MAX_ENTITY_TYPES`."""
    reason = f"is one entity type too many: a project has at most {MAX_ENTITY_TYPES}"
    return InvalidBatch([Problem(index, f"changes[{index}].entity_type", reason)])
