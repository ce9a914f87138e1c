"""`Device` as a program sees it: projects, refusals of the server, and what a person decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from sltt_core.api.roles import RoleAccess
from sltt_core.base.errors import InvalidBatch, InvalidInput, NotFound, StorageBusy
from sltt_core.base.runtime import SYSTEM
from sltt_core.http_client.responses import HttpResponse
from sltt_core.sync.device import Device
from sltt_core.sync.errors import ServerUnreachable
from sltt_core.sync.events import Progress, Stopped
from sltt_core.sync.outcomes import CANCELLED, DIVERGED, DONE, OFFLINE, PAUSED, SyncResult
from sltt_core.sync.projects import BY_USER
from tests.contract.logs import batch, everything, new
from tests.sltt_core.sync.conftest import MakeDevice
from tests.sltt_core.sync.servers import Logins, Server, Wire, html, problem, refuses

SECONDS = 30
"""The bound of every wait; no test waits for it."""


def stored(server: Server, project_id: str = "p") -> list[str]:
    return [change.entity_id for change in everything(server.storage, project_id)]


# Edits


def test_a_device_edits_and_syncs_in_a_few_lines(server: Server, make_device: MakeDevice) -> None:
    device = make_device(user="Noémie")
    ruth = device.project("ruth")
    with ruth.transaction():
        ruth.create("passage", "r1", title="Famine in Bethlehem")
        ruth.update("passage", "r1", {"verses": 22}, done=False)
    ruth.delete("passage", "r1")
    assert [edit.unit for edit in ruth.outbox()] == [1, 1, 3]
    assert [edit.data for edit in device.outbox("ruth")] == [
        {"title": "Famine in Bethlehem"},
        {"verses": 22, "done": False},
        {},
    ]
    result = ruth.sync()
    assert (result.project_id, result.outcome, len(result.outsync.sent)) == ("ruth", DONE, 3)
    assert [change.operation for change in ruth.changes()] == ["create", "update", "delete"]
    assert [change.seq for change in ruth.changes(after=2)] == [3]
    assert (ruth.outbox(), ruth.rejected()) == ([], [])
    status = ruth.status()
    assert status is not None
    assert (status.cursor, status.head, status.lag, status.state) == (3, 3, 0, "following")
    assert device.project("other").status() is None


def test_a_transaction_is_that_of_its_thread_and_project(device: Device) -> None:
    p, q = device.project("p"), device.project("q")
    with p.transaction():
        p.create("document", "a")
        q.create("document", "b")
        other = Thread(target=p.create, args=("document", "c"))
        other.start()
        other.join()
        assert [edit.entity_id for edit in device.outbox()] == ["b", "c"]
        with device.project("p").transaction():
            p.create("document", "d")
    units = {edit.entity_id: edit.unit for edit in device.outbox()}
    assert units["a"] == units["d"]
    assert len({units[name] for name in "abc"}) == 3


def test_a_transaction_that_has_ended_takes_no_edit(device: Device) -> None:
    with device.project("p").transaction() as unit:
        pass
    with pytest.raises(InvalidInput, match="has ended"):
        unit.edit("create", "document", "a")
    assert device.outbox() == []


def test_an_error_in_a_transaction_leaves_nothing_and_the_next_one_works(device: Device) -> None:
    project = device.project("p")

    def two() -> None:
        with project.transaction():
            project.create("document", "a")
            project.create("document", "")

    with pytest.raises(InvalidBatch):
        two()
    assert device.outbox() == []
    assert device.status().projects == {}
    project.create("document", "b")
    assert [edit.entity_id for edit in device.outbox()] == ["b"]


def test_a_device_needs_a_server_only_to_sync(tmp_path: Path) -> None:
    with Device(tmp_path / "tablet.db") as device:
        device.project("p").create("document", "a")
        for call in (device.sync, device.fetch, device.start, lambda: device.watch().__enter__()):
            with pytest.raises(InvalidInput) as caught:
                call()
            assert caught.value.field == "server"
        device.stop()
        assert len(device.outbox()) == 1


def test_a_device_knows_its_server_again(server: Server, make_device: MakeDevice, tmp_path: Path) -> None:
    make_device().close()
    with Device(tmp_path / "tablet.db") as device:
        assert device.status().server == "http://server"


def test_only_one_object_has_a_store_open(make_device: MakeDevice, tmp_path: Path) -> None:
    make_device()
    with pytest.raises(StorageBusy), Device(tmp_path / "tablet.db"):
        pass


def test_a_closed_device_opens_again(device: Device) -> None:
    device.project("p").create("document", "a")
    device.sync()
    device.close()
    device.close()
    device.open()
    assert device.sync().outcome == DONE
    assert len(list(device.project("p").changes())) == 1


# Which projects


def test_a_paused_project_is_synced_only_by_name_until_it_is_followed(server: Server, device: Device) -> None:
    server.storage.create_changes(batch(2))
    device.follow("p", "q")
    device.pause("p")
    device.project("p").create("document", "mine")
    result = device.sync()
    assert list(result.projects) == ["q"]
    assert stored(server) == ["e0", "e1"]
    assert device.sync("p").sent == 1
    assert device.status().projects["p"].state == "paused"
    assert list(device.sync().projects) == ["q"]
    device.follow("p")
    assert list(device.sync().projects) == ["p", "q"]


def test_a_refusal_does_not_end_the_pause_of_a_person(server: Server, device: Device) -> None:
    device.pause("p")
    device.project("p").create("document", "mine")
    server.answer = problem(403, "not-allowed")
    assert device.sync("p").outcome == PAUSED
    server.answer = None
    found = device.status().projects["p"].problem
    assert found is not None
    assert found["type"] == BY_USER
    assert device.sync().projects == {}
    assert device.status().projects["p"].state == "paused"


def test_a_purge_deletes_what_came_down_and_keeps_the_outbox(server: Server, device: Device) -> None:
    server.storage.create_changes(batch(3))
    device.sync("p", "q")
    device.project("p").create("document", "mine")
    device.purge("p")
    assert list(device.project("p").changes()) == []
    status = device.status().projects["p"]
    assert (status.state, status.cursor, status.outbox) == ("paused", 0, {"waiting": 1})
    assert list(device.sync().projects) == ["q"]
    device.follow("p")
    assert device.sync().sent == 1
    assert [change.entity_id for change in device.project("p").changes()] == ["e0", "e1", "e2", "mine"]


@pytest.mark.parametrize("ranges", [1, 4])
def test_a_purge_during_a_sync_is_not_undone_by_it(server: Server, make_device: MakeDevice, ranges: int) -> None:
    server.storage.create_changes(batch(3500))
    device = make_device(ranges=ranges)
    device.project("p").create("document", "mine")
    purged = False

    def purge(event: object) -> None:
        nonlocal purged
        if isinstance(event, Progress) and not purged:
            purged = True
            device.purge("p")

    result = device.sync("p", notify=purge)
    assert result.outcome == CANCELLED
    status = device.status().projects["p"]
    assert (status.state, status.cursor, status.outbox) == ("paused", 0, {"waiting": 1})
    device.follow("p")
    assert device.sync().outcome == DONE
    assert device.status().projects["p"].cursor == 3501


def test_the_names_of_projects_are_checked_everywhere(device: Device) -> None:
    for call in (device.project, device.follow, device.pause, device.purge, device.sync, device.resync):
        with pytest.raises(InvalidInput, match="project_id"):
            call("no project")
    with pytest.raises(NotFound):
        device.resync("unknown")
    assert device.status().projects == {}


# What a person decides


def test_a_person_edits_retries_and_drops_what_was_refused(server: Server, device: Device) -> None:
    project = device.project("p")
    cids = [project.create("document", name).cid for name in "abc"]
    errors = [{"index": index, "field": "data", "reason": "is not welcome"} for index in range(3)]
    server.answer = problem(400, "invalid-batch", failedAtIndex=0, errors=errors)
    assert device.sync().rejected == tuple(cids)
    server.answer = None
    assert [edit.cid for edit in project.rejected()] == cids
    assert device.edit(cids[0], {"better": True}).data == {"better": True}
    assert device.retry(cids[1]).state == "waiting"
    assert device.drop(cids[2]).entity_id == "c"
    assert device.sync().ok
    assert [(change.entity_id, change.data) for change in project.changes()] == [("a", {"better": True}), ("b", {})]
    with pytest.raises(NotFound):
        device.drop(cids[2])


# Refusals of the server


@pytest.fixture
def logins() -> Logins:
    return Logins("anna", "ben")


@pytest.fixture
def guarded(tmp_path: Path, logins: Logins) -> Iterator[Server]:
    """A server with logins and roles: `ben` owns the projects `p` and `q`, `anna` edits them."""
    server = Server(tmp_path, "guarded", access=RoleAccess, authenticator=logins)
    for project_id in "pq":
        server.storage.set_role("ben", "owner", granted_by="ben", project_id=project_id)
        server.storage.set_role("anna", "editor", granted_by="ben", project_id=project_id)
    yield server
    server.close()


def revoke(server: Server, project_id: str = "p") -> None:
    server.client(token="ben").remove_member(project_id, "anna")


@pytest.fixture
def anna(guarded: Server, tmp_path: Path) -> Iterator[Device]:
    with guarded.device(tmp_path / "anna.db", token="anna") as device:
        device.sync("p", "q")
        yield device


@pytest.mark.parametrize("has_edits", [False, True])
def test_a_revoked_membership_stops_its_project_and_keeps_the_outbox(
    guarded: Server, anna: Device, has_edits: bool
) -> None:
    revoke(guarded)
    if has_edits:
        anna.project("p").create("document", "mine")
    anna.project("q").create("document", "other")
    seen: list[object] = []
    result = anna.sync(notify=seen.append)
    assert {name: one.outcome for name, one in result.projects.items()} == {"p": PAUSED, "q": DONE}
    assert [event.project_id for event in seen if isinstance(event, Stopped)] == ["p"]
    status = anna.status().projects["p"]
    assert (status.state, status.cursor, sum(status.outbox.values())) == ("paused", 2, int(has_edits))
    assert stored(guarded, "q")[-1] == "other"
    anna.purge("p")
    assert list(anna.project("p").changes()) == []
    assert len(anna.project("p").outbox()) == int(has_edits)


def test_a_membership_that_comes_back_is_noticed(guarded: Server, anna: Device) -> None:
    revoke(guarded)
    anna.project("p").create("document", "mine")
    assert anna.sync().outcome == PAUSED
    guarded.client(token="ben").set_role("p", "anna", "editor")
    result = anna.sync()
    assert (result.outcome, result.sent) == (DONE, 1)
    assert anna.status().projects["p"].state == "following"


def test_a_token_that_ends_in_the_middle_stops_with_whole_pages(
    guarded: Server, logins: Logins, tmp_path: Path
) -> None:
    for start in range(0, 2500, 50):
        guarded.storage.create_changes([new(f"e{start + n}") for n in range(50)])
    pages = 0

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        nonlocal pages
        if "/p/changes?" in target:
            pages += 1
            if pages == 2:
                logins.valid.discard("anna")
        return None

    guarded.answer = answer
    with guarded.device(tmp_path / "tablet.db", token="anna", ranges=1) as device:
        device.project("p").create("document", "mine")
        result = device.sync("p", "q")
        assert {one.outcome for one in result.projects.values()} == {PAUSED}
        assert {one.trouble.kind for one in result.projects.values() if one.trouble} == {"unauthenticated"}
        status = device.status().projects["p"]
        assert (status.state, status.cursor, status.outbox) == ("paused", 1000, {"waiting": 1})
        logins.valid.add("anna")
        assert device.sync().outcome == DONE
        assert device.status().projects["p"].cursor == 2503
        assert device.outbox() == []


def test_a_token_that_ends_before_an_append_loses_nothing(guarded: Server, logins: Logins, anna: Device) -> None:
    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method == "POST":
            logins.valid.discard("anna")
        return None

    guarded.answer = answer
    anna.project("p").create("document", "mine")
    assert anna.sync().outcome == PAUSED
    logins.valid.add("anna")
    guarded.answer = None
    assert anna.sync().sent == 1
    keys = {key for key, _ in guarded.appends}
    assert len(keys) == 1
    assert stored(guarded)[-1] == "mine"


# Another history


def test_a_failover_to_another_history_and_back_loses_nothing(server: Server, device: Device, tmp_path: Path) -> None:
    server.storage.create_changes(batch(5))
    device.sync("p", "q")
    behind = Server(tmp_path, "behind")
    behind.storage.restore_changes(everything(server.storage)[:3])
    behind.close()
    device.project("p").create("document", "mine")
    server.replace(behind.path)
    result = device.sync()
    assert {name: one.outcome for name, one in result.projects.items()} == {"p": DIVERGED, "q": DONE}
    assert stored(server) == ["e0", "e1", "e2"]
    server.replace(server.path)
    requests = len(server.requests)
    assert device.sync("p").outcome == DIVERGED  # only resync ends it
    assert len(server.requests) == requests
    assert device.resync("p").outcome == DONE
    assert stored(server) == ["e0", "e1", "e2", "e3", "e4", "mine"]
    assert device.outbox() == []


# One project and the others


@pytest.mark.parametrize("kind", ["log-damaged", "a gateway"])
def test_a_project_that_always_fails_does_not_block_the_others(server: Server, device: Device, kind: str) -> None:
    """The server's log of one project is damaged, or a gateway refuses what is in one batch."""
    for name in "pq":
        device.project(name).create("document", name)
    fails = html(403) if kind == "a gateway" else problem(500, kind)

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        return fails(method, target, respond) if b'"projectId":"p"' in server.requests[-1][3] else None

    server.answer = answer
    result = device.sync()
    assert {name: one.outcome for name, one in result.projects.items()} == {"p": OFFLINE, "q": DONE}
    assert stored(server, "q") == ["q"]
    assert result.outcome == OFFLINE


