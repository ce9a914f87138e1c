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
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import SlttError
from sltt_core.base.runtime import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from sltt_core.api.app import Api
    from sltt_core.api.http import Request, Response
    from sltt_core.base.runtime import Runtime
    from sltt_core.log.storage import BaseStorageService

    class Context(Protocol):
        """The part of Lambda's context object that `Function` uses."""

        def get_remaining_time_in_millis(self) -> int:
            """Return the time left for the invocation, in milliseconds."""


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
        runtime: Runtime = SYSTEM,
    ) -> None:
        """Create a handler for an API and the storage behind it.

        `max_wait` is the longest time, in seconds, that an invocation waits for a change. `limit` is called at the
        start of each invocation with its deadline, in seconds of the steady clock. `warm` is called for a
        scheduled event or a warm-up event; it raises nothing.
        """
        self._api = api
        self._storage = storage
        self._gateway = gateway
        self._max_wait = max_wait
        self._limit = limit
        self._warm = warm
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
        deadline = float("inf")
        if context is not None:
            deadline = self._clock() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
        self._limit(deadline)
        request = request_from(event, shape, self._gateway)
        try:
            request = with_body(request, body_from(event), shape, event)
            request = request.replace(principal=principal_from(event, self._gateway.principal_claim))
            response = self._respond(request, deadline)
            if request.method != "HEAD":
                response = collect_body(response, lambda: self._clock() < deadline)
        except Exception as error:
            response = self._api.failed(error, request)
        head = request.method == "HEAD"
        try:
            return event_response(response, shape, self._gateway, head=head)
        except SlttError as error:
            return event_response(self._api.problem(error, request), shape, self._gateway, head=head)

    def _respond(self, request: Request, deadline: float) -> Response:
        """Return the API's response; if it waits for a change, handle the request again after one."""
        response = self._api.handle(request)
        if response.wait is None:
            return response
        from sltt_core.api.waiting import Waiting

        waiting = Waiting(response.wait, self._clock(), max_seconds=self._max_wait, deadline=deadline)
        while (wait := response.wait) and (seconds := waiting.seconds_left(wait, self._clock())):
            if not self._storage.wait_for_changes(wait.cursor, seconds, project_id=wait.project_id):
                break
            response = self._api.handle(request)
        return response


def report(error: BaseException, write: Callable[[str], None] = to_stderr) -> None:
    """Write an error of the function itself, not of a client, as one line of JSON.

    For an unexpected error, the line has only its class and its place, because its message may contain anything. The
    causes of an `SlttError` are included: they hold what DynamoDB or the credential sources reported, which the client
    does not see.
    """
    from traceback import walk_tb

    frames = [f"{frame.f_globals.get('__name__')}:{line}" for frame, line in walk_tb(error.__traceback__)]
    entry = {"level": "ERROR", "error": type(error).__name__, "at": frames[-8:]}
    if isinstance(error, SlttError):
        entry["message"] = error.message
    causes, behind = [], error.__cause__
    while behind is not None:
        causes.append(
            f"{type(behind).__name__}: {behind.message}" if isinstance(behind, SlttError) else type(behind).__name__
        )
        behind = behind.__cause__
    if causes:
        entry["because"] = causes
    write(dumps(entry))
