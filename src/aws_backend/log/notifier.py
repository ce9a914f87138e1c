"""`News`: wakes those who wait when this process has written something, without the import of `threading`."""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Notifier:
    """A count of what was written. Safe for use by several threads."""

    __slots__ = ("_lock", "_new_lock", "_waiting", "count")

    def __init__(self, new_lock: Callable[[], Any] = allocate_lock) -> None:
        self._new_lock = new_lock
        self._lock = new_lock()
        self._waiting: list[Any] = []
        self.count = 0

    def notify(self) -> None:
        """Something was written: wake everybody."""
        with self._lock:
            self.count += 1
            waiting, self._waiting = self._waiting, []
        for bell in waiting:
            bell.release()

    def wait(self, count: int, seconds: float) -> None:
        """Return when the count is another, or after so many seconds."""
        bell = self._new_lock()
        bell.acquire()
        with self._lock:
            if self.count != count:
                return
            self._waiting.append(bell)
        if not bell.acquire(True, seconds):
            with self._lock:
                if bell in self._waiting:
                    self._waiting.remove(bell)
