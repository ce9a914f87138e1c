"""`Exchange`: one request and its response on an open connection, within a deadline.

Errors are reported by their meaning for the request: `ConnectionLost` before a byte of a response (its `sent` tells
whether the server may have got any of the request), `OutcomeUnknown` after that and at the deadline.
"""

from __future__ import annotations

from _ssl import SSLWantReadError, SSLWantWriteError

from sltt_core.http_client.responses import OutcomeUnknown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from selectors import BaseSelector
    from typing import Any, Never

    from sltt_core.http_client.sockets import Connection

WOULD_BLOCK = (BlockingIOError, SSLWantReadError, SSLWantWriteError)
"""What a connection that does not block raises when it would have to wait."""
_PIECE = 65_536


class ConnectionLost(Exception):
    """The connection ended, or stayed silent, before the first byte of a response.

    `sent` tells whether any of the request was sent. `silent` tells that the wait ended, and not the connection.
    """

    def __init__(self, sent: bool, silent: bool = False) -> None:
        self.sent = sent
        self.silent = silent

    @property
    def reason(self) -> str:
        """What happened, for the message of an `OutcomeUnknown`."""
        return _LATE if self.silent else "the connection was closed without a response"


class Exchange:
    """One request and its response on a connection, within a deadline."""

    __slots__ = ("_clock", "_connection", "_deadline", "_piece_seconds", "_responded", "_sent", "_wait", "begun")

    def __init__(
        self,
        connection: Connection,
        clock: Callable[[], float],
        deadline: float,
        piece_seconds: float,
        first_seconds: float,
    ) -> None:
        """`deadline` is a time of `clock`; `piece_seconds` bounds the wait for each piece, in and out.

        `first_seconds` bounds it instead until the first byte of the response.
        """
        self._connection = connection
        self._clock = clock
        self._deadline = deadline
        self._piece_seconds = piece_seconds
        self._wait = first_seconds
        self._sent = 0
        self._responded = False
        self.begun = b""
        """The bytes of the response that came while the request was sent."""

    def send(self, request: bytes) -> bool:
        """Send the request over a connection that does not block; return False when a response came before the end.

        A server that refuses a request, because it is too large or there are too many, may respond and close the
        connection without reading the rest. That response is more useful than the error of writing to the connection
        (RFC 9112, section 9.5).
        """
        rest: bytes | memoryview = request
        try:
            while True:
                try:
                    self._sent += self._connection.send(rest)
                except WOULD_BLOCK:
                    if self._is_refused():
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
                raise ConnectionLost(self._sent > 0) from error
            self._begin()
            return False

    def more(self) -> bytes:
        """Return the next bytes of the response, at least one; `b""` at the end of the connection."""
        left = self._deadline - self._clock()  # `_seconds`, without the call
        if left <= 0:
            _fail_late()
        self._connection.settimeout(left if left < self._wait else self._wait)
        try:
            piece = self._connection.recv(_PIECE)
        except TimeoutError:
            if not self._responded:
                raise ConnectionLost(True, silent=True) from None
            _fail_late()
        except OSError as error:
            if self._responded:
                raise OutcomeUnknown(f"the connection broke in the middle of a response: {error}") from error
            raise ConnectionLost(True) from error
        if piece:
            self._responded = True  # `_begin`, without the call
            self._wait = self._piece_seconds
        elif not self._responded:
            raise ConnectionLost(True)
        return piece

    def _begin(self) -> None:
        self._responded = True
        self._wait = self._piece_seconds

    def _is_refused(self) -> bool:
        """Wait until the connection accepts more; return True when the rest of the request need not be sent.

        It need not be sent when the response is an error, or when nothing is accepted in time after a response began.
        """
        from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector  # only for a request that does not fit at once

        with DefaultSelector() as selector:
            selector.register(self._connection, EVENT_WRITE if len(self.begun) > 9 else EVENT_READ | EVENT_WRITE)
            events = self._select(selector)
        if not events and not self.begun:
            raise ConnectionLost(self._sent > 0, silent=True)
        return not events or (bool(events[0][1] & EVENT_READ) and self._look())

    def _select(self, selector: BaseSelector) -> Any:
        return selector.select(self._seconds())

    def _look(self) -> bool:
        """Read what came, and return whether it is an error or the end of the connection."""
        try:
            piece = self._connection.recv(_PIECE)
        except WOULD_BLOCK:  # the bytes were for TLS
            return False
        self.begun += piece
        if not piece and not self.begun:
            raise ConnectionLost(self._sent > 0)
        self._begin()
        return not piece or self.begun[9:10] in (b"4", b"5")

    def _seconds(self) -> float:
        left = self._deadline - self._clock()
        if left <= 0:
            _fail_late()
        return left if left < self._wait else self._wait


_LATE = "no complete response came in time"


def _fail_late() -> Never:
    raise OutcomeUnknown(_LATE) from None
