from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sltt_core.api.access import Authenticator
from sltt_core.api.http import MAX_BODY_BYTES
from sltt_core.api.routes import ROUTES
from sltt_core.base.runtime import Runtime
from sltt_core.model.chain import GENESIS
from sltt_core.model.fields import MAX_ITEM_BYTES
from sltt_core.sqlite.storage import LocalStorageService
from tests.sltt_core.api.client import KEY, api_on, body_from, get, post
from tests.sltt_core.samples import NANOSECONDS, NOW, wire_change

Storage = LocalStorageService


# What is not a log's.


def test_health_reports_the_server_and_its_storage(storage: Storage) -> None:
    assert body_from(get(api_on(storage), "/health")) == {
        "status": "healthy",
        "timestamp": NOW,
        "server": "here",
        "storageType": "sqlite",
    }


@pytest.mark.parametrize("authenticator", [None, Authenticator()])
def test_help_lists_every_route(storage: Storage, authenticator: Authenticator | None) -> None:
    said = body_from(get(api_on(storage, authenticator=authenticator), "/api/help"))
    assert said["server"] == "here"
    expected = [route for route in ROUTES if authenticator or not route.with_auth]
    assert [(e["method"], e["path"], e["description"]) for e in said["endpoints"]] == [
        (route.method, route.path, route.description) for route in expected
    ]
    for endpoint, route in zip(said["endpoints"], expected, strict=True):
        assert [(p["name"], p["in"], p["description"]) for p in endpoint["parameters"]] == [
            (p.name, p.place, p.description) for p in route.parameters
        ]


# Writing.


def test_changes_are_appended_and_numbered(storage: Storage) -> None:
    response = body_from(post(api_on(storage), [wire_change(), wire_change(projectId="esther"), wire_change()]))
    assert response == {
        "success": True,
        "created": 3,
        "createdSeqs": [1, 1, 2],
        "seqMap": {"1": 1, "2": 2},
        "replayed": False,
        "timestamp": NOW,
    }
    assert [page.seq for page in storage.get_changes_since(project_id="ruth")] == [1, 2]


def test_one_object_is_a_batch_of_one(storage: Storage) -> None:
    assert body_from(post(api_on(storage), wire_change()))["createdSeqs"] == [1]


def test_the_numbers_of_the_client_are_mapped_to_those_of_the_log(storage: Storage) -> None:
    api = api_on(storage)
    post(api, wire_change())
    batch = [wire_change(seq=70), wire_change(), wire_change(seq=0), wire_change(seq=2**63 - 1), wire_change(seq=70)]
    response = body_from(post(api, batch))
    assert response["createdSeqs"] == [2, 3, 4, 5, 6]
    assert response["seqMap"] == {"70": 6, "3": 3, "0": 4, str(2**63 - 1): 5}


def test_the_same_key_stores_the_same_batch_once(storage: Storage) -> None:
    api = api_on(storage)
    first = body_from(post(api, [wire_change(), wire_change()], idempotency_key=KEY))
    again = body_from(post(api, [wire_change(), wire_change()], idempotency_key=KEY))
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert first["createdSeqs"] == again["createdSeqs"] == [1, 2]
    assert storage.get_change_stats(project_id="ruth").total == 2
    problem = body_from(post(api, [wire_change()], idempotency_key=KEY), 422)
    assert problem["type"] == "urn:sltt:problem:key-reused"


@pytest.mark.parametrize("key", ["", "short", "x" * 129, "a key of 16 chars", f"{KEY}, {KEY}", "é" * 16])
def test_a_bad_key_is_a_bad_request_and_nothing_is_stored(storage: Storage, key: str) -> None:
    problem = body_from(post(api_on(storage), wire_change(), idempotency_key=key), 400)
    assert problem["field"] == "Idempotency-Key"
    assert storage.get_all_projects().projects == ()


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        (" application/json ;x=y", 200),
        ("", 415),
        ("text/plain", 415),
        ("text/plain;application/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonp", 415),
        ("application/problem+json", 415),
        ("application/json, text/plain", 415),
    ],
)
def test_only_json_is_accepted(storage: Storage, media_type: str, status: int) -> None:
    body_from(post(api_on(storage), wire_change(), content_type=media_type), status)
    assert storage.get_change_stats(project_id="ruth").total == (1 if status == 200 else 0)


