"""The line of a request, and its metrics, with aws-lambda-powertools as the oracle of their format."""

from __future__ import annotations

import json
from threading import Barrier, Thread
from typing import Any

import pytest
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from sltt_core.api.app import Api
from sltt_core.api.http import Facts, Request
from sltt_core.api.request_log import (
    BY_ROUTE,
    CallCounter,
    RequestLog,
    check_requests,
    check_sample,
    principal_hash,
    valid_trace_id,
    valid_traceparent,
)
from sltt_core.base.runtime import Runtime
from sltt_core.sqlite.storage import LocalStorageService
from tests.sltt_core.samples import NANOSECONDS

ROUTE = "GET /api/projects/{projectId}/changes"
GET = Request("GET", "/api/projects/p/changes", "access_token=secret")
POST = Request("POST", "/api/changes")


def line_of(log: RequestLog, request: Request = GET, facts: Facts | None = None, **given: Any) -> dict[str, Any]:
    values = {"status": 200, "seconds": 0.0042, "size": 120, "request_id": "id-1", **given}
    line = log.line(request, facts or Facts(), **values)
    assert line is not None
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def facts_of(**values: Any) -> Facts:
    facts = Facts()
    for name, value in values.items():
        setattr(facts, name, value)
    return facts


APPEND = facts_of(
    route="POST /api/changes",
    project="ruth",
    principal="ada@example.org",
    appended=3,
    calls=2,
    attempts=4,
    throttled=1,
    read_units=0.5,
    write_units=12.0,
)


def test_a_line_has_these_members_and_no_path_query_or_name() -> None:
    log = RequestLog(runtime=Runtime(clock=lambda: NANOSECONDS))
    assert line_of(log, POST, APPEND) == {
        "level": "INFO",
        "time": "2025-03-01T09:30:00.123Z",
        "requestId": "id-1",
        "route": "POST /api/changes",
        "project": "ruth",
        "principal": principal_hash("ada@example.org"),
        "status": 200,
        "ms": 4.2,
        "bytes": 120,
        "cold": True,
        "appended": 3,
        "calls": 2,
        "attempts": 4,
        "throttled": 1,
        "readUnits": 0.5,
        "writeUnits": 12.0,
    }
    assert line_of(log) == {
        "level": "INFO",
        "time": "2025-03-01T09:30:00.123Z",
        "requestId": "id-1",
        "route": ROUTE,
        "status": 200,
        "ms": 4.2,
        "bytes": 120,
        "cold": False,
    }


@pytest.mark.parametrize(("status", "level"), [(200, "INFO"), (304, "INFO"), (404, "WARNING"), (503, "ERROR")])
def test_the_level_follows_from_the_status(status: int, level: str) -> None:
    assert line_of(RequestLog(), status=status)["level"] == level


def test_an_error_for_the_operator_is_in_the_line() -> None:
    line = line_of(RequestLog("none"), status=403, error={"error": "NotAllowed", "hint": "Set it."})
    assert (line["level"], line["error"], line["hint"]) == ("ERROR", "NotAllowed", "Set it.")


@pytest.mark.parametrize(
    ("requests", "logged"),
    [("all", [200, 304, 404, 503]), ("errors", [404, 503]), ("none", [])],
)
def test_the_setting_decides_which_requests_are_logged(requests: str, logged: list[int]) -> None:
    log = RequestLog(requests, service="sltt")
    statuses = [200, 304, 404, 503]
    lines = [log.line(GET, Facts(), status=status, seconds=0, size=0, request_id="i") for status in statuses]
    assert [status for status, line in zip(statuses, lines, strict=True) if line] == logged


def test_a_sample_leaves_out_requests_without_an_error_only() -> None:
    numbers = iter([0.05, 0.1, 0.95])
    log = RequestLog(sample=0.1, runtime=Runtime(random=lambda: next(numbers)))
    lines = [
        log.line(GET, Facts(), status=status, seconds=0, size=0, request_id="i") for status in (200, 200, 304, 404, 500)
    ]
    assert [line is not None for line in lines] == [True, False, False, True, True]


