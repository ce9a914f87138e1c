"""The access log: one line for each request, readable on a terminal, JSON otherwise (`sltt_core.api.request_log`)."""

from __future__ import annotations

import json
import sys

from sltt_core.api.http import Facts, Request
from sltt_core.api.request_log import ALL, NONE, RequestLog
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
    """What is known of a request when its response was sent."""

    request: Request
    """Its body, query and headers are not logged, except the headers of a trace."""
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
        requests: str = ALL,
        sample: float = 1.0,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """`stream` is by default the `sys.stderr` of the time of this call; if there is none, nothing is written.

        `requests` is `all`, `errors` (status 400 and above) or `none`: only requests with an error that concerns the
        operator, which are always logged. `errors_only` is the same as `none`. `sample` is the part, from 0 to 1, of
        the requests without an error that is logged.
        """
        self._log = RequestLog(NONE if errors_only else requests, sample=sample, runtime=runtime)
        stream = sys.stderr if stream is None else stream
        self._readable = is_terminal(stream)
        dropped = _readable_dropped if self._readable else _json_dropped
        self._clock = runtime.clock
        self._lines = line_writer(stream, lambda count: dropped(now_utc(self._clock), count))
        self.steady_clock = runtime.steady_clock
        """The clock that measures the duration of requests, in seconds."""

    def write(self, entry: AccessEntry) -> None:
        """Queue the line of one request. Lines that the stream does not take are dropped and counted in a later one."""
        line = json_line(self._log, entry)
        if line is not None:
            self._lines.put(_readable(now_utc(self._clock), entry) if self._readable else line)

    @property
    def dropped(self) -> int:
        """How many lines were dropped since the start."""
        return self._lines.dropped_in_all

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all lines are written or dropped, at most so long; return whether they are."""
        return self._lines.flush(seconds)


def _readable(now: str, entry: AccessEntry) -> str:
    # Control characters and escape sequences could change the terminal.
    request = entry.request
    cost = f"{entry.size:,} B {entry.seconds * 1000:.1f} ms"
    line = f"{now[11:23]} {entry.status} {request.method:<6} {_printable(request.path[:200])} {cost} {entry.request_id}"
    if entry.error is None:
        return line
    error = entry.error
    parts = [f"{error['error']}: {error.get('message', 'at ' + ', '.join(error['at']))}", *error.get("because", ())]
    return f"{line}\n  {_printable('; because '.join(parts))}{_printable(' ' + error.get('hint', '')).rstrip()}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def json_line(log: RequestLog, entry: AccessEntry) -> str | None:
    """Return the line of a request as JSON; `None` if the log leaves it out."""
    return log.line(
        entry.request,
        entry.request.facts or Facts(),
        status=entry.status,
        seconds=entry.seconds,
        size=entry.size,
        request_id=entry.request_id,
        error=entry.error,
    )


def _readable_dropped(now: str, count: int) -> str:
    return f"{now[11:23]} {count:,} log lines were dropped: the stream blocked or failed"


def _json_dropped(now: str, count: int) -> str:
    return json.dumps({"time": now, "droppedLines": count})
