"""`verify` and `repair`: every damage of a log is found and repaired, also while others write, and nothing is lost."""

from __future__ import annotations

import json
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.log.items import change_key, sequence_key
from sltt_core.base.errors import InvalidBatch, LogDamaged, NotALog, SlttError, StorageError
from sltt_core.log.findings import KINDS
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.model.changes import NewChange
from sltt_core.model.fields import TOMBSTONE
from sltt_core.sqlite.storage import LocalStorageService
from tests.aws_backend.faults import Faults, canceled, not_sent
from tests.aws_backend.logs import (
    DAMAGES,
    KEY,
    P,
    fill,
    fill_as_the_original,
    lose,
    original_item,
    put,
    sequence,
    set_sequence,
    value_behind,
)
from tests.contract.logs import DynamoDBLocalLog, DynoxideLog, batch, everything, new

if TYPE_CHECKING:
    from pathlib import Path

    from aws_backend.storage import DynamoDBStorageService
    from sltt_core.model.changes import Change
    from tests.contract.logs import DynamoDBLog


def opened(log: DynamoDBLog, **options: Any) -> DynamoDBStorageService:
    storage: Any = log.open(P, **options)
    return storage  # type: ignore[no-any-return]


def snapshot(log: DynamoDBLog) -> list[str]:
    """Return everything in the table, sorted."""
    return sorted(json.dumps(item, sort_keys=True) for item in log.items())


def content(change: Change) -> tuple[Any, ...]:
    """Return all fields of a change except its link."""
    return change.replace(chain="").as_tuple()


def check_sound(log: DynamoDBLog) -> list[Change]:
    """Check that a log is in order for the audit, for a reader that checks everything, and for a writer."""
    assert list(opened(log).verify()) == []
    storage = opened(log)
    changes = everything(storage)
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    check_links(GENESIS, changes)
    stats = storage.get_change_stats()
    operations = [change.operation for change in changes]
    counts = tuple(operations.count(name) for name in ("create", "update", "delete"))
    assert stats.as_tuple() == (len(changes), *counts)
    types = [change.entity_type for change in changes]
    assert storage.get_entity_type_stats() == {name: types.count(name) for name in sorted(set(types))}
    assert storage.get_all_projects().projects == (P,)
    assert log.open().get_all_projects().projects == (P,)
    assert storage.create_change(new("after")).seq == len(changes) + 1
    assert list(opened(log).verify()) == []
    return changes


def test_a_sound_log_is_not_altered(table_log: DynamoDBLog) -> None:
    fill(table_log)
    before = snapshot(table_log)
    storage = opened(table_log)
    assert list(storage.verify()) == []
    assert storage.repair(dry_run=False).done == ()
    assert snapshot(table_log) == before
    assert str(storage.repair()) == "project p: 30 changes, sound"
    assert opened(table_log).repair(project_id=P).changes == 30
    assert list(table_log.open().verify(project_id="nobody")) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_repaired(table_log: DynamoDBLog, name: str) -> None:
    damage, kinds = DAMAGES[name]
    state = fill(table_log)
    everything_before = everything(opened(table_log))
    damage(table_log, state)
    left = {int(i["seq"]["N"]): i for i in table_log.items() if i["pk"]["S"] == P and "entityType" in i}

    damaged = snapshot(table_log)
    report = opened(table_log).repair()
    assert {finding.kind for finding in report.findings} == kinds, report
    assert report.repairable
    assert report.done == ()
    assert snapshot(table_log) == damaged, "a dry run alters nothing"

    report = opened(table_log).repair(dry_run=False)
    assert report.done
    changes = check_sound(table_log)
    assert len(changes) >= max(left, default=0)
    for change in changes:
        if change.seq in left:
            assert change.data_json == left[change.seq]["dataJson"]["S"]
            assert change.cloud_at == left[change.seq]["cloudAt"]["S"]
            if change.entity_type != "other":
                assert content(change) == content(everything_before[change.seq - 1])
        else:
            assert change.operation == TOMBSTONE

    # The damaged batch is sent again: then the log contains all of it.
    seqs = opened(table_log).create_changes(batch(10, entity_type="late"), KEY).seqs
    stored = everything(opened(table_log))
    assert [stored[seq - 1].entity_id for seq in seqs] == [f"e{number}" for number in range(10)]
    assert all(stored[seq - 1].entity_type == "late" for seq in seqs)


