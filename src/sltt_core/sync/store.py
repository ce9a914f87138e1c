"""`DeviceStore`: everything a device keeps, in one file; each method is one transaction."""

from __future__ import annotations

import os

from sltt_core.base.errors import (
    InvalidBatch,
    LogDamaged,
    NotAllowed,
    Problem,
    ReservedType,
)
from sltt_core.base.record import Record
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import now_utc
from sltt_core.log.pages import EMPTY_LOG, Head
from sltt_core.model.chain import check_links
from sltt_core.model.changes import NewChange
from sltt_core.model.fields import check_free_text, checked
from sltt_core.model.grants import RESERVED
from sltt_core.sqlite import rows
from sltt_core.sync import outbox
from sltt_core.sync.device_file import ProcessLock
from sltt_core.sync.outcomes import SyncStatus
from sltt_core.sync.outsyncs import (
    BLOCKING,
    FROZEN,
    HELD,
    MAX_BATCH_BYTES,
    MAX_UNIT,
    REJECTED,
    SENT,
    STATES,
    WAITING,
    Batch,
    Outsync,
)
from sltt_core.sync.projects import ProjectStore, begin_following, head_of, statuses_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path
    from sqlite3 import Connection
    from types import TracebackType
    from typing import Self, TypeVar

    from sltt_core.base.runtime import Runtime
    from sltt_core.model.changes import Change

    T = TypeVar("T")


class Arrival(Record):
    """What a page did to the store."""

    confirmed: tuple[Outsync, ...]
    """Edits of this device that came back; they left the outbox."""
    copied: bool
    """Whether the page shows that another copy of this store is in use, or was: the device has a new id now."""


