"""Waiting for a write to the SQLite file, by this process or by another."""

from __future__ import annotations

import sqlite3
from threading import Condition
from time import monotonic

from sltt_core.sqlite import file as sqlite_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

POLL_SECONDS = 0.05
"""How often a waiting thread looks for writes of other processes."""


class Notifier:
    """Wakes waiting threads after a commit: at once for this process, within `POLL_SECONDS` for another."""

    __slots__ = ("_busy_seconds", "_condition", "_connection", "_path")

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._condition = Condition()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the connection that sees the commits of all others."""
        self._connection = sqlite_file.connect(self._path, self._busy_seconds)

    def close(self) -> None:
        """Close the connection and wake all threads. Twice does no harm."""
        with self._condition:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._condition.notify_all()

    def notify(self) -> None:
        """Wake all waiting threads of this process."""
        with self._condition:
            self._condition.notify_all()

    def mark(self) -> int:
        """Return a number that is different after the next commit; raises `StorageError` when closed."""
        with self._condition:
            return self._version()

    def wait(self, mark: object, seconds: float) -> None:
        """Wait until the mark is another, at most so many seconds."""
        deadline = monotonic() + seconds
        with self._condition:
            while self._version() == mark:
                left = deadline - monotonic()
                if left <= 0:
                    return
                self._condition.wait(min(left, POLL_SECONDS))

    def _version(self) -> int:
        if self._connection is None:
            raise sqlite_file.not_open()
        try:
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self._path) from error
        return version
