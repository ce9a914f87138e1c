"""Servers that truncate, inflate and corrupt their responses, over real connections.

`test_responses.py` tests the parser without connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.http_client.transport import BadResponse, HttpTransport, OutcomeUnknown
from tests.sltt_core.http_client.peers import Line, Peer, request, response, soon

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD = {
    "length": response(b"a body", "Date: today"),
    "chunked": CHUNKED + b"4;x=y\r\na bo\r\n2\r\ndy\r\n0\r\nT: t\r\n\r\n",
    "interim": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + response(b"a body"),
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("how", [Line.close, Line.reset])
@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "kept"])
def test_a_response_cut_at_any_byte_is_an_unknown_outcome(
    good: bytes, how: Callable[[Line], None], fresh: bool
) -> None:
    def serve(line: Line) -> None:
        if not fresh:
            line.read_request()
            line.send(response(b"warm"))
        line.read_request()
        line.send(good[: line.number])
        how(line)

    with Peer(serve) as peer:
        transport = HttpTransport(peer.origin)
        for _place in range(len(good)):
            if not fresh:
                assert transport.send(request("/warm"), deadline=soon()).body == b"warm"
            with pytest.raises(OutcomeUnknown):
                transport.send(request(), deadline=soon())
            assert transport._idle == []
        assert peer.connections == len(good)
        assert peer.requests.count(request()) == len(good)  # none was sent twice


def test_a_response_without_a_length_ends_only_with_its_connection() -> None:
    def serve(line: Line) -> None:
        line.read_request()
        line.send(b"HTTP/1.1 200 OK\r\n\r\na body")
        if line.number:
            line.wait_for_end()

    with Peer(serve) as peer:
        transport = HttpTransport(peer.origin)
        assert transport.send(request(), deadline=soon()).body == b"a body"
        assert transport._idle == []
        with pytest.raises(OutcomeUnknown, match="no complete response"):
            HttpTransport(peer.origin, read_seconds=0.02).send(request(), deadline=soon())


BAD = {
    "garbage": b"\x16\x03\x01\x00\xa5\x01\x00\x00",
    "another protocol": b"220 mail.example ESMTP\r\n",
    "upgrade": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
    "bad chunk": CHUNKED + b"x\r\n",
    "huge chunk": CHUNKED + b"ffffffffffffffff\r\n",
    "long chunk": CHUNKED + b"1\r\nxyz",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_response_is_refused_and_its_connection_closed(bad: bytes) -> None:
    def serve(line: Line) -> None:
        line.read_request()
        line.send(bad)
        line.wait_for_end()

    with Peer(serve) as peer:
        transport = HttpTransport(peer.origin)
        with pytest.raises(BadResponse):
            transport.send(request(), deadline=soon())
        assert transport._idle == []
        assert len(peer.requests) == 1


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED, b"1;x"),
        (CHUNKED + b"0\r\n", b"X: x\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    ],
    ids=["headers", "header", "interim", "chunks", "extension", "trailers", "to the end"],
)
def test_a_connection_to_a_server_that_never_stops_is_closed(start: bytes, piece: bytes) -> None:
    def serve(line: Line) -> None:
        line.read_request()
        line.send(start)
        while True:  # until the client closes the connection
            line.send(piece * 1000)

    with Peer(serve) as peer, pytest.raises(BadResponse):
        HttpTransport(peer.origin, max_body=100_000).send(request(), deadline=soon())
