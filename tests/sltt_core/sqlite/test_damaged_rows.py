"""Every column of every table with any value of any type: `verify` names it, and no call breaks.

SQLite keeps a value of any type in any column. The cases are generated from the tables of the file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import LogDamaged, NotFound
from sltt_core.base.runtime import Runtime
from sltt_core.log.batches import KEY_DAYS
from sltt_core.log.repairs import Rebuilt
from sltt_core.model.fields import check_project_id
from sltt_core.sqlite.schema import SCHEMA
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import batch, everything, new
from tests.sltt_core.sqlite.damages import KEY, soon_after

if TYPE_CHECKING:
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.changes import Change

VALUES = (
    *("NULL", "0", "-1", "2.5", "1e40", f"{10**15}", f"{2**63 - 1}"),
    *("''", "'x'", "'{'", "'[]'", "'{}x'", "'{\"a\":NaN}'", "'2025-02-30T00:00:00Z'", f"'{'A' * 300}'"),
    *("x''", "x'ff'", "CAST(x'ff' AS TEXT)", "char(0)"),
)
"""SQL of values of every type, and outside of every range."""
WHERE = {
    "logs": "log = 1",
    "changes": f"id = {(1 << 40) + 5}",
    "entity_types": "log = 1 AND entity_type = 'note'",
    "requests": "log = 1",
}
"""A row of the project `p` in each table."""


def opened(path: Path, project_id: str | None = None) -> LocalStorageService:
    """Open the file at a time when its keys have not expired."""
    return LocalStorageService(path, project_id, runtime=Runtime(clock=soon_after))


def columns() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        # Damaged members: contract/test_members.py; tokens and invitations: test_credential_rows.py.
        assert set(tables) == {*WHERE, "calendar", "members", "tokens", "invitations"}
        return [
            (table, name)
            for table in WHERE
            for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
        ]


def damage(path: Path, table: str, column: str, value: str) -> bool:
    """Set a column; return whether SQLite takes the value, and it is another one."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        find = f"SELECT typeof({column}), CAST({column} AS BLOB) FROM {table} WHERE {WHERE[table]}"
        before = connection.execute(find).fetchone()
        try:
            connection.execute(f"UPDATE {table} SET {column} = {value} WHERE {WHERE[table]}")
        except sqlite3.IntegrityError:
            return False
        after = connection.execute(find).fetchone()
        return bool(after != before)


def calls(storage: BaseStorageService) -> dict[str, Callable[[], Any]]:
    """A call of every kind of read and write of the project `p`."""
    at: Any = {"project_id": "p"}
    return {
        "page": lambda: json.loads(f"[{storage.get_changes_with_cursor(0, **at).changes_json()}]"),
        "page from 5": lambda: storage.get_changes_with_cursor(5, **at),
        "since": lambda: list(storage.get_changes_since(0, **at)),
        "one": lambda: storage.get_change(5, **at),
        "another": lambda: storage.get_change(1, **at),
        "head": lambda: storage.get_head(**at),
        "heads": lambda: storage.get_heads(["p"]),
        "stats": lambda: storage.get_stats(**at),
        "wait": lambda: storage.wait_for_changes(1, 0.0, **at),
        "mark": lambda: storage.mark_as_outdated(5, 6, **at),
        "replay": lambda: storage.create_changes(batch(10), KEY),
        "append": lambda: storage.create_change(new("after", entity_type="note")),
    }


HARMLESS = {
    ("changes", "outdated_by", "NULL"),
    ("requests", "expires", "0"),
    ("requests", "expires", "-1"),
    ("requests", "expires", f"{10**15}"),
    ("requests", "expires", f"{2**63 - 1}"),
}


def is_harmless(table: str, column: str, value: str) -> bool:
    """Return whether the column may hold the value: another project's log is not damage."""
    if column == "project_id":
        try:
            check_project_id(value.strip("'"))
        except ValueError:
            return False
        return True
    return (table, column, value) in HARMLESS


@pytest.mark.parametrize(("table", "column"), columns())
def test_a_damaged_column_breaks_nothing(filled: Path, table: str, column: str) -> None:
    sound = filled.read_bytes()
    with opened(filled) as storage:
        other = everything(storage, "q")
    taken = 0
    for value in VALUES:
        filled.write_bytes(sound)
        if not damage(filled, table, column, value) or is_harmless(table, column, value):
            continue
        taken += 1
        with opened(filled) as storage:
            try:
                check_damage(storage, column)
            except Exception as error:
                raise AssertionError(f"{value}: {error!r}") from error
            assert everything(storage, "q") == other
            assert {finding.kind for finding in storage.verify(project_id="q")} <= {"orphan"}
            assert "q" in storage.get_all_projects().projects
    assert taken or column == "id"


