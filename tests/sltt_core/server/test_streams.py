"""Responses whose body is an iterator, over a real socket: chunks are sent as they come, and the stream is closed."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import httpx
import pytest

from sltt_core.api import handlers
from sltt_core.api.http import Response
from sltt_core.server.access_log import AccessLog
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService

LATEST = 30.0
"""Maximum seconds for an expected event."""
LARGE = bytes(range(256)) * 256


class Stream:
    """An iterator over chunks, which waits at an event. It counts the taken chunks and records its closing."""

    def __init__(self, *chunks: bytes | Event | Exception, endless: bytes | None = None) -> None:
        self._chunks = iter(chunks)
        self._endless = endless
        self.taken = 0
        self.closed = Event()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        assert not self.closed.is_set()
        self.taken += 1
        chunk = next(self._chunks) if self._endless is None else next(self._chunks, self._endless)
        if isinstance(chunk, Exception):
            raise chunk
        if isinstance(chunk, Event):
            assert chunk.wait(LATEST)
            return b""
        return chunk

    def close(self) -> None:
        assert not self.closed.is_set(), "closed twice"
        self.closed.set()


@pytest.fixture
def serve(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Serve a stream at /health."""

    @contextmanager
    def serving(stream: Stream, **options: Any) -> Iterator[RestApiServer]:
        response = Response(200, (("content-type", "text/plain"), ("etag", '"a"')), stream)
        monkeypatch.setitem(handlers.HANDLERS, "health", lambda *_: response)
        with RestApiServer(storage=LocalStorageService(tmp_path / "log.db"), port=0, **options) as server:
            yield server

    return serving


def connect(server: RestApiServer, request: bytes) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=LATEST)
    connection.sendall(request)
    return connection


def test_chunks_are_sent_as_they_come(serve: Callable[..., Any]) -> None:
    first_is_read = Event()
    stream = Stream(b"one ", first_is_read, b"two ", b"", LARGE, b"end")
    headers = {"accept-encoding": "gzip", "if-none-match": '"a"'}
    with serve(stream) as server, httpx.stream("GET", f"{server.url}/health", headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.headers.keys().isdisjoint({"content-length", "content-encoding"})
        assert response.headers["x-request-id"]
        received = b""
        for chunk in response.iter_raw():
            received += chunk
            if received == b"one ":
                first_is_read.set()
        assert received == b"one two " + LARGE + b"end"
        assert stream.closed.wait(LATEST)


def test_the_connection_serves_the_next_request(serve: Callable[..., Any]) -> None:
    with serve(Stream(b"a")) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/health").content == b"a"
        assert client.get("/api/help").status_code == 200
        assert len(client._transport._pool.connections) == 1  # type: ignore[attr-defined]


def test_a_head_request_reads_no_chunk_and_closes_the_stream(serve: Callable[..., Any]) -> None:
    stream = Stream(b"one")
    with serve(stream) as server:
        response = httpx.head(f"{server.url}/health")
        assert (response.status_code, response.content) == (200, b"")
        assert stream.closed.wait(LATEST)
    assert stream.taken == 0


@pytest.mark.parametrize("endless", [b"", b"again and again "])
def test_a_disconnect_closes_the_stream(
    serve: Callable[..., Any], capsys: pytest.CaptureFixture[str], endless: bytes
) -> None:
    stream = Stream(b"one ", endless=endless)
    with serve(stream) as server:
        connection = connect(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1)
        connection.close()
        assert stream.closed.wait(LATEST)
        assert httpx.get(f"{server.url}/api/help").status_code == 200
    assert capsys.readouterr().err == ""  # the server logged no error


def test_a_disconnect_during_a_chunk_closes_the_stream_after_it(
    serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    made = Event()
    stream = Stream(b"one", made, b"two")
    log = io.StringIO()
    with serve(stream, access_log=AccessLog(log)) as server:
        connection = connect(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while not received.endswith(b"one\r\n"):
            received += connection.recv(4096)
        connection.close()
        assert server._uvicorn is not None
        while not any(getattr(found, "half_closed", False) for found in list(server._uvicorn.server_state.connections)):
            Event().wait(0.005)
        assert not stream.closed.is_set()
        made.set()
        assert stream.closed.wait(LATEST)
    assert stream.taken == 2
    assert capsys.readouterr().err == ""


def test_an_error_of_a_stream_ends_the_connection_without_the_last_chunk(
    serve: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream(b"one", OSError("the disk is gone"))
    with serve(stream) as server:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            httpx.get(f"{server.url}/health")
        assert stream.closed.wait(LATEST)
        assert httpx.get(f"{server.url}/api/help").status_code == 200
    assert "the disk is gone" in capsys.readouterr().err


def test_the_access_log_counts_what_was_sent(serve: Callable[..., Any]) -> None:
    log = io.StringIO()
    with serve(Stream(b"four", b"", LARGE), access_log=AccessLog(log)) as server:
        httpx.get(f"{server.url}/health")
    line = json.loads(log.getvalue())
    assert (line["status"], line["bytes"]) == (200, 4 + len(LARGE))


def test_a_stream_may_take_longer_than_a_response(serve: Callable[..., Any]) -> None:
    limit = 0.2
    later = Event()
    with serve(Stream(b"one", later, b"two"), body_seconds=limit) as server:
        connection = connect(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        Event().wait(2 * limit)
        later.set()
        received = b""
        while part := connection.recv(65536):
            received += part
        connection.close()
    assert received.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_a_client_that_does_not_read_is_disconnected(serve: Callable[..., Any]) -> None:
    stream = Stream(endless=LARGE)
    with serve(stream, body_seconds=0.2) as server:
        connection = connect(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stream.closed.wait(LATEST)
        connection.close()


def test_stopping_finishes_a_stream_in_flight(serve: Callable[..., Any]) -> None:
    go_on = Event()
    with ThreadPoolExecutor(2) as threads, serve(Stream(b"one", go_on, b"two")) as server:
        connection = connect(server, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = connection.recv(65536)
        stopping = threads.submit(server.stop)
        go_on.set()
        while part := connection.recv(65536):
            received += part
        stopping.result(LATEST)
        connection.close()
    assert received.endswith(b"two\r\n0\r\n\r\n")
