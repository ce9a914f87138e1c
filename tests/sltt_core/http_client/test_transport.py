"""The transport against scripted servers on loopback: the connection pool, deadlines, large requests and errors."""

from __future__ import annotations

import _socket
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier, Event
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import SlttError
from sltt_core.http_client.sockets import Socket
from sltt_core.http_client.transport import (
    BadResponse,
    ConnectFailed,
    HttpTransport,
    Origin,
    OutcomeUnknown,
    TransportError,
    open_connection,
    parse_origin,
)
from tests.sltt_core.http_client.peers import (
    LARGE,
    LIKE_DYNAMODB,
    TOO_LARGE,
    Line,
    Peer,
    Tunnel,
    count_calls,
    keep_responding,
    request,
    response,
    soon,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Open = Callable[..., HttpTransport]


@pytest.fixture
def to() -> Iterator[Open]:
    """Make a transport to a server; it is closed with the test."""
    opened: list[HttpTransport] = []

    def make(peer: Peer | Origin, **options: Any) -> HttpTransport:
        opened.append(HttpTransport(peer.origin if isinstance(peer, Peer) else peer, **options))
        return opened[-1]

    yield make
    for transport in opened:
        transport.close()


# Origins


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://dynamodb.eu-west-1.amazonaws.com", Origin("https", "dynamodb.eu-west-1.amazonaws.com", 443)),
        ("http://localhost/", Origin("http", "localhost", 80)),
        ("HTTP://LocalHost:8000", Origin("http", "localhost", 8000)),
        ("http://127.0.0.1:1", Origin("http", "127.0.0.1", 1)),
        ("https://[::1]", Origin("https", "::1", 443)),
        ("https://[FE80::1%eth0]:8443/", Origin("https", "fe80::1%eth0", 8443)),
        ("https://xn--bcher-kva.example:00443", Origin("https", "xn--bcher-kva.example", 443)),
    ],
)
def test_an_origin_is_read_from_a_url(url: str, origin: Origin) -> None:
    assert parse_origin(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "", "localhost", "//localhost", "ftp://localhost", "http:/localhost", "http://", "http:///", "http://:80", "http://a:",
        "http://a:b", "http://a:-1", "http://a:+1", "http://a:0", "http://a:65536", "http://a:" + "9" * 5000, "http://a:\xb2",
        "http://a/b", "http://a//", "http://a?b", "http://a#b", "http://u:p@a", "http://u@a", "http://a b", "http://a\n",
        "http://b\xfccher.example", "http://::1", "http://[::1", "http://[::1]x", "http://[]", "http://[a]", "http://a%20",
        "http://[::1]:", "http://.a", "http://[::1]80",
    ],
)  # fmt: skip
def test_an_invalid_origin_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"does not begin|is not a valid origin|the port of .* is not valid"):
        parse_origin(url)


def test_a_host_that_is_not_ascii_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match="ascii"):
        HttpTransport(Origin("http", "bücher.example", 80))


# Errors


def test_each_error_has_its_own_kind_and_is_retryable() -> None:
    for error in (ConnectFailed, OutcomeUnknown, BadResponse):
        assert issubclass(error, TransportError)
        assert issubclass(error, SlttError)
        assert (error.status, error.retryable) == (502, True)
    assert len({error.kind for error in (TransportError, ConnectFailed, OutcomeUnknown, BadResponse)}) == 4


# The pool


def test_a_connection_is_kept(to: Open) -> None:
    with Peer(keep_responding) as peer:
        transport = to(peer)
        for _ in range(50):
            assert transport.send(request(), deadline=soon()).body == b"0"
        assert (peer.connections, len(peer.requests)) == (1, 50)


def test_a_warmed_connection_is_used(to: Open) -> None:
    with Peer(keep_responding) as peer:
        transport = to(peer)
        transport.warm(soon())
        transport.send(request(), deadline=soon())
        assert peer.connections == 1


@pytest.mark.parametrize(
    "good",
    [
        response(b"x", "Connection: close"),
        response(b"x", "Connection: foo, Close"),
        response(b"x", version="HTTP/1.0"),
        response(b"x") + b"\r\n",
        response(b"x") + response(b"unrequested"),
    ],
    ids=["close", "token", "HTTP/1.0", "an extra empty line", "an extra response"],
)
def test_a_connection_that_cannot_be_reused_is_closed(to: Open, good: bytes) -> None:
    with Peer(lambda line: line.respond_all(good)) as peer:
        transport = to(peer)
        for _ in range(5):
            assert transport.send(request(), deadline=soon()).body == b"x"
        assert (peer.connections, len(peer.requests)) == (5, 5)


