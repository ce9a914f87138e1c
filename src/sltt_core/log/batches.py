"""What is written: a batch, cut into the chunks that are atomic writes, and numbered onto a log's end."""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, KeyReused, LogDamaged, PartialAppend, Problem, SlttError
from sltt_core.base.record import Record
from sltt_core.log.pages import Head
from sltt_core.model.chain import link, link_of
from sltt_core.model.changes import Change, NewChange, fingerprint, item_size
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

    __slots__ = ("_append", "_fitting", "_key", "batch", "chunks", "fingerprint", "places", "seqs")

    def __init__(
        self,
        batch: Sequence[NewChange],
        key: str | None,
        append: Callable[[Chunk], StoredChunk],
        fitting: Callable[[Sequence[NewChange], int], int],
    ) -> None:
        """`append` stores a chunk; `fitting` tells how many changes from a place on fit in one."""
        self.batch = batch
        self.places: dict[str, list[int]] = {}
        """Where in the batch each project's changes stand."""
        self.seqs: list[int | None] = [None] * len(batch)
        """The number of each change, as far as they are stored."""
        self.chunks: list[StoredChunk] = []
        self.fingerprint = fingerprint(batch)
        self._key = key
        self._append = append
        self._fitting = fitting
        for place, change in enumerate(batch):
            self.places.setdefault(str(change.project_id), []).append(place)

    @property
    def parts(self) -> int:
        """How many atomic writes it takes, 2 standing for more."""
        return 1 if len(self.places) == 1 and self._fitting(self.batch, 0) == len(self.batch) else 2

    def run(self) -> Appended:
        """Store the batch; raises `PartialAppend` when something was stored before it failed."""
        try:
            for project_id, places in self.places.items():
                self._run_part(project_id, places)
        except SlttError as error:
            if not self.chunks:
                raise
            raise PartialAppend(self.seqs, error) from error
        replayed = all(chunk.changes is None for chunk in self.chunks)
        return Appended(tuple(seq for seq in self.seqs if seq is not None), replayed)

    def _run_part(self, project_id: str, places: Sequence[int]) -> None:
        """Store one project's changes.

        A chunk that was stored before under the key says how long it was then, so that the next begins
        where that one ended, whatever the chunk size is now.
        """
        part = [self.batch[place] for place in places]
        offset = number = 0
        while offset < len(part):
            end = offset + self._fitting(part, offset)
            wanted = Chunk(project_id, self._key, number, offset, self.fingerprint, tuple(part[offset:end]))
            stored = self._append(wanted)
            if stored.fingerprint != self.fingerprint:
                raise key_reused(project_id)
            if stored.offset != offset or offset + stored.count > len(part):
                raise LogDamaged(
                    f"project {project_id} holds another chunk under the idempotency key than comes next: one is gone",
                    hint="Send what is missing under another key. A table that was restored may be like this.",
                )
            for step in range(stored.count):
                self.seqs[places[offset + step]] = stored.first_seq + step
            self.chunks.append(stored)
            offset += stored.count
            number += 1


def key_reused(project_id: str) -> KeyReused:
    """Make the error for a key that stands for another batch in a project."""
    return KeyReused(f"the idempotency key came with another batch to project {project_id} before")


def chunk_length(changes: Sequence[NewChange] | Sequence[Change], start: int, max_changes: int, max_bytes: int) -> int:
    """Return how many changes from `start` on fit in one chunk, at least one."""
    size = 0
    end = min(len(changes), start + max_changes)
    for place in range(start, end):
        size += item_size(changes[place])
        if size > max_bytes and place > start:
            return place - start
    return end - start


def number_changes(chunk: Chunk, head: Head, now: str) -> tuple[Change, ...]:
    """Make the changes of a chunk as the log will hold them after `head`, stored at `now`."""
    seq, previous = head.seq, head.chain
    stored = []
    for new in chunk.changes:
        seq += 1
        operation, timestamp = new.operation or "create", new.timestamp or now
        previous = link(
            previous,
            chunk.project_id,
            seq,
            new.entity_type,
            new.entity_id,
            operation,
            timestamp,
            now,
            new.data_json,
            new.cid,
            new.change_by,
        )
        stored.append(
            Change.of(
                (
                    chunk.project_id,
                    seq,
                    new.entity_type,
                    new.entity_id,
                    operation,
                    timestamp,
                    now,
                    new.data_json,
                    None,
                    new.cid,
                    new.change_by,
                    previous,
                )
            )
        )
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
    return InvalidBatch([Problem(index, f"changes[{index}].entityType", reason)])


def refusal(change: Change, project_id: str, head: Head) -> str:
    """Say why a change does not come next after `head`; empty when it does."""
    if change.project_id != project_id:
        return f"is of project {change.project_id}, the first of {project_id}"
    if change.seq != head.seq + 1:
        return f"has the number {change.seq}; the next of the log is {head.seq + 1}"
    if change.chain != link_of(head.chain, change):
        return "does not carry on the chain: it was altered, or is of another history"
    return ""
