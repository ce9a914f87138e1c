"""`Watcher`: one thread that looks for changes for all waiting clients.

A waiting client needs a future, not a thread. The thread runs only while clients wait. It waits in the storage for a
write by any process. Then it reads the head of each project for which clients wait.
"""

from __future__ import annotations

import asyncio
from threading import Event, Lock, Thread
from time import monotonic

from sltt_core.base.errors import SlttError
from sltt_core.model.fields import MAX_SEQ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future
    from collections.abc import Callable, Mapping

    from sltt_core.log.storage import BaseStorageService

PACE_SECONDS = 0.02
"""Minimum time between two rounds, so that the thread does not run for each of many quick writes. A client that waits
for the first of them gets its response immediately."""
STUCK_SECONDS = 60.0
"""A thread that has not finished a round for this time is reported: every storage call ends earlier."""
ROUND_SECONDS = 0.5
"""Maximum time of a wait for a write; then the thread checks whether clients still wait."""


class Watcher:
    """Wakes coroutines when one of their projects has a change after their cursor."""

    def __init__(self, storage: BaseStorageService, report: Callable[[BaseException], None] | None = None) -> None:
        """`report` is called with an error of the thread; the thread goes on."""
        self._storage = storage
        self._report = report
        self._looked = 0.0
        self._lock = Lock()
        self._waiting: dict[str, dict[Future[None], int]] = {}
        self._thread: Thread | None = None
        self._closed = Event()

    @property
    def closed(self) -> bool:
        """Whether `close` was called: `wait` then returns immediately."""
        return self._closed.is_set()

    @property
    def waiting(self) -> int:
        """The number of coroutines that wait."""
        with self._lock:
            return len({future for waiting in self._waiting.values() for future in waiting})

    def fault(self) -> str | None:
        """Return what is wrong with the thread: it has ended although clients wait, or it does not advance."""
        with self._lock:
            if self.closed or not self._waiting:
                return None
            if self._thread is None or not self._thread.is_alive():
                return "the thread that looks for changes has ended"
            seconds = monotonic() - self._looked
        return f"the thread that looks for changes is stuck for {seconds:.0f} s" if seconds > STUCK_SECONDS else None

    async def wait(self, cursors: Mapping[str, int], seconds: float) -> None:
        """Return when one of the projects may have a change after its cursor, or after `seconds`."""
        loop = asyncio.get_running_loop()
        future: Future[None] = loop.create_future()
        with self._lock:
            if self.closed:
                return
            for project_id, cursor in cursors.items():
                self._waiting.setdefault(project_id, {})[future] = cursor
            if self._thread is None or not self._thread.is_alive():
                self._looked = monotonic()
                self._thread = Thread(target=self._watch, args=(loop,), name="sltt-watcher", daemon=True)
                self._thread.start()
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                for project_id in cursors:
                    waiting = self._waiting.get(project_id)
                    if waiting is not None:
                        waiting.pop(future, None)
                        if not waiting:
                            del self._waiting[project_id]

    def close(self) -> None:
        """Wake all coroutines, and let later calls of `wait` return immediately; call it in the loop's thread."""
        with self._lock:
            self._closed.set()
            futures = [future for waiting in self._waiting.values() for future in waiting]
        for future in futures:
            _wake(future)

    def _watch(self, loop: AbstractEventLoop) -> None:
        while True:
            with self._lock:
                if self.closed or not self._waiting:
                    self._thread = None
                    return
                projects = list(self._waiting)
                looked = self._looked = monotonic()
            try:
                mark = self._storage.write_mark()
                self._look(loop, projects)
                self._storage.wait_for_write(mark, ROUND_SECONDS)
            except Exception as error:  # the thread must survive: all waiting clients depend on it
                self._failed(loop, projects, error)
            self._closed.wait(looked + PACE_SECONDS - monotonic())

    def _look(self, loop: AbstractEventLoop, projects: list[str]) -> None:
        try:
            heads = self._storage.get_heads(projects)
        except Exception as error:
            if len(projects) == 1:
                self._failed(loop, projects, error)
                return
            for project in projects:  # one of them is damaged; the others are still read
                self._look(loop, [project])
            return
        for project, head in heads.items():
            self._notify(loop, project, head)

    def _failed(self, loop: AbstractEventLoop, projects: list[str], error: Exception) -> None:
        """Report an error and wake the clients: they look into the log themselves and get the error there."""
        if self._report is not None and not isinstance(error, SlttError):
            self._report(error)
        for project in projects:
            self._notify(loop, project, MAX_SEQ)

    def _notify(self, loop: AbstractEventLoop, project: str, head: int) -> None:
        """Wake the coroutines that wait for the project with a cursor before `head`."""
        with self._lock:
            waiting = self._waiting.get(project, {})
            ready = [future for future, cursor in waiting.items() if head > cursor]
            for future in ready:
                del waiting[future]
            if not waiting:
                self._waiting.pop(project, None)
        for future in ready:
            loop.call_soon_threadsafe(_wake, future)


def _wake(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
