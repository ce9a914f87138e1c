"""uvicorn's HTTP/1.1 protocol with limits on the size and time of headers, and with our problem documents as errors."""

from __future__ import annotations

from collections import deque
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sltt_core.base.errors import HeadersTooLarge, InvalidInput, RequestTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Transport
    from asyncio.events import TimerHandle
    from collections.abc import Callable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from sltt_core.api.http import Response
    from sltt_core.base.errors import SlttError

MAX_HEADER_BYTES = 32_768
"""Bytes of a request's first line and headers."""
HEADER_SECONDS = 10.0
"""Maximum time for a client to send them."""
RESPONSE_SECONDS = 300.0
"""Maximum time for a client to read a response: enough for 4 MB at 14 kB/s. For a stream: maximum time until the client
accepts the next chunk."""


class BoundedProtocol(HttpToolsProtocol):
    """The protocol of one connection; `bounded_protocol` returns the subclass for a server."""

    problem: Callable[[SlttError], Response]
    """Returns the response for an error."""
    header_seconds: float
    response_seconds: float

    _loose_bytes = 0  # received since the headers began or since the last body byte: headers, chunk sizes, trailers
    _in_headers = True
    _refused = False
    _header_timer: TimerHandle | None = None
    _response_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._open_cycles: deque[RequestResponseCycle] = deque()
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_headers()
        self._response_taken()
        for cycle in self._open_cycles:  # uvicorn notifies only the last
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._loose_bytes += len(data)
        if self._in_headers and self._header_timer is None:
            self._await_headers()
        super().data_received(data)
        # Complete headers and pieces of a body have reset the count, even when other bytes followed.
        if self._loose_bytes > MAX_HEADER_BYTES:
            self._refuse(_headers_too_large())

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # a trailer is not a header (RFC 9110, section 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._end_headers()
        error = self._fault_of_headers()
        if error is not None:
            self._refuse(error)
            raise error  # stops the parser
        super().on_headers_complete()
        while self._open_cycles and self._open_cycles[0].response_complete:
            self._open_cycles.popleft()
        self._open_cycles.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers = True
        self._loose_bytes = 0

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidInput("the request is not valid HTTP", field="request"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self._response_timer = self.loop.call_later(self.response_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._response_taken()

    def _response_taken(self) -> None:
        if self._response_timer is not None:
            self._response_timer.cancel()
            self._response_timer = None

    def _await_headers(self) -> None:
        self._in_headers = True
        self._header_timer = self.loop.call_later(self.header_seconds, self._headers_took_too_long)

    def _end_headers(self) -> None:
        self._in_headers = False
        self._loose_bytes = 0
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _headers_took_too_long(self) -> None:
        self._header_timer = None
        if self._loose_bytes:
            self._refuse(RequestTimeout(f"the request's headers took longer than {self.header_seconds:g} seconds"))
        else:
            self.transport.close()

    def _fault_of_headers(self) -> SlttError | None:
        """Return the error of headers that the parser accepts, or `None` (RFC 9112, sections 3.2 and 3.2.2)."""
        hosts = [value for name, value in self.headers if name == b"host"]
        version = self.parser.get_http_version()
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEADER_BYTES:
            return _headers_too_large()
        if version not in ("1.0", "1.1"):
            return InvalidInput(f"HTTP version {version} is not supported: 1.0 or 1.1", field="request")
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            return InvalidInput(f"the request has {len(hosts)} Host headers, not one", field="host")
        if not self.url.startswith(b"/"):
            authority = self.url.partition(b"://")[2].partition(b"/")[0]
            if authority and [authority.lower()] != [host.lower() for host in hosts]:
                return InvalidInput("the request's URL and its Host header name different hosts", field="host")
        if self.parser.should_upgrade() and any(
            name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0"))
            for name, value in self.headers
        ):
            # The parser would drop the body, because it would treat it as data of the other protocol.
            return InvalidInput(
                "a request with a body must not have an Upgrade header",
                field="upgrade",
                hint="Send it as HTTP/1.1, without Upgrade.",
            )
        return None

    def _refuse(self, error: SlttError) -> None:
        """Send the error and close the connection."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and (self.pipeline or not cycle.more_body):
            # The previous request has no response yet: the client would take this error for its response.
            cycle.keep_alive = False
            return
        response = self.problem(error)
        lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        lines += [f"content-length: {len(response.content)}", "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode("latin-1") + response.content)
        self.transport.close()


def bounded_protocol(
    problem: Callable[[SlttError], Response],
    header_seconds: float = HEADER_SECONDS,
    response_seconds: float = RESPONSE_SECONDS,
) -> type[HttpToolsProtocol]:
    """Return the protocol class for a server; `problem` returns the response for an error, times are in seconds."""
    bounds = {
        "problem": staticmethod(problem),
        "header_seconds": header_seconds,
        "response_seconds": response_seconds,
    }
    return type("BoundedProtocol", (BoundedProtocol,), bounds)


def _headers_too_large() -> SlttError:
    return HeadersTooLarge(f"the request's headers or trailers are larger than {MAX_HEADER_BYTES:,} bytes")
