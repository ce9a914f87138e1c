"""A raw HTTP client: it sends any bytes, reads responses, and checks the form that all responses share."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE = 30.0
"""Maximum seconds that a test waits; a passing test takes much less."""
SERVER = "hostile"

HOST = b"Host: localhost\r\n"
CLOSE = b"Connection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\n" + HOST


class Response(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A connection that sends any bytes and reads responses one by one."""

    def __init__(self, url: str, time_limit: float = PATIENCE) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=time_limit)
        self._waiting = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> bool:
        """Send all bytes; return `False` when the server has closed the connection."""
        try:
            self.socket.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            return False
        return True

    def read(self, method: bytes = b"GET") -> Response | None:
        """Return the next response, without interim ones; `None` when the connection ends instead."""
        while True:
            head = self._until(b"\r\n\r\n")
            if head is None:
                return None
            first, *lines = head.decode("latin-1").split("\r\n")
            version, code, _ = first.split(" ", 2)
            assert version == "HTTP/1.1"
            status = int(code)
            if status != 100:
                break
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), "a header occurs twice"
        size = 0 if method == b"HEAD" or status in (204, 304) else int(headers["content-length"])
        body = self._exactly(size)
        assert body is not None, "the response is truncated"
        return Response(status, headers, body)

    def rest(self) -> bytes:
        """Read until the connection ends; return the bytes."""
        while self._more():
            pass
        return self._waiting

    def is_at_end(self) -> bool:
        """Wait until the server closes the connection; return `False` when it sends something first."""
        return not self._waiting and not self._more()

    def has_news(self, seconds: float) -> bool:
        """Wait `seconds` for bytes or the end of the connection; return whether one came."""
        time_limit = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self._more()
        except (TimeoutError, BlockingIOError):
            return False
        finally:
            self.socket.settimeout(time_limit)
        return True

    def _until(self, end: bytes) -> bytes | None:
        while end not in self._waiting:
            if not self._more():
                assert not self._waiting, f"the response is truncated: {self._waiting[:200]!r}"
                return None
        found, self._waiting = self._waiting.split(end, 1)
        return found

    def _exactly(self, size: int) -> bytes | None:
        while len(self._waiting) < size:
            if not self._more():
                return None
        found, self._waiting = self._waiting[:size], self._waiting[size:]
        return found

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65_536)
        except ConnectionResetError:
            return False
        self._waiting += data
        return bool(data)


POST = b"POST /api/changes HTTP/1.1\r\n" + HOST + JSON


def post(body: bytes, headers: bytes = b"") -> bytes:
    """Return a request that appends changes."""
    length = b"Content-Length: %d\r\n" % len(body)
    return POST + headers + length + b"\r\n" + body


def get(target: str | bytes, headers: bytes = b"") -> bytes:
    """Return a request for a target, which is sent verbatim."""
    target = target.encode("latin-1") if isinstance(target, str) else target
    return b"GET " + target + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"


def chunked(*parts: bytes, trailers: bytes = b"") -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


def change(data: str = "{}", **fields: str) -> bytes:
    """Return a change; each field is JSON text."""
    given = {"projectId": '"p"', "entityType": '"t"', "entityId": '"e"', "data": data, **fields}
    return "".join(["{", ",".join(f'"{name}":{text}' for name, text in given.items()), "}"]).encode()


def check_response(response: Response) -> None:
    """Check the form that all responses share, successes and errors."""
    assert response.status < 500 or response.status == 501, response.body
    if response.status in (204, 304):
        assert not response.body
        return
    assert response.headers["content-length"]
    assert response.headers["x-request-id"]
    assert b"Traceback" not in response.body
    if response.status < 300:
        assert response.headers["content-type"] == "application/json"
        return
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    if not response.body:  # of a HEAD request
        return
    problem = response.json
    assert problem.keys() >= {"type", "title", "status", "detail", "error", "timestamp", "server", "requestId"}
    assert problem["type"].startswith("urn:sltt:problem:")
    assert problem["status"] == response.status
    assert problem["error"] == problem["detail"] != ""
    assert problem["server"] == SERVER
    assert problem["requestId"] == response.headers["x-request-id"]
    assert len(problem["detail"]) < 1000, "the response repeats the request"


def is_healthy(url: str) -> bool:
    """Return whether the server responds to a new client."""
    with Connection(url) as connection:
        connection.send(HEALTH + CLOSE + b"\r\n")
        response = connection.read()
        return response is not None and response.status == 200 and response.json["status"] == "healthy"
