"""`AppendQueue`: group commit. Appends to one project wait in a queue; one thread, the leader, writes them in groups.

A thread that finds no leader becomes the leader. It writes groups of as many appends as fit in one transaction, until
its own append is done. Then the thread of the first append in the queue becomes the leader.
"""

from __future__ import annotations

from aws_backend.log.transactions import GRANT_ACTIONS, MAX_ACTIONS
from sltt_core.base.forks import call_after_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence
    from typing import Any

    from aws_backend.log.items import LogEnd
    from aws_backend.log.transactions import Member
    from sltt_core.log.batches import StoredChunk
    from sltt_core.model.changes import Change
else:
    from _collections import deque  # `collections` loads more than a cold start needs

MAX_PROJECTS = 10_000
"""Number of projects whose log end is cached."""


class Append:
    """A chunk to store, and its outcome."""

    __slots__ = ("attempts", "deadline", "error", "gone", "leads", "member", "result", "size", "turn", "woken")

    def __init__(self, member: Member, size: int, deadline: float, turn: Any) -> None:
        """`size` is its size in a transaction, in bytes. `turn` is a lock that the caller has acquired."""
        self.member = member
        self.deadline = deadline
        self.size = size
        self.turn = turn  # released when the append is done, or when its thread becomes the leader
        self.leads = False
        self.woken = False
        self.gone = False
        """Whether its thread was interrupted while it waited: it is not written again then, and does not lead."""
        self.result: StoredChunk | None = None
        self.error: BaseException | None = None
        self.attempts: dict[str, tuple[Change, ...]] = {}
        """Its changes in each transaction that was sent, by the token of the transaction."""

    @property
    def open(self) -> bool:
        """Whether it has neither a result nor an error yet."""
        return self.result is None and self.error is None

    def wake(self) -> None:
        """Let its thread continue. Only the first call has an effect."""
        if not self.woken:
            self.woken = True
            self.turn.release()


class ProjectQueue:
    """The waiting appends to one project, and the end of its log."""

    __slots__ = ("busy", "end", "waiting")

    def __init__(self) -> None:
        self.busy = False
        """Whether a thread is the leader."""
        self.waiting: deque[Append] = deque()
        self.end: LogEnd | None = None
        """The log's end after this process's last append; other processes may have appended since. `None`: unknown."""


class AppendQueue:
    """The queues of all projects. Safe for use by several threads."""

    def __init__(
        self,
        write: Callable[[ProjectQueue, Sequence[Append]], None],
        *,
        max_bytes: int,
        new_lock: Callable[[], Any],
    ) -> None:
        """`write` stores a group and sets a result or an error on each append, except those before their deadline.

        `max_bytes` is the largest total size of a group.
        """
        self._write = write
        self._max_bytes = max_bytes
        self._new_lock = new_lock
        self._lock = new_lock()  # protects the queues; never held during a call to DynamoDB
        self._queues: dict[str, ProjectQueue] = {}
        self._groups = self._grouped = 0
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Begin with empty queues: the threads in the parent's, and their leaders, do not exist in the child."""
        self._lock = self._new_lock()
        self._queues = {}

    def run(self, project_id: str, append: Append) -> StoredChunk:
        """Block until this thread or another has written the append; return its result or raise its error."""
        with self._lock:
            queue = self._queue(project_id)
            queue.waiting.append(append)
            leads = not queue.busy
            queue.busy = True
        if not leads:
            try:
                append.turn.acquire()
            except BaseException:
                self._leave(queue, append)
                raise
            leads = append.leads
        if leads:
            self._lead(queue, append)
        if append.error is not None:
            raise append.error
        return append.result  # type: ignore[return-value]  # without an error it has a result

    def gauges(self) -> dict[str, float]:
        """Return the waiting appends, the groups since the start, and the appends in them."""
        with self._lock:
            waiting = sum(len(queue.waiting) for queue in self._queues.values())
        return {"commit_queue_length": waiting, "commit_groups": self._groups, "commit_grouped": self._grouped}

    def forget(self, project_id: str) -> None:
        """Read the log's end again before the next append."""
        queue = self._queues.get(project_id)
        if queue is not None:
            queue.end = None

    def _queue(self, project_id: str) -> ProjectQueue:
        queue = self._queues.get(project_id)
        if queue is None:
            if len(self._queues) >= MAX_PROJECTS:
                idle = next((name for name, old in self._queues.items() if not old.busy), None)
                if idle is not None:
                    del self._queues[idle]
            queue = self._queues[project_id] = ProjectQueue()
        return queue

    def _leave(self, queue: ProjectQueue, append: Append) -> None:
        """Remove the append of a thread that was interrupted while it waited; if it was to lead, the next one leads."""
        with self._lock:
            append.gone = True
            if append in queue.waiting:
                queue.waiting.remove(append)
        if append.leads:
            self._hand_over(queue, [])

    def _lead(self, queue: ProjectQueue, mine: Append) -> None:
        """Write groups until the thread's own append is done, then make the first waiting thread the leader."""
        group: list[Append] = []
        try:
            while mine.open:
                group = self._next_group(queue)
                self._write(queue, group)
                self._settle(queue, group, mine)
        finally:  # also if this thread is interrupted: another must lead
            mine.leads = False
            others = [append for append in group if append is not mine]
            for append in others:
                if not append.open:
                    append.wake()
            self._hand_over(queue, [append for append in others if append.open])

    def _next_group(self, queue: ProjectQueue) -> list[Append]:
        """Remove from the queue the first appends that fit in one transaction; return them in order.

        A second append with the same key stays in the queue: one transaction cannot write an item twice.
        """
        group: list[Append] = []
        left: list[Append] = []
        keys: set[tuple[str, int]] = set()
        actions, size = 1, 0
        with self._lock:
            for append in queue.waiting:
                key = (append.member.key, append.member.chunk.number)
                own_actions = 1 + len(append.member.chunk.changes) + GRANT_ACTIONS * bool(append.member.chunk.owner)
                fits = not group or (
                    not left
                    and key not in keys
                    and actions + own_actions <= MAX_ACTIONS
                    and size + append.size <= self._max_bytes
                )
                (group if fits else left).append(append)
                if fits:
                    keys.add(key)
                    actions += own_actions
                    size += append.size
            queue.waiting = deque(left)
            self._groups += 1
            self._grouped += len(group)
        return group

    def _settle(self, queue: ProjectQueue, group: Sequence[Append], mine: Append) -> None:
        """Wake the threads of finished appends; put the other appends back at the front of the queue."""
        with self._lock:
            queue.waiting.extendleft(append for append in reversed(group) if append.open and not append.gone)
        for append in group:
            if not append.open and append is not mine:
                append.wake()

    def _hand_over(self, queue: ProjectQueue, unfinished: Sequence[Append]) -> None:
        """Put unfinished appends back in the queue, and make the thread of the first append the leader."""
        with self._lock:
            queued = set(map(id, queue.waiting))
            queue.waiting.extendleft(
                append for append in reversed(unfinished) if id(append) not in queued and not append.gone
            )
            following = queue.waiting[0] if queue.waiting else None
            queue.busy = following is not None
            if following is not None:
                following.leads = True
        if following is not None:
            following.wake()
