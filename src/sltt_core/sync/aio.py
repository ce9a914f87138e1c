"""`AsyncDevice`: `Device` for programs on `asyncio`. Methods run on threads, so the loop never waits for a disk."""

from __future__ import annotations

from asyncio import CancelledError, ensure_future, shield, to_thread
from contextlib import asynccontextmanager, suppress

from sltt_core.sync.device import Device

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType
    from typing import Any, Self, TypeVar

    from sltt_core.base.record import Record
    from sltt_core.model.changes import Change
    from sltt_core.sync.device import DeviceProject, Unit
    from sltt_core.sync.events import Events
    from sltt_core.sync.outcomes import ProjectResult, ProjectStatus, SyncResult, SyncStatus
    from sltt_core.sync.outsyncs import Outsync

    T = TypeVar("T")

POLL_SECONDS = 0.25
"""How long a thread waits for an event before it looks whether the task was cancelled."""


class AsyncDevice:
    """A device whose methods are coroutines; `Device` documents them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """The parameters are those of `Device`."""
        self.device = Device(*args, **options)
        """The device behind it."""

    async def __aenter__(self) -> Self:
        await _entered(self.device.open, self.device.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await to_thread(self.device.close)

    def project(self, project_id: str) -> AsyncProject:
        """Return a project."""
        return AsyncProject(self.device.project(project_id))

    async def follow(self, *project_ids: str) -> None:
        """Let these projects be synced."""
        await to_thread(self.device.follow, *project_ids)

    async def pause(self, project_id: str) -> None:
        """Sync a project only when it is named, until `follow`."""
        await to_thread(self.device.pause, project_id)

    async def purge(self, project_id: str) -> None:
        """Delete what came down of a project, and pause it."""
        await to_thread(self.device.purge, project_id)

    async def sync(self, *project_ids: str) -> SyncResult:
        """Sync these projects, or all."""
        return await to_thread(self.device.sync, *project_ids)

    async def resync(self, project_id: str) -> ProjectResult:
        """Bring a project together with a server that has another history."""
        return await to_thread(self.device.resync, project_id)

    async def status(self) -> SyncStatus:
        """Return what the device knows, without a request."""
        return await to_thread(self.device.status)

    async def fetch(self) -> SyncStatus:
        """Ask the server for the ends of the logs, and return the state."""
        return await to_thread(self.device.fetch)

    async def start(self) -> None:
        """Sync in the background until `stop`."""
        await to_thread(self.device.start)

    async def stop(self) -> None:
        """End the sync in the background."""
        await to_thread(self.device.stop)

    async def outbox(self, project_id: str | None = None, *states: str) -> list[Outsync]:
        """Return the edits that did not come back from the server yet, in all states or in these."""
        return await to_thread(self.device.outbox, project_id, *([states] if states else []))

    async def rejected(self, project_id: str | None = None) -> list[Outsync]:
        """Return the edits that need a decision, and those that wait for one."""
        return await to_thread(self.device.rejected, project_id)

    async def edit(self, cid: str, data: Mapping[str, object] | str) -> Outsync:
        """Give an edit that was rejected, withheld or held other data."""
        return await to_thread(self.device.edit, cid, data)

    async def retry(self, cid: str) -> Outsync:
        """Let an edit that was rejected, withheld or held be sent again as it is."""
        return await to_thread(self.device.retry, cid)

    async def drop(self, cid: str) -> Outsync:
        """Delete an edit that is not on its way to the server."""
        return await to_thread(self.device.drop, cid)

    @asynccontextmanager
    async def watch(self, project_id: str | None = None) -> AsyncIterator[AsyncEvents]:
        """Sync in the background, and receive what happens with `async for`."""
        watched = self.device.watch(project_id)

        def leave() -> None:
            watched.__exit__(None, None, None)

        events = AsyncEvents(await _entered(watched.__enter__, leave))
        try:
            yield events
        finally:
            await to_thread(leave)
            await events.settle()


class AsyncProject:
    """A project on a device; `DeviceProject` documents its methods."""

    def __init__(self, project: DeviceProject) -> None:
        self.project = project
        self.id = project.id

    async def create(
        self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /, **fields: object
    ) -> Outsync:
        """Create an entity."""
        return await to_thread(self.project.create, entity_type, entity_id, data, **fields)

    async def update(
        self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /, **fields: object
    ) -> Outsync:
        """Update fields of an entity."""
        return await to_thread(self.project.update, entity_type, entity_id, data, **fields)

    async def delete(
        self, entity_type: str, entity_id: str, data: Mapping[str, object] | str | None = None, /, **fields: object
    ) -> Outsync:
        """Delete an entity."""
        return await to_thread(self.project.delete, entity_type, entity_id, data, **fields)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Unit]:
        """Make the edits of this task in the project one unit."""
        with self.project.collect() as (unit, is_outer):
            yield unit
        if is_outer:
            await to_thread(unit.commit)

    async def changes(self, after: int = 0) -> list[Change]:
        """Return what the device has of the log, after a number."""
        return await to_thread(lambda: list(self.project.changes(after)))

    async def outbox(self) -> list[Outsync]:
        """Return the edits that did not come back from the server yet."""
        return await to_thread(self.project.outbox)

    async def rejected(self) -> list[Outsync]:
        """Return the edits that need a decision, and those that wait for one."""
        return await to_thread(self.project.rejected)

    async def sync(self) -> ProjectResult:
        """Sync this project."""
        return await to_thread(self.project.sync)

    async def status(self) -> ProjectStatus | None:
        """Return what the device knows about the project; `None` if it does not follow it."""
        return await to_thread(self.project.status)


class AsyncEvents:
    """The events of one watcher, for `async for`. A task that is cancelled while it waits loses none of them."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._getting: Future[Record | None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        while True:
            if self._getting is None:
                self._getting = ensure_future(to_thread(self._events.get, POLL_SECONDS))
            event = await shield(self._getting)
            self._getting = None
            if event is not None:
                return event
            if self._events.ended:
                raise StopAsyncIteration

    async def settle(self) -> None:
        """Wait until no thread waits for an event any more."""
        if self._getting is not None:
            await self._getting


async def _entered(enter: Callable[[], T], leave: Callable[[], object]) -> T:
    """Call `enter` on a thread. If the task is cancelled meanwhile, wait for the thread, and undo it with `leave`."""
    entering = ensure_future(to_thread(enter))
    try:
        return await shield(entering)
    except CancelledError:
        with suppress(Exception):  # it failed, so there is nothing to undo
            await entering
            await to_thread(leave)
        raise
