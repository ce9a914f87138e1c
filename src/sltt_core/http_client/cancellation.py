"""`CancellableTransport`: a transport whose requests the caller can cancel within a second, and that reports progress.

A blocked socket cannot be woken. Therefore a request waits in slices, and asks after each whether it is cancelled. A
connection is opened in a thread of its own, because a name lookup cannot be bounded; a cancelled request leaves it.
"""

from __future__ import annotations

from selectors import BaseSelector
from threading import Event, Thread
from typing import Any

from sltt_core.http_client.exchange import Exchange
from sltt_core.http_client.transport import HttpTransport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.http_client.sockets import Connection

    Progress = Callable[[int, int], None]
    """Is called with the numbers of bytes that were sent and received since the last call, headers included."""

SLICE_SECONDS = 0.25
"""The longest wait between two looks at whether a request is cancelled."""


class RequestCancelled(Exception):
    """The caller cancelled the request. `sent` tells whether the server may have got any of it."""

    def __init__(self, sent: bool) -> None:
        super().__init__("the request was cancelled")
        self.sent = sent


class CancellableTransport(HttpTransport):
    """An `HttpTransport` whose `send` raises `RequestCancelled` soon after `cancelled` returns `True`."""

    def __init__(
        self,
        *args: Any,
        cancelled: Callable[[], bool],
        progress: Progress = lambda sent, received: None,
        **options: Any,
    ) -> None:
        """`cancelled` is asked at least every `SLICE_SECONDS` while a request runs. `progress` is told of its bytes.

        The other parameters are those of `HttpTransport`.
        """
        super().__init__(*args, **options)
        self._cancelled = cancelled
        self._progress = progress

    def _open(self, deadline: float) -> Connection:
        attempt = _Attempt(lambda: super(CancellableTransport, self)._open(deadline))
        Thread(target=attempt.run, name="sltt-connect", daemon=True).start()
        try:
            while not attempt.done.wait(SLICE_SECONDS):
                if self._cancelled():
                    raise RequestCancelled(sent=False)
        except BaseException:
            attempt.abandon()
            raise
        if attempt.error is not None:
            raise attempt.error
        connection: Connection = attempt.connection
        return connection

    def _new_exchange(self, connection: Connection, deadline: float, first_seconds: float) -> Exchange:
        sliced = _Sliced(connection, self._clock, self._cancelled, self._progress)
        return _CancellableExchange(sliced, self._clock, deadline, self._read_seconds, first_seconds)


class _Attempt:
    """An attempt to open a connection, in a thread that its caller may leave."""

    def __init__(self, open_it: Callable[[], Connection]) -> None:
        self._open_it = open_it
        self.done = Event()
        self.connection: Any = None
        self.error: BaseException | None = None
        self._abandoned = False

    def run(self) -> None:
        try:
            self.connection = self._open_it()
        except BaseException as error:
            self.error = error
        self.done.set()
        if self._abandoned:
            self.abandon()

    def abandon(self) -> None:
        """Close the connection, now or when it is open."""
        self._abandoned = True
        if self.done.is_set() and self.connection is not None:
            self.connection.close()


class _Sliced:
    """A connection whose blocking `recv` waits in slices."""

    def __init__(
        self, connection: Connection, clock: Callable[[], float], cancelled: Callable[[], bool], progress: Progress
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._progress = progress
        self._seconds = 0.0
        self._sent = False
        self.cancelled = cancelled
        self.fileno = connection.fileno
        self.close = connection.close

    def settimeout(self, seconds: float, /) -> None:
        self._seconds = seconds
        self._connection.settimeout(min(seconds, SLICE_SECONDS))

    def send(self, data: bytes | memoryview, /) -> int:
        count = self._connection.send(data)
        self._sent = self._sent or count > 0
        self._progress(count, 0)
        return count

    def recv(self, size: int, /) -> bytes:
        until = self._clock() + self._seconds
        while True:
            try:
                piece = self._connection.recv(size)
            except TimeoutError:
                self.look()
                left = until - self._clock()
                if left <= 0:
                    raise
                self._connection.settimeout(min(left, SLICE_SECONDS))
                continue
            self._progress(0, len(piece))
            return piece

    def look(self) -> None:
        """Raise `RequestCancelled` if the request is cancelled."""
        if self.cancelled():
            raise RequestCancelled(self._sent)


class _CancellableExchange(Exchange):
    """An exchange that waits in slices, and looks before each piece whether it is cancelled."""

    _connection: _Sliced

    def more(self) -> bytes:
        self._connection.look()
        return super().more()

    def _select(self, selector: BaseSelector) -> Any:
        until = self._clock() + self._seconds()
        while True:
            self._connection.look()
            left = until - self._clock()
            events = selector.select(max(0.0, min(left, SLICE_SECONDS)))
            if events or left <= SLICE_SECONDS:
                return events
