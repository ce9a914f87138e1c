"""An address that sends many bad credentials gets their refusals late, and delays nobody else."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from socket import SHUT_WR, SO_LINGER, SOL_SOCKET
from struct import pack
from threading import Event
from typing import TYPE_CHECKING

import httpx
import pytest

from sltt_core.api.bearer import authenticator_from_environment
from sltt_core.api.http import Request, Response
from sltt_core.api.roles import RoleAccess
from sltt_core.server.asgi import WORKERS
from sltt_core.server.bad_credentials import (
    FREE,
    MAX_ADDRESSES,
    MAX_DELAY_SECONDS,
    WINDOW_SECONDS,
    BadCredentials,
    network_of,
)
from sltt_core.server.protocol import HEADER_SECONDS
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.hostile.raw import Connection
from tests.sltt_core.auth.samples import SETTINGS, token

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BAD = {"authorization": "Bearer a.b.c"}
GOOD = {"authorization": f"Bearer {token('HS256')}"}
REFUSED = Response(401, (), b"")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counted(clock: Clock) -> BadCredentials:
    return BadCredentials(steady_clock=clock)


def refuse(counted: BadCredentials, peer: str = "192.0.2.1") -> float:
    return counted.count(Request("GET", "/api/me", "", BAD), REFUSED, peer)


# Counting


def test_the_delay_begins_with_the_21st_and_grows_to_a_bound(counted: BadCredentials) -> None:
    delays = [refuse(counted) for _ in range(40)]
    assert delays == [0.0] * 20 + [float(min(number, 10)) for number in range(1, 21)]
    assert max(delays) == MAX_DELAY_SECONDS <= HEADER_SECONDS
    assert refuse(counted, "192.0.2.2") == 0.0


def test_a_bad_credential_counts_for_a_minute(counted: BadCredentials, clock: Clock) -> None:
    for _ in range(FREE + 1):
        refuse(counted)
        clock.now += 1
    assert refuse(counted) == 2.0
    clock.now = WINDOW_SECONDS  # the first does not count any more
    assert refuse(counted) == 2.0
    clock.now += WINDOW_SECONDS
    assert refuse(counted) == 0.0


@pytest.mark.parametrize(
    ("request_", "status", "counts"),
    [
        (Request("GET", "/api/me", "", BAD), 401, True),
        (Request("GET", "/api/me"), 401, False),  # a client learns where to get a token
        (Request("GET", "/api/me", "", GOOD), 200, False),
        (Request("GET", "/api/projects/p/changes", "", GOOD), 404, False),
        (Request("GET", "/api/projects/p/changes", "", GOOD), 403, False),
        (Request("POST", "/api/invitations/accept", "", GOOD), 404, True),
        (Request("POST", "/api/invitations/accept", "", GOOD), 200, False),
    ],
)
def test_what_counts(counted: BadCredentials, request_: Request, status: int, counts: bool) -> None:
    delays = [counted.count(request_, Response(status, (), b""), "192.0.2.1") for _ in range(FREE + 1)]
    assert delays[-1] == float(counts)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::"),
        ("2001:db8:0:1::", "2001:db8:0:1::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_a_network_of_ipv6(address: str, network: str) -> None:
    assert network_of(address) == network


def test_the_memory_is_bounded_and_forgets_the_quietest_first(counted: BadCredentials) -> None:
    for number in range(MAX_ADDRESSES + 10):
        refuse(counted, f"10.0.{number >> 8}.{number & 255}")
        for _ in range(FREE):
            refuse(counted, "192.0.2.1")
    assert len(counted._times) == MAX_ADDRESSES
    assert all(len(times) <= FREE + MAX_DELAY_SECONDS for times in counted._times.values())
    assert refuse(counted) == MAX_DELAY_SECONDS


# On a server


class Pause:
    """A pause that has begun on a server, and ends when the test says so."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ended = Event()
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self._loop.create_future()
        self.future.add_done_callback(lambda _: self.ended.set())

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self.future.set_result, None)


