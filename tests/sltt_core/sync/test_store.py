"""The store: edits, units, their times and numbers, and the decisions of a person."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sltt_core.base.errors import InvalidBatch, InvalidInput, NotAllowed, NotFound, ReservedType, StorageError
from sltt_core.base.runtime import SYSTEM
from sltt_core.log.pages import Head
from sltt_core.model.chain import GENESIS, link, link_of
from sltt_core.model.changes import Change
from sltt_core.sync.device import Device, DeviceProject
from sltt_core.sync.outsyncs import FROZEN, HELD, REJECTED, WAITING, Batch, problem_text
from sltt_core.sync.store import DeviceStore
from tests.sltt_core.sync.conftest import MakeDevice

WRITE = """
import os, signal, sys
from sltt_core.sync.device import Device, DeviceProject
device = Device(sys.argv[1])
device.open()
project = device.project("p")
project.create("document", "one", n=1)
with project.transaction():
    project.update("document", "one", n=2)
    project.update("document", "one", n=3)
unit = project.transaction()
unit.__enter__()
project.update("document", "one", n=4)
os.kill(os.getpid(), signal.SIGKILL)
"""


def create(project: DeviceProject, *entity_ids: str, **fields: object) -> None:
    """Create entities in one transaction."""
    with project.transaction():
        for entity_id in entity_ids:
            project.create("document", entity_id, **fields)


def frozen(device: Device, project_id: str = "p") -> Batch:
    batch = device.store.next_batch(project_id, "me")
    assert batch is not None
    return batch


def states(device: Device) -> dict[str, str]:
    return {edit.entity_id: edit.state for edit in device.outbox()}


def test_an_edit_is_durable_when_the_call_returns(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", WRITE, tmp_path / "d.db"], check=False)
    assert ended.returncode == -signal.SIGKILL
    with Device(tmp_path / "d.db") as device:
        edits = device.outbox()
    assert [(edit.data["n"], edit.unit) for edit in edits] == [(1, 1), (2, 2), (3, 2)]


def test_an_edit_has_all_that_the_server_needs(device: Device) -> None:
    edit = device.project("p").create("document", "e", {"a": 1}, b="Łódź")
    assert edit == device.outbox()[0]
    assert (edit.cid, edit.base_seq, edit.state) == (f"{device.device_id}.1", 0, WAITING)
    assert edit.data == {"a": 1, "b": "Łódź"}
    assert len(device.device_id) == 16


def test_the_data_of_an_edit_is_kept_verbatim(device: Device) -> None:
    text = '{"n": 1.10,  "big": 123456789012345678901234567890}'
    assert device.project("p").create("document", "e", text).data_json == text


def test_timestamps_never_run_backwards(make_device: MakeDevice, tmp_path: Path) -> None:
    times = iter([2_000_000_000, 1_000_000_000, 1_500_000_000, 3_000_000_000, 1_000_000_000, 500_000_000])
    runtime = SYSTEM.replace(clock=lambda: next(times) * 1000)
    path = tmp_path / "clock.db"
    for _ in range(2):  # also after the store is opened again
        with DeviceStore(path, runtime=runtime) as store:
            for _ in range(3):
                store.add_unit([store.new_edit("p", "document", "e", "create", {}, None)])
    with DeviceStore(path) as store:
        found = [edit.timestamp for edit in store.outsyncs()]
    assert found == sorted(found)
    assert len(set(found)) > 1


@pytest.mark.parametrize(
    ("arguments", "error", "field"),
    [
        (("", "e", {}), InvalidBatch, "change.entity_type: is empty"),
        (("document", "", {}), InvalidBatch, "change.entity_id: is empty"),
        (("document", "e", {"n": float("nan")}), InvalidBatch, "change.data.n: NaN is not JSON"),
        (("document", "e", "[]"), InvalidBatch, "change.data: is not a JSON object"),
        (("document", "e", {"t": "x" * 500_000}), InvalidBatch, "change.data: the change has 500,"),
        (("sltt.member", "e", {}), ReservedType, "change.entity_type: entity types that begin with sltt"),
    ],
)
def test_an_edit_that_is_not_valid_is_refused_at_once(
    device: Device, arguments: tuple[str, str, object], error: type[Exception], field: str
) -> None:
    with pytest.raises(error, match=field):
        device.project("p").create(*arguments)  # type: ignore[arg-type]
    assert device.outbox() == []
    assert device.project("p").create("document", "e").local > 0


def test_the_names_of_projects_and_users_are_checked(device: Device, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="project_id"):
        device.project("a/b")
    with pytest.raises(InvalidInput, match="user"):
        Device(tmp_path / "x.db", user="")


def test_fields_by_name_and_a_text_do_not_mix(device: Device) -> None:
    with pytest.raises(InvalidInput, match="data is a text"):
        device.project("p").create("document", "e", "{}", title="x")


def test_a_transaction_is_stored_whole_or_not_at_all(device: Device) -> None:
    project = device.project("p")
    with pytest.raises(InvalidBatch):
        create(project, "e", "f", "")
    assert device.outbox() == []
    with project.transaction() as unit:
        project.create("document", "e")
        with device.project("p").transaction():  # part of the outer one
            project.create("document", "f")
        device.project("q").create("document", "g")  # of another project: at once
        assert [edit.project_id for edit in device.outbox()] == ["q"]
    edits = device.outbox("p")
    assert len({edit.unit for edit in edits}) == 1
    assert edits == unit.edits
    with pytest.raises(InvalidInput, match="has ended"):
        unit.edit("create", "document", "h")


@pytest.mark.parametrize(("count", "size", "message"), [(99, 1, "are 99"), (4, 300_000, "have 1,20")])
def test_a_transaction_that_no_request_can_hold_is_refused(device: Device, count: int, size: int, message: str) -> None:
    project = device.project("p")
    with pytest.raises(InvalidBatch, match=message):
        create(project, *map(str, range(count)), text="x" * size)
    assert device.outbox() == []


def test_a_batch_never_divides_a_unit(device: Device) -> None:
    project = device.project("p")
    for size in (40, 40, 18, 1, 98, 97, 2):
        with project.transaction():
            for number in range(size):
                project.create("document", f"e{number}")
    sizes = []
    while (batch := device.store.next_batch("p", "me")) is not None:
        edits = device.store.in_batch(batch)
        sizes.append([sum(edit.unit == unit for edit in edits) for unit in sorted({edit.unit for edit in edits})])
        device.store.accept(batch, range(1, len(edits) + 1))
    assert sizes == [[40, 40, 18], [1], [98], [97], [2]]


def test_a_batch_has_at_most_a_megabyte(device: Device) -> None:
    project = device.project("p")
    for number in range(5):
        project.create("document", f"e{number}", text="x" * 300_000)
    batch = frozen(device)
    assert len(device.store.in_batch(batch)) == 3
    assert len(batch.body) <= 1_000_000


def test_a_batch_is_the_same_bytes_under_the_same_key_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    with Device(path) as device:
        device.project("p").create("document", "e", '{"n" : 1}')
        first = frozen(device)
        device.project("p").create("document", "f")
    with Device(path) as device:
        again = frozen(device)
        assert (again.key, again.body, again.principal) == (first.key, first.body, first.principal)
        assert (first.tries, again.tries) == (0, 1)
        assert states(device) == {"e": FROZEN, "f": WAITING}


def test_a_batch_of_another_login_stays_and_is_not_overtaken(device: Device) -> None:
    project = device.project("p")
    project.create("document", "e")
    batch = frozen(device)
    project.update("document", "e")
    project.create("document", "f")
    other = device.store.next_batch("p", "you")
    assert other is not None
    assert [edit.entity_id for edit in device.store.in_batch(other)] == ["f"]
    assert device.store.next_batch("p", "me") == batch.replace(tries=1)


def test_the_id_and_the_numbers_of_a_device_survive(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    with Device(path) as device:
        cids = [device.project("p").create("document", "e").cid for _ in range(2)]
        device.drop(cids[1])
    with Device(path) as device:
        assert device.project("p").create("document", "e").cid == f"{device.device_id}.3"
        assert cids[0] == f"{device.device_id}.1"


def test_a_copied_store_gets_another_id_and_keeps_its_edits(tmp_path: Path) -> None:
    path, copy = tmp_path / "d.db", tmp_path / "copy.db"
    with Device(path) as device:
        edit = device.project("p").create("document", "e")
        known = device.device_id
    shutil.copy(path, copy)
    with Device(copy) as device:
        assert device.device_id != known
        assert device.outbox() == [edit]  # its cid is how the two copies of it are recognized
        assert device.project("p").create("document", "f").cid == f"{device.device_id}.2"
        renamed = device.device_id
    with Device(copy) as device:
        assert device.device_id == renamed
    with Device(path) as device:
        assert device.device_id == known


def test_a_full_disk_is_a_clear_error_and_nothing_is_lost(device: Device) -> None:
    project = device.project("p")
    project.create("document", "e")
    connection = device.log.writer.connection
    assert connection is not None
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="the disk is full"):
        project.create("document", "f", text="x" * 300_000)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert states(device)["e"] == WAITING
    project.create("document", "g")
    assert device.outbox()[-1].entity_id == "g"


def refused(device: Device, *indexes: int) -> None:
    batch = frozen(device)
    device.store.refuse(batch, dict.fromkeys(indexes, problem_text("invalid-batch", "is wrong")))


def test_a_refused_edit_holds_its_unit_and_later_edits_of_the_same_entities(device: Device) -> None:
    project = device.project("p")
    with project.transaction():
        project.create("document", "bad")
        project.create("document", "same-unit")
    project.create("document", "free")
    project.update("document", "same-unit")  # follows a held one
    with project.transaction():
        project.update("document", "bad")
        project.create("document", "third")
    refused(device, 0)
    assert [edit.state for edit in device.outbox()] == [REJECTED, HELD, WAITING, HELD, HELD, HELD]
    assert project.update("document", "third").entity_id == "third"  # made later
    assert device.outbox()[-1].state == HELD
    assert device.outbox()[-1].problem == {
        "type": "held",
        "detail": f"waits for the decision on {device.device_id}.1",
        "cid": f"{device.device_id}.1",
    }
    assert [edit.entity_id for edit in device.store.in_batch(frozen(device))] == ["free"]
    assert len(device.rejected()) == 6


@pytest.mark.parametrize("decision", ["edit", "retry", "drop"])
def test_a_decision_frees_what_was_held(device: Device, decision: str) -> None:
    project = device.project("p")
    bad = project.create("document", "e", n=1)
    project.update("document", "e", n=2)
    refused(device, 0)
    match decision:
        case "edit":
            assert device.edit(bad.cid, {"n": 3}).data == {"n": 3}
        case "retry":
            assert device.retry(bad.cid).problem is None
        case _:
            assert device.drop(bad.cid).cid == bad.cid
    assert {edit.state for edit in device.outbox()} == {WAITING}
    assert len(device.outbox()) == (1 if decision == "drop" else 2)


def test_an_edit_with_two_refused_ones_before_it_waits_for_both(device: Device) -> None:
    project = device.project("p")
    first, second = project.create("document", "e"), project.create("document", "f")
    with project.transaction():
        project.update("document", "e")
        project.update("document", "f")
    refused(device, 0, 1)
    device.retry(first.cid)
    assert [edit.state for edit in device.outbox()] == [WAITING, REJECTED, HELD, HELD]
    device.drop(second.cid)
    assert [edit.state for edit in device.outbox()] == [WAITING, WAITING, WAITING]


def test_a_decision_about_an_edit_in_another_state_is_refused(device: Device) -> None:
    edit = device.project("p").create("document", "e")
    with pytest.raises(NotAllowed, match="is waiting, not held"):
        device.retry(edit.cid)
    frozen(device)
    for decide in (device.retry, device.drop):
        with pytest.raises(NotAllowed, match="is frozen"):
            decide(edit.cid)
    with pytest.raises(NotFound):
        device.drop("nobody.1")


def test_other_data_is_checked(device: Device) -> None:
    edit = device.project("p").create("document", "e")
    refused(device, 0)
    with pytest.raises(InvalidBatch, match=r"change\.data"):
        device.edit(edit.cid, "[]")
    assert device.outbox()[0].state == REJECTED


def change(seq: int, previous: str, cid: str | None = None, entity_id: str = "e", data: str = "{}") -> Change:
    values = ("p", seq, "document", entity_id, "create", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", data)
    return Change.of((*values, None, cid, None, link(previous, *values, cid, None), None))


def pages(*cids: str | None) -> list[Change]:
    found: list[Change] = []
    for seq, cid in enumerate(cids, 1):
        found.append(change(seq, found[-1].chain if found else GENESIS, cid))
    return found


def test_a_page_is_stored_only_after_the_cursor_it_was_asked_for(device: Device) -> None:
    one, two = pages(None, None)
    store = device.store
    assert store.put_page("p", Head(0, GENESIS), [one, two]) is not None
    assert store.put_page("p", Head(0, GENESIS), [one]) is None
    assert store.put_page("p", Head(0, GENESIS), [one, two]) is None
    assert store.head("p") == Head(2, two.chain)
    assert [found.seq for found in device.project("p").changes()] == [1, 2]


def test_an_id_of_this_device_that_it_never_gave_shows_a_restored_store(device: Device) -> None:
    known = device.device_id
    arrival = device.store.put_page("p", Head(0, GENESIS), pages(f"{known}.7"))
    assert arrival is not None
    assert arrival.copied
    assert device.device_id != known


def test_an_edit_whose_cid_has_another_content_is_not_taken_for_it(device: Device) -> None:
    edit = device.project("p").create("document", "e", n=1)
    known = device.device_id
    device.store.put_page("p", Head(0, GENESIS), pages(edit.cid))
    (left,) = device.outbox()
    assert left.data == {"n": 1}
    assert device.device_id != known
    assert left.cid == f"{device.device_id}.1"


@pytest.mark.parametrize("end", ["thaw", "refuse", "settle"])
def test_what_came_back_is_not_sent_again_when_its_batch_ends(device: Device, end: str) -> None:
    """Found by the simulation: another copy of the store had sent a part of the batch."""
    project = device.project("p")
    create(project, "e", "f")
    batch = frozen(device)
    edit = device.outbox()[0]
    back = change(1, GENESIS, edit.cid).replace(timestamp=edit.timestamp, entity_type=edit.entity_type, chain="")
    back = back.replace(data_json=edit.data_json, operation=edit.operation)
    device.store.put_page("p", device.store.head("p"), [back.replace(chain=link_of(GENESIS, back))])
    assert [edit.seq for edit in device.outbox()] == [1, None]
    if end == "refuse":
        refused_edits = device.store.refuse(batch, {0: problem_text("invalid-batch", "is wrong")})
        assert refused_edits == []
    else:
        getattr(device.store, end)(batch)
    assert [(edit.entity_id, edit.state) for edit in device.outbox()] == [("f", WAITING)]


@pytest.mark.parametrize("end", ["thaw", "refuse", "settle"])
def test_a_frozen_edit_whose_cid_is_another_edit_in_the_log_gets_another_when_its_batch_ends(
    device: Device, end: str
) -> None:
    create(device.project("p"), "e", "f")
    batch = frozen(device)
    cid = device.outbox()[0].cid
    device.store.put_page("p", device.store.head("p"), [change(1, GENESIS, cid)])
    assert device.outbox()[0].cid == cid
    if end == "refuse":
        device.store.refuse(batch, {0: problem_text("invalid-batch", "is wrong")})
    else:
        getattr(device.store, end)(batch)
    assert [edit.cid.partition(".")[0] == device.device_id for edit in device.outbox()] == [True, False]


def test_the_log_of_a_device_is_read_only(device: Device) -> None:
    from tests.contract.logs import batch

    device.store.put_page("p", Head(0, GENESIS), pages(None))
    for write in (
        lambda: device.log.create_changes(batch(1)),
        lambda: device.log.set_role("me", "owner", project_id="p"),
        lambda: device.log.repair(project_id="p"),
        lambda: device.log.mark_as_outdated(1, 2, project_id="p"),
    ):
        with pytest.raises(NotAllowed, match="read-only"):
            write()
    assert list(device.log.verify(project_id="p")) == []
    assert device.log.get_change_stats(project_id="p").total == 1


def test_the_store_keeps_its_rows_when_the_status_is_read(device: Device) -> None:
    device.project("p").create("document", "e")
    status = device.status()
    assert status.projects["p"].outbox == {WAITING: 1}
    assert (status.projects["p"].cursor, status.projects["p"].lag) == (0, 0)
    with sqlite3.connect(device.store.path) as connection:
        assert connection.execute("SELECT count(*) FROM outsyncs").fetchone() == (1,)
    connection.close()
