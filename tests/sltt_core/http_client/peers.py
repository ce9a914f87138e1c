"""Scripted HTTP servers on loopback: a script serves each connection in its own thread."""

from __future__ import annotations

import select
import socket
import struct
import sys
from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING

from sltt_core.http_client.transport import HttpTransport, Origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    Script = Callable[["Line"], None]

PATIENCE = 10.0
"""Seconds that a server waits for its client, so that a broken test ends."""


def request(path: str = "/", body: bytes = b"", method: str = "POST") -> bytes:
    """Return a whole request."""
    return f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def response(body: bytes = b"ok", *headers: str, status: str = "200 OK", version: str = "HTTP/1.1") -> bytes:
    """Return a whole response with its length."""
    lines = [f"{version} {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def soon() -> float:
    """Return a deadline that no test reaches."""
    return monotonic() + 10


LARGE = request("/large", b"x" * 8_000_000)


TOO_LARGE = response(b"too large", status="413 Content Too Large")


LIKE_DYNAMODB = response(
    b'{"ConsumedCapacity":{"CapacityUnits":6.0}}',
    "Server: Server",
    "Date: Sat, 01 Mar 2025 09:30:00 GMT",
    "Content-Type: application/x-amz-json-1.0",
    "Connection: keep-alive",
    "x-amzn-RequestId: 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEF",
    "x-amz-crc32: 2745614147",
)


class Line:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket, number: int, requests: list[bytes]) -> None:
        self.connection = connection
        self.number = number
        """The number of the connection, from 0."""
        self.buffer = b""
        self._requests = requests

    def read_head(self) -> bytes:
        """Return the next request's first line and headers, with the empty line; `b""` when the client closed."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            piece = self.connection.recv(65_536)
            if not piece:
                return b""
            self.buffer += piece
        head, self.buffer = self.buffer[: end + 4], self.buffer[end + 4 :]
        return head

    def read_request(self) -> bytes:
        """Return the next whole request and record it; `b""` when the client closed the connection."""
        head = self.read_head()
        if not head:
            return b""
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        parts, missing = [self.buffer], length - len(self.buffer)
        while missing > 0:
            piece = self.connection.recv(65_536)
            if not piece:
                return b""
            parts.append(piece)
            missing -= len(piece)
        body = b"".join(parts)
        body, self.buffer = body[:length], body[length:]
        self._requests.append(head + body)
        return head + body

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def respond_all(self, *responses: bytes) -> None:
        """Read requests and send a response to each; the last response is repeated."""
        given = 0
        while self.read_request():
            self.send(responses[min(given, len(responses) - 1)])
            given += 1

    def stay(self) -> None:
        """Read nothing until the client closes the connection or the test ends."""
        poll = select.poll()
        poll.register(self.connection, 0)  # POLLHUP and errors are always reported
        poll.poll(1000 * PATIENCE)

    def wait_for_end(self) -> None:
        """Wait until the client closes the connection."""
        try:
            while self.connection.recv(65_536):
                pass
        except OSError:
            pass

    def close(self) -> None:
        """Close with a FIN, or with a reset when unread bytes are left."""
        self.connection.close()

    def reset(self) -> None:
        """Close with a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


class Peer:
    """A server on 127.0.0.1: `with Peer(script) as peer`. A connection is closed when its script returns."""

    def __init__(
        self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", receive_buffer: int = 0
    ) -> None:
        self._script = script
        self._tls = tls
        self._threads: list[Thread] = []
        self._ends: list[socket.socket] = []
        self._failures: list[BaseException] = []
        self.connections = 0
        """The number of accepted connections."""
        self.requests: list[bytes] = []
        """The whole requests that were read."""
        self.refusals: list[OSError] = []
        """The TLS handshakes that failed."""
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((host, 0))
        self._listener.listen(64)
        self.origin = Origin("https" if tls else "http", host, self._listener.getsockname()[1])
        self._acceptor = Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)  # ends a script that waits
            except OSError:
                pass
        for thread in self._threads:
            thread.join()
        if error is None and self._failures:
            raise self._failures[0]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # bytes before a reset are sent
            thread = Thread(target=self._serve, args=(connection, self.connections))
            self.connections += 1
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if self._tls:
                try:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                except OSError as error:
                    self.refusals.append(error)
                    return
            self._ends.append(connection)
            self._script(Line(connection, number, self.requests))
        except OSError:  # the client closed the connection, which is allowed
            pass
        except BaseException as error:
            self._failures.append(error)
        finally:
            connection.close()


class Tunnel:
    """A TCP proxy to a server, which can forget its connections without a sign, as a NAT gateway does."""

    def __init__(self, origin: Origin) -> None:
        self._target = (origin.host, origin.port)
        self._frozen = 0
        self._ends: list[socket.socket] = []
        self._threads: list[Thread] = []
        self.connections = 0
        """The number of accepted connections."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.origin = origin.replace(host="127.0.0.1", port=self._listener.getsockname()[1])
        self._acceptor = Thread(target=self._accept)

    def freeze(self, count: int) -> None:
        """Forward nothing more on the first `count` connections. They stay open."""
        self._frozen = count

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._ends += [client, server]
            number = self.connections
            self.connections += 1
            for source, sink in ((client, server), (server, client)):
                thread = Thread(target=self._forward, args=(source, sink, number))
                self._threads.append(thread)
                thread.start()

    def _forward(self, source: socket.socket, sink: socket.socket, number: int) -> None:
        with suppress(OSError):
            while piece := source.recv(65_536):
                if number >= self._frozen:
                    sink.sendall(piece)
            if number >= self._frozen:
                sink.shutdown(socket.SHUT_WR)


def keep_responding(line: Line) -> None:
    line.respond_all(response(b"%d" % line.number))


def count_calls(transport: HttpTransport) -> dict[str, int]:
    """Count the calls of one request on a kept connection: of functions in Python, and of functions in C."""
    sent, deadline = request(body=b"x" * 500), soon()
    transport.send(sent, deadline=deadline)
    counts = {"call": 0, "c_call": -1}  # -1 for setprofile itself

    def count(_frame: object, event: str, _argument: object) -> None:
        if event in counts:
            counts[event] += 1

    sys.setprofile(count)
    try:
        transport.send(sent, deadline=deadline)
    finally:
        sys.setprofile(None)
    return counts
