"""uvicorn's HTTP/1.1 protocol with bounds: on the head's size, on how long it takes, and with our errors' shape."""

from __future__ import annotations

from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import Transport
    from asyncio.events import TimerHandle
    from collections.abc import Callable

    from sltt_core.api.http import Response
    from sltt_core.errors import SlttError

MAX_HEAD_BYTES = 32_768
"""Bytes of a request's first line and headers."""
HEAD_SECONDS = 10.0
"""How long a client may take to send them."""


def bounded_protocol(
    problem: Callable[[SlttError], Response], head_seconds: float = HEAD_SECONDS
) -> type[HttpToolsProtocol]:
    """Make the protocol class for a server whose errors `problem` describes."""
    from sltt_core.errors import HeadTooLarge, InvalidInput, RequestTimeout

    class BoundedProtocol(HttpToolsProtocol):
        _head_bytes = 0
        _in_head = True
        _head_timer: TimerHandle | None = None

        def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_head()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_timer is None:
                    self._await_head()
            super().data_received(data)
            # A head that is complete has reset the count; what came behind it is body.
            if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(HeadTooLarge(f"the request's head is larger than {MAX_HEAD_BYTES:,} bytes"))

        def on_headers_complete(self) -> None:
            self._end_head()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._in_head = True
            self._head_bytes = 0

        def send_400_response(self, msg: str) -> None:
            self._refuse(InvalidInput("this is not an HTTP request", field="request"))

        def _await_head(self) -> None:
            self._in_head = True
            self._head_timer = self.loop.call_later(head_seconds, self._head_took_too_long)

        def _end_head(self) -> None:
            self._in_head = False
            self._head_bytes = 0
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _head_took_too_long(self) -> None:
            self._head_timer = None
            if not self.transport.is_closing():
                if self._head_bytes:
                    self._refuse(RequestTimeout(f"the request's head took longer than {head_seconds:g} seconds"))
                else:
                    self.transport.close()

        def _refuse(self, error: SlttError) -> None:
            answer = problem(error)
            lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
            lines += [f"{name}: {value}" for name, value in answer.headers]
            lines += [f"content-length: {len(answer.body)}", "connection: close", "", ""]
            self.transport.write("\r\n".join(lines).encode("latin-1") + answer.body)
            self.transport.close()

    return BoundedProtocol
