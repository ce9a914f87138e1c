"""Whom a DynamoDB endpoint has to be vouched for by: Amazon's own roots.

Loading the system's whole bundle costs more than all else a Lambda function does before its first answer. An endpoint
that does not chain to these (one of a proxy, one of another vendor) is tried again with the system's:
`HttpTransport(…, tls=[amazon_tls, system_tls])`.

`ssl` itself costs a cold start five times what it does here: it makes enumerations of all that OpenSSL knows. Its C
module does the work, verification included, and is the same from Python 3.11 to 3.13; where it has changed, `ssl` it
is.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sltt_core.http_client.sockets import Tls

ROOTS = os.path.join(os.path.dirname(__file__), "amazon_roots.pem")
"""The roots published at https://www.amazontrust.com/repository/, with their fingerprints."""

_PROTOCOL_TLS_CLIENT = 16  # verifies certificate and host name; of `ssl`, as are the next two
_CERT_REQUIRED = 2
_TLS_1_2 = 0x0303


def amazon_tls() -> Tls:
    """Trust the roots of Amazon Trust Services and no other; host and certificate are verified."""
    return trusting(ROOTS)


def trusting(roots: str) -> Tls:
    """Trust the roots in a PEM file and no other; host and certificate are verified."""
    context: Any
    try:
        from _ssl import _SSLContext

        context = _SSLContext(_PROTOCOL_TLS_CLIENT)
        minimal = context.verify_mode == _CERT_REQUIRED and context.check_hostname and hasattr(context, "_wrap_socket")
    except (ImportError, AttributeError, TypeError, ValueError):
        minimal = False
    if not minimal:
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _TLS_1_2
    context.load_verify_locations(roots)
    tls: Tls = MinimalTls(context) if minimal else context
    return tls


class MinimalTls:
    """What the transport uses of an `ssl.SSLContext`."""

    __slots__ = ("check_hostname", "context")

    def __init__(self, context: Any) -> None:
        self.context = context
        self.check_hostname = context.check_hostname

    def wrap_socket(self, connection: Any, *, server_hostname: bytes, **_: bool) -> MinimalSocket:
        """Put TLS on a connection, whose handshake is still to be made; an end without a farewell is an error."""
        return MinimalSocket(connection, self.context._wrap_socket(connection, False, server_hostname.decode("ascii")))


class MinimalSocket:
    """What the transport uses of an `ssl.SSLSocket`."""

    __slots__ = ("_connection", "close", "do_handshake", "fileno", "recv", "send", "settimeout")

    def __init__(self, connection: Any, secured: Any) -> None:
        self._connection = connection  # the C object holds it by a weak reference
        self.settimeout = connection.settimeout
        self.fileno = connection.fileno
        self.close = connection.close
        self.do_handshake = secured.do_handshake
        self.recv = secured.read
        self.send = secured.write
