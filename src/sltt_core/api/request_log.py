"""`RequestLog`: one line of JSON for each request, with the metrics that CloudWatch reads from it.

A function and a server write the same line. It has the route's pattern instead of the path, the id of the project, and
a hash of the principal's id. It has no query, no body, no token and no other header than the two of a trace.
"""

from __future__ import annotations

from _thread import _local

from sltt_core.api.routes import match
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import SlttError
from sltt_core.base.hashes import sha256
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import format_utc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sltt_core.api.http import Facts, Request
    from sltt_core.base.runtime import Observer, Runtime

ALL, ERRORS, NONE = "all", "errors", "none"
"""Which requests are logged. With `none`, only errors that concern the operator are."""
NO_ROUTE = "-"
"""The route of a request whose path and method have none: the path could contain anything."""
NAMESPACE = "sltt"
_CREDENTIAL = "sltt_", "sltti_"
_HEX = "0123456789abcdef"


class CallCounter:
    """An observer that adds each call to the facts of the request whose thread makes it. Safe for threads.

    Appends that share a transaction share its call: it counts for the request whose thread sent it.
    """

    def __init__(self, following: Observer | None = None) -> None:
        """`following` is notified of every call, too."""
        self._following = following
        self._thread = _local()

    def count_for(self, facts: Facts | None) -> None:
        """Add this thread's calls to the facts of a request from now on; `None` adds them to none."""
        self._thread.facts = facts

    def on_call(
        self,
        operation: str,
        attempts: int,
        throttled: int,
        seconds: float,
        read_units: float | None,
        write_units: float | None,
    ) -> None:
        facts: Facts | None = getattr(self._thread, "facts", None)
        if facts is not None:
            facts.calls += 1
            facts.attempts += attempts
            facts.throttled += throttled
            facts.read_units += read_units or 0
            facts.write_units += write_units or 0
        if self._following is not None:
            self._following.on_call(operation, attempts, throttled, seconds, read_units, write_units)


