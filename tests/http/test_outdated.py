"""`POST …/changes/{seq}/outdated`, over every entry point."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from sltt_core.api.routes import ROUTES
from tests.http.entry_points import JSON, EntryPoint, mark, post
from tests.http.test_errors import check

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_mark_returns_the_change_and_may_be_repeated(entry_point: EntryPoint) -> None:
    post(entry_point, {"data": {"n": 1}}, {}, {}, {})
    before = entry_point.ask("GET", "/api/projects/p/changes/1").json()
    for sent, remains in ((3, 3), (3, 3), (2, 3), (4, 4)):
        response = mark(entry_point, 1, b'{"outdatedBy":%d}' % sent)
        assert response.status == 200
        assert response.headers["cache-control"] == "no-store"
        assert response.json() == {**before, "outdatedBy": remains}
        assert entry_point.ask("GET", "/api/projects/p/changes/1").json() == response.json()
    page = entry_point.ask("GET", "/api/projects/p/changes?outdated=exclude").json()
    assert [change["seq"] for change in page["changes"]] == [2, 3, 4]
    assert entry_point.ask("GET", "/api/projects/p/stats").json()["changeStats"]["total"] == 4


def test_the_idempotency_key_is_not_used(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {}, {})
    headers = {**JSON, "idempotency-key": "key-0123456789abcdef"}
    for number in (2, 3):
        assert mark(entry_point, 1, b'{"outdatedBy":%d}' % number, headers).json()["outdatedBy"] == number


def test_the_entity_tag_of_a_page_changes_with_a_mark(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {})
    target = "/api/projects/p/changes"
    tag = entry_point.ask("GET", target).headers["etag"]
    assert entry_point.ask("GET", target, headers={"if-none-match": tag}).status == 304
    mark(entry_point, 1, b'{"outdatedBy":2}')
    assert entry_point.ask("GET", target, headers={"if-none-match": tag}).status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *((text, "body") for text in (b"", b"{", b"[]", b"2", b"null", b'"2"')),
        *((text, "body") for text in (b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000)),
        (b'{"outdatedBy":2,"outdatedBy":3}', "body"),
        (b'{"outdatedBy":2} x', "body"),
        (b"{}", "outdatedBy"),
        *(
            (b'{"outdatedBy":%s}' % value, "outdatedBy")
            for value in (b"null", b"0", b"-1", b"2.0", b"true", b'"2"', b"{}", b"[2]", b"1099511627776", b"9" * 50)
        ),
        (b'{"outdatedBy":1e400}', "body"),
        (b'{"outdatedBy":NaN}', "body"),
        (b'{"outdatedBy":1}', "outdatedBy"),
        (b'{"outdated_by":2}', "outdated_by"),
        (b'{"outdatedBy":2,"seq":1}', "seq"),
        (b'{"":2}', ""),
    ],
)  # fmt: skip
def test_a_bad_body_is_400_and_marks_nothing(entry_point: EntryPoint, body: bytes, field: str) -> None:
    post(entry_point, {}, {})
    problem = check(mark(entry_point, 1, body), 400, "invalid-input")
    assert problem.get("field", "") == field
    assert "outdatedBy" not in entry_point.ask("GET", "/api/projects/p/changes/1").json()


@pytest.mark.parametrize(("seq", "by"), [(3, 4), (1, 3), (1, 1_000_000)])
def test_a_change_that_is_not_in_the_log_is_404(entry_point: EntryPoint, seq: int, by: int) -> None:
    post(entry_point, {}, {})
    check(mark(entry_point, seq, b'{"outdatedBy":%d}' % by), 404, "not-found")
    assert "outdatedBy" not in entry_point.ask("GET", "/api/projects/p/changes/1").json()
    target = "/api/projects/nobody/changes/1/outdated"
    check(entry_point.ask("POST", target, b'{"outdatedBy":2}', JSON), 404, "not-found")
    assert entry_point.ask("GET", "/api/projects").json()["projects"] == ["p"]


@pytest.mark.parametrize("seq", ["0", "-1", "x", "%FF", "1.0"])
def test_a_bad_number_of_the_change_is_400(entry_point: EntryPoint, seq: str) -> None:
    assert check(mark(entry_point, seq, b'{"outdatedBy":2}'), 400, "invalid-input")["field"] == "seq"


def test_the_body_has_the_rules_of_every_body(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {})
    check(mark(entry_point, 1, b'{"outdatedBy":2}', {}), 415, "unsupported-media-type")
    check(mark(entry_point, 1, b" " * 4_000_001), 413, "payload-too-large")
    packed = gzip.compress(b'{"outdatedBy":2}')
    assert mark(entry_point, 1, packed, {**JSON, "content-encoding": "gzip"}).json()["outdatedBy"] == 2


def test_a_service_for_one_project_marks_no_other(make_entry_point: Callable[..., EntryPoint]) -> None:
    entry_point = make_entry_point(project_id="only")
    check(mark(entry_point, 1, b'{"outdatedBy":2}'), 404, "not-found")


def test_a_page_of_an_allowed_origin_may_mark(make_entry_point: Callable[..., EntryPoint]) -> None:
    entry_point = make_entry_point(cors=["https://app.example.org"])
    post(entry_point, {}, {})
    target = "/api/projects/p/changes/1/outdated"
    asks = {"origin": "https://app.example.org", "access-control-request-method": "POST"}
    preflight = entry_point.ask("OPTIONS", target, headers=asks)
    assert preflight.headers["access-control-allow-methods"] == "OPTIONS, POST"
    other = {**JSON, "origin": "https://evil.example"}
    check(mark(entry_point, 1, b'{"outdatedBy":2}', other), 403, "not-allowed")
    assert mark(entry_point, 1, b'{"outdatedBy":2}', {**JSON, "origin": "https://app.example.org"}).status == 200


def test_it_is_in_the_help_and_in_openapi(entry_point: EntryPoint) -> None:
    (route,) = (route for route in ROUTES if route.handler == "mark_as_outdated")
    endpoints = entry_point.ask("GET", "/api/help").json()["endpoints"]
    assert (route.method, route.path) in [(endpoint["method"], endpoint["path"]) for endpoint in endpoints]
    operation = entry_point.ask("GET", "/openapi.json").json()["paths"][route.path]["post"]
    assert "Idempotency-Key" not in [parameter["name"] for parameter in operation["parameters"]]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Mark"}
