"""`Function` as Lambda calls it: events and responses, deadlines, waiting, and logged errors."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.function.function import RESERVE_SECONDS, Function, report
from aws_backend.function.gateway import MAX_PAGE_BYTES, Gateway, UnknownEvent
from aws_backend.function.settings import function_of
from scripts.engines import DYNOXIDE
from sltt_core.api.app import Api
from sltt_core.api.bearer import authenticator_from_environment
from sltt_core.api.handlers import HANDLERS
from sltt_core.api.http import Response
from sltt_core.base.errors import InvalidInput, NotAllowed, StorageError, StorageUnavailable
from sltt_core.base.runtime import Runtime
from sltt_core.sqlite.storage import LocalStorageService
from tests.aws_backend.function.gateways import Invocation, Sent, http_2_event, received, rest_event, url_event
from tests.aws_backend.logs import new_table
from tests.conftest import engine_url
from tests.contract.logs import new
from tests.sltt_core.api.client import Asks
from tests.sltt_core.auth.samples import SETTINGS, claims, token
from tests.sltt_core.samples import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CHANGES = "/api/projects/p/changes"
CHANGE = b'{"projectId":"p","entityType":"t","entityId":"e","data":{}}'
JSON = {"content-type": "application/json"}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LocalStorageService]:
    with LocalStorageService(tmp_path / "log.db", page_bytes=MAX_PAGE_BYTES) as opened:
        yield opened


def function(storage: LocalStorageService, gateway: Gateway | None = None, **options: Any) -> Function:
    return Function(Api(storage), storage, gateway or Gateway(), **options)


def get(target: str, **headers: str) -> Sent:
    return Sent("GET", target, b"", headers)


POST = Sent("POST", "/api/changes", CHANGE, JSON)


def test_a_change_is_appended_and_read(storage: LocalStorageService) -> None:
    handler = function(storage)
    assert received(handler(url_event(POST), Invocation())).status == 200
    got = received(handler(http_2_event(get(CHANGES)), Invocation()))
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    assert [change["entityId"] for change in json.loads(got.body)["changes"]] == ["e"]


def test_an_event_that_is_not_a_request_raises_unknown_event(storage: LocalStorageService) -> None:
    with pytest.raises(UnknownEvent):
        function(storage)({"source": "aws.s3"}, Invocation())


def test_an_invalid_base64_body_is_a_400(storage: LocalStorageService) -> None:
    event = {**url_event(POST), "body": "="}
    got = received(function(storage)(event, Invocation()))
    assert (got.status, json.loads(got.body)["field"]) == (400, "body")


def test_a_change_records_its_principal(storage: LocalStorageService) -> None:
    event = http_2_event(POST)
    event["requestContext"]["authorizer"] = {"jwt": {"claims": {"sub": "u-1"}, "scopes": None}}
    assert received(function(storage)(event, Invocation())).status == 200
    assert storage.get_change(1, project_id="p").change_by == "u-1"


def test_an_authorizer_without_a_principal_is_a_403(
    storage: LocalStorageService, capsys: pytest.CaptureFixture[str]
) -> None:
    event = http_2_event(POST)
    event["requestContext"]["authorizer"] = {"jwt": {"claims": {"email": "n@example.org"}, "scopes": None}}
    got = received(function(storage)(event, Invocation()))
    assert got.status == 403
    assert "hint" not in json.loads(got.body)
    (line,) = capsys.readouterr().err.splitlines()
    assert "PRINCIPAL_CLAIM" in json.loads(line)["hint"]
    assert storage.get_all_projects().projects == ()


@pytest.mark.parametrize("event", [rest_event, http_2_event, url_event])
def test_an_authorizer_of_the_gateway_is_used_instead_of_tokens_and_this_is_logged_once(
    storage: LocalStorageService, event: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    authenticator = authenticator_from_environment(SETTINGS)
    handler = Function(Api(storage, authenticator=authenticator), storage, verifies=True)
    bearer = {**JSON, "authorization": f"Bearer {token(payload=claims(sub='of-the-token'))}"}
    assert received(handler(event(POST), Invocation())).status == 401
    assert received(handler(event(POST._replace(headers=bearer)), Invocation())).status == 200
    assert storage.get_change(1, project_id="p").change_by == "of-the-token"
    assert capsys.readouterr().err == ""
    for headers in (JSON, bearer, {**JSON, "authorization": "AWS4-HMAC-SHA256 Credential=x"}):
        sent = event(POST._replace(headers=headers))
        sent["requestContext"]["authorizer"] = {"principalId": "of-the-gateway"}
        assert received(handler(sent, Invocation())).status == 200
    changes = storage.get_changes_with_cursor(1, project_id="p").changes
    assert {change.change_by for change in changes} == {"of-the-gateway"}
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["level"] == "WARNING"


def test_a_bad_authorizer_of_the_gateway_is_not_replaced_by_a_token(storage: LocalStorageService) -> None:
    handler = Function(Api(storage, authenticator=authenticator_from_environment(SETTINGS)), storage, verifies=True)
    event = url_event(get(CHANGES, authorization=f"Bearer {token()}"))
    event["requestContext"]["authorizer"] = {"lambda": {}}
    assert received(handler(event, Invocation())).status == 403


def test_the_settings_of_authentication_are_used_and_checked() -> None:
    table = {"DYNAMODB_TABLE": new_table(engine_url(DYNOXIDE)), "DYNAMODB_ENDPOINT": engine_url(DYNOXIDE)}
    handler = function_of({**table, **SETTINGS})
    with handler._storage:
        assert received(handler(url_event(get("/api/projects")), Invocation())).status == 401
        assert received(handler(url_event(get("/health")), Invocation())).status == 200
        bearer = {"authorization": f"Bearer {token('ES256')}"}
        assert received(handler(url_event(get("/api/projects", **bearer)), Invocation())).status == 200
    with pytest.raises(InvalidInput, match="the setting AUTH_JWKS is missing"):
        function_of({**table, **SETTINGS, "AUTH_JWKS": ""})


def test_error_responses_have_cors_headers(storage: LocalStorageService) -> None:
    origin = "https://app.example.org"
    handler = Function(Api(storage, cors=[origin]), storage)
    got = received(handler({**url_event(POST._replace(headers={**JSON, "origin": origin})), "body": "="}, Invocation()))
    assert (got.status, got.headers["access-control-allow-origin"]) == (400, origin)


def test_a_response_that_is_too_large_becomes_an_error(storage: LocalStorageService) -> None:
    wide = LocalStorageService(storage.path)
    storage.create_changes([new(data={"": '"' * 190_000}, project_id="p") for _ in range(10)])
    with wide:
        got = received(function(wide)(rest_event(get(CHANGES)), Invocation()))
    assert (got.status, json.loads(got.body)["type"]) == (500, "urn:sltt:problem:response-too-large")


@pytest.mark.parametrize("event", [rest_event, http_2_event, url_event])
def test_every_page_fits_and_no_change_is_skipped(storage: LocalStorageService, event: Any) -> None:
    storage.create_changes([new(data={"": '"' * 190_000}, project_id="p") for _ in range(20)])
    handler = function(storage)
    cursor, seqs = 0, []
    while True:
        page = json.loads(received(handler(event(get(f"{CHANGES}?cursor={cursor}")), Invocation())).body)
        seqs += [change["seq"] for change in page["changes"]]
        if "cursor" not in page:
            break
        cursor = page["cursor"]
    assert seqs == list(range(1, 21))


# Waiting


class Clock:
    """A clock that only a test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("wanted", "max_wait", "milliseconds", "expected"),
    [
        (60, 20.0, 29_000, 20.0),
        (5, 20.0, 29_000, 5.0),
        (60, 60.0, 10_000, 10.0 - RESERVE_SECONDS),
        (60, 0.0, 29_000, None),
        (60, 20.0, 400, None),
        (0, 20.0, 29_000, None),
    ],
)
def test_the_wait_is_limited_by_the_setting_and_the_time_left(
    storage: LocalStorageService,
    monkeypatch: pytest.MonkeyPatch,
    wanted: int,
    max_wait: float,
    milliseconds: int,
    expected: float | None,
) -> None:
    clock = Clock()
    waited: list[float] = []

    def wait(cursors: Mapping[str, int], timeout: float) -> bool:
        assert cursors == {"p": 0}
        waited.append(timeout)
        return False

    monkeypatch.setattr(storage, "wait_for_any", wait)
    handler = function(storage, max_wait=max_wait, runtime=Runtime(steady_clock=clock))
    got = received(handler(url_event(get(f"{CHANGES}?wait={wanted}")), Invocation(milliseconds)))
    assert (got.status, json.loads(got.body)["count"]) == (200, 0)
    assert waited == ([] if expected is None else [expected])


