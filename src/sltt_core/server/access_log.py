"""The access log: one line for each request, readable on a terminal, JSON otherwise."""

from __future__ import annotations

import json
import sys

from sltt_core.base.record import Record
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import now_utc
from sltt_core.server.log_lines import FLUSH_SECONDS, is_terminal, line_writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TextIO

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
    error: Mapping[str, Any] | None = None
    """What the operator must know of the error behind the response (`sltt_core.api.problems.described`)."""


class AccessLog:
    """Writes the access log on a thread of its own: a stream that blocks or fails does not delay or break requests."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        errors_only: bool = False,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """`stream` is by default the `sys.stderr` of the time of this call; if there is none, nothing is written.

        `errors_only` leaves out requests without an error that concerns the operator.
        """
        self._errors_only = errors_only
        stream = sys.stderr if stream is None else stream
        self._write_line, dropped = (
            (_readable, _readable_dropped) if is_terminal(stream) else (json_line, _json_dropped)
        )
        self._clock = runtime.clock
        self._lines = line_writer(stream, lambda count: dropped(now_utc(self._clock), count))
        self.steady_clock = runtime.steady_clock
        """The clock that measures the duration of requests, in seconds."""

    def write(self, entry: AccessEntry) -> None:
        """Queue the line of one request. Lines that the stream does not take are dropped and counted in a later one."""
        if entry.error is not None or not self._errors_only:
            self._lines.put(self._write_line(now_utc(self._clock), entry))

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all lines are written or dropped, at most so long; return whether they are."""
        return self._lines.flush(seconds)


def _readable(now: str, entry: AccessEntry) -> str:
    # Control characters and escape sequences could change the terminal.
    cost = f"{entry.size:,} B {entry.seconds * 1000:.1f} ms"
    line = f"{now[11:23]} {entry.status} {entry.method:<6} {_printable(entry.path[:200])} {cost} {entry.request_id}"
    if entry.error is None:
        return line
    error = entry.error
    parts = [f"{error['error']}: {error.get('message', 'at ' + ', '.join(error['at']))}", *error.get("because", ())]
    return f"{line}\n  {_printable('; because '.join(parts))}{_printable(' ' + error.get('hint', '')).rstrip()}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def json_line(now: str, entry: AccessEntry) -> str:
    """Return the line of a request as JSON; `now` is the time in ISO 8601."""
    return json.dumps(
        {
            "time": now,
            "method": entry.method,
            "path": entry.path[:2000],
            "status": entry.status,
            "bytes": entry.size,
            "ms": round(entry.seconds * 1000, 3),
            "requestId": entry.request_id,
            **(entry.error or {}),
        }
    )


def _readable_dropped(now: str, count: int) -> str:
    return f"{now[11:23]} {count:,} log lines were dropped: the stream blocked or failed"


def _json_dropped(now: str, count: int) -> str:
    return json.dumps({"time": now, "droppedLines": count})
