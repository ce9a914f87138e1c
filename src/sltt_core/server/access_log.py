"""A line for each request: for people on a terminal, as JSON for everything else."""

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
    """What is logged of a request: nothing of its body, its query's values or its keys."""

    method: str
    path: str
    """Raw, as sent, without the query."""
    status: int
    size: int
    """Bytes of the response's body as sent."""
    seconds: float
    request_id: str


class AccessLog:
    """Writes the lines; safe for one event loop."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """`stream` is stderr by default, looked up when the log is made."""
        self._stream = sys.stderr if stream is None else stream
        self._write_line = _readable if self._stream.isatty() else _json
        self._clock = runtime.clock
        self.steady_clock = runtime.steady_clock
        """Measures how long requests take."""

    def write(self, entry: AccessEntry) -> None:
        """Write the line of one request."""
        self._stream.write(self._write_line(now_utc(self._clock), entry) + "\n")


def _readable(now: str, entry: AccessEntry) -> str:
    # A path is shown as a terminal can bear it: no control character, no escape sequence.
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
