"""Resync: a restored server gets back what it lost, once for the whole team, and no edit is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sltt_core.http_client.responses import HttpResponse
from sltt_core.sync.device import Device
from sltt_core.sync.outcomes import DIVERGED, DONE, OFFLINE
from tests.contract.logs import batch, everything, new
from tests.sltt_core.sync.conftest import MakeDevice
from tests.sltt_core.sync.servers import Server, loses_response, refuses, stale


def restore(server: Server, folder: Path, seq: int, name: str = "backup", project_id: str = "p") -> None:
    """Let the server have only the first changes of its log, as from yesterday's backup."""
    backup = Server(folder, name)
    kept = everything(server.storage, project_id)[:seq]
    if kept:
        backup.storage.restore_changes(kept)
    backup.close()
    server.replace(backup.path)


def names(changes: object) -> list[str]:
    return [change.entity_id for change in changes]  # type: ignore[attr-defined]


@pytest.mark.parametrize("shared", [0, 1, 7, 150, 249])
def test_what_a_server_lost_comes_back(server: Server, make_device: MakeDevice, tmp_path: Path, shared: int) -> None:
    device = make_device()
    server.storage.create_changes(batch(250, change_by="Noémie"))
    device.follow("p")
    device.sync()
    lost = everything(server.storage)
    restore(server, tmp_path, shared)
    assert device.sync().outcome == DIVERGED
    requests = len(server.requests)
    assert device.resync("p").outcome == DONE
    assert len(server.requests) - requests < 30
    found = everything(server.storage)
    assert [change.replace(seq=0, cloud_at="", chain="", request_key=None) for change in found] == [
        change.replace(seq=0, cloud_at="", chain="", request_key=None) for change in lost
    ]
    assert list(device.project("p").changes()) == [change.replace(request_key=None) for change in found]
    assert list(device.log.verify(project_id="p")) == []
    assert device.log.get_stats(project_id="p") == server.storage.get_stats(project_id="p")
    assert device.log.get_all_projects().projects == ("p",)
    assert device.sync().outcome == DONE


def test_the_whole_team_brings_it_back_once(server: Server, make_device: MakeDevice, tmp_path: Path) -> None:
    devices = [make_device(name) for name in ("a", "b", "c")]
    server.storage.create_changes(batch(120))
    for device in devices:
        device.follow("p")
        device.sync()
    devices[0].project("p").create("document", "later")
    devices[0].sync()  # only this device has it
    restore(server, tmp_path, 10)
    server.storage.create_change(new("after the restore"))
    for device in devices:
        device.project("p").create("document", f"offline {device.device_id}")
        assert device.sync().outcome == DIVERGED
    for device in devices:
        assert device.resync("p").outcome == DONE
    for device in devices:
        device.sync()
    found = names(everything(server.storage))
    assert len(found) == len(set(found)) == 125
    assert {"later", "after the restore"} < set(found)
    for device in devices:
        assert names(device.project("p").changes()) == found
        assert device.outbox() == []


def test_devices_that_resync_at_the_same_time_do_not_double(
    server: Server, make_device: MakeDevice, tmp_path: Path
) -> None:
    one, two = make_device("a"), make_device("b")
    server.storage.create_changes(batch(250))
    for device in (one, two):
        device.follow("p")
        device.sync()
    restore(server, tmp_path, 3)
    one.sync()
    two.sync()
    nested = [True]

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method == "POST" and nested:
            nested.clear()
            assert two.resync("p").outcome == DONE
        return None

    server.answer = answer
    assert one.resync("p").outcome == DONE
    found = names(everything(server.storage))
    assert len(found) == len(set(found)) == 250


def test_an_edit_that_a_server_lost_before_it_came_back_is_sent_again(
    server: Server, device: Device, tmp_path: Path
) -> None:
    """Found by the simulation: the device and the restored server share their history, so nothing diverges."""
    device.project("p").create("document", "e")
    server.answer = lambda method, target, respond: stale() if "/changes?" in target else None
    assert device.sync().sent == 1
    server.answer = None
    restore(server, tmp_path, 0)
    assert device.sync().outcome == DONE
    assert names(everything(server.storage)) == ["e"]
    assert device.outbox() == []