def test_a_new_change_ends_the_wait(storage: LocalStorageService) -> None:
    handler = function(storage, max_wait=60.0)
    found: list[Any] = []
    event = url_event(get(f"{CHANGES}?wait=60"))
    reader = threading.Thread(target=lambda: found.append(handler(event, Invocation(60_000))))
    reader.start()
    with LocalStorageService(storage.path) as other:
        other.create_change(new(project_id="p"))
    reader.join(30)
    assert json.loads(received(found[0]).body)["count"] == 1


def test_an_error_while_waiting_is_an_error_response(
    storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_others: object) -> bool:
        raise StorageError("the disk is gone")

    monkeypatch.setattr(storage, "wait_for_any", broken)
    got = received(function(storage, max_wait=1.0)(url_event(get(f"{CHANGES}?wait=1")), Invocation()))
    assert (got.status, json.loads(got.body)["detail"]) == (500, "the disk is gone")


def test_access_is_checked_again_after_a_wait(storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch) -> None:
    revoked: list[str | None] = []

    def decide(principal: str | None, action: str, project: str | None) -> None:
        if project in revoked:
            raise NotAllowed("revoked")

    def wait(cursors: Mapping[str, int], _timeout: float) -> bool:
        (project_id,) = cursors
        revoked.append(project_id)
        storage.create_change(new(project_id=project_id))
        return True

    monkeypatch.setattr(storage, "wait_for_any", wait)
    handler = Function(Api(storage, access=Asks(decide)), storage, max_wait=60.0)
    got = received(handler(url_event(get(f"{CHANGES}?wait=60")), Invocation()))
    assert (got.status, json.loads(got.body)["detail"]) == (403, "revoked")


