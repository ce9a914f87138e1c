"""Each member of a group commit has its own outcome, whatever happens to another member; and the limits of a file."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core import LocalStorageService, LogDamaged, StorageError
from sltt_core.model.fields import MAX_SEQ
from sltt_core.sqlite.schema import MAX_LOG
from tests.contract.logs import batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def storage(path: Path) -> Iterator[LocalStorageService]:
    with LocalStorageService(path) as opened:
        opened.create_changes([*batch(3), *batch(3, "bad")])
        yield opened


def execute(path: Path, sql: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(sql, values)
        connection.commit()


def together(storage: LocalStorageService, *works: Callable[[], Any]) -> list[Any]:
    """Do the works in one transaction, in this order, and return their results or errors."""

    def outcome(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(works)) as threads:
        with storage._writer.lock:
            futures = []
            for count, work in enumerate(works, 1):
                futures.append(threads.submit(outcome, work))
                while len(storage._writer.jobs) < count:
                    pass
        return [future.result() for future in futures]


DAMAGES = {
    "the end is behind": "UPDATE logs SET value = 2 WHERE project_id = 'bad'",
    "the end is a text": "UPDATE logs SET value = 'many' WHERE project_id = 'bad'",
    "the end is a fraction": "UPDATE logs SET value = 2.5 WHERE project_id = 'bad'",
    "the end is huge": "UPDATE logs SET value = 9223372036854775807 WHERE project_id = 'bad'",
    "the end is negative": "UPDATE logs SET value = -5 WHERE project_id = 'bad'",
    "the link is bytes": "UPDATE logs SET chain = x'00' WHERE project_id = 'bad'",
    "the number is another project's": f"UPDATE logs SET log = {(1 << 24) + 1} WHERE project_id = 'bad'",
    "the number is negative": "UPDATE logs SET log = -1 WHERE project_id = 'bad'",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_project_fails_alone(storage: LocalStorageService, path: Path, damage: str) -> None:
    execute(path, damage)
    outcomes = together(
        storage,
        lambda: storage.create_change(new("first")).seq,
        lambda: storage.create_change(new("lost", "bad")).seq,
        lambda: storage.create_change(new("second")).seq,
    )
    assert (outcomes[0], outcomes[2]) == (4, 5)
    error = outcomes[1]
    assert type(error) is LogDamaged
    for word in ("UNIQUE", "constraint", "INSERT", "changes.id"):
        assert word not in error.message
    assert len(everything(storage)) == 5
    if "behind" not in str(damage) and "value = 2 " not in damage:
        for read in (
            storage.get_change,
            lambda seq, project_id: storage.get_changes_with_cursor(project_id=project_id),
        ):
            with pytest.raises(LogDamaged):
                read(1, project_id="bad")
        with pytest.raises(LogDamaged):
            storage.mark_as_outdated(1, 2, project_id="bad")


def test_what_a_failed_member_wrote_is_undone(storage: LocalStorageService) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM changes")
        raise ValueError("a fault of the program")

    outcomes = together(
        storage,
        lambda: storage.create_change(new()).seq,
        lambda: storage._writer.write(fail),
        lambda: storage.create_change(new()).seq,
    )
    assert (outcomes[0], outcomes[2]) == (4, 5)
    assert type(outcomes[1]) is ValueError
    assert list(storage.verify(project_id="p")) == []


def test_the_last_project_has_room_and_the_next_is_refused(storage: LocalStorageService, path: Path) -> None:
    execute(path, "INSERT INTO logs (log, project_id, value, chain) VALUES (?, 'before', 1, '')", MAX_LOG - 1)
    outcomes = together(
        storage,
        lambda: storage.create_change(new(project_id="last")).seq,
        lambda: storage.create_change(new(project_id="beyond")).seq,
        lambda: storage.create_change(new()).seq,
    )
    assert (outcomes[0], outcomes[2]) == (1, 4)
    assert type(outcomes[1]) is StorageError
    assert outcomes[1].message == "the file has room for 8,388,607 projects, and holds as many"
    assert storage.get_change(1, project_id="last").seq == 1
    assert "beyond" not in storage.get_all_projects().projects


def test_the_last_change_has_room_and_the_next_is_refused(storage: LocalStorageService, path: Path) -> None:
    execute(path, "UPDATE logs SET value = ? WHERE project_id = 'bad'", MAX_SEQ)
    with pytest.raises(StorageError, match="has room for 1,099,511,627,775 changes"):
        storage.create_changes(batch(2, "bad"))
    assert storage.create_change(new(project_id="bad")).seq == MAX_SEQ
    with pytest.raises(StorageError, match="has room for 1,099,511,627,775 changes"):
        storage.create_change(new(project_id="bad"))
    assert len(everything(storage)) == 3
