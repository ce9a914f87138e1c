"""A real Lambda process: AWS's runtime client, Lambda's Python, the contents of the zip, and a local DynamoDB."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts import engines
from scripts.engines import DYNOXIDE
from scripts.lambda_runtime import FunctionError, LambdaProcess, TimedOut
from tests.aws_backend.function.gateways import Sent, received, rest_event, url_event
from tests.aws_backend.logs import new_table
from tests.conftest import engine_url
from tests.lambda_code import lambda_code, runtime_python
from tests.sltt_core.auth.issuers import running_issuer
from tests.sltt_core.auth.samples import SETTINGS, ec_jwk, key_set, rsa_jwk, secret_jwk, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JSON = {"content-type": "application/json"}
CHANGES = "/api/projects/p/changes"
CHANGE = b'{"projectId":"p","entityType":"t","entityId":"e","data":{}}'
APPEND = url_event(Sent("POST", "/api/changes", CHANGE, JSON))
READ = url_event(Sent("GET", CHANGES, b"", {}))
HEALTH = url_event(Sent("GET", "/health", b"", {}))


@pytest.fixture
def start() -> Iterator[Callable[..., LambdaProcess]]:
    started: list[LambdaProcess] = []

    def make(**settings: str) -> LambdaProcess:
        endpoint = settings.get("DYNAMODB_ENDPOINT") or engine_url(DYNOXIDE)
        table = {"DYNAMODB_TABLE": new_table(endpoint), "DYNAMODB_ENDPOINT": endpoint, "LOG_REQUESTS": "none"}
        started.append(LambdaProcess(lambda_code(), {**table, **settings}, python=runtime_python()))
        return started[-1]

    yield make
    for process in started:
        process.close()


def pid(function: LambdaProcess) -> int:
    assert function.process is not None
    return function.process.pid


def seqs(function: LambdaProcess) -> list[int]:
    return [change["seq"] for change in json.loads(received(function.invoke(READ)).body)["changes"]]


def test_one_process_handles_several_events(start: Callable[..., LambdaProcess]) -> None:
    function = start()
    assert received(function.invoke(APPEND)).status == 200
    first = pid(function)
    for _ in range(3):
        function.invoke(APPEND)
    assert seqs(function) == [1, 2, 3, 4]
    assert pid(function) == first
    assert function.output() == ""


def test_every_request_is_one_line_with_its_metrics(start: Callable[..., LambdaProcess]) -> None:
    function = start(LOG_REQUESTS="all", SERVER_NAME="sltt-dev")
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793"
    traced = url_event(Sent("POST", "/api/changes", CHANGE, {**JSON, "x-amzn-trace-id": f"{trace};Note=secret"}))
    for event in (traced, APPEND, READ, HEALTH, url_event(Sent("GET", "/no/secret", b"", {}))):
        function.invoke(event)
    first, second, read, health, missing = map(json.loads, function.output().splitlines())
    assert (first["cold"], first["ColdStart"], second["cold"], second["ColdStart"]) == (True, 1, False, 0)
    assert (first["xAmznTraceId"], first["project"], first["appended"]) == (trace, "p", 1)
    assert (second["calls"], second["attempts"], second["Attempts"], second["Appended"]) == (1, 1, 1, 1)
    assert (second["readUnits"], second["writeUnits"], second["WriteUnits"]) == (0, 6, 6)
    assert (read["route"], read["calls"], read["writeUnits"]) == ("GET /api/projects/{projectId}/changes", 1, 0)
    assert read["readUnits"] == read["ReadUnits"] == 0.5
    assert "calls" not in health
    assert (missing["route"], missing["level"], missing["Errors"], missing["Faults"]) == ("-", "WARNING", 1, 0)
    assert {line["Service"] for line in (first, second, read, health, missing)} == {"sltt-dev"}
    assert "secret" not in function.output()


def test_metrics_can_be_switched_off(start: Callable[..., LambdaProcess]) -> None:
    function = start(LOG_REQUESTS="all", LOG_METRICS="false")
    function.invoke(APPEND)
    (line,) = map(json.loads, function.output().splitlines())
    assert line["appended"] == 1
    assert not {"_aws", "Service"} & line.keys()


def test_a_sample_of_the_requests_is_logged(start: Callable[..., LambdaProcess]) -> None:
    function = start(LOG_REQUESTS="all", LOG_SAMPLE="0")
    function.invoke(APPEND)
    function.invoke(url_event(Sent("POST", "/api/changes", b"[]", JSON)))
    (line,) = map(json.loads, function.output().splitlines())
    assert line["status"] == 400


def test_the_keys_of_an_issuer_are_loaded_with_the_first_token(start: Callable[..., LambdaProcess]) -> None:
    texts = {name: token(name) for name in ("RS256", "ES256", "HS256")}
    with running_issuer(key_set(rsa_jwk(), ec_jwk(), secret_jwk())) as issuer:
        function = start(**{**SETTINGS, "AUTH_JWKS": issuer.url, "ACCESS_CONTROL": "none"})
        assert received(function.invoke(HEALTH)).status == 200
        assert received(function.invoke(READ)).status == 401
        assert issuer.requests == []
        for name, text in [*texts.items(), *texts.items()]:
            got = received(function.invoke(url_event(Sent("GET", CHANGES, b"", {"authorization": f"Bearer {text}"}))))
            assert got.status == (401 if name == "HS256" else 200)  # a secret at a URL is none
        assert issuer.requests == ["GET /keys?v=1"]
    assert function.output() == ""


def test_an_issuer_that_does_not_respond_is_logged_without_the_token(start: Callable[..., LambdaProcess]) -> None:
    with running_issuer("") as issuer:
        url = issuer.url
    function, text = start(**{**SETTINGS, "AUTH_JWKS": url}), token()
    event = url_event(Sent("GET", CHANGES, b"", {"authorization": f"Bearer {text}"}))
    got = received(function.invoke(event))
    assert (got.status, json.loads(got.body)["type"]) == (503, "urn:sltt:problem:issuer-unavailable")
    assert received(function.invoke(HEALTH)).status == 200
    (line,) = function.output().splitlines()
    assert json.loads(line)["error"] == "IssuerUnavailable"
    assert not any(part in line for part in text.split("."))


def test_an_error_of_the_client_is_a_response(start: Callable[..., LambdaProcess]) -> None:
    function = start()
    got = received(function.invoke(url_event(Sent("POST", "/api/changes", b"[]", JSON))))
    assert (got.status, got.headers["content-type"]) == (400, "application/problem+json")
    assert function.output() == ""


def test_an_unknown_event_fails_and_the_next_event_is_handled(start: Callable[..., LambdaProcess]) -> None:
    function = start()
    function.invoke(HEALTH)
    before = pid(function)
    with pytest.raises(FunctionError) as caught:
        function.invoke({"source": "aws.s3", "detail": {"secret": "AKIA0123456789"}})
    assert caught.value.report["errorType"] == "UnknownEvent"
    assert "detail, source" in caught.value.report["errorMessage"]
    assert "AKIA" not in json.dumps(caught.value.report) + function.output()
    assert received(function.invoke(HEALTH)).status == 200
    assert pid(function) == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"DYNAMODB_TABLE": ""}, "DYNAMODB_TABLE is not set"),
        ({"PROJECT_ID": "a b"}, "PROJECT_ID"),
        ({"CORS_ORIGINS": "app.example.org"}, "CORS_ORIGINS is not a list of origins"),
        ({"MAX_WAIT_SECONDS": "61"}, "MAX_WAIT_SECONDS is not a number of seconds from 0 to 60"),
        ({"MAX_WAIT_SECONDS": "nan"}, "MAX_WAIT_SECONDS"),
        ({"BASE_PATH": "sync/"}, "BASE_PATH"),
        ({"REST_API_BINARY": "maybe"}, "REST_API_BINARY is neither true nor false"),
        ({"LOG_REQUESTS": "some"}, "LOG_REQUESTS is not all, errors or none"),
        ({"LOG_SAMPLE": "10%"}, "LOG_SAMPLE is not a number from 0 to 1"),
        ({"LOG_METRICS": "1"}, "LOG_METRICS is neither true nor false"),
    ],
)
def test_an_invalid_setting_ends_the_init_phase(
    start: Callable[..., LambdaProcess], setting: dict[str, str], message: str
) -> None:
    with pytest.raises(FunctionError, match=message) as caught:
        start(**setting).invoke(HEALTH)
    assert caught.value.report["errorType"] == "InvalidInput"


def test_the_setting_project_id_limits_the_function_to_one_project(start: Callable[..., LambdaProcess]) -> None:
    function = start(PROJECT_ID="only")
    body = b'{"entityType":"t","entityId":"e","data":{}}'
    assert received(function.invoke(url_event(Sent("POST", "/api/changes", body, JSON)))).status == 200
    assert received(function.invoke(url_event(Sent("GET", "/api/projects/only/changes", b"", {})))).status == 200
    assert received(function.invoke(READ)).status == 404


def test_the_wait_is_limited_by_the_setting(start: Callable[..., LambdaProcess]) -> None:
    wait = url_event(Sent("GET", f"{CHANGES}?wait=60", b"", {}))
    for settings in ({}, {"MAX_WAIT_SECONDS": "0.1"}):
        got = received(start(**settings).invoke(wait, seconds=30))
        assert (got.status, json.loads(got.body)["count"]) == (200, 0)


def test_every_page_fits_as_text(start: Callable[..., LambdaProcess]) -> None:
    function = start()
    changes = [{"projectId": "p", "entityType": "t", "entityId": "e", "data": {"": '"' * 190_000}} for _ in range(10)]
    for change in changes:
        body = json.dumps(change).encode()
        assert received(function.invoke(url_event(Sent("POST", "/api/changes", body, JSON)))).status == 200
    response = function.invoke(rest_event(Sent("GET", CHANGES, b"", {"accept-encoding": "gzip"})))
    assert not response["isBase64Encoded"]
    page = json.loads(received(response).body)
    assert 1 < page["count"] == page["cursor"] < 10


# Faults


@contextmanager
def own_engine() -> Iterator[engines.Engine]:
    """An engine for one test alone."""
    engine_url(DYNOXIDE)  # skips the test if the engine cannot run
    engine = engines.start(DYNOXIDE)
    try:
        yield engine
    finally:
        assert engine.process is not None
        engine.process.send_signal(signal.SIGCONT)  # a stopped process does not handle SIGTERM
        engine.stop()


def test_a_response_is_sent_before_the_time_is_up(start: Callable[..., LambdaProcess]) -> None:
    with own_engine() as engine:
        assert engine.process is not None
        function = start(DYNAMODB_ENDPOINT=engine.url)
        assert seqs(function) == []
        engine.process.send_signal(signal.SIGSTOP)
        got = received(function.invoke(APPEND, seconds=2.5))  # a late response raises TimedOut
        engine.process.send_signal(signal.SIGCONT)
        assert (got.status, json.loads(got.body)["retryable"]) == (503, True)
        assert received(function.invoke(READ)).status == 200


def test_a_function_that_times_out_is_killed_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\ndef handler(event, context):\n    time.sleep(event['seconds'])\n    return 'done'\n"
    )
    with LambdaProcess(tmp_path, {}, python=runtime_python(), handler="slow.handler") as function:
        assert function.invoke({"seconds": 0}) == "done"
        first = function.process
        with pytest.raises(TimedOut):
            function.invoke({"seconds": 60}, seconds=0.2)
        assert first is not None
        assert first.poll() == -signal.SIGKILL
        assert function.invoke({"seconds": 0}) == "done"


def test_a_function_that_is_killed_leaves_a_valid_log(start: Callable[..., LambdaProcess]) -> None:
    with own_engine() as engine:
        assert engine.process is not None
        key = {**JSON, "idempotency-key": "tablet-7:batch-0001"}
        event = url_event(Sent("POST", "/api/changes", CHANGE, key))
        function = start(DYNAMODB_ENDPOINT=engine.url)
        assert seqs(function) == []
        engine.process.send_signal(signal.SIGSTOP)
        function.send(event, 30.0)
        function.stop()  # at any point of its work
        engine.process.send_signal(signal.SIGCONT)
        assert received(function.invoke(event)).status == 200
        assert seqs(function) == [1]


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "busy"])
def test_sigterm_ends_the_process_without_output(start: Callable[..., LambdaProcess], idle: bool) -> None:
    with own_engine() as engine:
        assert engine.process is not None
        function = start(DYNAMODB_ENDPOINT=engine.url)
        function.invoke(APPEND)
        process = function.process
        assert process is not None
        if not idle:
            engine.process.send_signal(signal.SIGSTOP)
            function.send(APPEND, 30.0)
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
        engine.process.send_signal(signal.SIGCONT)
        assert function.output() == ""
        assert received(function.invoke(READ)).status == 200
        assert function.process is not process


def test_an_unreachable_dynamodb_is_logged_and_does_not_end_the_init_phase(start: Callable[..., LambdaProcess]) -> None:
    # The function calls DynamoDB only with the first request. The region does not exist.
    function = start(
        DYNAMODB_ENDPOINT="",
        DYNAMODB_REGION="nowhere-1",
        AWS_ACCESS_KEY_ID="AKIDEXAMPLE",
        AWS_SECRET_ACCESS_KEY="very-secret",
        RES_OPTIONS="timeout:1 attempts:1",
    )
    got = received(function.invoke(READ))
    assert (got.status, json.loads(got.body)["type"]) == (503, "urn:sltt:problem:storage-unavailable")
    lines = function.output().splitlines()
    logged = json.loads(lines[0])
    assert (logged["level"], logged["error"]) == ("ERROR", "StorageUnavailable")
    assert logged["because"][0].startswith("ConnectFailed: ")
    assert "very-secret" not in function.output()
    assert "AKIDEXAMPLE" not in function.output()


def status_of(event: dict[str, Any], function: LambdaProcess) -> int:
    return received(function.invoke(event)).status


def test_an_unexpected_error_is_one_line_in_the_log(start: Callable[..., LambdaProcess], tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        f"""
import sys
sys.path.insert(0, {str(lambda_code())!r})
from aws_backend.lambda_handler import handler
def broken(project_id):
    raise RuntimeError("secret key AKIA0123456789")
handler._storage._stats = broken
"""
    )
    settings = {"DYNAMODB_TABLE": "broken", "DYNAMODB_ENDPOINT": engine_url(DYNOXIDE), "LOG_REQUESTS": "errors"}
    stats = url_event(Sent("GET", "/api/projects/p/stats", b"", {}))
    with LambdaProcess(tmp_path, settings, python=runtime_python(), handler="broken.handler") as function:
        assert [status_of(stats, function), status_of(HEALTH, function)] == [500, 200]
        (line,) = function.output().splitlines()
    logged = json.loads(line)
    assert logged["error"] == "RuntimeError"
    assert logged["at"][-1] == "broken:6"
    module, _, line_number = logged["at"][0].partition(":")
    assert module == "sltt_core.api.app"
    assert int(line_number) > 1
    assert "AKIA" not in line
