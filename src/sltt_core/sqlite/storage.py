"""`LocalStorageService`: the change log in an SQLite file.

One connection writes, under a lock; threads that come meanwhile queue up, and whoever gets the lock next writes
for all of them in one transaction (group commit): one wait for the disk instead of one each. Reads take a
connection of their own, see a snapshot, and wait for nobody (WAL). Several processes may share a file.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, deque
from contextlib import contextmanager
from pathlib import Path
from threading import Condition, Lock
from time import monotonic, time_ns

from sltt_core.base.errors import SlttError, StorageBusy, StorageError
from sltt_core.base.timestamps import now_utc
from sltt_core.log.batches import (
    CHUNK_BYTES,
    CHUNK_CHANGES,
    KEY_DAYS,
    Chunk,
    StoredChunk,
    number_changes,
    one_type_too_many,
    too_many_entity_types,
)
from sltt_core.log.pages import EMPTY_LOG, PAGE_BYTES, ChangeStats, Head, contiguous_run
from sltt_core.log.storage import BaseStorageService
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import Change
from sltt_core.model.fields import COLUMNS
from sltt_core.sqlite import file as sqlite_file
from sltt_core.sqlite.file import SEQ_BITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from sltt_core.base.timestamps import Clock
    from sltt_core.log.pages import Run

    T = TypeVar("T")

GROUP_JOBS = 256
"""Writes that share a transaction at most."""
MAX_TERMS = 500
"""Values in one SQL statement; older SQLites take 999."""
POLL_SECONDS = 0.05
"""How often a waiting reader looks for what another process wrote."""
_DAY = 86_400

_CHANGE = f"? AS project_id, id & {(1 << SEQ_BITS) - 1}, {', '.join(COLUMNS)}"
_INSERT = f"INSERT INTO changes (id, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})"


class LocalStorageService(BaseStorageService):
    """The change logs of any number of projects in one SQLite file; `BaseStorageService` is the contract.

    `path` is made when it does not exist (its folder must), and refused with `NotALog`, unaltered, when it is
    another program's or of another format. A write waits up to `busy_seconds` for other processes, then
    raises `StorageBusy`.
    """

    storage_type = "sqlite"

    def __init__(
        self,
        path: str | Path,
        project_id: str | None = None,
        *,
        clock: Clock = time_ns,
        busy_seconds: float = 10.0,
        chunk_changes: int = CHUNK_CHANGES,
        chunk_bytes: int = CHUNK_BYTES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        super().__init__(
            project_id,
            clock=clock,
            chunk_changes=chunk_changes,
            chunk_bytes=chunk_bytes,
            page_bytes=page_bytes,
        )
        self.path = Path(path)
        self._busy_seconds = busy_seconds
        self._writer: sqlite3.Connection | None = None
        self._readers: list[sqlite3.Connection] = []
        self._idle_readers: list[sqlite3.Connection] = []
        self._opening = Lock()
        self._writing = Lock()
        self._jobs: deque[_Job] = deque()
        self._notifier = Condition()
        self._watching: sqlite3.Connection | None = None
        self._next_purge = 0

    def initialize(self) -> None:
        with self._opening:
            if self._writer is None:
                sqlite_file.prepare(self.path)
                self._writer = sqlite_file.connect(self.path, self._busy_seconds)
                self._watching = sqlite_file.connect(self.path, self._busy_seconds)
                self._readers.append(self._watching)

    def close(self) -> None:
        with self._opening, self._writing, self._notifier:
            if self._writer is not None:
                # The last connection to close tidies up the file, and only a writer can.
                for connection in (*self._readers, self._writer):
                    connection.close()
                self._writer = self._watching = None
                self._readers.clear()
                self._idle_readers.clear()
            self._notifier.notify_all()

    # Reading

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection on which everything read is of one moment."""
        try:
            connection = self._idle_readers.pop()
        except IndexError:
            connection = self._new_reader()
        try:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")
                self._idle_readers.append(connection)
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self.path) from error

    def _new_reader(self) -> sqlite3.Connection:
        with self._opening:
            if self._writer is None:
                raise _not_open()
            connection = sqlite_file.connect(self.path, self._busy_seconds)
            self._readers.append(connection)
            return connection

    def _get(self, project_id: str, seq: int) -> Change | None:
        with self._snapshot() as connection:
            row = connection.execute(
                f"SELECT {_CHANGE} FROM changes WHERE id = "
                f"(SELECT log << {SEQ_BITS} FROM logs WHERE project_id = ?) + ?",
                (project_id, project_id, seq),
            ).fetchone()
        return None if row is None else Change.of(row)

    def _run(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        with self._snapshot() as connection:
            found = _find_log(connection, project_id)
            if found is None:
                return 0, GENESIS if cursor == 0 else None, ()
            log, head = found
            if cursor >= head.seq:
                return head.seq, head.chain if cursor == head.seq else None, ()
            base = log << SEQ_BITS
            # The change at the cursor is read with those after it, for its link.
            rows = map(
                Change.of,
                connection.execute(
                    f"SELECT {_CHANGE} FROM changes WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
                    (project_id, base + max(cursor, 1), base + head.seq, limit + (cursor > 0)),
                ),
            )
            known: str | None = GENESIS
            first: list[Change] = []
            if cursor > 0:
                first = [change for change in (next(rows, None),) if change is not None]
                known = None
                if first and first[0].seq == cursor:
                    known = first.pop().chain
            return head.seq, known, tuple(contiguous_run((*first, *rows), cursor, self._page_bytes))

    def _head(self, project_id: str) -> Head:
        with self._snapshot() as connection:
            found = _find_log(connection, project_id)
        return EMPTY_LOG if found is None else found[1]

    def _heads(self, project_ids: Sequence[str]) -> dict[str, int]:
        heads: dict[str, int] = {}
        with self._snapshot() as connection:
            for start in range(0, len(project_ids), MAX_TERMS):
                some = project_ids[start : start + MAX_TERMS]
                marks = ",".join("?" * len(some))
                heads.update(
                    connection.execute(f"SELECT project_id, value - 1 FROM logs WHERE project_id IN ({marks})", some)
                )
        return heads

    def write_mark(self) -> object:
        with self._notifier:
            return self._version()

    def wait_for_write(self, mark: object, seconds: float) -> None:
        deadline = monotonic() + seconds
        with self._notifier:
            while self._version() == mark:
                left = deadline - monotonic()
                if left <= 0:
                    return
                self._notifier.wait(min(left, POLL_SECONDS))

    def _version(self) -> int:
        """Return a number that differs after any other connection's commit, in this process or another."""
        if self._watching is None:
            raise _not_open()
        try:
            version: int = self._watching.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self.path) from error
        return version

    def _change_stats(self, project_id: str) -> ChangeStats:
        with self._snapshot() as connection:
            row = connection.execute(
                "SELECT value - 1, creates, updates, deletes FROM logs WHERE project_id = ?", (project_id,)
            ).fetchone()
        return ChangeStats(0, 0, 0, 0) if row is None else ChangeStats.of(row)

    def _entity_type_stats(self, project_id: str) -> dict[str, int]:
        with self._snapshot() as connection:
            return dict(
                connection.execute(
                    "SELECT entity_type, total FROM entity_types WHERE log = "
                    "(SELECT log FROM logs WHERE project_id = ?) ORDER BY entity_type",
                    (project_id,),
                ).fetchall()
            )

    def _projects(self, after: str | None, limit: int) -> list[str]:
        with self._snapshot() as connection:
            rows = connection.execute(
                "SELECT project_id FROM logs WHERE project_id > ? ORDER BY project_id LIMIT ?",
                (after or "", limit),
            ).fetchall()
        return [project_id for (project_id,) in rows]

    # Writing

    def _append(self, chunk: Chunk) -> StoredChunk:
        return self._write(lambda connection: self._append_in(connection, chunk))

    def _append_in(self, connection: sqlite3.Connection, chunk: Chunk) -> StoredChunk:
        log, head = _find_log(connection, chunk.project_id) or (None, EMPTY_LOG)
        if log is not None and chunk.key is not None:
            before = _find_request(connection, log, chunk.key, chunk.number)
            if before is not None:
                return before
        types = Counter(change.entity_type for change in chunk.changes)
        known = _known_types(connection, log, types)
        if len(known) < len(types):
            all_known = _all_types(connection, log)
            too_many = one_type_too_many(all_known, (change.entity_type for change in chunk.changes))
            if too_many is not None:
                raise too_many_entity_types(chunk.offset + too_many)
        if log is None:
            log = _create_log(connection, chunk.project_id)
        stored = number_changes(chunk, head, now_utc(self._clock))
        _insert(connection, log, stored, types)
        if chunk.key is not None:
            expires = self._clock() // 1_000_000_000 + KEY_DAYS * _DAY
            connection.execute(
                "INSERT INTO requests (log, key, number, offset, first_seq, count, fingerprint, expires) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    log,
                    chunk.key,
                    chunk.number,
                    chunk.offset,
                    head.seq + 1,
                    len(stored),
                    chunk.fingerprint,
                    expires,
                ),
            )
        return StoredChunk(head.seq + 1, len(stored), chunk.fingerprint, stored, chunk.offset)

    def _stored_chunk(self, project_id: str, key: str, number: int) -> StoredChunk | None:
        with self._snapshot() as connection:
            found = _find_log(connection, project_id)
            return None if found is None else _find_request(connection, found[0], key, number)

    def _restore(self, project_id: str, changes: tuple[Change, ...]) -> None:
        self._write(lambda connection: self._restore_in(connection, project_id, changes))

    def _restore_in(self, connection: sqlite3.Connection, project_id: str, changes: tuple[Change, ...]) -> None:
        log, head = _find_log(connection, project_id) or (None, EMPTY_LOG)
        if head.seq + 1 != changes[0].seq:
            raise StorageBusy(f"somebody else wrote to project {project_id} while it was being restored")
        types = Counter(change.entity_type for change in changes)
        if log is None:
            log = _create_log(connection, project_id)
        _insert(connection, log, changes, types)

    def _mark(self, project_id: str, seq: int, outdated_by: int) -> Change | None:
        def mark(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE changes SET outdated_by = max(coalesce(outdated_by, 0), ?) WHERE id = "
                f"(SELECT log << {SEQ_BITS} FROM logs WHERE project_id = ?) + ?",
                (outdated_by, project_id, seq),
            )

        self._write(mark)
        return self._get(project_id, seq)

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do some work in a transaction, alone or together with what other threads wait to write.

        The work must find out what it refuses before it writes: an error of ours that it raises is its caller's
        alone, and the others' work stays.
        """
        job = _Job(work)
        self._jobs.append(job)
        with self._writing:
            if not job.done:
                self._write_group(job)
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def _write_group(self, mine: _Job) -> None:
        """Do every waiting job up to and with mine in one transaction. All are done when it returns."""
        while not mine.done:
            group = [self._jobs.popleft() for _ in range(min(len(self._jobs), GROUP_JOBS))]
            try:
                if self._writer is None:
                    raise _not_open()
                self._transact(self._writer, group)
            except SlttError as error:
                _fail(group, error)
            except BaseException:
                _fail(group, StorageError("the write was interrupted; read the log to see whether it holds it"))
                raise
            finally:
                for job in group:
                    job.done = True
        with self._notifier:
            self._notifier.notify_all()

    def _transact(self, connection: sqlite3.Connection, group: Sequence[_Job]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for job in group:
                    job.run(connection)
                self._purge(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self.path) from error

    def _purge(self, connection: sqlite3.Connection) -> None:
        """Once a day, forget the keys that have expired."""
        now = self._clock() // 1_000_000_000
        if now >= self._next_purge:
            self._next_purge = now + _DAY
            connection.execute("DELETE FROM requests WHERE expires < ?", (now,))


class _Job:
    """Some work for the writing connection, and what came of it."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], object]) -> None:
        self.work = work
        self.done = False
        self.result: object = None
        self.error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        try:
            self.result = self.work(connection)
        except SlttError as error:
            self.error = error