def test_a_response_without_a_request_is_dropped(to: Open) -> None:
    arrived = Event()

    def serve(line: Line) -> None:
        line.respond_all(response(b"%d" % line.number))

    def serve_two(line: Line) -> None:
        if line.number == 0:
            line.read_request()
            line.send(response(b"0"))
            asked.wait(10)
            line.send(response(b"unrequested"))
            arrived.set()
            line.wait_for_end()
        else:
            serve(line)

    asked = Event()
    with Peer(serve_two) as peer:
        transport = to(peer)
        assert transport.send(request(), deadline=soon()).body == b"0"
        asked.set()
        assert arrived.wait(10)
        assert transport.send(request(), deadline=soon()).body == b"1"


def test_an_http_1_0_server_may_keep_a_connection(to: Open) -> None:
    with Peer(lambda line: line.respond_all(response(b"x", "Connection: keep-alive", version="HTTP/1.0"))) as peer:
        transport = to(peer)
        for _ in range(5):
            transport.send(request(), deadline=soon())
        assert peer.connections == 1


@pytest.mark.parametrize("how", [Line.close, Line.reset])
@pytest.mark.parametrize("repeatable", [False, True])
def test_a_connection_closed_between_requests_is_replaced(
    to: Open, how: Callable[[Line], None], repeatable: bool
) -> None:
    closed = Event()

    def serve(line: Line) -> None:
        line.send(response(line.read_request()))
        how(line)
        closed.set()

    with Peer(serve) as peer:
        transport = to(peer)
        for number in range(200):
            sent = request(f"/{number}")
            assert transport.send(sent, deadline=soon(), repeatable=repeatable).body == sent
            assert closed.wait(10)
            closed.clear()
        assert peer.requests == [request(f"/{number}") for number in range(200)]
        assert peer.connections == 200


@pytest.mark.parametrize("how", [Line.close, Line.reset])
def test_a_connection_closed_at_any_moment_neither_loses_nor_repeats_a_request(
    to: Open, how: Callable[[Line], None]
) -> None:
    def serve(line: Line) -> None:
        for _ in range(3):
            if line.read_request():
                line.send(response())
        how(line)  # the next request may be on its way

    with Peer(serve) as peer:
        transport = to(peer)
        for number in range(200):
            assert transport.send(request(f"/{number}"), deadline=soon(), repeatable=True).status == 200
        assert peer.requests == [request(f"/{number}") for number in range(200)]


def close_at_second_request(line: Line) -> None:
    """Serve one request of the first connection and close at its second; serve one request of each other connection."""
    line.read_request()
    if line.number:
        line.send(response(b"again"))
        line.wait_for_end()
    else:
        line.send(response(b"first"))
        line.read_request()


def test_a_request_whose_connection_died_is_not_repeated(to: Open) -> None:
    with Peer(close_at_second_request) as peer:
        transport = to(peer)
        transport.send(request("/1"), deadline=soon())
        with pytest.raises(OutcomeUnknown, match="closed without a response"):
            transport.send(request("/2"), deadline=soon())
        assert peer.requests == [request("/1"), request("/2")]
        assert peer.connections == 1


def test_a_repeatable_request_whose_connection_died_is_repeated(to: Open) -> None:
    with Peer(close_at_second_request) as peer:
        transport = to(peer)
        transport.send(request("/1"), deadline=soon())
        assert transport.send(request("/2"), deadline=soon(), repeatable=True).body == b"again"
        assert peer.requests == [request("/1"), request("/2"), request("/2")]


def test_a_sent_request_whose_second_connection_fails_is_an_unknown_outcome(to: Open) -> None:
    closing = Event()

    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        if closing.is_set():
            raise ConnectionRefusedError("refused")
        return open_connection(address, seconds)

    with Peer(close_at_second_request) as peer:
        transport = to(peer, connect=connect)
        transport.send(request("/1"), deadline=soon())
        closing.set()
        with pytest.raises(OutcomeUnknown, match="closed without a response, and then: cannot reach"):
            transport.send(request("/2"), deadline=soon(), repeatable=True)


