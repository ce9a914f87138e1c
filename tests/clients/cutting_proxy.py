"""A TCP proxy that cuts connections: before a request, after it and before its response, or within the response."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

BUFFER = 65_536
KINDS = ("request", "response", "middle")


class CuttingProxy:
    """``with CuttingProxy(url, seed) as proxy``: `cuts` counts what was cut, by kind."""

    def __init__(self, server: str, seed: int, part: float = 0.3) -> None:
        """`part` of all requests is cut."""
        target = urlsplit(server)
        self._target = (target.hostname, target.port)
        self._random = Random(seed)
        self._part = part
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.requests = 0
        self.cuts = dict.fromkeys(KINDS, 0)

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve a connection, request after request. The clients of the tests send each in one piece, or in two."""
        upstream: StreamWriter | None = None
        try:
            responses, upstream = await asyncio.open_connection(*self._target)
            fate: list[str] = []
            back = asyncio.ensure_future(self._responses(responses, writer, fate))
            while data := await reader.read(BUFFER):
                if data.startswith((b"GET ", b"POST ")):
                    self.requests += 1
                    if self._random.random() < self._part:
                        kind = self._random.choice(KINDS)
                        self.cuts[kind] += 1
                        if kind == "request":
                            break
                        fate.append(kind)
                upstream.write(data)
                await upstream.drain()
            back.cancel()
        except (OSError, asyncio.CancelledError):
            pass  # cut by the other end, or the proxy ends
        finally:
            for one in (writer, upstream):
                if one is not None:
                    one.transport.abort()

    async def _responses(self, responses: StreamReader, writer: StreamWriter, fate: list[str]) -> None:
        with suppress(OSError):
            while data := await responses.read(BUFFER):
                if fate:
                    if fate[0] == "middle":
                        writer.write(data[: len(data) // 2])
                        await writer.drain()
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
