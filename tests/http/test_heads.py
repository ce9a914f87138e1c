"""`GET /api/heads`, the header `If-Head`, and the head in the statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import AccessRevoked, NotFound
from sltt_core.model.chain import GENESIS
from tests.contract.logs import batch
from tests.http.entry_points import AppEntryPoint, EntryPoint, ProcessEntryPoint, ServerEntryPoint, inside, post
from tests.http.test_wait import begin, finish, until_waiting
from tests.sltt_core.api.client import Asks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINK = "B" * 22


def heads(entry_point: EntryPoint, *ends: str, more: str = "") -> Any:
    response = entry_point.ask("GET", f"/api/heads?{'&'.join(f'at={end}' for end in ends)}{more}")
    assert response.status == 200, response.body
    found = response.json()
    assert list(found) == ["heads", "diverged", "refused", "waited", "maxWait", "timestamp"]
    return {name: found[name] for name in ("heads", "diverged", "refused")}


def end_of(entry_point: EntryPoint, project: str) -> dict[str, Any]:
    head: dict[str, Any] = entry_point.ask("GET", f"/api/projects/{project}/stats").json()["head"]
    return head


def test_only_the_logs_that_moved_are_named(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {}, {"projectId": "q"}, {"projectId": "a:1"})
    p, q, colon = (end_of(entry_point, project) for project in ("p", "q", "a:1"))
    assert (p["seq"], q["seq"]) == (2, 1)
    assert heads(entry_point, "p:0", "q:1", "a:1:0", "nobody:0") == {
        "heads": {"p": p, "a:1": colon},
        "diverged": [],
        "refused": [],
    }
    quiet: dict[str, Any] = {"heads": {}, "diverged": [], "refused": []}
    ends = (f"p:2:{p['chain']}", f"q:1:{q['chain']}", f"a%3A1%3A1%3A{colon['chain']}", f"nobody:0:{GENESIS}")
    assert heads(entry_point, *ends) == quiet
    assert heads(entry_point, *ends, more="&wait=0.01") == quiet


def test_a_log_of_another_history_is_named(entry_point: EntryPoint) -> None:
    post(entry_point, {}, {}, {"projectId": "q"})
    found = heads(entry_point, f"p:2:{LINK}", "q:7", "nobody:1", f"new:0:{LINK}")
    assert found == {"heads": {}, "diverged": ["p", "q", "nobody", "new"], "refused": []}
    # Where the log has gone on, the page with `chain` tells.
    assert heads(entry_point, f"p:1:{LINK}")["heads"] == {"p": end_of(entry_point, "p")}


BAD_ENDS = [
    "",
    "wait=1",
    "at=",
    "at=p",
    "at=p:",
    "at=:5",
    "at=p:x",
    "at=p:-1",
    "at=p:1.0",
    f"at=p:{2**40}",
    "at=p:1:short",
    f"at=p:1:{'!' * 22}",
    f"at=p::{LINK}",
    f"at=p:{LINK}",
    f"at={LINK}",
    "at=p:%D9%A1",
    "at=a%23b:1",
    f"at={'p' * 129}:1",
    "at=p:1&at=p:2",
    "&".join(f"at=p{number}:0" for number in range(101)),
]


def test_a_bad_end_is_a_400_that_names_it(entry_point: EntryPoint) -> None:
    for query in BAD_ENDS:
        response = entry_point.ask("GET", f"/api/heads?{query}")
        assert response.status == 400, query
        assert response.json()["field"] == "at", query


def test_a_project_id_may_end_like_a_link_or_a_number(entry_point: EntryPoint) -> None:
    """The text is read from its end, where no number has 22 characters."""
    names = [f"a:{LINK}", "a:5", "1:2:3"]
    post(entry_point, *({"projectId": name} for name in names))
    assert list(heads(entry_point, *(f"{name}:0" for name in names))["heads"]) == names
    assert heads(entry_point, *(f"{name}:0:{GENESIS}" for name in names))["diverged"] == []
    ends = [f"{name}:1:{end_of(entry_point, name)['chain']}" for name in names]
    assert heads(entry_point, *ends) == {"heads": {}, "diverged": [], "refused": []}


def test_a_hundred_projects_are_one_request(entry_point: EntryPoint) -> None:
    post(entry_point, {"projectId": "p7"}, {"projectId": "p93"})
    found = heads(entry_point, *(f"p{number}:0" for number in range(100)))
    assert list(found["heads"]) == ["p7", "p93"]


def test_a_server_for_one_project_refuses_the_others(make_entry_point: Callable[..., EntryPoint]) -> None:
    entry_point = make_entry_point(project_id="p")
    post(entry_point, {})
    found = heads(entry_point, "p:0", "q:0")
    assert (list(found["heads"]), found["refused"]) == (["p"], ["q"])


def test_each_project_is_asked_and_no_member_is_as_no_project(make_entry_point: Callable[..., EntryPoint]) -> None:
    def decide(principal: str | None, action: str, project: str | None) -> None:
        if project in ("secret", "nobody"):
            raise NotFound("there is no such project, or you are not a member of it")
        if project == "left":
            raise AccessRevoked("you are no longer a member of this project")

    entry_point = make_entry_point(access=Asks(decide))
    storage = inside(entry_point)
    post(entry_point, {})
    for project in ("secret", "left"):
        storage.create_changes(batch(3, project))
    found = heads(entry_point, "secret:9", "p:0", "nobody:9", "left:0")
    assert (list(found["heads"]), found["diverged"]) == (["p"], [])
    assert found["refused"] == ["secret", "nobody", "left"]


@pytest.fixture
def server(tmp_path: Path) -> Any:
    running = ServerEntryPoint(tmp_path)
    yield running
    running.close()


@pytest.mark.parametrize("project", ["p", "q", "r"])
def test_a_change_of_any_project_wakes_the_reader(server: ServerEntryPoint, project: str) -> None:
    post(server, {})
    waiting = begin(server, "/api/heads?at=p:1&at=q:0&at=r:0&wait=60")
    until_waiting(server, 3)
    post(server, {"projectId": "another"})
    post(server, {"projectId": project})
    found = finish(waiting)
    assert found["heads"] == {project: end_of(server, project)}
    assert found["maxWait"] == 60
    watcher = server._server._uvicorn._watcher  # type: ignore[union-attr]
    assert not any(watcher._waiting.values())


def test_a_project_that_is_revoked_while_waiting_is_named(tmp_path: Path) -> None:
    revoked: list[str | None] = []

    def decide(principal: str | None, action: str, project: str | None) -> None:
        if action == "read" and project in revoked:
            raise AccessRevoked("revoked")

    entry_point = ServerEntryPoint(tmp_path, access=Asks(decide))
    waiting = begin(entry_point, "/api/heads?at=p:0&at=q:0&wait=60")
    until_waiting(entry_point, 2)
    revoked.append("p")
    post(entry_point, {"entityId": "secret"})
    found = finish(waiting)
    assert (found["heads"], found["refused"]) == ({}, ["p"])
    entry_point.close()


def test_an_append_at_the_expected_end(entry_point: EntryPoint) -> None:
    key = {"idempotency-key": "if-head-http-0001"}
    assert post(entry_point, {}, {}, headers={"if-head": "0", **key}).json()["createdSeqs"] == [1, 2]
    refused = post(entry_point, {}, headers={"if-head": "0"})
    assert refused.status == 412
    problem = refused.json()
    assert problem["type"] == "urn:sltt:problem:head-moved"
    assert {"seq": problem["seq"], "chain": problem["chain"]} == end_of(entry_point, "p")
    replay = post(entry_point, {}, {}, headers={"if-head": "0", **key}).json()
    assert (replay["createdSeqs"], replay["replayed"]) == ([1, 2], True)
    assert post(entry_point, {}, headers={"if-head": "2"}).json()["createdSeqs"] == [3]


def test_a_bad_if_head_is_a_400_that_names_it(entry_point: EntryPoint) -> None:
    for value in ("", "x", "-1", "1.0", "1, 1", '"1"', "*", str(2**40), "9" * 30):
        response = post(entry_point, {}, headers={"if-head": value})
        assert response.status == 400, value
        assert response.json()["field"] == "If-Head", value
    assert end_of(entry_point, "p") == {"seq": 0, "chain": GENESIS}


def test_if_head_needs_one_atomic_write(entry_point: EntryPoint) -> None:
    several: list[list[dict[str, Any]]] = [[{}] * 99, [{}, {"projectId": "q"}]]
    for changes in several:
        response = post(entry_point, *changes, headers={"if-head": "0"})
        assert response.status == 400
        assert response.json()["field"] == "If-Head"
        assert response.json()["detail"].startswith("If-Head needs")
    assert end_of(entry_point, "p")["seq"] == 0


def test_a_function_waits_for_any_project_or_says_that_it_does_not(entry_point: EntryPoint) -> None:
    response = entry_point.ask("GET", "/api/heads?at=p:0&at=q:0&wait=0.02").json()
    never = isinstance(entry_point, (AppEntryPoint, ProcessEntryPoint))
    assert (response["waited"] > 0, response["maxWait"] > 0) == (not never, not never)