class Pauses:
    """The pauses of a server."""

    def __init__(self) -> None:
        self._begun: SimpleQueue[Pause] = SimpleQueue()

    async def __call__(self, seconds: float) -> None:
        pause = Pause(seconds)
        self._begun.put(pause)
        await pause.future

    def next(self) -> Pause:
        return self._begun.get(timeout=30)

    def none_began(self) -> bool:
        return self._begun.empty()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def server(tmp_path: Path, pauses: Pauses) -> Iterator[RestApiServer]:
    storage = LocalStorageService(tmp_path / "log.db")
    storage.initialize()
    server = RestApiServer(
        storage=storage,
        access=RoleAccess(storage),
        authenticator=authenticator_from_environment(SETTINGS, storage=storage),
        bad_credentials=BadCredentials(pause=pauses, steady_clock=lambda: 0.0),
    )
    server.start(port=0)
    yield server
    server.stop()


def ask(server: RestApiServer, headers: dict[str, str], path: str = "/api/me") -> int:
    return httpx.get(f"{server.url}{path}", headers=headers, timeout=30).status_code


def refuse_many(server: RestApiServer) -> None:
    with httpx.Client(base_url=server.url, headers=BAD) as client:
        assert [client.get("/api/me").status_code for _ in range(FREE)] == [401] * FREE


RAW = b"GET /api/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a.b.c\r\n\r\n"


def test_refusals_wait_and_nothing_else_does(server: RestApiServer, pauses: Pauses) -> None:
    """The waiting ones hold no thread: there are more of them than threads."""
    refuse_many(server)
    assert pauses.none_began()
    with ExitStack() as open_connections:
        connections = [open_connections.enter_context(Connection(server.url)) for _ in range(WORKERS + 1)]
        for connection in connections:
            assert connection.send(RAW)
        begun = [pauses.next() for _ in connections]
        assert [pause.seconds for pause in begun[:3]] == [1.0, 2.0, 3.0]
        assert ask(server, GOOD) == 200
        assert ask(server, {}) == 401
        assert ask(server, {}, "/health") == 200
        assert pauses.none_began()
        for pause in begun:
            pause.end()
        for connection in connections:
            response = connection.read()
            assert response is not None
            assert response.status == 401


def test_a_header_that_clients_can_write_changes_nothing(server: RestApiServer, pauses: Pauses) -> None:
    refuse_many(server)
    with ThreadPoolExecutor(1) as threads:
        headers = {**BAD, "x-forwarded-for": "192.0.2.7", "forwarded": "for=192.0.2.7", "x-real-ip": "192.0.2.7"}
        asked = threads.submit(ask, server, headers)
        pauses.next().end()
        assert asked.result(30) == 401


def test_a_code_of_an_invitation_is_a_credential(server: RestApiServer, pauses: Pauses) -> None:
    def accept() -> int:
        body = {"code": "sltti_wrong"}
        return httpx.post(f"{server.url}/api/invitations/accept", json=body, headers=GOOD, timeout=30).status_code

    assert [accept() for _ in range(FREE)] == [404] * FREE
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(accept)
        pauses.next().end()
        assert asked.result(30) == 404


def test_a_connection_that_is_reset_ends_its_wait(server: RestApiServer, pauses: Pauses) -> None:
    refuse_many(server)
    with Connection(server.url) as connection:
        assert connection.send(RAW)
        pause = pauses.next()
        connection.socket.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))  # `close` resets it
    assert pause.ended.wait(30)


def test_a_client_that_has_sent_all_still_waits(server: RestApiServer, pauses: Pauses) -> None:
    """It has ended its side of the connection only, which does not shorten the delay."""
    refuse_many(server)
    with Connection(server.url) as connection:
        assert connection.send(RAW)
        pause = pauses.next()
        connection.socket.shutdown(SHUT_WR)
        assert ask(server, GOOD) == 200  # the server has seen the end meanwhile
        assert not pause.ended.is_set()
        pause.end()
        response = connection.read()
        assert response is not None
        assert response.status == 401


def test_a_stop_ends_all_waits(server: RestApiServer, pauses: Pauses) -> None:
    refuse_many(server)
    with Connection(server.url) as connection:
        assert connection.send(RAW)
        pause = pauses.next()
        server.stop()
        assert pause.ended.is_set()
        response = connection.read()
        assert response is not None
        assert response.status == 401
