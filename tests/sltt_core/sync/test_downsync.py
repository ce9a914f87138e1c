"""Downsync: pages that join, links that are right, and what stops a project."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sltt_core.http_client.responses import HttpResponse
from sltt_core.sync import events
from sltt_core.sync.device import Device
from sltt_core.sync.downsync import Downsync
from sltt_core.sync.outcomes import DIVERGED, DONE, OFFLINE
from sltt_core.sync.store import DeviceStore
from tests.contract.logs import batch, everything, new
from tests.sltt_core.sync.conftest import MakeDevice
from tests.sltt_core.sync.servers import Answer, Server, refuses

Change = dict[str, Any]


def follow(device: Device, *project_ids: str) -> None:
    device.follow(*(project_ids or ("p",)))


def rewrites(change: Callable[[dict[str, Any]], None], project_id: str = "p") -> Answer:
    """Return a server whose pages of a project are changed."""

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if f"/{project_id}/changes?" not in target:
            return None
        found = respond()
        page = json.loads(found.body)
        if "changes" not in page:
            return None
        change(page)
        page["count"] = len(page["changes"])
        return found.replace(body=json.dumps(page).encode())

    return answer


def test_a_device_has_the_whole_log_of_the_projects_that_it_follows(server: Server, make_device: MakeDevice) -> None:
    server.storage.create_changes(batch(5))
    server.storage.create_changes(batch(3, "q"))
    device = make_device()
    follow(device)
    result = device.sync()
    assert (result.outcome, result.received) == (DONE, 5)
    assert list(device.project("p").changes()) == [
        change.replace(request_key=None) for change in everything(server.storage)
    ]
    assert device.log.get_all_projects().projects == ("p",)
    assert device.log.get_stats(project_id="p") == server.storage.get_stats(project_id="p")
    assert list(device.log.verify(project_id="p")) == []
    assert device.status().projects["p"].lag == 0


def test_an_empty_project_is_an_empty_log(server: Server, device: Device) -> None:
    follow(device)
    assert device.sync().outcome == DONE
    assert list(device.project("p").changes()) == []
    assert device.status().projects["p"].cursor == 0


def test_members_come_down(server: Server, device: Device) -> None:
    server.storage.set_role("me", "owner", project_id="p")
    follow(device)
    device.sync()
    assert device.log.get_members(project_id="p") == server.storage.get_members(project_id="p")


def test_what_is_new_comes_down_after_the_cursor(server: Server, device: Device) -> None:
    follow(device)
    for count in (2, 3):
        server.storage.create_changes(batch(count))
        assert device.sync().received == count
    cursors = [target for _, target, *_ in server.requests if "/p/changes?" in target]
    assert [target.partition("cursor=")[2].partition("&")[0] for target in cursors] == ["0", "2"]
    assert all("chain=" in target for target in cursors)


def tampered(page: dict[str, Any]) -> None:
    page["changes"][1]["entityId"] = "another"


def tampered_last_link(page: dict[str, Any]) -> None:
    page["changes"][-1]["chain"] = page["chain"] = "B" * 22


def gap(page: dict[str, Any]) -> None:
    del page["changes"][1]


def gap_at_the_begin(page: dict[str, Any]) -> None:
    del page["changes"][0]


def empty_but_not_the_end(page: dict[str, Any]) -> None:
    page["changes"], page["cursor"] = [], 5


def another_through(page: dict[str, Any]) -> None:
    page["through"] += 1


def another_end(page: dict[str, Any]) -> None:
    page["chain"] = "C" * 22


def an_earlier_page(page: dict[str, Any]) -> None:
    page["changes"] = [{**page["changes"][0], "seq": seq} for seq in (0 + 1, 1)]


@pytest.mark.parametrize(
    "change",
    [
        tampered,
        tampered_last_link,
        gap,
        gap_at_the_begin,
        empty_but_not_the_end,
        another_through,
        another_end,
        an_earlier_page,
    ],
)
def test_a_page_that_does_not_join_stops_its_project_alone(
    server: Server, device: Device, change: Callable[[dict[str, Any]], None]
) -> None:
    server.storage.create_changes(batch(4))
    server.storage.create_changes(batch(4, "q"))
    follow(device, "p", "q")
    server.answer = rewrites(change)
    result = device.sync()
    assert {name: one.outcome for name, one in result.projects.items()} == {"p": DIVERGED, "q": DONE}
    assert device.status().projects["p"].cursor == 0
    assert device.status().projects["p"].state == "diverged"
    server.answer = None
    assert device.sync().projects["p"].outcome == DIVERGED
    assert device.resync("p").outcome == DONE
    assert len(list(device.project("p").changes())) == 4


def test_another_history_is_noticed(server: Server, make_device: MakeDevice, tmp_path: Any) -> None:
    device = make_device()
    server.storage.create_changes(batch(3))
    follow(device)
    device.sync()
    other = Server(tmp_path, "other")
    other.storage.create_changes(batch(7, operation="update"))
    other.close()
    server.replace(other.path)
    device.project("p").create("document", "mine")
    assert device.sync().outcome == DIVERGED
    assert [edit.state for edit in device.outbox()] == ["waiting"]
    assert len(everything(server.storage)) == 7


def test_a_shorter_log_is_noticed(server: Server, make_device: MakeDevice, tmp_path: Any) -> None:
    device = make_device()
    server.storage.create_changes(batch(3))
    follow(device)
    device.sync()
    shorter = Server(tmp_path, "shorter")
    shorter.storage.restore_changes(everything(server.storage)[:2])
    shorter.close()
    server.replace(shorter.path)
    assert device.sync().outcome == DIVERGED


@pytest.mark.parametrize("ranges", [1, 4])
@pytest.mark.parametrize("page_bytes", [4_000_000, 60_000])
def test_a_long_log_comes_down_whole(server: Server, make_device: MakeDevice, ranges: int, page_bytes: int) -> None:
    server.storage._page_bytes = page_bytes  # pages with fewer changes than were asked for
    server.storage.create_changes(batch(4321))
    device = make_device(ranges=ranges)
    follow(device)
    told: list[events.Progress] = []
    downsync = Downsync(
        device.store,
        server.client(),
        ranges=ranges,
        notify=lambda event: told.append(event) if isinstance(event, events.Progress) else None,
    )
    result = downsync.run("p")
    assert (result.changes, result.trouble) == (4321, None)
    assert [change.seq for change in device.project("p").changes()] == list(range(1, 4322))
    assert list(device.log.verify(project_id="p")) == []
    assert (told[-1].done, told[-1].total) == (4321, 4321)


def test_ranges_that_do_not_join_stop_the_project(server: Server, make_device: MakeDevice) -> None:
    server.storage.create_changes(batch(6000))
    device = make_device()
    follow(device)

    def change(page: dict[str, Any]) -> None:
        if page["changes"] and page["changes"][0]["seq"] == 3001:
            page["changes"][7]["entityId"] = "another"

    server.answer = rewrites(change)
    assert device.sync().outcome == DIVERGED
    assert device.status().projects["p"].cursor == 3000


def test_an_interrupted_downsync_goes_on_where_it_stopped(server: Server, make_device: MakeDevice) -> None:
    server.storage.create_changes(batch(2500))
    device = make_device(ranges=1)
    follow(device)

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        return refuses(method, target, respond) if "cursor=2000" in target else None

    server.answer = answer
    assert device.sync().outcome == OFFLINE
    assert device.status().projects["p"].cursor == 2000
    server.answer = None
    assert device.sync().received == 500


def test_a_page_of_an_earlier_cursor_is_not_stored_twice(server: Server, device: Device) -> None:
    """Two downsyncs at once: one that is late must not move the cursor back."""
    server.storage.create_changes(batch(3))
    follow(device)
    inner = [True]

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if "/p/changes?" not in target or not inner:
            return None
        inner.clear()
        late = respond()
        server.storage.create_change(new("later"))
        assert Downsync(device.store, server.client()).run("p").changes == 4
        return late

    server.answer = answer
    assert device.sync().outcome == DONE
    assert [change.seq for change in device.project("p").changes()] == [1, 2, 3, 4]


def test_no_news_is_one_request(server: Server, make_device: MakeDevice) -> None:
    device = make_device()
    server.storage.create_changes(batch(3))
    server.storage.create_changes(batch(3, "q"))
    follow(device, "p", "q")
    device.sync()
    server.requests.clear()
    assert device.sync().outcome == DONE
    assert len(server.requests) == 1


def test_draining_takes_a_request_for_98_edits(server: Server, device: Device) -> None:
    for first in range(0, 980, 98):
        with device.project("p").transaction():
            for number in range(first, first + 98):
                device.project("p").create("document", f"e{number}")
    assert device.sync().sent == 980
    assert len(server.appends) == 10
    assert [change.entity_id for change in device.project("p").changes()] == [f"e{n}" for n in range(980)]


def test_a_store_that_is_full_raises_and_keeps_what_it_has(server: Server, device: Device) -> None:
    server.storage.create_changes(batch(3))
    follow(device)
    device.sync()
    server.storage.create_changes(batch(50, data='{"t":"' + "x" * 10_000 + '"}'))
    connection = device.log.writer.connection
    assert connection is not None
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(Exception, match="the disk is full"):
        device.sync()
    connection.execute("PRAGMA max_page_count = 1000000")
    assert device.status().projects["p"].cursor == 3
    assert device.sync().received == 50
    assert isinstance(device.store, DeviceStore)
