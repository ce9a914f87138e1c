"""Many threads in one: greenlets, switched only where a thread would wait, in virtual time.

All that looks like chance comes from one seeded generator, so a seed is a schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

EPOCH = 1_700_000_000.0
"""Where virtual time begins, in seconds since 1970."""


class Host:
    """What threads run on: a process, which can be killed, or put to sleep."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.asleep_until = 0.0
        self.skew = 0.0
        """Seconds that its clock is ahead of true time."""
        self.lost = 0.0
        """Seconds that its steady clock has missed, while asleep."""
        self.slept = 0.0
        """Seconds that it has slept in all."""


class Task:
    """A thread of a host."""

    __slots__ = ("greenlet", "host", "turn")

    def __init__(self, host: Host, work: greenlet) -> None:
        self.host = host
        self.greenlet = work
        self.turn = 0
        """How often it has gone on: a wake-up for an earlier wait is void."""


class Scheduler:
    """Runs tasks, and calls that are due, until none is left."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.now = EPOCH
        self.steps = 0
        self.failures: list[BaseException] = []
        """What tasks ended with that nobody expected."""
        self.before_step: Callable[[Task], None] = lambda task: None
        self._queue: list[tuple[float, float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._number = 0
        self._main = getcurrent()
        self._current: Task | None = None
        self._tasks: list[Task] = []
        self._closing = False

    @property
    def current(self) -> Task:
        """The task that runs."""
        assert self._current is not None
        return self._current

    def later(self, delay: float, work: Callable[..., object], *arguments: Any) -> None:
        """Call something after a delay; of what is due together, chance picks."""
        self._number += 1
        heappush(self._queue, (self.now + delay, self.random.random(), self._number, work, arguments))

    def spawn(self, host: Host, work: Callable[[], object], delay: float = 0.0) -> None:
        """Have a host begin some work, after a delay."""

        def run(_: object) -> None:
            try:
                work()
            except Exception as error:  # what is no Exception, as Ctrl-C, ends the whole run
                self.failures.append(error)

        task = Task(host, greenlet(run, self._main))
        self._tasks.append(task)
        self.wake(task, delay)

    def wake(self, task: Task, delay: float = 0.0, value: Any = None) -> None:
        """Have a task go on after a delay, from the wait that it is in now, or is about to begin."""
        self.later(delay, self._go_on, task, task.turn, value)

    def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        self.wake(self.current, seconds)
        self.wait()

    def wait(self) -> Any:
        """Let others run until one of them wakes this task; returns what it is woken with."""
        if self._closing:
            raise GreenletExit
        return self._main.switch()

    def run(self) -> None:
        """Run until nothing is left that is due at any time."""
        queue = self._queue
        while queue:
            due, _, _, work, arguments = heappop(queue)
            self.now = max(self.now, due)
            work(*arguments)

    @property
    def stuck(self) -> list[Task]:
        """The tasks of living hosts that have not ended, though nothing will wake them."""
        return [task for task in self._tasks if task.host.alive and not task.greenlet.dead]

    def finish(self) -> None:
        """Let go of the tasks that were left standing; what they do on their way out is not heard."""
        self._closing = True
        for task in self._tasks:
            if not task.greenlet.dead:
                self._current = task
                task.greenlet.throw(GreenletExit)
        self._tasks.clear()

    def _go_on(self, task: Task, turn: int, value: Any) -> None:
        # A host that was killed leaves its tasks where they stand: no `finally` runs in a crash.
        if not task.host.alive or task.turn != turn or task.greenlet.dead:
            return
        if self.now < task.host.asleep_until:
            self.later(task.host.asleep_until - self.now, self._go_on, task, turn, value)
            return
        self.before_step(task)
        if not task.host.alive or self.now < task.host.asleep_until:  # it was just killed, or put to sleep
            self._go_on(task, turn, value)
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
    """A lock of the simulation, with the methods of `_thread.lock` that are used."""

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
        me = scheduler.current
        self._waiting.append(me)
        if timeout >= 0:
            scheduler.wake(me, timeout, False)
        got = bool(scheduler.wait())
        if not got and me in self._waiting:
            self._waiting.remove(me)
        return got

    def release(self) -> None:
        if not self._held and not self._scheduler.closing:
            raise RuntimeError("release unlocked lock")
        while self._waiting:
            task = self._waiting.pop(self._scheduler.random.randrange(len(self._waiting)))
            if task.host.alive and not task.greenlet.dead:
                self._scheduler.wake(task, 0.0, True)
                return  # it stays held, by another
        self._held = False

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
