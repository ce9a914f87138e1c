"""The watcher: it wakes the coroutines with news, and no others."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from sltt_core.server.watcher import PACE_SECONDS, Watcher
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import batch, new

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LocalStorageService]:
    with LocalStorageService(tmp_path / "log.db") as opened:
        yield opened


def test_only_coroutines_with_news_after_their_cursor_are_woken(storage: LocalStorageService) -> None:
    storage.create_changes(batch(3))

    async def scenario() -> None:
        watcher = Watcher(storage)
        waiting = {
            name: asyncio.ensure_future(watcher.wait({project: cursor}, 30))
            for name, project, cursor in (("p3", "p", 3), ("p4", "p", 4), ("q0", "q", 0), ("also p3", "p", 3))
        }
        await asyncio.sleep(0)
        await asyncio.to_thread(storage.create_change, new())
        await asyncio.gather(waiting["p3"], waiting["also p3"])
        assert not waiting["p4"].done()
        assert not waiting["q0"].done()
        await asyncio.to_thread(storage.create_change, new())
        await waiting["p4"]
        watcher.close()
        await waiting["q0"]
        await watcher.wait({"q": 0}, 30)

    asyncio.run(scenario())


def test_existing_news_wake_at_once(storage: LocalStorageService) -> None:
    storage.create_changes(batch(3))
    asyncio.run(Watcher(storage).wait({"p": 2}, 30))


def test_a_wait_without_news_ends_after_its_time(storage: LocalStorageService) -> None:
    asyncio.run(Watcher(storage).wait({"p": 0}, 0.05))


def test_a_failing_storage_wakes_all_coroutines(storage: LocalStorageService) -> None:
    async def scenario() -> None:
        watcher = Watcher(storage)
        waiting = asyncio.ensure_future(watcher.wait({"p": 0}, 30))
        await asyncio.sleep(0)
        storage.close()
        await waiting

    asyncio.run(scenario())


def test_the_thread_ends_when_no_coroutine_waits(storage: LocalStorageService) -> None:
    watcher = Watcher(storage)
    asyncio.run(watcher.wait({"p": 0}, 0.01))
    thread = watcher._thread
    if thread is not None:
        thread.join(30)
    assert watcher._thread is None
    assert watcher._waiting == {}


def test_many_quick_writes_need_few_rounds_of_the_thread(storage: LocalStorageService) -> None:
    looks: list[float] = []
    heads = storage.get_heads

    def look(project_ids: Iterable[str]) -> dict[str, int]:
        looks.append(monotonic())
        return heads(project_ids)

    storage.get_heads = look  # type: ignore[method-assign]

    async def scenario() -> None:
        watcher = Watcher(storage)
        waiting = asyncio.ensure_future(watcher.wait({"another": 0}, 30))
        await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.to_thread(storage.create_change, new())
        await asyncio.to_thread(storage.create_change, new(project_id="another"))
        await waiting

    asyncio.run(scenario())
    # A round is recorded shortly after its start, so that two records may be slightly closer than the pace.
    assert all(after - before >= PACE_SECONDS / 2 for before, after in pairwise(looks))
