"""Outsync: what becomes of a batch after each response, over the API itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sltt_core.base import errors
from sltt_core.base.errors import SlttError
from sltt_core.http_client.responses import HttpResponse
from sltt_core.http_client.transport import BadResponse, ConnectFailed, OutcomeUnknown
from sltt_core.sync import responses
from sltt_core.sync.device import Device
from sltt_core.sync.errors import ApiProblem
from sltt_core.sync.outcomes import DIVERGED, DONE, OFFLINE, PAUSED, STOPPED
from sltt_core.sync.outsyncs import FROZEN, HELD, REJECTED, WAITING
from sltt_core.sync.requests import batch_body
from tests.contract.logs import everything, new
from tests.sltt_core.sync.conftest import MakeDevice
from tests.sltt_core.sync.servers import Answer, Server, html, loses_response, problem, stale


def stored(server: Server, project_id: str = "p") -> list[str]:
    return [change.entity_id for change in everything(server.storage, project_id)]


def edits(device: Device, *entity_ids: str) -> list[str]:
    return [device.project("p").create("document", entity_id).cid for entity_id in entity_ids]


def only_once(answer: Answer) -> Answer:
    """Return a server that responds so to the first append alone."""
    left = [True]

    def once(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method == "POST" and left:
            left.clear()
            return answer(method, target, respond)
        return None

    return once


def test_an_outsync_names_what_was_sent_and_empties_the_outbox(server: Server, device: Device) -> None:
    cids = edits(device, "e", "f")
    result = device.sync()
    assert result.projects["p"].outsync.sent == tuple(cids)
    assert (result.outcome, result.sent, result.received, result.ok) == (DONE, 2, 0, True)
    assert device.outbox() == []
    assert [change.cid for change in device.project("p").changes()] == cids
    assert str(result) == "done: sent 2, received 0"


def test_edits_arrive_as_they_were_made(server: Server, make_device: MakeDevice) -> None:
    device = make_device(user="Noémie")
    text = '{"n": 1.10,  "big": 123456789012345678901234567890, "t": "\\u00e9"}'
    edit = device.project("p").update("document", 'é"\\', text)
    device.sync()
    (change,) = everything(server.storage)
    assert (change.entity_id, change.operation, change.data_json) == ('é"\\', "update", text)
    assert (change.timestamp, change.cid, change.change_by) == (edit.timestamp, edit.cid, "Noémie")
    assert device.outbox() == []


def test_edits_stay_in_the_outbox_until_they_come_back(server: Server, device: Device) -> None:
    cids = edits(device, "e")
    server.answer = lambda method, target, respond: respond() if method == "POST" or "/me" in target else _offline()
    device.store.follow("p")
    assert device.sync().outcome == OFFLINE

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if "/changes?" not in target:
            return None
        return stale()

    server.answer = answer
    result = device.sync()
    assert result.projects["p"].outsync.sent == tuple(cids)
    assert [(edit.state, edit.seq) for edit in device.outbox()] == [("sent", 1)]
    assert device.sync().sent == 0  # a sent edit is not sent again
    server.answer = None
    device.sync()
    assert device.outbox() == []
    assert stored(server) == ["e"]


def _offline() -> HttpResponse:
    raise ConnectFailed("there is no network")


def fails(error: Exception) -> Answer:
    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method != "POST":
            return None
        raise error

    return answer


UNKNOWN: dict[str, Answer] = {
    "no connection": fails(ConnectFailed("no network")),
    "unknown outcome": fails(OutcomeUnknown("closed")),
    "not HTTP": fails(BadResponse("not HTTP")),
    "lost response": loses_response,
    "partial-append": problem(503, "partial-append", retryable=True, createdSeqs=[None], created=0, failedAtIndex=0),
    "request-timeout": problem(408, "request-timeout"),
    "too-many-writers": problem(429, "too-many-writers", retryable=True),
    "storage-busy": problem(503, "storage-busy", retryable=True),
    "internal": problem(500, "internal"),
    "log-damaged": problem(500, "log-damaged"),
    "another type": problem(400, "not-of-this-api"),
    "a captive portal": html(200),
    "a proxy's 400": html(400),
    "a gateway's 401": html(401),
    "a gateway's 403": html(403),
    "a gateway's 404": html(404),
    "a proxy's 413": html(413),
    "a proxy's 502": html(502),
    "a redirect": html(302),
    "JSON of a gateway": lambda method, target, respond: (
        HttpResponse(403, {"content-type": "application/json"}, b'{"message":"Forbidden"}')
        if method == "POST"
        else None
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_the_same_bytes_are_sent_again_under_the_same_key(server: Server, device: Device, case: str) -> None:
    edits(device, "e", "f")
    pages_are_stale = True

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method != "POST" and pages_are_stale and "/changes?" in target and len(stored(server)):
            return stale()
        return UNKNOWN[case](method, target, respond)

    server.answer = answer
    for _ in range(3):
        result = device.sync()
        assert result.outcome == OFFLINE
        assert result.projects["p"].outsync.rejected == ()
        assert {edit.state for edit in device.outbox()} == {FROZEN}
    edits(device, "g")
    # A page that is stale hides from the device that the batch was stored.
    server.answer = lambda *request: None if request[0] == "POST" else answer(*request)
    assert device.sync().sent == 3
    assert stored(server) == ["e", "f", "g"]
    assert len(set(server.appends)) == 2
    pages_are_stale = False
    device.sync()
    assert device.outbox() == []
    assert len(stored(server)) == 3


def test_a_batch_that_came_back_before_its_response_is_done(server: Server, device: Device) -> None:
    edits(device, "e", "f")
    server.answer = loses_response
    device.sync()
    server.answer = None
    appends = len(server.appends)
    assert device.sync().outcome == DONE
    assert device.outbox() == []
    assert len(server.appends) == appends
    assert device.store.batches("p") == []


def test_a_refused_edit_is_set_aside_and_the_others_go_on(server: Server, device: Device) -> None:
    project = device.project("p")
    project.create("document", "a")
    bad = project.create("document", "bad")
    project.update("document", "bad")
    project.create("document", "b")
    server.answer = only_once(
        problem(
            400,
            "invalid-batch",
            failedAtIndex=1,
            errors=[{"index": 1, "field": "changes[1].data", "reason": "is not welcome"}],
        )
    )
    result = device.sync()
    assert stored(server) == ["a", "b"]
    assert (result.projects["p"].outsync.rejected, result.rejected, result.ok) == ((bad.cid,), (bad.cid,), False)
    assert (result.outcome, result.projects["p"].outsync.held) == (DONE, 1)
    assert [edit.state for edit in device.outbox()] == [REJECTED, HELD]
    problem_of = device.rejected()[0].problem
    assert problem_of is not None
    assert problem_of["errors"] == [{"field": "changes[1].data", "reason": "is not welcome"}]
    keys = [key for key, _ in server.appends]
    assert len(keys) == len(set(keys)) == 2
    assert device.sync().sent == 0  # it does not block, and it is not sent again
    device.edit(bad.cid, {"better": True})
    assert device.sync().sent == 2
    assert stored(server) == ["a", "b", "bad", "bad"]
    assert device.outbox() == []


def test_a_refused_edit_of_a_unit_keeps_the_unit_back(server: Server, device: Device) -> None:
    project = device.project("p")
    with project.transaction():
        project.create("document", "bad")
        project.create("document", "same-unit")
    project.create("document", "other")
    server.answer = only_once(
        problem(
            400, "invalid-batch", failedAtIndex=0, errors=[{"index": 0, "field": "changes[0].data", "reason": "no"}]
        )
    )
    device.sync()
    assert stored(server) == ["other"]
    device.retry(device.rejected()[0].cid)
    device.sync()
    assert stored(server) == ["other", "bad", "same-unit"]


def test_an_entity_type_too_many_is_refused_by_the_server_itself(server: Server, device: Device) -> None:
    server.storage.create_changes([new(f"e{n}", entity_type=f"t{n}") for n in range(200)])
    device.project("p").create("t201", "e")
    edits(device, "f")
    device.project("p").create("t1", "g")
    result = device.sync()
    assert len(result.rejected) == 2
    assert [edit.entity_type for edit in device.rejected()] == ["t201", "document"]
    assert stored(server)[-1] == "g"


def test_a_reserved_type_is_refused_alone(server: Server, device: Device) -> None:
    edits(device, "a", "b")
    device.store.log.writer.write(
        lambda connection: connection.execute("UPDATE outsyncs SET entity_type = 'sltt.member' WHERE local = 1")
    )
    result = device.sync()
    assert stored(server) == ["b"]
    assert len(result.rejected) == 1


def test_a_batch_that_is_too_large_is_halved_between_units(server: Server, device: Device) -> None:
    project = device.project("p")
    for unit in range(8):
        with project.transaction():
            for number in range(2):
                project.create("document", f"{unit}-{number}", text="x" * 1000)
    largest = 6000
    too_large = problem(413, "payload-too-large")

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method == "POST" and len(server.requests[-1][3]) > largest:
            return too_large(method, target, respond)
        return None

    server.answer = answer
    assert device.sync().outcome == DONE
    assert len(stored(server)) == 16
    keys = [key for key, _ in server.appends]
    assert len(keys) == len(set(keys))
    for _, body in server.appends:
        names = [change["entityId"] for change in json.loads(body)]
        assert len(names) % 2 == 0, names


def test_a_unit_that_is_too_large_for_the_server_is_refused_whole(server: Server, device: Device) -> None:
    project = device.project("p")
    with project.transaction():
        project.create("document", "a")
        project.create("document", "b")
    server.answer = problem(413, "payload-too-large")
    assert len(device.sync().rejected) == 2


PAUSING = {
    "unauthenticated": 401,
    "not-allowed": 403,
    "access-revoked": 403,
    "not-found": 404,
}


@pytest.mark.parametrize("kind", PAUSING)
def test_a_refusal_of_the_project_pauses_it_and_keeps_the_outbox(server: Server, device: Device, kind: str) -> None:
    edits(device, "e")
    device.project("q").create("document", "f")
    refuse = problem(PAUSING[kind], kind)

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        return refuse(method, target, respond) if b'"projectId":"p"' in server.requests[-1][3] else None

    server.answer = answer
    result = device.sync()
    assert result.projects["p"].outcome == PAUSED
    assert result.projects["p"].trouble is not None
    assert result.projects["p"].trouble.kind == kind
    assert result.projects["q"].outcome == DONE
    assert stored(server, "q") == ["f"]
    status = device.status().projects["p"]
    assert (status.state, status.outbox) == ("paused", {FROZEN: 1})
    assert status.problem == {"type": kind, "detail": f"because {kind}"}
    server.answer = None
    assert device.sync().outcome == DONE
    assert device.status().projects["p"].state == "following"
    assert stored(server) == ["e"]


def test_another_history_stops_the_sending_until_resync(server: Server, device: Device) -> None:
    edits(device, "e")
    server.answer = problem(409, "chain-mismatch")
    assert device.sync().outcome == DIVERGED
    server.answer = None
    requests = len(server.requests)
    assert device.sync().outcome == DIVERGED
    assert len(server.requests) == requests
    assert device.resync("p").outcome == DONE
    assert stored(server) == ["e"]
    assert device.outbox() == []


STOPPING = {
    "method-not-allowed": 405,
    "unsupported-media-type": 415,
    "host-not-allowed": 421,
    "headers-too-large": 431,
    "invalid-input": 400,
    "unknown-coding": 501,
}


@pytest.mark.parametrize("kind", STOPPING)
def test_a_mistake_in_settings_refuses_no_edit(server: Server, device: Device, kind: str) -> None:
    edits(device, "e")
    server.answer = problem(STOPPING[kind], kind)
    assert device.sync().outcome == (OFFLINE if kind == "unknown-coding" else STOPPED)
    assert [edit.state for edit in device.outbox()] == [FROZEN]
    server.answer = None
    assert device.sync().outcome == DONE
    assert stored(server) == ["e"]


@pytest.mark.parametrize(
    "found",
    [[], [{"index": None, "field": "body", "reason": "is not JSON"}], [{"index": 7, "field": "f", "reason": "r"}]],
)
def test_a_refusal_that_names_no_edit_refuses_none(server: Server, device: Device, found: list[Any]) -> None:
    edits(device, "e")
    server.answer = problem(400, "invalid-batch", failedAtIndex=None, errors=found)
    result = device.sync()
    assert (result.outcome, result.rejected) == (STOPPED, ())
    assert [edit.state for edit in device.outbox()] == [FROZEN]


def test_a_used_key_leads_to_a_pull_and_the_rest_goes_under_new_keys(
    server: Server, make_device: MakeDevice, tmp_path: Path
) -> None:
    """A store that was restored from a backup in place: it sends other edits under a key that the server knows."""
    device = make_device()
    device.sync("p")
    known = device.device_id
    edits(device, "before")
    batch = device.store.next_batch("p", "")
    assert batch is not None
    server.client().append_body(batch.body.replace(b"before", b"another"), key=batch.key)

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if "/changes?" not in target or any(method == "POST" for method, *_ in server.requests[-3:]):
            return None
        return stale()

    server.requests.clear()
    server.answer = answer
    assert device.sync().outcome == DONE
    assert stored(server) == ["another", "before"]
    assert device.device_id != known
    assert device.outbox() == []
    changes = everything(server.storage)
    assert len({change.cid for change in changes}) == 2


def test_a_moved_head_leads_to_a_pull_and_another_decision(server: Server, device: Device) -> None:
    edits(device, "e")
    moved = problem(412, "head-moved")

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method == "POST" and len(server.appends) <= 2:
            server.storage.create_change(new(f"other{len(server.appends)}"))
            return moved(method, target, respond)
        return None

    server.answer = answer
    assert device.sync().outcome == DONE
    assert stored(server) == ["other1", "other2", "e"]
    assert device.status().projects["p"].cursor == 3


def test_an_edit_that_a_copy_of_the_store_has_sent_is_not_stored_again_after_a_stale_page(
    server: Server, make_device: MakeDevice, tmp_path: Path
) -> None:
    """Found by the simulation: the copy sends the edit under another key, and the page hides that it is stored."""
    device = make_device()
    edits(device, "e")
    shutil.copy(tmp_path / "tablet.db", tmp_path / "copy.db")
    shutil.copy(tmp_path / "tablet.db-wal", tmp_path / "copy.db-wal")
    copy = make_device("copy")
    copy.project("q").create("document", "g")
    copy.sync("q")  # the next key of the copy is another one than that of the device
    edits(copy, "f")
    assert device.sync().outcome == DONE
    pages_are_stale = [True]

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method == "POST":
            pages_are_stale.clear()
        return stale() if "/changes?" in target and pages_are_stale else None

    server.answer = answer
    copy.store.follow("p")
    assert copy.sync("p").outcome == DONE
    assert stored(server) == ["e", "f"]
    assert copy.outbox() == []


@pytest.mark.parametrize("reached", [True, False])
def test_a_batch_of_which_a_part_came_back_stores_no_edit_twice(server: Server, device: Device, reached: bool) -> None:
    """Found by the simulation: another copy of the store, or another device in a resync, sent a part of the batch."""
    edits(device, "e", "f")
    batch = device.store.next_batch("p", "")
    assert batch is not None
    if reached:
        server.client().append_body(batch.body, key=batch.key)
        server.answer = lambda method, target, respond: _first_change(respond()) if "/changes?" in target else None
        device.sync()
    else:
        first = batch_body([json.loads(batch.body)[0]])
        server.client().append_body(first, key="of-another-device")
    server.answer = None
    assert device.sync().outcome == DONE
    assert stored(server) == ["e", "f"]
    assert device.outbox() == []


def _first_change(response: HttpResponse) -> HttpResponse:
    """Return the page of a replica that has only the first change."""
    page = json.loads(response.body)
    if len(page["changes"]) < 2:
        return response
    first = page["changes"][0]
    page |= {"changes": [first], "count": 1, "through": 1, "chain": first["chain"]}
    return response.replace(body=json.dumps(page).encode())


def test_batches_of_one_sync_need_no_page_between_them(server: Server, device: Device) -> None:
    for number in range(3):
        edits(device, *(f"{number}-{place}" for place in range(98)))
    device.sync()
    assert len(stored(server)) == 294
    methods = [method for method, target, *_ in server.requests if target.startswith(("/api/changes", "/api/projects"))]
    assert methods == ["POST", "POST", "POST", "GET"]


def test_others_that_are_always_faster_end_the_sync_for_now(server: Server, device: Device) -> None:
    edits(device, "e")
    server.answer = problem(412, "head-moved")
    assert device.sync().outcome == OFFLINE
    assert len(server.appends) == 21


def test_a_server_that_is_busy_says_when_to_come_again(server: Server, device: Device) -> None:
    edits(device, "e")
    busy = problem(503, "storage-busy", retryable=True)

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        found = busy(method, target, respond)
        return None if found is None else found.replace(headers={**found.headers, "retry-after": "17"})

    server.answer = answer
    trouble = device.sync().projects["p"].trouble
    assert trouble is not None
    assert trouble.retry_after == 17


def test_a_login_of_another_person_leaves_what_was_begun(server: Server, make_device: MakeDevice) -> None:
    first = make_device(user="Anna")
    edits(first, "a")
    server.answer = fails(OutcomeUnknown("closed"))
    first.sync()
    first.close()
    server.answer = None
    appends = len(server.appends)
    second = make_device(user="Ben")
    second.project("p").update("document", "a")  # must not overtake Anna's
    edits(second, "b")
    result = second.sync()
    assert result.outcome == PAUSED
    assert "Anna" in str(result)
    assert [json.loads(body)[0]["entityId"] for _, body in server.appends[appends:]] == ["b"]
    second.close()
    assert make_device(user="Anna").sync().outcome == DONE
    assert stored(server) == ["b", "a", "a"]


def test_every_problem_of_the_api_has_a_place_in_the_table() -> None:
    found = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, SlttError):
            found[kind.kind] = responses.action_of(
                ApiProblem(kind.status, kind.kind, "", "", {"errors": [{"index": 0}]})
            )
    assert {kind for kind, action in found.items() if action == responses.PAUSE} == set(PAUSING)
    assert {kind for kind, action in found.items() if action == responses.REFUSE} == {"invalid-batch"}
    assert {kind for kind, action in found.items() if action == responses.STOP} >= set(STOPPING) - {"unknown-coding"}
    assert {found[kind] for kind in ("internal", "storage", "server-busy", "storage-throttled")} == {responses.AGAIN}
    assert WAITING not in found
