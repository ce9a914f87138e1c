"""Headers: request ids, caching, gzip, CORS and origins."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

import pytest

from sltt_core.api.bodies import MAX_MEMBERS
from sltt_core.api.routes import ROUTES
from tests.http.entry_points import JSON, EntryPoint, post

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES = "/api/projects/p/changes"
CHANGE = b'[{"projectId":"p","entityType":"t","entityId":"e","data":{}}]'


# X-Request-Id


@pytest.mark.parametrize("given", ["a", "Req-1_2.3", "x" * 64])
def test_a_request_id_is_returned_in_every_response(entry_point: EntryPoint, given: str) -> None:
    for method, target in (("GET", "/health"), ("GET", "/nowhere"), ("OPTIONS", "/health"), ("PUT", "/health")):
        assert entry_point.ask(method, target, headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a/b", "<script>"])
def test_a_bad_request_id_is_replaced(entry_point: EntryPoint, given: str) -> None:
    first = entry_point.ask("GET", "/health", headers={"x-request-id": given}).headers["x-request-id"]
    second = entry_point.ask("GET", "/health").headers["x-request-id"]
    assert given != first != second
    assert len(first) == len(second) == 16


# Caching


def test_every_route_has_its_cache_control(entry_point: EntryPoint) -> None:
    post(entry_point, {})
    for route in ROUTES:
        if route.method == "GET":
            target = route.path.replace("{projectId}", "p").replace("{seq}", "1")
            assert entry_point.ask("GET", target).headers["cache-control"] == route.cache
    assert post(entry_point, {}).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "target", ["/api/help", "/openapi.json", "/api/projects", CHANGES, f"{CHANGES}/1", "/api/projects/p/stats"]
)
def test_a_response_that_the_client_has_is_304(entry_point: EntryPoint, target: str) -> None:
    post(entry_point, {})
    first = entry_point.ask("GET", target)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    for given in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        for method in ("GET", "HEAD"):
            response = entry_point.ask(method, target, headers={"if-none-match": given})
            assert (response.status, response.body) == (304, b"")
            assert response.headers["etag"] == tag
            assert response.headers["cache-control"] == first.headers["cache-control"]
    assert entry_point.ask("GET", target, headers={"if-none-match": '"other"'}).status == 200
    assert entry_point.ask("GET", target).headers["etag"] == tag


@pytest.mark.parametrize("target", ["/api/projects", CHANGES, f"{CHANGES}?limit=1", "/api/projects/p/stats"])
def test_a_tag_changes_with_the_response(entry_point: EntryPoint, target: str) -> None:
    post(entry_point, {})
    before = entry_point.ask("GET", target).headers["etag"]
    post(entry_point, {"projectId": "q"}, {})
    assert entry_point.ask("GET", target, headers={"if-none-match": before}).status == 200


def test_a_tag_changes_when_a_change_becomes_outdated(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {})
    targets = (CHANGES, f"{CHANGES}/1")
    before = [entry_point.ask("GET", target).headers["etag"] for target in targets]
    entry_point.storage.mark_as_outdated(1, 2, project_id="p")
    for target, tag in zip(targets, before, strict=True):
        response = entry_point.ask("GET", target, headers={"if-none-match": tag})
        assert response.status == 200
        assert b'"outdatedBy":2' in response.body


def test_a_tag_differs_between_histories(entry_point: EntryPoint) -> None:
    post(entry_point, {"data": {"one": 1}}, {})
    before = entry_point.ask("GET", CHANGES).headers["etag"]
    entry_point.log.forget_project("p")
    post(entry_point, {"data": {"one": 2}}, {})  # the first change differs, but is not the last of the page
    assert entry_point.ask("GET", CHANGES, headers={"if-none-match": before}).status == 200


def test_a_tag_differs_between_filters(entry_point: EntryPoint) -> None:
    post(entry_point, {"entityId": "a"}, {"entityId": "b"}, {})
    tags = [entry_point.ask("GET", f"{CHANGES}?entityId={entity}").headers["etag"] for entity in "ab"]
    assert tags[0] != tags[1]


def test_health_and_errors_have_no_tag(entry_point: EntryPoint) -> None:
    assert "etag" not in entry_point.ask("GET", "/health").headers
    response = entry_point.ask("GET", f"{CHANGES}/1", headers={"if-none-match": "*"})
    assert response.status == 404
    assert "etag" not in response.headers


# Gzip


@pytest.mark.parametrize("accept", ["gzip", "GZIP", "deflate, gzip;q=0.5", "*", "br;q=1.0, *;q=0.1", "x-gzip"])
def test_a_long_response_is_compressed_for_clients_that_accept_it(entry_point: EntryPoint, accept: str) -> None:
    post(entry_point, *({"entityId": f"{number}"} for number in range(50)))
    plain = entry_point.ask("GET", CHANGES)
    compressed = entry_point.ask("GET", CHANGES, headers={"accept-encoding": accept})
    assert compressed.headers["content-encoding"] == "gzip"
    assert len(compressed.body) < len(plain.body) / 3
    assert json.loads(gzip.decompress(compressed.body))["changes"] == plain.json()["changes"]
    assert compressed.headers["etag"] == plain.headers["etag"]
    for response in (plain, compressed):
        assert "accept-encoding" in response.headers["vary"]


@pytest.mark.parametrize("accept", ["identity", "", "gzip;q=0", "gzip; q=0.000", "br", "*;q=0", "gzip;q=0, *"])
def test_a_long_response_is_not_compressed_for_other_clients(entry_point: EntryPoint, accept: str) -> None:
    post(entry_point, *({"entityId": f"{number}"} for number in range(50)))
    response = entry_point.ask("GET", CHANGES, headers={"accept-encoding": accept})
    assert "content-encoding" not in response.headers
    assert response.json()["count"] == 50


def test_a_short_response_is_not_compressed(entry_point: EntryPoint) -> None:
    assert "content-encoding" not in entry_point.ask("GET", "/health", headers={"accept-encoding": "gzip"}).headers


def test_a_compressed_body_is_decompressed(entry_point: EntryPoint) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    assert entry_point.ask("POST", "/api/changes", gzip.compress(CHANGE), headers).json()["createdSeqs"] == [1]
    two_members = gzip.compress(CHANGE[:20]) + gzip.compress(CHANGE[20:])
    assert entry_point.ask("POST", "/api/changes", two_members, headers).json()["createdSeqs"] == [2]
    large = b'{"projectId":"p","entityType":"t","entityId":"e","data":{"t":"' + b"ab" * 150_000 + b'"}}'
    assert entry_point.ask("POST", "/api/changes", gzip.compress(large), headers).json()["createdSeqs"] == [3]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (CHANGE, 400),
        (gzip.compress(CHANGE)[:-1], 400),
        (gzip.compress(CHANGE)[:-9], 400),
        (gzip.compress(CHANGE) + b"x", 400),
        (gzip.compress(CHANGE)[:-8] + b"\x00" * 8, 400),
        (zlib.compress(CHANGE), 400),
        (gzip.compress(b" " * 4_000_001), 413),
        (gzip.compress(b" " * 2_000_001) * 2, 413),
        (gzip.compress(gzip.compress(b" " * 50_000_000)), 400),
        (gzip.compress(b"") * (MAX_MEMBERS + 1), 400),
        (gzip.compress(b" " * 10) * MAX_MEMBERS, 400),
    ],
    ids=[
        "empty",
        "plain",
        "cut",
        "no end",
        "more after",
        "bad sum",
        "zlib",
        "bomb",
        "two halves",
        "nested",
        "members",
        "blank",
    ],
)
def test_a_badly_compressed_body_is_refused(entry_point: EntryPoint, body: bytes, status: int) -> None:
    response = entry_point.ask("POST", "/api/changes", body, {**JSON, "content-encoding": "gzip"})
    assert response.status == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "gzip,identity", "aes128gcm"])
def test_another_coding_is_415(entry_point: EntryPoint, coding: str) -> None:
    assert entry_point.ask("POST", "/api/changes", CHANGE, {**JSON, "content-encoding": coding}).status == 415


# CORS and origins

APP = "https://app.example.org"


def test_without_cors_responses_have_no_cors_headers(entry_point: EntryPoint) -> None:
    for method in ("GET", "OPTIONS"):
        response = entry_point.ask(method, "/health", headers={"origin": APP, "access-control-request-method": "POST"})
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", [APP, "null", "http://localhost:3000", "http://evil.example"])
def test_a_page_of_another_origin_cannot_write(entry_point: EntryPoint, origin: str) -> None:
    response = entry_point.ask("POST", "/api/changes", CHANGE, {**JSON, "origin": origin})
    assert response.status == 403
    assert entry_point.storage.get_all_projects().projects == ()


def test_a_page_of_the_same_origin_can_write(entry_point: EntryPoint) -> None:
    response = entry_point.ask(
        "POST", "/api/changes", CHANGE, {**JSON, "host": "localhost:8080", "origin": "http://localhost:8080"}
    )
    assert response.status == 200


def test_a_listed_origin_gets_the_cors_headers(make_entry_point: Callable[..., EntryPoint]) -> None:
    entry_point = make_entry_point(cors=[APP, "https://other.example"])
    response = entry_point.ask("POST", "/api/changes", CHANGE, {**JSON, "origin": APP})
    assert response.status == 200
    assert response.headers["access-control-allow-origin"] == APP
    assert "etag" in response.headers["access-control-expose-headers"]
    assert "origin" in response.headers["vary"]
    preflight = entry_point.ask(
        "OPTIONS", "/api/changes", headers={"origin": APP, "access-control-request-method": "POST"}
    )
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == APP
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "idempotency-key" in preflight.headers["access-control-allow-headers"]
    problem = entry_point.ask("GET", "/nowhere", headers={"origin": APP})
    assert problem.headers["access-control-allow-origin"] == APP


def test_an_unlisted_origin_gets_no_cors_headers(make_entry_point: Callable[..., EntryPoint]) -> None:
    entry_point = make_entry_point(cors=[APP])
    for origin in ("https://evil.example", f"{APP}.evil.example", f"{APP}:8443", "http://app.example.org", "null"):
        response = entry_point.ask("GET", "/health", headers={"origin": origin})
        assert "access-control-allow-origin" not in response.headers
        assert "origin" in response.headers["vary"]
        assert entry_point.ask("POST", "/api/changes", CHANGE, {**JSON, "origin": origin}).status == 403


def test_every_origin_may_be_allowed(make_entry_point: Callable[..., EntryPoint]) -> None:
    entry_point = make_entry_point(cors=["*"])
    response = entry_point.ask("POST", "/api/changes", CHANGE, {**JSON, "origin": "https://any.example"})
    assert (response.status, response.headers["access-control-allow-origin"]) == (200, "*")
