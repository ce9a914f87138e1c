"""`AppendQueue`: group commit. Threads that append to one project queue up, and one of them writes for all.

The thread that finds a project idle leads: it takes as many appends as one transaction holds and writes them, until its
own is done. Then it hands over to the thread at the front of the queue.
"""

from __future__ import annotations

from collections import deque

from aws_backend.log.transactions import MAX_ACTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from aws_backend.log.items import LogEnd
    from aws_backend.log.transactions import Member
    from sltt_core.log.batches import StoredChunk
    from sltt_core.model.changes import Change

MAX_PROJECTS = 10_000
"""Projects whose log's end is remembered; the end of any other is read again."""


class Append:
    """A chunk that a thread wants stored, and what became of it."""

    __slots__ = ("attempts", "deadline", "error", "gone", "leads", "member", "result", "size", "turn", "woken")

    def __init__(self, member: Member, size: int, deadline: float, turn: Any) -> None:
        """`size` is what it takes of a transaction, in bytes; `turn` is a lock that is held."""
        self.member = member
        self.deadline = deadline
        self.size = size
        self.turn = turn  # released when the append is done, or when its thread is to lead
        self.leads = False
        self.woken = False
        self.gone = False
        """Whether its thread was interrupted while it waited: it is not tried again, and does not lead."""
        self.result: StoredChunk | None = None
        self.error: BaseException | None = None
        self.attempts: dict[str, tuple[Change, ...]] = {}
        """The changes of each transaction that was sent for it, by the transaction's token."""

    @property
    def open(self) -> bool:
        """Whether nothing came of it yet."""
        return self.result is None and self.error is None

    def wake(self) -> None:
        """Let its thread continue, once."""
        if not self.woken:
            self.woken = True
            self.turn.release()


class ProjectQueue:
    """The appends to one project that wait, and the end of its log."""

    __slots__ = ("busy", "end", "waiting")

    def __init__(self) -> None:
        self.busy = False
        """Whether a thread leads."""
        self.waiting: deque[Append] = deque()
        self.end: LogEnd | None = None
        """The log's end as this process knows it; others may have appended since. `None`: to be read."""


class AppendQueue:
    """The queues of all projects. Safe for use by several threads."""

    def __init__(
        self,
        write: Callable[[ProjectQueue, Sequence[Append]], None],
        *,
        max_bytes: int,
        new_lock: Callable[[], Any],
    ) -> None:
        """`write` stores a group: every append of it has a result or an error then, unless its own time is not up.

        `max_bytes` bounds the size of a group.
        """
        self._write = write
        self._max_bytes = max_bytes
        self._lock = new_lock()  # of the queues; held for a moment only
        self._queues: dict[str, ProjectQueue] = {}

    def run(self, project_id: str, append: Append) -> StoredChunk:
        """Have an append written, by this thread or by another; return its result or raise its error."""
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
        assert append.result is not None
        return append.result

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
        """Let the others continue without a thread that was interrupted while it waited."""
        with self._lock:
            append.gone = True
            if append in queue.waiting:
                queue.waiting.remove(append)
        if append.leads:
            self._hand_over(queue, [])

    def _lead(self, queue: ProjectQueue, mine: Append) -> None:
        """Write for the queue until my own append is done, then hand over to the first that waits."""
        group: list[Append] = []
        try:
            while mine.open:
                group = self._next_group(queue)
                self._write(queue, group)
                self._settle(queue, group, mine)
        finally:  # also when this thread is interrupted: the others continue without it
            mine.leads = False
            others = [append for append in group if append is not mine]
            for append in others:
                if not append.open:
                    append.wake()
            self._hand_over(queue, [append for append in others if append.open])

    def _next_group(self, queue: ProjectQueue) -> list[Append]:
        """Take from the queue what one transaction holds, in order; a key that is there twice has to wait."""
        group: list[Append] = []
        left: list[Append] = []
        keys: set[tuple[str, int]] = set()
        actions, size = 1, 0
        with self._lock:
            for append in queue.waiting:
                key = (append.member.key, append.member.chunk.number)
                own_actions = 1 + len(append.member.chunk.changes)
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
        return group

    def _settle(self, queue: ProjectQueue, group: Sequence[Append], mine: Append) -> None:
        """Wake those that are done; put the others back at the front of the queue."""
        with self._lock:
            queue.waiting.extendleft(append for append in reversed(group) if append.open and not append.gone)
        for append in group:
            if not append.open and append is not mine:
                append.wake()

    def _hand_over(self, queue: ProjectQueue, unfinished: Sequence[Append]) -> None:
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
