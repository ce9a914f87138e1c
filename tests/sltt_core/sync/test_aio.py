"""`AsyncDevice`: the device of programs on `asyncio`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from sltt_core.base.errors import InvalidBatch
from sltt_core.http_client.responses import HttpResponse
from sltt_core.sync import events
from sltt_core.sync.aio import AsyncDevice, AsyncEvents, AsyncProject
from sltt_core.sync.device import Device, DeviceProject
from sltt_core.sync.outcomes import DONE
from tests.contract.logs import batch, everything
from tests.sltt_core.sync.servers import Server, problem

SECONDS = 30
"""The bound of every wait; no test waits for it."""


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on a loop, at most for a bounded time."""
    asyncio.run(asyncio.wait_for(test, SECONDS))


def device_of(server: Server, folder: Path) -> AsyncDevice:
    return AsyncDevice(folder / "tablet.db", client=server.client(), user="Noémie")


async def next_of(watcher: AsyncEvents, kind: type[events.Event]) -> Any:
    """Return the next event of a kind."""
    async for event in watcher:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"there was no {kind.__name__}")


def methods(kind: type) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(found).parameters)
        for name, found in vars(kind).items()
        if inspect.isfunction(found) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("blocking", "asynchronous", "without"),
    [(Device, AsyncDevice, {"open", "close"}), (DeviceProject, AsyncProject, {"collect"})],
)
def test_every_method_has_a_coroutine(blocking: type, asynchronous: type, without: set[str]) -> None:
    assert methods(asynchronous).keys() == methods(blocking).keys() - without


def test_a_device_edits_and_syncs(server: Server, tmp_path: Path) -> None:
    async def test() -> None:
        async with device_of(server, tmp_path) as device:
            ruth = device.project("ruth")
            assert ruth.id == "ruth"
            async with ruth.transaction():
                await ruth.create("passage", "r1", title="Famine")
                await ruth.update("passage", "r1", {"verses": 22})
            await ruth.delete("passage", "r1")
            assert [edit.unit for edit in await ruth.outbox()] == [1, 1, 3]
            assert len(await device.outbox("ruth", "waiting")) == 3
            assert (await ruth.sync()).outcome == DONE
            assert [change.operation for change in await ruth.changes(1)] == ["update", "delete"]
            status = await ruth.status()
            assert status is not None
            assert status.cursor == 3
            server.storage.create_changes(batch(2, "ruth"))
            assert (await device.fetch()).projects["ruth"].lag == 2
            await device.follow("p", "q")
            await device.pause("q")
            assert list((await device.sync()).projects) == ["p", "ruth"]
            await device.purge("ruth")
            assert await ruth.changes() == []
            assert (await device.status()).projects["ruth"].state == "paused"
            assert (await device.resync("p")).outcome == DONE

    run(test())
    with Device(tmp_path / "tablet.db") as device:  # it was closed
        assert device.outbox() == []


def test_a_person_decides_about_what_was_refused(server: Server, tmp_path: Path) -> None:
    async def test() -> None:
        async with device_of(server, tmp_path) as device:
            project = device.project("p")
            cids = [(await project.create("document", name)).cid for name in "abc"]
            errors = [{"index": index, "field": "data", "reason": "no"} for index in range(3)]
            server.answer = problem(400, "invalid-batch", failedAtIndex=0, errors=errors)
            assert (await device.sync()).rejected == tuple(cids)
            server.answer = None
            assert await device.rejected() == await project.rejected()
            await device.edit(cids[0], {"better": True})
            await device.retry(cids[1])
            await device.drop(cids[2])
            assert (await device.sync("p")).sent == 2

    run(test())
    assert [change.data for change in everything(server.storage)] == [{"better": True}, {}]


