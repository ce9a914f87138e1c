"""The checker of a log, without a storage."""

from __future__ import annotations

from sltt_core.log.batches import StoredChunk
from sltt_core.log.findings import Finding
from sltt_core.log.requests import NamedRequest
from sltt_core.log.verifier import LogChecker, RecordedEnd, joined
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.changes import Change
from sltt_core.model.fields import FIELDS, TOMBSTONE

NAMES = {field.name: field.name for field in FIELDS}
TIME = "2025-03-01T09:30:00Z"


def log(count: int, **fields: object) -> list[Change]:
    """A sound log."""
    link, changes = GENESIS, []
    for seq in range(1, count + 1):
        change = Change("p", seq, "verse", f"e{seq}", "create", TIME, TIME, "{}", None, None, None, "").replace(
            **fields
        )
        link = link_of(link, change)
        changes.append(change.replace(chain=link))
    return changes


def end(changes: list[Change], **fields: object) -> RecordedEnd:
    """The recorded end for changes of `log`."""
    count = len(changes)
    operations = {"create": count, "update": 0, "delete": 0}
    return RecordedEnd(count, changes[-1].chain, operations, {"verse": count}).replace(**fields)


def found(changes: list[Change], recorded: RecordedEnd) -> list[tuple[str, int | None, int | None]]:
    checker = LogChecker("p", NAMES)
    findings = [finding for change in changes for finding in checker.check(change)]
    return [(finding.kind, finding.first, finding.last) for finding in (*findings, *checker.check_end(recorded))]


def test_a_sound_log_has_no_findings() -> None:
    changes = log(5)
    assert found(changes, end(changes)) == []
    assert found([], RecordedEnd(0, GENESIS, {"create": 0, "update": 0, "delete": 0}, {})) == []


def test_a_tombstone_counts_only_in_its_entity_type() -> None:
    changes = log(2, operation=TOMBSTONE)
    assert found(changes, end(changes, operations={"create": 0, "update": 0, "delete": 0})) == []
    assert found(changes, end(changes)) == [("counts", None, None)]


def test_after_a_hole_the_next_link_cannot_be_checked_and_the_counts_cannot_be_compared() -> None:
    changes = log(5)
    recorded = end(changes)
    assert found([changes[0], changes[3], changes[4]], recorded) == [("hole", 2, 3)]
    altered = changes[4].replace(entity_id="x")
    assert found([changes[0], changes[3], altered], recorded) == [("hole", 2, 3), ("broken-link", 5, 5)]
    assert found(changes[:3], recorded) == [("hole", 4, 5)]


def test_the_link_of_an_unreadable_change_is_used_to_check_the_next() -> None:
    changes = log(4)
    broken, altered = changes[1].replace(data_json="[]"), changes[2].replace(entity_id="x")
    assert found([changes[0], broken, altered, changes[3]], end(changes)) == [
        ("unreadable", 2, 2),
        ("broken-link", 3, 3),
    ]


def named(changes: list[Change]) -> list[tuple[int, int]]:
    """The number of the first change and the key's chunk of each complete request that changes name."""
    checker = LogChecker("p", NAMES)
    requests = []
    for change in changes:
        checker.check(change)
        if checker.named is not None:
            requests.append((checker.named.stored.first_seq, checker.named.number))
    return requests


def test_complete_requests_are_found_after_a_missing_change_and_with_a_wrong_link() -> None:
    name = f"{'k' * 16} %d 0 2 {'f' * 64}"
    changes = log(6)
    for seq, number in ((2, 0), (4, 1)):
        changes[seq - 1] = changes[seq - 1].replace(request_key=name % number)
    assert named(changes) == [(2, 0), (4, 1)]
    assert named(changes[1:]) == [(2, 0), (4, 1)]
    assert named([*changes[:2], *changes[3:]]) == [(4, 1)]
    altered = [*changes[:3], changes[3].replace(entity_id="x"), *changes[4:]]
    assert named(altered) == [(2, 0), (4, 1)]
    unreadable = [*changes[:2], changes[2].replace(data_json="{"), *changes[3:]]
    assert named(unreadable) == [(4, 1)]
    unnamed = changes[3].replace(request_key=None)  # it has the time of the chunk before, which is not complete
    assert named([*changes[:2], unnamed]) == []
    assert named([*unreadable[:3], unnamed]) == []
    assert named([change.replace(operation=TOMBSTONE) for change in changes]) == []


def test_a_request_that_is_not_recorded_is_named_with_its_changes() -> None:
    checker = LogChecker("p", NAMES)
    request = NamedRequest("k" * 16, 3, StoredChunk(5, 2, "f" * 64, None, 9), TIME)
    detail = f"chunk 3 of the idempotency key {'k' * 16} is not recorded"
    assert checker.unrecorded(request) == Finding("no-request", 5, 6, detail, "p", key="k" * 16, chunk=3)


def test_findings_of_consecutive_numbers_are_joined() -> None:
    def hole(first: int, last: int, detail: str = "") -> Finding:
        return Finding("hole", first, last, detail)

    link = Finding("broken-link", 4, 4)
    assert list(joined([])) == []
    assert list(joined([hole(1, 2), hole(3, 3), link, hole(5, 5)])) == [hole(1, 3), link, hole(5, 5)]
    assert list(joined([hole(1, 1), hole(3, 3), hole(4, 4, "x"), hole(5, 5)])) == [
        hole(1, 1),
        hole(3, 3),
        hole(4, 4, "x"),
        hole(5, 5),
    ]
    assert list(joined([Finding("counts", None, None), Finding("counts", None, None)])) == [
        Finding("counts", None, None),
        Finding("counts", None, None),
    ]