def test_the_outbox_is_kept_and_sent_afterwards(server: Server, make_device: MakeDevice, tmp_path: Path) -> None:
    device = make_device()
    server.storage.create_changes(batch(5))
    device.follow("p")
    device.sync()
    device.project("p").create("document", "frozen")
    server.answer = loses_response
    device.sync()  # the server has stored it; then it loses it
    server.answer = None
    device.project("p").create("document", "waiting")
    assert device.outbox()[0].base_seq == 5
    restore(server, tmp_path, 2)
    assert device.sync().outcome == DIVERGED
    assert device.resync("p").outcome == DONE
    assert names(everything(server.storage)) == ["e0", "e1", "e2", "e3", "e4", "frozen", "waiting"]
    assert device.outbox() == []


def test_a_sent_edit_that_the_server_lost_is_sent_again(
    server: Server, make_device: MakeDevice, tmp_path: Path
) -> None:
    device = make_device()
    server.storage.create_changes(batch(2))
    device.follow("p")
    device.sync()
    device.project("p").create("document", "mine")

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        posted = any(method == "POST" for method, *_ in server.requests)
        return refuses(method, target, respond) if posted and method == "GET" else None

    server.answer = answer
    assert device.sync().sent == 1  # accepted, but it did not come back
    server.answer = None
    restore(server, tmp_path, 1)
    assert [edit.state for edit in device.outbox()] == ["sent"]
    assert device.sync().outcome == DIVERGED
    assert device.resync("p").outcome == DONE
    assert names(everything(server.storage)) == ["e0", "e1", "mine"]
    assert device.outbox() == []


@pytest.mark.parametrize("at", range(6))
def test_a_resync_that_was_interrupted_goes_on(
    server: Server, make_device: MakeDevice, tmp_path: Path, at: int
) -> None:
    device = make_device()
    server.storage.create_changes(batch(150))
    device.follow("p")
    device.sync()
    restore(server, tmp_path, 100)
    device.sync()
    server.requests.clear()

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        return refuses(method, target, respond) if len(server.requests) > at else None

    server.answer = answer
    assert device.resync("p").outcome == OFFLINE
    server.answer = None
    assert device.resync("p").outcome == DONE
    found = names(everything(server.storage))
    assert found == [f"e{number}" for number in range(150)]


def test_a_server_that_was_restored_twice_gets_each_change_once(
    server: Server, make_device: MakeDevice, tmp_path: Path
) -> None:
    device, other = make_device(), make_device("phone")
    server.storage.create_changes(batch(6))
    for one in (device, other):
        one.follow("p")
        one.sync()
    restore(server, tmp_path, 0)
    other.sync()
    other.resync("p")
    # A resync of the device ends when it has read what the other one brought back: with other links.
    device.store.fork("p", 0)
    assert device.store.put_page("p", device.store.head("p"), everything(server.storage)) is not None
    restore(server, tmp_path, 0, "backup of today")
    assert device.resync("p").outcome == DONE
    assert names(everything(server.storage)) == [f"e{number}" for number in range(6)]


def test_a_second_restore_during_a_resync_loses_nothing(
    server: Server, make_device: MakeDevice, tmp_path: Path
) -> None:
    device = make_device()
    server.storage.create_changes(batch(30))
    device.follow("p")
    device.sync()
    restore(server, tmp_path, 20)
    device.sync()
    sent = []

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method == "POST":
            sent.append(1)
        return refuses(method, target, respond) if sent and method == "GET" else None

    server.answer = answer
    assert device.resync("p").outcome == OFFLINE
    server.answer = None
    restore(server, tmp_path, 5, "older")
    assert device.resync("p").outcome == DONE
    found = names(everything(server.storage))
    assert sorted(found) == sorted(f"e{number}" for number in range(30))
    assert names(device.project("p").changes()) == found


def test_grants_are_not_sent_again(server: Server, make_device: MakeDevice, tmp_path: Path) -> None:
    device = make_device()
    server.storage.create_changes(batch(2))
    server.storage.set_role("me", "owner", project_id="p")
    server.storage.create_change(new("after"))
    device.follow("p")
    device.sync()
    assert device.log.get_members(project_id="p").owners == 1
    restore(server, tmp_path, 1)
    device.sync()
    assert device.resync("p").outcome == DONE
    assert names(everything(server.storage)) == ["e0", "e1", "after"]
    assert device.log.get_members(project_id="p").owners == 0


def test_a_resync_without_a_fork_changes_nothing(server: Server, device: Device) -> None:
    server.storage.create_changes(batch(3))
    device.follow("p")
    device.sync()
    before = list(device.project("p").changes())
    assert device.resync("p").outcome == DONE
    assert list(device.project("p").changes()) == before
