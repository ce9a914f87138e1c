"""`Appender`: how chunks get into the table. Threads that append to one project share a transaction (group commit).

One thread at a time, the leader, writes for a project; those that come meanwhile queue up, and the next leader takes
as many of them with it as one transaction holds. Between processes the sequence item decides: whoever's condition
holds has won, the others are told the log's true end in the refusal and try again at once.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque

from aws_backend.dynamodb.errors import InvalidRequest, TokenReused, TransactionCanceled, TransactionConflict
from aws_backend.dynamodb.retry import may_have_been_carried_out
from aws_backend.log.items import LogEnd, Request, request_key
from aws_backend.log.table import DAMAGED_HINT, THROTTLE_SECONDS, refused, veiled
from aws_backend.log.transactions import MAX_ACTIONS, Built, Member, Refusal, build, read_reasons, throttled_error
from sltt_core.base.errors import LogDamaged, NotALog, SlttError, TooManyWriters
from sltt_core.base.timestamps import now_utc
from sltt_core.log.batches import KEY_DAYS, StoredChunk, one_type_too_many, too_many_entity_types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from aws_backend.log.table import LogTable
    from sltt_core.log.batches import Chunk
    from sltt_core.model.changes import Change

CONFLICT_SECONDS = 0.01
"""After a conflict with a transaction in flight, one waits a random part of this; after a lost race, not at all.

Not to wait at all takes twice the transactions, which are paid for, and saves a fifth of the slowest hundredth; to wait
after lost races, too, or longer each time, lets whoever won last win again (`make bench ARGS=contention`).
"""
REQUEST_BYTES = 1_000
"""What a request item takes at most, for the size of a transaction."""
MAX_LANES = 10_000
"""Projects whose log's end is remembered; one more is read again."""
_DAY = 86_400


class _Job:
    """A chunk that a thread wants stored, and what became of it."""

    __slots__ = ("attempts", "deadline", "error", "gone", "leads", "member", "result", "size", "turn", "woken")

    def __init__(self, member: Member, deadline: float, turn: Any) -> None:
        self.member = member
        self.deadline = deadline
        self.size = REQUEST_BYTES + member.chunk.size
        self.turn = turn  # a lock that is held until the job is done, or its thread is to lead
        self.leads = False
        self.woken = False
        self.gone = False
        """Whether its thread was interrupted while it waited: it is not tried again, and does not lead."""
        self.result: StoredChunk | None = None
        self.error: BaseException | None = None
        # What earlier transactions of this job would have written, by their tokens: one of them may yet turn out to
        # have been carried out.
        self.attempts: dict[str, tuple[Change, ...]] = {}

    @property
    def open(self) -> bool:
        return self.result is None and self.error is None

    def wake(self) -> None:
        """Let its thread go on, once."""
        if not self.woken:
            self.woken = True
            self.turn.release()


