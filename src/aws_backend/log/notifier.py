"""`Notifier`: wakes waiting requests when this process has written something. It does not import `threading`."""

from __future__ import annotations

from _thread import allocate_lock

from sltt_core.base.forks import call_after_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Notifier:
    """A counter of writes that threads can wait for. Safe for use by several threads."""

    __slots__ = ("__weakref__", "_lock", "_new_lock", "_waiting", "count")

    def __init__(self, new_lock: Callable[[], Any] = allocate_lock) -> None:
        self._new_lock = new_lock
        self._lock = new_lock()
        self._waiting: list[Any] = []
        self.count = 0
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Forget the waiting threads, which do not exist in the child."""
        self._lock = self._new_lock()
        self._waiting = []

    def notify(self) -> None:
        """Increase the count and wake all waiting threads."""
        with self._lock:
            self.count += 1
            waiting, self._waiting = self._waiting, []
        for wake in waiting:
            wake.release()

    def wait(self, count: int, seconds: float) -> None:
        """Block until the count differs from `count`, at most `seconds`."""
        wake = self._new_lock()
        wake.acquire()
        with self._lock:
            if self.count != count:
                return
            self._waiting.append(wake)
        if not wake.acquire(True, seconds):
            with self._lock:
                if wake in self._waiting:
                    self._waiting.remove(wake)
