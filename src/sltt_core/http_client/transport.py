"""A minimal HTTP/1.1 client over sockets (RFC 9110, RFC 9112), for DynamoDB and for sync.

Importing `http.client`, with the e-mail parser inside it, takes longer than importing this project's whole Lambda path.
This module has the part of HTTP that an API needs: one request and one response (with a length, in chunks or up to the
end of the connection) on connections that are kept and shared by threads. It does not support `HEAD`, redirects,
cookies, compression and trailers. `proxies` opens connections through a proxy.

Errors are reported by their meaning for the request: `ConnectFailed`: it was not sent; `OutcomeUnknown`: it may have
been executed; `BadResponse`: the response is not valid HTTP.
"""

from __future__ import annotations

from _ssl import SSLCertVerificationError
from _weakref import ref
from time import monotonic

from sltt_core.base.forks import call_after_fork
from sltt_core.base.record import Record
from sltt_core.http_client.exchange import WOULD_BLOCK, ConnectionLost, Exchange
from sltt_core.http_client.responses import (
    BadResponse,
    ConnectFailed,
    HttpResponse,
    OutcomeUnknown,
    TransportError,
    read_response,
)
from sltt_core.http_client.sockets import open_connection, system_tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sltt_core.http_client.sockets import Connection, Secured, TcpSocket, Tls

    Connect = Callable[[tuple[bytes, int], float], TcpSocket]
    """Opens a TCP connection to host and port within so many seconds."""

__all__ = [
    "MAX_BODY_BYTES",
    "BadResponse",
    "ConnectFailed",
    "HttpResponse",
    "HttpTransport",
    "Origin",
    "OutcomeUnknown",
    "TransportError",
    "open_connection",
    "parse_origin",
    "system_tls",
]

MAX_BODY_BYTES = 20_000_000
"""Bytes of a response's body: DynamoDB's largest is 16 MB (AWS: BatchGetItem)."""

KEPT_SECONDS = 2.0
"""How long a repeatable request waits for the first byte of its response on a kept connection.

After a pause, the connection may be dead without a sign: a NAT gateway or a firewall forgot it, or the machine was
suspended, as a Lambda function is between two requests. DynamoDB responds in milliseconds. A server that takes longer
gets such a request twice.
"""

# OpenSSL's codes X509_V_ERR_* for a chain of certificates that does not end in a trusted one. Other trusted roots
# help only against these: a wrong name or date stays wrong.
_NO_ROOT = (2, 18, 19, 20, 21)


