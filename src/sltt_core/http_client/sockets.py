"""The sockets of `transport`: TCP connections, the types of their TLS, and the system's TLS context.

`_socket` and `_ssl` are the C modules that `socket` and `ssl` wrap. The wrappers add enumerations, selectors and files.
These are not needed here, and creating the enumerations takes longer in a cold start than importing all of our code.
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
        """The methods that are used of a socket, with or without TLS."""

        def settimeout(self, seconds: float, /) -> None: ...
        def recv(self, size: int, /) -> bytes: ...
        def send(self, data: bytes | memoryview, /) -> int: ...
        def close(self) -> None: ...
        def fileno(self) -> int: ...

    class Secured(Connection, Protocol):
        """The methods that are used of a socket with TLS."""

        def do_handshake(self) -> None: ...

    class Tls(Protocol):
        """The attributes that are used of a TLS context, for example of an `ssl.SSLContext`."""

        @property
        def check_hostname(self) -> bool: ...

        @property
        def wrap_socket(self) -> Callable[..., Secured]: ...


class Socket(_socket.socket):
    """A socket that `_ssl` can wrap: it needs weak references to it, which `_socket.socket` does not allow."""

    __slots__ = ("__weakref__",)


def open_connection(address: tuple[bytes, int], seconds: float) -> _socket.socket:
    """Open a TCP connection to the first of a host's addresses that accepts it; raises `OSError` of the last.

    `address` is host and port; a host as bytes saves `getaddrinfo` the import of the idna codec. `seconds` bounds all
    attempts together. An attempt takes at most half of the time that is left while there is another address. The time
    of the name lookup counts, but cannot be bounded.
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
    """Return a TLS context that trusts the certificates that this machine trusts."""
    import ssl

    context: Any = ssl.create_default_context()
    tls: Tls = context
    return tls
