"""A TCP proxy whose network breaks at the worst moment: the server has a request, and its response is lost."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

BUFFER = 65_536
TIME_LIMIT = 20.0  # seconds


class Proxy:
    """``with Proxy(url) as proxy``: accepts connections on a port of its own until the end of the block."""

    def __init__(self, server: str) -> None:
        target = urlsplit(server)
        self._target = (target.hostname or "127.0.0.1", target.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._cut = threading.Event()
        self._broken = threading.Event()
        self.lost: bytes = b""
        """The first line of the response that was lost."""
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def break_after(self, method: str) -> None:
        """Lose the response to the next request with this method, and accept no connection until `repair`."""
        self._method = method.encode()
        self._cut.set()

    def repair(self) -> None:
        """Accept connections again."""
        self._broken.clear()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in [self._listener, *self._sockets]:
            _end(one)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._broken.is_set():
                    client.close()
                    continue
                server = socket.create_connection(self._target, TIME_LIMIT)
                self._sockets += [client, server]
                marked = threading.Event()
                threading.Thread(target=self._requests, args=(client, server, marked), daemon=True).start()
                threading.Thread(target=self._responses, args=(client, server, marked), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(BUFFER):
                if self._cut.is_set() and data.startswith(self._method):
                    self._cut.clear()
                    marked.set()
                server.sendall(data)
        _end(server)

    def _responses(self, client: socket.socket, server: socket.socket, marked: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(BUFFER):
                if marked.is_set():
                    self.lost = data.partition(b"\r\n")[0]
                    self._broken.set()
                    break
                client.sendall(data)
        _end(client)
        _end(server)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