def test_a_server_out_of_reach_is_asked_once(server: Server, device: Device) -> None:
    device.follow("p", "q", "r")
    server.answer = refuses
    assert device.sync().outcome == OFFLINE
    assert len(server.requests) == 1


# Fetch


def test_a_fetch_tells_how_far_behind_the_device_is(server: Server, device: Device) -> None:
    device.sync("p", "q")
    server.storage.create_changes(batch(3))
    device.project("p").create("document", "mine")
    status = device.fetch().projects["p"]
    assert (status.cursor, status.head, status.lag, status.outbox) == (0, 3, 3, {"waiting": 1})
    assert stored(server) == ["e0", "e1", "e2"]
    server.answer = refuses
    with pytest.raises(ServerUnreachable):
        device.fetch()
    assert device.status().projects["p"].lag == 3


def test_a_fetch_does_not_claim_to_have_heard_of_a_project_that_is_refused(guarded: Server, anna: Device) -> None:
    before = anna.status().projects["p"].heard_at
    revoke(guarded)
    assert anna.fetch().projects["p"].heard_at == before


# Cancelling


def test_stop_ends_a_sync_that_another_thread_runs(server: Server, tmp_path: Path) -> None:
    """The request that runs ends, and no further one is sent."""
    arrived, go_on = Event(), Event()

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        arrived.set()
        assert go_on.wait(SECONDS)
        return None

    server.answer = answer
    runtime = SYSTEM.replace(transport=lambda origin, seconds: Wire(server))
    with Device(tmp_path / "tablet.db", "http://server", runtime=runtime) as device:
        device.project("p").create("document", "mine")
        results: list[SyncResult] = []
        syncing = Thread(target=lambda: results.append(device.sync()))
        syncing.start()
        assert arrived.wait(SECONDS)
        device.stop()
        go_on.set()
        syncing.join(SECONDS)
        assert results[0].outcome == CANCELLED
        assert len(server.requests) == 1
        assert len(device.outbox()) == 1
        assert device.sync().outcome == DONE
        assert stored(server) == ["mine"]