@pytest.mark.parametrize(
    ("request_", "route"),
    [
        (GET.replace(method="HEAD"), ROUTE),
        (Request("OPTIONS", "/api/changes"), "OPTIONS"),
        (Request("GET", "/a/secret"), "-"),
        (Request("SECRET", "/health"), "-"),
    ],
)
def test_a_route_is_a_pattern(request_: Request, route: str) -> None:
    assert line_of(RequestLog(service="s"), request_)["Route"] == route


def of_powertools(service: str, route: str | None, values: dict[str, tuple[str, float]]) -> dict[str, Any]:
    metrics = EphemeralMetrics(namespace="sltt")
    metrics.add_dimension("Service", service)
    if route is not None:
        metrics.add_dimension("Route", route)
    for name, (unit, value) in values.items():
        metrics.add_metric(name, MetricUnit[unit], value)
    return dict(metrics.serialize_metric_set())


@pytest.mark.parametrize(("request_", "facts"), [(GET, Facts()), (POST, APPEND)])
@pytest.mark.parametrize("status", [200, 404, 503])
def test_powertools_writes_the_same_metrics(
    request_: Request, facts: Facts, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("POWERTOOLS_SERVICE_NAME", raising=False)
    log = RequestLog(service='sltt-"prod"', runtime=Runtime(clock=lambda: NANOSECONDS))
    line = line_of(log, request_, facts, status=status)
    values = {
        "Latency": ("Milliseconds", 4.2),
        "Errors": ("Count", int(status == 404)),
        "Faults": ("Count", int(status == 503)),
        "ColdStart": ("Count", 1),
        "Throttled": ("Count", facts.throttled),
        "ReadUnits": ("Count", facts.read_units),
        "WriteUnits": ("Count", facts.write_units),
    }
    if facts.appended is not None:
        values |= {"Appended": ("Count", 3), "Attempts": ("Count", 4)}
    route = line["route"]
    both = (
        of_powertools('sltt-"prod"', None, values),
        of_powertools('sltt-"prod"', route, {name: values[name] for name in BY_ROUTE}),
    )
    assert line["_aws"]["Timestamp"] == NANOSECONDS // 1_000_000
    assert len(str(both[0]["_aws"]["Timestamp"])) == len(str(line["_aws"]["Timestamp"]))
    assert [_directive(one) for one in line["_aws"]["CloudWatchMetrics"]] == [
        _directive(part["_aws"]["CloudWatchMetrics"][0]) for part in both
    ]
    # Powertools collects values and writes a list; the specification allows a number, too.
    expected = {name: value for part in both for name, value in part.items() if name != "_aws"}
    assert {name: [line[name]] if isinstance(expected[name], list) else line[name] for name in expected} == expected


def _directive(directive: dict[str, Any]) -> tuple[Any, ...]:
    names = sorted((metric["Name"], metric["Unit"]) for metric in directive["Metrics"])
    return directive["Namespace"], [sorted(one) for one in directive["Dimensions"]], names


def test_no_metric_has_the_project_as_a_dimension() -> None:
    line = line_of(RequestLog(service="sltt"), POST, APPEND)
    dimensions = [one["Dimensions"] for one in line["_aws"]["CloudWatchMetrics"]]
    assert dimensions == [[["Service"]], [["Service", "Route"]]]
    assert "ruth" not in (line["Service"], line["Route"])


@pytest.mark.parametrize("project", ["sltt_0123456789abcdef_secret", "sltti_0123456789abcdef_secret"])
def test_a_credential_in_the_place_of_a_project_is_not_logged(project: str) -> None:
    assert "project" not in line_of(RequestLog(), facts=facts_of(project=project))


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("given", "copied"),
    [
        (f"00-{TRACE}-01", f"00-{TRACE}-01"),
        (f"cc-{TRACE}-01-what-the-future-will-be-like", f"cc-{TRACE}-01"),
        (f"00-{TRACE}-01-more", None),
        (f"ff-{TRACE}-01", None),
        (f"00-{TRACE.upper()}-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01", None),
        (f"00-{TRACE}", None),
        ("secret", None),
        ("", None),
    ],
)
def test_a_traceparent_is_copied_if_it_is_valid(given: str, copied: str | None) -> None:
    assert valid_traceparent(given) == copied
    assert line_of(RequestLog(), GET.replace(headers={"traceparent": given})).get("traceparent") == copied


