"""The SQLite file: checked before it is changed, created atomically, upgraded, and always opened the same way.

The header of the file names the program (`application_id`) and the format (`user_version`). Both are read before
anything is written to the file or next to it, so a foreign or newer file is refused unchanged.

Only SQLite opens the file. A process loses all its POSIX locks on a file when it closes any descriptor of that file,
also one that Python opened. Another process could then delete the write-ahead log of a database that is in use
(https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from contextlib import closing, suppress
from errno import EMFILE, ENFILE
from pathlib import Path

from sltt_core.base.errors import LogDamaged, NotALog, ServerBusy, SlttError, StorageBusy, StorageError
from sltt_core.sqlite.schema import LOG, OLDEST_FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.sqlite.schema import FileKind

_SMALLEST = 512
"""The smallest size of a database in bytes: one page."""
_OTHER_FILE = "Name another file; this one was not altered."


class Connection(sqlite3.Connection):
    """A connection that closes when nothing refers to it, for example after an interruption."""

    __slots__ = ("__weakref__",)

    def __del__(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it was interrupted before it was open
            self.close()


def prepare(path: Path, busy_seconds: float, kind: FileKind = LOG) -> None:
    """Make sure that the path holds a file of the last format: create an empty one, or upgrade an older one.

    Waits up to `busy_seconds` for another process that writes or upgrades.

    Raises `NotALog` when the path holds anything else, which is not altered; `StorageError` when the file cannot
    be created, opened or upgraded (a failed upgrade leaves the file as it was); `StorageBusy` when another process
    does not finish in time.
    """
    if not _exists(path) and not _create(path, kind) and not _exists(path):
        raise StorageError(f"cannot create {path}: another process creates and deletes it")
    application_id, version = _header(path)
    if application_id != kind.application_id:
        raise NotALog(f"{path.name} is not {kind.name}, but a database of another program", hint=_OTHER_FILE)
    # While another process has the file open, the header may be older than the file: an upgrade is in the WAL first.
    last = kind.last_format
    if not OLDEST_FORMAT <= version <= last:
        raise _unknown_format(path, version, last)
    if version < last:
        _upgrade(path, busy_seconds, kind)


def connect(path: Path, busy_seconds: float) -> Connection:
    """Open a prepared file: durable commits, and up to `busy_seconds` of waiting for another writer."""
    try:
        connection = _open(path, "mode=rw", busy_seconds)
        # A copy made with VACUUM INTO has lost the mode. If the mode is set already, this only reads it.
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit is on the disk when it returns, not only in its cache (macOS needs the second line).
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return connection


def check_format(connection: sqlite3.Connection, path: Path, kind: FileKind = LOG) -> None:
    """Raise `NotALog` when a newer program has upgraded the file, before this one opened it or since.

    A file that is in use may be newer than its header says.
    """
    try:
        version = _version(connection)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    if version != kind.last_format:
        raise _unknown_format(path, version, kind.last_format)


def explain(error: sqlite3.Error, path: Path) -> SlttError:
    """Return the error of the contract for an error of SQLite."""
    if str(error).startswith("Could not decode to UTF-8"):  # an error of the module sqlite3, without a code
        return LogDamaged(f"{path.name}: a text in a table is not UTF-8")
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR) and _no_descriptor():
        return ServerBusy(f"{path.name}: no file descriptor is free to open the file")
    kind, message, hint = _ERRORS.get(code, (StorageError, f"SQLite failed ({error})", None))
    return kind(f"{path.name}: {message}", hint=hint)  # clients of the API do not learn the folder


def not_open() -> StorageError:
    """Return the error for a storage that is closed, or was never opened."""
    return StorageError("the storage is not open", hint="Call initialize() first, or use it as a context manager.")


_PERMISSIONS = "Check the permissions of the file and of its folder."
_BACKUP = "Stop the program, and restore the file from a backup."
_ERRORS: dict[int, tuple[type[SlttError], str, str | None]] = {
    sqlite3.SQLITE_BUSY: (StorageBusy, "another process is writing and did not finish in time", None),
    sqlite3.SQLITE_LOCKED: (StorageBusy, "another connection is writing and did not finish in time", None),
    sqlite3.SQLITE_FULL: (StorageError, "the disk is full; nothing was written", "Free some space."),
    sqlite3.SQLITE_READONLY: (StorageError, "the file is read-only", _PERMISSIONS),
    sqlite3.SQLITE_CANTOPEN: (StorageError, "the file cannot be opened", _PERMISSIONS),
    sqlite3.SQLITE_IOERR: (StorageError, "the disk failed", "Check the disk before you continue."),
    sqlite3.SQLITE_CORRUPT: (LogDamaged, "the file is damaged", _BACKUP),
    sqlite3.SQLITE_NOTADB: (LogDamaged, "the file is damaged", _BACKUP),
    sqlite3.SQLITE_CONSTRAINT: (LogDamaged, "the rows of a log contradict each other", None),
    sqlite3.SQLITE_MISMATCH: (LogDamaged, "a row holds a value of another type than its column", None),
}


def _no_descriptor() -> bool:
    """Return whether no file descriptor is free in this process or in the system: SQLite does not tell why it failed.

    It may need two at once, for the file and its write-ahead log.
    """
    opened = []
    try:
        for _ in range(2):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (EMFILE, ENFILE)
    finally:
        for descriptor in opened:
            os.close(descriptor)
    return False


def _exists(path: Path) -> bool:
    """Return whether a file that SQLite may open is at the path.

    Raises `NotALog` or `StorageError` for anything else: SQLite would wait for the other end of a pipe, and would
    keep two write-ahead logs for a file with two names.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise StorageError(f"cannot open {path}: it is a link to a file that does not exist") from None
        return False
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from error
    if stat.S_ISDIR(found.st_mode):
        raise StorageError(f"cannot open {path}: it is a folder", hint=f"Name a file in it: {path / 'changes.db'}.")
    if not stat.S_ISREG(found.st_mode):
        raise NotALog(f"cannot open {path}: it is not a regular file", hint=_OTHER_FILE)
    if found.st_size < _SMALLEST:
        raise NotALog(f"{path.name} is not an SQLite database", hint=_OTHER_FILE)
    if found.st_nlink > 1 and _names(path, found) > 1:
        raise StorageError(
            f"cannot open {path}: the file has {found.st_nlink} names (hard links)",
            hint="Make a copy with the sqlite3 command .backup, and open the copy.",
        )
    return True