class RequestLog:
    """Decides which requests have a line, and writes it as text. For one thread at a time."""

    def __init__(
        self,
        requests: str = ALL,
        *,
        sample: float = 1.0,
        service: str | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """`requests` is `all`, `errors` or `none`; `errors` are all responses with a status from 400 on.

        `sample` is the part of the other responses that is logged, from 0 to 1. `service` adds metrics for CloudWatch
        to each line, and is the value of their dimension `Service`; `None` adds none.
        """
        self._requests = requests
        self._sample = sample
        self._clock = runtime.clock
        self._random = runtime.random
        self._cold = True
        self._metrics = None if service is None or requests == NONE else (_directives(()), _directives(_OF_APPENDS))
        self._service = dumps(service)

    def line(
        self,
        request: Request,
        facts: Facts,
        *,
        status: int,
        seconds: float,
        size: int,
        request_id: str | None,
        error: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Return the line of a request without a line end; `None` if it is not logged.

        `size` is the bytes of the response's body. `error` is what `problems.described` returns of an error that
        concerns the operator: its request is always logged.
        """
        cold, self._cold = self._cold, False
        failed = status >= 400
        if error is None and (
            self._requests == NONE
            or (not failed and (self._requests == ERRORS or (self._sample < 1 and self._random() >= self._sample)))
        ):
            return None
        now = self._clock()
        route, ms = route_of(request, facts), round(seconds * 1000, 3)
        entry: dict[str, Any] = {
            "level": "ERROR" if error is not None or status >= 500 else "WARNING" if failed else "INFO",
            "time": format_utc(now),
            "requestId": request_id or "-",
            "route": route,
        }
        if facts.project is not None and not facts.project.startswith(_CREDENTIAL):
            entry["project"] = facts.project
        if facts.principal is not None:
            entry["principal"] = principal_hash(facts.principal)
        entry |= {"status": status, "ms": ms, "bytes": size, "cold": cold}
        if facts.appended is not None:
            entry["appended"] = facts.appended
        if facts.calls:
            entry["calls"] = facts.calls
            entry["attempts"] = facts.attempts
            entry["throttled"] = facts.throttled
            entry["readUnits"] = facts.read_units
            entry["writeUnits"] = facts.write_units
        headers = request.headers
        if "x-amzn-trace-id" in headers and (trace := valid_trace_id(headers["x-amzn-trace-id"])):
            entry["xAmznTraceId"] = trace
        if "traceparent" in headers and (parent := valid_traceparent(headers["traceparent"])):
            entry["traceparent"] = parent
        if error is not None:
            entry |= error
        line = dumps(entry)
        if self._metrics is None:
            return line
        appends = facts.appended is not None
        values = [
            f'"Timestamp": {now // 1_000_000}, {self._metrics[appends]}}}',
            f'"Service": {self._service}, "Route": {dumps(route)}, "Latency": {ms}',
            f'"Errors": {int(400 <= status < 500)}, "Faults": {int(status >= 500)}, "ColdStart": {int(cold)}',
            f'"Throttled": {facts.throttled}, "ReadUnits": {facts.read_units}, "WriteUnits": {facts.write_units}',
        ]
        if appends:
            values.append(f'"Appended": {facts.appended}, "Attempts": {facts.attempts}')
        return f'{line[:-1]}, "_aws": {{{", ".join(values)}}}'


UNITS = {
    "Latency": "Milliseconds",
    "Errors": "Count",
    "Faults": "Count",
    "ColdStart": "Count",
    "Throttled": "Count",
    "ReadUnits": "Count",
    "WriteUnits": "Count",
    "Appended": "Count",
    "Attempts": "Count",
}
"""The unit of each metric."""
BY_ROUTE = ("Latency", "Faults")
"""The metrics that have the dimensions `Service` and `Route`, too. Each pair of values is a metric that is paid for."""
_OF_APPENDS = ("Appended", "Attempts")


def _directives(of_appends: tuple[str, ...]) -> str:
    """Return the member that names the metrics of a line.

    Source: AWS, "Specification: Embedded metric format". A metric that is named must have a value, so lines of requests
    that append name two more.
    """
    for_all = [name for name in UNITS if name not in _OF_APPENDS or name in of_appends]
    directives = [
        {
            "Namespace": NAMESPACE,
            "Dimensions": [dimensions],
            "Metrics": [{"Name": name, "Unit": UNITS[name]} for name in names],
        }
        for dimensions, names in ((["Service"], for_all), (["Service", "Route"], BY_ROUTE))
    ]
    return f'"CloudWatchMetrics": {dumps(directives)}'


def route_of(request: Request, facts: Facts) -> str:
    """Return the method and the pattern of the request's route; `OPTIONS`; or `NO_ROUTE`."""
    if facts.route is not None:
        return facts.route
    if request.method == "OPTIONS":
        return "OPTIONS"
    try:
        route, _ = match(request.method, request.path)
    except SlttError:
        return NO_ROUTE
    return route.name


def principal_hash(principal_id: str) -> str:
    """Return the first 16 hexadecimal digits of the id's SHA-256: it finds the requests of one principal."""
    return sha256(principal_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def valid_traceparent(text: str) -> str | None:
    """Return the header `traceparent` if it is valid, else `None` (W3C, "Trace Context", section 3.2).

    A later version may add parts; they are left out.
    """
    parts = text.strip(" \t").split("-", 4)
    if [len(part) for part in parts[:4]] != [2, 32, 16, 2] or any(part.strip(_HEX) for part in parts[:4]):
        return None
    version, trace, parent, _ = parts[:4]
    if version == "ff" or not trace.strip("0") or not parent.strip("0") or (version == "00" and len(parts) > 4):
        return None
    return "-".join(parts[:4])


def valid_trace_id(text: str) -> str | None:
    """Return the valid fields of the header `X-Amzn-Trace-Id`, or `None` if it has no valid `Root`.

    Source: AWS X-Ray Developer Guide, "Tracing header". Callers may add fields of their own; they are left out.
    """
    fields = {}
    for part in text[:500].split(";"):
        name, _, value = part.strip(" \t").partition("=")
        if name not in fields and _is_trace_field(name, value):
            fields[name] = value
    return ";".join(f"{name}={value}" for name, value in fields.items()) if "Root" in fields else None


def _is_trace_field(name: str, value: str) -> bool:
    if name in ("Root", "Self"):
        parts = value.split("-")
        return [len(part) for part in parts] == [1, 8, 24] and parts[0] == "1" and not "".join(parts).strip(_HEX)
    if name == "Parent":
        return len(value) == 16 and not value.strip(_HEX)
    return name == "Sampled" and value in ("0", "1", "?")


def check_requests(text: str) -> str:
    """Return the value of LOG_REQUESTS; raises `ValueError` if it is not valid."""
    if text not in (ALL, ERRORS, NONE):
        raise ValueError(f"is not {ALL}, {ERRORS} or {NONE}")
    return text


def check_sample(text: str) -> float:
    """Return the value of LOG_SAMPLE; raises `ValueError` if it is not a number from 0 to 1."""
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit()) or len(text) > 40 or float(text) > 1:
        raise ValueError("is not a number from 0 to 1")
    return float(text)
