"""The entry points of the REST API that the HTTP suite tests. To add one, write a class with `ask` and list it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from aws_backend.function.function import Function
from aws_backend.function.gateway import MAX_PAGE_BYTES, Gateway
from scripts.lambda_runtime import LambdaProcess
from sltt_core.api.app import Api
from sltt_core.api.bearer import authenticator_from_environment
from sltt_core.api.http import Request
from sltt_core.api.roles import access_from_environment
from sltt_core.server.bad_credentials import BadCredentials
from sltt_core.server.rest_api_server import RestApiServer
from tests.aws_backend.function.gateways import (
    Invocation,
    Sent,
    Undecodable,
    authorize,
    http_1_event,
    http_2_event,
    received,
    rest_event,
    url_event,
)
from tests.contract.logs import DynamoDBLocalLog, DynamoDBLog, DynoxideLog, Log, SqliteLog
from tests.lambda_code import lambda_code, runtime_python

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sltt_core.log.storage import BaseStorageService

NAME = "suite"
JSON = {"content-type": "application/json"}


class Response(NamedTuple):
    """A response: names of headers in lower case, the body verbatim."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def _with_access(options: dict[str, Any], storage: BaseStorageService) -> dict[str, Any]:
    """Replace the option `settings`, environment variables of access control, by what they describe."""
    settings = options.pop("settings", None)
    if settings is None:
        return options
    authenticator = authenticator_from_environment(settings, storage=storage)
    access = access_from_environment(storage, settings, verifies=authenticator is not None)
    return {**options, "authenticator": authenticator, "access": access}


class AppEntryPoint:
    """The API itself, called as a function."""

    name = "app"
    log_type: type[Log] = SqliteLog

    def __init__(self, folder: Path, project_id: str | None = None, **options: Any) -> None:
        self.log = self.log_type(folder)
        self.storage = self.log.open(project_id)
        self._api = Api(self.storage, NAME, **_with_access(options, self.storage))

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
        path, _, query = target.partition("?")
        response = self._api.handle(Request(method, path, query, {"host": "localhost", **(headers or {})}, body))
        assert len({name for name, _ in response.headers}) == len(response.headers)
        return Response(response.status, dict(response.headers), b"" if method == "HEAD" else response.content)

    def close(self) -> None:
        self.log.close()


async def no_pause(seconds: float) -> None:
    """Delay nothing: tests send many bad credentials."""


class ServerEntryPoint:
    """The API on a real server with a real port."""

    name = "server"
    log_type: type[Log] = SqliteLog

    def __init__(self, folder: Path, project_id: str | None = None, **options: Any) -> None:
        self.log = self.log_type(folder)
        self.storage = self.log.make(project_id)
        self._server = RestApiServer(
            storage=self.storage,
            server_name=NAME,
            bad_credentials=BadCredentials(pause=no_pause),
            **_with_access(options, self.storage),
        )
        self._server.start(port=0)
        self.url = self._server.url
        self._client = httpx.Client(timeout=30)

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
        url = httpx.URL(self.url, raw_path=target.encode())
        request = httpx.Request(method, url, content=body, headers={"accept-encoding": "identity", **(headers or {})})
        response = self._client.send(request, stream=True)
        raw = b"".join(response.iter_raw())
        response.close()
        return Response(response.status_code, dict(response.headers), raw)

    def close(self) -> None:
        self._client.close()
        self._server.stop()
        self.log.close()


class EventEntryPoint:
    """The API as a Lambda function, called with the events of API Gateway or of a function URL."""

    name = "url"
    log_type: type[Log] = DynoxideLog
    event = staticmethod(url_event)

    def __init__(self, folder: Path, project_id: str | None = None, **options: Any) -> None:
        self.log = self.log_type(folder)
        self.storage = self.log.open(project_id, page_bytes=MAX_PAGE_BYTES)
        api = Api(self.storage, NAME, **_with_access(options, self.storage))
        self._function = Function(api, self.storage, Gateway(rest_binary=True), max_wait=60.0)

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        principal: str | None = None,
    ) -> Response:
        """Send a request. `principal` is one that the gateway's authorizer has verified."""
        sent = Sent(method, target, body, {"host": "localhost", **(headers or {})})
        try:
            event = self.event(sent)
        except Undecodable as undecodable:
            pytest.skip(f"this gateway cannot deliver the request: {undecodable}")
        if principal is not None:
            authorize(event, principal)
        return Response(*received(self.call(event)))

    def call(self, event: dict[str, Any]) -> dict[str, Any]:
        return self._function(event, Invocation())

    def close(self) -> None:
        self.log.close()


