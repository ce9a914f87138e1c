"""`Watcher`: one thread that looks for changes on behalf of every client that waits.

A waiting client costs a future, not a thread. The thread runs only while somebody waits. It asks the storage to wait
for a write, whoever makes it, and then looks at the end of each log that is waited for.
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
"""From one look to the next at least, so that writes in quick succession do not each set the thread going. A client
that waits for the first of them still gets its response at once."""
ROUND_SECONDS = 0.5
"""How long a wait for a write may last before the thread looks whether anybody still waits."""


class Watcher:
    """Wakes coroutines when there is a change after their cursor."""

    def __init__(self, storage: BaseStorageService) -> None:
        self._storage = storage
        self._lock = Lock()
        self._waiting: dict[str, dict[Future[None], int]] = {}
        self._thread: Thread | None = None
        self._closed = Event()

    @property
    def closed(self) -> bool:
        """Whether nobody may wait any more."""
        return self._closed.is_set()

    async def wait(self, project_id: str, cursor: int, seconds: float) -> None:
        """Return when there may be a change after the cursor, or when the time is up."""
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
        """Wake everybody, now and from now on; for use in the loop's thread."""
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
                # Those who wait look into the log themselves when they are woken, and meet the error there.
                for project in projects:
                    self._notify(loop, project, MAX_SEQ)
            self._closed.wait(looked + PACE_SECONDS - monotonic())

    def _notify(self, loop: AbstractEventLoop, project: str, head: int) -> None:
        """Wake those who wait for the project and have not read so far."""
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
