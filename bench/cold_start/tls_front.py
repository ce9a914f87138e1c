"""A TLS proxy for a plain server on this machine, with a certificate of a temporary authority."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

import trustme

from aws_backend.dynamodb.tls import ROOTS

if TYPE_CHECKING:
    from pathlib import Path


class TlsFront:
    """Listens on a port of `localhost`, and forwards the decrypted bytes to another port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._authority = trustme.CA()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert("localhost").configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def write_roots(self, path: Path, like: bytes | None = None) -> Path:
        """Write a file of roots with this authority: instead of one of Amazon's five, or after others."""
        own = self._authority.cert_pem.bytes()
        if like is None:
            with open(ROOTS, "rb") as file:
                first, second, rest = file.read().split(b"-----BEGIN CERTIFICATE-----", 2)
            path.write_bytes(own + b"\n-----BEGIN CERTIFICATE-----" + rest)
            assert first
            assert second
        else:
            path.write_bytes(like + b"\n" + own)
        return path

    def close(self) -> None:
        """Accept no more connections."""
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                Thread(target=self._connect, args=(connection,), daemon=True).start()

    def _connect(self, connection: socket.socket) -> None:
        with (
            suppress(OSError),  # the measured process may end at any moment
            socket.create_connection(("127.0.0.1", self._port)) as behind,
            self._context.wrap_socket(connection, server_side=True) as front,
        ):
            for end in (behind, front):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Thread(target=_copy, args=(behind, front), daemon=True).start()
            _copy(front, behind)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
