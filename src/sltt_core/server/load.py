"""`Load`: the bounds of what all clients together make a server hold, and the reports of requests refused for them."""

from __future__ import annotations

import logging
from threading import Lock
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Client(Protocol):
        """What is used of the protocol of a connection."""

        @property
        def idle_since(self) -> float | None:
            """The time from when it waits for a further request; `None` when it does not."""

        @property
        def stalled_since(self) -> float | None:
            """The time from when its client has not taken the bytes that were written; `None` when it has."""

        def end(self) -> None:
            """Close it after what was written."""

        def close(self) -> None:
            """Close it after what was written, also when it stays open for its client to read."""

        def abort(self) -> None:
            """Close it at once, and drop what was written."""


MAX_CONNECTIONS = 1000
"""Connections at the same time, by default; fewer if the limit of file descriptors does not allow so many."""
MAX_REFUSED = 64
"""Refused connections that are kept open at the same time until their client has read why, by default."""
SLICE_BYTES = 65_536
"""Bytes of a response that are written at once, and so the most that are buffered for a connection."""
MAX_UNSENT_BYTES = 128_000_000
"""Bytes of all responses larger than a slice, until their clients have read them."""
STALLED_SECONDS = 5.0
"""A client that has read nothing for this time loses its connection when another needs the memory."""
REPORT_SECONDS = 60.0
"""Minimum time between two reports of the same kind."""


class Refusals:
    """Counts the refused requests by their reason, and reports each reason at most once in `REPORT_SECONDS`.

    Safe for threads.
    """

    def __init__(self, log: Callable[[str], None], clock: Callable[[], float] = monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = Lock()
        self._reported: dict[str, tuple[float, int]] = {}
        self.counts: dict[str, int] = {}
        """The number of refused requests since the start, by reason."""

    def add(self, reason: str) -> None:
        """Count a refusal; report it, unless one for the same reason was reported lately."""
        now = self._clock()
        with self._lock:
            count = self.counts[reason] = self.counts.get(reason, 0) + 1
            since, reported = self._reported.get(reason, (now - REPORT_SECONDS, 0))
            if now - since < REPORT_SECONDS:
                return
            self._reported[reason] = (now, count)
        more = f" ({count - reported} times since the last report)" if reported else ""
        self._log(f"requests are refused with 503: {reason}{more}")


class Load:
    """The connections of a server, and the unsent bytes of their responses. For the thread of the event loop."""

    def __init__(
        self,
        max_connections: int = MAX_CONNECTIONS,
        max_unsent_bytes: int = MAX_UNSENT_BYTES,
        *,
        max_refused: int = MAX_REFUSED,
        refusals: Refusals | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.max_connections = max_connections
        self.refusals = Refusals(logging.getLogger("sltt.server").error) if refusals is None else refusals
        self._max_unsent = max_unsent_bytes
        self._clock = clock
        self._open: set[Client] = set()
        self._max_refused = max_refused
        self._refused: dict[Client, None] = {}
        self._held: dict[Client, int] = {}
        self.unsent = 0
        """Bytes that are held for responses larger than a slice."""

    @property
    def connections(self) -> int:
        """The number of admitted connections."""
        return len(self._open)

    def admit(self, client: Client) -> bool:
        """Count a new connection. At the maximum, end the one that is idle for the longest time, or return false."""
        if len(self._open) >= self.max_connections:
            idle = min(self._open, key=lambda other: _or_never(other.idle_since))
            if idle.idle_since is None:
                self.refusals.add(f"all {self.max_connections:,} connections are in use")
                return False
            self._open.discard(idle)
            idle.end()
        self._open.add(client)
        return True

    def keep_refused(self, client: Client) -> None:
        """Count a refused connection, which stays open until its client has read the response.

        The oldest beyond the maximum is closed. What its client sent has been read, so it is not reset.
        """
        self._refused[client] = None
        if len(self._refused) > self._max_refused:
            oldest = next(iter(self._refused))
            del self._refused[oldest]
            oldest.close()

    def forget(self, client: Client) -> None:
        """Count a connection no more: it is closed."""
        self._open.discard(client)
        self._refused.pop(client, None)

    def hold(self, client: Client, size: int) -> bool:
        """Count the bytes of a response. Return false if there are too many, also without the clients that stall."""
        while self._held and self.unsent + size > self._max_unsent:
            stalled = min(self._held, key=lambda other: _or_never(other.stalled_since))
            if self._clock() - _or_never(stalled.stalled_since) < STALLED_SECONDS:
                self.refusals.add("clients have not read their responses: the memory for them is used up")
                return False
            self.release(stalled)
            stalled.abort()
        self._held[client] = size
        self.unsent += size
        return True

    def release(self, client: Client) -> None:
        """Count the bytes of a connection's response no more. Does nothing if none are counted."""
        self.unsent -= self._held.pop(client, 0)


def _or_never(time: float | None) -> float:
    return float("inf") if time is None else time
