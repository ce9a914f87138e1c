"""`Api`: returns a response for every request, also if an error occurs."""

from __future__ import annotations

from sltt_core.api.access import GRANT, OPEN, READ, AllowAll, check_access
from sltt_core.api.bodies import WORTH_BYTES, accepts_gzip, gzipped
from sltt_core.api.context import Context
from sltt_core.api.cors import Cors
from sltt_core.api.handlers import BODIES, HANDLERS
from sltt_core.api.http import Response
from sltt_core.api.problems import problem_response
from sltt_core.api.routes import allowed_at, match, parse_parameters
from sltt_core.base.errors import (
    IssuerUnavailable,
    MethodNotAllowed,
    NotAllowed,
    PartialAppend,
    ServerBusy,
    SlttError,
    StorageUnavailable,
)
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import now_utc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sltt_core.api.access import Access, Authenticator
    from sltt_core.api.http import Request
    from sltt_core.base.runtime import Runtime
    from sltt_core.log.storage import BaseStorageService

_ID_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
NO_DESCRIPTOR = "the server has no free file descriptor"
_EXHAUSTED = (23, 24)
"""ENFILE and EMFILE of errno(3): no file descriptor is free in the system or in this process."""
_UNEXPECTED = "an internal error occurred; the request did not cause it"


