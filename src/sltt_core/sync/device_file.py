"""The file of a device: its tables, its formats, and the lock that keeps it to one process.

The file has the tables of a log (`sltt_core.sqlite.schema`), for what came from the server, and those below, for what
the device did. Both are in one file, because a page, the cursor and the outbox change in one transaction.
"""

from __future__ import annotations

import os
from contextlib import suppress

from sltt_core.base.errors import StorageBusy, StorageError
from sltt_core.base.forks import call_after_fork
from sltt_core.sqlite import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x534C5444
"""`SLTD`, in the file's header."""

TABLES = """
CREATE TABLE device (                      -- one row
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    device        TEXT NOT NULL,           -- 16 random characters, the begin of every cid
    made_for      TEXT NOT NULL,           -- the file that the id was made for: a copy of it gets another id
    server        TEXT,                    -- the URL
    last_time     TEXT NOT NULL,           -- the last timestamp that was given to an edit
    clock_offset  INTEGER                  -- the clock of the server minus that of the device, in milliseconds
);
CREATE TABLE projects (
    project_id    TEXT PRIMARY KEY,
    state         TEXT NOT NULL,           -- following, paused, diverged
    problem       TEXT,                    -- why it is paused or diverged: a JSON object
    head          INTEGER NOT NULL,        -- the last number of the server's log when it was last heard of
    heard_at      TEXT,                    -- when that was
    synced_at     TEXT                     -- when the last sync ended well
) WITHOUT ROWID;
CREATE TABLE outsyncs (                    -- the outbox: edits that did not come back from the server yet
    local         INTEGER PRIMARY KEY AUTOINCREMENT,
    unit          INTEGER NOT NULL,        -- the first local number of the edits that are stored whole or not at all
    project_id    TEXT NOT NULL,
    entity_type   TEXT NOT NULL,
    entity_id     TEXT NOT NULL,
    operation     TEXT NOT NULL,
    timestamp     TEXT NOT NULL,
    data_json     TEXT NOT NULL,
    change_by     TEXT,
    cid           TEXT NOT NULL UNIQUE,
    base_seq      INTEGER NOT NULL,        -- how far the project had been read when the edit was made
    state         TEXT NOT NULL,           -- waiting, frozen, sent, held, withheld, rejected
    batch         INTEGER,                 -- while frozen
    seq           INTEGER,                 -- while sent: its number in the server's log
    problem       TEXT                     -- why it is held, withheld or rejected: a JSON object
);
CREATE INDEX outbox ON outsyncs (project_id, state, unit, local);
CREATE INDEX frozen ON outsyncs (batch) WHERE batch IS NOT NULL;
CREATE TABLE batches (                     -- committed before the first byte is sent
    batch         INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id    TEXT NOT NULL,
    key           TEXT NOT NULL,           -- the idempotency key
    principal     TEXT NOT NULL,           -- the login that froze it; it is sent under no other
    body          BLOB NOT NULL,           -- the exact bytes
    tries         INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE forks (                       -- where a server went on with another history
    fork          INTEGER PRIMARY KEY,
    project_id    TEXT NOT NULL,
    seq           INTEGER NOT NULL,        -- the last number that both histories share
    settled       INTEGER NOT NULL         -- 1 when the server has all of the lost end again
);
CREATE TABLE lost (                        -- the ends of logs that a server lost
    id            INTEGER PRIMARY KEY,     -- fork << 40 | seq; the other columns are those of changes
    entity_type   TEXT NOT NULL,
    entity_id     TEXT NOT NULL,
    operation     TEXT NOT NULL,
    timestamp     TEXT NOT NULL,
    cloud_at      TEXT NOT NULL,
    data_json     TEXT NOT NULL,
    outdated_by   INTEGER,
    cid           TEXT,
    change_by     TEXT,
    chain         TEXT NOT NULL,
    request_key   TEXT
);
"""

DEVICE = schema.FileKind("the store of a device", APPLICATION_ID, schema.SCHEMA + TABLES, ())
"""The file of a device. A new format of the log's tables is a new format of this file, too: its step belongs here."""


class ProcessLock:
    """The lock that a process holds on a store while it has it open, by `flock` on a file beside it.

    The system releases the lock when the process ends, however it ends.
    """

    __slots__ = ("__weakref__", "_descriptor", "path")

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(f"{store.name}.lock")
        self._descriptor: int | None = None
        call_after_fork(self)

    def acquire(self) -> None:
        """Take the lock; raises `StorageBusy` when another process, or another object of this one, has it."""
        from fcntl import LOCK_EX, LOCK_NB, flock  # not on Windows

        if self._descriptor is not None:
            return
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot create {self.path}: {error.strerror}") from error
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
            os.truncate(descriptor, 0)
            os.write(descriptor, b"%d\n" % os.getpid())
        except OSError as error:
            holder = _number_in(descriptor)
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise StorageError(f"cannot lock {self.path}: {error.strerror}") from error
            raise StorageBusy(
                f"the store is open in {holder}",
                hint="Close the device there first. Two processes cannot use one store at the same time.",
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock. Does nothing when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _after_fork(self) -> None:
        """Close the child's copy: the lock is the parent's, and would outlive it in the child."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def _number_in(descriptor: int) -> str:
    with suppress(OSError, ValueError):
        number = int(os.pread(descriptor, 20, 0))
        return "this process" if number == os.getpid() else f"the process {number}"
    return "another process"