# A change that is appended after a wrong link does not match its own link. DynamoDB Local is slow: a few damages only.
WITH_WRITERS = [
    *((DynoxideLog, name) for name in DAMAGES if name != "another link at the end"),
    *((DynamoDBLocalLog, name) for name in ("half a transaction, every other change", "value ahead", "wrong counts")),
]


@pytest.mark.parametrize(("table_log", "name"), WITH_WRITERS, indirect=["table_log"])
def test_damage_is_repaired_while_others_write(table_log: DynamoDBLog, name: str) -> None:
    damage, _ = DAMAGES[name]
    damage(table_log, fill(table_log))
    acknowledged: dict[int, str] = {}
    done = Event()

    def write(writer: int) -> None:
        storage = table_log.open(P)
        number = 0
        while number < 3 or not (done.is_set() or number == 100):
            label = f"w{writer}-{number}"
            try:
                appended = storage.create_changes([new(label), new(f"{label}b")], f"{label:_<16}".replace("_", "."))
            except SlttError:
                continue  # refused, or the outcome is unknown: try again with the same key
            acknowledged.update(zip(appended.seqs, (label, f"{label}b"), strict=True))
            number += 1

    writers = [Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    try:
        opened(table_log).repair(dry_run=False)
    finally:
        done.set()
        for writer in writers:
            writer.join(60)
    changes = check_sound(table_log)
    assert {seq: changes[seq - 1].entity_id for seq in acknowledged} == acknowledged
    labels = [change.entity_id for change in changes if change.entity_id.startswith("w")]
    assert len(labels) == len(set(labels)), "nothing is stored twice"


class PowerCut(Exception):
    """Ends the process."""


def cut_after(storage: DynamoDBStorageService, writes: int) -> None:
    """Let a storage's process end after so many writes."""
    client: Any = storage._client
    call, left = client.call, [writes]

    def guarded(operation: str, payload: Any, **options: Any) -> Any:
        if operation in ("TransactWriteItems", "UpdateItem", "DeleteItem", "PutItem"):
            if left[0] == 0:
                raise PowerCut
            left[0] -= 1
        return call(operation, payload, **options)

    client.call = guarded


@pytest.mark.parametrize("name", ["half a transaction, every other change", "everything at once", "value ahead"])
def test_an_interrupted_repair_is_resumed(table_log: DynamoDBLog, name: str) -> None:
    damage, _ = DAMAGES[name]
    fill(table_log)
    opened(table_log).create_changes(batch(250))  # many links to compute again, in several transactions
    damage(table_log, sequence(table_log))
    for writes in range(6):
        storage = opened(table_log)
        cut_after(storage, writes)
        try:
            storage.repair(dry_run=False)
        except PowerCut:
            assert all(finding.repairable for finding in opened(table_log).verify())
        else:
            assert writes > 2
            break
    else:
        opened(table_log).repair(dry_run=False)
    check_sound(table_log)


def test_an_altered_change_is_reported_and_not_repaired(table_log: DynamoDBLog) -> None:
    fill(table_log)
    table_log.alter(P, 7, '{"forged":true}')
    lose(20)(table_log, {})
    before = snapshot(table_log)
    storage = opened(table_log)
    assert [(f.kind, f.first) for f in storage.verify()] == [("hole", 20), ("request", 1), ("broken-link", 7)]
    report = storage.repair()
    assert not report.repairable
    assert "broken-link 7: a change does not match its link" in str(report)
    with pytest.raises(LogDamaged, match="cannot be repaired: broken-link 7"):
        storage.repair(dry_run=False)
    with pytest.raises(LogDamaged, match="broken-link 7"):
        storage.repair(dry_run=False, relink_from=8)
    assert snapshot(table_log) == before
    storage.repair(dry_run=False, relink_from=7)
    assert check_sound(table_log)[6].data_json == '{"forged":true}'


def test_a_hole_that_a_writer_filled_is_repaired_with_relink_from(table_log: DynamoDBLog) -> None:
    """The first change of the last transaction is missing; another writer has used its number."""
    value_behind(21)(table_log, fill(table_log))
    assert opened(table_log).create_change(new("elsewhere")).seq == 21
    storage = opened(table_log)
    with pytest.raises(LogDamaged, match="broken-link 22") as caught:
        storage.repair(dry_run=False)
    assert "relink_from" in caught.value.hint
    storage.repair(dry_run=False, relink_from=22)
    assert [change.entity_id for change in check_sound(table_log)[20:22]] == ["elsewhere", "e1"]


def test_a_log_of_the_original_backend_is_refused_with_a_hint_and_repaired(table_log: DynamoDBLog) -> None:
    fill_as_the_original(table_log)
    storage = opened(table_log)
    with pytest.raises(NotALog, match="written by the original backend") as caught:
        storage.create_change(new())
    assert "verify" in caught.value.hint
    for read in (storage.get_change_stats, storage.get_changes_with_cursor, lambda: storage.get_change(1)):
        with pytest.raises(NotALog):
            read()
    report = storage.repair()
    found = [(finding.kind, finding.first, finding.last) for finding in report.findings]
    assert ("original", None, None) in found
    assert {("hole", 3, 3), ("hole", 6, 6), ("hole", 8, 8), ("hole", 10, 11)} <= set(found)
    assert ("not-a-change", 7, 7) in found
    assert [(first, last) for kind, first, last in found if kind == "unlinked"] == [(1, 2), (4, 5), (9, 9)]

    report = storage.repair(dry_run=False)
    assert "put 5 tombstones in place of missing changes" in report.done
    changes = check_sound(table_log)
    assert len(changes) == 11
    assert [change.seq for change in changes if change.operation == TOMBSTONE] == [3, 6, 7, 8, 10, 11]
    kept = changes[3]
    assert (kept.entity_type, kept.entity_id, kept.operation) == ("Document", "doc-4", "update")
    assert (kept.timestamp, kept.cloud_at) == ("2025-03-01T09:30:00.123456Z", "2025-03-01T09:31:00.654321Z")
    assert kept.data_json == '{"title":"Ruth"}'
    assert changes[6].outdated_by == 9
    item = table_log.call("GetItem", Key=change_key(P, 4))["Item"]
    assert item["changeAt"] == original_item(4)["changeAt"], "other attributes are kept"


def test_a_long_log_of_the_original_backend_is_repaired_in_several_transactions(table_log: DynamoDBLog) -> None:
    table_log.open(P)
    for seq in range(1, 251):
        if seq % 7:
            put(table_log, original_item(seq))
    put(table_log, {**sequence_key(P), "value": {"N": "250"}})
    opened(table_log).repair(dry_run=False)
    assert len(check_sound(table_log)) == 250


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"entityType": {"S": 'Doc"ument'}}, "entityType is not valid: 1 to 64"),
        ({"operation": {"S": "replace"}}, "operation is not one of"),
        ({"dataJson": {"S": "[1]"}}, "dataJson is not a JSON object"),
        ({"dataJson": {"S": '{"a":NaN}'}}, "NaN"),
        ({"timestamp": {"S": "yesterday"}}, "not an ISO 8601 time"),
    ],
)
def test_a_change_that_this_format_cannot_hold_is_reported_before_any_write(
    table_log: DynamoDBLog, more: dict[str, Any], reason: str
) -> None:
    fill_as_the_original(table_log)
    put(table_log, original_item(4, **more))
    storage = opened(table_log)
    assert reason in "\n".join(map(str, storage.verify()))
    before = snapshot(table_log)
    with pytest.raises(LogDamaged, match="unreadable 4"):
        storage.repair(dry_run=False)
    assert snapshot(table_log) == before