ROOT = "Root=1-5759e988-bd862e3fe1be46a994272793"


@pytest.mark.parametrize(
    ("given", "copied"),
    [
        (ROOT, ROOT),
        (f"{ROOT};Parent=53995c3f42cd8ad8;Sampled=1", f"{ROOT};Parent=53995c3f42cd8ad8;Sampled=1"),
        (f"Self=1-67891234-12456789abcdef012345678a; {ROOT}", f"Self=1-67891234-12456789abcdef012345678a;{ROOT}"),
        (f"{ROOT};CalledFrom=secret;Parent=secret;Sampled=2", ROOT),
        (f"{ROOT};Root=secret", ROOT),
        ("Root=1-5759e988-bd862e3fe1be46a99427279", None),
        ("Root=secret", None),
        ("Parent=53995c3f42cd8ad8", None),
        ("", None),
    ],
)
def test_a_trace_id_of_aws_is_copied_as_far_as_it_is_valid(given: str, copied: str | None) -> None:
    assert valid_trace_id(given) == copied
    assert line_of(RequestLog(), GET.replace(headers={"x-amzn-trace-id": given})).get("xAmznTraceId") == copied


@pytest.mark.parametrize("text", ["", "All", "2", "-0.1", "nan", "1e-1", "1.01", ".", "٣"])
def test_wrong_settings_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        check_requests(text)
    with pytest.raises(ValueError, match="is not"):
        check_sample(text)


def test_settings_are_read() -> None:
    assert [check_requests(text) for text in ("all", "errors", "none")] == ["all", "errors", "none"]
    assert [check_sample(text) for text in ("0", "0.1", "1", "1.0")] == [0, 0.1, 1, 1]


def test_calls_count_for_the_request_of_their_thread() -> None:
    seen: list[str] = []

    class Following:
        def on_call(self, operation: str, *more: object) -> None:
            seen.append(operation)

    counter, both = CallCounter(Following()), Barrier(2, timeout=30)
    counter.on_call("DescribeTable", 1, 0, 0.1, None, None)
    facts = [Facts(), Facts()]

    def work(number: int) -> None:
        counter.count_for(facts[number])
        for _ in range(number + 1):
            both.wait() if number == 0 or _ == 0 else None
            counter.on_call("Query", 2, 1, 0.1, 0.5, None)
        counter.count_for(None)
        counter.on_call("Query", 1, 0, 0.1, 0.5, None)

    threads = [Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(one.calls, one.attempts, one.throttled, one.read_units) for one in facts] == [(1, 2, 1, 0.5), (2, 4, 2, 1)]
    assert len(seen) == 6


def test_the_api_notes_the_facts_of_a_request(storage: LocalStorageService) -> None:
    api = Api(storage)
    body = json.dumps([{"projectId": "p", "entityType": "t", "entityId": "e", "data": {}}] * 2).encode()
    facts = Facts()
    headers = {"content-type": "application/json", "idempotency-key": "a-key-of-16-chars"}
    assert api.handle(POST.replace(headers=headers, body=body, facts=facts)).status == 200
    assert (facts.route, facts.project, facts.appended) == ("POST /api/changes", "p", 2)
    again = Facts()
    assert api.handle(POST.replace(headers=headers, body=body, facts=again)).status == 200
    assert again.appended == 0
    two = Facts()
    body = json.dumps(
        [{"projectId": name, "entityType": "t", "entityId": "e", "data": {}} for name in ("p", "q")]
    ).encode()
    api.handle(POST.replace(headers={"content-type": "application/json"}, body=body, facts=two))
    assert (two.project, two.appended) == (None, 2)
    read = Facts()
    api.handle(GET.replace(query="", facts=read))
    assert (read.route, read.project, read.appended) == (ROUTE, "p", None)