def test_a_sent_request_that_cannot_be_sent_again_is_an_unknown_outcome(to: Open) -> None:
    connections = 0

    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        nonlocal connections
        connections += 1
        connection = open_connection(address, seconds)
        return connection if connections == 1 else Unsendable(fileno=connection.detach())

    with Peer(close_at_second_request) as peer:
        transport = to(peer, connect=connect)
        transport.send(request("/1"), deadline=soon())
        with pytest.raises(OutcomeUnknown):
            transport.send(request("/2"), deadline=soon(), repeatable=True)
        assert connections == 2


def test_a_request_on_a_new_connection_is_not_repeated(to: Open) -> None:
    def serve(line: Line) -> None:
        line.read_request()

    with Peer(serve) as peer:
        with pytest.raises(OutcomeUnknown, match="closed without a response"):
            to(peer).send(request(), deadline=soon(), repeatable=True)
        assert peer.connections == len(peer.requests) == 1


# A kept connection that is dead without a sign. `KEPT` is short, because each test waits for it once.

KEPT = 0.05


def open_several(transport: HttpTransport, count: int) -> None:
    for connection in [transport._open(soon()) for _ in range(count)]:
        transport._keep(connection)


@pytest.mark.parametrize("sent", [request("/1"), request("/1", b"x" * 8_000_000)], ids=["small", "large"])
def test_a_silent_kept_connection_costs_a_repeatable_request_one_short_wait(to: Open, sent: bytes) -> None:
    with Peer(keep_responding) as peer, Tunnel(peer.origin) as tunnel:
        transport = to(tunnel.origin, kept_seconds=KEPT)
        open_several(transport, 16)
        kept = [connection for connection, _ in transport._idle]
        tunnel.freeze(16)
        assert transport.send(sent, deadline=monotonic() + 10, repeatable=True).status == 200
        assert tunnel.connections == 17
        assert peer.requests == [sent]
        assert [connection.fileno() for connection in kept] == [-1] * 16
        assert len(transport._idle) == 1


def test_a_request_that_is_not_repeatable_is_sent_once_on_a_silent_kept_connection(to: Open) -> None:
    with Peer(keep_responding) as peer, Tunnel(peer.origin) as tunnel:
        transport = to(tunnel.origin, kept_seconds=KEPT, read_seconds=2 * KEPT)
        open_several(transport, 3)
        tunnel.freeze(3)
        with pytest.raises(OutcomeUnknown, match="no complete response came in time"):
            transport.send(request(), deadline=soon())
        assert (tunnel.connections, peer.requests, transport._idle) == (3, [], [])
        assert transport.send(request(), deadline=soon()).status == 200


class Waits(socket.socket):
    """Records how long it may wait."""

    waits: list[float]

    def settimeout(self, value: float | None) -> None:
        self.waits.append(value or 0)
        super().settimeout(value)


@pytest.mark.parametrize(
    ("repeatable", "left", "kept", "read", "expected"),
    [
        (True, 10, 2, 10, [2, 10]),
        (True, 3, 2, 10, [1.5, 3]),  # half of the time is for the new connection
        (True, 10, 2, 1, [1, 1]),
        (False, 10, 2, 10, [10, 10]),
    ],
)
def test_only_the_first_byte_on_a_kept_connection_has_a_short_wait(
    to: Open, repeatable: bool, left: float, kept: float, read: float, expected: list[float]
) -> None:
    def serve(line: Line) -> None:
        line.read_request()
        line.send(response())
        line.read_request()
        line.send(b"HTTP/1.1 200 OK\r\n")
        begun.wait(10)
        line.send(b"Content-Length: 0\r\n\r\n")
        line.wait_for_end()

    begun = Event()

    class Watched(Waits):
        def recv(self, size: int, flags: int = 0) -> bytes:
            piece = super().recv(size, flags)
            if piece == b"HTTP/1.1 200 OK\r\n":
                begun.set()
            return piece

    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        connection = Watched(fileno=open_connection(address, seconds).detach())
        connection.waits = waits
        return connection

    waits: list[float] = []
    clock = Clock()
    with Peer(serve) as peer:
        transport = to(peer, connect=connect, kept_seconds=kept, read_seconds=read, steady_clock=clock)
        transport.send(request(), deadline=clock.now + left)
        assert waits == [0, min(left, read)]  # a new connection
        waits.clear()
        transport.send(request(), deadline=clock.now + left, repeatable=repeatable)
        assert waits == [0, *expected]