def test_a_bad_batch_is_refused_as_a_whole(storage: Storage) -> None:
    problem = body_from(post(api_on(storage), [wire_change(), wire_change(entityId=""), wire_change(color=1)]), 400)
    assert problem["failedAtIndex"] == 1
    assert [error["field"] for error in problem["errors"]] == ["changes[1].entityId", "changes[2].color"]
    assert storage.get_all_projects().projects == ()


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b"{}" * 10])
def test_an_invalid_body_is_a_400(storage: Storage, body: bytes) -> None:
    problem = body_from(post(api_on(storage), body), 400)
    assert problem["type"] == "urn:sltt:problem:invalid-batch"
    assert storage.get_all_projects().projects == ()


def test_a_body_of_the_largest_size_is_accepted(storage: Storage) -> None:
    api = api_on(storage)
    body = json.dumps(wire_change()).encode()
    assert body_from(post(api, body + b" " * (MAX_BODY_BYTES - len(body))))["created"] == 1
    problem = body_from(post(api, body + b" " * (MAX_BODY_BYTES - len(body) + 1)), 413)
    assert problem["type"] == "urn:sltt:problem:payload-too-large"
    assert storage.get_change_stats(project_id="ruth").total == 1


def test_a_compressed_body_is_decompressed_within_the_limit(storage: Storage) -> None:
    api = api_on(storage)
    assert (
        body_from(post(api, gzip.compress(json.dumps(wire_change()).encode()), content_encoding="gzip"))["created"] == 1
    )
    body_from(post(api, gzip.compress(b" " * (MAX_BODY_BYTES + 1)), content_encoding="gzip"), 413)
    body_from(post(api, b"no gzip", content_encoding="gzip"), 400)
    body_from(post(api, wire_change(), content_encoding="br"), 415)


def test_a_change_too_large_for_its_item_is_a_413(storage: Storage) -> None:
    problem = body_from(post(api_on(storage), [wire_change(), wire_change(data={"a": "x" * MAX_ITEM_BYTES})]), 413)
    assert problem["errors"][0]["field"] == "changes[1].data"
    assert storage.get_all_projects().projects == ()


def test_the_id_of_the_principal_counts_in_the_size_of_a_change(storage: Storage) -> None:
    api = api_on(storage)
    room = MAX_ITEM_BYTES - 256 - len('ruthdocumente1{"a": ""}')
    full = wire_change(data={"a": "x" * room})
    body_from(post(api, [wire_change(), full], principal="a"), 413)
    assert storage.get_all_projects().projects == ()
    body_from(post(api, [wire_change(), full]))


@pytest.mark.parametrize("claimed", [..., None, "mallory", "anna"])
def test_a_change_gets_the_id_of_the_principal(storage: Storage, claimed: object) -> None:
    post(api_on(storage), [wire_change(changeBy=claimed, cid="c")], principal="anna")
    stored = storage.get_change(1, project_id="ruth")
    assert (stored.change_by, stored.cid) == ("anna", "c")


def test_an_anonymous_change_keeps_its_change_by(storage: Storage) -> None:
    post(api_on(storage), [wire_change(changeBy="anna"), wire_change()])
    assert [item.change_by for item in storage.get_changes_since(project_id="ruth")] == ["anna", None]


def test_a_batch_that_stops_midway_is_a_503_that_the_same_key_resumes(tmp_path: Path) -> None:
    class Failing(LocalStorageService):
        left = 1

        def _append(self, chunk: Any) -> Any:
            self.left -= 1
            if self.left == -1:
                from sltt_core.base.errors import StorageBusy

                raise StorageBusy("not now")
            return super()._append(chunk)

    with Failing(tmp_path / "log.db", runtime=Runtime(clock=lambda: NANOSECONDS), chunk_changes=2) as storage:
        api = api_on(storage)
        response = post(api, [wire_change() for _ in range(5)], idempotency_key=KEY)
        problem = body_from(response, 503)
        assert response.header("retry-after") == "1"
        assert (problem["failedAtIndex"], problem["created"]) == (2, 2)
        assert problem["createdSeqs"] == [1, 2, None, None, None]
        again = body_from(post(api, [wire_change() for _ in range(5)], idempotency_key=KEY))
        assert (again["createdSeqs"], again["replayed"]) == ([1, 2, 3, 4, 5], False)


# Reading.


