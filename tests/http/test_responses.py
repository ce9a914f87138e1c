"""The response of every route, field by field."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from sltt_core.api.routes import routes
from tests.http.entry_points import JSON, NAME, EntryPoint, post
from tests.sltt_core.auth.samples import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.api.routes import Route

    Described = tuple[EntryPoint, tuple[Route, ...]]

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_health(entry_point: EntryPoint) -> None:
    response = entry_point.ask("GET", "/health")
    body = response.json()
    expected = (200, "healthy", NAME, entry_point.storage.storage_type)
    assert (response.status, body["status"], body["server"], body["storageType"]) == expected
    assert TIME.fullmatch(body["timestamp"])
    assert response.headers["content-type"] == "application/json"


@pytest.fixture(params=[None, SETTINGS], ids=["open", "with-tokens"])
def described(request: pytest.FixtureRequest, make_entry_point: Callable[..., EntryPoint]) -> Described:
    """An entry point with and without the verification of tokens, and the routes that it has."""
    options = {} if request.param is None else {"settings": request.param}
    return make_entry_point(**options), routes(with_auth=request.param is not None)


def test_help_lists_every_route_with_its_parameters(described: Described) -> None:
    entry_point, expected = described
    body = entry_point.ask("GET", "/api/help").json()
    assert body["server"] == NAME
    assert [(e["method"], e["path"]) for e in body["endpoints"]] == [(r.method, r.path) for r in expected]
    for endpoint, route in zip(body["endpoints"], expected, strict=True):
        assert endpoint["description"]
        assert [p["name"] for p in endpoint["parameters"]] == [p.name for p in route.parameters]


def test_openapi_describes_every_route(described: Described) -> None:
    entry_point, expected = described
    body = entry_point.ask("GET", "/openapi.json").json()
    assert body["openapi"].startswith("3.1")
    assert body["paths"].keys() == {route.path for route in expected}
    for route in expected:
        operation = body["paths"][route.path][route.method.lower()]
        names = {p["name"] for p in operation["parameters"] if p["in"] != "header"}
        assert names == {p.name for p in route.parameters}


def test_a_post_returns_the_numbers(entry_point: EntryPoint) -> None:
    response = post(entry_point, {"seq": 41}, {}, {"seq": 7}, {"projectId": "q", "seq": 9})
    body = response.json()
    assert response.status == 200
    assert body["success"] is True
    assert body["created"] == 4
    assert body["createdSeqs"] == [1, 2, 3, 1]
    assert body["seqMap"] == {"41": 1, "2": 2, "7": 3, "9": 1}
    assert body["replayed"] is False
    assert TIME.fullmatch(body["timestamp"])


def test_one_object_may_be_posted_alone(entry_point: EntryPoint) -> None:
    change = {"projectId": "p", "entityType": "t", "entityId": "e", "data": {}}
    response = entry_point.ask("POST", "/api/changes", json.dumps(change).encode(), JSON)
    assert response.json()["createdSeqs"] == [1]


def test_the_fields_of_the_original_client_are_accepted(entry_point: EntryPoint) -> None:
    response = post(
        entry_point,
        {"seq": 5, "changeAt": "2025-03-01T09:30:00.123456", "cloudAt": None, "outdatedBy": None, "operation": None},
        {
            "seq": 6,
            "timestamp": None,
            "cloudAt": "2020-01-01T00:00:00Z",
            "outdatedBy": 3,
            "cid": None,
            "changeBy": None,
        },
    )
    assert response.json()["seqMap"] == {"5": 1, "6": 2}
    first, second = entry_point.ask("GET", "/api/projects/p/changes").json()["changes"]
    assert first["timestamp"] == "2025-03-01T09:30:00.123456Z"
    assert first["operation"] == "create"
    assert not second["cloudAt"].startswith("2020")
    assert second.keys() == {
        "projectId", "seq", "entityType", "entityId", "operation", "timestamp", "cloudAt", "data", "chain"
    }  # fmt: skip


def test_a_page_of_changes(entry_point: EntryPoint) -> None:
    post(entry_point, *({"entityId": f"e{number}", "cid": f"c{number}"} for number in range(5)))
    response = entry_point.ask("GET", "/api/projects/p/changes?cursor=1&limit=2")
    body = response.json()
    assert [change["seq"] for change in body["changes"]] == [2, 3]
    assert (body["count"], body["cursor"], body["through"]) == (2, 3, 3)
    assert body["chain"] == body["changes"][-1]["chain"]
    rest = entry_point.ask("GET", f"/api/projects/p/changes?cursor=3&chain={body['chain']}").json()
    assert rest["count"] == 2
    assert "cursor" not in rest
    assert rest["through"] == 5


def test_a_page_beyond_the_end_is_empty(entry_point: EntryPoint) -> None:
    body = entry_point.ask("GET", "/api/projects/p/changes?cursor=9").json()
    assert (body["changes"], body["count"], body["through"]) == ([], 0, 9)
    assert "cursor" not in body
    assert "chain" not in body


def test_data_is_returned_verbatim(entry_point: EntryPoint) -> None:
    data = '{"b": 1.50,\\t"a":[1e2,123456789012345678901234567890,"\\u00e9🤟"]}'.replace("\\t", "\t")
    body = '[{"projectId":"p","entityType":"t","entityId":"e","data":' + data + "}]"
    assert entry_point.ask("POST", "/api/changes", body.encode(), JSON).status == 200
    for target in ("/api/projects/p/changes", "/api/projects/p/changes/1"):
        assert f'"data":{data}'.encode() in entry_point.ask("GET", target).body


def test_one_change(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {"entityId": "x"})
    page = entry_point.ask("GET", "/api/projects/p/changes").json()["changes"]
    assert entry_point.ask("GET", "/api/projects/p/changes/2").json() == page[1]


def test_statistics(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {"operation": "update"}, {"operation": "delete", "entityType": "video"})
    body = entry_point.ask("GET", "/api/projects/p/stats").json()
    assert body["projectId"] == "p"
    assert body["changeStats"] == {"total": 3, "creates": 1, "updates": 1, "deletes": 1}
    assert body["entityTypeStats"] == {"note": 2, "video": 1}
    assert body["storageType"] == entry_point.storage.storage_type
    assert TIME.fullmatch(body["timestamp"])


def test_a_project_without_changes(entry_point: EntryPoint) -> None:
    assert entry_point.ask("GET", "/api/projects/nobody/changes").json()["changes"] == []
    assert entry_point.ask("GET", "/api/projects/nobody/stats").json()["changeStats"]["total"] == 0
    assert entry_point.ask("GET", "/api/projects/nobody/changes/1").status == 404


def test_projects(entry_point: EntryPoint) -> None:
    post(entry_point, *({"projectId": name} for name in ("b", "a", "c")))
    body = entry_point.ask("GET", "/api/projects?limit=2").json()
    assert (body["projects"], body["count"], body["cursor"]) == (["a", "b"], 2, "b")
    body = entry_point.ask("GET", "/api/projects?cursor=b").json()
    assert body["projects"] == ["c"]
    assert "cursor" not in body


def test_encoded_ids_are_decoded_once(entry_point: EntryPoint) -> None:
    post(entry_point, {"projectId": "a+b@c:d~e"})
    for path in ("a+b@c:d~e", "a%2Bb%40c%3Ad%7Ee", "%61%2bb@c:d~e"):
        assert entry_point.ask("GET", f"/api/projects/{path}/stats").json()["changeStats"]["total"] == 1
    assert entry_point.ask("GET", "/api/projects/a%252Bb/stats").status == 400


def test_a_service_for_one_project(make_entry_point: Callable[..., EntryPoint]) -> None:
    entry_point = make_entry_point(project_id="only")
    body = b'{"entityType":"t","entityId":"e","data":{}}'
    assert entry_point.ask("POST", "/api/changes", body, JSON).json()["createdSeqs"] == [1]
    assert entry_point.ask("GET", "/api/projects/other/changes").status == 404
    assert post(entry_point, {"projectId": "other"}).status == 400
    assert entry_point.ask("GET", "/api/projects").json()["projects"] == ["only"]


@pytest.mark.parametrize(
    "target", ["/health", "/api/help", "/openapi.json", "/api/projects", "/api/projects/p/changes"]
)
def test_head_responds_like_get_without_a_body(entry_point: EntryPoint, target: str) -> None:
    get, head = entry_point.ask("GET", target), entry_point.ask("HEAD", target)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers.get("etag") == get.headers.get("etag")
