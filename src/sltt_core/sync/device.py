"""`Device`: a device as a program sees it. It edits offline, and syncs with a server when there is one."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

from sltt_core.base.errors import InvalidInput, NotFound
from sltt_core.base.runtime import SYSTEM
from sltt_core.model.fields import check_project_id, checked
from sltt_core.sync.downsync import RANGES
from sltt_core.sync.manager import SyncManager
from sltt_core.sync.outsyncs import HELD, REJECTED, STATES, WITHHELD
from sltt_core.sync.projects import BY_USER, PAUSED
from sltt_core.sync.remote import Remote
from sltt_core.sync.requests import parse_server
from sltt_core.sync.store import DeviceStore, check_user
from sltt_core.sync.syncer import Syncer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from sltt_core.base.runtime import Runtime
    from sltt_core.model.changes import Change
    from sltt_core.sync.events import Events, Notify
    from sltt_core.sync.outcomes import ProjectResult, ProjectStatus, SyncResult, SyncStatus
    from sltt_core.sync.outsyncs import Outsync
    from sltt_core.sync.view import DeviceLog

_transactions: ContextVar[Mapping[tuple[int, str], Unit]] = ContextVar("sltt_transactions")
"""The transactions that are open in this thread or task, by device and project."""


class Device:
    """A device: a store in one file, and its sync with a server.

    Edits need no connection. They are durable when the method returns, and the next sync sends them. Several threads
    may use one object; only one process can have the store open.
    """

    def __init__(
        self,
        path: str | Path,
        server: str | None = None,
        *,
        user: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str] = {},
        client: Remote | None = None,
        runtime: Runtime = SYSTEM,
        busy_seconds: float = 10.0,
        ranges: int = RANGES,
    ) -> None:
        """`path` is the store, which is created if there is none.

        `server` is the URL of the server; `None` means the one that the store knows. `user` is who makes the edits
        (`changeBy`); a server that verifies logins replaces it with the login. `token` is sent as a bearer token, and
        `headers` with each request. `client` replaces the client that is made of these. `ranges` is the number of
        requests at once for a long log. Raises `InvalidInput`.
        """
        self.store = DeviceStore(path, runtime=runtime, busy_seconds=busy_seconds)
        """What the device keeps."""
        self.user = check_user(user)
        if server is not None:
            parse_server(server)
        self._server = server
        self._token = token
        self._headers = dict(headers)
        self._client = client
        self._own_client: Remote | None = None
        self._runtime = runtime
        self._ranges = ranges
        self._parts: tuple[Syncer, SyncManager] | None = None
        self._making = runtime.new_lock()

    def open(self) -> None:
        """Open the store; raises what `DeviceStore.open` raises. Needs no connection."""
        self.store.open()
        try:
            self.store.note_server(self._server if self._client is None else self._client.server)
        except BaseException:
            self.store.close()
            raise

    def close(self) -> None:
        """End the sync in the background, and close the store. Does nothing when it is closed."""
        if self._parts is not None:
            manager = self._parts[1]
            manager.stop()
            if self._client is not None:
                self._client.cancel_no_more(manager.cancelled)
            self._parts = None
        if self._own_client is not None:
            self._own_client.close()
            self._own_client = None
        self.store.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Projects

    @property
    def device_id(self) -> str:
        """The id of the device: 16 characters, the begin of the `cid` of each edit."""
        return self.store.device_id

    @property
    def log(self) -> DeviceLog:
        """What the device has of the logs of its projects: a storage that is only read."""
        return self.store.log

    def project(self, project_id: str) -> DeviceProject:
        """Return a project. The device follows it from the first edit on, or from `follow`. Raises `InvalidInput`."""
        return DeviceProject(self, checked(check_project_id, project_id, "project_id"))

    def follow(self, *project_ids: str) -> None:
        """Let these projects be synced, from now on or again after a pause."""
        for project_id in project_ids:
            self.store.follow(project_id)
        self._wake()

    def pause(self, project_id: str) -> None:
        """Sync a project only when it is named, until `follow`. What the device has of it is kept."""
        self.store.stop(
            checked(check_project_id, project_id, "project_id"), PAUSED, BY_USER, "it was paused on this device"
        )

    def purge(self, project_id: str) -> None:
        """Delete what came down of a project, and pause it. Edits in the outbox are kept."""
        self.store.purge(checked(check_project_id, project_id, "project_id"))

    # Sync

    def sync(self, *project_ids: str, notify: Notify | None = None) -> SyncResult:
        """Sync these projects, or all: read what is new, send the outbox, and read what came of it.

        A project that is named is followed from now on, unless a person paused it.

        `notify` is called with each event of this sync, such as `Progress`, on this thread.
        Being offline is a result, not an error. Raises `InvalidInput` without a server, and the errors of the store,
        such as a full disk.
        """
        syncer, _ = self._sync_parts()
        for project_id in project_ids:
            checked(check_project_id, project_id, "project_id")
        return syncer.sync(project_ids or None, paused=True, notify=notify)

    def resync(self, project_id: str) -> ProjectResult:
        """Bring a project together with a server that has another history than the device, for example a restored one.

        The outbox is kept, and what the server lost is sent to it again. Raises `NotFound` for a project that the
        device does not follow.
        """
        if checked(check_project_id, project_id, "project_id") not in self.status().projects:
            raise NotFound(f"the device does not follow the project {project_id}")
        return self._sync_parts()[0].resync(project_id)

    def status(self) -> SyncStatus:
        """Return what the device knows, without a request."""
        return self.store.status()

    def fetch(self) -> SyncStatus:
        """Ask the server for the ends of the logs, and return the state. Nothing is read or sent.

        Raises `InvalidInput` without a server, and `RemoteError` when there is no response of the server.
        """
        self._sync_parts()[0].fetch()
        return self.status()

    def start(self) -> None:
        """Sync in the background until `stop`: at once after an edit, and when the server has news."""
        self._sync_parts()[1].start()

    def stop(self) -> None:
        """End the sync in the background, every watch, and, within a second, a `sync` that another thread runs."""
        if self._parts is not None:
            self._parts[1].stop()

    @contextmanager
    def watch(self, project_id: str | None = None) -> Iterator[Events]:
        """Sync in the background, and receive what happens, of one project or of all, on this thread.

        The sync in the background ends with the last watcher, unless `start` began it.
        """
        _, manager = self._sync_parts()
        events = manager.watch(project_id)
        try:
            if project_id is not None:
                self.follow(project_id)
            manager.start(keep=False)
            yield events
        finally:
            manager.unwatch(events)

    # The outbox

    def outbox(self, project_id: str | None = None, states: Collection[str] = STATES) -> list[Outsync]:
        """Return the edits that did not come back from the server yet, in the order in which they were made."""
        return self.store.outsyncs(project_id, states)

    def rejected(self, project_id: str | None = None) -> list[Outsync]:
        """Return the edits that need a decision, and those that wait for one: rejected, withheld and held."""
        return self.store.outsyncs(project_id, (REJECTED, WITHHELD, HELD))

    def edit(self, cid: str, data: Mapping[str, object] | str) -> Outsync:
        """Give an edit that was rejected, withheld or held other data; the next sync sends it.

        Raises `NotFound`, `InvalidBatch`, and `NotAllowed` in another state.
        """
        return self._woken(self.store.replace_data(cid, data))

    def retry(self, cid: str) -> Outsync:
        """Let an edit that was rejected, withheld or held be sent again as it is; raises what `edit` raises."""
        return self._woken(self.store.retry(cid))

    def drop(self, cid: str) -> Outsync:
        """Delete an edit that is not on its way to the server, and return it; raises `NotFound` and `NotAllowed`."""
        return self._woken(self.store.drop(cid))

    def _woken(self, edit: Outsync) -> Outsync:
        self._wake()
        return edit

    def _wake(self) -> None:
        if self._parts is not None:
            self._parts[1].wake()

    def _sync_parts(self) -> tuple[Syncer, SyncManager]:
        with self._making:
            if self._parts is None:
                self._parts = self._make_parts()
            return self._parts

    def _make_parts(self) -> tuple[Syncer, SyncManager]:
        client = self._client
        if client is None:
            server = self._server or self.store.status().server
            if server is None:
                raise InvalidInput("the device has no server", field="server", hint="Pass the URL of a server.")
            client = self._own_client = Remote(server, token=self._token, headers=self._headers, runtime=self._runtime)
        managers: list[SyncManager] = []
        syncer = Syncer(
            self.store,
            client,
            self.user,
            runtime=self._runtime,
            notify=lambda event: managers[0].notify(event),
            ranges=self._ranges,
        )
        manager = SyncManager(self.store, syncer, runtime=self._runtime)
        managers.append(manager)
        client.cancel_when(manager.cancelled)
        return syncer, manager


class DeviceProject:
    """A project on a device."""

    def __init__(self, device: Device, project_id: str) -> None:
        self._device = device
        self.id = project_id

    def create(
        self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /, **fields: object
    ) -> Outsync:
        """Create an entity. `data` is a JSON object, as a mapping or as text; `fields` are members of it by name.

        The edit is durable when the method returns, or when the transaction ends. Raises `InvalidBatch` that names each
        field that is not valid, `ReservedType`, and the errors of the store.
        """
        return self._edit("create", entity_type, entity_id, data, fields)

    def update(
        self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /, **fields: object
    ) -> Outsync:
        """Update fields of an entity; otherwise like `create`."""
        return self._edit("update", entity_type, entity_id, data, fields)

    def delete(
        self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /, **fields: object
    ) -> Outsync:
        """Delete an entity; otherwise like `create`."""
        return self._edit("delete", entity_type, entity_id, data, fields)

    @contextmanager
    def transaction(self) -> Iterator[Unit]:
        """Make the edits of this thread in the project one unit, of 1 to 98 edits and up to 1 MB.

        The device and the server store it whole or not at all. It is durable when the block ends; after an exception in
        the block, nothing is stored. A transaction in a transaction is part of the outer one.
        """
        with self.collect() as (unit, is_outer):
            yield unit
        if is_outer:
            unit.commit()

    @contextmanager
    def collect(self) -> Iterator[tuple[Unit, bool]]:
        """Collect the edits of this thread or task in a unit, which the caller commits if it is the outer one."""
        key = (id(self._device), self.id)
        open_ones = _transactions.get({})
        if key in open_ones:
            yield open_ones[key], False
            return
        unit = Unit(self._device, self.id)
        token = _transactions.set({**open_ones, key: unit})
        try:
            yield unit, True
        finally:
            _transactions.reset(token)

    def changes(self, after: int = 0) -> Iterator[Change]:
        """Return what the device has of the log, after a number."""
        return self._device.log.get_changes_since(after, project_id=self.id)

    def outbox(self, states: Collection[str] = STATES) -> list[Outsync]:
        """Return the edits that did not come back from the server yet."""
        return self._device.outbox(self.id, states)

    def rejected(self) -> list[Outsync]:
        """Return the edits that need a decision, and those that wait for one."""
        return self._device.rejected(self.id)

    def sync(self) -> ProjectResult:
        """Sync this project; otherwise like `Device.sync`."""
        return self._device.sync(self.id).projects[self.id]

    def status(self) -> ProjectStatus | None:
        """Return what the device knows about the project; `None` if it does not follow it."""
        return self._device.status().projects.get(self.id)

    def _edit(
        self,
        operation: str,
        entity_type: str,
        entity_id: str,
        data: Mapping[str, object] | str | None,
        fields: Mapping[str, object],
    ) -> Outsync:
        unit = _transactions.get({}).get((id(self._device), self.id))
        if unit is not None:
            return unit.edit(operation, entity_type, entity_id, data, fields)
        unit = Unit(self._device, self.id)
        edit = unit.edit(operation, entity_type, entity_id, data, fields)
        unit.commit()
        return edit


class Unit:
    """The edits of a transaction."""

    def __init__(self, device: Device, project_id: str) -> None:
        self._device = device
        self._project_id = project_id
        self._ended = False
        self.edits: list[Outsync] = []

    def edit(
        self,
        operation: str,
        entity_type: str,
        entity_id: str,
        data: Mapping[str, object] | str | None = None,
        fields: Mapping[str, object] = {},
    ) -> Outsync:
        """Add an edit; raises `InvalidBatch` for one that is not valid."""
        if self._ended:
            raise InvalidInput("the transaction has ended", field="transaction")
        if fields and isinstance(data, str):
            raise InvalidInput("data is a text; pass fields by name only with a mapping", field="data")
        if not isinstance(data, str):
            data = {**(data or {}), **fields}
        edit = self._device.store.new_edit(
            self._project_id,
            entity_type,
            entity_id,
            operation,
            data,
            self._device.user,
            self.edits[0].unit if self.edits else None,
        )
        self.edits.append(edit)
        return edit

    def commit(self) -> None:
        """Store the edits, durably. Without any, it does nothing."""
        self._ended = True
        if self.edits:
            self._device.store.add_unit(self.edits)
            self._device._wake()
