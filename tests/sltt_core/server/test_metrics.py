"""`/metrics`: its text, read by Prometheus' own parser, and who may read it."""

from __future__ import annotations

import asyncio
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sltt_core.api.bearer import authenticator_from_environment
from sltt_core.api.http import Facts, Request
from sltt_core.api.request_log import UNITS
from sltt_core.api.roles import access_from_environment
from sltt_core.server.access_log import AccessLog
from sltt_core.server.metrics import BUCKETS, CONTENT_TYPE, COUNTERS, GAUGES, Metrics
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import DynoxideLog
from tests.sltt_core.auth.samples import SETTINGS, claims, token

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGES = "/api/projects/ruth/changes"
NEW = {"projectId": "ruth", "entityType": "t", "entityId": "e", "data": {}}
DASHBOARD = Path(__file__).parents[3] / "deploy" / "grafana.json"


def families_in(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def values_in(text: str, **labels: str) -> dict[str, float]:
    """The values of the samples that have these labels and no others, by their names."""
    samples = [sample for family in families_in(text).values() for sample in family.samples]
    return {sample.name: sample.value for sample in samples if sample.labels == labels}


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorageService:
    return LocalStorageService(tmp_path / "log.db")


@pytest.fixture
def client(storage: LocalStorageService) -> Iterator[httpx.Client]:
    with (
        RestApiServer(storage=storage, port=0, access_log=AccessLog(io.StringIO())) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def test_the_requests_of_a_server_are_counted(client: httpx.Client) -> None:
    client.post("/api/changes", json=[NEW] * 3)
    client.get(CHANGES)
    client.get("/a/secret")
    response = client.get("/metrics")
    assert (response.status_code, response.headers["content-type"]) == (200, CONTENT_TYPE)
    assert response.headers["cache-control"] == "no-store"
    values = values_in(response.text)
    expected = {"appended": 3, "appends": 1, "errors": 1, "cold_start": 1, "log_lines_dropped": 0, "refused": 0}
    assert {name: values[f"sltt_{name}_total"] for name in expected} == expected
    assert (values["sltt_connections"], values["sltt_waiting_clients"], values["sltt_commit_queue_length"]) == (1, 0, 0)
    assert values["sltt_commit_group_size_sum"] >= values["sltt_commit_group_size_count"] >= 1
    assert values["sltt_wal_bytes"] > 0
    route = values_in(response.text, route="GET /api/projects/{projectId}/changes")
    assert (route["sltt_latency_seconds_count"], route["sltt_faults_total"]) == (1, 0)
    assert values_in(response.text, route="-")["sltt_latency_seconds_count"] == 1
    assert "ruth" not in response.text
    assert "secret" not in response.text
    again = client.get("/metrics").text
    assert values_in(again, route="GET /metrics")["sltt_latency_seconds_count"] == 1


def test_the_metrics_have_the_names_of_those_of_a_function() -> None:
    metrics = Metrics()
    names = families_in(metrics.text({}))
    spelled = {"Latency": "latency_seconds", "ColdStart": "cold_start", "ReadUnits": "read_units"}
    for name in UNITS:
        assert f"sltt_{spelled.get(name, name.lower().replace('units', '_units'))}" in names, name


def test_every_metric_has_its_type_and_its_help() -> None:
    metrics = Metrics()
    facts = Facts()
    facts.appended, facts.attempts = 2, 3
    metrics.count(Request("POST", "/api/changes", facts=facts), 200, 7, 0.2)
    metrics.on_call("TransactWriteItems", 3, 1, 0.1, None, 6.0)
    metrics.on_call("Query", 1, 0, 0.1, 0.5, None)
    given = dict.fromkeys((*GAUGES, "commit_groups", "commit_grouped", "log_lines_dropped", "refused"), 1.0)
    families = families_in(metrics.text(given))
    assert all(family.documentation and family.type != "unknown" for family in families.values())
    assert {f"sltt_{name}" for name in (*COUNTERS, *GAUGES)} <= families.keys()
    values = values_in(metrics.text(given))
    assert (values["sltt_calls_total"], values["sltt_attempts_total"], values["sltt_throttled_total"]) == (2, 4, 1)
    assert (values["sltt_read_units_total"], values["sltt_write_units_total"]) == (0.5, 6)
    assert (values["sltt_append_attempts_total"], values["sltt_appended_total"]) == (3, 2)


@pytest.mark.parametrize(("seconds", "end"), [(0.0, "0.005"), (0.005, "0.005"), (0.0051, "0.01"), (99.0, "+Inf")])
def test_a_latency_is_in_the_buckets_from_its_own_on(seconds: float, end: str) -> None:
    metrics = Metrics()
    metrics.count(Request("GET", "/health"), 200, 0, seconds)
    samples = families_in(metrics.text({}))["sltt_latency_seconds"].samples
    buckets = {sample.labels["le"]: sample.value for sample in samples if sample.name.endswith("_bucket")}
    assert list(buckets) == [*map(str, BUCKETS), "+Inf"]
    assert next(name for name, count in buckets.items() if count) == end
    assert buckets["+Inf"] == 1


def test_waiting_clients_are_counted(client: httpx.Client) -> None:
    client.get(CHANGES)
    done = Event()

    def wait() -> None:
        httpx.get(f"{client.base_url}{CHANGES}?wait=30", timeout=60)
        done.set()

    Thread(target=wait, daemon=True).start()
    while values_in(client.get("/metrics").text)["sltt_waiting_clients"] == 0:
        assert not done.is_set()
    client.post("/api/changes", json=[NEW])
    assert done.wait(30)
    assert values_in(client.get("/metrics").text)["sltt_waiting_clients"] == 0


def test_the_lag_of_the_event_loop_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, times = Metrics(), iter([10.0, 11.25])

    async def no_sleep(seconds: float) -> None:
        if metrics.lag:
            raise asyncio.CancelledError

    async def measure() -> None:
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patched:
            patched.setattr(loop, "time", lambda: next(times, 20.0))
            patched.setattr(asyncio, "sleep", no_sleep)
            with pytest.raises(asyncio.CancelledError):
                await metrics.measure_lag()

    asyncio.run(measure())
    assert metrics.lag == 0.25


@pytest.mark.parametrize(
    "headers",
    [{"x-forwarded-for": "203.0.113.7"}, {"forwarded": "for=203.0.113.7"}, {"via": "1.1 proxy"}],
)
def test_a_client_behind_a_proxy_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    response = client.get("/metrics", headers=headers)
    assert (response.status_code, response.json()["type"]) == (403, "urn:sltt:problem:not-allowed")


def test_a_client_that_asked_for_another_host_is_refused(storage: LocalStorageService) -> None:
    with RestApiServer(storage=storage, port=0, allow_hosts=["sync.example.org"]) as server:
        response = httpx.get(f"{server.url}/metrics", headers={"host": "sync.example.org"})
        assert response.status_code == 403


def test_an_administrator_reads_them_from_anywhere(storage: LocalStorageService) -> None:
    environ = {**SETTINGS, "ADMINS": "ops"}
    authenticator = authenticator_from_environment(environ, storage=storage)
    access = access_from_environment(storage, environ, verifies=True)
    with RestApiServer(storage=storage, port=0, authenticator=authenticator, access=access) as server:

        def status(**headers: str) -> int:
            given = {"via": "1.1 proxy", **headers}
            return httpx.get(f"{server.url}/metrics", headers=given).status_code

        assert status() == 401
        assert status(authorization="Bearer x.y.z") == 401
        assert status(authorization=f"Bearer {token(payload=claims(sub='ada'))}") == 403
        assert status(authorization=f"Bearer {token(payload=claims(sub='ops'))}") == 200
        assert httpx.get(f"{server.url}/metrics").status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_they_are_only_read(client: httpx.Client, method: str) -> None:
    response = client.request(method, "/metrics")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD")


def test_a_head_request_has_no_body(client: httpx.Client) -> None:
    response = client.head("/metrics")
    assert (response.status_code, response.content) == (200, b"")


def test_the_dashboard_shows_metrics_that_exist(client: httpx.Client) -> None:
    """Each name in its queries is one of `/metrics`, on SQLite or on DynamoDB."""
    given = dict.fromkeys((*GAUGES, *COUNTERS, "commit_groups", "commit_grouped"), 1.0)
    metrics = Metrics()
    metrics.count(Request("GET", "/health"), 200, 0, 0)
    known = {sample.name for family in families_in(metrics.text(given)).values() for sample in family.samples}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    named = {name for panel in panels for one in panel["targets"] for name in re.findall(r"sltt_\w+", one["expr"])}
    assert named <= known
    assert {"sltt_event_loop_lag_seconds", "sltt_wal_bytes", "sltt_latency_seconds_bucket"} <= named


def test_each_call_counts_for_one_request_of_many_at_the_same_time(tmp_path: Path) -> None:
    """The lines of requests have the calls of their own thread; together, they have all calls."""
    lines, log = io.StringIO(), DynoxideLog(tmp_path)
    try:
        access_log = AccessLog(lines)
        with (
            RestApiServer(storage=log.open(), port=0, access_log=access_log) as server,
            httpx.Client(base_url=server.url, timeout=30) as client,
        ):

            def append(number: int) -> int:
                new = {**NEW, "projectId": f"p{number % 4}"}
                return client.post("/api/changes", json=[new] * (1 + number % 3)).status_code

            before = values_in(client.get("/metrics").text)
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(append, range(40))) == {200}
            values = values_in(client.get("/metrics").text)
    finally:
        log.close()
    entries = [json.loads(line) for line in lines.getvalue().splitlines()]
    appends = [entry for entry in entries if entry["route"] == "POST /api/changes"]
    assert sum(entry["appended"] for entry in appends) == sum(1 + number % 3 for number in range(40))
    for member, name in (("calls", "calls"), ("attempts", "attempts"), ("writeUnits", "write_units")):
        metric = f"sltt_{name}_total"
        assert sum(entry.get(member, 0) for entry in appends) == values[metric] - before[metric]
