"""Every error: its status, the common form, and its own fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import NotAllowed, StorageBusy
from tests.http.entry_points import JSON, NAME, EntryPoint, Response, inside, mark, post
from tests.sltt_core.api.client import Asks, Question

if TYPE_CHECKING:
    from collections.abc import Callable

ALWAYS = {"type", "title", "status", "detail", "error", "timestamp", "server", "requestId"}


def check(response: Response, status: int, kind: str) -> Any:
    """Check that a response is a problem document of this kind, in the common form; return the document."""
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    body = response.json()
    assert body.keys() >= ALWAYS
    assert body["type"] == f"urn:sltt:problem:{kind}"
    assert body["status"] == status
    assert body["error"] == body["detail"]
    assert body["server"] == NAME
    assert body["requestId"] == response.headers["x-request-id"]
    return body


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/",
        "/api/projects/",
        "/api/projects/p",
        "/api/projects/p/stats/",
        "/API/help",
        "/health/",
        "//health",
        "/api/projects/p/changes/1/2",
        "/favicon.ico",
        "/api%2Fhelp",
    ],
)
def test_an_unknown_path_is_404(entry_point: EntryPoint, path: str) -> None:
    check(entry_point.ask("GET", path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/projects", "GET, HEAD, OPTIONS"),
        ("PUT", "/api/projects/p/changes/1", "GET, HEAD, OPTIONS"),
        ("PATCH", "/api/projects/p/stats", "GET, HEAD, OPTIONS"),
        ("TRACE", "/api/help", "GET, HEAD, OPTIONS"),
        ("GET", "/api/changes", "OPTIONS, POST"),
        ("HEAD", "/api/changes", "OPTIONS, POST"),
        ("GET", "/api/projects/p/changes/1/outdated", "OPTIONS, POST"),
    ],
)
def test_another_method_is_405_and_lists_the_allowed_ones(
    entry_point: EntryPoint, method: str, path: str, allow: str
) -> None:
    response = entry_point.ask(method, path)
    assert response.status == 405
    assert response.headers["allow"] == allow
    if method != "HEAD":
        check(response, 405, "method-not-allowed")


@pytest.mark.parametrize("path", ["/health", "/api/changes", "/api/projects/p/changes/1/outdated"])
def test_options_lists_the_allowed_methods(entry_point: EntryPoint, path: str) -> None:
    response = entry_point.ask("OPTIONS", path)
    assert (response.status, response.body) == (204, b"")
    assert "OPTIONS" in response.headers["allow"]
    check(entry_point.ask("OPTIONS", "/nowhere"), 404, "not-found")


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"]
)
def test_a_body_that_is_not_json_is_415(entry_point: EntryPoint, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    check(entry_point.ask("POST", "/api/changes", b"[]", headers), 415, "unsupported-media-type")


def test_json_may_name_its_charset(entry_point: EntryPoint) -> None:
    body = b'{"projectId":"p","entityType":"t","entityId":"e","data":{}}'
    response = entry_point.ask("POST", "/api/changes", body, {"content-type": "Application/JSON; charset=utf-8"})
    assert response.status == 200


def test_a_bad_batch_reports_every_bad_change_and_stores_nothing(entry_point: EntryPoint) -> None:
    response = post(entry_point, {}, {"entityType": "a b"}, {}, {"operation": "upsert", "entityId": ""}, {"extra": 1})
    body = check(response, 400, "invalid-batch")
    assert body["failedAtIndex"] == 1
    assert [(e["index"], e["field"]) for e in body["errors"]] == [
        (1, "changes[1].entityType"),
        (3, "changes[3].entityId"),
        (3, "changes[3].operation"),
        (4, "changes[4].extra"),
    ]
    assert all(e["reason"] for e in body["errors"])
    assert entry_point.ask("GET", "/api/projects/p/stats").json()["changeStats"]["total"] == 0


def test_an_error_names_the_fields_of_the_wire_and_an_unknown_one_as_it_was_sent(entry_point: EntryPoint) -> None:
    body = check(post(entry_point, {"entityType": None, "entity_type": "x"}, {"client_seq": 1}), 400, "invalid-batch")
    assert [e["field"] for e in body["errors"]] == [
        "changes[0].entity_type",
        "changes[0].entityType",
        "changes[1].client_seq",
    ]
    assert body["detail"] == "changes[0].entity_type: is not a field of a change (and 2 more)"
    body = check(post(entry_point, *({"entityType": f"t{number}"} for number in range(201))), 400, "invalid-batch")
    assert [e["field"] for e in body["errors"]] == ["changes[200].entityType"]
    assert body["detail"].startswith("changes[200].entityType: is one entity type too many")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b"1", b'"x"', b"[1]", b"[[]]", b"\xff", b"[{}] x"])
def test_a_body_that_is_not_a_batch_is_400(entry_point: EntryPoint, body: bytes) -> None:
    problem = check(entry_point.ask("POST", "/api/changes", body, JSON), 400, "invalid-batch")
    assert problem["errors"]
    assert "failedAtIndex" in problem


def test_a_change_that_is_too_large_is_413(entry_point: EntryPoint) -> None:
    body = check(post(entry_point, {}, {"data": {"text": "x" * 420_000}}), 413, "invalid-batch")
    assert body["failedAtIndex"] == 1
    check(post(entry_point, {"entityId": ""}, {"data": {"text": "x" * 420_000}}), 400, "invalid-batch")
    assert entry_point.ask("GET", "/api/projects/p/stats").json()["changeStats"]["total"] == 0


def test_a_body_that_is_too_large_is_413(entry_point: EntryPoint) -> None:
    check(entry_point.ask("POST", "/api/changes", b" " * 4_000_001, JSON), 413, "payload-too-large")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *((f"limit={value}", "limit") for value in ("0", "1001", "-1", "1.5", "1e3", "x", "", "%31%30x", "+5", "0x1")),
        *((f"cursor={value}", "cursor") for value in ("-1", "1.0", "x", "", "99999999999999999999", "-0", "NaN")),
        ("limit=1&limit=1", "limit"),
        ("limit=%D9%A3", "limit"),
        ("cursor=0&cursor=0", "cursor"),
        ("limit", "limit"),
        ("curser=5", "curser"),
        ("=5", ""),
        ("chain=short", "chain"),
        ("chain=" + "A" * 22 + "&chain=" + "A" * 22, "chain"),
        *((f"wait={value}", "wait") for value in ("-1", "61", "nan", "inf", "1e1", "", "x", ".", "1.")),
        ("entityType=a%20b", "entityType"),
        ("entityType=", "entityType"),
        ("&".join(["entityType=a"] * 101), "entityType"),
        ("entityId=%00", "entityId"),
        ("entityId=%FF", "entityId"),
        ("entityId=%zz", "entityId"),
        ("outdated=yes", "outdated"),
        ("projectId=q", "projectId"),
    ],
)
def test_a_bad_parameter_is_400_and_reported(entry_point: EntryPoint, query: str, field: str) -> None:
    body = check(entry_point.ask("GET", f"/api/projects/p/changes?{query}"), 400, "invalid-input")
    assert body.get("field", "") == field


@pytest.mark.parametrize("seq", ["0", "-1", "1.0", "x", "%31%30%2F", "99999999999999999999", "%00", "%FF", "%", "01x"])
def test_an_invalid_number_of_a_change_is_400(entry_point: EntryPoint, seq: str) -> None:
    body = check(entry_point.ask("GET", f"/api/projects/p/changes/{seq}"), 400, "invalid-input")
    assert body["field"] == "seq"


def test_a_missing_change_is_404(entry_point: EntryPoint) -> None:
    post(entry_point, {})
    check(entry_point.ask("GET", "/api/projects/p/changes/2"), 404, "not-found")


def test_another_history_is_409(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {})
    check(entry_point.ask("GET", f"/api/projects/p/changes?cursor=1&chain={'B' * 22}"), 409, "chain-mismatch")
    check(entry_point.ask("GET", f"/api/projects/p/changes?cursor=9&chain={'B' * 22}"), 409, "chain-mismatch")


def test_a_key_is_replayed_and_refused_with_another_batch(entry_point: EntryPoint) -> None:
    key = {"idempotency-key": "key-0123456789abcdef"}
    first = post(entry_point, {}, {"seq": 9}, headers=key).json()
    again = post(entry_point, {}, {"seq": 9}, headers=key).json()
    assert again["replayed"] is True
    assert {**again, "replayed": False, "timestamp": first["timestamp"]} == first
    check(post(entry_point, {}, headers=key), 422, "key-reused")


def test_a_key_in_quotes_is_the_same_key(entry_point: EntryPoint) -> None:
    quoted, plain = {"idempotency-key": '"key-0123456789abcdef"'}, {"idempotency-key": "key-0123456789abcdef"}
    first = post(entry_point, {}, headers=quoted).json()
    for headers in (plain, quoted):
        again = post(entry_point, {}, headers=headers).json()
        assert (again["createdSeqs"], again["replayed"]) == (first["createdSeqs"], True)
        check(post(entry_point, {}, {}, headers=headers), 422, "key-reused")


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 129, "sixteen letters!", "semi;0123456789abc", '""', '"short"', '"key-0123456789abcdef']
)
def test_a_bad_key_is_400(entry_point: EntryPoint, key: str) -> None:
    response = post(entry_point, {}, headers={"idempotency-key": key})
    assert check(response, 400, "invalid-input")["field"] == "Idempotency-Key"


def test_a_busy_log_is_503_with_retry_after(entry_point: EntryPoint) -> None:
    def busy(chunk: Any) -> Any:
        raise StorageBusy("another process is writing")

    inside(entry_point)._append = busy  # type: ignore[method-assign]
    response = post(entry_point, {})
    assert check(response, 503, "storage-busy")["retryable"] is True
    assert response.headers["retry-after"] == "1"


def test_a_batch_stored_in_part_is_503_and_resumed_by_its_key(entry_point: EntryPoint) -> None:
    append, left = inside(entry_point)._append, [1]

    def failing(chunk: Any) -> Any:
        if left[0] == 0:
            raise StorageBusy("another process is writing")
        left[0] -= 1
        return append(chunk)

    key = {"idempotency-key": "key-0123456789abcdef"}
    changes = [{"entityId": f"{number}"} for number in range(120)]
    inside(entry_point)._append = failing  # type: ignore[method-assign]
    response = post(entry_point, *changes, headers=key)
    body = check(response, 503, "partial-append")
    assert response.headers["retry-after"] == "1"
    assert (body["failedAtIndex"], body["created"]) == (98, 98)
    assert body["createdSeqs"] == [*range(1, 99), *[None] * 22]
    inside(entry_point)._append = append  # type: ignore[method-assign]
    assert post(entry_point, *changes, headers=key).json()["createdSeqs"] == list(range(1, 121))


def test_every_route_is_403_without_access(make_entry_point: Callable[..., EntryPoint]) -> None:
    asked: list[Question] = []

    def refuse(principal: str | None, action: str, project: str | None) -> None:
        asked.append((principal, action, project))
        raise NotAllowed("not you")

    entry_point = make_entry_point(access=Asks(refuse))
    for target in (
        "/api/projects",
        "/api/projects/p/changes?wait=30",
        "/api/projects/p/changes/1",
        "/api/projects/p/stats",
    ):
        check(entry_point.ask("GET", target), 403, "not-allowed")
    check(post(entry_point, {}, {"projectId": "q"}), 403, "not-allowed")
    check(mark(entry_point, 1, b'{"outdatedBy":2}'), 403, "not-allowed")
    assert asked == [
        (None, "list", None),
        (None, "read", "p"),
        (None, "read", "p"),
        (None, "read", "p"),
        (None, "append", "p"),
        (None, "mark", "p"),
    ]
    assert entry_point.storage.get_all_projects().projects == ()


def test_an_internal_error_is_a_500_without_details(entry_point: EntryPoint) -> None:
    def broken(project_id: str) -> Any:
        raise RuntimeError("secret key AKIA0123456789")

    inside(entry_point)._stats = broken  # type: ignore[method-assign]
    response = entry_point.ask("GET", "/api/projects/p/stats")
    check(response, 500, "internal")
    assert b"AKIA" not in response.body
    assert b"Traceback" not in response.body


def test_an_error_is_valid_json_whatever_it_quotes(entry_point: EntryPoint) -> None:
    body = json.dumps([{"projectId": "p", '"\\\u2028\x01': 1, "entityType": '"', "entityId": "e", "data": {}}])
    problem = check(entry_point.ask("POST", "/api/changes", body.encode(), JSON), 400, "invalid-batch")
    assert problem["failedAtIndex"] == 0