def test_a_transaction_is_that_of_its_task(server: Server, tmp_path: Path) -> None:
    async def test() -> None:
        async with device_of(server, tmp_path) as device:
            project = device.project("p")
            both_open = asyncio.Barrier(2)

            async def edits(first: str, second: str) -> None:
                async with project.transaction():
                    await project.create("document", first)
                    await both_open.wait()
                    async with project.transaction():
                        await project.create("document", second)

            await asyncio.gather(edits("a", "b"), edits("c", "d"))
            units = {edit.entity_id: edit.unit for edit in await project.outbox()}
            assert units["a"] == units["b"]
            assert units["c"] == units["d"]
            assert units["a"] != units["c"]
            with pytest.raises(InvalidBatch):
                await fails(project)
            assert len(await project.outbox()) == 4

    async def fails(project: AsyncProject) -> None:
        async with project.transaction():
            await project.create("document", "e")
            await project.create("document", "")

    run(test())


def test_a_sync_does_not_block_the_loop(server: Server, tmp_path: Path) -> None:
    """The server responds when the loop lets it."""
    go_on = Event()

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        assert go_on.wait(SECONDS)
        return None

    async def test() -> None:
        async with device_of(server, tmp_path) as device:
            await device.follow("p")
            server.answer = answer
            syncing = asyncio.create_task(device.sync())
            await asyncio.sleep(0)
            assert not syncing.done()
            go_on.set()
            assert (await syncing).outcome == DONE

    run(test())


def test_events_arrive_with_async_for(server: Server, tmp_path: Path) -> None:
    async def test() -> None:
        async with device_of(server, tmp_path) as device:
            async with device.watch("p") as watcher:
                await device.project("p").create("document", "a")
                assert await next_of(watcher, events.Arrived) == events.Arrived("p", 1, 1, 1)
            assert [event async for event in watcher if isinstance(event, events.Arrived)] == []
            await device.start()
            await device.stop()

    run(test())
    assert len(everything(server.storage)) == 1


def test_a_wait_that_is_given_up_loses_no_event(server: Server, tmp_path: Path) -> None:
    async def test() -> None:
        async with device_of(server, tmp_path) as device, device.watch("p") as watcher:
            for name in "abc":
                waiting = asyncio.create_task(next_of(watcher, events.Rejected))
                while watcher._getting is None:
                    await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await device.project("p").create("document", name)
                assert (await next_of(watcher, events.Arrived)).own == 1

    run(test())


def test_stop_ends_the_iteration(server: Server, tmp_path: Path) -> None:
    async def test() -> None:
        async with device_of(server, tmp_path) as device, device.watch() as watcher:
            reading = asyncio.create_task(anext(watcher, None))
            await device.stop()
            assert await reading is None
            assert not device.device._sync_parts()[1].is_running

    run(test())


@asynccontextmanager
async def held(device: object, name: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """Let a method wait at its end until the block is over; yield an event for its arrival there."""
    loop, arrived, go_on = asyncio.get_running_loop(), asyncio.Event(), Event()
    method = getattr(device, name)

    def waits(*given: Any, **options: Any) -> Any:
        found = method(*given, **options)
        loop.call_soon_threadsafe(arrived.set)
        assert go_on.wait(SECONDS)
        return found

    monkeypatch.setattr(device, name, waits)
    try:
        yield arrived
    finally:
        go_on.set()
        monkeypatch.undo()


def test_a_task_that_is_cancelled_while_it_opens_leaves_the_store_closed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        device = device_of(server, tmp_path)
        opening = asyncio.create_task(device.__aenter__())
        async with held(device.device, "open", monkeypatch) as arrived:
            await arrived.wait()
            opening.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await opening
        async with device_of(server, tmp_path):
            pass

    run(test())


def test_a_task_that_is_cancelled_while_a_watch_begins_leaves_no_sync(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with device_of(server, tmp_path) as device:
            manager = device.device._sync_parts()[1]
            begun = device.device.watch()  # kept, so that it does not end as garbage
            monkeypatch.setattr(device.device, "watch", lambda project_id: begun)
            watching = device.watch()
            beginning = asyncio.create_task(watching.__aenter__())
            async with held(manager, "start", monkeypatch) as arrived:
                await arrived.wait()
                beginning.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await beginning
            assert not manager.is_running

    run(test())
