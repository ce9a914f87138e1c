"""Sockets for `transport`: connections over TCP, what TLS puts on them, and whom it trusts.

`_socket` and `_ssl` are the C modules under `socket` and `ssl`. What those two add (enumerations, selectors, files) is
not needed here, and making their enumerations alone costs a cold start more than all of our own code.
"""

from __future__ import annotations

import _socket
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    TcpSocket = _socket.socket

    class Connection(Protocol):
        """What is used of a socket, with TLS or without."""

        def settimeout(self, seconds: float, /) -> None: ...
        def recv(self, size: int, /) -> bytes: ...
        def send(self, data: bytes | memoryview, /) -> int: ...
        def close(self) -> None: ...
        def fileno(self) -> int: ...

    class Secured(Connection, Protocol):
        """... and of one with TLS."""

        def do_handshake(self) -> None: ...

    class Tls(Protocol):
        """What is used of a TLS context: of an `ssl.SSLContext`, for one."""

        @property
        def check_hostname(self) -> bool: ...

        @property
        def wrap_socket(self) -> Callable[..., Secured]: ...


class Socket(_socket.socket):
    """A socket that TLS can be put on: `_ssl` refers to it weakly, as `_socket` does not allow."""

    __slots__ = ("__weakref__",)


def open_connection(address: tuple[bytes, int], seconds: float) -> _socket.socket:
    """Open a TCP connection to the first of a host's addresses that takes it.

    All of them together have `seconds`, each at most half of what is left while there is another. Only the time to look
    up the name cannot be bounded. The host as bytes spares `getaddrinfo` the import of the idna codec.
    """
    until = monotonic() + seconds
    places = _socket.getaddrinfo(*address, type=_socket.SOCK_STREAM)
    failure = TimeoutError("timed out")
    while places and (left := until - monotonic()) > 0:
        family, kind, protocol, _, place = places.pop(0)
        try:
            return _connect(Socket(family, kind, protocol), place, left / 2 if places else left)
        except OSError as error:
            failure = error  # type: ignore[assignment]
    raise failure


def _connect(connection: _socket.socket, place: Any, seconds: float) -> _socket.socket:
    try:
        connection.settimeout(seconds)
        connection.connect(place)
        connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


def system_tls() -> Tls:
    """Trust what this machine trusts."""
    import ssl

    context: Any = ssl.create_default_context()
    tls: Tls = context
    return tls
