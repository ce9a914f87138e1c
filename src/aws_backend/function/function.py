"""`Function`: the REST API as a Lambda function, behind API Gateway or a function URL."""

from __future__ import annotations

import sys

from aws_backend.function.gateway import (
    Gateway,
    body_from,
    collect_body,
    event_response,
    is_warm_up,
    principal_from,
    request_from,
    shape_of,
    with_body,
)
from sltt_core.api.http import Facts
from sltt_core.api.problems import described
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import SlttError
from sltt_core.base.runtime import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from sltt_core.api.app import Api
    from sltt_core.api.http import Request, Response
    from sltt_core.api.request_log import CallCounter, RequestLog
    from sltt_core.base.runtime import Runtime
    from sltt_core.log.storage import BaseStorageService

    class Context(Protocol):
        """The part of Lambda's context object that `Function` uses."""

        def get_remaining_time_in_millis(self) -> int:
            """Return the time left for the invocation, in milliseconds."""


_TWO_AUTHORITIES = "the gateway's authorizer names the principal, so the settings AUTH_... are not used"
RESERVE_SECONDS = 0.5
"""The response must be ready this long before Lambda ends the invocation."""


def to_stderr(line: str) -> None:
    """Write a line to standard error, which Lambda logs."""
    sys.stderr.write(f"{line}\n")


class Function:
    """A Lambda handler. It handles one event at a time, as Lambda calls it."""

    def __init__(
        self,
        api: Api,
        storage: BaseStorageService,
        gateway: Gateway = Gateway(),  # noqa: B008 (a record cannot change)
        *,
        max_wait: float = 0.0,
        limit: Callable[[float], None] = lambda deadline: None,
        warm: Callable[[], None] = lambda: None,
        verifies: bool = False,
        log: RequestLog | None = None,
        counter: CallCounter | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Create a handler for an API and the storage behind it.

        `max_wait` is the longest time, in seconds, that an invocation waits for a change. `limit` is called at the
        start of each invocation with its deadline, in seconds of the steady clock. `warm` is called for a
        scheduled event or a warm-up event; it raises nothing. `verifies` tells whether the API verifies tokens: then
        the first principal of a gateway's authorizer, whose requests the API does not verify, is logged as a warning.
        `log` decides which requests are logged; by default, those with an error that concerns the operator. `counter`
        is the observer of the storage, which counts the calls of each request.
        """
        if log is None:
            from sltt_core.api.request_log import NONE, RequestLog

            log = RequestLog(NONE, runtime=runtime)
        self._api = api
        self._storage = storage
        self._gateway = gateway
        self._max_wait = max_wait
        self._limit = limit
        self._warm = warm
        self._verifies = verifies
        self._log = log
        self._counter = counter
        self._clock = runtime.steady_clock

    def __call__(self, event: Any, context: Context | None) -> dict[str, Any]:
        """Return the response to an event; raises `UnknownEvent` for an event that is not a request.

        Without a context, the invocation has no deadline. A streamed body is collected first, because Lambda does not
        pass on a stream. A stream that is too large, or not complete by the deadline, becomes an error response.
        """
        if is_warm_up(event):
            self._warm()
            return {"statusCode": 200, "headers": {}, "body": "", "isBase64Encoded": False}
        shape = shape_of(event)
        begin, deadline = self._clock(), float("inf")
        if context is not None:
            deadline = begin + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
        self._limit(deadline)
        facts = Facts()
        if self._counter is not None:
            self._counter.count_for(facts)
        request = request_from(event, shape, self._gateway).replace(facts=facts)
        head = request.method == "HEAD"
        try:
            request = with_body(request, body_from(event), shape, event)
            request = request.replace(
                principal=principal_from(event, self._gateway.principal_claim), max_wait=self._max_wait
            )
            if self._verifies and request.principal is not None:
                self._verifies = False  # once is enough
                to_stderr(dumps({"level": "WARNING", "message": _TWO_AUTHORITIES}))
            response = self._respond(request, deadline)
            if not head:
                response = collect_body(response, lambda: self._clock() < deadline)
        except Exception as error:
            response = self._api.failed(error, request)
        try:
            result = event_response(response, shape, self._gateway, head=head)
        except SlttError as error:
            response = self._api.problem(error, request)
            result = event_response(response, shape, self._gateway, head=head)
        line = self._log.line(
            request,
            facts,
            status=response.status,
            seconds=self._clock() - begin,
            size=0 if head else len(response.content),
            request_id=response.header("x-request-id"),
            error=None if response.error is None else described(response.error),
        )
        if line is not None:
            to_stderr(line)
        return result

    def _respond(self, request: Request, deadline: float) -> Response:
        """Return the API's response; if it waits for a change, handle the request again after one."""
        response = self._api.handle(request)
        if response.wait is None:
            return response
        from sltt_core.api.waiting import Waiting

        begin = self._clock()
        waiting = Waiting(response.wait, begin, max_seconds=self._max_wait, deadline=deadline)
        while (wait := response.wait) and (seconds := waiting.seconds_left(wait, self._clock())):
            changed = self._storage.wait_for_any(wait.cursors, seconds)
            response = self._api.handle(request.replace(waited=round(self._clock() - begin, 3)))
            if not changed:
                break
        return response


def report(error: BaseException, write: Callable[[str], None] = to_stderr, **about: object) -> None:
    """Write an error that concerns the operator as one line of JSON: `about` it, and what `described` returns."""
    write(dumps({"level": "ERROR", **about, **described(error)}))
