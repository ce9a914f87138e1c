"""Simulates threads by greenlets in virtual time. They switch only where a thread would block.

All random decisions come from one seeded generator, so a seed determines a schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

EPOCH = 1_700_000_000.0
"""The beginning of virtual time, in seconds since 1970."""


class Host:
    """A process that threads run on. It can be killed or put to sleep."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.asleep_until = 0.0
        self.skew = 0.0
        """How many seconds its clock is ahead of true time."""
        self.lost = 0.0
        """How many seconds its steady clock stood still while it slept."""
        self.slept = 0.0
        """How many seconds it has slept in total."""


class Task:
    """A thread of a host."""

    __slots__ = ("greenlet", "host", "turn")

    def __init__(self, host: Host, work: greenlet) -> None:
        self.host = host
        self.greenlet = work
        self.turn = 0
        """How often it was resumed. A wake-up for an earlier wait has no effect."""


class Scheduler:
    """Runs tasks and delayed calls until none is left."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = EPOCH
        self.steps = 0
        self.failures: list[BaseException] = []
        """The exceptions that tasks ended with."""
        self.before_step: Callable[[Task], None] = lambda task: None
        self._queue: list[tuple[float, float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._number = 0
        self._main = getcurrent()
        self._current: Task | None = None
        self._tasks: list[Task] = []
        self._closing = False

    @property
    def current(self) -> Task:
        """The running task."""
        assert self._current is not None
        return self._current

    def later(self, delay: float, work: Callable[..., object], *arguments: Any) -> None:
        """Call a function after a delay in seconds. Calls that are due at the same time run in random order."""
        self._number += 1
        heappush(self._queue, (self.now + delay, self.random.random(), self._number, work, arguments))

    def spawn(self, host: Host, work: Callable[[], object], delay: float = 0.0) -> None:
        """Start a task on a host after a delay."""

        def run(_: object) -> None:
            try:
                work()
            except Exception as error:  # a BaseException such as Ctrl-C ends the whole run
                self.failures.append(error)

        task = Task(host, greenlet(run, self._main))
        self._tasks.append(task)
        self.wake(task, delay)

    def wake(self, task: Task, delay: float = 0.0, value: Any = None) -> None:
        """Resume a task after a delay, from its current wait or the one that it is about to begin."""
        self.later(delay, self._resume, task, task.turn, value)

    def sleep(self, seconds: float) -> None:
        """Block the current task for so many seconds."""
        self.wake(self.current, seconds)
        self.wait()

    def wait(self) -> Any:
        """Block the current task until it is woken; return the value it is woken with."""
        if self._closing:
            raise GreenletExit
        return self._main.switch()

    def run(self) -> None:
        """Run until no delayed call is left."""
        queue = self._queue
        while queue:
            due, _, _, work, arguments = heappop(queue)
            self.now = max(self.now, due)
            work(*arguments)

    @property
    def stuck(self) -> list[Task]:
        """The tasks of living hosts that have not ended and that nothing will wake."""
        return [task for task in self._tasks if task.host.alive and not task.greenlet.dead]

    def finish(self) -> None:
        """End all remaining tasks. Their `finally` blocks run, but have no effect on the schedule."""
        self._closing = True
        for task in self._tasks:
            if not task.greenlet.dead:
                self._current = task
                task.greenlet.throw(GreenletExit)
        self._tasks.clear()

    def _resume(self, task: Task, turn: int, value: Any) -> None:
        # The tasks of a killed host are not resumed: no `finally` block runs in a crash.
        if not task.host.alive or task.turn != turn or task.greenlet.dead:
            return
        if self.now < task.host.asleep_until:
            self.later(task.host.asleep_until - self.now, self._resume, task, turn, value)
            return
        self.before_step(task)
        if not task.host.alive or self.now < task.host.asleep_until:  # changed by `before_step`
            self._resume(task, turn, value)
            return
        task.turn += 1
        self.steps += 1
        self._current = task
        task.greenlet.switch(value)
        self._current = None

    @property
    def closing(self) -> bool:
        return self._closing


class Lock:
    """A simulated lock with those methods of `_thread.lock` that the storage uses."""

    __slots__ = ("_held", "_scheduler", "_waiting")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False
        self._waiting: list[Task] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not self._held or self._scheduler.closing:
            self._held = True
            return True
        if not blocking:
            return False
        scheduler = self._scheduler
        task = scheduler.current
        self._waiting.append(task)
        if timeout >= 0:
            scheduler.wake(task, timeout, False)
        acquired = bool(scheduler.wait())
        if not acquired and task in self._waiting:
            self._waiting.remove(task)
        return acquired

    def release(self) -> None:
        if not self._held and not self._scheduler.closing:
            raise RuntimeError("release unlocked lock")
        while self._waiting:
            task = self._waiting.pop(self._scheduler.random.randrange(len(self._waiting)))
            if task.host.alive and not task.greenlet.dead:
                self._scheduler.wake(task, 0.0, True)
                return  # the lock stays held, now by this task
        self._held = False

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
