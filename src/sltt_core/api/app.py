"""`Api`: a request in, an answer out, whatever happens."""

from __future__ import annotations

from time import time_ns

from sltt_core.api import handlers
from sltt_core.api.problems import problem_response
from sltt_core.api.routes import match, parse_parameters
from sltt_core.errors import SlttError
from sltt_core.timestamps import now_utc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.api.handlers import Authorize
    from sltt_core.api.http import Request, Response
    from sltt_core.storage import BaseStorageService
    from sltt_core.timestamps import Clock


def allow_all(principal: str | None, action: str, project: str | None) -> None:
    """Let everybody do everything; for a server that only its own machine reaches."""


class Api:
    """The REST API on a storage. Calls of `handle` may come from any number of threads."""

    def __init__(
        self,
        storage: BaseStorageService,
        server_name: str = "sltt",
        *,
        authorize: Authorize = allow_all,
        clock: Clock = time_ns,
        report: Callable[[BaseException], None] | None = None,
    ) -> None:
        """`report` is told of an error that should not have happened, before the client gets a bare 500."""
        self.server_name = server_name
        self._clock = clock
        self._report = report
        self._context = handlers.Context(storage, server_name, authorize, lambda: now_utc(clock))

    def handle(self, request: Request) -> Response:
        """Answer a request. Nothing is raised."""
        try:
            route, found = match(request.method, request.path)
            parameters = parse_parameters(route, found, request.query)
            answer: Response = getattr(handlers, route.handler)(self._context, request, parameters)
            return answer
        except SlttError as error:
            return self.problem(error)
        except Exception as error:
            if self._report is not None:
                self._report(error)
            return self.problem(SlttError("something went wrong here; it is not the request's fault"))

    def problem(self, error: SlttError) -> Response:
        """Make the answer for an error, also for one that a server meets before it calls `handle`."""
        return problem_response(error, server=self.server_name, timestamp=now_utc(self._clock))
