"""`SyncManager`: syncs a device in the background, for as long as a program wants it to.

One thread syncs. Another waits at the server until a project moves (`GET /api/heads`). After a failure, both wait: a
random time up to a bound that doubles (full jitter, https://aws.amazon.com/blogs/architecture/
exponential-backoff-and-jitter/), and at least as long as the server's `Retry-After` says.
"""

from __future__ import annotations

from threading import Event, Lock, Thread

from sltt_core.base.errors import SlttError
from sltt_core.base.runtime import SYSTEM
from sltt_core.sync import events
from sltt_core.sync.errors import Cancelled
from sltt_core.sync.outcomes import CANCELLED, OFFLINE
from sltt_core.sync.projects import FOLLOWING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.base.record import Record
    from sltt_core.base.runtime import Runtime
    from sltt_core.sync.outcomes import SyncResult
    from sltt_core.sync.store import DeviceStore
    from sltt_core.sync.syncer import Syncer

FIRST_BACKOFF = 0.5
"""The bound of the first pause after a failure, in seconds."""
LONGEST_BACKOFF = 300.0
"""The bound of every later pause at most, in seconds."""
WAIT_SECONDS = 30.0
"""How long a request waits at the server for news, in seconds; and how often a server that does not wait is asked."""


class Backoff:
    """The pauses after failures in a row."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns a number from 0 up to 1."""
        self._random = random
        self._bound = FIRST_BACKOFF

    def next(self, retry_after: float | None = None) -> float:
        """Return the seconds until the next try, at least `retry_after`."""
        pause = self._random() * self._bound
        self._bound = min(LONGEST_BACKOFF, self._bound * 2)
        return max(pause, retry_after or 0.0)

    def reset(self) -> None:
        """Begin again, after a success."""
        self._bound = FIRST_BACKOFF


class SyncManager:
    """Syncs in the background between `start` and `stop`, and tells watchers what happens."""

    def __init__(
        self,
        store: DeviceStore,
        syncer: Syncer,
        *,
        runtime: Runtime = SYSTEM,
        wait_seconds: float = WAIT_SECONDS,
        wait: Callable[[Event, float], bool] = Event.wait,
    ) -> None:
        """`wait` waits for an event, at most for so many seconds; a test replaces it."""
        self._store = store
        self._syncer = syncer
        self._random = runtime.random
        self._backoff = Backoff(runtime.random)
        self._wait_seconds = wait_seconds
        self._wait = wait
        self._lock = Lock()
        self._watchers: list[events.Events] = []
        self._threads: list[Thread] = []
        self._stopping = Event()
        self._work = Event()
        self._idle = Event()
        self._offline = False
        self._kept = False

    @property
    def is_running(self) -> bool:
        """Whether the device syncs in the background."""
        return bool(self._threads)

    def cancelled(self) -> bool:
        """Return whether requests are to end now: `stop` was called, and the sync that ran then did not end yet."""
        return self._stopping.is_set() or self._syncer.is_cancelled

    def start(self, *, keep: bool = True) -> None:
        """Begin to sync in the background. Does nothing when it has begun.

        With `keep`, it ends with `stop`, otherwise also with the last watcher.
        """
        with self._lock:
            self._kept = self._kept or keep
            if self._threads:
                return
            self._stopping.clear()
            self._work.set()
            self._threads = [
                Thread(target=self._sync, name="sltt-sync", daemon=True),
                Thread(target=self._listen, name="sltt-listen", daemon=True),
            ]
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """End the sync in the background, and wait until its threads have ended. Does nothing when it has ended.

        A sync that another thread called is cancelled, too. Watchers receive no further event.
        """
        with self._lock:
            for watcher in self._watchers:
                watcher.put(None)
            self._watchers = []
            self._end()

    def _end(self) -> None:
        self._kept = False
        self._stopping.set()
        self._syncer.cancel()
        self._work.set()
        self._idle.set()
        for thread in self._threads:
            thread.join()
        self._threads = []
        self._stopping.clear()

    def wake(self) -> None:
        """Sync now: an edit was made. After a failure, the pause is kept."""
        self._work.set()

    def watch(self, project_id: str | None = None) -> events.Events:
        """Return the events from now on, of one project or of all; `unwatch` ends them."""
        watcher = events.Events(project_id)
        with self._lock:
            self._watchers.append(watcher)
        return watcher

    def unwatch(self, watcher: events.Events) -> None:
        """End the events of a watcher. The sync in the background ends with the last one, unless it is kept."""
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
                watcher.put(None)
                if not self._watchers and self._threads and not self._kept:
                    self._end()

    def notify(self, event: Record) -> None:
        """Give an event to every watcher. Any thread may call it; the watchers receive it on theirs."""
        for watcher in list(self._watchers):
            watcher.put(event)

    def _sync(self) -> None:
        """Sync whenever there is something to do, until `stop`."""
        paused = True  # once: the login may be another one now
        while not self._stopping.is_set():
            self._work.clear()
            pause = 0.0
            try:
                pause = self._after(self._syncer.sync(paused=paused))
                paused = False
            except SlttError as error:
                pause = self._backoff.next(error.retry_after)
                self.notify(events.Failed(error.message))
            if pause:
                self._wait(self._stopping, pause)
                continue
            self._idle.set()
            self._wait(self._work, self._wait_seconds)
            self._idle.clear()
        self._idle.set()

    def _after(self, result: SyncResult) -> float:
        """Tell watchers about the connection; return the seconds until the next try after a failure, else 0."""
        troubles = [one.trouble for one in result.projects.values() if one.trouble is not None] + (
            [] if result.trouble is None else [result.trouble]
        )
        failed = next((trouble for trouble in troubles if trouble.outcome == OFFLINE), None)
        if failed is not None:
            pause = self._backoff.next(failed.retry_after)
            if not self._offline:
                self.notify(events.Offline(failed.detail, pause))
            self._offline = True
            return pause
        if any(trouble.outcome == CANCELLED for trouble in troubles):
            return 0.0
        self._backoff.reset()
        if self._offline:
            self._offline = False
            self.notify(events.Online())
        return 0.0

    def _listen(self) -> None:
        """Wait at the server for news while there is nothing to do, until `stop`."""
        backoff = Backoff(self._random)
        known: object = None
        while not self._stopping.is_set():
            self._idle.wait()
            if self._stopping.is_set():
                return
            pause = self._wait_seconds
            try:
                names = [name for name, known in self._store.status().projects.items() if known.state == FOLLOWING]
                found = self._syncer.moved(names, self._wait_seconds) if names else None
            except Cancelled:
                return
            except SlttError as error:  # the other thread finds out what is wrong: the server or the store
                self._ask_again()
                self._wait(self._stopping, backoff.next(error.retry_after))
                continue
            backoff.reset()
            news = None if found is None else found.replace(waited=0, timestamp="")
            if found is not None and (found.heads or found.diverged or found.refused) and news != known:
                known = news
                self._ask_again()
                continue
            if found is not None:
                pause -= found.waited
            if pause > 0:  # the server waits for less, or not at all: ask by the clock, and do not spin
                self._wait(self._stopping, pause)
                known = None
                if found is None:
                    self._ask_again()

    def _ask_again(self) -> None:
        """Let the other thread sync, before this one looks again."""
        self._idle.clear()
        self._work.set()