def test_both_connections_may_be_silent(to: Open) -> None:
    with Peer(lambda line: line.respond_all(response()) if line.number < 1 else line.stay()) as peer:
        with Tunnel(peer.origin) as tunnel:
            transport = to(tunnel.origin, kept_seconds=KEPT, read_seconds=2 * KEPT)
            open_several(transport, 1)
            tunnel.freeze(1)
            with pytest.raises(OutcomeUnknown, match="no complete response came in time"):
                transport.send(request(), deadline=soon(), repeatable=True)
        assert transport._idle == []


class Unsendable(socket.socket):
    """A connection that looks alive but sends nothing."""

    def send(self, data: object, flags: int = 0) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_request_not_sent_on_a_kept_connection_is_sent_on_a_new_one(to: Open) -> None:
    with Peer(keep_responding) as peer:
        transport = to(peer)
        transport.send(request("/1"), deadline=soon())
        kept, since = transport._idle.pop()
        assert isinstance(kept, Socket)
        transport._idle.append((Unsendable(fileno=kept.detach()), since))
        assert transport.send(request("/2"), deadline=soon()).body == b"1"
        assert peer.requests == [request("/1"), request("/2")]


def test_a_request_not_sent_on_any_connection_is_reported_as_not_sent(to: Open) -> None:
    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        return Unsendable(fileno=open_connection(address, seconds).detach())

    with Peer(Line.wait_for_end) as peer, pytest.raises(ConnectFailed, match="before the request was sent"):
        to(peer, connect=connect).send(request(), deadline=soon())


@pytest.mark.parametrize("max_idle", [0, 1, 3])
def test_at_most_max_idle_connections_are_kept(to: Open, max_idle: int) -> None:
    together = Barrier(4)

    def serve(line: Line) -> None:
        while line.read_request():
            if line.number < 4:
                together.wait(10)
            line.send(response())

    with Peer(serve) as peer:
        transport = to(peer, max_idle=max_idle)
        with ThreadPoolExecutor(4) as threads:
            for future in [threads.submit(transport.send, request(), deadline=soon()) for _ in range(4)]:
                future.result()
        assert peer.connections == 4
        assert len(transport._idle) == max_idle


def test_a_connection_that_was_idle_too_long_is_not_used(to: Open) -> None:
    now = 1000.0
    with Peer(keep_responding) as peer:
        transport = to(peer, steady_clock=lambda: now, idle_seconds=60)
        assert transport.send(request(), deadline=now + 5).body == b"0"
        now += 60
        assert transport.send(request(), deadline=now + 5).body == b"0"
        now += 61
        assert transport.send(request(), deadline=now + 5).body == b"1"
        assert len(transport._idle) == 1


def test_connections_that_are_idle_too_long_are_closed(to: Open) -> None:
    now = 1000.0
    with Peer(keep_responding) as peer:
        transport = to(peer, steady_clock=lambda: now, idle_seconds=60)
        for _ in range(3):
            transport.warm(now + 5)
        for _ in range(2):
            now += 40
            transport.send(request(), deadline=now + 5)
        assert len(transport._idle) == 1


def test_each_thread_gets_its_own_response(to: Open) -> None:
    def serve(line: Line) -> None:
        while sent := line.read_request():
            line.send(response(sent))

    def ask(thread: int) -> None:
        for number in range(50):
            sent = request(f"/{thread}/{number}", b"x" * (thread * 100))
            assert transport.send(sent, deadline=soon()).body == sent

    with Peer(serve) as peer:
        transport = to(peer)
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(ask, range(16)))
        assert len(peer.requests) == len(set(peer.requests)) == 800
        assert peer.connections <= 16
        assert len(transport._idle) <= 16


def test_another_thread_may_take_a_connection_as_soon_as_it_is_kept(to: Open) -> None:
    class Taken(list[tuple[Any, float]]):
        """Behaves as if another thread always took the connection first."""

        def append(self, kept: tuple[Any, float]) -> None:
            taken.append(kept[0])

    taken: list[socket.socket] = []
    with Peer(keep_responding) as peer:
        transport = to(peer)
        transport._idle = Taken()
        assert transport.send(request(), deadline=soon()).status == 200
        taken.pop().close()