class Origin(Record):
    """Scheme, host and port of a server."""

    scheme: str
    """`https` or `http`."""
    host: str
    """A name or an address, in ASCII; an IPv6 address without brackets."""
    port: int

    @property
    def authority(self) -> str:
        """The value of a `Host` header: the port is left out when it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse_origin(url: str) -> Origin:
    """Parse a URL without a path, such as `https://dynamodb.eu-west-1.amazonaws.com`.

    An internationalized host name must be in its ASCII form (`xn--…`). Raises `ValueError` with the reason.
    """
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if not found or scheme not in ("http", "https"):
        raise ValueError(f"{url!r} does not begin with http:// or https://")
    rest = rest.removesuffix("/")
    if rest.startswith("["):
        host, closed, tail = rest[1:].partition("]")
        colon, digits = tail[:1], tail[1:]
        wrong = not closed or colon not in ("", ":") or ":" not in host or bool(host.strip(_NAME + ":%"))
    else:
        host, colon, digits = rest.partition(":")
        wrong = not host or host.startswith(".") or bool(host.strip(_NAME))
    if wrong or (colon and not (digits.isascii() and digits.isdigit() and len(digits) <= 5)):
        raise ValueError(f"{url!r} is not a valid origin: SCHEME://HOST or SCHEME://HOST:PORT")
    port = int(digits) if digits else {"http": 80, "https": 443}[scheme]
    if not 0 < port < 65_536:
        raise ValueError(f"the port of {url!r} is not valid: 1 to 65535")
    return Origin(scheme, host.lower(), port)


_NAME = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"


class HttpTransport:
    """Sends requests to one origin over kept connections; safe for use by several threads.

    The child of a fork opens connections of its own.

    `tls` lists functions that return a TLS context. When a server's certificate does not chain to a root that one
    context trusts, the next context is tried. Certificates and host names are always verified.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        connect_seconds: float = 3.0,
        read_seconds: float = 10.0,
        kept_seconds: float = KEPT_SECONDS,
        max_idle: int = 16,
        idle_seconds: float = 300.0,
        max_body: int = MAX_BODY_BYTES,
        tls: Iterable[Callable[[], Tls]] = (system_tls,),
        connect: Connect = open_connection,
        steady_clock: Callable[[], float] = monotonic,
    ) -> None:
        """Store the settings; connections are opened later.

        `connect_seconds` bounds the TCP and TLS handshakes of a connection together. `read_seconds` bounds the wait for
        each piece of a response, and for each piece of a request to be sent. `kept_seconds` bounds the wait for the
        first byte of the response to a repeatable request on a kept connection. `max_idle` is the number of connections
        that are kept. `idle_seconds` is how long they are kept: AWS's NAT gateways drop a connection after 350 s.
        `steady_clock` returns seconds and never runs backwards. Raises `ValueError` when `tls` is empty.
        """
        self.origin = origin
        self._host = origin.host.encode("ascii")  # bytes, so that `getaddrinfo` and `ssl` do not import the idna codec
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._kept_seconds = min(kept_seconds, read_seconds)
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._max_body = max_body
        self._tls = list(tls)
        if not self._tls:
            raise ValueError("tls is empty: at least one TLS context is needed")
        self._contexts: dict[int, Tls] = {}
        self._trust = 0  # the index of the first context that may trust the server
        self._connect = connect
        self._clock = steady_clock
        # Each with the time since when it is idle. The list needs no lock because append and pop are atomic.
        self._idle: list[tuple[Connection, float]] = []
        self._connections: set[ref[Connection]] = set()
        """All that exist, also those in use."""
        call_after_fork(self)

    def send(
        self, request: bytes, *, deadline: float, repeatable: bool = False, wait_seconds: float = 0.0
    ) -> HttpResponse:
        """Send a whole request, headers and body, and return its response.

        `deadline` is a time of the constructor's clock. A request is sent at most once, except that a `repeatable`
        request (executing it twice does no harm) is sent again on a new connection when a kept one turns out to be
        dead: closed, or silent for `kept_seconds` or half of the time left. Then all kept connections are closed. A
        request of which nothing was sent on the dead connection is sent on a new one in any case.

        `wait_seconds` is how long the server may wait before it responds, as the request asks it to, in addition to the
        usual time for the first byte of a response.

        Raises `ConnectFailed`, `OutcomeUnknown`, `BadResponse`, and `ValueError` for a `HEAD` request.
        """
        if request[:5] == b"HEAD ":
            raise ValueError("HEAD is not supported: its response has a length and no body")
        reason = ""  # why the first attempt may have been carried out; empty if it cannot have been
        connection = self._kept()
        if connection is not None:
            try:
                return self._exchange(connection, request, deadline, wait_seconds, impatient=repeatable)
            except ConnectionLost as dead:
                if dead.silent:
                    self._close_idle()  # what silenced this connection probably silenced the others
                if dead.sent:
                    reason = dead.reason
                    if not repeatable:
                        raise OutcomeUnknown(reason) from dead.__cause__
        try:
            return self._exchange(self._open(deadline), request, deadline, wait_seconds)
        except ConnectionLost as dead:
            if reason or dead.sent:
                raise OutcomeUnknown(dead.reason) from dead.__cause__
            raise ConnectFailed(f"{self.origin.host} closed the connection before the request was sent") from dead
        except ConnectFailed as error:
            if reason:
                raise OutcomeUnknown(f"{reason}, and then: {error.message}") from error
            raise

    def warm(self, deadline: float) -> None:
        """Open a connection before the first request; raises `ConnectFailed`."""
        self._keep(self._open(deadline))

    def close(self) -> None:
        """Close the idle connections; those in use are closed after their response.

        A request that is sent after this uses a connection of its own.
        """
        self._max_idle = 0
        self._close_idle()

    def _after_fork(self) -> None:
        """Close the child's copies of the parent's connections. TLS says nothing at that, so the parent's stay open."""
        for reference in list(self._connections):
            connection = reference()
            if connection is not None:
                connection.close()
        self._connections.clear()
        self._idle = []

    def _note(self, connection: Connection) -> None:
        self._connections.add(ref(connection, self._connections.discard))

    def _close_idle(self) -> None:
        try:
            while True:
                self._idle.pop()[0].close()
        except IndexError:
            pass

    def _open(self, deadline: float) -> Connection:
        """Open a connection that does not block, with TLS for `https`; raises `ConnectFailed`."""
        trust = self._trust
        while True:
            until = min(deadline, self._clock() + self._connect_seconds)
            connection: Connection
            connection = reached = self._reach(until)
            try:
                if self.origin.scheme == "https":
                    connection = self._secure(reached, trust, until)
                    self._trust = trust
                connection.settimeout(0)
            except SSLCertVerificationError as error:
                trust += 1
                if error.verify_code not in _NO_ROOT or trust >= len(self._tls):
                    raise ConnectFailed(f"{self.origin.host} is not trusted: {error.verify_message}") from None
            except OSError as error:
                raise ConnectFailed(f"no TLS with {self.origin.host}: {error}") from error
            else:
                return connection

    def _reach(self, until: float) -> TcpSocket:
        left = until - self._clock()
        if left <= 0:
            raise ConnectFailed(f"no time left to connect to {self.origin.host}")
        try:
            connection = self._connect((self._host, self.origin.port), left)
        except OSError as error:
            raise ConnectFailed(f"cannot reach {self.origin.host}, port {self.origin.port}: {error}") from error
        self._note(connection)
        return connection

    def _secure(self, connection: TcpSocket, trust: int, until: float) -> Secured:
        """Do the TLS handshake on a connection; close it when that fails."""
        secured = None
        try:
            context = self._contexts.get(trust) or self._tls[trust]()
            if not context.check_hostname:  # Python allows it only with a verified certificate
                raise ValueError("the TLS context does not verify the server's certificate and name")
            self._contexts[trust] = context
            left = until - self._clock()
            if left <= 0:
                raise TimeoutError("no time left")
            connection.settimeout(left)
            connection.getpeername()  # `wrap_socket` does not close one that was reset
            # An end without a TLS close_notify is an error, because an attacker on the network can cause one.
            secured = context.wrap_socket(
                connection, server_hostname=self._host, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
            self._note(secured)
            secured.do_handshake()
        except BaseException:
            (secured or connection).close()
            raise
        return secured

    def _new_exchange(self, connection: Connection, deadline: float, first_seconds: float) -> Exchange:
        return Exchange(connection, self._clock, deadline, self._read_seconds, first_seconds)

    def _kept(self) -> Connection | None:
        """Return an idle connection that looks alive and does not block, or `None`."""
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            alive = False
            try:
                if self._clock() - since <= self._idle_seconds:
                    connection.settimeout(0)
                    connection.recv(1)  # the end, or a response without a request: do not use it
            except WOULD_BLOCK:
                alive = True
                return connection
            except OSError:
                pass
            finally:
                if not alive:
                    connection.close()

    def _keep(self, connection: Connection) -> None:
        """Keep a connection as idle, and close the oldest that exceed the number or the time."""
        now, idle = self._clock(), self._idle
        idle.append((connection, now))
        try:
            while len(idle) > self._max_idle or now - idle[0][1] > self._idle_seconds:
                idle.pop(0)[0].close()
        except IndexError:  # other threads took them
            pass

    def _exchange(
        self, connection: Connection, request: bytes, deadline: float, wait_seconds: float, impatient: bool = False
    ) -> HttpResponse:
        """Send a request and read its response; keep or close the connection.

        `impatient` leaves time for another attempt if the connection is silent. Raises `ConnectionLost` when the
        connection ended, or was silent for too long, before the first byte of a response.
        """
        kept = False
        try:
            left = deadline - self._clock()
            if left <= 0:
                kept = True
                raise ConnectFailed(f"no time left to send the request to {self.origin.host}")
            first = (self._kept_seconds if impatient else self._read_seconds) + wait_seconds
            if impatient and first > left / 2 and not wait_seconds:
                first = left / 2
            exchange = self._new_exchange(connection, deadline, first)
            whole = exchange.send(request)
            response, lasting = read_response(exchange.more, self._max_body, exchange.begun or exchange.more())
            kept = whole and lasting
        finally:
            if kept:
                self._keep(connection)
            else:
                connection.close()
        return response
