"""A storage that does not respond: what does not need it responds at once, and `/ready` reports it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sltt_core.api.http import Request
from sltt_core.api.routes import ROUTES
from sltt_core.base.errors import StorageError
from sltt_core.server import asgi
from sltt_core.server.lanes import NONE, PROBE, READ, THREADS, WRITE, Lane, lane_of
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.server.watcher import Watcher
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHANGE = {"projectId": "p", "entityType": "t", "entityId": "e", "data": {}}


class Blocked(LocalStorageService):
    """Does not respond until `go_on` is set: appends, or everything."""

    go_on: Event
    blocks_reads = False

    def _append(self, chunk: Any) -> Any:
        assert self.go_on.wait(30)
        return super()._append(chunk)

    def get_all_projects(self, cursor: str | None = None, limit: int = 1000) -> Any:
        assert not self.blocks_reads or self.go_on.wait(30)
        return super().get_all_projects(cursor, limit)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Blocked]:
    storage = Blocked(tmp_path / "log.db")
    storage.go_on = Event()
    yield storage
    storage.go_on.set()


@pytest.fixture
def url(storage: Blocked, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(asgi, "PROMPT_SECONDS", 0.2)
    monkeypatch.setattr(asgi, "QUEUE_SECONDS", 1.0)
    monkeypatch.setattr(asgi, "BUSY_SECONDS", 1.2)
    monkeypatch.setattr(asgi, "LONGEST_SECONDS", 2.0)
    monkeypatch.setattr(asgi, "READY_SECONDS", 0.5)
    with RestApiServer(storage=storage, port=0) as server:
        yield server.url
        storage.go_on.set()


def test_appends_that_block_leave_the_rest_alone_and_end_in_time(storage: Blocked, url: str) -> None:
    client = httpx.Client(timeout=20, limits=httpx.Limits(max_connections=None))
    with client, ThreadPoolExecutor(60) as threads:
        client.get(f"{url}/health")
        begin = time.monotonic()
        appends = [threads.submit(client.post, f"{url}/api/changes", json=CHANGE) for _ in range(50)]
        for path in ("/health", "/ready", "/api/projects", "/api/projects/p/changes"):
            assert client.get(url + path).status_code == 200
        assert not any(append.done() for append in appends)
        responses = [append.result() for append in appends]
        assert time.monotonic() - begin < 6
    kinds = sorted(response.json()["type"].rpartition(":")[2] for response in responses)
    assert kinds == ["storage-busy"] * (50 - THREADS[WRITE]) + ["storage-unavailable"] * THREADS[WRITE]
    assert all(response.status_code == 503 and response.headers["retry-after"] for response in responses)
    assert all(response.json()["retryable"] for response in responses)


def test_a_storage_that_does_not_respond_is_not_ready(storage: Blocked, url: str) -> None:
    assert httpx.get(f"{url}/ready").json()["status"] == "ready"
    storage.blocks_reads = True
    with ThreadPoolExecutor(8) as threads:
        probes = [threads.submit(httpx.get, f"{url}/ready", timeout=20) for _ in range(8)]
        assert httpx.get(f"{url}/health").status_code == 200
        assert {probe.result().status_code for probe in probes} == {503}
    storage.go_on.set()


def test_the_reason_is_in_the_response(storage: Blocked, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("the file has been deleted")

    monkeypatch.setattr(storage, "get_all_projects", fail)
    response = httpx.get(f"{url}/ready")
    assert response.status_code == 503
    assert "the file has been deleted" in response.json()["detail"]
    assert response.headers["retry-after"]


def test_lanes_follow_from_the_routes() -> None:
    expected = {
        ("GET", "/health"): NONE,
        ("HEAD", "/health"): NONE,
        ("GET", "/ready"): PROBE,
        ("POST", "/api/changes"): WRITE,
        ("GET", "/api/projects/p/changes"): READ,
        ("GET", "/nowhere"): NONE,
        ("DELETE", "/api/projects"): NONE,
        ("GET", "/api/projects"): READ,
    }
    assert {key: lane_of(Request(*key)) for key in expected} == expected
    writes = {route.path for route in ROUTES if lane_of(Request(route.method, route.path)) == WRITE}
    assert writes == {route.path for route in ROUTES if route.method != "GET"}
    assert not [route for route in ROUTES if route.method == "GET" and lane_of(Request("GET", route.path)) == WRITE]


def test_a_lane_survives_what_a_job_raises() -> None:
    lane = Lane("test", 1)
    lane.start()

    def fail() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        lane.submit(fail).result(30)
    assert lane.submit(lambda: 1).result(30) == 1
    lane.shutdown()
    with pytest.raises(RuntimeError):
        lane.submit(fail)


def test_one_damaged_project_does_not_end_the_watcher(storage: Blocked, monkeypatch: pytest.MonkeyPatch) -> None:
    get_heads = storage.get_heads
    reported: list[BaseException] = []

    def fail_for_bad(projects: Any) -> Any:
        if "bad" in projects:
            raise KeyError("value")
        return get_heads(projects)

    monkeypatch.setattr(storage, "get_heads", fail_for_bad)

    async def scenario() -> None:
        watcher = Watcher(storage, reported.append)
        good = asyncio.ensure_future(watcher.wait({"p": 0}, 30))
        await asyncio.sleep(0)
        bad = asyncio.ensure_future(watcher.wait({"bad": 0}, 30))
        await bad
        assert not good.done()
        assert watcher.fault() is None
        await asyncio.to_thread(storage.create_change, new())
        await good
        watcher.close()

    storage.go_on.set()
    with storage:
        asyncio.run(scenario())
    assert [*map(type, reported)] == [KeyError]


def test_a_watcher_whose_thread_ended_or_is_stuck_is_reported(
    storage: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        watcher = Watcher(storage)
        waiting = asyncio.ensure_future(watcher.wait({"p": 0}, 30))
        await asyncio.sleep(0)
        assert watcher.fault() is None
        thread, watcher._thread = watcher._thread, None
        assert watcher.fault() == "the thread that looks for changes has ended"
        watcher._thread = thread
        monkeypatch.setattr("sltt_core.server.watcher.STUCK_SECONDS", -1.0)  # the thread goes on meanwhile
        fault = watcher.fault()
        assert fault is not None
        assert fault.startswith("the thread that looks for changes is stuck for ")
        watcher.close()
        await waiting

    with storage:
        asyncio.run(scenario())
