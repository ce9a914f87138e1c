"""`verify` on SQLite: every damage that somebody can do to the file by hand is found, and what is found is damage."""

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from itertools import count
from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import StorageBusy
from sltt_core.base.runtime import Runtime
from sltt_core.log.findings import KINDS
from sltt_core.sqlite.storage import LocalStorageService
from sltt_core.sqlite.verification import Verification
from tests.contract.logs import batch, new
from tests.sltt_core.sqlite.damages import (
    DAMAGES,
    KEY,
    LINK,
    UNREADABLE,
    edit,
    places,
    set_change,
    soon_after,
    verified,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sltt_core.log.findings import Finding


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_found(filled: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    edit(filled, damage)
    assert verified(filled) == expected


@pytest.mark.parametrize("page", [1, 3, 15, 30])
def test_the_size_of_a_page_makes_no_difference(filled: Path, page: int) -> None:
    template = filled.read_bytes()
    for name, (damage, expected) in DAMAGES.items():
        filled.write_bytes(template)
        edit(filled, damage)
        with LocalStorageService(filled) as storage:
            verification = Verification(storage._any_snapshot, "p", lambda _: None, page, soon_after)
            found = places(verification.run(requests=True))
        assert found == expected, name


@pytest.mark.parametrize("project_id", ["", "a b", "é", b"p"])
def test_members_of_no_project_are_reported(filled: Path, project_id: object) -> None:
    edit(filled, lambda file: file.execute("INSERT INTO members VALUES (?, 'eve', 'owner', 1)", (project_id,)))
    assert verified(filled) == verified(filled, "nobody") == [("orphan", None, None)]


def test_every_kind_of_fault_of_this_storage_is_planted() -> None:
    planted = {kind for _, expected in DAMAGES.values() for kind, _, _ in expected}
    dynamodb_only = {"original", "not-a-change", "unlinked", "relinking"}
    elsewhere = {"members"}  # contract/test_members.py
    assert planted == set(KINDS) - dynamodb_only - elsewhere


def test_a_finding_says_what_is_wrong(filled: Path) -> None:
    edit(filled, set_change("data_json", "'[1]'"))
    edit(filled, "UPDATE requests SET first_seq = 100; UPDATE logs SET chain = 'x'")
    with LocalStorageService(filled, "p") as storage:
        assert list(map(str, storage.verify())) == [
            "unreadable 5: data_json is not a JSON object",
            "end-link 30: the recorded end of the log has a different link from the last change",
            f"request 100 to 109: chunk 0 of the idempotency key {KEY} stands for changes that are not there",
        ]


def test_a_sound_file_yields_nothing(filled: Path) -> None:
    assert verified(filled) == verified(filled, "q") == verified(filled, "nobody") == []


def test_rows_of_no_project_are_found_from_every_project(filled: Path) -> None:
    edit(filled, "DELETE FROM logs WHERE log = 1")
    assert verified(filled, "q") == verified(filled, "nobody") == [("orphan", None, None)] * 3


def test_keys_are_left_out_on_demand(filled: Path) -> None:
    edit(
        filled,
        "UPDATE requests SET first_seq = 100;"
        "INSERT INTO requests SELECT 99, key, 0, 0, 1, 1, '', 1 FROM requests WHERE log = 1",
    )
    with LocalStorageService(filled, "p") as storage:
        assert places(storage.verify(requests=False)) == []
        assert places(storage.verify()) == [("request", 100, 109), ("orphan", None, None)]


def test_keys_are_examined_page_after_page(filled: Path) -> None:
    clock = count(1_750_000_000 * 10**9, 10**9).__next__  # no two batches are stored in the same millisecond
    with LocalStorageService(filled, "p", runtime=Runtime(clock=clock)) as storage:
        for number in range(20):
            storage.create_changes(batch(3), f"{KEY}-{number:02}")
        assert list(verification(storage, lambda _: None)) == []
        edit(filled, f"UPDATE requests SET count = 4 WHERE key IN ('{KEY}-03', '{KEY}-19')")
        assert places(verification(storage, lambda _: None)) == [("request", 40, 43), ("request", 88, 91)]


# While others write


def verification(storage: LocalStorageService, progress: Callable[[int], None]) -> Iterator[Finding]:
    return Verification(storage._any_snapshot, "p", progress, 7).run(requests=True)


def test_what_is_written_between_two_pages_is_no_finding(filled: Path) -> None:
    with LocalStorageService(filled, "p") as storage:

        def write(examined: int) -> None:
            if examined < 28:
                storage.create_changes(batch(3, entity_type=f"new{examined}"), f"{KEY}-{examined}")
                storage.mark_as_outdated(examined, examined + 1)

        assert list(verification(storage, write)) == []
        assert storage.get_head().seq == 39


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM changes WHERE id >> 40 = 1; DELETE FROM logs WHERE log = 1",
        "DELETE FROM changes WHERE id = :P + 7",
        set_change("chain", f"'{LINK}'", 7),
    ],
    ids=["gone", "cut", "altered"],
)
def test_a_log_that_is_replaced_between_two_pages_is_busy(filled: Path, damage: str) -> None:
    with LocalStorageService(filled, "p") as storage, pytest.raises(StorageBusy, match="while it was verified"):
        list(verification(storage, lambda _: edit(filled, damage)))


def test_counts_are_counted_again_in_one_snapshot(filled: Path) -> None:
    """Somebody alters a change that was examined, and the counts with it: only its link is wrong, and was passed."""
    with LocalStorageService(filled, "p") as storage:

        def alter(examined: int) -> None:
            if examined == 7:
                edit(filled, set_change("operation", "'update'", 3))
                edit(filled, "UPDATE logs SET creates = creates - 1, updates = updates + 1 WHERE log = 1")

        assert list(verification(storage, alter)) == []
        assert places(storage.verify()) == [("broken-link", 3, 3)]


def test_no_snapshot_is_held_between_two_findings(filled: Path) -> None:
    edit(filled, "DELETE FROM changes WHERE id IN (:P + 5, :P + 9)")
    with LocalStorageService(filled, "p") as storage:
        findings = verification(storage, lambda _: None)
        assert next(findings).first == 5
        storage.create_change(new())
        with closing(sqlite3.connect(filled)) as other:
            busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy
        assert [finding.first for finding in findings] == [9]


def test_reads_after_it_are_as_ever(filled: Path) -> None:
    edit(filled, set_change("entity_id", "CAST(x'65ff' AS TEXT)"))
    with LocalStorageService(filled, "p") as storage:
        assert places(storage.verify()) == UNREADABLE
        assert [connection.text_factory for connection in storage._readers.idle] == [str]


def test_the_log_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    with LocalStorageService(tmp_path / "large.db", "p") as storage:
        text = '{"text":"' + "x" * 300_000 + '"}'
        for _ in range(4):
            storage.create_changes(batch(20, data=text))
        tracemalloc.start()
        try:
            assert list(storage.verify()) == []
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 10 * len(text)  # the log is 80 times that