def test_a_page_has_its_changes_and_the_next_cursor(storage: Storage) -> None:
    api = api_on(storage)
    post(api, [wire_change(data={"n": n}) for n in range(3)])
    links = [item.chain for item in storage.get_changes_since(project_id="ruth")]
    first = body_from(get(api, "/api/projects/ruth/changes?limit=2"))
    assert first == {
        "changes": [
            {
                "projectId": "ruth",
                "seq": seq,
                "entityType": "document",
                "entityId": "e1",
                "operation": "create",
                "timestamp": NOW,
                "cloudAt": NOW,
                "data": {"n": seq - 1},
                "chain": links[seq - 1],
            }
            for seq in (1, 2)
        ],
        "count": 2,
        "cursor": 2,
        "through": 2,
        "chain": links[1],
        "waited": 0,
        "maxWait": 0,
        "timestamp": NOW,
    }
    rest = body_from(get(api, f"/api/projects/ruth/changes?cursor=2&chain={links[1]}"))
    assert ([item["seq"] for item in rest["changes"]], rest["through"], rest["chain"]) == ([3], 3, links[2])
    assert "cursor" not in rest
    end = body_from(get(api, "/api/projects/ruth/changes?cursor=3"))
    assert end == {
        "changes": [],
        "count": 0,
        "through": 3,
        "chain": links[2],
        "waited": 0,
        "maxWait": 0,
        "timestamp": NOW,
    }
    beyond = body_from(get(api, "/api/projects/ruth/changes?cursor=9"))
    assert beyond == {"changes": [], "count": 0, "through": 9, "waited": 0, "maxWait": 0, "timestamp": NOW}


def test_data_is_returned_verbatim(storage: Storage) -> None:
    api = api_on(storage)
    data = b'{ "b":1.0,\n"a" : [1e2, %s, "\\u00e9\\/", "\xf0\x9f\x98\x80"] }' % (b"9" * 5000)
    post(api, b'{"projectId":"ruth","entityType":"document","entityId":"e1","data":%s}' % data)
    for target in ("/api/projects/ruth/changes", "/api/projects/ruth/changes/1"):
        assert b'"data":%s,' % data in get(api, target).body


@pytest.mark.parametrize("text", ['"', "\\", "😀", "\u2028", '"},{"seq":9', "\u202e"])
def test_a_hostile_id_is_returned_unchanged(storage: Storage, text: str) -> None:
    api = api_on(storage)
    post(api, [wire_change(entityId=text, cid=text, changeBy=text)])
    [page] = body_from(get(api, "/api/projects/ruth/changes"))["changes"]
    one = body_from(get(api, "/api/projects/ruth/changes/1"))
    assert page == one
    assert (one["entityId"], one["cid"], one["changeBy"]) == (text, text, text)


def test_a_page_may_be_filtered(storage: Storage) -> None:
    api = api_on(storage)
    post(api, [wire_change(entityType=t, entityId=e) for t in ("note", "video") for e in ("a&b", "c", "é")])
    storage.mark_as_outdated(1, 2, project_id="ruth")
    for query, seqs in [
        ("entityType=note", [1, 2, 3]),
        ("entityType=note&entityType=video", [1, 2, 3, 4, 5, 6]),
        (f"entityId={quote('a&b')}", [1, 4]),
        (f"entityType=video&entityId={quote('é')}&entityId=c", [5, 6]),
        ("entityId=none", []),
        ("outdated=exclude", [2, 3, 4, 5, 6]),
        ("outdated=include", [1, 2, 3, 4, 5, 6]),
    ]:
        page = body_from(get(api, f"/api/projects/ruth/changes?{query}"))
        assert ([item["seq"] for item in page["changes"]], page["count"], page["through"]) == (seqs, len(seqs), 6)


def test_a_page_with_nothing_new_asks_its_server_to_wait(storage: Storage) -> None:
    api = api_on(storage)
    post(api, wire_change())
    waiting = get(api, "/api/projects/ruth/changes?cursor=1&wait=2.5").wait
    assert waiting is not None
    assert waiting.as_tuple() == ({"ruth": 1}, 2.5)
    for target in ("?cursor=0&wait=2.5", "?cursor=1", "?cursor=1&wait=0"):
        assert get(api, f"/api/projects/ruth/changes{target}").wait is None


