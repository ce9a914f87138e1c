"""What a gateway or a schedule sends besides plain requests: decompressed bodies, scheduled events, warm-up events."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.function.function import Function
from aws_backend.function.gateway import UnknownEvent
from aws_backend.function.settings import function_of
from sltt_core.api.app import Api
from sltt_core.sqlite.storage import LocalStorageService
from tests.aws_backend.function.gateways import Invocation, Sent, http_1_event, http_2_event, received, rest_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHANGE = '{"projectId":"p","entityType":"t","entityId":"e","data":{}}'
ENVIRON = {
    "DYNAMODB_TABLE": "log",
    "DYNAMODB_REGION": "us-east-1",
    "DYNAMODB_ENDPOINT": "http://127.0.0.1:9",  # no server listens there
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LocalStorageService]:
    with LocalStorageService(tmp_path / "log.db") as opened:
        yield opened


@pytest.mark.parametrize(
    ("make", "coding", "body", "status"),
    [
        (rest_event, "gzip", CHANGE, 200),
        (rest_event, "GZIP", f" \r\n[{CHANGE}]", 200),
        (rest_event, "x-gzip", CHANGE, 200),
        (rest_event, "gzip", "", 400),
        (rest_event, "gzip", "x", 400),
        (rest_event, "gzip", gzip.compress(CHANGE.encode(), mtime=0).decode("utf-8", "replace"), 400),
        (rest_event, "br", CHANGE, 415),
        (http_1_event, "gzip", CHANGE, 400),
        (http_2_event, "gzip", CHANGE, 400),
    ],
)
def test_a_body_that_a_rest_api_decompressed_is_read(
    storage: LocalStorageService, make: Any, coding: str, body: str, status: int
) -> None:
    headers = {"content-type": "application/json", "content-encoding": coding}
    event = {**make(Sent("POST", "/api/changes", b"", headers)), "body": body, "isBase64Encoded": False}
    assert received(Function(Api(storage), storage)(event, Invocation())).status == status


@pytest.mark.parametrize(
    "event",
    [
        {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}, "version": "0"},
        {"source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": "{}"},
        {"source": "serverless-plugin-warmup"},
        {"warmup": True},
    ],
)
def test_a_warm_up_event_warms_and_gets_a_response(storage: LocalStorageService, event: dict[str, Any]) -> None:
    calls: list[str] = []
    handler = Function(Api(storage), storage, warm=lambda: calls.append("warm"))
    assert received(handler(event, Invocation())).status == 200
    assert calls == ["warm"]


def test_a_warm_up_that_fails_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    handler = function_of(ENVIRON)
    capsys.readouterr()
    assert received(handler({"warmup": True}, Invocation())).status == 200
    assert "StorageUnavailable" in capsys.readouterr().err


@pytest.mark.parametrize(
    "event", [{"warmup": False}, {"warmup": "x"}, {"source": "aws.s3"}, {"source": ["aws.events"]}]
)
def test_other_events_are_not_warm_ups(storage: LocalStorageService, event: dict[str, Any]) -> None:
    with pytest.raises(UnknownEvent):
        Function(Api(storage), storage)(event, Invocation())


def test_a_request_is_not_a_warm_up(storage: LocalStorageService) -> None:
    event = {**rest_event(Sent("GET", "/health", b"", {})), "warmup": True}
    assert json.loads(received(Function(Api(storage), storage)(event, Invocation())).body)["status"] == "healthy"


def test_the_log_names_the_setting_for_an_origin(capsys: pytest.CaptureFixture[str]) -> None:
    event = rest_event(Sent("POST", "/api/changes", b"{}", {"origin": "https://app.example.org"}))
    handler = function_of(ENVIRON)
    capsys.readouterr()
    got = received(handler(event, Invocation()))
    assert (got.status, b"CORS_ORIGINS" in got.body) == (403, False)
    assert json.loads(capsys.readouterr().err)["hint"] == "Add the origin to CORS_ORIGINS."
