"""`Appender`: writes chunks to the table, with one transaction for each group of appends from the queue.

Processes compete through a condition on the sequence item. One transaction succeeds; DynamoDB cancels the others. The
cancellation contains the true end of the log, so a writer that lost can try again at once.
"""

from __future__ import annotations

from aws_backend.dynamodb.errors import (
    InvalidRequest,
    Throttled,
    TokenReused,
    TransactionCanceled,
    TransactionConflict,
)
from aws_backend.dynamodb.retry import may_have_been_carried_out
from aws_backend.log.queue import Append, AppendQueue
from aws_backend.log.table import THROTTLE_SECONDS
from aws_backend.log.transactions import Member, build, fails_itself, occupied, read_reasons
from sltt_core.base.errors import LogDamaged, SlttError, TooManyWriters
from sltt_core.base.timestamps import now_utc
from sltt_core.log.batches import (
    KEY_DAYS,
    StoredChunk,
    first_excess_type,
    head_moved,
    project_exists,
    too_many_entity_types,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from aws_backend.log.items import LogEnd, Request
    from aws_backend.log.queue import ProjectQueue
    from aws_backend.log.table import LogTable
    from aws_backend.log.transactions import Built, Refusal
    from sltt_core.log.batches import Chunk
    from sltt_core.model.changes import Change

CONFLICT_SECONDS = 0.01
"""Longest wait, in seconds, after a conflict with a transaction in flight. The wait is a random part of it.

After a failed condition there is no wait. Without the wait after conflicts, an append needs twice as many transactions,
which are billed, and p99 is 20 % lower. Waiting after failed conditions too, or longer each time, favours the writer
that won last (`make bench ARGS=contention`).
"""
REQUEST_BYTES = 1_000
"""Largest size of a request item, in bytes; part of the size of a transaction."""
_DAY = 86_400


class Appender:
    """Appends chunks to the logs of a table. Safe for use by several threads."""

    def __init__(self, table: LogTable, *, max_bytes: int) -> None:
        """`max_bytes` is the largest total size of the changes in one transaction."""
        self._table = table
        self._new_lock = table.runtime.new_lock
        self._queue = AppendQueue(self._store, max_bytes=max_bytes, new_lock=self._new_lock)

    def append(self, chunk: Chunk) -> StoredChunk:
        """Store a chunk atomically, or return what is already stored under its key and number.

        Raises `InvalidBatch` if the log would have too many entity types, `TooManyWriters` or `Throttled` at the
        deadline, `LogDamaged` or `NotALog` if the log is not in order, and the errors of `aws_backend.dynamodb` and of
        the transport if a call fails.
        """
        table = self._table
        days = 1 if chunk.key is None else KEY_DAYS  # no request repeats a random key
        expires = table.runtime.clock() // 1_000_000_000 + days * _DAY
        turn = self._new_lock()
        turn.acquire()
        member = Member(chunk, chunk.key or table.runtime.new_token(), expires)
        size = REQUEST_BYTES + chunk.size
        return self._queue.run(chunk.project_id, Append(member, size, table.deadline(), turn))

    def forget(self, project_id: str) -> None:
        """Read the log's end again before the next append."""
        self._queue.forget(project_id)

    def gauges(self) -> dict[str, float]:
        """Return what `BaseStorageService.gauges` does."""
        return self._queue.gauges()

    def _store(self, queue: ProjectQueue, group: Sequence[Append]) -> None:
        """Write the group in one transaction; repeat it until it succeeds or the leader's deadline has passed.

        Afterwards each append of the group has a result or an error, except those with a later deadline than the
        leader's.
        """
        leader = group[0]
        refusal: Refusal | None = None
        throttles = 0
        fresh = False
        while appends := [append for append in group if append.open]:
            sent = False
            try:
                if queue.end is None:
                    queue.end = self._table.read_end(leader.member.chunk.project_id, leader.deadline)
                    fresh = True
                appends = self._admit(queue.end, appends, fresh)
                if not appends:
                    if any(append.open for append in group):  # it expects a later end than is known here
                        queue.end = None
                    continue
                if refusal is not None and self._table.is_late(leader.deadline):
                    _fail_late(appends, leader, _late(refusal, leader))
                    return
                sent = True
                refusal = self._try(queue, queue.end, appends, leader.deadline)
            except SlttError as error:
                if isinstance(error, (InvalidRequest, TransactionCanceled, LogDamaged)) and len(appends) > 1:
                    # The error does not name the append that caused it. Sent alone, that append alone gets the error.
                    for append in appends:
                        self._store(queue, [append])
                if not self._table.is_late(leader.deadline):
                    _fail(appends, error)
                else:
                    # If a transaction was sent, its outcome is unknown; otherwise the appends are only late.
                    _fail_late(appends, leader, error if sent or refusal is None else _late(refusal, leader))
                return
            if refusal is None:
                continue
            wait = self._wait_after(refusal, throttles)
            throttles += refusal.throttled
            if self._table.is_late(leader.deadline, wait):
                _fail_late(appends, leader, _late(refusal, leader))
                return
            if wait:
                self._table.runtime.pause(wait)

    def _wait_after(self, refusal: Refusal, throttles: int) -> float:
        """Return how many seconds to wait before the next attempt."""
        if refusal.throttled:
            return THROTTLE_SECONDS * 2.0**throttles * self._table.runtime.random()
        return CONFLICT_SECONDS * self._table.runtime.random() if refusal.conflict else 0.0

    def _admit(self, end: LogEnd, appends: Sequence[Append], fresh: bool) -> list[Append]:
        """Set an error on the appends that the log does not admit; return the others.

        They would add too many entity types, create a project that exists, or expect another end of the log. The last
        is decided only by a known end: an append that needs the outcome of those before it, or an end that is `fresh`
        (read for this group), stays open and is not returned.
        """
        known = set(end.entity_types)
        admitted: list[Append] = []
        head = end.head.seq
        for append in appends:
            chunk = append.member.chunk
            moved = chunk.if_head not in (None, head)
            if moved and (admitted or (not fresh and head < (chunk.if_head or 0))):
                continue
            types = [change.entity_type for change in chunk.changes]
            too_many = first_excess_type(known, types)
            exists = chunk.owner is not None and (end.exists or bool(admitted))
            if too_many is None and not exists and not moved:
                known.update(types)
                admitted.append(append)
                head += chunk.grants + len(chunk.changes)
            elif (before := self._find_request(append, append.deadline)) is not None:
                append.result = before.stored  # stored before: its entity types are not new
            elif exists:
                append.error = project_exists(chunk.project_id)
            elif moved:
                append.error = head_moved(chunk.project_id, end.head)
            elif too_many is not None:
                append.error = too_many_entity_types(chunk.offset + too_many)
        return admitted

    def _try(self, queue: ProjectQueue, end: LogEnd, appends: Sequence[Append], deadline: float) -> Refusal | None:
        """Send one transaction that begins at the log's end; return why it was refused.

        `None` means that it was carried out, or that its outcome was settled by reads and the log's end has to be read
        again.
        """
        table = self._table
        members = [append.member for append in appends]
        now = now_utc(table.runtime.clock)
        built = build(table.name, members, end, now, table.runtime.new_token())
        for append, changes in zip(appends, built.changes, strict=True):
            append.attempts[built.token] = changes
        try:
            table.transact(built.actions, built.token, deadline)
        except TransactionCanceled as error:
            refusal = read_reasons(error.reasons, built, members)
            if refusal is None:
                raise
            self._apply_refusal(queue, appends, refusal, built)
            return refusal
        except SlttError as error:
            self._settle(queue, appends, deadline, error)
            return None
        queue.end = built.after
        for append, changes in zip(appends, built.changes, strict=True):
            append.result = _stored(append.member.chunk, changes)
        return None

    def _apply_refusal(self, queue: ProjectQueue, appends: Sequence[Append], refusal: Refusal, built: Built) -> None:
        """Apply what a refusal contains: the results of replays and the true end of the log.

        Raises `LogDamaged` if the refusal shows that the log is damaged.
        """
        for place, request in refusal.replays.items():
            appends[place].result = _replayed(appends[place], request)
        project_id = appends[0].member.chunk.project_id
        if refusal.end is not None:
            if refusal.end == built.before:
                raise fails_itself(project_id)
            queue.end = refusal.end
        elif refusal.conflict or refusal.throttled:
            if refusal.conflict:
                queue.end = None  # the other transaction will have changed the item
        elif not refusal.replays and refusal.occupied is not None:
            queue.end = None
            raise occupied(project_id, refusal.occupied, built.before.value)

    def _settle(self, queue: ProjectQueue, appends: Sequence[Append], deadline: float, error: SlttError) -> None:
        """Find out by strong reads of the request items whether a transaction that ended with an error was carried out.

        The error describes the last attempt only; an earlier attempt may have been carried out. If no request item is
        found, the transaction may still be carried out later. That is safe: it and the next transaction exclude each
        other, because both require the same end of the log and the absence of the same request items. Raises `error`
        if another attempt cannot help.
        """
        queue.end = None
        again = may_have_been_carried_out(error) or isinstance(error, (TransactionConflict, TokenReused))
        for append in appends:
            try:
                found = self._find_request(append, deadline)
            except SlttError:
                again = False
                break
            if found is None:
                break
            append.result = _replayed(append, found)
        if not again and any(append.open for append in appends):
            raise error

    def _find_request(self, append: Append, deadline: float) -> Request | None:
        chunk = append.member.chunk
        return self._table.read_request(chunk.project_id, append.member.key, chunk.number, deadline)


def _stored(chunk: Chunk, changes: tuple[Change, ...]) -> StoredChunk:
    return StoredChunk(changes[0].seq, len(changes), chunk.fingerprint, changes, chunk.offset)


def _replayed(append: Append, request: Request) -> StoredChunk:
    """Return the chunk that a request item refers to; with its changes if this append wrote it."""
    return request.stored.replace(changes=append.attempts.get(request.token))


def _late(refusal: Refusal, leader: Append) -> SlttError:
    """Return the error for an append that was still refused at its deadline."""
    if refusal.throttled:
        return Throttled("the table was throttled until the deadline of the request")
    project_id = leader.member.chunk.project_id
    return TooManyWriters(f"too many concurrent writers to project {project_id}: the append reached its deadline")


def _fail_late(appends: Sequence[Append], leader: Append, error: SlttError) -> None:
    """Set an error on the appends whose deadline has passed; the next leader writes the others."""
    _fail([append for append in appends if append.deadline <= leader.deadline], error)


def _fail(appends: Sequence[Append], error: SlttError) -> None:
    for append in appends:
        if append.open:
            append.error = error
