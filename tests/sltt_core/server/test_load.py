"""What all clients together make a server hold: connections, and responses that they do not read."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import InvalidInput
from sltt_core.model.changes import NewChange
from sltt_core.server import protocol, rest_api_server
from sltt_core.server.load import MAX_REFUSED, REPORT_SECONDS, SLICE_BYTES, STALLED_SECONDS, Load, Refusals
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import new
from tests.hostile.raw import Connection, get, post
from tests.hostile.row import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WAIT = get("/api/projects/nobody/changes?wait=50")
STEP = 0.005
STEPS = 6000


@contextmanager
def serving(folder: Path, **options: Any) -> Iterator[RestApiServer]:
    with RestApiServer(storage=LocalStorageService(folder / "log.db"), port=0, **options) as server:
        yield server


def protocols(server: RestApiServer) -> list[Any]:
    assert server._uvicorn is not None
    return list(server._uvicorn.server_state.connections)


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(STEPS):
        if true():
            return
        Event().wait(STEP)
    pytest.fail("it did not become true")


def is_busy(connection: Connection) -> bool:
    """Read a response; return whether it is the 503 of a server that has no more to give."""
    response = connection.read()
    assert response is not None
    if response.status == 503:
        assert response.json["type"] == "urn:sltt:problem:server-busy"
        assert response.json["retryable"] is True
        assert response.headers["retry-after"] == "1"
        return True
    assert response.status == 200
    return False


def waiting(server: RestApiServer, stack: ExitStack, count: int) -> list[Connection]:
    """Open connections whose clients wait for a change, one after the other."""
    opened = []
    for number in range(count):
        connection = stack.enter_context(Connection(server.url))
        connection.send(WAIT)
        opened.append(connection)
        wait_until(lambda number=number: sum(len(found._open_cycles) for found in protocols(server)) == number + 1)  # type: ignore[misc]
    return opened


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign,assignment]
    logging.getLogger("sltt.server").addHandler(handler)
    yield found
    logging.getLogger("sltt.server").removeHandler(handler)


def test_clients_beyond_the_maximum_get_a_503_which_is_counted_and_reported_once(
    tmp_path: Path, records: list[logging.LogRecord]
) -> None:
    with ExitStack() as stack, serving(tmp_path, max_connections=3) as server:
        first, *_ = waiting(server, stack, 3)
        for request in [get("/health"), post(GOOD), WAIT, b""] * 2:
            with Connection(server.url) as further:
                further.send(request)
                assert is_busy(further)
                assert further.is_at_end()
        assert server.refused == {"all 3 connections are in use": 8}
        first.socket.close()
        wait_until(lambda: len(protocols(server)) == 2)
        with Connection(server.url) as further:
            further.send(post(GOOD))
            assert not is_busy(further)
    assert [record.getMessage() for record in records] == [
        "requests are refused with 503: all 3 connections are in use"
    ]


def test_a_refused_client_that_sends_a_large_body_gets_its_503(tmp_path: Path) -> None:
    with ExitStack() as stack, serving(tmp_path, max_connections=1) as server:
        waiting(server, stack, 1)
        with Connection(server.url) as further:
            assert further.send(post(b" " * 4_000_000))
            assert is_busy(further)


def test_many_refused_clients_that_stay_take_few_connections(tmp_path: Path) -> None:
    with ExitStack() as stack, serving(tmp_path, max_connections=1) as server:
        waiting(server, stack, 1)
        further = [stack.enter_context(Connection(server.url)) for _ in range(MAX_REFUSED + 20)]
        assert all(is_busy(connection) for connection in further)
        wait_until(lambda: len(protocols(server)) <= 1 + MAX_REFUSED)


def test_the_connection_that_is_idle_for_the_longest_time_makes_room(tmp_path: Path) -> None:
    with ExitStack() as stack, serving(tmp_path, max_connections=3) as server:
        waiting(server, stack, 1)
        kept = [stack.enter_context(Connection(server.url)) for _ in range(2)]
        for connection in kept:
            connection.send(get("/health"))
            assert not is_busy(connection)
        for connection in (kept[1], kept[0]):
            connection.send(get("/health"))
            assert not is_busy(connection)
        with Connection(server.url) as further:
            further.send(get("/health"))
            assert not is_busy(further)
        assert kept[1].is_at_end()
        kept[0].send(get("/health"))
        assert not is_busy(kept[0])
        assert server.refused == {}


@pytest.mark.parametrize("most", [0, -1, 10**9])
def test_connections_that_are_not_possible_are_refused_at_the_start(tmp_path: Path, most: int) -> None:
    with (
        pytest.raises(InvalidInput, match=r"max_connections .* is not possible") as caught,
        serving(tmp_path, max_connections=most),
    ):
        pass
    assert "ulimit -n" in caught.value.hint
    assert not (tmp_path / "log.db").exists()


# Responses that nobody reads

PAGE = get("/api/projects/large/changes")
LARGE = NewChange(project_id="large", entity_type="t", entity_id="e", data=f'{{"text":"{"x" * 390_000}"}}')


def test_responses_that_nobody_reads_take_a_bounded_number_of_bytes(
    tmp_path: Path, records: list[logging.LogRecord]
) -> None:
    most, clients = 9_000_000, 12
    with ExitStack() as stack, serving(tmp_path, max_unsent_bytes=most) as server:
        server._storage.create_changes([LARGE] * 10)
        opened = []
        for _ in range(clients):
            connection = stack.enter_context(Connection(server.url))
            connection.send(PAGE)
            opened.append(connection)
            assert connection.has_news(30)  # some kilobytes; the rest stays with the server
        load: Load = protocols(server)[0].load
        assert 2 * 3_900_000 < load.unsent <= most
        stuck = [found for found in protocols(server) if found.stalled_since is not None]
        assert len(stuck) == 2
        assert sum(found.transport.get_write_buffer_size() for found in protocols(server)) <= 2 * (SLICE_BYTES + 100)
        sent = [connection.read() for connection in opened]  # now they read
        assert sorted(response.status for response in sent if response) == [200] * 2 + [503] * (clients - 2)
        assert {len(response.body) > 3_900_000 for response in sent if response and response.status == 200} == {True}
        wait_until(lambda: load.unsent == 0)
        assert sum(server.refused.values()) == clients - 2
        opened[-1].send(PAGE)
        assert not is_busy(opened[-1])
    assert len(records) == 1


def test_a_small_response_is_sent_when_the_memory_for_large_ones_is_used_up(tmp_path: Path) -> None:
    with serving(tmp_path, max_unsent_bytes=1) as server, ExitStack() as stack:
        server._storage.create_changes([LARGE] * 10)
        connection = stack.enter_context(Connection(server.url))
        connection.send(PAGE)
        assert connection.has_news(30)
        for request in (get("/health"), post(GOOD)):
            with Connection(server.url) as further:
                further.send(request)
                assert not is_busy(further)


def test_a_client_that_reads_nothing_is_disconnected(tmp_path: Path) -> None:
    with serving(tmp_path, unread_seconds=0.2) as server, ExitStack() as stack:
        server._storage.create_changes([LARGE] * 10)
        server._storage.create_change(new())
        connection = stack.enter_context(Connection(server.url))
        connection.send(PAGE)
        assert connection.has_news(30)
        load: Load = protocols(server)[0].load
        wait_until(lambda: not protocols(server))
        assert (load.unsent, load.connections) == (0, 0)


def test_the_stop_does_not_wait_for_a_client_that_has_read_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: list[logging.LogRecord]
) -> None:
    monkeypatch.setattr(protocol, "STALLED_SECONDS", 0)
    monkeypatch.setattr(rest_api_server, "SHUTDOWN_SECONDS", 3600)  # if it waited for the client, it would not end
    with ExitStack() as stack, serving(tmp_path) as server:
        server._storage.create_changes([LARGE] * 10)
        connection = stack.enter_context(Connection(server.url))
        connection.send(PAGE)
        assert connection.has_news(30)
        wait_until(lambda: protocols(server)[0].stalled_since is not None)
    assert records == []


class Client:
    """A connection without a socket."""

    idle_since: float | None = None
    stalled_since: float | None = None
    ended = 0
    aborted = 0

    def end(self) -> None:
        self.ended += 1

    def close(self) -> None:
        self.ended += 1

    def abort(self) -> None:
        self.aborted += 1


def test_a_client_that_stalls_loses_its_connection_when_another_needs_the_memory() -> None:
    now = [100.0]
    reports: list[str] = []
    load = Load(9, 10, refusals=Refusals(reports.append, lambda: now[0]), clock=lambda: now[0])
    slow, slower, reading, fourth = Client(), Client(), Client(), Client()
    slow.stalled_since, slower.stalled_since = 99.0, 98.0
    assert load.hold(slow, 4)
    assert load.hold(slower, 4)
    assert load.hold(reading, 2)
    assert not load.hold(fourth, 1)
    now[0] = 98.0 + STALLED_SECONDS
    assert load.hold(fourth, 4)
    assert (slow.aborted, slower.aborted, reading.aborted, load.unsent) == (0, 1, 0, 10)
    load.release(slower)
    load.release(reading)
    assert load.unsent == 8
    assert len(reports) == 1


def test_a_response_larger_than_the_bound_is_sent_alone() -> None:
    load = Load(9, 10)
    assert load.hold(Client(), 11)
    assert not load.hold(Client(), 1)


def test_refusals_are_reported_once_in_a_while_with_their_number() -> None:
    now = [0.0]
    reports: list[str] = []
    refusals = Refusals(reports.append, lambda: now[0])
    for _ in range(5):
        refusals.add("a")
    refusals.add("b")
    now[0] = REPORT_SECONDS
    refusals.add("a")
    assert reports == [
        "requests are refused with 503: a",
        "requests are refused with 503: b",
        "requests are refused with 503: a (5 times since the last report)",
    ]
    assert refusals.counts == {"a": 6, "b": 1}
