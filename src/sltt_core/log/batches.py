"""What is written: a batch, cut into the chunks that are atomic writes, and numbered onto a log's end."""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, KeyReused, LogDamaged, PartialAppend, Problem, SlttError
from sltt_core.base.record import Record
from sltt_core.log.pages import Head
from sltt_core.model.chain import link
from sltt_core.model.changes import Change, NewChange, fingerprint
from sltt_core.model.fields import MAX_ENTITY_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CHUNK_CHANGES = 98
"""Changes in one atomic write: DynamoDB takes 100 items a transaction, and two are the log's own."""
CHUNK_BYTES = 3_500_000
"""Bytes in one atomic write, as stored: DynamoDB takes 4 MB a transaction."""
KEY_DAYS = 400
"""How long an idempotency key is remembered, in days: a year, and room to spare."""


class Appended(Record):
    """What `create_changes` did."""

    seqs: tuple[int, ...]
    """The sequence number of each change, in the order of the batch."""
    replayed: bool
    """Whether nothing was written, because the same batch had been stored under the same key before."""


class Chunk(Record):
    """An atomic write that is asked for: some changes of one project, a part of a batch."""

    project_id: str
    key: str | None
    """The idempotency key, if the caller gave one."""
    number: int
    """Which chunk of the project's part of the batch, from 0."""
    offset: int
    """How many changes of the project's part come before."""
    fingerprint: str
    """Of the whole batch."""
    changes: tuple[NewChange, ...]
    size: int
    """The bytes of the changes as stored (`item_size`)."""


class Batch(Record):
    """Changes that were checked as a whole, each with its project."""

    changes: tuple[NewChange, ...]
    sizes: tuple[int, ...]
    """The bytes of each change as stored (`item_size`)."""


class StoredChunk(Record):
    """An atomic write that was done, now or before under the same key."""

    first_seq: int
    count: int
    fingerprint: str
    changes: tuple[Change, ...] | None
    """The changes as stored; `None` when it was done before."""
    offset: int
    """How many changes of the project's part of the batch came before."""


class BatchAppend:
    """A batch on its way into a storage: part by part for its projects, chunk by chunk within a part."""

    __slots__ = ("_append", "_key", "_parts", "batch", "chunks", "fingerprint", "seqs")

    def __init__(
        self,
        batch: Batch,
        key: str | None,
        append: Callable[[Chunk], StoredChunk],
        max_changes: int = CHUNK_CHANGES,
        max_bytes: int = CHUNK_BYTES,
    ) -> None:
        """`append` stores a chunk, of at most `max_changes` changes and `max_bytes` bytes."""
        self.batch = batch
        self.seqs: list[int | None] = [None] * len(batch.changes)
        """The number of each change, as far as they are stored."""
        self.chunks: list[StoredChunk] = []
        self.fingerprint = fingerprint(batch.changes)
        self._key = key
        self._append = append
        places: dict[str, list[int]] = {}
        for place, change in enumerate(batch.changes):
            places.setdefault(str(change.project_id), []).append(place)
        self._parts = {name: _Part(batch, part, max_changes, max_bytes) for name, part in places.items()}

    @property
    def writes(self) -> int:
        """How many atomic writes it takes, if none was done before."""
        return sum(len(part.pieces) for part in self._parts.values())

    def check_key(self, stored_chunk: Callable[[str, str, int], StoredChunk | None]) -> None:
        """Check that the key came with no other batch before to a project of a batch of several.

        `stored_chunk` returns what a project holds under a key and a chunk's number. Raises `KeyReused`.
        """
        if self._key is not None and len(self._parts) > 1:
            for project_id in self._parts:
                stored = stored_chunk(project_id, self._key, 0)
                if stored is not None and stored.fingerprint != self.fingerprint:
                    raise key_reused(project_id)

    def check_entity_types(self, entity_types: Callable[[str], Iterable[str]]) -> None:
        """Check that no project gets one entity type too many; raises `InvalidBatch` with the first such change.

        `entity_types` returns those that a project has.
        """
        for project_id, part in self._parts.items():
            types = (self.batch.changes[place].entity_type for place in part.places)
            too_many = one_type_too_many(set(entity_types(project_id)), types)
            if too_many is not None:
                raise too_many_entity_types(part.places[too_many])

    def run(self) -> Appended:
        """Store the batch; raises `PartialAppend` when something was stored before it failed."""
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
        """Store one project's changes.

        A chunk that was stored before under the key says how long it was then, so that the next begins
        where that one ended, whatever the chunk size is now.
        """
        offset = number = 0
        length = len(part.places)
        while offset < length:
            end, size = part.piece_at(offset)
            changes = tuple([self.batch.changes[place] for place in part.places[offset:end]])
            stored = self._append(Chunk(project_id, self._key, number, offset, self.fingerprint, changes, size))
            if stored.fingerprint != self.fingerprint:
                raise key_reused(project_id)
            if stored.offset != offset or offset + stored.count > length:
                raise LogDamaged(
                    f"project {project_id} holds another chunk under the idempotency key than comes next: one is gone",
                    hint="Send what is missing under another key. A table that was restored may be like this.",
                )
            for step in range(stored.count):
                self.seqs[part.places[offset + step]] = stored.first_seq + step
            self.chunks.append(stored)
            offset += stored.count
            number += 1