def _fail(group: Sequence[_Job], error: SlttError) -> None:
    """Give an error to every job of a group that has none of its own."""
    for job in group:
        job.error = job.error or error


def _find_log(connection: sqlite3.Connection, project_id: str) -> tuple[int, Head] | None:
    row = connection.execute("SELECT log, value, chain FROM logs WHERE project_id = ?", (project_id,)).fetchone()
    return None if row is None else (row[0], Head(row[1] - 1, row[2]))


def _find_request(connection: sqlite3.Connection, log: int, key: str, number: int) -> StoredChunk | None:
    row = connection.execute(
        "SELECT first_seq, count, fingerprint, NULL, offset FROM requests WHERE log = ? AND key = ? AND number = ?",
        (log, key, number),
    ).fetchone()
    return None if row is None else StoredChunk.of(row)


def _create_log(connection: sqlite3.Connection, project_id: str) -> int:
    inserted = connection.execute("INSERT INTO logs (project_id, value, chain) VALUES (?, 1, ?)", (project_id, GENESIS))
    assert inserted.lastrowid is not None
    return inserted.lastrowid


def _known_types(connection: sqlite3.Connection, log: int | None, types: Counter[str]) -> set[str]:
    marks = ",".join("?" * len(types))
    rows = connection.execute(
        f"SELECT entity_type FROM entity_types WHERE log = ? AND entity_type IN ({marks})", (log, *types)
    )
    return {entity_type for (entity_type,) in rows}


