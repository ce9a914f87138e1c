"""The processor time of the line of a request, compared with aws-lambda-powertools and structlog."""

from __future__ import annotations

import io
import json
from functools import partial
from time import process_time
from typing import TYPE_CHECKING, Any

from bench.support.tables import Row, Table
from sltt_core.api.http import Facts, Request
from sltt_core.api.request_log import BY_ROUTE, UNITS, RequestLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.context import BenchContext

POWERTOOLS, STRUCTLOG = "aws-lambda-powertools", "structlog, without metrics"
ROUTE = "POST /api/changes"
REQUEST = Request("POST", "/api/changes", "", {"x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793"})
COUNT = 200
"""Lines between two looks at the clock."""


def measure(context: BenchContext) -> list[Table]:
    """Measure the line of an append with its metrics, into memory."""
    cases = {POWERTOOLS: _powertools()}
    try:
        cases[STRUCTLOG] = _structlog()
    except ImportError as error:
        context.progress.begin(f"logging: {STRUCTLOG} is left out: {error}")
    cases |= {"ours": _ours("sltt-prod"), "ours, without metrics": _ours(None)}
    found = context.rounds({name: partial(_microseconds, case, context.size.seconds) for name, case in cases.items()})
    rows = [Row(name, "µs", values, POWERTOOLS) for name, values in found.items()]
    return [Table("logging", "Processor time of the line of an append", rows)]


def _facts() -> Facts:
    facts = Facts()
    facts.route, facts.project, facts.principal, facts.appended = ROUTE, "ruth", "ada@example.org", 3
    facts.calls, facts.attempts, facts.read_units, facts.write_units = 2, 2, 0.5, 12.0
    return facts


def _ours(service: str | None) -> Callable[[], object]:
    log, facts, stream = RequestLog(service=service), _facts(), io.StringIO()

    def write() -> None:
        line = log.line(REQUEST, facts, status=200, seconds=0.0042, size=134, request_id="78279c594237d51e")
        stream.seek(0)
        stream.write(f"{line}\n")

    return write


def _entry() -> dict[str, Any]:
    log = RequestLog()
    line = log.line(REQUEST, _facts(), status=200, seconds=0.0042, size=134, request_id="78279c594237d51e")
    entry: dict[str, Any] = json.loads(str(line))
    del entry["level"], entry["time"]
    return entry


def _powertools() -> Callable[[], object]:
    """Its logger, and two sets of metrics: one for each set of dimensions."""
    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

    entry, stream = _entry(), io.StringIO()
    logger = Logger(service="sltt-prod", stream=stream)
    units = {name: MetricUnit[unit] for name, unit in UNITS.items()}

    def write() -> None:
        stream.seek(0)
        logger.info("request", extra=entry)
        for names in (UNITS, BY_ROUTE):
            metrics = EphemeralMetrics(namespace="sltt")
            metrics.add_dimension("Service", "sltt-prod")
            if names is BY_ROUTE:
                metrics.add_dimension("Route", ROUTE)
            for name in names:
                metrics.add_metric(name, units[name], 1.0)
            stream.write(json.dumps(metrics.serialize_metric_set()))

    return write


def _structlog() -> Callable[[], object]:
    import structlog

    entry, stream = _entry(), io.StringIO()
    processors = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(),
    ]
    logger = structlog.wrap_logger(structlog.WriteLogger(stream), processors=processors)

    def write() -> None:
        stream.seek(0)
        logger.info("request", **entry)

    return write


def _microseconds(write: Callable[[], object], seconds: float) -> float:
    """Return the processor time of one line."""
    count, begin = 0, process_time()
    while process_time() - begin < seconds:
        for _ in range(COUNT):
            write()
        count += COUNT
    return (process_time() - begin) / count * 1e6
