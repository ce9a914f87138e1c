"""Sends a response over ASGI: as a whole, or chunk by chunk while its stream yields and its client reads."""

from __future__ import annotations

import asyncio
from threading import Lock

from sltt_core.server.load import SLICE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from concurrent.futures import Executor
    from typing import Any

    from sltt_core.api.http import Response
    from sltt_core.server.protocol import BoundedProtocol

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]


class Sending:
    """The sending of one response to one client."""

    size = 0
    """Bytes of the body that were sent until now."""

    def __init__(
        self,
        response: Response,
        receive: Receive,
        send: Send,
        threads: Executor,
        *,
        connection: BoundedProtocol | None = None,
        keep_alive: float | None = None,
    ) -> None:
        """`threads` run the iterator of a streamed body.

        `keep_alive` is how long the connection is kept for a further request, in seconds, or `None` if it is not.
        """
        self._response = response
        self._receive = receive
        self._send = send
        self._threads = threads
        self._connection = connection
        self._keep_alive = keep_alive

    async def run(self, *, with_body: bool) -> None:
        """Send the response; `with_body` is false for a `HEAD` request.

        Returns also when the client closes the connection. Raises the errors of a stream: uvicorn logs them and closes
        the connection without the last chunk, so that the client does not take the body for complete.
        """
        body = self._response.body
        if isinstance(body, bytes):
            await self._start(len(body))
            if with_body:
                await self._send_slices(body)
            await self._send({"type": "http.response.body", "body": b""})
        else:
            stream = _Stream(body)
            try:
                await self._start(None)
                if with_body:
                    await self._run_stream(stream)
                else:
                    await self._send({"type": "http.response.body", "body": b""})
            finally:
                # On a thread: `close` waits for a chunk in progress. Not awaited: this task may be cancelled.
                self._threads.submit(stream.close)

    async def _start(self, length: int | None) -> None:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self._response.headers]
        if length is not None and self._response.status not in (204, 304):
            headers.append((b"content-length", str(length).encode()))
        if self._keep_alive is not None:
            headers.append((b"keep-alive", b"timeout=%d" % self._keep_alive))
        await self._send({"type": "http.response.start", "status": self._response.status, "headers": headers})

    async def _send_slices(self, body: bytes) -> None:
        """Send bytes slice by slice. The server writes a slice when the client has taken those before it."""
        for start in range(0, len(body), SLICE_BYTES):
            if self._connection is not None and self._connection.is_closed:
                return
            part = body[start : start + SLICE_BYTES]
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
            self.size += len(part)

    async def _run_stream(self, stream: _Stream) -> None:
        loop = asyncio.get_running_loop()
        gone = asyncio.ensure_future(self._receive())  # the request was read, so that only its end can come
        half_closed = False
        try:
            while True:
                making = loop.run_in_executor(self._threads, stream.next)
                making.add_done_callback(_ignore)
                await asyncio.wait((making, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    if gone.result()["type"] == "http.disconnect":
                        return
                    # The client has ended its side, and may still read: it gets all that there is now.
                    half_closed = True
                    gone = asyncio.ensure_future(self._receive())
                    await asyncio.wait((making,))
                chunk = making.result()
                if chunk:
                    await self._send_slices(chunk)
                elif chunk is None or half_closed:
                    await self._send({"type": "http.response.body", "body": b""})
                    return
        finally:
            gone.cancel()


class _Stream:
    """An iterator whose `close` waits for the chunk in progress."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._lock = Lock()
        self._closed = False

    def next(self) -> bytes | None:
        """Return the next chunk, or `None` at the end."""
        with self._lock:
            return None if self._closed else next(self._chunks, None)

    def close(self) -> None:
        """Close the iterator, if it has a `close`."""
        with self._lock:
            self._closed = True
            close = getattr(self._chunks, "close", None)
            if close is not None:
                close()


def _ignore(making: asyncio.Future[bytes | None]) -> None:
    """Mark the error of a chunk as retrieved; otherwise asyncio logs it when the chunk is not awaited any more."""
    if not making.cancelled():
        making.exception()
