"""Snapshots of the SQLite file: connections that read, each lent to one thread at a time."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from threading import Lock

from sltt_core.sqlite import file as sqlite_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Readers:
    """The reading connections of a storage. As many are opened as threads read at once, and kept until `close`."""

    __slots__ = ("_busy_seconds", "_is_open", "_opening", "_path", "connections", "idle")

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self._path = path
        self._busy_seconds = busy_seconds
        self._opening = Lock()
        self._is_open = False
        self.connections: list[sqlite3.Connection] = []
        """All of them."""
        self.idle: list[sqlite3.Connection] = []
        """Those that no thread uses now."""

    def open(self) -> None:
        """Allow snapshots; the first connection is opened with the first snapshot."""
        self._is_open = True

    def close(self) -> None:
        """Close all connections. Twice does no harm."""
        with self._opening:
            self._is_open = False
            for connection in self.connections:
                connection.close()
            self.connections.clear()
            self.idle.clear()

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection on which every read sees the same moment of the file.

        Raises `StorageError` when the readers are closed, and in place of SQLite's own errors.
        """
        try:
            connection = self.idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")
                self.idle.append(connection)
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self._path) from error

    def _connect(self) -> sqlite3.Connection:
        with self._opening:
            if not self._is_open:
                raise sqlite_file.not_open()
            connection = sqlite_file.connect(self._path, self._busy_seconds)
            self.connections.append(connection)
            return connection