def check_damage(storage: BaseStorageService, column: str) -> None:
    findings = list(storage.verify(project_id="p"))
    assert findings, "verify finds nothing"
    assert all(finding.project_id == "p" or finding.kind == "orphan" for finding in findings)
    for name, call in calls(storage).items():
        try:
            call()
        except LogDamaged:
            pass
        except NotFound:  # the change, or the row of its project, has another key
            assert column in ("project_id", "id", "log")
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}") from error
    left = [finding for finding in storage.verify(project_id="p") if not finding.repairable]
    before = everything(storage, "q")
    try:
        storage.repair(project_id="p", dry_run=False)
    except LogDamaged:
        assert left, "a repair is refused although everything can be repaired"
    else:
        assert {finding.kind for finding in storage.verify(project_id="p")} <= {"orphan"}
        stored = storage.create_change(new("later"))
        assert everything(storage)[-1] == stored
    assert everything(storage, "q") == before


def test_a_log_whose_row_is_lost_gets_it_back(filled: Path) -> None:
    with opened(filled) as storage:
        before, other = everything(storage), everything(storage, "q")
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("DELETE FROM logs WHERE log = 1")
    with opened(filled) as storage:
        report = storage.repair(project_id="p", dry_run=False)
        assert report.findings[0].replace(detail="").kind == "no-sequence"
        assert list(storage.verify(project_id="p")) == []
        assert everything(storage) == before
        assert storage.create_changes(batch(10), KEY).seqs == tuple(range(21, 31))
        assert everything(storage, "q") == other


def test_a_key_is_recorded_for_the_rest_of_its_days(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("DELETE FROM requests WHERE log = 1")
    with opened(filled, "p") as storage:
        storage.repair(dry_run=False)
        assert list(storage.verify()) == []
        assert storage.create_changes(batch(10), KEY).seqs == tuple(range(21, 31))
    with closing(sqlite3.connect(filled)) as connection:
        left = connection.execute("SELECT expires - days FROM requests, calendar WHERE log = 1").fetchone()
    assert left == (KEY_DAYS - 1,)


def test_a_lost_row_with_a_lost_key_gets_both_back(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("DELETE FROM logs WHERE log = 1")
        connection.execute("UPDATE requests SET fingerprint = 'x' WHERE log = 1")
    with opened(filled, "p") as storage:
        storage.repair(dry_run=False)
        assert list(storage.verify()) == []
        assert storage.create_changes(batch(10), KEY).seqs == tuple(range(21, 31))


def test_a_row_of_another_log_is_not_filled_with_tombstones(filled: Path) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("UPDATE logs SET log = 7 WHERE log = 1")
    match = "has the log 7, but the log 1 has its changes"
    with opened(filled) as storage, pytest.raises(LogDamaged, match=match):
        storage.repair(project_id="p", dry_run=False)
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute("UPDATE logs SET log = 1 WHERE log = 7")
    with opened(filled) as storage:
        assert list(storage.verify(project_id="p")) == []


class PowerCut(Exception):
    """Ends the process."""


@pytest.mark.parametrize("at", [10, 20, 30])
def test_an_interrupted_repair_writes_nothing(filled: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
        connection.execute(f"DELETE FROM changes WHERE id = {(1 << 40) + 2}")
    add = Rebuilt.add

    def cut(rebuilt: Rebuilt, change: Change) -> None:
        if change.seq == at:
            raise PowerCut
        add(rebuilt, change)

    with opened(filled) as storage:
        before = list(storage.verify(project_id="p"))
        monkeypatch.setattr(Rebuilt, "add", cut)
        with pytest.raises(PowerCut):
            storage.repair(project_id="p", dry_run=False)
        monkeypatch.setattr(Rebuilt, "add", add)
        assert list(storage.verify(project_id="p")) == before
        storage.repair(project_id="p", dry_run=False)
        assert list(storage.verify(project_id="p")) == []


def test_appends_go_on_while_a_log_is_repaired(filled: Path) -> None:
    with opened(filled, "p") as storage, opened(filled, "p") as other:
        storage.create_changes(batch(2500))
        with closing(sqlite3.connect(filled, isolation_level=None)) as connection:
            connection.execute(f"DELETE FROM changes WHERE id = {(1 << 40) + 2}")
        begun = Event()
        writer = Thread(target=lambda: begun.wait(60) and other.create_changes([new("during")], KEY + "-2"))
        writer.start()
        storage.repair(dry_run=False, progress=lambda _: begun.set())
        writer.join(60)
        assert list(storage.verify()) == []
        assert everything(storage)[-1].entity_id == "during"