class _Lane:
    """The queue of one project."""

    __slots__ = ("busy", "end", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.waiting: deque[_Job] = deque()
        self.end: LogEnd | None = None
        """The log's end as this process knows it; it may have moved on since."""


class Appender:
    """Appends chunks to the logs of a table. Safe for use by several threads."""

    def __init__(
        self,
        table: LogTable,
        *,
        max_bytes: int,
        new_key: Callable[[], str],
        new_lock: Callable[[], Any] = allocate_lock,
    ) -> None:
        """`new_key` gives a random key of 32 characters. Clocks, pauses and chance are the table's."""
        self._table = table
        self._max_bytes = max_bytes
        self._new_key = new_key
        self._new_lock = new_lock
        self._lock = new_lock()  # of the lanes; held for a moment only
        self._lanes: dict[str, _Lane] = {}

    def append(self, chunk: Chunk) -> StoredChunk:
        """Store a chunk atomically, unless its key and number are stored already: then return what they hold.

        Raises `InvalidBatch` for one entity type too many, `TooManyWriters` or `Throttled` when the time is up,
        `LogDamaged` and `NotALog` when the log is not in order, `TransportError` when DynamoDB cannot be reached.
        """
        table = self._table
        days = 1 if chunk.key is None else KEY_DAYS  # nobody asks again for a random key
        expires = table.clock() // 1_000_000_000 + days * _DAY
        turn = self._new_lock()
        turn.acquire()
        job = _Job(Member(chunk, chunk.key or self._new_key(), expires), table.deadline(), turn)
        with self._lock:
            lane = self._lane(chunk.project_id)
            lane.waiting.append(job)
            leads = not lane.busy
            lane.busy = True
        if not leads:
            try:
                turn.acquire()
            except BaseException:
                self._leave(lane, job)
                raise
            leads = job.leads
        if leads:
            self._lead(lane, job)
        if job.error is not None:
            raise job.error
        assert job.result is not None
        return job.result

    def _leave(self, lane: _Lane, job: _Job) -> None:
        """Let the others go on without a thread that was interrupted while it waited."""
        with self._lock:
            job.gone = True
            if job in lane.waiting:
                lane.waiting.remove(job)
        if job.leads:
            self._hand_over(lane, [])

    def forget(self, project_id: str) -> None:
        """Look at the log's end anew before the next append."""
        lane = self._lanes.get(project_id)
        if lane is not None:
            lane.end = None

    def _lane(self, project_id: str) -> _Lane:
        lane = self._lanes.get(project_id)
        if lane is None:
            if len(self._lanes) >= MAX_LANES:
                idle = next((name for name, old in self._lanes.items() if not old.busy), None)
                if idle is not None:
                    del self._lanes[idle]
            lane = self._lanes[project_id] = _Lane()
        return lane

    # Leading

    def _lead(self, lane: _Lane, mine: _Job) -> None:
        """Write for the queue until my own job is done, and hand over to whoever waits then."""
        group: list[_Job] = []
        try:
            while mine.open:
                group = self._next_group(lane)
                self._store(lane, group)
                self._settle(lane, group, mine)
        finally:  # also when this thread is interrupted: the others go on without it
            mine.leads = False
            others = [job for job in group if job is not mine]
            for job in others:
                if not job.open:
                    job.wake()
            self._hand_over(lane, [job for job in others if job.open])

    def _next_group(self, lane: _Lane) -> list[_Job]:
        """Take from the queue what one transaction holds, in order; a key that is there twice has to wait."""
        group: list[_Job] = []
        left: list[_Job] = []
        keys: set[tuple[str, int]] = set()
        actions, size = 1, 0
        with self._lock:
            for job in lane.waiting:
                key = (job.member.key, job.member.chunk.number)
                job_actions = 1 + len(job.member.chunk.changes)
                fits = not group or (
                    not left
                    and key not in keys
                    and actions + job_actions <= MAX_ACTIONS
                    and size + job.size <= self._max_bytes
                )
                (group if fits else left).append(job)
                if fits:
                    keys.add(key)
                    actions += job_actions
                    size += job.size
            lane.waiting = deque(left)
        return group

    def _settle(self, lane: _Lane, group: Sequence[_Job], mine: _Job) -> None:
        """Wake those that are done; put those that are not back at the head of the queue."""
        with self._lock:
            lane.waiting.extendleft(job for job in reversed(group) if job.open and not job.gone)
        for job in group:
            if not job.open and job is not mine:
                job.wake()

    def _hand_over(self, lane: _Lane, unfinished: Sequence[_Job]) -> None:
        with self._lock:
            queued = set(map(id, lane.waiting))
            lane.waiting.extendleft(job for job in reversed(unfinished) if id(job) not in queued and not job.gone)
            following = lane.waiting[0] if lane.waiting else None
            lane.busy = following is not None
            if following is not None:
                following.leads = True
        if following is not None:
            following.wake()

    # One flight

    def _store(self, lane: _Lane, group: Sequence[_Job]) -> None:
        """Write the group in one transaction, whatever it takes, until the leader's time is up.

        Every job of it has a result or an error then, but for those that were taken along and whose own time is not up.
        """
        leader = group[0]
        refusal: Refusal | None = None
        throttles = 0
        while jobs := [job for job in group if job.open]:
            sent = False
            try:
                if lane.end is None:
                    lane.end = self._table.read_end(leader.member.chunk.project_id, leader.deadline)
                jobs = self._admit(lane.end, jobs)
                if not jobs:
                    continue
                if refusal is not None and self._table.steady_clock() >= leader.deadline:
                    _fail_late(jobs, leader, _late(refusal, leader))
                    return
                sent = True
                refusal = self._try(lane, jobs, leader.deadline)
            except SlttError as error:
                if isinstance(error, (InvalidRequest, TransactionCanceled)):
                    # It does not say whose fault it is: each goes alone, and one of them meets it again.
                    for job in jobs if len(jobs) > 1 else ():
                        self._store(lane, [job])
                    error = refused(error)
                if self._table.steady_clock() < leader.deadline:
                    _fail(jobs, error)
                else:
                    # Of what was sent nobody knows what became of it; what was not sent only came too late.
                    _fail_late(jobs, leader, error if sent or refusal is None else _late(refusal, leader))
                return
            if refusal is None:
                continue
            if refusal.throttled:
                seconds = THROTTLE_SECONDS * 2.0**throttles
                throttles += 1
            else:
                seconds = CONFLICT_SECONDS if refusal.conflict else 0.0
            wait = seconds * self._table.random() if seconds else 0.0
            if self._table.steady_clock() + wait >= leader.deadline:
                _fail_late(jobs, leader, _late(refusal, leader))
                return
            if wait:
                self._table.pause(wait)

    def _admit(self, end: LogEnd, jobs: Sequence[_Job]) -> list[_Job]:
        """Refuse the jobs that would bring in one entity type too many; return the others."""
        known = set(end.entity_types)
        admitted = []
        for job in jobs:
            chunk = job.member.chunk
            types = [change.entity_type for change in chunk.changes]
            too_many = one_type_too_many(known, types)
            if too_many is None:
                known.update(types)
                admitted.append(job)
            elif (before := self._stored(job)) is not None:
                job.result = before.stored  # refused, but for that it was stored before
            else:
                job.error = too_many_entity_types(chunk.offset + too_many)
        return admitted

    def _try(self, lane: _Lane, jobs: Sequence[_Job], deadline: float) -> Refusal | None:
        """Send one transaction; `None` when it was carried out, or when the log has to be looked at anew."""
        table = self._table
        members = [job.member for job in jobs]
        assert lane.end is not None
        built = build(table.name, members, lane.end, now_utc(table.clock), table.new_token())
        for job, changes in zip(jobs, built.changes, strict=True):
            job.attempts[built.token] = changes
        try:
            table.call("TransactWriteItems", built.payload, deadline)
        except TransactionCanceled as error:
            refusal = read_reasons(error.reasons, built, members)
            if refusal is None:
                raise
            self._apply_refusal(lane, jobs, refusal, built)
            return refusal
        except SlttError as error:
            self._find_out(lane, jobs, deadline, error)
            return None
        lane.end = built.after
        for job, changes in zip(jobs, built.changes, strict=True):
            job.result = _stored(job.member.chunk, changes)
        return None

    def _apply_refusal(self, lane: _Lane, jobs: Sequence[_Job], refusal: Refusal, built: Built) -> None:
        """Take from a refusal what it says: replays, the log's true end, damage."""
        for place, request in refusal.replays.items():
            jobs[place].result = _replayed(jobs[place], request)
        if refusal.end is not None:
            if refusal.end == built.before:
                raise NotALog(
                    f"the sequence item of project {jobs[0].member.chunk.project_id} does not hold what it says",
                    hint=DAMAGED_HINT,
                )
            lane.end = refusal.end
        elif refusal.conflict or refusal.throttled:
            if refusal.conflict:
                lane.end = None  # whoever held the item has moved it on by the time it is read
        elif not refusal.replays and refusal.occupied is not None:
            lane.end = None
            project_id = jobs[0].member.chunk.project_id
            raise LogDamaged(
                f"change {refusal.occupied} of project {project_id} is there already, and is the next by the "
                f"sequence item ({built.before.value}); nothing was written",
                hint=DAMAGED_HINT,
            )

    def _find_out(self, lane: _Lane, jobs: Sequence[_Job], deadline: float, error: SlttError) -> None:
        """Settle a transaction that ended with an error by strong reads of its request items.

        Whatever the error says of the last attempt, one before it may have been carried out. When nothing is found,
        the transaction may still come; but it and its successor exclude each other, because both expect the same end
        and the same absent request items. Raises the error when another try is of no use.
        """
        lane.end = None
        again = may_have_been_carried_out(error) or isinstance(error, (TransactionConflict, TokenReused))
        for job in jobs:
            try:
                found = self._stored(job, deadline)
            except SlttError:
                again = False
                break
            if found is None:
                break
            job.result = _replayed(job, found)
        if not again and any(job.open for job in jobs):
            raise refused(error) if isinstance(error, TokenReused) else error

    def _stored(self, job: _Job, deadline: float | None = None) -> Request | None:
        chunk = job.member.chunk
        key = request_key(chunk.project_id, job.member.key, chunk.number)
        return self._table.read_request(key, job.deadline if deadline is None else deadline)


def _stored(chunk: Chunk, changes: tuple[Change, ...]) -> StoredChunk:
    return StoredChunk(changes[0].seq, len(changes), chunk.fingerprint, changes, chunk.offset)


def _replayed(job: _Job, request: Request) -> StoredChunk:
    """Answer with a request item that was found: with the changes themselves, when this job wrote it."""
    return request.stored.replace(changes=job.attempts.get(request.token))


def _late(refusal: Refusal, leader: _Job) -> SlttError:
    """Make the error for who was refused until the time was up."""
    if refusal.throttled:
        return veiled(throttled_error())
    project_id = leader.member.chunk.project_id
    return TooManyWriters(f"others write to project {project_id} so much that this did not get its turn in time")


def _fail_late(jobs: Sequence[_Job], leader: _Job, error: SlttError) -> None:
    """Give an error to those whose time is up; the others have the next leader's."""
    _fail([job for job in jobs if job.deadline <= leader.deadline], error)


def _fail(jobs: Sequence[_Job], error: SlttError) -> None:
    for job in jobs:
        if job.open:
            job.error = error