def test_close_closes_idle_connections_and_those_in_use_after_their_response(to: Open) -> None:
    asked, closed = Event(), Event()

    def serve(line: Line) -> None:
        if line.number:
            asked.set()
            closed.wait(10)
        line.respond_all(response())

    with Peer(serve) as peer, ThreadPoolExecutor(1) as threads:
        transport = to(peer)
        kept = transport._open(soon())
        other = threads.submit(transport.send, request(), deadline=soon())
        assert asked.wait(10)
        transport._keep(kept)
        transport.close()
        assert kept.fileno() == -1
        closed.set()
        assert other.result().status == 200
        assert transport._idle == []
        transport.close()  # again does no harm
        assert transport.send(request(), deadline=soon()).status == 200
        assert transport._idle == []


def test_an_interrupted_request_closes_its_connection(to: Open) -> None:
    class Interrupted(socket.socket):
        broken = False

        def recv(self, size: int, flags: int = 0) -> bytes:
            if self.gettimeout() and not self.broken:
                type(self).broken = True
                raise KeyboardInterrupt
            return super().recv(size, flags)

    connections: list[socket.socket] = []

    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        connections.append(Interrupted(fileno=open_connection(address, seconds).detach()))
        return connections[-1]

    with Peer(keep_responding) as peer:
        transport = to(peer, connect=connect)
        with pytest.raises(KeyboardInterrupt):
            transport.send(request(), deadline=soon())
        assert connections[0].fileno() == -1
        assert transport._idle == []
        assert transport.send(request(), deadline=soon()).body == b"1"


def test_head_is_refused_before_anything_is_sent(to: Open) -> None:
    with Peer(keep_responding) as peer:
        with pytest.raises(ValueError, match="HEAD is not supported"):
            to(peer).send(request(method="HEAD"), deadline=soon())
        assert peer.connections == 0


# Connecting


def test_a_refused_connection_is_reported(to: Open) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(ConnectFailed, match=r"cannot reach 127\.0\.0\.1, port"):
            to(Origin("http", "127.0.0.1", unused.getsockname()[1])).send(request(), deadline=soon())


def test_an_unknown_host_is_reported(to: Open) -> None:
    with pytest.raises(ConnectFailed, match=r"cannot reach nobody\.invalid"):
        to(Origin("http", "nobody.invalid", 80)).warm(soon())


def test_an_ipv6_address_is_connected(to: Open) -> None:
    with Peer(keep_responding, host="::1") as peer:
        assert to(parse_origin(f"http://[::1]:{peer.origin.port}")).send(request(), deadline=soon()).body == b"0"


def places(*addresses: tuple[str, int]) -> Callable[..., list[Any]]:
    return lambda *_args, **_kinds: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]


def test_the_next_address_is_tried_when_the_first_refuses(monkeypatch: pytest.MonkeyPatch, to: Open) -> None:
    with Peer(keep_responding) as peer, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        good, bad = ("127.0.0.1", peer.origin.port), unused.getsockname()
        monkeypatch.setattr("_socket.getaddrinfo", places(bad, bad, good))
        assert to(peer).send(request(), deadline=soon()).status == 200
        monkeypatch.setattr("_socket.getaddrinfo", places(bad, bad))
        with pytest.raises(ConnectFailed, match="refused"):
            to(peer).send(request(), deadline=soon())


def test_the_addresses_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def time_out(connection: socket.socket, _address: object) -> None:
        given.append(connection.gettimeout())
        raise TimeoutError("timed out")

    monkeypatch.setattr("_socket.getaddrinfo", places(*[("192.0.2.1", 80)] * 3))
    monkeypatch.setattr("sltt_core.http_client.sockets.Socket.connect", time_out)
    with pytest.raises(TimeoutError):
        open_connection((b"a.example", 80), 30)
    assert given == [
        pytest.approx(15, abs=1),
        pytest.approx(15, abs=1),
        pytest.approx(30, abs=1),
    ]  # no attempt used any time


