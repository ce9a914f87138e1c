"""Hostile requests, byte by byte, with their expected responses; none disturbs the next client."""

from __future__ import annotations

from socket import SHUT_WR
from typing import TYPE_CHECKING

import pytest

from sltt_core.model.changes import NewChange
from tests.hostile.raw import CLOSE, HEALTH, HOST, Connection, check_response, chunked, get, is_healthy, post
from tests.hostile.row import GOOD
from tests.hostile.rows_of_bodies import BODIES, BOMBS, KEYS, SIZES
from tests.hostile.rows_of_http import HEADERS, IN_CHUNKS, LENGTHS, UPGRADE
from tests.hostile.rows_of_targets import PATHS

if TYPE_CHECKING:
    from sltt_core.server.rest_api_server import RestApiServer
    from sltt_core.sqlite.storage import LocalStorageService
    from tests.hostile.row import Row

TABLES = {
    "headers": HEADERS,
    "lengths": LENGTHS,
    "sizes": SIZES,
    "bombs": BOMBS,
    "bodies": BODIES,
    "keys": KEYS,
    "paths": PATHS,
}
LONG_WAIT = 50
"""Seconds that a client would wait for a change."""

ROWS = [
    pytest.param(row, id=f"{table}: {row.name}".encode("ascii", "backslashreplace").decode())
    for table, rows in TABLES.items()
    for row in rows
]


@pytest.fixture(scope="module", autouse=True)
def kept(server: RestApiServer, storage: LocalStorageService) -> list[object]:
    """Store changes that must be the same after each request."""
    storage.create_changes(
        [
            NewChange(project_id="kept", entity_type="t", entity_id=f"e{i}", data=f'{{"i":{i}}}', cid=f"c{i}")
            for i in range(10)
        ]
    )
    return list(storage.get_changes_since(project_id="kept"))


@pytest.mark.parametrize("row", ROWS)
def test_a_hostile_request_gets_its_response_and_changes_nothing_else(
    server: RestApiServer, storage: LocalStorageService, kept: list[object], row: Row
) -> None:
    before = storage.get_head(project_id="p").seq
    with Connection(server.url) as connection:
        connection.send(row.request if isinstance(row.request, bytes) else row.request())
        response = connection.read()
        assert response is not None, "closed without a response"
        assert response.status == row.status, response.body[:500]
        check_response(response)
        if row.detail:
            assert row.detail in response.json["detail"]
        if response.headers.get("connection") != "close":
            # Client and server agree about the end of the request: the next request gets the only other response.
            connection.send(HEALTH + CLOSE + b"\r\n")
            following = connection.read()
            assert following is not None
            assert (following.status, following.json["status"]) == (200, "healthy")
        assert connection.is_at_end()
    assert is_healthy(server.url)
    assert storage.get_head(project_id="p").seq == before + row.stored
    assert storage.get_head(project_id="q").seq == 0
    assert list(storage.get_changes_since(project_id="kept")) == kept


def test_the_tables_have_at_least_400_rows_with_unique_names() -> None:
    names = [(table, row.name) for table, rows in TABLES.items() for row in rows]
    assert len(names) == len(set(names))
    assert len(names) >= 400


# Several requests on one connection: each response belongs to its request.


def test_stored_changes_are_confirmed_despite_junk_after_the_request(
    server: RestApiServer, storage: LocalStorageService
) -> None:
    before = storage.get_head(project_id="p").seq
    with Connection(server.url) as connection:
        connection.send(post(GOOD) * 3 + b"JUNK\r\n\r\n")
        responses = [connection.read() for _ in range(3)]
        assert connection.is_at_end()
    assert [response and response.json["createdSeqs"] for response in responses] == [[before + n] for n in (1, 2, 3)]
    assert storage.get_head(project_id="p").seq == before + 3


