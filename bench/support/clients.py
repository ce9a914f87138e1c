"""A process of clients that does as little as possible, because its work takes processor time from the server.

Run as `clients.py HOST PORT`; it reads orders from stdin and writes responses to stdout, a line of JSON each.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from itertools import count
from typing import Any

KEY = b"@" * 16


class Client:
    """A kept connection. Sending may block; reading is called only when bytes are available."""

    __slots__ = ("begun", "received", "socket")

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.begun = 0.0

    def send(self, request: bytes) -> None:
        self.begun = time.perf_counter()
        self.socket.sendall(request)

    def read(self) -> bool:
        """Read the available bytes; return whether the response is complete."""
        part = self.socket.recv(1 << 20)
        if not part:
            raise ConnectionError("the server closed the connection")
        self.received = self.received + part if self.received else part
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return False
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(self.received[:500].decode("latin-1"))
        self.received = b""
        return True


class Clients:
    """Connections to one server, and the orders on them."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._all: list[Client] = []
        self._waiting: list[Client] = []
        self._numbers = count(time.time_ns())

    def connect(self, clients: int, request: str) -> int:
        """Open connections; each sends a request, which warms up and is not measured."""
        for client in self._connected(clients):
            client.send(self._numbered(request.encode()))
            while not client.read():
                pass
        return clients

    def load(self, request: str, seconds: float) -> dict[str, Any]:
        """Let each client send a request as soon as it has the response to the one before."""
        wanted = request.encode()
        taken: list[float] = []
        with selectors.DefaultSelector() as selector:
            for client in self._all:
                selector.register(client.socket, selectors.EVENT_READ, client)
            begin = now = time.perf_counter()
            end = begin + seconds
            for client in self._all:
                client.send(self._numbered(wanted))
            busy = len(self._all)
            while busy:
                for key, _ in selector.select():
                    client = key.data
                    if client.read():
                        now = time.perf_counter()
                        taken.append((now - client.begun) * 1000)
                        if now < end:
                            client.send(self._numbered(wanted))
                        else:
                            busy -= 1
        return {"rate": len(taken) / (now - begin), "taken": [round(value, 4) for value in taken]}

    def _numbered(self, request: bytes) -> bytes:
        return request.replace(KEY, b"%016x" % next(self._numbers), 1)

    def wait(self, requests: list[str]) -> int:
        """Send each request on its own connection, without reading the responses."""
        self._waiting = self._connected(len(requests))
        for client, request in zip(self._waiting, requests, strict=True):
            client.send(request.encode())
        return len(requests)

    def collect(self) -> list[float]:
        """Read the responses to the requests of `wait`, and return their times."""
        times: list[float] = []
        with selectors.DefaultSelector() as selector:
            for client in self._waiting:
                selector.register(client.socket, selectors.EVENT_READ, client)
            say(True)
            while len(times) < len(self._waiting):
                for key, _ in selector.select():
                    if key.data.read():
                        times.append(time.monotonic())
                        selector.unregister(key.fileobj)
        return times

    def _connected(self, number: int) -> list[Client]:
        while len(self._all) < number:
            self._all.append(Client(self._address))
        return self._all[:number]


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


def main() -> None:
    clients = Clients((sys.argv[1], int(sys.argv[2])))
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        try:
            say(getattr(clients, order.pop("do"))(**order))
        except OSError as error:
            say({"error": str(error)})


if __name__ == "__main__":
    main()
