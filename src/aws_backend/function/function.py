"""`Function`: the REST API as a Lambda function, whatever stands before it."""

from __future__ import annotations

import sys
from json import dumps
from time import monotonic

from aws_backend.function.gateway import (
    Gateway,
    body_from,
    event_response,
    principal_from,
    request_from,
    shape_of,
)
from sltt_core.base.errors import SlttError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from sltt_core.api.app import Api
    from sltt_core.api.http import Request, Response
    from sltt_core.log.storage import BaseStorageService

    class Context(Protocol):
        """What of Lambda's context is used."""

        def get_remaining_time_in_millis(self) -> int:
            """Return how long the invocation may still take."""


RESERVE_SECONDS = 0.5
"""Before Lambda ends the invocation there has to be an answer: nothing is waited for in this last while."""


def to_stderr(line: str) -> None:
    """Write a line where Lambda collects them."""
    sys.stderr.write(f"{line}\n")


class Function:
    """Answers events, one after the other, as Lambda calls a function."""

    def __init__(
        self,
        api: Api,
        storage: BaseStorageService,
        gateway: Gateway = Gateway(),  # noqa: B008 (a record cannot change)
        *,
        max_wait: float = 0.0,
        limit: Callable[[float], None] = lambda deadline: None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`max_wait` is the longest, in seconds, that an invocation waits for a change.

        `limit` is told, at the start of each invocation, until when all calls have to be done, on `clock`.
        """
        self._api = api
        self._storage = storage
        self._gateway = gateway
        self._max_wait = max_wait
        self._limit = limit
        self._clock = clock

    def __call__(self, event: Any, context: Context | None) -> dict[str, Any]:
        """Answer an event; raises `UnknownEvent` for one that is no request. Without a context, time is no matter."""
        shape = shape_of(event)
        deadline = float("inf")
        if context is not None:
            deadline = self._clock() + context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
        self._limit(deadline)
        request = request_from(event, shape, self._gateway)
        try:
            request = request.replace(
                body=body_from(event), principal=principal_from(event, self._gateway.principal_claim)
            )
            response = self._respond(request, deadline)
        except SlttError as error:
            response = self._api.problem(error, request)
        head = request.method == "HEAD"
        try:
            return event_response(response, shape, self._gateway, head=head)
        except SlttError as error:
            return event_response(self._api.problem(error, request), shape, self._gateway, head=head)

    def _respond(self, request: Request, deadline: float) -> Response:
        """Let the API answer, again and again while there is nothing new and the client would rather wait."""
        response = self._api.handle(request)
        if response.wait is None:
            return response
        until = min(deadline, self._clock() + min(response.wait.seconds, self._max_wait))
        while response.wait is not None and (left := until - self._clock()) > 0:
            if not self._storage.wait_for_changes(response.wait.cursor, left, project_id=response.wait.project_id):
                break
            response = self._api.handle(request)
        return response


def report(error: BaseException, write: Callable[[str], None] = to_stderr) -> None:
    """Tell whoever runs the function of an error that is not a client's, in one line of JSON.

    Of an unexpected one only its class and where it came from: its message may hold anything. What DynamoDB or the
    search for credentials said, which the client is not told, is in the errors of our own behind it.
    """
    from traceback import walk_tb

    frames = [f"{frame.f_globals.get('__name__')}:{line}" for frame, line in walk_tb(error.__traceback__)]
    told = {"level": "ERROR", "error": type(error).__name__, "at": frames[-8:]}
    if isinstance(error, SlttError):
        told["message"] = error.message
    causes, behind = [], error.__cause__
    while behind is not None:
        causes.append(
            f"{type(behind).__name__}: {behind.message}" if isinstance(behind, SlttError) else type(behind).__name__
        )
        behind = behind.__cause__
    if causes:
        told["because"] = causes
    write(dumps(told))
