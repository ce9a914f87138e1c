"""Connections through the HTTP proxy that HTTPS_PROXY or HTTP_PROXY names, with the method CONNECT (RFC 9110, 9.3.6).

The proxy sees the host, the port and the amount of data. Over https it cannot read requests: TLS begins behind it.
"""

from __future__ import annotations

from time import monotonic

from sltt_core.base.errors import InvalidInput
from sltt_core.base.record import Record
from sltt_core.http_client.transport import open_connection, parse_origin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sltt_core.http_client.sockets import TcpSocket
    from sltt_core.http_client.transport import Connect, Origin

_MAX_RESPONSE = 65_536


class Proxy(Record):
    """An HTTP proxy."""

    name: str
    """The variable that names it."""
    origin: Origin
    authorization: str
    """The value of the header `Proxy-Authorization`; may be empty. Secret."""

    def __repr__(self) -> str:
        """Leave out the password."""
        return f"Proxy({self.name!r}, {self.origin!r})"


def proxy_of(origin: Origin, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for an origin; `None` for a direct connection. Raises `InvalidInput`.

    As in most programs, the name in lower case has precedence. A loopback address is always reached directly.
    """
    if origin.host in ("localhost", "::1") or origin.host.startswith("127."):
        return None
    for name in (f"{origin.scheme}_proxy", f"{origin.scheme}_proxy".upper()):
        url = _variable(environ, name)
        if url:
            excluded = _variable(environ, "no_proxy") or _variable(environ, "NO_PROXY")
            return None if _is_excluded(origin, excluded) else _parse(name, url)
    return None


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name, "").strip()


def _is_excluded(origin: Origin, excluded: str) -> bool:
    """Return whether NO_PROXY lists an origin: `*`, a host, or a domain with all hosts in it; perhaps with a port."""
    names = (origin.host, f"{origin.host}:{origin.port}", f"[{origin.host}]", f"[{origin.host}]:{origin.port}")
    for entry in excluded.lower().replace(",", " ").split():
        domain = entry.removeprefix("*").lstrip(".")
        if entry == "*" or any(name == domain or (domain and name.endswith(f".{domain}")) for name in names):
            return True
    return False


def _parse(name: str, url: str) -> Proxy:
    scheme, found, rest = url.partition("://")
    if not found:
        scheme, rest = "http", url
    user, at, place = rest.rstrip("/").rpartition("@")
    problem = ""
    if scheme.lower() != "http":
        problem = f"a proxy with the scheme {scheme!r} is not supported"
    try:
        origin = parse_origin(f"http://{place}")
    except ValueError:  # its message may contain the password
        problem = problem or "it is not a URL"
    if problem:
        raise InvalidInput(f"{name} is not valid: {problem}", field=name, hint="An example is http://10.0.0.7:3128.")
    authorization = ""
    if at:
        from binascii import b2a_base64
        from urllib.parse import unquote_to_bytes

        authorization = "Basic " + b2a_base64(unquote_to_bytes(user), newline=False).decode("ascii")
    return Proxy(name, origin, authorization)


def connect_through(proxy: Proxy, origin: Origin) -> Connect:
    """Return a function that opens a connection to `origin` through the proxy (see `HttpTransport`).

    It raises `OSError` for a proxy that cannot be reached or refuses.
    """
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    authority = f"{host}:{origin.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
    lines += [f"proxy-authorization: {proxy.authorization}"] if proxy.authorization else []
    request = "\r\n".join([*lines, "", ""]).encode("ascii")
    address = proxy.origin.host.encode("ascii"), proxy.origin.port

    def connect(_: tuple[bytes, int], seconds: float) -> TcpSocket:
        until = monotonic() + seconds
        try:
            connection = open_connection(address, seconds)
        except OSError as error:
            raise OSError(f"the proxy of {proxy.name} cannot be reached: {error}") from None
        try:
            connection.settimeout(max(0.001, until - monotonic()))
            connection.sendall(request)
            response = b""
            while b"\r\n\r\n" not in response and len(response) < _MAX_RESPONSE:
                connection.settimeout(max(0.001, until - monotonic()))
                # One byte at a time would be slow; more than the headers cannot come before the client speaks.
                piece = connection.recv(4_096)
                if not piece:
                    raise OSError(f"the proxy of {proxy.name} closed the connection")
                response += piece
            status = response[9:12].decode("latin-1")
            if not response.startswith(b"HTTP/1.") or not response.endswith(b"\r\n\r\n") or status[:1] != "2":
                shown = f"status {status}" if status.isdecimal() else "something that is not HTTP"
                raise OSError(f"the proxy of {proxy.name} responded with {shown}")
        except BaseException:
            connection.close()
            raise
        return connection

    return connect
