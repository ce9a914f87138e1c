"""The SQLite file: created whole or not at all, checked before it is touched, upgraded, opened the same way each time.

The file's header names the program (`application_id`) and the format (`user_version`). SQLite keeps both at fixed
places of the first 100 bytes (https://www.sqlite.org/fileformat.html), so they can be read without opening the
database. A foreign or newer file is therefore refused before anything is written to it or beside it.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from sltt_core.base.errors import LogDamaged, NotALog, SlttError, StorageBusy, StorageError
from sltt_core.sqlite.schema import APPLICATION_ID, FORMAT, OLDEST_FORMAT, SCHEMA, UPGRADES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.sqlite.schema import Upgrades

_HEADER = b"SQLite format 3\x00"


def prepare(path: Path, busy_seconds: float, upgrades: Upgrades = UPGRADES) -> None:
    """Make sure that the path holds a log of the last format: create an empty one, or upgrade an older one.

    `upgrades` is the table of steps; its length gives the last format. Waits up to `busy_seconds` for another
    process that writes or upgrades.

    Raises `NotALog` for anything else that is there, which is left as it is; `StorageError` when the file cannot
    be created, opened or upgraded (a failed upgrade leaves the file as it was); `StorageBusy` when another process
    does not finish in time.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        if not _create(path):
            prepare(path, busy_seconds, upgrades)
        return
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from error
    if len(header) < 100 or not header.startswith(_HEADER):
        raise NotALog(f"{path} is not an SQLite database", hint="Name another file; this one was not altered.")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise NotALog(f"{path} is a database of another program", hint="Name another file; this one was not altered.")
    # While another process has the file open, the header may be older than the file: an upgrade is in the WAL first.
    version, last = int.from_bytes(header[60:64], "big"), OLDEST_FORMAT + len(upgrades)
    if not OLDEST_FORMAT <= version <= last:
        raise _unknown_format(path, version, last)
    if version < last:
        _upgrade(path, busy_seconds, upgrades)


def connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open a prepared file: durable commits, and up to `busy_seconds` of waiting for another writer."""
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        # A copy made with VACUUM INTO has lost the mode; where it is set already, this only looks.
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit is on the disk when it returns, not only in its cache (macOS needs the second line).
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
    except sqlite3.Error as error:
        raise explain(error, path) from error
    return connection


def check_format(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `NotALog` when a newer program has upgraded the file, before this one opened it or since.

    A file that is in use may be newer than its header says.
    """
    try:
        version = _version(connection)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    if version != FORMAT:
        raise _unknown_format(path, version, FORMAT)


def explain(error: sqlite3.Error, path: Path) -> SlttError:
    """Turn an error of SQLite into one of ours."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind, message, hint = _ERRORS.get(code, (StorageError, f"SQLite could not do it ({error})", None))
    return kind(f"{path.name}: {message}", hint=hint)  # where it lies is not for clients of the API


def not_open() -> StorageError:
    """Make the error for a storage that is closed, or was never opened."""
    return StorageError("the storage is not open", hint="Call initialize() first, or use it as a context manager.")


_ERRORS: dict[int, tuple[type[SlttError], str, str | None]] = {
    sqlite3.SQLITE_BUSY: (StorageBusy, "another process is writing and did not finish in time", None),
    sqlite3.SQLITE_LOCKED: (StorageBusy, "another connection is writing and did not finish in time", None),
    sqlite3.SQLITE_FULL: (StorageError, "the disk is full; nothing was written", "Free some space."),
    sqlite3.SQLITE_READONLY: (
        StorageError,
        "may not be written",
        "See to the permissions of the file and of its folder.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StorageError,
        "cannot be opened",
        "See to the permissions of the file and of its folder.",
    ),
    sqlite3.SQLITE_IOERR: (StorageError, "the disk failed", "Look at the disk before you go on."),
    sqlite3.SQLITE_CORRUPT: (LogDamaged, "the file is damaged", None),
    sqlite3.SQLITE_NOTADB: (LogDamaged, "the file is damaged", None),
}


def _create(path: Path) -> bool:
    """Create an empty log beside the path and move it there in one step; return whether no other process was faster."""
    if not path.parent.is_dir():
        raise StorageError(f"there is no folder {path.parent}", hint="Make it first, or name another file.")
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    except OSError as error:
        raise StorageError(f"cannot make a file in {path.parent}: {error.strerror}") from error
    os.close(descriptor)
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(
                f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
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
        raise StorageError(f"cannot make {path}: {error.strerror}") from error
    finally:
        os.unlink(draft)


def _upgrade(path: Path, busy_seconds: float, upgrades: Upgrades) -> None:
    """Take a file to the last format in one transaction; nothing is left to do when another process was faster."""
    last = OLDEST_FORMAT + len(upgrades)
    with closing(connect(path, busy_seconds)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                version = _version(connection)  # the header was read without the lock
                if version > last:
                    raise _unknown_format(path, version, last)
                for statements in upgrades[version - OLDEST_FORMAT :]:
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
        f"{path} has the format {version}; this program knows {last}",
        hint="Use the program that wrote it, or a newer one; the file was not altered.",
    )
