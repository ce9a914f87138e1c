"""Waiting for a write to the SQLite file, by this process or by another."""

from __future__ import annotations

import sqlite3
from threading import Lock
from time import monotonic

from sltt_core.sqlite import file as sqlite_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.sqlite.database import Database

POLL_SECONDS = 0.05
"""How often a waiting thread looks for writes of other processes."""


class Notifier:
    """Wakes waiting threads after a commit: at once for this process, within `POLL_SECONDS` for another.

    Uses plain locks: an interrupted `threading.Condition` may stay locked.
    """

    __slots__ = ("_database", "_waiting")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[Lock] = []
        """A locked lock for each thread that waits."""

    def notify(self) -> None:
        """Wake all waiting threads of this process."""
        while self._waiting:
            try:
                self._waiting.pop().release()
            except IndexError:  # another thread was faster
                return

    def forget(self) -> None:
        """Forget the waiting threads, which do not exist in the child of a fork."""
        self._waiting.clear()

    def mark(self) -> object:
        """Return a mark that is different after the next commit; raises `StorageError` when closed."""
        try:
            return self._database.version()
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self._database.path) from error

    def wait(self, mark: object, seconds: float) -> None:
        """Wait until the mark is different, at most so many seconds."""
        deadline = monotonic() + seconds
        while True:
            bell = Lock()
            bell.acquire()
            self._waiting.append(bell)
            left = deadline - monotonic()
            try:
                if self.mark() != mark or left <= 0:
                    return
                bell.acquire(timeout=min(left, POLL_SECONDS))
            finally:
                try:
                    self._waiting.remove(bell)
                except ValueError:  # it rang
                    pass
