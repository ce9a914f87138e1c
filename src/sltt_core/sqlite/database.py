"""`Database`: one file, its identity while it is open, and the connections to it.

The path of an open file can lead to another file later: it is deleted, moved, or replaced by a backup, or its
write-ahead log (WAL) is deleted. SQLite continues with the file that it opened. Everything that is committed then is
lost when the program ends. So the device and the inode of both files are noted when the file is opened, and compared
before and after each commit, and before each read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from sqlite3 import Error
from threading import Lock
from weakref import ref

from sltt_core.base.errors import StorageError, StorageUnavailable
from sltt_core.sqlite import file as sqlite_file
from sltt_core.sqlite.schema import LOG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from sqlite3 import Connection

    from sltt_core.sqlite.schema import FileKind

    Identity = tuple[int, int] | None
    """Device and inode; `None` when there is no file."""


class Database:
    """The connections of a storage to its file. One of them, the anchor, is open for as long as any other may be."""

    __slots__ = (
        "_anchor",
        "_file",
        "_forked",
        "_is_open",
        "_opened",
        "_path",
        "_wal",
        "_wal_path",
        "busy_seconds",
        "kind",
        "lock",
    )

    def __init__(self, path: Path, busy_seconds: float, kind: FileKind = LOG) -> None:
        self._path = path
        self.kind = kind
        self._wal_path = ""
        self.busy_seconds = busy_seconds
        self.lock = Lock()
        """Held while the anchor is opened, used or closed."""
        self._is_open = False
        self._forked = False
        self._anchor: Connection | None = None
        self._opened = 0
        self._file: Identity = None
        self._wal: Identity = None

    @property
    def anchor(self) -> Connection | None:
        """The anchor, if it is open now."""
        return self._anchor

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._path

    def open(self) -> None:
        """Create or upgrade the file, and open the anchor; raises the errors of `sltt_core.sqlite.file.prepare`."""
        with self.lock:
            sqlite_file.prepare(self._path, self.busy_seconds, self.kind)
            self._file = None
            self._is_open = True
            self._open_anchor()

    def close(self) -> None:
        """Close the anchor, after all other connections. Does nothing when it is closed.

        SQLite leaves the WAL of a file that was moved or replaced where it is, and would apply it to the file that
        is at the path when that one is opened. So the WAL is emptied into the file that it belongs to.
        """
        with self.lock:
            self._is_open = False
            if self._anchor is not None and _identity(self._path) != self._file and not self._forked:
                with suppress(Error):
                    self._anchor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.suspend()

    def suspend(self) -> None:
        """Close the anchor until the next use. The caller holds the lock and has closed the other connections."""
        if self._anchor is not None:
            if not self._forked:
                self._anchor.close()
            self._anchor = None

    def refuse(self) -> None:
        """Refuse every use in this process: a fork copied connections that were in use."""
        self._forked = True
        self.lock = Lock()  # a thread that does not exist in this process may hold the other

    def connect(self) -> Connection:
        """Return a new connection to the file that was opened.

        Raises `StorageUnavailable` when the path leads to another file now, and `StorageError` when it is closed.
        """
        with self.lock:
            self._open_anchor()
            connection = sqlite_file.connect(self._path, self.busy_seconds)
            if self._is_moved():
                connection.close()
                raise self._moved()
            return connection

    def check_format(self, connection: Connection) -> None:
        """Raise `NotALog` when a newer program has upgraded the file."""
        sqlite_file.check_format(connection, self._path, self.kind)

    def version(self) -> tuple[int, int]:
        """Return two numbers that are different after the next commit of any connection but the anchor."""
        with self.lock:
            anchor = self._open_anchor()
            return self._opened, anchor.execute("PRAGMA data_version").fetchone()[0]

    def check(self) -> None:
        """Raise `StorageUnavailable` when the path no longer leads to the file and the WAL that were opened.

        Costs two system calls. Raises `StorageError` when the database is closed.
        """
        self._check_open()
        self.check_open_file()

    def check_open_file(self) -> None:
        """Do what `check` does, but accept a closed database."""
        if self._is_open and self._is_moved():
            with self.lock:  # a fork may have closed the anchor, and with it the WAL, in between
                if self._is_open and self._is_moved():
                    raise self._moved()

    def _open_anchor(self) -> Connection:
        self._check_open()
        if self._anchor is None:
            self._wal_path = f"{os.path.realpath(self._path)}-wal"
            before = _identity(self._path)
            anchor = sqlite_file.connect(self._path, self.busy_seconds)
            try:
                self.check_format(anchor)  # reads the file, so SQLite has opened the WAL
                found, wal = _identity(self._path), _identity(self._wal_path)
                if found is None or wal is None or found != before or self._file not in (None, found):
                    raise self._moved()
            except BaseException:
                anchor.close()
                raise
            self._file, self._wal = found, wal
            self._opened += 1
            self._anchor = anchor
        return self._anchor

    def _check_open(self) -> None:
        if not self._is_open:
            raise sqlite_file.not_open()
        if self._forked:
            raise StorageError(
                "the process was forked while the storage was in use",
                hint="Open the storage after the fork, or start the process without a fork.",
            )

    def _is_moved(self) -> bool:
        if _identity(self._path) != self._file:
            return True
        return self._anchor is not None and _identity(self._wal_path) != self._wal

    def _moved(self) -> StorageUnavailable:
        return StorageUnavailable(
            f"{self._path.name}: the file or its -wal was deleted, moved or replaced while it was open",
            hint="Stop the program, put the file back together with its -wal, and start the program again.",
        )


class Reserve:
    """Connections of one use: kept while idle, each lent to one thread at a time."""

    __slots__ = ("_database", "_is_open", "_references", "idle", "lock")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_open = False
        self.lock = Lock()
        """Held while a connection is lent."""
        self._references: dict[int, ref[Connection]] = {}
        self.idle: list[Connection] = []
        """Those that no thread uses now."""

    @property
    def connections(self) -> list[Connection]:
        """All of them. One that an interrupted borrower lost disappears by itself."""
        found = [reference() for reference in list(self._references.values())]
        return [connection for connection in found if connection is not None]

    @property
    def lent(self) -> int:
        """The number of connections that are lent now."""
        return len(self.connections) - len(self.idle)

    def refuse(self) -> None:
        """Keep no connection in this process: a fork copied connections that were in use."""
        self.idle.clear()
        self.lock = Lock()  # a thread that does not exist in this process may hold the other

    def open(self) -> None:
        """Allow lending."""
        self._is_open = True

    def close(self) -> None:
        """End lending, and close the idle connections. Each borrower closes its own. Does nothing when closed."""
        self._is_open = False
        self.drain()

    def drain(self) -> None:
        """Close the idle connections."""
        while self.idle:
            try:
                connection = self.idle.pop()
            except IndexError:  # another thread was faster
                return
            self.drop(connection)

    def borrow(self) -> Connection:
        """Return a connection that no other thread uses; raises `StorageError` when closed."""
        with self.lock:
            if not self._is_open:
                raise sqlite_file.not_open()
            if self.idle:
                try:
                    return self.idle.pop()
                except IndexError:  # it was closed in between
                    raise sqlite_file.not_open() from None
            connection = self._database.connect()
            for number, reference in list(self._references.items()):
                if reference() is None:
                    self._references.pop(number, None)
            self._references[id(connection)] = ref(connection)
            return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next borrower, or close it when the reserve was closed meanwhile."""
        self.idle.append(connection)
        if not self._is_open:
            self.drain()

    def drop(self, connection: Connection) -> None:
        """Close a connection that the caller borrowed."""
        self._references.pop(id(connection), None)
        connection.close()


def _identity(path: str | Path) -> Identity:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
