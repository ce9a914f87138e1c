"""`wait=SECONDS`: a response as soon as any process wrote a change, and hundreds of waiting clients."""

from __future__ import annotations

import json
import selectors
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import NotAllowed
from sltt_core.server.asgi import WORKERS
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import batch, new
from tests.contract.workers import start_writer
from tests.http.entry_points import AppEntryPoint, ServerEntryPoint, post
from tests.sltt_core.api.client import Asks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHANGES = "/api/projects/p/changes"


@pytest.fixture
def entry_point(tmp_path: Path) -> Iterator[ServerEntryPoint]:
    running = ServerEntryPoint(tmp_path)
    yield running
    running.close()


def begin(entry_point: ServerEntryPoint, target: str) -> socket.socket:
    """Send a request; `finish` reads its response."""
    host, port = entry_point.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return connection


def finish(connection: socket.socket, status: int = 200) -> Any:
    """Return the response to a request of `begin`."""
    received = b""
    while part := connection.recv(65536):
        received += part
    connection.close()
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), head
    return json.loads(body)


def until_waiting(entry_point: ServerEntryPoint, count: int) -> None:
    """Return when at least `count` clients wait."""
    watcher = entry_point._server._uvicorn._watcher  # type: ignore[union-attr]
    while sum(map(len, list(watcher._waiting.values()))) < count:
        threading.Event().wait(0.005)


def test_an_existing_change_is_returned_at_once(entry_point: ServerEntryPoint) -> None:
    post(entry_point, {})
    assert entry_point.ask("GET", f"{CHANGES}?wait=60").json()["count"] == 1


def test_a_wait_without_a_change_ends_after_its_time(entry_point: ServerEntryPoint) -> None:
    post(entry_point, {}, {"projectId": "q"})
    body = entry_point.ask("GET", f"{CHANGES}?cursor=1&wait=0.1").json()
    assert (body["count"], body["through"]) == (0, 1)
    assert entry_point.ask("GET", "/api/projects/nobody/changes?wait=0.05").json()["count"] == 0


def test_a_write_through_the_server_wakes_waiting_clients(entry_point: ServerEntryPoint) -> None:
    waiting = begin(entry_point, f"{CHANGES}?wait=60")
    until_waiting(entry_point, 1)
    post(entry_point, {"projectId": "another"})
    post(entry_point, {"entityId": "news"})
    body = finish(waiting)
    assert [change["entityId"] for change in body["changes"]] == ["news"]


def test_a_write_by_another_service_wakes_waiting_clients(entry_point: ServerEntryPoint) -> None:
    waiting = begin(entry_point, f"{CHANGES}?wait=60")
    until_waiting(entry_point, 1)
    entry_point.log.open().create_change(new("news"))
    assert finish(waiting)["count"] == 1


def test_a_write_by_another_process_wakes_waiting_clients(entry_point: ServerEntryPoint) -> None:
    waiting = begin(entry_point, f"{CHANGES}?wait=60")
    until_waiting(entry_point, 1)
    with start_writer(entry_point.log, "p", batches=1, size=1):
        assert finish(waiting)["count"] == 1


def test_a_principal_that_is_revoked_while_waiting_gets_no_changes(tmp_path: Path) -> None:
    revoked: list[str | None] = []

    def decide(principal: str | None, action: str, project: str | None) -> None:
        if action == "read" and project in revoked:
            raise NotAllowed("revoked")

    entry_point = ServerEntryPoint(tmp_path, access=Asks(decide))
    waiting = begin(entry_point, f"{CHANGES}?wait=60")
    until_waiting(entry_point, 1)
    revoked.append("p")
    post(entry_point, {"entityId": "secret"})
    assert finish(waiting, 403)["detail"] == "revoked"
    entry_point.close()


def test_no_write_is_missed_between_reading_and_waiting(entry_point: ServerEntryPoint) -> None:
    """A reader that always waits gets every change while a writer writes as fast as it can."""
    seen: list[int] = []

    def read() -> None:
        cursor = 0
        while cursor < 60:
            body = finish(begin(entry_point, f"{CHANGES}?cursor={cursor}&wait=30"))
            seen.extend(change["seq"] for change in body["changes"])
            cursor = body["through"]

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        post(entry_point, {"entityId": f"{number}"})
    reader.join(60)
    assert seen == list(range(1, 61))


def test_a_filtered_wait_ends_when_through_advances(entry_point: ServerEntryPoint) -> None:
    waiting = begin(entry_point, f"{CHANGES}?wait=60&entityType=video")
    until_waiting(entry_point, 1)
    post(entry_point, {"entityType": "note"})
    body = finish(waiting)
    assert (body["count"], body["through"]) == (0, 1)


def test_an_error_is_returned_without_waiting(entry_point: ServerEntryPoint) -> None:
    assert entry_point.ask("GET", f"{CHANGES}?cursor=5&wait=60&chain={'A' * 22}").status == 409
    assert entry_point.ask("GET", "/api/projects/a%23b/changes?wait=60").status == 400


def test_a_disconnected_client_does_not_wait_any_more(entry_point: ServerEntryPoint) -> None:
    connections = [begin(entry_point, f"{CHANGES}?wait=60") for _ in range(5)]
    until_waiting(entry_point, 5)
    for connection in connections:
        connection.close()
    watcher = entry_point._server._uvicorn._watcher  # type: ignore[union-attr]
    while watcher._waiting:
        threading.Event().wait(0.005)
    assert entry_point.ask("GET", "/health").status == 200


def test_stopping_the_server_ends_all_waits(tmp_path: Path) -> None:
    entry_point = ServerEntryPoint(tmp_path)
    connections = [begin(entry_point, f"{CHANGES}?wait=60") for _ in range(20)]
    until_waiting(entry_point, 20)
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(entry_point.close)
        assert all(finish(connection)["count"] == 0 for connection in connections)
        stopping.result(30)


def test_500_waiting_clients_need_no_threads_and_do_not_block_others(entry_point: ServerEntryPoint) -> None:
    """Threads and SQLite connections stay few, and all other requests get responses."""
    assert isinstance(entry_point.storage, LocalStorageService)
    with LocalStorageService(entry_point.storage.path) as storage:
        storage.create_changes(batch(3))
    with ExitStack() as stack:
        connections = [stack.enter_context(begin(entry_point, f"{CHANGES}?cursor=3&wait=60")) for _ in range(500)]
        until_waiting(entry_point, 500)
        assert sum(thread.name.startswith("sltt-request") for thread in threading.enumerate()) <= WORKERS
        assert sum(thread.name == "sltt-watcher" for thread in threading.enumerate()) == 1
        assert len(entry_point.storage._readers.connections) <= WORKERS + 2
        for number in range(20):
            assert post(entry_point, {"projectId": "q"}).json()["createdSeqs"] == [number + 1]
            assert entry_point.ask("GET", "/api/projects/q/changes").json()["count"] == number + 1
        ready = selectors.DefaultSelector()
        for connection in connections:
            ready.register(connection, selectors.EVENT_READ)
        assert ready.select(0) == []
        ready.close()
        post(entry_point, {"entityId": "news"})
        for connection in connections:
            assert [change["entityId"] for change in finish(connection)["changes"]] == ["news"]
    assert len(entry_point.storage._readers.connections) <= WORKERS + 2


def test_the_api_itself_never_waits(tmp_path: Path) -> None:
    entry_point = AppEntryPoint(tmp_path)
    assert entry_point.ask("GET", f"{CHANGES}?wait=60").json()["count"] == 0
    entry_point.close()