class RestEntryPoint(EventEntryPoint):
    """The API as a Lambda function behind a REST API of API Gateway."""

    name = "rest-api"
    event = staticmethod(rest_event)


class Http1EntryPoint(EventEntryPoint):
    """The API as a Lambda function behind an HTTP API of API Gateway, format 1.0."""

    name = "http-api-1"
    event = staticmethod(http_1_event)


class Http2EntryPoint(EventEntryPoint):
    """The API as a Lambda function behind an HTTP API of API Gateway, format 2.0."""

    name = "http-api-2"
    event = staticmethod(http_2_event)


class ProcessEntryPoint(EventEntryPoint):
    """A real Lambda process that runs the code of the zip."""

    name = "lambda"
    event = staticmethod(http_2_event)

    def __init__(self, folder: Path, project_id: str | None = None, **options: Any) -> None:
        settings = {
            "SERVER_NAME": NAME,
            "PROJECT_ID": project_id or "",
            "CORS_ORIGINS": ",".join(options.pop("cors", "")),
            **options.pop("settings", {}),
        }
        if options:
            pytest.skip(f"another process does not accept {', '.join(options)}")
        code, python = lambda_code(), runtime_python()
        self.log = self.log_type(folder)
        assert isinstance(self.log, DynamoDBLog)
        self.storage = self.log.open(project_id)
        table = {"DYNAMODB_TABLE": self.log.table, **self.log.environ}
        self.process = LambdaProcess(code, {**table, **settings}, python=python)

    def call(self, event: dict[str, Any]) -> dict[str, Any]:
        response: dict[str, Any] = self.process.invoke(event)
        return response

    def close(self) -> None:
        self.process.close()
        self.log.close()


def on(entry_point: type[EntryPoint], log_type: type[Log]) -> Callable[..., EntryPoint]:
    """Return an entry point with another kind of log."""
    made: Callable[..., EntryPoint] = type(
        entry_point.__name__, (entry_point,), {"log_type": log_type, "name": f"{entry_point.name}-{log_type.name}"}
    )
    return made


EntryPoint = AppEntryPoint | ServerEntryPoint | EventEntryPoint
ENTRY_POINTS: list[Callable[..., EntryPoint]] = [
    AppEntryPoint,
    ServerEntryPoint,
    on(AppEntryPoint, DynoxideLog),
    on(ServerEntryPoint, DynoxideLog),
    on(AppEntryPoint, DynamoDBLocalLog),
    RestEntryPoint,
    Http1EntryPoint,
    Http2EntryPoint,
    EventEntryPoint,
    ProcessEntryPoint,
]


def inside(entry_point: EntryPoint) -> BaseStorageService:
    """Return the storage of an entry point, for tests that alter it; skip the test when it is in another process."""
    if isinstance(entry_point, ProcessEntryPoint):
        pytest.skip("the storage in another process cannot be altered")
    return entry_point.storage


def post(entry_point: EntryPoint, *changes: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """Append changes; the required fields have defaults."""
    full = [{"projectId": "p", "entityType": "note", "entityId": "e", "data": {}, **change} for change in changes]
    return entry_point.ask("POST", "/api/changes", json.dumps(full).encode(), {**JSON, **(headers or {})})


def mark(entry_point: EntryPoint, seq: int | str, body: bytes, headers: Mapping[str, str] = JSON) -> Response:
    """Send the body of `mark_as_outdated` for a change of project `p`."""
    return entry_point.ask("POST", f"/api/projects/p/changes/{seq}/outdated", body, headers)
