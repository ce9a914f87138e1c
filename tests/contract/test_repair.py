"""`repair`: every storage repairs what `verify` finds, and keeps what a stored change says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import InvalidInput, LogDamaged, NotFound
from sltt_core.log.findings import Finding
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.model.fields import TOMBSTONE
from tests.contract.logs import Log, batch, everything, new

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.changes import Change

KEY = "key-0123456789abcdef"


def fill(storage: BaseStorageService) -> list[Change]:
    """Write 12 changes, the last five with a key, and another project beside them."""
    storage.create_changes([new(f"e{place}", cid="é", change_by="Ruth") for place in range(7)])
    storage.create_changes(batch(5, entity_type="note", operation="update"), KEY)
    storage.create_changes(batch(3, "q"), KEY)
    return everything(storage)


def check_sound(storage: BaseStorageService) -> list[Change]:
    assert list(storage.verify(project_id="p")) == []
    changes = everything(storage)
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    check_links(GENESIS, changes)
    stats, types = storage.get_stats(project_id="p")
    operations = [change.operation for change in changes]
    assert stats.as_tuple() == (len(changes), *map(operations.count, ("create", "update", "delete")))
    names = [change.entity_type for change in changes]
    assert types == {name: names.count(name) for name in sorted(set(names))}
    return changes


def test_a_sound_log_is_not_altered(direct_storage: BaseStorageService) -> None:
    before = fill(direct_storage)
    report = direct_storage.repair(project_id="p", dry_run=False)
    assert (report.changes, report.findings, report.done) == (12, (), ())
    assert everything(direct_storage) == before
    assert direct_storage.repair(project_id="nobody", dry_run=False).sound


def test_a_dry_run_alters_nothing(direct: Log) -> None:
    fill(direct.open())
    direct.lose("p", 5)
    report = direct.open().repair(project_id="p")
    # DynamoDB also has a key of its own for the changes that came without one.
    assert report.findings[0].replace(detail="") == Finding("hole", 5, 5, "", "p")
    assert report.done == ()
    assert list(direct.open().verify(project_id="p")) == list(report.findings)


@pytest.mark.parametrize("lost", [[1], [5], [12], [2, 3, 9], [8, 9, 10, 11, 12], list(range(1, 13))])
def test_missing_changes_become_tombstones(direct: Log, lost: list[int]) -> None:
    before = fill(direct.open())
    for seq in lost:
        direct.lose("p", seq)
    storage = direct.open()
    done = "\n".join(storage.repair(project_id="p", dry_run=False).done)
    assert f"put {len(lost)} tombstone" in done
    changes = check_sound(storage)
    assert [change.seq for change in changes if change.operation == TOMBSTONE] == lost
    for old, repaired in zip(before, changes, strict=True):
        if old.seq not in lost:
            assert repaired.replace(chain=old.chain) == old, "a repair alters links alone"
        if old.seq < lost[0]:
            assert repaired == old
    assert storage.create_change(new("after")).seq == 13
    again = storage.create_changes(batch(5, entity_type="note", operation="update"), KEY)
    kept = set(lost).isdisjoint(range(8, 13))
    assert again.seqs == (tuple(range(8, 13)) if kept else tuple(range(14, 19)))
    assert len(everything(storage, "q")) == 3
    check_sound(storage)
    assert list(storage.verify(project_id="q")) == []


def test_an_altered_change_is_reported_and_nothing_is_written(direct: Log) -> None:
    fill(direct.open())
    direct.alter("p", 7, '{"forged":true}')
    direct.lose("p", 10)
    storage = direct.open()
    before = list(storage.verify(project_id="p"))
    with pytest.raises(LogDamaged, match="cannot be repaired: broken-link 7") as caught:
        storage.repair(project_id="p", dry_run=False)
    assert "relink_from" in caught.value.hint
    with pytest.raises(LogDamaged, match="broken-link 7"):
        storage.repair(project_id="p", dry_run=False, relink_from=8)
    assert list(storage.verify(project_id="p")) == before
    storage.repair(project_id="p", dry_run=False, relink_from=7)
    assert check_sound(storage)[6].data_json == '{"forged":true}'


def test_a_change_that_is_not_readable_is_reported_and_nothing_is_written(direct: Log) -> None:
    fill(direct.open())
    direct.alter("p", 7, "{")
    storage = direct.open()
    before = list(storage.verify(project_id="p"))
    with pytest.raises(LogDamaged, match="cannot be repaired: unreadable 7: data"):
        storage.repair(project_id="p", dry_run=False, relink_from=7)
    assert list(storage.verify(project_id="p")) == before
    direct.lose("p", 7)
    storage.repair(project_id="p", dry_run=False)
    assert check_sound(storage)[6].operation == TOMBSTONE


def test_every_bad_key_is_deleted_however_many_a_report_names(direct: Log) -> None:
    storage = direct.open()
    for number in range(110):
        storage.create_changes([new(f"e{number}"), new("f")], f"{KEY}-{number}")
    for number in range(110):
        direct.lose("p", 2 * number + 1)
    report = direct.open().repair(project_id="p", dry_run=False)
    assert len([finding for finding in report.findings if finding.kind == "request"]) == 100
    assert any("deleted 110 idempotency keys" in text for text in report.done)
    assert any("put 110 tombstones" in text for text in report.done)
    check_sound(direct.open())


def test_every_key_that_changes_name_is_recorded_again_however_many_a_report_names(direct: Log) -> None:
    storage = direct.open()
    storage.create_change(new("before"))
    for number in range(110):
        storage.create_changes([new(f"e{number}"), new("f")], f"{KEY}-{number}")
    storage.create_changes(batch(3, "q"), f"{KEY}-0")
    before = everything(storage)
    direct.lose("p", 1)  # the first chunk follows a missing change
    for number in range(110):
        direct.forget_key("p", f"{KEY}-{number}")
    storage = direct.open()
    findings = [finding for finding in storage.verify(project_id="p") if finding.kind == "no-request"]
    assert [finding.first for finding in findings][:100] == list(range(2, 202, 2))
    detail = f"chunk 0 of the idempotency key {KEY}-0 is not recorded"
    assert findings[0] == Finding("no-request", 2, 3, detail, "p", key=f"{KEY}-0", chunk=0)
    assert not [finding for finding in storage.verify(project_id="p", requests=False) if finding.kind == "no-request"]
    report = storage.repair(project_id="p", dry_run=False)
    assert len([finding for finding in report.findings if finding.kind == "no-request"]) == 100
    assert "recorded 110 idempotency keys that changes name" in report.done
    check_sound(storage)
    for number in range(110):
        again = storage.create_changes([new(f"e{number}"), new("f")], f"{KEY}-{number}")
        assert (again.seqs, again.replayed) == ((2 * number + 2, 2 * number + 3), True)
    assert [change.replace(chain="") for change in everything(storage)[1:]] == [
        change.replace(chain="") for change in before[1:]
    ]
    assert list(storage.verify(project_id="q")) == []


@pytest.mark.parametrize("lost", [[], [9]])
def test_a_damaged_key_is_recorded_again_if_its_changes_are_there(direct: Log, lost: list[int]) -> None:
    fill(direct.open())
    direct.damage_key("p", KEY)
    for seq in lost:
        direct.lose("p", seq)
    storage = direct.open()
    with pytest.raises(LogDamaged, match=r"is not valid|is missing or not valid"):
        storage.create_changes(batch(5, entity_type="note", operation="update"), KEY)
    kinds = {finding.kind for finding in storage.verify(project_id="p") if finding.key in (None, KEY)}
    assert kinds == ({"request", "hole"} if lost else {"request", "no-request"})
    storage.repair(project_id="p", dry_run=False)
    check_sound(storage)
    again = storage.create_changes(batch(5, entity_type="note", operation="update"), KEY)
    assert (again.seqs, again.replayed) == ((tuple(range(13, 18)), False) if lost else (tuple(range(8, 13)), True))


def test_a_key_of_altered_changes_is_recorded_in_the_repair_that_accepts_them(direct: Log) -> None:
    fill(direct.open())
    direct.alter("p", 8, '{"forged":true}')
    direct.forget_key("p", KEY)
    storage = direct.open()
    with pytest.raises(LogDamaged, match="broken-link 8"):
        storage.repair(project_id="p", dry_run=False)
    assert "no-request" in {finding.kind for finding in storage.verify(project_id="p")}
    storage.repair(project_id="p", dry_run=False, relink_from=8)
    check_sound(storage)


def test_arguments_are_checked(direct_storage: BaseStorageService, direct: Log) -> None:
    with pytest.raises(InvalidInput, match="project_id is required"):
        direct_storage.repair()
    with pytest.raises(InvalidInput, match="relink_from is not from 1 to"):
        direct_storage.repair(project_id="p", relink_from=0)
    with pytest.raises(NotFound):
        direct.open("p").repair(project_id="q")
