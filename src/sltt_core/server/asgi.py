"""The ASGI adapter (https://asgi.readthedocs.io): reads a body within bounds, lets a thread handle the request."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from sltt_core.api.http import MAX_BODY_BYTES, Request
from sltt_core.errors import HostNotAllowed, PayloadTooLarge
from sltt_core.server.hosts import host_of, is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from sltt_core.api.app import Api
    from sltt_core.api.http import Response

    Receive = Callable[[], Awaitable[dict[str, Any]]]
    Send = Callable[[dict[str, Any]], Awaitable[None]]

WORKERS = 32
"""Threads that handle requests; as many writes may share a commit."""
DRAINED_BYTES = 4 * MAX_BODY_BYTES
"""Of a body that is too large, so much is read and dropped, so that the client gets to read the answer."""


class ClientGone(Exception):
    """The client hung up before its request was whole."""


class AsgiApp:
    """An ASGI application around an `Api`."""

    def __init__(self, api: Api, *, loopback_only: bool, workers: int = WORKERS) -> None:
        """`loopback_only` refuses requests whose `Host` is not a name of this machine."""
        self._api = api
        self._loopback_only = loopback_only
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="sltt-request")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the server's own beginning and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                answer = await self._answer(scope, receive)
            except ClientGone:
                return
            await _send(answer, send, with_body=scope["method"] != "HEAD")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                self._threads.shutdown()
                return

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> Response:
        headers = _headers(scope)
        if self._loopback_only and not is_loopback(host_of(headers.get("host", ""))):
            return self._api.problem(HostNotAllowed("this server answers only for the machine it runs on"))
        body = await _read_body(receive)
        if body is None:
            return self._api.problem(PayloadTooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes"))
        request = Request(
            scope["method"],
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            headers,
            body,
        )
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._api.handle, request)


def _headers(scope: dict[str, Any]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        name, value = name.decode("latin-1"), value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


async def _read_body(receive: Receive) -> bytes | None:
    """Read a whole body; `None` when it is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY_BYTES:
            parts.append(part)
        else:
            parts.clear()
        if not message.get("more_body", False):
            return b"".join(parts) if size <= MAX_BODY_BYTES else None
        if size > DRAINED_BYTES:
            return None


async def _send(answer: Response, send: Send, *, with_body: bool) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body if with_body else b""})