def _names(path: Path, found: os.stat_result) -> int:
    """Return the number of names of a file, without the temporary names of `_create`, which nothing opens."""
    drafts = [draft for draft in path.parent.glob(f".{path.name}-*") if os.path.samestat(draft.lstat(), found)]
    return path.stat().st_nlink - len(drafts)


def _header(path: Path) -> tuple[int, int]:
    """Return the application id and the format in the header of the file; raises `NotALog` when it has none.

    An immutable connection takes no locks, creates no files, and ignores the write-ahead log. When a process was
    killed while it copied the WAL, the header can name more pages than the file has yet. SQLite calls such a file
    damaged unless the WAL is read or the schema is writable (https://www.sqlite.org/pragma.html#pragma_writable_schema).
    """
    try:
        with closing(_open(path, "mode=ro&immutable=1", 0)) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            application_id: int = connection.execute("PRAGMA application_id").fetchone()[0]
            return application_id, _version(connection)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
            raise NotALog(f"{path.name} is not an SQLite database", hint=_OTHER_FILE) from error
        raise explain(error, path) from error


def _open(path: Path, mode: str, busy_seconds: float) -> Connection:
    connection: Connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        factory=Connection,
    )
    return connection


def _create(path: Path, kind: FileKind) -> bool:
    """Create an empty file next to the path and link it there; return whether no other process was faster."""
    if not path.parent.is_dir():
        raise StorageError(f"there is no folder {path.parent}", hint="Create it first, or name another file.")
    for suffix in ("-wal", "-journal"):
        left = path.with_name(path.name + suffix)
        if os.path.lexists(left) and not os.path.lexists(path):  # else another process was faster
            raise StorageError(
                f"cannot create {path}: {left.name} of another database is in the way",
                hint=f"Put the database of {left.name} back, or move {left.name} away.",
            )
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise StorageError(f"cannot create a file in {path.parent}: {error.strerror}") from error
    try:
        os.close(descriptor)
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(
                f"BEGIN; {kind.schema} PRAGMA application_id = {kind.application_id}; "
                f"PRAGMA user_version = {kind.last_format}; COMMIT;"
            )
            connection.execute("PRAGMA journal_mode = WAL")
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        return True
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except OSError as error:
        raise StorageError(f"cannot create {path}: {error.strerror}") from error
    finally:
        os.unlink(draft)


def _upgrade(path: Path, busy_seconds: float, kind: FileKind) -> None:
    """Take a file to the last format in one transaction; do nothing when another process was faster."""
    last = kind.last_format
    with closing(connect(path, busy_seconds)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                version = _version(connection)  # the header was read without the lock
                if version > last:
                    raise _unknown_format(path, version, last)
                for statements in kind.upgrades[version - OLDEST_FORMAT :]:
                    for statement in statements:
                        connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {last}")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise explain(error, path) from error


def _version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _unknown_format(path: Path, version: int, last: int) -> NotALog:
    return NotALog(
        f"{path.name} has the format {version}; this program knows {last}",
        hint="Use the program that wrote it, or a newer one; the file was not altered.",
    )
