"""`Appender`: how chunks get into the table, one transaction for each group that the queue puts together.

Between processes the sequence item decides: the transaction whose condition holds wins. The others learn the log's true
end from the refusal and try again at once.
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
from aws_backend.log.items import DAMAGED_HINT
from aws_backend.log.queue import Append, AppendQueue
from aws_backend.log.table import THROTTLE_SECONDS
from aws_backend.log.transactions import Member, build, read_reasons
from sltt_core.base.errors import LogDamaged, NotALog, SlttError, TooManyWriters
from sltt_core.base.timestamps import now_utc
from sltt_core.log.batches import KEY_DAYS, StoredChunk, one_type_too_many, too_many_entity_types

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
"""After a conflict with a transaction in flight, the wait is a random part of this; after a lost race there is none.

Without any wait an append takes twice the transactions, which are billed, and p99 is a fifth lower. To wait after lost
races too, or longer each time, lets the last winner win again (`make bench ARGS=contention`).
"""
REQUEST_BYTES = 1_000
"""What a request item takes at most, for the size of a transaction."""
_DAY = 86_400


class Appender:
    """Appends chunks to the logs of a table. Safe for use by several threads."""

    def __init__(self, table: LogTable, *, max_bytes: int) -> None:
        """`max_bytes` bounds the changes of one transaction."""
        self._table = table
        self._new_lock = table.runtime.new_lock
        self._queue = AppendQueue(self._store, max_bytes=max_bytes, new_lock=self._new_lock)

    def append(self, chunk: Chunk) -> StoredChunk:
        """Store a chunk atomically, unless its key and number are stored already: then return what they hold.

        Raises `InvalidBatch` for one entity type too many, `TooManyWriters` or `Throttled` when the time is up,
        `LogDamaged` and `NotALog` when the log is not in order, and the lower errors of a call that failed.
        """
        table = self._table
        days = 1 if chunk.key is None else KEY_DAYS  # nobody asks again for a random key
        expires = table.runtime.clock() // 1_000_000_000 + days * _DAY
        turn = self._new_lock()
        turn.acquire()
        member = Member(chunk, chunk.key or table.runtime.new_token(), expires)
        size = REQUEST_BYTES + chunk.size
        return self._queue.run(chunk.project_id, Append(member, size, table.deadline(), turn))

    def forget(self, project_id: str) -> None:
        """Read the log's end again before the next append."""
        self._queue.forget(project_id)

    def _store(self, queue: ProjectQueue, group: Sequence[Append]) -> None:
        """Write the group in one transaction, with as many attempts as it takes, until the leader's time is up.

        Every append of it has a result or an error then, except those of other threads whose own time is not up.
        """
        leader = group[0]
        refusal: Refusal | None = None
        throttles = 0
        while appends := [append for append in group if append.open]:
            sent = False
            try:
                if queue.end is None:
                    queue.end = self._table.read_end(leader.member.chunk.project_id, leader.deadline)
                appends = self._admit(queue.end, appends)
                if not appends:
                    continue
                if refusal is not None and self._table.is_late(leader.deadline):
                    _fail_late(appends, leader, _late(refusal, leader))
                    return
                sent = True
                refusal = self._try(queue, appends, leader.deadline)
            except SlttError as error:
                if isinstance(error, (InvalidRequest, TransactionCanceled)) and len(appends) > 1:
                    # The refusal does not say which append is at fault: each is sent alone, and one meets it again.
                    for append in appends:
                        self._store(queue, [append])
                if not self._table.is_late(leader.deadline):
                    _fail(appends, error)
                else:
                    # The outcome of what was sent is unknown; what was not sent only came too late.
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
        """Return the seconds to wait before the next attempt."""
        if refusal.throttled:
            return THROTTLE_SECONDS * 2.0**throttles * self._table.runtime.random()
        return CONFLICT_SECONDS * self._table.runtime.random() if refusal.conflict else 0.0

    def _admit(self, end: LogEnd, appends: Sequence[Append]) -> list[Append]:
        """Refuse the appends that would bring in one entity type too many; return the others."""
        known = set(end.entity_types)
        admitted = []
        for append in appends:
            chunk = append.member.chunk
            types = [change.entity_type for change in chunk.changes]
            too_many = one_type_too_many(known, types)
            if too_many is None:
                known.update(types)
                admitted.append(append)
            elif (before := self._find_request(append, append.deadline)) is not None:
                append.result = before.stored  # its types are new no longer: it was stored before
            else:
                append.error = too_many_entity_types(chunk.offset + too_many)
        return admitted

    def _try(self, queue: ProjectQueue, appends: Sequence[Append], deadline: float) -> Refusal | None:
        """Send one transaction; `None` when it was carried out, or when the log's end has to be read again."""
        table = self._table
        members = [append.member for append in appends]
        assert queue.end is not None
        now = now_utc(table.runtime.clock)
        built = build(table.name, members, queue.end, now, table.runtime.new_token())
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
            self._find_out(queue, appends, deadline, error)
            return None
        queue.end = built.after
        for append, changes in zip(appends, built.changes, strict=True):
            append.result = _stored(append.member.chunk, changes)
        return None

    def _apply_refusal(self, queue: ProjectQueue, appends: Sequence[Append], refusal: Refusal, built: Built) -> None:
        """Take from a refusal what it says: replays, the log's true end, damage."""
        for place, request in refusal.replays.items():
            appends[place].result = _replayed(appends[place], request)
        project_id = appends[0].member.chunk.project_id
        if refusal.end is not None:
            if refusal.end == built.before:
                raise NotALog(
                    f"the sequence item of project {project_id} does not hold what it says", hint=DAMAGED_HINT
                )
            queue.end = refusal.end
        elif refusal.conflict or refusal.throttled:
            if refusal.conflict:
                queue.end = None  # the transaction that held the item has changed it by the time it is read
        elif not refusal.replays and refusal.occupied is not None:
            queue.end = None
            raise LogDamaged(
                f"change {refusal.occupied} of project {project_id} exists already, but the sequence item says that "
                f"{built.before.value} is the next number; nothing was written",
                hint=DAMAGED_HINT,
            )

    def _find_out(self, queue: ProjectQueue, appends: Sequence[Append], deadline: float, error: SlttError) -> None:
        """Settle a transaction that ended with an error by strong reads of its request items.

        Whatever the error says of the last attempt, one before it may have been carried out. When nothing is found,
        the transaction may still come; but it and its successor exclude each other, because both expect the same end
        and the same absent request items. Raises the error when another try is of no use.
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
    """Return what a request item that was found stands for: with the changes themselves when this append wrote it."""
    return request.stored.replace(changes=append.attempts.get(request.token))


def _late(refusal: Refusal, leader: Append) -> SlttError:
    """Make the error for an append that was refused until its time was up."""
    if refusal.throttled:
        return Throttled("the table was throttled until the time was up")
    project_id = leader.member.chunk.project_id
    return TooManyWriters(f"others write to project {project_id} all the time; this append found no gap in time")


def _fail_late(appends: Sequence[Append], leader: Append, error: SlttError) -> None:
    """Give an error to those whose time is up; the others have the next leader's time."""
    _fail([append for append in appends if append.deadline <= leader.deadline], error)


def _fail(appends: Sequence[Append], error: SlttError) -> None:
    for append in appends:
        if append.open:
            append.error = error
