"""TLS for DynamoDB's endpoints: it trusts Amazon's own root certificates.

Loading the system's whole bundle is the most expensive step before a Lambda function's first response. An endpoint
whose certificate does not chain to Amazon's roots (a proxy's, another vendor's) is tried again with the system's:
`HttpTransport(…, tls=[amazon_tls, system_tls])`.

Importing `ssl` costs a cold start five times as much as what this module imports, because `ssl` builds enumerations of
all of OpenSSL's constants. Its C module does the work, including verification, and is the same from Python 3.11 to
3.13. For a Python whose C module differs, this module uses `ssl`.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sltt_core.http_client.sockets import Tls

ROOTS = os.path.join(os.path.dirname(__file__), "amazon_roots.pem")
"""The file with the roots published at https://www.amazontrust.com/repository/, with their fingerprints."""

_PROTOCOL_TLS_CLIENT = 16  # verifies certificate and host name; this and the next two are constants of `ssl`
_CERT_REQUIRED = 2
_TLS_1_2 = 0x0303


def amazon_tls() -> Tls:
    """Return a TLS context that trusts only the roots of Amazon Trust Services; host and certificate are verified."""
    return tls_with_roots(ROOTS)


def tls_with_roots(roots: str) -> Tls:
    """Return a TLS context that trusts only the roots in a PEM file; host and certificate are verified.

    Raises `OSError` for a file that cannot be read or holds no certificate.
    """
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
    """The part of `ssl.SSLContext` that the transport uses."""

    __slots__ = ("check_hostname", "context")

    def __init__(self, context: Any) -> None:
        self.context = context
        self.check_hostname = context.check_hostname

    def wrap_socket(self, connection: Any, *, server_hostname: bytes, **_: bool) -> MinimalSocket:
        """Return the connection with TLS, before its handshake. An end without a TLS close is an error."""
        return MinimalSocket(connection, self.context._wrap_socket(connection, False, server_hostname.decode("ascii")))


class MinimalSocket:
    """The part of `ssl.SSLSocket` that the transport uses."""

    __slots__ = ("__weakref__", "_connection", "close", "do_handshake", "fileno", "recv", "send", "settimeout")

    def __init__(self, connection: Any, secured: Any) -> None:
        self._connection = connection  # the C object keeps only a weak reference to it
        self.settimeout = connection.settimeout
        self.fileno = connection.fileno
        self.close = connection.close
        self.do_handshake = secured.do_handshake
        self.recv = secured.read
        self.send = secured.write
