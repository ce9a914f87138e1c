"""After a fork, the child opens connections of its own and leaves those of the parent alone, with and without TLS."""

from __future__ import annotations

import gc
import os
import ssl
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest
import trustme

from aws_backend.dynamodb.tls import tls_with_roots
from sltt_core.http_client.transport import HttpTransport, system_tls
from tests.forks import NEEDS_FORK, in_child
from tests.sltt_core.http_client.peers import Line, Peer, keep_responding, request, response, soon

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sltt_core.http_client.sockets import Tls

pytestmark = NEEDS_FORK


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["plain", "ssl", "lean"])
def tls(request: pytest.FixtureRequest, ca: trustme.CA, tmp_path: Path) -> tuple[ssl.SSLContext | None, list[Tls]]:
    """The context of the server, and those of the transport."""
    if request.param == "plain":
        return None, []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    if request.param == "ssl":
        own: Tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ca.configure_trust(own)
        return server, [own]
    ca.cert_pem.write_to_path(str(tmp_path / "own.pem"))
    return server, [tls_with_roots(str(tmp_path / "own.pem"))]


def transport_to(peer: Peer, contexts: list[Tls]) -> HttpTransport:
    return HttpTransport(peer.origin, tls=[contexts.pop] if contexts else [system_tls])


def collect(transport: HttpTransport) -> None:
    """Deallocate the connections, without a close."""
    vars(transport).clear()
    gc.collect()


ENDS: dict[str, Callable[[HttpTransport], object]] = {
    "nothing": lambda transport: None,
    "close": HttpTransport.close,
    "garbage": collect,
    "a request": lambda transport: transport.send(request("/child"), deadline=soon()),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_child_says_nothing_on_the_connections_of_the_parent(
    tls: tuple[ssl.SSLContext | None, list[Tls]], end: Callable[[HttpTransport], object]
) -> None:
    """A close_notify or a FIN would end the script of the server, and the parent would need another connection."""
    with Peer(keep_responding, tls=tls[0]) as peer:
        transport = transport_to(peer, tls[1])
        transport.send(request("/1"), deadline=soon())
        in_child(lambda: end(transport))()
        before = peer.connections
        assert transport.send(request("/2"), deadline=soon()).body == b"0"
        assert peer.connections == before
        assert [sent for sent in peer.requests if b"/child" not in sent] == [request("/1"), request("/2")]
        transport.close()


def test_parent_and_children_get_their_own_responses(tls: tuple[ssl.SSLContext | None, list[Tls]]) -> None:
    def serve(line: Line) -> None:
        while sent := line.read_request():
            line.send(response(sent))

    def ask(name: str) -> None:
        for number in range(50):
            sent = request(f"/{name}/{number}")
            assert transport.send(sent, deadline=soon()).body == sent

    with Peer(serve, tls=tls[0]) as peer:
        transport = transport_to(peer, tls[1])
        ask("before")
        waits = [in_child(lambda name=name: ask(name)) for name in ("a", "b")]  # type: ignore[misc]
        ask("parent")
        for wait in waits:
            wait()
        transport.close()


def test_a_connection_in_use_at_the_fork_does_not_stay_open_in_the_child(
    tls: tuple[ssl.SSLContext | None, list[Tls]],
) -> None:
    """The server sees the end of the connection when the parent closes it, although the child lives on."""
    asked, forked, ended = Event(), Event(), Event()

    def serve(line: Line) -> None:
        line.read_request()
        asked.set()
        forked.wait(10)
        line.send(response(b"parent", "Connection: close"))
        line.wait_for_end()
        ended.set()

    reader, writer = os.pipe()
    with Peer(serve, tls=tls[0]) as peer:
        transport = transport_to(peer, tls[1])
        got: list[bytes] = []
        thread = Thread(target=lambda: got.append(transport.send(request(), deadline=soon()).body))
        thread.start()
        assert asked.wait(10)
        wait = in_child(lambda: os.read(reader, 1))
        forked.set()
        thread.join()
        assert got == [b"parent"]
        assert ended.wait(10)
        os.write(writer, b".")
        wait()
    os.close(reader)
    os.close(writer)
