"""`Traces`: spans of OpenTelemetry for requests and for calls of DynamoDB (extra `otel`).

A span has the attributes of the semantic conventions for HTTP and for database clients. It has no path, no query and no
project. The program configures where spans are sent (`opentelemetry.trace.set_tracer_provider`).
"""

from __future__ import annotations

from time import time_ns

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sltt_core.api.http import Facts
from sltt_core.api.request_log import NO_ROUTE, route_of, valid_traceparent
from sltt_core.base.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import TracerProvider

    from sltt_core.api.http import Request, Response
    from sltt_core.base.runtime import Observer

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE")


class Traces:
    """Creates the spans. It is an observer of a storage's calls, on any thread."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """`provider` is by default the one that the program has set."""
        self._tracer = trace.get_tracer("sltt", __version__, provider)
        self.following: Observer | None = None
        """Is notified of calls, too."""

    def handle(self, request: Request, handle: Callable[[], Response]) -> Response:
        """Handle a request in a span, whose parent is the span in its header `traceparent`.

        The span lasts as long as a thread works for the request: a request that waits for a change has several.
        """
        parent = valid_traceparent(request.headers.get("traceparent", ""))
        carrier = {} if parent is None else {"traceparent": parent}
        span = self._tracer.start_span(
            "request", context=TraceContextTextMapPropagator().extract(carrier), kind=SpanKind.SERVER
        )
        token = contexts.attach(trace.set_span_in_context(span))
        try:
            response = handle()
            route = route_of(request, request.facts or Facts())
            method = request.method if request.method in _METHODS else "_OTHER"
            span.update_name(route if route != NO_ROUTE else method)
            span.set_attribute("http.request.method", method)
            span.set_attribute("http.response.status_code", response.status)
            if route != NO_ROUTE:
                span.set_attribute("http.route", route.partition(" ")[2] or route)
            if response.status >= 500:
                span.set_attribute("error.type", str(response.status))
                span.set_status(Status(StatusCode.ERROR))
            return response
        finally:
            contexts.detach(token)
            span.end()

    def on_call(
        self,
        operation: str,
        attempts: int,
        throttled: int,
        seconds: float,
        read_units: float | None,
        write_units: float | None,
    ) -> None:
        end = time_ns()
        span = self._tracer.start_span(
            f"DynamoDB.{operation}", kind=SpanKind.CLIENT, start_time=end - int(seconds * 1e9)
        )
        span.set_attribute("db.system.name", "aws.dynamodb")
        span.set_attribute("db.operation.name", operation)
        span.set_attribute("sltt.attempts", attempts)
        span.set_attribute("sltt.throttled", throttled)
        for name, units in (("sltt.read_units", read_units), ("sltt.write_units", write_units)):
            if units is not None:
                span.set_attribute(name, units)
        span.end(end)
        if self.following is not None:
            self.following.on_call(operation, attempts, throttled, seconds, read_units, write_units)