class Api:
    """The REST API of a storage. Several threads may call `handle`."""

    def __init__(
        self,
        storage: BaseStorageService,
        server_name: str = "sltt",
        *,
        access: Access | None = None,
        authenticator: Authenticator | None = None,
        cors: Sequence[str] = (),
        cors_setting: str = "--cors",
        runtime: Runtime = SYSTEM,
        report: Callable[[BaseException], None] | None = None,
        checks: Sequence[Callable[[], str | None]] = (),
    ) -> None:
        """`access` decides which actions are allowed; by default, all are.

        `authenticator` verifies who sends a request that has no principal yet; by default, such a request is anonymous.
        `cors` lists the origins whose pages may use the API, or contains `*`; `cors_setting` is its name in hints.
        `report` is called with each error that the client did not cause, before the response is created. `checks` are
        called by `/ready`: each returns the reason why the server is not ready, or `None`.
        """
        self.server_name = server_name
        self._access = AllowAll() if access is None else access
        self._authenticator = authenticator
        self._clock = runtime.clock
        self._cors = Cors(cors, cors_setting, challenges=authenticator is not None)
        self._new_token = runtime.new_token
        self._report = report
        self._context = Context(
            storage, server_name, self._access, lambda: now_utc(runtime.clock), checks, authenticator
        )

    def handle(self, request: Request) -> Response:
        """Return the response to a request. The method does not raise, and does not block for `wait`.

        The caller waits if `Response.wait` is set. The body may be a stream (`Response.body`): its errors are raised
        to the caller that reads it.
        """
        try:
            self._cors.check(request)
            if request.method == "OPTIONS":
                response = self._options(request)
            else:
                facts = request.facts
                route, found = match(request.method, request.path, with_auth=self._authenticator is not None)
                if facts is not None:
                    facts.route = route.name
                if self._authenticator is not None and route.action != OPEN and request.principal is None:
                    request = request.replace(principal=self._authenticator.authenticate(request.headers))
                if facts is not None and request.principal is not None:
                    facts.principal = request.principal.id
                parameters = parse_parameters(route, found, request.query)
                if route.handler in BODIES:
                    parameters |= BODIES[route.handler](self._context, request)
                if facts is not None:
                    facts.note_project(parameters)
                check_access(self._access, request.principal, route.action, parameters)
                response = HANDLERS[route.handler](self._context, request, parameters)
                if route.method == "GET" and route.action in (READ, GRANT):
                    # The role may have been taken away meanwhile, and what was written after that was read.
                    check_access(self._access, request.principal, route.action, parameters)
                response = response.replace(headers=(*response.headers, ("cache-control", route.cache)))
        except Exception as error:
            return self.failed(error, request)
        return self._finish(response, request, self.request_id(request.headers))

    def failed(self, error: Exception, request: Request) -> Response:
        """Return the response for an exception; report it if the client did not cause it."""
        problem = error if isinstance(error, SlttError) else SlttError(_UNEXPECTED)
        if isinstance(error, PartialAppend) and request.facts is not None:
            request.facts.appended = sum(seq is not None for seq in error.seqs)
        if _no_descriptor(error) and not isinstance(error, PartialAppend):
            uncertain = isinstance(error, StorageUnavailable)
            problem = StorageUnavailable(NO_DESCRIPTOR) if uncertain else ServerBusy(NO_DESCRIPTOR)
            error = problem
        response = self.problem(problem, request)
        unexpected = problem is not error or _failed(problem)
        if unexpected and self._report is not None:
            self._report(error)
        return response.replace(error=error) if unexpected or problem.operator_hint else response

    def problem(self, error: SlttError, request: Request) -> Response:
        """Return the response for an error. A server also calls this for errors before `handle`."""
        request_id = self.request_id(request.headers)
        response = problem_response(
            error, server=self.server_name, timestamp=now_utc(self._clock), request_id=request_id
        )
        return self._finish(response, request, request_id)

    def refuse_all_but_admins(
        self, request: Request, methods: Sequence[str], *, everyone: bool = False
    ) -> Response | None:
        """Return `None` if the sender of a request is an administrator, else the response that refuses it.

        It is for a path of the server that has no route. The path has these `methods`. With `everyone`, only the method
        is checked.
        """
        try:
            if request.method not in methods:
                raise MethodNotAllowed(request.method, methods)
            if not everyone:
                principal = request.principal
                if self._authenticator is not None and principal is None:
                    principal = self._authenticator.authenticate(request.headers)
                if not self._access.is_admin(principal):
                    raise NotAllowed("only an administrator, or a client on the server's machine, may ask for this")
        except Exception as error:
            return self.failed(error, request)
        return None

    def request_id(self, headers: Mapping[str, str]) -> str:
        """Return the `X-Request-Id` of the client if it is valid, else a new id."""
        given = headers.get("x-request-id", "")
        return given if 0 < len(given) <= 64 and not given.strip(_ID_CHARS) else self._new_token()[:16]

    def _options(self, request: Request) -> Response:
        methods = allowed_at(request.path, with_auth=self._authenticator is not None)
        return Response(204, (("allow", ", ".join(methods)), *self._cors.preflight_headers(request, methods)), b"")

    def _finish(self, response: Response, request: Request, request_id: str) -> Response:
        """Add the common headers, replace a body that the client has by a 304, and compress a large body."""
        headers = [*response.headers, ("x-request-id", request_id), *self._cors.headers(request)]
        status, body = response.status, response.body
        if response.header("cache-control") is None and status != 204:
            headers.append(("cache-control", "no-store"))
        if isinstance(body, bytes):
            worth_it = len(body) >= WORTH_BYTES
            if status == 200 and _has_already(request, response.header("etag")):
                status, body = 304, b""
                headers = [(name, value) for name, value in headers if name != "content-type"]
            if worth_it:
                headers.append(("vary", "accept-encoding"))
                if body and accepts_gzip(request.headers):
                    body = gzipped(body)
                    headers.append(("content-encoding", "gzip"))
        return Response(status, _joined(headers, "vary"), body, response.wait)


def _failed(error: SlttError) -> bool:
    """Return whether the client did not cause the error: a damaged log, a full disk, a database that does not respond.

    Its `__cause__` has details that clients do not get.
    """
    cause = error.cause if isinstance(error, PartialAppend) else error
    return cause.status == 500 or isinstance(cause, (StorageUnavailable, ServerBusy, IssuerUnavailable))


def _no_descriptor(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, is that no file descriptor was free."""
    for _ in range(20):  # a chain of causes may be a circle
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            return True
        error = error.__cause__ or error.__context__
    return False


def _has_already(request: Request, tag: str | None) -> bool:
    """Return whether the client has the response with this entity tag (RFC 9110, section 13.1.2: weak comparison)."""
    given = request.headers.get("if-none-match")
    if tag is None or given is None:
        return False
    tags = [part.strip().removeprefix("W/") for part in given.split(",")]
    return "*" in tags or tag.removeprefix("W/") in tags


def _joined(headers: list[tuple[str, str]], name: str) -> tuple[tuple[str, str], ...]:
    """Join headers of the same name into one."""
    values = [value for key, value in headers if key == name]
    others = tuple((key, value) for key, value in headers if key != name)
    return (*others, (name, ", ".join(values))) if values else others