def test_a_newer_format_is_refused_and_not_altered(table_log: DynamoDBLog) -> None:
    fill(table_log)
    set_sequence(table_log, "format", {"N": "2"})
    before = snapshot(table_log)
    storage = opened(table_log)
    for call in (
        lambda: storage.create_change(new()),
        storage.get_change_stats,
        lambda: list(storage.verify()),
        lambda: storage.repair(dry_run=False),
    ):
        with pytest.raises(NotALog, match="format 2"):
            call()
    assert snapshot(table_log) == before


def test_large_changes_are_linked_again_in_several_transactions(table_log: DynamoDBLog) -> None:
    large = '{"text":"' + "x" * 100_000 + '"}'
    opened(table_log).create_changes([new("first"), *batch(60, data=large)])
    table_log.lose(P, 1)
    opened(table_log).repair(dry_run=False)
    assert [change.operation for change in check_sound(table_log)[:2]] == [TOMBSTONE, "create"]


def test_a_tombstone_does_not_count_as_an_entity_type_of_the_limit(table_log: DynamoDBLog, tmp_path: Path) -> None:
    """A tombstone has an entity type of its own, here the 201st; appends of the other 200 still succeed."""
    storage = opened(table_log)
    storage.create_changes([*(new(entity_type=f"t{number}") for number in range(200)), *batch(5, entity_type="t0")])
    table_log.lose(P, 203)
    storage.repair(dry_run=False)
    assert storage.create_change(new(entity_type="t7")).seq == 206
    with pytest.raises(InvalidBatch, match="one entity type too many"):
        storage.create_change(new(entity_type="another"))
    with LocalStorageService(tmp_path / "copy.db", P) as copy:
        assert copy.restore_changes(everything(storage)) == storage.get_head()
        assert copy.create_change(new(entity_type="t7")).seq == 207


