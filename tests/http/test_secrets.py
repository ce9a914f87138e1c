"""No secret and no token is in a log line, an error, a traceback, a response or a `repr`, whatever a request is."""

from __future__ import annotations

import io
import json
import logging
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest

from aws_backend.dynamodb.profiles import Profile
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.function.settings import function_of
from aws_backend.settings import storage_from_environment
from scripts.lambda_runtime import LambdaProcess
from sltt_core.api.access import Principal
from sltt_core.api.bearer import authenticator_from_environment
from sltt_core.api.http import Request, Response
from sltt_core.api.roles import RoleAccess
from sltt_core.auth.secret_keys import SecretKey
from sltt_core.http_client.proxies import Proxy
from sltt_core.http_client.responses import HttpResponse
from sltt_core.http_client.transport import parse_origin
from sltt_core.model.grants import NO_MEMBERS
from sltt_core.server.access_log import AccessLog
from sltt_core.server.bad_credentials import BadCredentials
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.aws_backend.function.gateways import Invocation, Sent, received, url_event
from tests.contract.logs import DynoxideLog
from tests.http.entry_points import no_pause
from tests.http.role_matrix import REVOKED, prepare
from tests.http.secret_requests import AWS, MARKED, NEEDLES, SETTINGS_WITH_SECRETS, needles_of, requests
from tests.lambda_code import lambda_code, runtime_python

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import FrameType

    from sltt_core.log.storage import BaseStorageService

    Ask = Callable[[str, str, bytes, Mapping[str, str]], tuple[int, str]]
    """Sends a request, and returns the status and the whole response as text."""


class Engine(ThreadingHTTPServer):
    """A DynamoDB that passes requests on to an engine, or refuses them as AWS does: its message repeats the headers."""

    daemon_threads = True

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target = urlsplit(url).netloc
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.refuses = False


class _Passing(BaseHTTPRequestHandler):
    server: Engine
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.refuses:
            canonical = "".join(f"{name.lower()}:{value}\n" for name, value in self.headers.items())
            message = f"The Canonical String for this request should have been\n'POST\n/\n\n{canonical}'"
            error = {"__type": "com.amazon.coral.service#InvalidSignatureException", "message": message}
            self._respond(400, json.dumps(error).encode())
            return
        connection = HTTPConnection(self.server.target, timeout=30)
        connection.request("POST", "/", body, dict(self.headers))
        response = connection.getresponse()
        self._respond(response.status, response.read())
        connection.close()

    def _respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DynoxideLog]:
    log = DynoxideLog(tmp_path)
    prepare_secrets(log.open())
    yield log
    log.close()


@pytest.fixture
def engine(log: DynoxideLog) -> Iterator[Engine]:
    engine = Engine(log.endpoint)
    Thread(target=engine.serve_forever, args=(0.01,), daemon=True).start()
    yield engine
    engine.shutdown()
    engine.server_close()


def prepare_secrets(storage: BaseStorageService) -> None:
    prepare(storage)
    storage.revoke_token(REVOKED.id, project_id="own")


def environment(engine: Engine, log: DynoxideLog) -> dict[str, str]:
    """Settings of a table on AWS, so that the credentials of the environment are used."""
    table = {"DYNAMODB_TABLE": log.table, "DYNAMODB_ENDPOINT": engine.url, "USE_LOCAL_DYNAMODB": "false"}
    return {**SETTINGS_WITH_SECRETS, **AWS, **table}


class Driven:
    """What clients got for all requests of `secret_requests`, and what must not be in it."""

    def __init__(self) -> None:
        self.responses: list[str] = []
        self.needles = list(NEEDLES)

    def drive(self, ask: Ask, *statuses: int) -> None:
        """Send all requests. The statuses are some that must occur, or this would prove little."""
        seen = set()
        for method, target, body, headers in requests():
            status, text = ask(method, target, body, headers)
            seen.add(status)
            if status == 200 and method == "POST" and target.endswith(("/tokens", "/invitations")):
                made = json.loads(text.partition("\n")[2])
                self.needles += needles_of(made.pop("token", None) or made.pop("code"))
                text = json.dumps(made)
            self.responses.append(f"{method} {target.partition('?')[0]}: {text}")
        assert seen >= set(statuses), seen

    def check(self, *logged: str) -> None:
        """Nothing of a secret is in a response or in what was logged."""
        found = [f"{needle}: {_around(text, needle)}" for needle in self.needles for text in logged if needle in text]
        found += [f"{MARKED}: {_around(text, MARKED)}" for text in logged if MARKED in text]
        found += [f"{needle}: {text}" for needle in self.needles for text in self.responses if needle in text]
        assert not found, "\n".join(found)


def _around(text: str, needle: str) -> str:
    place = text.index(needle)
    return text[max(0, place - 300) : place + 300]


