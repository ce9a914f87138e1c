"""HTTP out: a minimal HTTP/1.1 client over sockets (RFC 9110, RFC 9112), for DynamoDB and for sync.

`http.client` and the e-mail parser inside it cost more to import than all of this project's Lambda path. What is
here is the part of HTTP that an API needs: one request, one answer with a length, in chunks or up to the end of the
connection, on connections that are kept and shared by threads. What is left out: `HEAD` and `CONNECT`, proxies,
redirects, cookies, compression, trailers.

What went wrong is told by what it means for the request: `ConnectFailed`, it was never sent; `OutcomeUnknown`, it
may have been carried out; `BadResponse`, it was answered with something that is no HTTP.
"""

from __future__ import annotations

from _ssl import SSLCertVerificationError, SSLWantReadError, SSLWantWriteError
from time import monotonic

from sltt_core.base.record import Record
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
    from typing import Never

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
"""Of an answer's body: DynamoDB's largest is 16 MB (AWS: BatchGetItem)."""
_PIECE = 65_536

_WOULD_BLOCK = (BlockingIOError, SSLWantReadError, SSLWantWriteError)

# Of OpenSSL's X509_V_ERR_*: the chain of certificates leads to none that is trusted. Whatever else may be wrong with a
# certificate (its name, its dates) is wrong whomever one trusts.
_NO_ROOT = (2, 18, 19, 20, 21)


class Origin(Record):
    """Whom to talk to."""

    scheme: str
    """`https` or `http`."""
    host: str
    """A name or an address, in ASCII; an IPv6 address without brackets."""
    port: int

    @property
    def authority(self) -> str:
        """What a `Host` header says: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"


def parse_origin(url: str) -> Origin:
    """Read the origin of a URL such as `https://dynamodb.eu-west-1.amazonaws.com`, without a path.

    A name in another script has to be given in its ASCII form (`xn--…`). Raises `ValueError` with the reason.
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
        raise ValueError(f"{url!r} is not a scheme, a host and perhaps a port")
    port = int(digits) if digits else {"http": 80, "https": 443}[scheme]
    if not 0 < port < 65_536:
        raise ValueError(f"{url!r} has no valid port")
    return Origin(scheme, host.lower(), port)


_NAME = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"


