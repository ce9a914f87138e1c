"""The SQLite file: made whole or not at all, recognised before it is touched, opened the same way each time.

A file of ours says so in its header (`application_id`) and names its format (`user_version`); SQLite keeps both at
fixed places of the first 100 bytes (https://www.sqlite.org/fileformat.html), where they are read without opening
the database. So a foreign or newer file is refused without a byte of it, or beside it, being written.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from sltt_core.base.errors import LogDamaged, NotALog, SlttError, StorageBusy, StorageError

APPLICATION_ID = 0x534C5454
"""`SLTT`, in the file's header."""
FORMAT = 1
"""The format this program reads and writes."""

SEQ_BITS = 40
"""`changes.id` is the log's number, shifted left by so many bits, plus the sequence number."""

SCHEMA = """
CREATE TABLE logs (
    log         INTEGER PRIMARY KEY,
    project_id  TEXT NOT NULL UNIQUE,
    value       INTEGER NOT NULL,          -- the next sequence number
    chain       TEXT NOT NULL,             -- the last link
    creates     INTEGER NOT NULL DEFAULT 0,
    updates     INTEGER NOT NULL DEFAULT 0,
    deletes     INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE changes (
    id          INTEGER PRIMARY KEY,       -- log << 40 | seq: a log lies together, in order
    entity_type TEXT NOT NULL,
    entity_id   TEXT NOT NULL,
    operation   TEXT NOT NULL,
    timestamp   TEXT NOT NULL,
    cloud_at    TEXT NOT NULL,
    data_json   TEXT NOT NULL,
    outdated_by INTEGER,
    cid         TEXT,
    change_by   TEXT,
    chain       TEXT NOT NULL
);
CREATE TABLE entity_types (
    log         INTEGER NOT NULL,
    entity_type TEXT NOT NULL,
    total       INTEGER NOT NULL,
    PRIMARY KEY (log, entity_type)
) WITHOUT ROWID;
CREATE TABLE requests (                    -- what an idempotency key wrote, chunk by chunk
    log         INTEGER NOT NULL,
    key         TEXT NOT NULL,
    number      INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    expires     INTEGER NOT NULL,          -- seconds since 1970
    PRIMARY KEY (log, key, number)
) WITHOUT ROWID;
CREATE INDEX requests_by_expiry ON requests (expires);
CREATE VIEW change_log AS                  -- for people: the log as the API shows it
    SELECT project_id AS projectId, id & ((1 << 40) - 1) AS seq, entity_type AS entityType,
           entity_id AS entityId, operation, timestamp, cloud_at AS cloudAt, data_json AS data,
           outdated_by AS outdatedBy, cid, change_by AS changeBy, changes.chain
    FROM changes JOIN logs ON log = id >> 40;
"""

_HEADER = b"SQLite format 3\x00"


def prepare(path: Path) -> None:
    """See to it that the path holds a log of our format, making an empty one where there is nothing.

    Raises `NotALog` for anything else that is there, which is left as it is, and `StorageError` when the
    folder does not take a file.
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        _create(path)
        return
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from error
    if len(header) < 100 or not header.startswith(_HEADER):
        raise NotALog(f"{path} is not an SQLite database", hint="Name another file; this one was not altered.")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise NotALog(f"{path} is a database of another program", hint="Name another file; this one was not altered.")
    version = int.from_bytes(header[60:64], "big")
    if version != FORMAT:
        raise NotALog(
            f"{path} has the format {version}; this program knows {FORMAT}",
            hint="Use the program that wrote it, or a newer one; the file was not altered.",
        )


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


def explain(error: sqlite3.Error, path: Path) -> SlttError:
    """Turn an error of SQLite into one of ours."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    kind, message, hint = _ERRORS.get(code, (StorageError, f"SQLite could not do it ({error})", None))
    return kind(f"{path.name}: {message}", hint=hint)  # where it lies is not for clients of the API


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


def _create(path: Path) -> None:
    """Make an empty log beside the path and move it there in one step, unless another process was faster."""
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
            prepare(path)
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except OSError as error:
        raise StorageError(f"cannot make {path}: {error.strerror}") from error
    finally:
        os.unlink(draft)