def _all_types(connection: sqlite3.Connection, log: int | None) -> set[str]:
    rows = connection.execute("SELECT entity_type FROM entity_types WHERE log = ?", (log,))
    return {entity_type for (entity_type,) in rows}


def _insert(connection: sqlite3.Connection, log: int, changes: Sequence[Change], types: Counter[str]) -> None:
    """Write consecutive changes to the end of a log, and carry the log's row on."""
    base = log << SEQ_BITS
    connection.executemany(
        _INSERT,
        ((base + change.seq, *change.as_tuple()[2:]) for change in changes),
    )
    operations = Counter(change.operation for change in changes)
    connection.execute(
        "UPDATE logs SET value = ?, chain = ?, creates = creates + ?, updates = updates + ?, "
        "deletes = deletes + ? WHERE log = ?",
        (
            changes[-1].seq + 1,
            changes[-1].chain,
            operations["create"],
            operations["update"],
            operations["delete"],
            log,
        ),
    )
    connection.executemany(
        "INSERT INTO entity_types (log, entity_type, total) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET total = total + excluded.total",
        ((log, entity_type, count) for entity_type, count in types.items()),
    )


def _not_open() -> StorageError:
    return StorageError("the storage is not open", hint="Call initialize() first, or use it as a context manager.")


def open_sqlite(path: str, project_id: str | None = None) -> LocalStorageService:
    """Make the storage that `sqlite:PATH` names; not yet initialized."""
    return LocalStorageService(path, project_id)
