"""Spans of OpenTelemetry, collected in memory by its own exporter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.server.traces import Traces
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import DynoxideLog

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from sltt_core.log.storage import BaseStorageService

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NEW = {"projectId": "ruth", "entityType": "t", "entityId": "secret", "data": {"secret": 1}}


class Collected:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def take(self) -> list[ReadableSpan]:
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return spans


@pytest.fixture
def collected() -> Collected:
    return Collected()


def served(storage: BaseStorageService, collected: Collected) -> RestApiServer:
    return RestApiServer(storage=storage, port=0, traces=Traces(collected.provider))


def test_a_request_is_a_span_below_the_one_of_its_client(tmp_path: Path, collected: Collected) -> None:
    with served(LocalStorageService(tmp_path / "log.db"), collected) as server:
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        httpx.get(f"{server.url}/api/projects/ruth/changes?cursor=0", headers=headers)
    (span,) = collected.take()
    assert (span.name, span.kind) == ("GET /api/projects/{projectId}/changes", SpanKind.SERVER)
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/api/projects/{projectId}/changes",
        "http.response.status_code": 200,
    }
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)


@pytest.mark.parametrize("given", ["secret", f"00-{TRACE}-{PARENT}-zz", ""])
def test_a_traceparent_that_is_not_valid_is_ignored(tmp_path: Path, collected: Collected, given: str) -> None:
    with served(LocalStorageService(tmp_path / "log.db"), collected) as server:
        httpx.get(f"{server.url}/health", headers={"traceparent": given})
    (span,) = collected.take()
    assert span.parent is None


def test_a_path_without_a_route_is_not_in_a_span(tmp_path: Path, collected: Collected) -> None:
    with served(LocalStorageService(tmp_path / "log.db"), collected) as server:
        httpx.patch(f"{server.url}/a/secret?code=secret")
    (span,) = collected.take()
    assert span.name == "PATCH"
    assert "secret" not in span.to_json()


def test_a_fault_is_an_error(tmp_path: Path, collected: Collected, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    storage = LocalStorageService(tmp_path / "log.db")
    monkeypatch.setattr(storage, "_stats", fail)
    with served(storage, collected) as server:
        assert httpx.get(f"{server.url}/api/projects/ruth/stats").status_code == 500
    (span,) = collected.take()
    assert span.status.status_code == StatusCode.ERROR
    assert "secret" not in span.to_json()


def test_the_calls_of_dynamodb_are_spans_of_their_request(tmp_path: Path, collected: Collected) -> None:
    log = DynoxideLog(tmp_path)
    try:
        with served(log.open(), collected) as server:
            collected.take()
            assert httpx.post(f"{server.url}/api/changes", json=[NEW]).status_code == 200
            metrics = httpx.get(f"{server.url}/metrics").text
    finally:
        log.close()
    *calls, request = [span for span in collected.take() if span.name != "GET /metrics"]
    assert request.name == "POST /api/changes"
    assert {span.name for span in calls} >= {"DynamoDB.TransactWriteItems"}
    assert request.context is not None
    for span in calls:
        assert span.kind == SpanKind.CLIENT
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
        assert (span.attributes or {})["db.system.name"] == "aws.dynamodb"
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    assert "secret" not in "".join(span.to_json() for span in (*calls, request))
    assert f"sltt_calls_total {len(calls)}" in metrics
