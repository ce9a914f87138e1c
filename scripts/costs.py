"""`python -m scripts.costs`: prints the tables of costs in docs/operations.md, from units, prices and assumptions."""

from __future__ import annotations

from typing import NamedTuple

from scripts.pipes import run_program
from sltt_core.api.http import Facts, Request
from sltt_core.api.request_log import UNITS, RequestLog
from sltt_core.api.routes import ROUTES

WRITE, READ = 0.625e-6, 0.125e-6
"""US dollars for a unit of an on-demand table in us-east-1 (AWS, since November 2024)."""
API, INVOCATION, GB_SECOND = 1.00e-6, 0.20e-6, 0.0000133334
"""US dollars for a request of an HTTP API, an invocation, and a gigabyte-second on arm64."""
LOG_GB, METRIC, ALARM = 0.50, 0.30, 0.10
"""US dollars for a gigabyte of logs, and for a metric and an alarm in a month."""
MEMORY_MB = 512
APPEND_MS, READ_MS = 30, 20
"""Assumed durations of a warm invocation with 512 MB, most of which is waiting for DynamoDB."""
INSTRUCTIONS = 204e6
"""Of a cold start with AWS's runtime client: docs/benchmarks.md."""
PER_SECOND = 1.5e9
"""Assumed instructions a second on one processor: code that runs for the first time misses the caches."""
FULL_MB = 1769
"""Memory that comes with one processor (AWS Lambda Developer Guide, "Configure Lambda function memory")."""
DEVICES, DAYS, APPENDS, CHANGES, PAGES = 1000, 22, 20, 5, 60
"""A device in a month, assumed: its days, and in a day its appends, the changes in each, and its reads of a page."""


class Cost(NamedTuple):
    """US dollars."""

    table: float
    api: float
    function: float
    logs: float

    @property
    def total(self) -> float:
        """The sum."""
        return sum(self)

    def times(self, count: float) -> Cost:
        """Return the cost of so many."""
        return Cost(*(part * count for part in self))


def append_units(changes: int) -> int:
    """Return the write units of an append of small changes: docs/table.md. A test counts them for 1 and for 98."""
    return 2 * (1 + 1 + changes)


def line_bytes(appends: bool) -> int:
    """Return the bytes of the line of a request with metrics, as CloudWatch counts them: 26 more for each event."""
    facts = Facts()
    facts.route = "POST /api/changes" if appends else "GET /api/projects/{projectId}/changes"
    facts.project, facts.principal, facts.calls, facts.attempts = "project-a-123", "anna", 1, 1
    facts.appended, facts.write_units = (10, 24.0) if appends else (None, 0.0)
    log = RequestLog(service="sltt-prod")
    line = log.line(Request("GET", "/"), facts, status=200, seconds=0.0213, size=1000, request_id="78279c594237d51e")
    return len(str(line)) + 26


def request(units: float, milliseconds: float, *, appends: bool) -> Cost:
    """Return the cost of one request."""
    function = INVOCATION + milliseconds / 1000 * MEMORY_MB / 1024 * GB_SECOND
    return Cost(units, API, function, line_bytes(appends) * LOG_GB / 1e9)


def append(changes: int) -> Cost:
    """Return the cost of an append of so many small changes."""
    return request(append_units(changes) * WRITE, APPEND_MS, appends=True)


def page() -> Cost:
    """Return the cost of a page of up to 20 small changes, or of none."""
    return request(0.5 * READ, READ_MS, appends=False)


def per_million() -> list[str]:
    """Return the table of the costs of a million changes."""
    lines = [
        "| Changes in a request | Units | DynamoDB | HTTP API | Lambda | Logs | Sum |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for changes in (1, 10, 98):
        cost = append(changes).times(1e6 / changes)
        units = append_units(changes) / changes
        parts = " | ".join(f"${part:.2f}" for part in (*cost, cost.total))
        lines.append(f"| {changes} | {units:.2f} million | {parts} |")
    return lines


def per_month() -> list[str]:
    """Return the table of the costs of 1,000 devices in a month."""
    days = DEVICES * DAYS
    writes, reads = append(CHANGES).times(days * APPENDS), page().times(days * PAGES)
    lines = ["| | Requests | DynamoDB | HTTP API | Lambda | Logs | Sum |", "|---|---:|---:|---:|---:|---:|---:|"]
    both = Cost(*(one + other for one, other in zip(writes, reads, strict=True)))
    for name, count, cost in (
        ("appends", days * APPENDS, writes),
        ("pages", days * PAGES, reads),
        ("together", days * (APPENDS + PAGES), both),
    ):
        parts = " | ".join(f"${part:.2f}" for part in (*cost, cost.total))
        lines.append(f"| {name} | {count:,} | {parts} |")
    return lines


def by_memory() -> list[str]:
    """Return the table of memory sizes."""
    lines = [
        "| Memory | Processor | Cold start | A million appends, Lambda |",
        "|---:|---:|---:|---:|",
    ]
    for memory in (128, 256, 512, 1024, 1769, 3008):
        share = min(memory / FULL_MB, 1.0)  # one thread uses one processor
        milliseconds = INSTRUCTIONS / PER_SECOND / share * 1000
        lines.append(
            f"| {memory} MB | {memory / FULL_MB:.2f} | {milliseconds:,.0f} ms"
            f" | ${(INVOCATION + APPEND_MS / 1000 * memory / 1024 * GB_SECOND) * 1e6:.2f} |"
        )
    return lines


def metrics() -> int:
    """Return the number of metrics when every route is used, and a request without one, and a preflight request."""
    return len(UNITS) + 2 * (len(ROUTES) + 2)


def tables() -> list[str]:
    """Return the tables as texts."""
    return ["\n".join(lines) for lines in (per_million(), per_month(), by_memory())]


def main() -> int:
    """Print the tables."""
    print("\n\n".join(tables()))
    print(f"\n{metrics()} metrics: ${metrics() * METRIC:.2f} a month")
    print(f"lines of {line_bytes(True)} and {line_bytes(False)} bytes")
    return 0


if __name__ == "__main__":
    run_program(main)
