"""The ways into the REST API that the HTTP suite runs over. A new way in is a class with `ask`, added to `WAYS`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from sltt_core.api.app import Api
from sltt_core.api.http import Request
from sltt_core.server.rest_api_server import RestApiServer
from tests.contract.logs import DynamoDBLocalLog, DynoxideLog, Log, SqliteLog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "suite"
JSON = {"content-type": "application/json"}


class Answer(NamedTuple):
    """What came back: names of headers in lower case, the body as sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class AppWay:
    """The API itself, called as a function."""

    name = "app"
    log_type: type[Log] = SqliteLog

    def __init__(self, folder: Path, project_id: str | None = None, **options: Any) -> None:
        self.log = self.log_type(folder)
        self.storage = self.log.open(project_id)
        self._api = Api(self.storage, NAME, **options)

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        path, _, query = target.partition("?")
        answer = self._api.handle(Request(method, path, query, {"host": "localhost", **(headers or {})}, body))
        assert len({name for name, _ in answer.headers}) == len(answer.headers)
        return Answer(answer.status, dict(answer.headers), b"" if method == "HEAD" else answer.body)

    def close(self) -> None:
        self.log.close()


class ServerWay:
    """The API behind a real server, on a real port."""

    name = "server"
    log_type: type[Log] = SqliteLog

    def __init__(self, folder: Path, project_id: str | None = None, **options: Any) -> None:
        self.log = self.log_type(folder)
        self.storage = self.log.make(project_id)
        self._server = RestApiServer(storage=self.storage, server_name=NAME, **options)
        self._server.start(port=0)
        self.url = self._server.url
        self._client = httpx.Client(timeout=30)

    def ask(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        url = httpx.URL(self.url, raw_path=target.encode())
        request = httpx.Request(method, url, content=body, headers={"accept-encoding": "identity", **(headers or {})})
        answer = self._client.send(request, stream=True)
        raw = b"".join(answer.iter_raw())
        answer.close()
        return Answer(answer.status_code, dict(answer.headers), raw)

    def close(self) -> None:
        self._client.close()
        self._server.stop()
        self.log.close()


def on(way: type[AppWay] | type[ServerWay], log_type: type[Log]) -> Callable[..., Way]:
    """Make a way whose log is of another kind."""
    made: Callable[..., Way] = type(way.__name__, (way,), {"log_type": log_type, "name": f"{way.name}-{log_type.name}"})
    return made


Way = AppWay | ServerWay
WAYS: list[Callable[..., Way]] = [
    AppWay,
    ServerWay,
    on(AppWay, DynoxideLog),
    on(ServerWay, DynoxideLog),
    on(AppWay, DynamoDBLocalLog),
]


def post(way: Way, *changes: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
    """Append changes, filling in what every change needs."""
    full = [{"projectId": "p", "entityType": "note", "entityId": "e", "data": {}, **change} for change in changes]
    return way.ask("POST", "/api/changes", json.dumps(full).encode(), {**JSON, **(headers or {})})