class _Part:
    """The changes of one project in a batch, cut into chunks."""

    __slots__ = ("_limits", "_sizes", "pieces", "places")

    def __init__(self, batch: Batch, places: list[int], max_changes: int, max_bytes: int) -> None:
        self.places = places
        """Where in the batch the changes stand."""
        self._sizes = [batch.sizes[place] for place in places]
        self._limits = (max_changes, max_bytes)
        self.pieces = cut(self._sizes, max_changes, max_bytes)

    def piece_at(self, start: int) -> tuple[int, int]:
        """Return the end and the size of the chunk that begins at a place.

        Where an earlier attempt ended a chunk at another place, the rest is cut from there.
        """
        if start not in self.pieces:
            self.pieces |= cut(self._sizes, *self._limits, start)
        return self.pieces[start]


def cut(sizes: Sequence[int], max_changes: int, max_bytes: int, start: int = 0) -> dict[int, tuple[int, int]]:
    """Cut changes of these sizes, from `start` on, into chunks as large as may be, each of at least one change.

    Returns where each chunk begins, with its end and its size in bytes; in order.
    """
    pieces = {}
    total = 0
    for place in range(start, len(sizes)):
        if place > start and (place - start == max_changes or total + sizes[place] > max_bytes):
            pieces[start] = (place, total)
            start, total = place, 0
        total += sizes[place]
    if start < len(sizes):
        pieces[start] = (len(sizes), total)
    return pieces


def key_reused(project_id: str) -> KeyReused:
    """Make the error for a key that stands for another batch in a project."""
    return KeyReused(f"the idempotency key came with another batch to project {project_id} before")


def number_changes(chunk: Chunk, head: Head, now: str) -> tuple[Change, ...]:
    """Make the changes of a chunk as the log will hold them after `head`, stored at `now`."""
    seq, previous = head.seq, head.chain
    stored = []
    for new in chunk.changes:
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
        stored.append(Change.of((*values, None, new.cid, new.change_by, previous)))
    return tuple(stored)


def one_type_too_many(known: set[str], types: Iterable[str]) -> int | None:
    """Return the place of the first entity type that would be one more than a project may have."""
    all_types = set(known)
    for place, entity_type in enumerate(types):
        if entity_type not in all_types and len(all_types) >= MAX_ENTITY_TYPES:
            return place
        all_types.add(entity_type)
    return None


def too_many_entity_types(index: int) -> InvalidBatch:
    """Make the error for a change that would bring in one entity type too many."""
    reason = f"would be one entity type too many: a project has at most {MAX_ENTITY_TYPES}"
    return InvalidBatch([Problem(index, f"changes[{index}].entity_type", reason)])
