"""uvicorn's HTTP/1.1 protocol with limits on sizes, times and numbers, and with our problem documents as errors."""

from __future__ import annotations

from collections import deque
from http import HTTPStatus
from time import monotonic

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sltt_core.api.http import MAX_BODY_BYTES
from sltt_core.base.errors import InvalidInput, PayloadTooLarge, RequestTimeout, ServerBusy
from sltt_core.server.framing import MAX_HEADER_BYTES, fault_of_head, head_of_body, headers_too_large
from sltt_core.server.load import STALLED_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Transport
    from asyncio.events import TimerHandle
    from collections.abc import Callable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from sltt_core.api.http import Response
    from sltt_core.base.errors import SlttError
    from sltt_core.server.load import Load

HEADER_SECONDS = 10.0
"""Maximum time for a client to send a request's first line and headers."""
UNREAD_SECONDS = 30.0
"""Maximum time for a client to read nothing of what was written to it."""
LINGER_SECONDS = 30.0
"""How long a connection stays open after the response to a request that was not read to its end."""
DROPPED_BYTES = 4 * MAX_BODY_BYTES
"""Bytes of such a request that are read and dropped in that time."""
EXTENSION = "sltt.connection"
"""The ASGI extension that holds the protocol of the connection."""


class BoundedProtocol(HttpToolsProtocol):
    """The protocol of one connection; `bounded_protocol` returns the subclass for a server."""

    problem: Callable[[SlttError], Response]
    """Returns the response for an error."""
    note: Callable[[Response], None]
    """Logs the response to bytes that are not a valid request."""
    load: Load
    header_seconds: float
    unread_seconds: float

    idle_since: float | None = None
    stalled_since: float | None = None
    half_closed = False
    """Whether the client has ended its side of the connection; it may still read."""

    _loose_bytes = 0  # received since the headers began or since the last body byte: headers, chunk sizes, trailers
    _dropped_bytes = 0
    _in_headers = True
    _body_follows = False
    _refused = False
    _ended = False
    _header_timer: TimerHandle | None = None
    _unread_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Every byte in the buffer counts as unread, so that the client's time begins with it.
        transport.set_write_buffer_limits(high=0)
        self._open_cycles: deque[RequestResponseCycle] = deque()
        if self.load.admit(self):
            self._await_headers()
        else:
            maximum = f"all {self.load.max_connections:,} connections of the server are in use"
            self._write(self.problem(ServerBusy(f"{maximum}; nothing was written")))
            self.end(linger=True)
            self.load.keep_refused(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.forget(self)
        self.idle_since = None
        self._end_headers()
        self._all_read()
        self._disconnect()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return bool(self.transport.is_closing())

    def data_received(self, data: bytes) -> None:
        if self._refused or self._ended:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > DROPPED_BYTES:
                self.transport.abort()
            return
        self.idle_since = None
        self._loose_bytes += len(data)
        if self._in_headers and self._header_timer is None:
            self._await_headers()
        self._unset_keepalive_if_required()
        self._parse(data)
        # Complete headers and pieces of a body have reset the count, even when other bytes followed.
        if self._loose_bytes > MAX_HEADER_BYTES:
            self._refuse(headers_too_large())

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Send the responses to complete requests also when the client has ended its side."""
        pending = [cycle for cycle in self._open_cycles if not cycle.response_complete]
        if pending and pending[-1].more_body:
            truncated = pending.pop()
            truncated.disconnected = True
            truncated.message_event.set()
            if self.pipeline:
                self.pipeline.popleft()
        if self._ended or not pending:
            return None
        self.half_closed = True
        self._end_headers()
        for cycle in pending:
            cycle.message_event.set()  # ends the waiting for a change
        pending[-1].keep_alive = False
        return True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # a trailer is not a header (RFC 9110, section 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._body_follows:  # the head is the one of `_parse`
            self._body_follows = False
            return
        self._end_headers()
        error = fault_of_head(self.parser.get_http_version(), self.url, self.headers)
        if error is not None:
            self._refuse(error)
            raise error  # stops the parser
        self.scope["extensions"] = {EXTENSION: self}  # type: ignore[dict-item]
        super().on_headers_complete()
        self.cycle.transport = _CycleTransport(self, self.cycle)  # type: ignore[assignment]
        while self._open_cycles and self._open_cycles[0].response_complete:
            self._open_cycles.popleft()
        self._open_cycles.append(self.cycle)
        self._body_follows = bool(self.parser.should_upgrade() and head_of_body(self.headers))

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._body_follows:
            super().on_message_complete()
            self._in_headers = True
            self._loose_bytes = 0

    def on_response_complete(self) -> None:
        if not self._ended:
            super().on_response_complete()
        if self.timeout_keep_alive_task is not None:
            self.idle_since = monotonic()  # the time of a uvloop has milliseconds only

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidInput("the request is not valid HTTP", field="request"))

    def pause_writing(self) -> None:
        super().pause_writing()
        self.stalled_since = monotonic()
        self._unread_timer = self.loop.call_later(self.unread_seconds, self.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._all_read()

    def shutdown(self) -> None:
        if self.stalled_since is not None and monotonic() - self.stalled_since >= STALLED_SECONDS:
            self.abort()
        elif self._ended:
            self.transport.close()
        else:
            super().shutdown()

    def end(self, *, linger: bool = False) -> None:
        """Close the connection after what was written.

        `linger` drops what the client still sends for a while. Otherwise the system resets the connection when more
        arrives, and the client may lose the response (RFC 9112, section 9.6).
        """
        if self._ended or self.transport.is_closing():
            return
        self._ended = True
        self.idle_since = None
        self._end_headers()
        if linger and not self.half_closed:
            self.flow.resume_reading()
            self.transport.write_eof()
            self._header_timer = self.loop.call_later(LINGER_SECONDS, self.abort)
        else:
            self.transport.close()

    def close(self) -> None:
        """Close the connection after what was written, also when it lingers."""
        self.transport.close()

    def abort(self) -> None:
        """Close the connection at once, and drop what was written."""
        self._disconnect()
        self.transport.abort()

    def _parse(self, data: bytes) -> None:
        """Give data to the parser. An offer to upgrade is ignored (RFC 9110, section 7.8).

        The parser takes the bytes after such a request for those of the other protocol. If they are a body, another
        parser reads them, after a head of its own.
        """
        try:
            self.parser.feed_data(data)
        except HttpParserError as error:
            if "Content-Length overflow" in str(error):
                self._refuse(PayloadTooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes"))
            else:
                self.send_400_response("")
        except HttpParserUpgrade as offer:
            rest = data[offer.args[0] :]
            if self._body_follows:
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                rest = b"POST / HTTP/1.1\r\n" + head_of_body(self._open_cycles[-1].scope["headers"]) + b"\r\n" + rest  # type: ignore[arg-type]
            if rest:
                self._parse(rest)

    def _disconnect(self) -> None:
        for cycle in self._open_cycles:  # uvicorn notifies only the last
            cycle.disconnected = True
            cycle.message_event.set()

    def _all_read(self) -> None:
        self.stalled_since = None
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

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
            self.end()

    def _refuse(self, error: SlttError) -> None:
        """Send the error and close the connection."""
        if self._refused or self._ended or self.transport.is_closing():
            return
        self._refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and (self.pipeline or not cycle.more_body):
            # The previous request has no response yet: the client would take this error for its response.
            cycle.keep_alive = False
            cycle.transport.refused = True  # type: ignore[attr-defined]
            return
        response = self.problem(error)
        self.note(response)
        self._disconnect()
        self._write(response)
        self.end(linger=True)

    def _write(self, response: Response) -> None:
        lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in response.headers]
        lines += [f"content-length: {len(response.content)}", "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode("latin-1") + response.content)


class _CycleTransport:
    """What a cycle of uvicorn uses of its transport; `close` lets the client read the response first."""

    refused = False
    """Whether bytes that follow the request were refused."""

    def __init__(self, protocol: BoundedProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def write(self, data: bytes) -> None:
        self._protocol.transport.write(data)

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def close(self) -> None:
        self._protocol.end(linger=self.refused or self._cycle.more_body)


def bounded_protocol(
    problem: Callable[[SlttError], Response],
    note: Callable[[Response], None],
    load: Load,
    *,
    header_seconds: float = HEADER_SECONDS,
    unread_seconds: float = UNREAD_SECONDS,
) -> type[HttpToolsProtocol]:
    """Return the protocol class for a server; see `BoundedProtocol`. Times are in seconds."""
    bounds = {
        "problem": staticmethod(problem),
        "note": staticmethod(note),
        "load": load,
        "header_seconds": header_seconds,
        "unread_seconds": unread_seconds,
    }
    return type("BoundedProtocol", (BoundedProtocol,), bounds)
