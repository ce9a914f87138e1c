"""The access log: one line for each request, readable on a terminal, JSON otherwise."""

from __future__ import annotations

import json
import sys

from sltt_core.base.record import Record
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import now_utc
from sltt_core.server.log_lines import FLUSH_SECONDS, line_writer

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
    """Writes the access log on a thread of its own: a stream that blocks or fails does not delay or break requests."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """`stream` is by default the `sys.stderr` of the time of this call; if there is none, nothing is written."""
        stream = sys.stderr if stream is None else stream
        self._write_line, dropped = (_readable, _readable_dropped) if _is_terminal(stream) else (_json, _json_dropped)
        self._clock = runtime.clock
        self._lines = line_writer(stream, lambda count: dropped(now_utc(self._clock), count))
        self.steady_clock = runtime.steady_clock
        """The clock that measures the duration of requests, in seconds."""

    def write(self, entry: AccessEntry) -> None:
        """Queue the line of one request. Lines that the stream does not take are dropped and counted in a later one."""
        self._lines.put(self._write_line(now_utc(self._clock), entry))

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all lines are written or dropped, at most so long; return whether they are."""
        return self._lines.flush(seconds)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except Exception:  # closed, or not quite a stream
        return False


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


def _readable_dropped(now: str, count: int) -> str:
    return f"{now[11:23]} {count:,} log lines were dropped: the stream blocked or failed"


def _json_dropped(now: str, count: int) -> str:
    return json.dumps({"time": now, "droppedLines": count})
