"""A TCP proxy that delays what passes, and counts it. `Proxy` runs it in its own process.

Run as ``python delaying_proxy.py HOST PORT SECONDS``: prints its port, then its counts for each line of input.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from asyncio import Transport

REQUEST = re.compile(rb"(?:GET|POST|PUT|DELETE) /\S* HTTP/1\.1\r\n")


class Counts(NamedTuple):
    """What passed since the last count."""

    requests: int
    posts: int
    up: int
    """Bytes to the server, with headers."""
    down: int


class Proxy:
    """``with Proxy(address, seconds) as proxy``: `seconds` is the delay of each direction, half a round trip."""

    def __init__(self, address: tuple[str, int], seconds: float) -> None:
        self._command = [sys.executable, __file__, address[0], str(address[1]), str(seconds)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def counts(self) -> Counts:
        """Return what passed since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Counts(*json.loads(self._process.stdout.readline()))


class _Totals:
    def __init__(self) -> None:
        self.take()

    def take(self) -> list[int]:
        found = list(vars(self).values())
        self.requests = self.posts = self.up = self.down = 0
        return found


class _End(asyncio.Protocol):
    """One end of a connection: what it receives goes to the other end after a delay, in order."""

    def __init__(self, totals: _Totals, seconds: float, *, upward: bool) -> None:
        self.totals, self.seconds, self.upward = totals, seconds, upward
        self.transport: Transport | None = None
        self.other: _End | None = None
        self._early: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        while self._early:
            self.write(self._early.popleft())

    def data_received(self, data: bytes) -> None:
        if self.upward:
            self.totals.up += len(data)
            for line in REQUEST.findall(data):
                self.totals.requests += 1
                self.totals.posts += line.startswith(b"POST")
        else:
            self.totals.down += len(data)
        other = self.other
        assert other is not None
        if self.seconds:
            asyncio.get_running_loop().call_later(self.seconds, other.write, data)
        else:
            other.write(data)

    def write(self, data: bytes) -> None:
        if self.transport is None:
            self._early.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_later(self.seconds, self.other.close)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


async def _main(host: str, port: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    totals = _Totals()
    kept = set()

    def accept() -> _End:
        client, server = _End(totals, seconds, upward=True), _End(totals, seconds, upward=False)
        client.other, server.other = server, client
        task = loop.create_task(loop.create_connection(lambda: server, host, port))
        kept.add(task)
        task.add_done_callback(kept.discard)
        return client

    listener = await loop.create_server(accept, "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(totals.take()), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
