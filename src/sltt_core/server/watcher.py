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

    from sltt_core.log.storage import BaseStorageService

PACE_SECONDS = 0.02
"""Minimum time between two rounds, so that the thread does not run for each of many quick writes. A client that waits
for the first of them gets its response immediately."""
ROUND_SECONDS = 0.5
"""Maximum time of a wait for a write; then the thread checks whether clients still wait."""


class Watcher:
    """Wakes coroutines when their project has a change after their cursor."""

    def __init__(self, storage: BaseStorageService) -> None:
        self._storage = storage
        self._lock = Lock()
        self._waiting: dict[str, dict[Future[None], int]] = {}
        self._thread: Thread | None = None
        self._closed = Event()

    @property
    def closed(self) -> bool:
        """Whether `close` was called: `wait` then returns immediately."""
        return self._closed.is_set()

    async def wait(self, project_id: str, cursor: int, seconds: float) -> None:
        """Return when the project may have a change after the cursor, or after `seconds`."""
        loop = asyncio.get_running_loop()
        future: Future[None] = loop.create_future()
        with self._lock:
            if self.closed:
                return
            self._waiting.setdefault(project_id, {})[future] = cursor
            if self._thread is None:
                self._thread = Thread(target=self._watch, args=(loop,), name="sltt-watcher", daemon=True)
                self._thread.start()
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            pass
        finally:
            with self._lock:
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
            looked = monotonic()
            try:
                mark = self._storage.write_mark()
                for project, head in self._storage.get_heads(projects).items():
                    self._notify(loop, project, head)
                self._storage.wait_for_write(mark, ROUND_SECONDS)
            except SlttError:
                # The woken requests read the log themselves and report the error.
                for project in projects:
                    self._notify(loop, project, MAX_SEQ)
            self._closed.wait(looked + PACE_SECONDS - monotonic())

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