@pytest.mark.parametrize(
    "behind",
    [
        HEALTH + b"X-A: " + b"a" * 100_000,
        HEALTH + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
        HEALTH + HOST + b"\r\n",
        b"\0",
        post(GOOD, b"Content-Length: 1\r\n"),
        post(GOOD)[:-9],
        IN_CHUNKS + b"1\r\n[\r\nxyz\r\n",
    ],
    ids=["endless headers", "headers too large", "two hosts", "junk", "two lengths", "truncated body", "bad chunk"],
)
def test_a_waiting_request_gets_its_response_despite_junk_after_it(
    server: RestApiServer, storage: LocalStorageService, behind: bytes
) -> None:
    before = storage.get_head(project_id="p").seq
    with Connection(server.url) as connection:
        connection.send(get("/api/projects/nobody/changes?wait=0.2"))
        connection.send(behind)
        response = connection.read()
        assert response is not None
        assert (response.status, response.json["count"]) == (200, 0)
    assert is_healthy(server.url)
    assert storage.get_head(project_id="p").seq == before


def test_a_thousand_pipelined_requests_get_responses_in_order(server: RestApiServer) -> None:
    with Connection(server.url) as connection:
        connection.send(b"".join(get("/health", b"X-Request-Id: r%d\r\n" % n) for n in range(1000)))
        responses = [connection.read() for _ in range(1000)]
    assert [response and response.headers["x-request-id"] for response in responses] == [f"r{n}" for n in range(1000)]


def test_a_truncated_request_stores_nothing(server: RestApiServer, storage: LocalStorageService) -> None:
    before = storage.get_head(project_id="p").seq
    whole = IN_CHUNKS + chunked(GOOD)
    for end in range(len(IN_CHUNKS), len(whole)):
        with Connection(server.url) as connection:
            connection.send(whole[:end])
            connection.socket.shutdown(SHUT_WR)
            assert connection.is_at_end()
    assert is_healthy(server.url)
    assert storage.get_head(project_id="p").seq == before


@pytest.mark.parametrize(
    "request_",
    [get("/health"), post(GOOD), IN_CHUNKS + chunked(GOOD), post(GOOD, UPGRADE + b"h2c\r\n"), get("/health", CLOSE)],
    ids=["GET", "POST", "in chunks", "with an upgrade", "the last"],
)
def test_a_half_closed_client_gets_its_response(server: RestApiServer, request_: bytes) -> None:
    with Connection(server.url) as connection:
        connection.send(request_)
        connection.socket.shutdown(SHUT_WR)
        response = connection.read()
        assert response is not None
        assert response.status == 200
        check_response(response)
        assert connection.is_at_end()


def test_a_half_closed_client_gets_all_its_responses_and_does_not_wait(server: RestApiServer) -> None:
    for behind, count in ((b"", 2), (get("/health"), 3), (post(GOOD)[:-1], 2), (IN_CHUNKS + b"1\r\n[\r\nxyz\r\n", 2)):
        with Connection(server.url, LONG_WAIT / 2) as connection:
            connection.send(get(f"/api/projects/nobody/changes?wait={LONG_WAIT}") * 2 + behind)
            connection.socket.shutdown(SHUT_WR)
            responses = [connection.read() for _ in range(count)]
            assert [response and response.status for response in responses] == [200] * count
            assert connection.is_at_end()
    assert is_healthy(server.url)


def test_a_disconnect_with_pending_requests_does_not_disturb_others(server: RestApiServer) -> None:
    for behind in (b"", get("/health"), IN_CHUNKS + b"1\r\n[\r\nxyz\r\n"):
        with Connection(server.url) as connection:
            connection.send(get("/api/projects/nobody/changes?wait=0.1") * 2 + behind)
    assert is_healthy(server.url)


@pytest.mark.parametrize("length", ["4000001", "18446744073709551615", "9" * 40])
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: RestApiServer, length: str) -> None:
    with Connection(server.url) as connection:
        head = post(b"", b"Expect: 100-continue\r\n").replace(b"Length: 0", f"Length: {length}".encode())
        connection.send(head)
        status_line = connection.socket.recv(12)
        assert status_line == b"HTTP/1.1 413"  # and not 100
        assert b"connection: close" in connection.rest()


def test_a_client_that_sends_a_large_body_first_gets_the_413(server: RestApiServer) -> None:
    with Connection(server.url) as connection:
        assert connection.send(post(b" " * 9_000_000))
        response = connection.read()
        assert response is not None
        assert response.status == 413
