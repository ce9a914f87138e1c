"""`LocalStorageService`: the change log in an SQLite file.

Writes go through `sltt_core.sqlite.writer` (group commit), reads through `sltt_core.sqlite.readers` (snapshots, which
wait for no writer). Several processes may share a file. All SQL is in `sltt_core.sqlite.rows` and
`sltt_core.sqlite.raw_rows`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from sltt_core.base.errors import StorageBusy
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import now_utc
from sltt_core.log.batches import (
    CHUNK_BYTES,
    CHUNK_CHANGES,
    Chunk,
    StoredChunk,
    chunk_of,
    first_excess_type,
    head_moved,
    number_changes,
    project_exists,
    too_many_entity_types,
)
from sltt_core.log.members import is_needed
from sltt_core.log.pages import EMPTY_LOG, PAGE_BYTES, ChangeStats, Head
from sltt_core.log.storage import BaseStorageService
from sltt_core.model.chain import GENESIS
from sltt_core.sqlite import credential_rows, raw_rows, rows
from sltt_core.sqlite.connections import Connections
from sltt_core.sqlite.database import Database
from sltt_core.sqlite.notifier import Notifier
from sltt_core.sqlite.paths import check_path, check_url_path
from sltt_core.sqlite.readers import Readers
from sltt_core.sqlite.schema import LOG
from sltt_core.sqlite.verification import Verification
from sltt_core.sqlite.writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from sqlite3 import Connection

    from sltt_core.base.runtime import Runtime
    from sltt_core.log.findings import Finding, Progress, Report
    from sltt_core.log.issuing import C, Decision
    from sltt_core.log.pages import Run
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change, NewChange
    from sltt_core.model.grants import Members

_DAY = 86_400 * 10**9
"""Nanoseconds."""


class LocalStorageService(BaseStorageService):
    """The change logs of any number of projects in one SQLite file; `BaseStorageService` is the contract.

    The file at `path` is created when it does not exist (its folder must exist), and upgraded when it is of an older
    format. Another program's file, or one of a newer format, is refused with `NotALog` and not altered. A write waits
    up to `busy_seconds` for other processes, then raises `StorageBusy`. Raises `InvalidInput` for a `path` that names
    no file, such as `:memory:` or `sqlite:team.db`.
    """

    storage_type = "sqlite"
    _file_kind = LOG
    """What the file is; a subclass may keep its logs in a file of another kind."""

    def __init__(
        self,
        path: str | Path,
        project_id: str | None = None,
        *,
        runtime: Runtime = SYSTEM,
        busy_seconds: float = 10.0,
        chunk_changes: int = CHUNK_CHANGES,
        chunk_bytes: int = CHUNK_BYTES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        super().__init__(
            project_id,
            runtime=runtime,
            chunk_changes=chunk_changes,
            chunk_bytes=chunk_bytes,
            page_bytes=page_bytes,
        )
        self.path = check_path(path)
        self._given = str(path)
        self._database = Database(self.path, busy_seconds, self._file_kind)
        self._notifier = Notifier(self._database)
        self._readers = Readers(self._database)
        self._writer = Writer(self._database, self._count_day, self._notifier.notify)
        self._connections = Connections(self._database, self._readers, self._writer, self._notifier)

    @property
    def place(self) -> str:
        return "" if self._given == str(self.path) else f"at {self.path}"

    def gauges(self) -> dict[str, float]:
        writer = self._writer
        found: dict[str, float] = {"commit_queue_length": len(writer.jobs)}
        found |= {"commit_groups": writer.groups, "commit_grouped": writer.grouped}
        try:
            found["wal_bytes"] = os.stat(f"{self.path}-wal").st_size
        except OSError:  # in memory, or closed
            pass
        return found

    def initialize(self) -> None:
        self._connections.open()

    def close(self) -> None:
        self._connections.close()

    def check(self) -> None:
        self._database.check_open_file()

    # Reading

    def _get(self, project_id: str, seq: int) -> Change | None:
        with self._readers.snapshot() as connection:
            return rows.find_change(connection, project_id, seq)

    def _run(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        with self._readers.snapshot() as connection:
            found = rows.find_log(connection, project_id)
            if found is None:
                return 0, GENESIS if cursor == 0 else None, ()
            log, head = found
            if cursor >= head.seq:
                return head.seq, head.chain if cursor == head.seq else None, ()
            return rows.find_run(connection, log, head.seq, project_id, cursor, limit, self._page_bytes)

    def _head(self, project_id: str) -> Head:
        with self._readers.snapshot() as connection:
            found = rows.find_log(connection, project_id)
        return EMPTY_LOG if found is None else found[1]

    def _ends(self, project_ids: Sequence[str]) -> dict[str, Head]:
        with self._readers.snapshot() as connection:
            return rows.find_ends(connection, project_ids)

    def _stats(self, project_id: str) -> tuple[ChangeStats, dict[str, int], Head]:
        with self._readers.snapshot() as connection:
            stats, head = rows.count_operations(connection, project_id)
            return stats, rows.count_types(connection, project_id), head

    def _projects(self, after: str | None, limit: int) -> list[str]:
        with self._readers.snapshot() as connection:
            return rows.find_projects(connection, after, limit)

    def _stored_chunk(self, project_id: str, key: str, number: int) -> StoredChunk | None:
        with self._readers.snapshot() as connection:
            found = rows.find_log(connection, project_id)
            return None if found is None else rows.find_request(connection, found[0], key, number)

    def _members(self, project_id: str) -> Members:
        with self._readers.snapshot() as connection:
            return rows.find_members(connection, project_id)

    def _projects_of(self, principal: str, after: str | None, limit: int) -> list[str]:
        with self._readers.snapshot() as connection:
            return rows.find_projects_of(connection, principal, after, limit)

    def _credential(self, kind: type[C], credential_id: str) -> C | None:
        with self._readers.snapshot() as connection:
            return credential_rows.find_credential(connection, kind, credential_id)

    def _credentials(self, kind: type[C], project_id: str, after: str | None, limit: int) -> tuple[list[C], str | None]:
        with self._readers.snapshot() as connection:
            return credential_rows.find_credentials(connection, kind, project_id, after, limit)

    def _verify(self, project_id: str, requests: bool, progress: Progress) -> Iterator[Finding]:
        return Verification(self._any_snapshot, project_id, progress, clock=self._runtime.clock).run(requests)

    @contextmanager
    def _any_snapshot(self) -> Iterator[Connection]:
        with self._readers.snapshot() as connection, raw_rows.any_text(connection):
            yield connection

    def _repair(self, project_id: str, dry_run: bool, relink_from: int | None, progress: Progress) -> Report:
        from sltt_core.sqlite.repair import Repair  # a repair is rare

        clock = self._runtime.clock
        return self._writer.write(
            lambda connection: Repair(connection, project_id, clock, relink_from, progress).run(dry_run=dry_run)
        )

    def write_mark(self) -> object:
        return self._notifier.mark()

    def wait_for_write(self, mark: object, seconds: float) -> None:
        self._notifier.wait(mark, seconds)

    # Writing

    def _append(self, chunk: Chunk) -> StoredChunk:
        return self._writer.write(lambda connection: self._append_in(connection, chunk))

    def _append_in(self, connection: Connection, chunk: Chunk) -> StoredChunk:
        log, head = rows.find_log(connection, chunk.project_id) or (None, EMPTY_LOG)
        if log is not None and chunk.key is not None:
            before = rows.find_request(connection, log, chunk.key, chunk.number)
            if before is not None:
                return before
        if log is not None and chunk.owner is not None:
            raise project_exists(chunk.project_id)
        if chunk.if_head not in (None, head.seq):
            raise head_moved(chunk.project_id, head)
        types = {change.entity_type for change in chunk.changes}
        if len(rows.known_types(connection, log, types)) < len(types):
            known = rows.all_types(connection, log)
            too_many = first_excess_type(known, (change.entity_type for change in chunk.changes))
            if too_many is not None:
                raise too_many_entity_types(chunk.offset + too_many)
        if log is None:
            log = rows.insert_log(connection, chunk.project_id)
        written = number_changes(chunk, head, now_utc(self._runtime.clock))
        rows.insert_changes(connection, log, written)
        stored = written[chunk.grants :]
        if chunk.key is not None:
            rows.insert_request(connection, log, chunk, stored[0].seq)
        return StoredChunk(stored[0].seq, len(stored), chunk.fingerprint, stored, chunk.offset)

    def _grant(self, project_id: str, grant: NewChange) -> Members:
        return self._writer.write(lambda connection: self._grant_in(connection, project_id, grant))

    def _grant_in(self, connection: Connection, project_id: str, grant: NewChange) -> Members:
        members = rows.find_members(connection, project_id)
        if is_needed(members, grant):
            self._append_in(connection, chunk_of(project_id, grant))
            members = rows.find_members(connection, project_id)
        return members

    def _replace_credential(self, before: C | None, after: C) -> bool:
        def replace(connection: Connection) -> bool:
            if credential_rows.find_credential(connection, type(after), after.id) != before:
                return False
            credential_rows.put_credential(connection, after, self._seconds())
            return True

        return self._writer.write(replace)

    def _change_credential(
        self, kind: type[C], project_id: str, credential_id: str, decide: Decision[C]
    ) -> tuple[C, Members]:
        def change(connection: Connection) -> tuple[C, Members]:
            before = credential_rows.find_credential(connection, kind, credential_id)
            after, grant = decide(before, rows.find_members(connection, project_id))
            if after != before:
                credential_rows.put_credential(connection, after, self._seconds())
            if grant is not None:
                self._append_in(connection, chunk_of(project_id, grant))
            return after, rows.find_members(connection, project_id)

        return self._writer.write(change)

    def _restore(self, project_id: str, changes: tuple[Change, ...], requests: tuple[NamedRequest, ...]) -> None:
        self._writer.write(lambda connection: self._restore_in(connection, project_id, changes, requests))

    def _restore_in(
        self, connection: Connection, project_id: str, changes: tuple[Change, ...], requests: tuple[NamedRequest, ...]
    ) -> None:
        log, head = rows.find_log(connection, project_id) or (None, EMPTY_LOG)
        if head.seq + 1 != changes[0].seq:
            raise StorageBusy(f"another process wrote to project {project_id} while it was being restored")
        if log is None:
            log = rows.insert_log(connection, project_id)
        rows.insert_changes(connection, log, changes)
        for request in requests:
            seconds = request.seconds_left(self._runtime.clock)
            if seconds >= 0:
                rows.replace_request(connection, log, request, seconds)

    def _mark(self, project_id: str, seq: int, outdated_by: int) -> Change | None:
        self._writer.write(lambda connection: rows.mark_change(connection, project_id, seq, outdated_by))
        return self._get(project_id, seq)

    def _count_day(self, connection: Connection) -> None:
        if rows.count_day(connection, self._runtime.clock() // _DAY):
            credential_rows.forget_expired(connection, self._seconds())

    def _seconds(self) -> int:
        return self._runtime.clock() // 10**9


def open_sqlite(path: str, project_id: str | None = None) -> LocalStorageService:
    """Return the storage that `sqlite:PATH` names, not yet initialized; raises `InvalidInput` for a bad path."""
    return LocalStorageService(check_url_path(path), project_id)