def test_an_item_without_an_entity_type_keeps_its_other_attributes(table_log: DynamoDBLog) -> None:
    fill(table_log)
    item = table_log.call("GetItem", Key=change_key(P, 5))["Item"]
    del item["entityType"], item["chain"]
    put(table_log, item)
    opened(table_log).repair(dry_run=False)
    repaired = check_sound(table_log)[4]
    assert (repaired.entity_type, repaired.entity_id, repaired.operation) == ("void", "e4", "create")


@pytest.mark.parametrize(
    "more",
    [{"cid": {"NULL": True}}, {"outdatedBy": {"NULL": True}}, {"dataJson": {"M": {}}}, {"timestamp": {"N": "1"}}],
)
def test_an_attribute_with_the_wrong_type_is_reported(table_log: DynamoDBLog, more: dict[str, Any]) -> None:
    fill(table_log)
    put(table_log, {**table_log.call("GetItem", Key=change_key(P, 5))["Item"], **more})
    assert ("unreadable", 5) in [(finding.kind, finding.first) for finding in opened(table_log).verify()]


def test_an_item_far_beyond_the_end_is_reported_and_not_repaired(table_log: DynamoDBLog) -> None:
    fill(table_log)
    put(table_log, {**table_log.call("GetItem", Key=change_key(P, 5))["Item"], "seq": {"N": str(10**12)}})
    storage = opened(table_log)
    assert ("hole", 31, 10**12 - 1) in [(f.kind, f.first, f.last) for f in storage.verify()]
    with pytest.raises(LogDamaged, match="999,999,999,969 numbers are missing"):
        storage.repair(dry_run=False)


def test_a_permanent_refusal_ends_a_repair(table_log: DynamoDBLog) -> None:
    fill(table_log)
    table_log.lose(P, 5)
    storage = opened(table_log)
    faults = Faults(storage)
    faults.always["TransactWriteItems"] = not_sent(canceled(None, "ValidationError"))
    with pytest.raises(StorageError, match="TransactionCanceledException"):
        storage.repair(dry_run=False)
    assert faults.calls.count("TransactWriteItems") == 1


def test_an_append_to_a_damaged_log_is_refused(table_log: DynamoDBLog) -> None:
    state = fill(table_log)
    put(table_log, state)  # the recorded end is behind the changes
    calls: list[str] = []
    storage = opened(table_log)
    client: Any = storage._client
    call = client.call

    def watch(operation: str, payload: Any, **options: Any) -> Any:
        calls.append(operation)
        return call(operation, payload, **options)

    client.call = watch
    with pytest.raises(LogDamaged, match="change 21 of project p already exists") as caught:
        storage.create_change(new())
    assert "repair" in caught.value.hint
    assert calls == ["GetItem", "TransactWriteItems"], "the append is not sent again"


def test_progress_is_reported(table_log: DynamoDBLog) -> None:
    storage = opened(table_log)
    storage.create_changes(batch(2001))
    counts: list[int] = []
    assert list(storage.verify(progress=counts.append)) == []
    assert counts == [1000, 2000]


def test_every_kind_of_finding_is_tested() -> None:
    planted = {kind for _, kinds in DAMAGES.values() for kind in kinds}
    elsewhere = {"original", "unlinked", "broken-link", "unreadable", "relinking", "members"}
    generated = {"unreadable-end", "foreign"}  # test_damaged_items.py
    sqlite_only = {"orphan"}
    assert planted | elsewhere | generated | sqlite_only == set(KINDS)


def test_a_new_change_cannot_be_a_tombstone() -> None:
    with pytest.raises(SlttError, match="operation: is not one of"):
        NewChange(entity_type="t", entity_id="e", data={}, operation=TOMBSTONE)  # type: ignore[arg-type]