class HttpTransport:
    """Sends requests to one origin over connections that are kept; safe for use by several threads.

    `tls` is a list of functions that make TLS contexts; the next is tried when a server's certificate does not
    chain to what the one before trusts. Certificates and host names are always verified.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        connect_seconds: float = 3.0,
        read_seconds: float = 10.0,
        max_idle: int = 16,
        idle_seconds: float = 300.0,
        max_body: int = MAX_BODY_BYTES,
        tls: Iterable[Callable[[], Tls]] = (system_tls,),
        connect: Connect = open_connection,
        steady_clock: Callable[[], float] = monotonic,
    ) -> None:
        """Connect to nothing yet.

        `connect_seconds` bounds a connection's TCP and TLS handshakes together, `read_seconds` the wait for each piece
        of an answer (and for each of a request to go out), `max_idle` the connections kept, `idle_seconds` for how
        long: AWS's NAT gateways forget a connection after 350 s.
        """
        self.origin = origin
        self._host = origin.host.encode("ascii")  # as bytes: they spare `ssl`, too, the idna codec
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._max_body = max_body
        self._tls = list(tls)
        if not self._tls:
            raise ValueError("no TLS context")
        self._contexts: dict[int, Tls] = {}
        self._trust = 0  # the first of them that the server may chain to
        self._connect = connect
        self._clock = steady_clock
        # With the time each was put there. append and pop are atomic: it needs no lock.
        self._idle: list[tuple[Connection, float]] = []

    def send(self, request: bytes, *, deadline: float, repeatable: bool = False) -> HttpResponse:
        """Send a whole request, head and body, and return its answer.

        `deadline` is on the clock of the constructor. A request is sent once; one that is `repeatable` (it does
        no harm twice) is sent again, on a new connection, when a kept one turns out to be dead. One that did not get
        as far as that connection is sent on a new one in any case.
        """
        if request[:5] == b"HEAD ":
            raise ValueError("HEAD is not supported: its answer has a length and no body")
        sent = False
        connection = self._kept()
        if connection is not None:
            try:
                return self._exchange(connection, request, deadline)
            except _ConnectionLost as dead:
                sent = dead.sent
                if sent and not repeatable:
                    _give_up(dead)
        try:
            return self._exchange(self._open(deadline), request, deadline)
        except _ConnectionLost as dead:
            if sent or dead.sent:
                _give_up(dead)
            raise ConnectFailed(f"{self.origin.host} closed the connection before the request was sent") from dead
        except ConnectFailed as error:
            if sent:
                raise OutcomeUnknown(f"{_GONE}, and then: {error.message}") from error
            raise

    def warm(self, deadline: float) -> None:
        """Have a connection ready before the first request."""
        self._keep(self._open(deadline))

    def close(self) -> None:
        """Close the connections that are kept; those in use are closed when their answer is there.

        What is sent after this gets a connection of its own.
        """
        self._max_idle = 0
        try:
            while True:
                self._idle.pop()[0].close()
        except IndexError:
            pass

    def _open(self, deadline: float) -> Connection:
        """Open a connection that does not block, with TLS where the origin has it; raises `ConnectFailed`."""
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
            return self._connect((self._host, self.origin.port), left)
        except OSError as error:
            raise ConnectFailed(f"cannot reach {self.origin.host}, port {self.origin.port}: {error}") from error

    def _secure(self, connection: TcpSocket, trust: int, until: float) -> Secured:
        """Put TLS on a connection; closes it when that fails."""
        secured = None
        try:
            context = self._contexts.get(trust) or self._tls[trust]()
            if not context.check_hostname:  # which Python allows only where the certificate is verified
                raise ValueError("a TLS context that does not verify the server and its name")
            self._contexts[trust] = context
            left = until - self._clock()
            if left <= 0:
                raise TimeoutError("no time left")
            connection.settimeout(left)
            connection.getpeername()  # one that was reset is left unclosed by `wrap_socket`
            # An end without TLS's own farewell is an error: anybody on the way can make one.
            secured = context.wrap_socket(
                connection, server_hostname=self._host, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
            secured.do_handshake()
        except BaseException:
            (secured or connection).close()
            raise
        return secured

    def _kept(self) -> Connection | None:
        """Return a kept connection that is alive, as far as one can see, and does not block."""
        while True:
            try:
                connection, since = self._idle.pop()
            except IndexError:
                return None
            alive = False
            try:
                if self._clock() - since <= self._idle_seconds:
                    connection.settimeout(0)
                    connection.recv(1)  # the end, or an answer to nothing: neither is a connection to use
            except _WOULD_BLOCK:
                alive = True
                return connection
            except OSError:
                pass
            finally:
                if not alive:
                    connection.close()

    def _keep(self, connection: Connection) -> None:
        """Keep a connection, and close the oldest that are too many or too old."""
        now, idle = self._clock(), self._idle
        idle.append((connection, now))
        try:
            while len(idle) > self._max_idle or now - idle[0][1] > self._idle_seconds:
                idle.pop(0)[0].close()
        except IndexError:  # other threads took them
            pass

    def _exchange(self, connection: Connection, request: bytes, deadline: float) -> HttpResponse:
        """Send a request and read its response; keep or close the connection.

        Raises `_ConnectionLost` when the connection ended before a byte of a response.
        """
        kept = False
        try:
            if self._clock() >= deadline:
                kept = True
                raise ConnectFailed(f"no time left to send the request to {self.origin.host}")
            wire = _Wire(connection, self._clock, deadline, self._read_seconds)
            whole = wire.send(request)
            response, lasting = read_response(wire.more, self._max_body, wire.begun or wire.more())
            kept = whole and lasting
        finally:
            if kept:
                self._keep(connection)
            else:
                connection.close()
        return response


_GONE = "the connection was closed instead of an answer"


class _ConnectionLost(Exception):
    """The connection ended before a byte of an answer; `sent` tells whether any of the request was on it."""

    def __init__(self, sent: bool) -> None:
        self.sent = sent


def _give_up(dead: _ConnectionLost) -> Never:
    raise OutcomeUnknown(_GONE) from dead.__cause__


def _late() -> Never:
    raise OutcomeUnknown("no whole answer came in time") from None


class _Wire:
    """One request and its answer on a connection, within a deadline."""

    __slots__ = ("_answered", "_clock", "_connection", "_deadline", "_piece_seconds", "_sent", "begun")

    def __init__(
        self, connection: Connection, clock: Callable[[], float], deadline: float, piece_seconds: float
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._deadline = deadline
        self._piece_seconds = piece_seconds
        self._sent = 0
        self._answered = False
        self.begun = b""
        """What came of the answer while the request was sent."""

    def send(self, request: bytes) -> bool:
        """Send the request over a connection that does not block; False when an answer came before all was sent.

        A server that will not have a request, because it is too large or too much, answers and hangs up without
        reading it; that answer is worth more than the error of writing to it (RFC 9112, section 9.5).
        """
        rest: bytes | memoryview = request
        try:
            while True:
                try:
                    self._sent += self._connection.send(rest)
                except _WOULD_BLOCK:
                    if self._is_answered():
                        return False
                if self._sent == len(request):
                    return True
                rest = memoryview(request)[self._sent :]
        except OSError as error:
            try:
                self.begun += self._connection.recv(_PIECE)
            except OSError:
                pass
            if not self.begun:
                raise _ConnectionLost(self._sent > 0) from error
            self._answered = True
            return False

    def _is_answered(self) -> bool:
        """Wait until more can be sent, or until it need not be: an answer says so, or nobody reads what is sent."""
        from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector  # only for what does not fit at once

        with DefaultSelector() as selector:
            selector.register(self._connection, EVENT_WRITE if len(self.begun) > 9 else EVENT_READ | EVENT_WRITE)
            events = selector.select(self._seconds())
        if not events and not self.begun:
            raise OutcomeUnknown("the request could not be sent in time")
        return not events or (bool(events[0][1] & EVENT_READ) and self._look())

    def _look(self) -> bool:
        """Read what there is, and tell whether it says that the rest of the request is not wanted."""
        try:
            piece = self._connection.recv(_PIECE)
        except _WOULD_BLOCK:  # it was for TLS
            return False
        self.begun += piece
        if not piece and not self.begun:
            raise _ConnectionLost(self._sent > 0)
        self._answered = True
        return not piece or self.begun[9:10] in (b"4", b"5")

    def _seconds(self) -> float:
        left = self._deadline - self._clock()
        if left <= 0:
            _late()
        return left if left < self._piece_seconds else self._piece_seconds

    def more(self) -> bytes:
        """Return the next bytes of the answer, at least one; `b""` at the end of the connection."""
        left = self._deadline - self._clock()  # `_seconds`, without the call
        if left <= 0:
            _late()
        self._connection.settimeout(left if left < self._piece_seconds else self._piece_seconds)
        try:
            piece = self._connection.recv(_PIECE)
        except TimeoutError:
            _late()
        except OSError as error:
            if self._answered:
                raise OutcomeUnknown(f"the connection broke in the middle of an answer: {error}") from error
            raise _ConnectionLost(True) from error
        if piece:
            self._answered = True
        elif not self._answered:
            raise _ConnectionLost(True)
        return piece