def test_a_function_from_the_environment_accepts_an_access() -> None:
    def deny(principal: str | None, action: str, project: str | None) -> None:
        raise NotAllowed(f"{principal} may not {action}")

    environ = {
        "DYNAMODB_TABLE": "log",
        "DYNAMODB_REGION": "us-east-1",
        "DYNAMODB_ENDPOINT": "http://127.0.0.1:9",  # no server listens there
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
    }
    handler = function_of(environ, access=Asks(deny))
    got = received(handler(url_event(get("/api/projects")), Invocation()))
    assert (got.status, json.loads(got.body)["detail"]) == (403, "None may not list")


# Streams


class Stream:
    """An iterator that counts how many chunks were taken and how often it was closed."""

    def __init__(self, *chunks: bytes | Exception, endless: bytes | None = None) -> None:
        self._chunks = iter(chunks)
        self._endless = endless
        self.taken = 0
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self.taken += 1
        chunk = next(self._chunks) if self._endless is None else next(self._chunks, self._endless)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self) -> None:
        self.closed += 1


def stream_from_health(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make /health respond with a stream."""
    monkeypatch.setitem(HANDLERS, "health", lambda *_: Response(200, (("content-type", "text/plain"),), stream))


@pytest.mark.parametrize("event", [rest_event, http_2_event, url_event])
def test_a_stream_is_collected(storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch, event: Any) -> None:
    stream = Stream(b"one ", b"", b"two")
    stream_from_health(stream, monkeypatch)
    got = received(function(storage)(event(get("/health")), Invocation()))
    assert (got.status, got.headers["content-type"], got.body) == (200, "text/plain", b"one two")
    assert stream.closed == 1


def test_a_stream_is_not_read_for_a_head_request(storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(b"one")
    stream_from_health(stream, monkeypatch)
    got = received(function(storage)(url_event(Sent("HEAD", "/health", b"", {})), Invocation()))
    assert (got.status, got.body, stream.taken, stream.closed) == (200, b"", 0, 1)


def test_a_stream_that_is_too_large_is_an_error(storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(endless=b"a" * 1_000_000)
    stream_from_health(stream, monkeypatch)
    got = received(function(storage)(url_event(get("/health")), Invocation()))
    assert (got.status, json.loads(got.body)["type"]) == (500, "urn:sltt:problem:response-too-large")
    assert (stream.taken, stream.closed) == (7, 1)


def test_a_stream_that_is_too_slow_is_an_error(storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(endless=b"")
    stream_from_health(stream, monkeypatch)
    times = iter(range(1000, 2000))
    got = received(
        function(storage, runtime=Runtime(steady_clock=lambda: next(times)))(
            url_event(get("/health")), Invocation(29_000)
        )
    )
    assert (got.status, json.loads(got.body)["type"]) == (500, "urn:sltt:problem:response-too-large")
    assert stream.taken < 30
    assert stream.closed == 1


def test_an_error_of_a_stream_is_a_response_and_is_reported(
    storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(b"one", OSError("secret"))
    stream_from_health(stream, monkeypatch)
    reported: list[BaseException] = []
    handler = Function(Api(storage, report=reported.append), storage)
    got = received(handler(url_event(get("/health")), Invocation()))
    assert (got.status, json.loads(got.body)["type"]) == (500, "urn:sltt:problem:internal")
    assert b"secret" not in got.body
    assert [type(error) for error in reported] == [OSError]
    assert stream.closed == 1


# The deadline


def test_each_invocation_sets_the_deadline_of_calls(storage: LocalStorageService) -> None:
    deadlines: list[float] = []
    handler = function(storage, limit=deadlines.append, runtime=Runtime(steady_clock=Clock()))
    handler(url_event(get("/health")), Invocation(3_000))
    handler(url_event(get("/health")), Invocation(100))
    assert deadlines == [1003.0 - RESERVE_SECONDS, 1000.1 - RESERVE_SECONDS]


def test_without_a_context_there_is_no_deadline(storage: LocalStorageService) -> None:
    deadlines: list[float] = []
    assert received(function(storage, limit=deadlines.append)(url_event(POST), None)).status == 200
    assert deadlines == [float("inf")]


# Logged errors


def test_an_unexpected_error_is_logged_in_one_line_without_its_message() -> None:
    lines: list[str] = []

    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise RuntimeError("secret key AKIA0123456789\nof two lines")

    try:
        deep(20)
    except RuntimeError as error:
        report(error, lines.append)
    (line,) = lines
    assert "\n" not in line
    assert "AKIA" not in line
    entry = json.loads(line)
    assert (entry["level"], entry["error"]) == ("ERROR", "RuntimeError")
    first = deep.__code__.co_firstlineno
    assert entry["at"] == [*[f"{__name__}:{first + 2}"] * 7, f"{__name__}:{first + 3}"]  # the innermost


def test_an_expected_error_is_logged_with_its_message() -> None:
    lines: list[str] = []
    report(StorageError("change 7 of project p is missing"), lines.append)
    assert json.loads(lines[0]) == {
        "level": "ERROR",
        "error": "StorageError",
        "at": [],
        "message": "change 7 of project p is missing",
    }


def test_the_causes_of_an_error_are_logged() -> None:
    lines: list[str] = []
    try:
        try:
            try:
                raise OSError("secret key AKIA0123456789")
            except OSError as error:
                raise NotAllowed("arn:aws:sts::1:role/sltt may not PutItem") from error
        except NotAllowed as error:
            raise StorageError("DynamoDB did not take the request") from error
    except StorageError as error:
        report(error, lines.append)
    assert json.loads(lines[0])["because"] == ["NotAllowed: arn:aws:sts::1:role/sltt may not PutItem", "OSError"]
    assert "AKIA" not in lines[0]


def test_a_failed_request_is_one_line_with_its_id_its_route_and_its_duration(
    storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise StorageUnavailable("DynamoDB cannot be reached", hint="Check DYNAMODB_ENDPOINT.") from OSError("secret")

    monkeypatch.setattr(storage, "_stats", fail)
    times = iter([1000.0, 1000.25])
    handler = function(storage, runtime=Runtime(steady_clock=lambda: next(times), clock=lambda: NANOSECONDS))
    event = url_event(Sent("GET", "/api/projects/ruth/stats", b"", {"x-request-id": "look-for-me"}))
    got = received(handler(event, Invocation()))
    assert (got.status, b"DYNAMODB" in got.body) == (503, False)
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry.pop("at")
    assert entry == {
        "level": "ERROR",
        "time": "2025-03-01T09:30:00.123Z",
        "requestId": "look-for-me",
        "route": "GET /api/projects/{projectId}/stats",
        "project": "ruth",
        "status": 503,
        "ms": 250.0,
        "bytes": len(got.body),
        "cold": True,
        "error": "StorageUnavailable",
        "message": "DynamoDB cannot be reached",
        "hint": "Check DYNAMODB_ENDPOINT.",
        "because": ["OSError"],
    }


def test_an_id_that_the_function_made_is_the_one_of_the_response(
    storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr(storage, "_stats", fail)
    got = received(function(storage)(url_event(get("/api/projects/ruth/stats")), Invocation()))
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["requestId"] == got.headers["x-request-id"] == json.loads(got.body)["requestId"]
    assert (json.loads(line)["error"], "secret" in line) == ("KeyError", False)


def test_errors_are_logged_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    report(StorageError("gone"))
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