class DeviceStore(ProjectStore):
    """The store of a device: the logs of its projects as far as they were read, and the outbox.

    One process uses it at a time. Its methods may be called from several threads. Each raises the errors of
    `BaseStorageService`; when the disk is full, nothing is written.
    """

    def __init__(self, path: str | Path, *, runtime: Runtime = SYSTEM, busy_seconds: float = 10.0) -> None:
        """`path` is the file, which `open` creates if there is none. Raises `InvalidInput` for what names no file."""
        super().__init__(path, runtime=runtime, busy_seconds=busy_seconds)
        self._lock = ProcessLock(self.path)
        self._counting = runtime.new_lock()
        self._device = ""
        self._local = 0
        self._last_time = ""

    def open(self) -> None:
        """Open the store, alone.

        Raises `StorageBusy` when another process has it open, `NotALog` for a file that is no store of a device or has
        a newer format, `StorageError` when it cannot be created. A store that was copied gets a new device id.
        """
        self._lock.acquire()
        try:
            self.log.open()
            self._write(self._load)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the store. Does nothing when it is closed."""
        try:
            self.log.close()
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def device_id(self) -> str:
        """The id of the device: 16 characters. It is the begin of the `cid` of every edit."""
        return self._device

    # Editing

    def new_edit(
        self,
        project_id: str,
        entity_type: str,
        entity_id: str,
        operation: str,
        data: Mapping[str, object] | str,
        user: str | None,
        unit: int | None = None,
    ) -> Outsync:
        """Return a checked edit with its number, time and base, which `add_unit` stores.

        `unit` is that of the first edit of a transaction; `None` begins one. Raises `InvalidBatch` with every problem,
        and `ReservedType`.
        """
        with self._counting:
            self._local += 1
            local = self._local
            now = self._last_time = max(self._last_time, now_utc(self._runtime.clock))
            device = self._device
        new = NewChange(
            project_id=project_id,
            entity_type=entity_type,
            entity_id=entity_id,
            data=data,
            operation=operation,  # type: ignore[arg-type]
            timestamp=now,
            cid=f"{device}.{local}",
            change_by=user,
        )
        if new.entity_type.startswith(RESERVED):
            raise ReservedType("change.entity_type")
        with self.log.readers.snapshot() as connection:
            base = head_of(connection, project_id).seq
        return Outsync(
            local,
            local if unit is None else unit,
            project_id,
            new.entity_type,
            new.entity_id,
            operation,
            now,
            new.data_json,
            user,
            f"{device}.{local}",
            base,
            WAITING,
            None,
            None,
            None,
        )

    def add_unit(self, unit: Sequence[Outsync]) -> None:
        """Store the edits of a unit, which are durable when the method returns. The project is followed from now on.

        Raises `InvalidBatch` for more than `MAX_UNIT` edits or `MAX_BATCH_BYTES` bytes.
        """
        if len(unit) > MAX_UNIT:
            raise InvalidBatch([Problem(None, "edits", f"are {len(unit)}; a transaction has at most {MAX_UNIT}")])
        size = 2 + sum(len(edit.to_json().encode()) + 1 for edit in unit)
        if size > MAX_BATCH_BYTES:
            reason = f"have {size:,} bytes; a transaction has at most {MAX_BATCH_BYTES:,}"
            raise InvalidBatch([Problem(None, "edits", reason)])

        def add(connection: Connection) -> None:
            outbox.insert_unit(connection, unit)
            begin_following(connection, unit[0].project_id)
            connection.execute("UPDATE device SET last_time = max(last_time, ?)", (unit[-1].timestamp,))

        self._write(add)

    def outsyncs(
        self, project_id: str | None = None, states: Collection[str] = STATES, *, after: int = 0, limit: int = -1
    ) -> list[Outsync]:
        """Return edits of the outbox in the order in which they were made; `limit` -1 means all."""
        with self.log.readers.snapshot() as connection:
            return outbox.listed(connection, project_id, states, after, limit)

    def outsync(self, cid: str) -> Outsync:
        """Return the edit with a cid; raises `NotFound`."""
        with self.log.readers.snapshot() as connection:
            return outbox.find(connection, cid)

    def replace_data(self, cid: str, data: Mapping[str, object] | str) -> Outsync:
        """Give an edit that was rejected, withheld or held other data, and let it be sent again.

        Raises `NotFound`, `InvalidBatch` for data that is not valid, and `NotAllowed` in any other state.
        """

        def change(edit: Outsync) -> Outsync:
            new = NewChange(
                entity_type=edit.entity_type, entity_id=edit.entity_id, data=data, project_id=edit.project_id
            )
            return edit.replace(data_json=new.data_json, state=WAITING, problem_json=None)

        return self._decide(cid, (HELD, *BLOCKING), change)

    def retry(self, cid: str) -> Outsync:
        """Let an edit that was rejected, withheld or held be sent again; raises what `replace_data` raises."""
        return self._decide(cid, (HELD, *BLOCKING), lambda edit: edit.replace(state=WAITING, problem_json=None))

    def drop(self, cid: str) -> Outsync:
        """Delete an edit that is not on its way to the server; raises `NotFound` and `NotAllowed`."""
        return self._decide(cid, (WAITING, HELD, *BLOCKING), None)

    def _decide(self, cid: str, states: Collection[str], change: Callable[[Outsync], Outsync] | None) -> Outsync:
        def decide(connection: Connection) -> Outsync:
            edit = outbox.find(connection, cid)
            if edit.state not in states:
                raise NotAllowed(f"the edit {cid} is {edit.state}, not {' or '.join(states)}")
            if change is None:
                outbox.drop(connection, edit)
                return edit
            outbox.replace(connection, change(edit))
            outbox.hold(connection, edit.project_id)
            return outbox.find(connection, cid)

        return self._write(decide)

    # Sending

    def next_batch(
        self, project_id: str, principal: str, *, max_bytes: int = MAX_BATCH_BYTES, author: str | None = None
    ) -> Batch | None:
        """Return the next batch to send, durable with its key and its bytes, and count the try.

        A batch that this login froze before comes first; those of other logins stay. `author` limits a new one to the
        edits of one user.
        """

        def next_one(connection: Connection) -> Batch | None:
            mine = (batch for batch in outbox.batches(connection, project_id) if batch.principal == principal)
            batch = next(mine, None) or outbox.freeze(connection, project_id, principal, max_bytes, author)
            if batch is not None:
                outbox.count_try(connection, batch.batch)
            return batch

        return self._write(next_one)

    def batches(self, project_id: str) -> list[Batch]:
        """Return the batches of a project whose responses are not known, in the order in which they were frozen."""
        with self.log.readers.snapshot() as connection:
            return outbox.batches(connection, project_id)

    def counts(self, project_id: str) -> dict[str, int]:
        """Return the number of edits of a project by state."""
        with self.log.readers.snapshot() as connection:
            found = outbox.counts(connection)
        return {state: count for (owner, state), count in found.items() if owner == project_id}

    def last_sent(self, project_id: str) -> int | None:
        """Return the last number of the server's log, as far as its responses to edits that did not come back say."""
        with self.log.readers.snapshot() as connection:
            return outbox.last_sent(connection, project_id)

    def in_batch(self, batch: Batch) -> list[Outsync]:
        """Return the edits of a batch, in the order of its body."""
        with self.log.readers.snapshot() as connection:
            return outbox.in_batch(connection, batch.batch)

    def accept(self, batch: Batch, seqs: Sequence[int]) -> list[Outsync]:
        """Note the numbers that the server gave to a batch; return its edits."""
        return self._write(lambda connection: outbox.accept(connection, batch.batch, seqs))

    def refuse(self, batch: Batch, problems: Mapping[int, str]) -> list[Outsync]:
        """Note which edits of a batch the server refused, by their index; return them as they are now.

        The rest waits, or is held.
        """

        def refuse(connection: Connection) -> list[Outsync]:
            edits = outbox.in_batch(connection, batch.batch)
            refused = {edit.local for edit in outbox.refuse(connection, batch.batch, problems)}
            self._free(connection, batch, edits)
            rejected = outbox.listed(connection, batch.project_id, (REJECTED,))
            return [edit for edit in rejected if edit.local in refused]

        return self._write(refuse)

    def thaw(self, batch: Batch) -> None:
        """Let the edits of a batch wait again, of which the server has certainly stored nothing."""

        def thaw(connection: Connection) -> None:
            edits = outbox.in_batch(connection, batch.batch)
            outbox.thaw(connection, batch.batch)
            self._free(connection, batch, edits)

        self._write(thaw)

    def send_again(self, project_id: str, end: int) -> None:
        """Let edits wait again that were sent, if the server's log ends before their numbers, as after a restore."""
        self._write(lambda connection: outbox.send_again(connection, project_id, end))

    def settle(self, batch: Batch) -> None:
        """End a batch whose key the server has with other changes, after the whole log was read.

        What came back was stored; the rest waits again. Another copy of this store is in use: the device gets a new id.
        """

        def settle(connection: Connection) -> None:
            edits = outbox.in_batch(connection, batch.batch)
            outbox.thaw(connection, batch.batch)
            self._rename(connection)
            self._free(connection, batch, edits)

        self._write(settle)

    # Reading from the server

    def put_page(self, project_id: str, after: Head, changes: Sequence[Change], heard: int = 0) -> Arrival | None:
        """Store the changes that follow `after`, and take from the outbox what came back with them.

        `heard` is the last number of the server's log, as far as it is known. Returns `None` and stores nothing if the
        log of the device does not end at `after` any more. Raises `LogDamaged` if the changes do not join, and
        `ChainMismatch` if a link is wrong.
        """
        for seq, change in enumerate(changes, after.seq + 1):
            if change.seq != seq or change.project_id != project_id:
                raise LogDamaged(f"the page after {after.seq} of {project_id} has no change {seq} at its place")
        check_links(after.chain, changes)
        through = after.seq + len(changes)

        def put(connection: Connection) -> Arrival | None:
            found = rows.find_log(connection, project_id)
            if (EMPTY_LOG if found is None else found[1]) != after:
                return None
            confirmed: list[Outsync] = []
            copied = False
            if changes:
                log = rows.insert_log(connection, project_id) if found is None else found[0]
                rows.insert_changes(connection, log, changes)
                confirmed, strangers = outbox.confirm(connection, project_id, changes)
                outbox.unconfirmed(connection, project_id, through)
                # After that: an edit of another content under the same cid is not the one that was sent.
                copied = bool(strangers) or self._is_ahead(changes)
                if copied:
                    self._rename(connection)
                    self._name_again(connection, strangers)
            begin_following(connection, project_id)
            connection.execute(
                "UPDATE projects SET head = ?, heard_at = ? WHERE project_id = ?",
                (max(through, heard), now_utc(self._runtime.clock), project_id),
            )
            return Arrival(tuple(confirmed), copied)

        return self._write(put)

    def status(self) -> SyncStatus:
        """Return what the device knows about itself and its projects."""
        with self.log.readers.snapshot() as connection:
            server, offset = connection.execute("SELECT server, clock_offset FROM device").fetchone()
            return SyncStatus(self._device, server, offset, statuses_of(connection))

    def note_server(self, url: str | None) -> None:
        """Note the URL of the server; `None` leaves it."""
        if url is not None:
            self._write(lambda connection: connection.execute("UPDATE device SET server = ?", (url,)))

    def note_time(self, offset: int) -> None:
        """Note how much the clock of the server is ahead, in milliseconds."""
        self._write(lambda connection: connection.execute("UPDATE device SET clock_offset = ?", (offset,)))

    # The device

    def _load(self, connection: Connection) -> None:
        """Read the id of the device, or make one. A copy of the file gets another."""
        file = _identity(self.path)
        row = connection.execute("SELECT device, made_for, last_time FROM device").fetchone()
        if row is None:
            connection.execute("INSERT INTO device (id, device, made_for, last_time) VALUES (1, '', ?, '')", (file,))
            row = ("", "", "")
        self._device, made_for, self._last_time = row
        self._local = outbox.last_local(connection)
        if made_for != file:
            self._rename(connection)

    def _rename(self, connection: Connection) -> None:
        """Give the device another id. Edits keep their cid, by which copies of them are recognized."""
        device = self._runtime.new_token()[:16]
        connection.execute("UPDATE device SET device = ?, made_for = ?", (device, _identity(self.path)))
        with self._counting:
            self._device = device

    def _is_ahead(self, changes: Sequence[Change]) -> bool:
        """Return whether one of the changes is an edit of this device that its store does not have yet."""
        begin = f"{self._device}."
        for change in changes:
            if change.cid is not None and change.cid.startswith(begin):
                number = change.cid[len(begin) :]
                if number.isdecimal() and int(number) > self._local:
                    return True
        return False

    def _free(self, connection: Connection, batch: Batch, edits: Sequence[Outsync]) -> None:
        """Give another cid to edits of a batch that has ended, if the log has another edit under their cid."""
        used = rows.find_cids(connection, batch.project_id, [edit.cid for edit in edits])
        self._name_again(connection, [edit for edit in edits if edit.seq is None and edit.cid in used])

    def _name_again(self, connection: Connection, strangers: Sequence[Outsync]) -> None:
        """Give another cid to edits whose cid another copy of the store used for another edit.

        A frozen or sent edit keeps it: the server may have it under this cid already.
        """
        for stranger in strangers:
            edit = outbox.find(connection, stranger.cid)
            if edit.state not in (FROZEN, SENT):
                outbox.replace(connection, edit.replace(cid=f"{self._device}.{edit.local}"))


def check_user(user: str | None) -> str | None:
    """Return the name of a user; raises `InvalidInput` for one that cannot be stored as `changeBy`."""
    return None if user is None else checked(check_free_text, user, "user")


def _identity(path: Path) -> str:
    found = os.stat(path)
    return f"{found.st_dev}:{found.st_ino}"
