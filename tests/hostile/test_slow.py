"""Clients that send or read very slowly: each is disconnected in time, and other clients do not wait."""

from __future__ import annotations

from collections import Counter
from itertools import cycle
from socket import SO_RCVBUF, SOL_SOCKET
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from sltt_core.model.changes import NewChange
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.hostile.raw import HEALTH, SERVER, Connection, Response, change, check_response, chunked, get, post
from tests.hostile.rows_of_http import IN_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER_SECONDS = 0.3
BODY_SECONDS = 0.5
LATEST = 15.0
"""Maximum seconds until a limit takes effect, on a busy machine."""
STEP = 0.02

GOOD = b"[" + change() + b"]"


@pytest.fixture(scope="module")
def server(storage: LocalStorageService) -> Iterator[RestApiServer]:
    running = RestApiServer(
        storage=storage, server_name=SERVER, header_seconds=HEADER_SECONDS, body_seconds=BODY_SECONDS
    )
    running.start(port=0)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def other_client(server: RestApiServer) -> Iterator[None]:
    """Let another client send requests all the time, and check its responses."""
    done = Event()
    responses: list[Response | None] = []

    def ask() -> None:
        while not done.is_set() or not responses:
            with Connection(server.url) as connection:
                connection.send(HEALTH + b"\r\n")
                responses.append(connection.read())
            done.wait(STEP)

    other = Thread(target=ask)
    other.start()
    yield
    done.set()
    other.join()
    statuses = Counter(response and response.status for response in responses)
    # On a busy machine, the other client may be too slow itself.
    assert statuses.pop(None, 0) <= len(responses) // 2
    assert set(statuses) == {200}


def drip(connection: Connection, endless: bytes) -> None:
    """Send bytes one at a time, repeated, until the server responds or closes the connection."""
    latest = monotonic() + LATEST
    for byte in cycle(endless):
        if monotonic() > latest or not connection.send(bytes([byte])) or connection.has_news(STEP):
            break


HEADERS = [
    ("a byte", b"G", b""),
    ("blank lines", b"", b"\r\n"),
    ("a first line", b"GET /", b"a"),
    ("a header", HEALTH + b"X-A: ", b"a"),
    ("headers", HEALTH, b"X-A: b\r\n"),
    ("headers without their last byte", HEALTH + b"\r", b""),
]
BODIES = [
    ("a body", post(GOOD)[:-9], b""),
    ("a body from its beginning", post(b"x" * 1_000_000)[:-1_000_000], b"["),
    ("a body of 4,000,000 bytes", post(b"").replace(b": 0", b": 4000000"), b"["),
    ("a chunk", IN_CHUNKS + b"ffff\r\n", b"["),
    ("a chunk of 2^63 - 1 bytes", IN_CHUNKS + b"7fffffffffffffff\r\n", b"["),
    ("chunks", IN_CHUNKS, b"1\r\n[\r\n"),
    ("a chunk's size", IN_CHUNKS, b"0"),
    ("a chunk's extension", IN_CHUNKS + b"1;", b"a"),
    ("trailers", IN_CHUNKS + chunked(GOOD)[:-2], b"X-A: b\r\n"),
    ("all but the end of the chunks", IN_CHUNKS + chunked(GOOD)[:-2], b""),
    ("a body for a route without one", get("/health", b"Content-Length: 1000\r\n"), b"a"),
]


@pytest.mark.parametrize(
    ("start", "endless", "limit"),
    [pytest.param(start, endless, HEADER_SECONDS, id=f"headers: {name}") for name, start, endless in HEADERS]
    + [pytest.param(start, endless, BODY_SECONDS, id=f"body: {name}") for name, start, endless in BODIES],
)
def test_a_slow_request_gets_a_408_and_is_disconnected(
    server: RestApiServer, storage: LocalStorageService, start: bytes, endless: bytes, limit: float
) -> None:
    before = storage.get_head(project_id="p").seq
    with Connection(server.url, LATEST) as connection:
        begin = monotonic()
        connection.send(start)
        drip(connection, endless)
        response = connection.read()
        assert limit * 0.9 < monotonic() - begin < LATEST
        assert response is not None
        assert response.status == 408
        check_response(response)
        assert response.headers["connection"] == "close"
        assert connection.is_at_end()
    assert storage.get_head(project_id="p").seq == before


def test_a_silent_client_is_disconnected_without_a_response(server: RestApiServer) -> None:
    with Connection(server.url, LATEST) as connection:
        assert connection.is_at_end()


def test_a_slow_second_request_is_disconnected_too(server: RestApiServer) -> None:
    with Connection(server.url, LATEST) as connection:
        connection.send(HEALTH + b"\r\nGET ")
        response = connection.read()
        assert response is not None
        assert response.status == 200
        drip(connection, b"/")
        response = connection.read()
        assert response is not None
        assert response.status == 408
        assert connection.is_at_end()


def test_a_waiting_request_is_not_disconnected(server: RestApiServer) -> None:
    seconds = 2 * max(HEADER_SECONDS, BODY_SECONDS)
    with Connection(server.url, LATEST) as connection:
        begin = monotonic()
        connection.send(get(f"/api/projects/nobody/changes?wait={seconds}"))
        response = connection.read()
        assert response is not None
        assert response.status == 200
        assert monotonic() - begin >= seconds * 0.9


def test_a_request_for_another_host_is_disconnected_before_its_body(server: RestApiServer) -> None:
    with Connection(server.url, LATEST) as connection:
        connection.send(post(b"x" * 1_000_000).replace(b"localhost", b"evil.example")[:-1_000_000])
        response = connection.read()
        assert response is not None
        assert response.status == 421
        assert connection.is_at_end()


def test_a_hundred_slow_clients_do_not_block_another(server: RestApiServer) -> None:
    slow = [Connection(server.url, LATEST) for _ in range(100)]
    for place, connection in enumerate(slow):
        connection.send(HEADERS[place % len(HEADERS)][1] if place % 2 else BODIES[place % len(BODIES)][1])
    with Connection(server.url, LATEST) as connection:
        connection.send(post(GOOD))
        response = connection.read()
        assert response is not None
        assert response.status == 200
    for connection in slow:
        response = connection.read()
        assert response is None or response.status == 408
        assert connection.is_at_end()
        connection.socket.close()


def test_a_client_that_does_not_read_is_disconnected(server: RestApiServer, storage: LocalStorageService) -> None:
    data = f'{{"text":"{"x" * 390_000}"}}'
    storage.create_changes(
        [NewChange(project_id="large", entity_type="t", entity_id=str(n), data=data) for n in range(10)]
    )
    assert server._uvicorn is not None
    connections = server._uvicorn.server_state.connections
    with Connection(server.url, LATEST) as connection:
        connection.socket.setsockopt(SOL_SOCKET, SO_RCVBUF, 4096)
        connection.send(get("/api/projects/large/changes") * 20)
        begin = monotonic()
        was_there = is_there = False
        while is_there or not was_there:
            assert monotonic() - begin < LATEST
            Event().wait(STEP)
            mine = connection.socket.getsockname()
            is_there = any(getattr(found, "client", None) == mine for found in list(connections))
            was_there = was_there or is_there
        assert monotonic() - begin > BODY_SECONDS * 0.9