def over_http(client: httpx.Client) -> Ask:
    def ask(method: str, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        response = client.request(method, target, content=body, headers=dict(headers))
        return response.status_code, f"{response.headers}\n{response.text}"

    return ask


def over_events(call: Callable[[dict[str, Any]], dict[str, Any]]) -> Ask:
    def ask(method: str, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        event = url_event(Sent(method, target, body, {"host": "localhost", **headers}))
        got = received(call(event))
        return got.status, f"{got.headers}\n{got.body.decode()}"

    return ask


class Failing(RoleAccess):
    """Raises an error in the middle of a request, which has a bug then."""

    error: Exception | None = None

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        if self.error is not None:
            raise self.error
        super().authorize(principal, action, project_id)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that is logged in this process, also what only a debugger wants; without the lines of the test's client."""
    caplog.set_level(logging.DEBUG)

    def text() -> str:
        records = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
        return "\n".join(map(logging.Formatter().format, records))

    return text


def check_server(
    storage: BaseStorageService, logged: Callable[[], str], fail: Callable[[Failing], None], status: int
) -> str:
    """Send all requests to a server, also after `fail`; check all that it shows, and return it."""
    stream = io.StringIO()
    access = Failing(storage)
    server = RestApiServer(
        storage=storage,
        port=0,
        access=access,
        authenticator=authenticator_from_environment(SETTINGS_WITH_SECRETS, storage=storage, fast=True),
        access_log=AccessLog(stream),
        bad_credentials=BadCredentials(pause=no_pause),
    )
    driven = Driven()
    with server, httpx.Client(base_url=server.url, timeout=30) as client:
        driven.drive(over_http(client), 200, 400, 401, 403, 404)
        fail(access)
        driven.drive(over_http(client), 401, status)
    shown = stream.getvalue() + logged()
    assert len(stream.getvalue().splitlines()) == len(driven.responses)
    driven.check(shown)
    return shown


def test_a_server_with_a_bug_shows_no_secret(tmp_path: Path, logged: Callable[[], str]) -> None:
    storage = LocalStorageService(tmp_path / "log.db")
    with storage:
        prepare_secrets(storage)

    def fail(access: Failing) -> None:
        access.error = RuntimeError("a bug")

    assert "Traceback" in check_server(storage, logged, fail, 500)


def test_a_server_that_dynamodb_refuses_shows_no_secret(
    log: DynoxideLog, engine: Engine, logged: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)

    def fail(access: Failing) -> None:
        engine.refuses = True
        access.members_changed("own", NO_MEMBERS)

    storage = storage_from_environment(environment(engine, log))
    assert "The Canonical String" in check_server(storage, logged, fail, 503)


def test_a_lambda_process_shows_no_secret(log: DynoxideLog, engine: Engine) -> None:
    driven = Driven()
    process = LambdaProcess(lambda_code(), environment(engine, log), python=runtime_python())
    try:
        driven.drive(over_events(process.invoke), 200, 400, 401, 403, 404)
        engine.refuses = True
        process.stop()  # the next process remembers no members
        driven.drive(over_events(process.invoke), 401, 500)
        output = process.output()
    finally:
        process.close()
    assert "The Canonical String" in output
    lines = [json.loads(line) for line in output.splitlines()]
    assert len([line for line in lines if "Route" in line]) == len(driven.responses)  # each request, with its metrics
    driven.check(output)


OURS = ("sltt_core.", "aws_backend.")


class Reprs:
    """The `repr` of each of our own objects that a function of ours gets, has or returns."""

    def __init__(self) -> None:
        self.by_text: dict[str, str] = {}
        """Where each was seen first."""
        self.classes: set[str] = set()
        self._busy = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        name = frame.f_globals.get("__name__", "")
        if self._busy or event not in ("call", "return") or not name.startswith(OURS):
            return
        self._busy = True
        for value in (*frame.f_locals.values(), argument):
            if type(value).__module__.startswith(OURS):
                self.classes.add(type(value).__name__)
                if frame.f_code.co_name not in ("__init__", "__new__"):  # it is not complete yet
                    self.by_text.setdefault(repr(value), f"{name}.{frame.f_code.co_name}")
        self._busy = False


@contextmanager
def every_repr() -> Iterator[Reprs]:
    reprs = Reprs()
    sys.setprofile(reprs)
    try:
        yield reprs
    finally:
        sys.setprofile(None)


def test_no_repr_has_a_secret(log: DynoxideLog, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
    driven = Driven()
    with every_repr() as reprs:
        function = function_of(environment(engine, log))
        driven.drive(over_events(lambda event: function(event, Invocation())), 200, 401, 403, 404)
    function._storage.close()
    holders = {"Credentials", "DeviceToken", "Token", "Invitation", "Jws", "KeySet", "SecretKey", "Verifier"}
    assert reprs.classes >= holders | {"BearerAuthenticator", "DeviceTokens", "Request", "Response", "DynamoDBClient"}
    found = {
        f"{place}: {text[:200]}" for text, place in reprs.by_text.items() for needle in driven.needles if needle in text
    }
    assert not found, "\n".join(sorted(found)[:40])


def test_no_repr_of_settings_and_messages_has_a_secret() -> None:
    """These hold secrets of other ways to credentials than the one of the test before."""
    mark = AWS["AWS_SECRET_ACCESS_KEY"]
    origin = parse_origin("http://proxy.example.org:3128")
    for holder in (
        Profile("team", {"aws_secret_access_key": mark}, {"aws_session_token": mark}),
        Proxy("https_proxy", origin, f"Basic {mark}"),
        HttpResponse(200, {"set-cookie": mark}, mark.encode()),
        Response(200, (), mark.encode()),
        Request("POST", "/api/changes", mark, {"authorization": mark}, mark.encode()),
        Credentials("AKIA", mark, mark),
        SecretKey(mark.encode()),
    ):
        assert mark not in repr(holder)