def test_a_connection_sends_without_delay() -> None:
    with Peer(keep_responding) as peer, closing(open_connection((b"127.0.0.1", peer.origin.port), 5)) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_no_address_is_tried_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("_socket.getaddrinfo", places(("192.0.2.1", 80)))
    with pytest.raises(TimeoutError):
        open_connection((b"a.example", 80), 0)


# Time


class Clock:
    """A clock that advances only by what a test adds, and by `step` at each reading."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_a_past_deadline_opens_no_connection(to: Open) -> None:
    with Peer(keep_responding) as peer:
        with pytest.raises(ConnectFailed, match="no time left to connect"):
            to(peer, steady_clock=Clock()).send(request(), deadline=1000.0)
        assert peer.connections == 0


def test_a_past_deadline_sends_nothing_and_keeps_the_connection(to: Open) -> None:
    clock = Clock()
    with Peer(keep_responding) as peer:
        transport = to(peer, steady_clock=clock)
        transport.send(request("/1"), deadline=1001.0)
        with pytest.raises(ConnectFailed, match="no time left to send"):
            transport.send(request("/2"), deadline=1000.0)
        transport.send(request("/3"), deadline=1001.0)
        assert peer.requests == [request("/1"), request("/3")]
        assert peer.connections == 1


def test_a_connection_that_used_all_the_time_is_kept_for_the_next_request(to: Open) -> None:
    clock = Clock()

    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        clock.now += seconds
        return open_connection(address, 5)

    with Peer(keep_responding) as peer:
        transport = to(peer, steady_clock=clock, connect=connect)
        with pytest.raises(ConnectFailed, match="no time left to send"):
            transport.send(request("/1"), deadline=1002.0)
        transport.send(request("/2"), deadline=clock.now + 1)
        assert (peer.requests, peer.connections) == ([request("/2")], 1)


def test_connecting_is_bounded_by_the_deadline_and_by_connect_seconds(to: Open) -> None:
    given = []

    def connect(_address: tuple[bytes, int], seconds: float) -> _socket.socket:
        given.append(seconds)
        raise TimeoutError("timed out")

    transport = to(Origin("http", "a.example", 80), steady_clock=Clock(), connect=connect, connect_seconds=3)
    for deadline in (1001.0, 1100.0):
        with pytest.raises(ConnectFailed, match="timed out"):
            transport.send(request(), deadline=deadline)
    assert given == [1.0, 3.0]


def test_a_slow_response_ends_at_the_deadline(to: Open) -> None:
    stop = Event()

    def serve(line: Line) -> None:
        line.read_request()
        line.send(b"HTTP/1.1 200 OK\r\nX: ")
        while not stop.is_set():
            line.send(b"x")

    with Peer(serve) as peer:
        clock = Clock(step=0.25)  # each reading, before each piece, advances it
        with pytest.raises(OutcomeUnknown, match="no complete response came in time"):
            to(peer, steady_clock=clock, read_seconds=5).send(request(), deadline=clock.now + 5)
        stop.set()
        assert len(peer.requests) == 1


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc"])
@pytest.mark.parametrize(("read_seconds", "seconds"), [(0.02, 10), (10, 0.05)])
def test_a_response_that_stops_times_out(to: Open, begun: bytes, read_seconds: float, seconds: float) -> None:
    def serve(line: Line) -> None:
        line.read_request()
        line.send(begun)
        line.wait_for_end()

    with Peer(serve) as peer:
        with pytest.raises(OutcomeUnknown, match="no complete response came in time"):
            to(peer, read_seconds=read_seconds).send(request(), deadline=monotonic() + seconds)
        assert len(peer.requests) == 1


# Large requests


def test_a_large_request_gets_a_large_response(to: Open) -> None:
    def serve(line: Line) -> None:
        while sent := line.read_request():
            line.send(response(sent))

    with Peer(serve, receive_buffer=4096) as peer:
        transport = to(peer)
        for _ in range(2):
            assert transport.send(LARGE, deadline=soon()).body == LARGE
        assert peer.connections == 1


@pytest.mark.parametrize("how", [Line.close, Line.reset, Line.wait_for_end, Line.stay])
@pytest.mark.parametrize("split", [0, 3, 12])
def test_an_early_error_response_is_read(to: Open, how: Callable[[Line], None], split: int) -> None:
    def serve(line: Line) -> None:
        line.read_head()
        for part in filter(None, [TOO_LARGE[:split], TOO_LARGE[split:]]):
            line.send(part)
        how(line)

    with Peer(serve, receive_buffer=4096) as peer:
        transport = to(peer)
        response = transport.send(LARGE, deadline=monotonic() + 5)  # before `read_seconds` are over
        assert (response.status, response.body) == (413, b"too large")
        if how is not Line.wait_for_end:  # that server reads the rest; then the connection is reusable
            assert transport._idle == []
        assert peer.requests == []


def test_an_early_response_is_read_when_the_server_stops_reading(to: Open) -> None:
    def serve(line: Line) -> None:
        line.read_head()
        line.send(response(b"enough"))
        line.stay()

    with Peer(serve, receive_buffer=4096) as peer:
        transport = to(peer, read_seconds=0.05)
        assert transport.send(LARGE, deadline=soon()).body == b"enough"
        assert transport._idle == []


def test_a_server_that_never_stops_sending_is_refused(to: Open) -> None:
    def serve(line: Line) -> None:
        line.send(b"HTTP/1.1 100 ")
        while True:
            line.send(b"x" * 1000)

    with Peer(serve, receive_buffer=4096) as peer, pytest.raises(BadResponse, match="headers are larger"):
        to(peer, read_seconds=0.05).send(LARGE, deadline=monotonic() + 5)


def test_an_interim_response_does_not_stop_a_request(to: Open) -> None:
    def serve(line: Line) -> None:
        head = line.read_head()
        line.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        line.buffer = head + line.buffer
        line.respond_all(response())

    with Peer(serve, receive_buffer=4096) as peer:
        assert to(peer).send(LARGE, deadline=soon()).status == 200
        assert peer.requests == [LARGE]


def test_a_connection_closed_during_a_request_is_an_unknown_outcome(to: Open) -> None:
    def serve(line: Line) -> None:
        line.read_head()

    with Peer(serve, receive_buffer=4096) as peer:
        with pytest.raises(OutcomeUnknown, match="closed without a response"):
            to(peer).send(LARGE, deadline=soon())
        assert peer.requests == []


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 "])
def test_a_server_that_half_closes_is_an_unknown_outcome(to: Open, begun: bytes) -> None:
    def serve(line: Line) -> None:
        line.read_head()
        line.send(begun)
        line.connection.shutdown(socket.SHUT_WR)
        line.stay()

    with Peer(serve, receive_buffer=4096) as peer:
        transport = to(peer)
        with pytest.raises(OutcomeUnknown, match=r"closed without a response|ended in the middle"):
            transport.send(LARGE, deadline=monotonic() + 5)


@pytest.mark.parametrize(("read_seconds", "seconds"), [(0.02, 10), (10, 0.05)])
def test_a_server_that_does_not_read_times_out(to: Open, read_seconds: float, seconds: float) -> None:
    with Peer(Line.stay, receive_buffer=4096) as peer:
        transport = to(peer, read_seconds=read_seconds)
        with pytest.raises(OutcomeUnknown, match=r"could not be sent in time|no complete response"):
            transport.send(LARGE, deadline=monotonic() + seconds)


# Cost


class Counting(socket.socket):
    """Records the calls of `send` and `recv`."""

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        self.calls: list[str] = []

    def send(self, data: Any, flags: int = 0) -> int:
        self.calls.append("send")
        return super().send(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.calls.append("recv" if self.gettimeout() else "look")
        return super().recv(size, flags)


def test_a_request_takes_one_send_and_one_receive(to: Open) -> None:
    connections: list[Counting] = []

    def connect(address: tuple[bytes, int], seconds: float) -> _socket.socket:
        connections.append(Counting(open_connection(address, seconds).detach()))
        return connections[-1]

    with Peer(keep_responding) as peer:
        transport = to(peer, connect=connect)
        for _ in range(3):
            transport.send(request(body=b"x" * 1000), deadline=soon())
    assert connections[0].calls == ["send", "recv", "look", "send", "recv", "look", "send", "recv"]


def test_a_request_takes_few_calls(to: Open) -> None:
    with Peer(lambda line: line.respond_all(LIKE_DYNAMODB)) as peer:
        counts = count_calls(to(peer))
    assert counts["call"] <= 18, counts
    assert counts["c_call"] <= 60, counts
