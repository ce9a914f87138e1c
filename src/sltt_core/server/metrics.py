"""`Metrics`: what a server counts, as text for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats).

The names are those of the metrics of a Lambda function (`sltt_core.api.request_log`), in Prometheus' spelling. No
metric has a project or a principal.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from threading import Lock

from sltt_core.api.http import Facts, Response
from sltt_core.api.request_log import route_of
from sltt_core.server.allowed_hosts import is_of_this_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from sltt_core.api.app import Api
    from sltt_core.api.http import Request

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""The upper ends of the buckets of latencies, in seconds."""
LAG_SECONDS = 1.0
"""How often the lag of the event loop is measured."""
COUNTERS = {
    "errors": "Responses with a status from 400 to 499",
    "cold_start": "First requests of the process",
    "appended": "Changes that were appended",
    "appends": "Requests that appended or tried to",
    "append_attempts": "Requests that were sent to DynamoDB for requests that append",
    "response_bytes": "Bytes of the bodies of responses",
    "calls": "Calls to DynamoDB",
    "attempts": "Requests that were sent to DynamoDB",
    "throttled": "Requests that DynamoDB refused for lack of capacity",
    "read_units": "Read units that DynamoDB reported",
    "write_units": "Write units that DynamoDB reported",
    "log_lines_dropped": "Lines of the request log that could not be written",
    "refused": "Requests that were refused because the server had reached a limit",
}
GAUGES = {
    "connections": "Open connections",
    "waiting_clients": "Clients that wait for a change",
    "unsent_bytes": "Bytes of large responses that clients have not read",
    "event_loop_lag_seconds": "How late the event loop was when it was measured last",
    "commit_queue_length": "Writes that wait for a transaction",
    "wal_bytes": "Size of the write-ahead log of SQLite",
}
OF_CALLS = ("calls", "attempts", "throttled", "read_units", "write_units")
_GROUP = "sltt_commit_group_size"


class Metrics:
    """The counts of one server since its start. It is the observer of a storage's calls, on any thread."""

    def __init__(self) -> None:
        self._counts: dict[str, float] = dict.fromkeys(("errors", "cold_start", "appended", "appends"), 0)
        self._counts |= {"append_attempts": 0, "response_bytes": 0}
        self._faults: dict[str, int] = {}
        self._latencies: dict[str, list[float]] = {}
        self._calls: dict[str, float] = dict.fromkeys(OF_CALLS, 0)
        self._lock = Lock()
        self.lag = 0.0
        """How late the event loop was when `measure_lag` looked last, in seconds."""

    def on_call(
        self,
        operation: str,
        attempts: int,
        throttled: int,
        seconds: float,
        read_units: float | None,
        write_units: float | None,
    ) -> None:
        with self._lock:
            for name, value in zip(OF_CALLS, (1, attempts, throttled, read_units, write_units), strict=True):
                self._calls[name] += value or 0

    def count(self, request: Request, status: int, size: int, seconds: float) -> None:
        """Count a request that has its response. For one thread."""
        facts = request.facts or Facts()
        route = route_of(request, facts)
        counts = self._counts
        counts["cold_start"] = 1
        counts["response_bytes"] += size
        counts["errors"] += 400 <= status < 500
        if facts.appended is not None:
            counts["appends"] += 1
            counts["appended"] += facts.appended
            counts["append_attempts"] += facts.attempts
        self._faults[route] = self._faults.get(route, 0) + (status >= 500)
        latencies = self._latencies.setdefault(route, [0.0] * (len(BUCKETS) + 2))
        latencies[bisect_left(BUCKETS, seconds)] += 1
        latencies[-1] += seconds

    async def measure_lag(self) -> None:
        """Measure the lag of the event loop until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self.lag = max(loop.time() - due, 0.0)

    def text(self, given: Mapping[str, float]) -> str:
        """Return the text. `given` are the values that others count, by the names of `COUNTERS` and `GAUGES`."""
        with self._lock:
            values = {**self._counts, **self._calls, "event_loop_lag_seconds": self.lag, **given}
        lines: list[str] = []
        for kind, names, suffix in (("counter", COUNTERS, "_total"), ("gauge", GAUGES, "")):
            for name, about in names.items():
                if name in values:
                    lines += _head(f"sltt_{name}{suffix}", kind, about)
                    lines.append(f"sltt_{name}{suffix} {values[name]:.17g}")
        if "commit_groups" in values:
            lines += _head(_GROUP, "summary", "Writes that shared a transaction")
            lines += [f"{_GROUP}_count {values['commit_groups']}", f"{_GROUP}_sum {values['commit_grouped']}"]
        lines += _head("sltt_faults_total", "counter", "Responses with a status from 500 on")
        lines += [f'sltt_faults_total{{route="{route}"}} {count}' for route, count in sorted(self._faults.items())]
        lines += _head("sltt_latency_seconds", "histogram", "Duration of requests, with the waiting for a change")
        for route, latencies in sorted(self._latencies.items()):
            count = 0
            for end, bucket in zip([*map(str, BUCKETS), "+Inf"], latencies, strict=False):
                count += int(bucket)
                lines.append(f'sltt_latency_seconds_bucket{{route="{route}",le="{end}"}} {count}')
            lines.append(f'sltt_latency_seconds_count{{route="{route}"}} {count}')
            lines.append(f'sltt_latency_seconds_sum{{route="{route}"}} {latencies[-1]:.17g}')
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, about: str) -> list[str]:
    return [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]


def metrics_response(api: Api, request: Request, peer: str | None, text: str) -> Response:
    """Return the metrics to a client on this machine or to an administrator; to others, the response with an error.

    Behind a proxy, a client is not on this machine although its connection comes from there.
    """
    refusal = api.refuse_all_but_admins(request, ("GET", "HEAD"), everyone=is_of_this_machine(request, peer))
    if refusal is not None:
        return refusal
    headers = (
        ("content-type", CONTENT_TYPE),
        ("cache-control", "no-store"),
        ("x-request-id", api.request_id(request.headers)),
    )
    return Response(200, headers, text.encode())