def test_a_reader_with_another_link_gets_a_409(storage: Storage) -> None:
    api = api_on(storage)
    post(api, [wire_change(), wire_change()])
    for query in (f"cursor=1&chain={GENESIS}", f"cursor=9&chain={GENESIS}"):
        problem = body_from(get(api, f"/api/projects/ruth/changes?{query}"), 409)
        assert problem["type"] == "urn:sltt:problem:chain-mismatch"
    body_from(get(api, f"/api/projects/ruth/changes?cursor=0&chain={GENESIS}"))


def test_one_change_is_returned_or_a_404(storage: Storage) -> None:
    api = api_on(storage)
    post(api, [wire_change(), wire_change(cid="c")])
    assert body_from(get(api, "/api/projects/ruth/changes/2"))["cid"] == "c"
    for target in ("/api/projects/ruth/changes/3", "/api/projects/esther/changes/1"):
        assert body_from(get(api, target), 404)["type"] == "urn:sltt:problem:not-found"
    for seq in ("0", "-1", "x", "", "1.0", "%00"):
        assert body_from(get(api, f"/api/projects/ruth/changes/{seq}"), 400)["field"] == "seq"


def test_the_counts_are_exact(storage: Storage) -> None:
    api = api_on(storage)
    operations = ("create", "update", "update", "delete", None)
    post(api, [wire_change(operation=op, entityType=t) for op in operations for t in ("note", "a.b")])
    assert body_from(get(api, "/api/projects/ruth/stats")) == {
        "projectId": "ruth",
        "changeStats": {"total": 10, "creates": 4, "updates": 4, "deletes": 2},
        "entityTypeStats": {"a.b": 5, "note": 5},
        "head": {"seq": 10, "chain": storage.get_head(project_id="ruth").chain},
        "storageType": "sqlite",
        "timestamp": NOW,
    }


def test_a_project_without_changes_is_empty(storage: Storage) -> None:
    api = api_on(storage)
    page = body_from(get(api, "/api/projects/nobody/changes"))
    assert page == {
        "changes": [],
        "count": 0,
        "through": 0,
        "chain": GENESIS,
        "waited": 0,
        "maxWait": 0,
        "timestamp": NOW,
    }
    stats = body_from(get(api, "/api/projects/nobody/stats"))
    assert stats["changeStats"] == {"total": 0, "creates": 0, "updates": 0, "deletes": 0}
    assert stats["entityTypeStats"] == {}
    assert body_from(get(api, "/api/projects")) == {"projects": [], "count": 0, "timestamp": NOW}


def test_projects_are_listed_in_order_page_by_page(storage: Storage) -> None:
    api = api_on(storage)
    post(api, [wire_change(projectId=name) for name in ("b", "a+b", "B", "a")])
    assert body_from(get(api, "/api/projects")) == {"projects": ["B", "a", "a+b", "b"], "count": 4, "timestamp": NOW}
    first = body_from(get(api, "/api/projects?limit=3"))
    assert (first["projects"], first["count"], first["cursor"]) == (["B", "a", "a+b"], 3, "a+b")
    rest = body_from(get(api, f"/api/projects?limit=3&cursor={quote('a+b', safe='')}"))
    assert (rest["projects"], "cursor" in rest) == (["b"], False)
    body_from(get(api, "/api/projects?cursor=a+b"), 400)  # a blank, in a query


# A server of one project.


def test_a_bound_server_serves_its_project_and_no_other(tmp_path: Path) -> None:
    with LocalStorageService(tmp_path / "log.db", "ruth", runtime=Runtime(clock=lambda: NANOSECONDS)) as storage:
        api = api_on(storage)
        assert body_from(post(api, [wire_change(projectId=...), wire_change()]))["createdSeqs"] == [1, 2]
        problem = body_from(post(api, [wire_change(), wire_change(projectId="esther")]), 400)
        assert problem["errors"][0]["field"] == "changes[1].projectId"
        assert body_from(get(api, "/api/projects/ruth/stats"))["changeStats"]["total"] == 2
        assert body_from(get(api, "/api/projects"))["projects"] == ["ruth"]
        for path in ("changes", "changes/1", "stats"):
            body_from(get(api, f"/api/projects/esther/{path}"), 404)


@pytest.mark.parametrize("target", ["/health", "/api/help", "/api/projects", "/api/projects/ruth/changes"])
def test_a_parameter_that_does_not_exist_is_a_bad_request(storage: Storage, target: str) -> None:
    assert body_from(get(api_on(storage), f"{target}?colour=red"), 400)["field"] == "colour"
