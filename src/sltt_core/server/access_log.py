"""The access log: one line for each request, readable on a terminal, JSON otherwise."""

from __future__ import annotations

import json
import sys

from sltt_core.base.record import Record
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import now_utc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

    from sltt_core.base.runtime import Runtime


class AccessEntry(Record):
    """The logged values of a request; its body, query and idempotency key are not logged."""

    method: str
    path: str
    """The percent-encoded path without the query."""
    status: int
    size: int
    """Bytes of the response's body that were sent."""
    seconds: float
    request_id: str


class AccessLog:
    """Writes the access log; for use in one event loop."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """`stream` is by default the `sys.stderr` of the time of this call."""
        self._stream = sys.stderr if stream is None else stream
        self._write_line = _readable if self._stream.isatty() else _json
        self._clock = runtime.clock
        self.steady_clock = runtime.steady_clock
        """The clock that measures the duration of requests, in seconds."""

    def write(self, entry: AccessEntry) -> None:
        """Write the line of one request."""
        self._stream.write(self._write_line(now_utc(self._clock), entry) + "\n")


def _readable(now: str, entry: AccessEntry) -> str:
    # Control characters and escape sequences could change the terminal.
    path = "".join(c if c.isprintable() else "?" for c in entry.path[:200])
    cost = f"{entry.size:,} B {entry.seconds * 1000:.1f} ms"
    return f"{now[11:23]} {entry.status} {entry.method:<6} {path} {cost} {entry.request_id}"


def _json(now: str, entry: AccessEntry) -> str:
    return json.dumps(
        {
            "time": now,
            "method": entry.method,
            "path": entry.path[:2000],
            "status": entry.status,
            "bytes": entry.size,
            "ms": round(entry.seconds * 1000, 3),
            "requestId": entry.request_id,
        }
    )
