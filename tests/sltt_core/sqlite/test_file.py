"""The formats of the file: an older one is upgraded once and whole, a newer one is refused unaltered."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sltt_core.base.errors import NotALog, StorageBusy, StorageError
from sltt_core.base.runtime import Runtime
from sltt_core.log.batches import Appended
from sltt_core.sqlite.file import prepare
from sltt_core.sqlite.schema import FORMAT, LOG, UPGRADES
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import batch, everything, new
from tests.together import run_together

ADD = ("ALTER TABLE changes ADD COLUMN request TEXT", "UPDATE changes SET request = 'none'")
"""A step that fails when it is done twice."""
COUNT = ("CREATE TABLE steps (name TEXT)", "INSERT INTO steps SELECT DISTINCT request FROM changes")
"""A step that needs the one before."""
FAIL = ("CREATE TABLE half (x)", "INSERT INTO half VALUES (1)", "INSERT INTO nowhere VALUES (1)")

# Says that it is ready, waits for a line, then upgrades the file with one more step than the program knows.
PREPARE = f"""
import sys
from pathlib import Path
from sltt_core.sqlite.file import prepare
from sltt_core.sqlite.schema import LOG, UPGRADES
print("ready", flush=True)
sys.stdin.readline()
prepare(Path(sys.argv[1]), 30, LOG.replace(upgrades=(*UPGRADES, {ADD!r})))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a log, in the last format that the program knows."""
    path = tmp_path / "log.db"
    with LocalStorageService(path) as storage:
        storage.create_changes(batch(3))
    return path


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def header_version(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[60:64], "big")


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def files(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def requests(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT request FROM changes")]


def tables(path: Path) -> dict[str, list[object]]:
    """The columns and the indexes of each table and view."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type <> 'index'")]
        return {
            name: [
                *connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)),
                *connection.execute("SELECT * FROM pragma_index_list(?)", (name,)),
            ]
            for name in sorted(names)
        }


def test_a_file_of_the_first_format_is_read_and_written_by_this_program(path: Path, tmp_path: Path) -> None:
    first = tmp_path / "first.db"
    with closing(sqlite3.connect(first)) as connection:
        connection.executescript((Path(__file__).parent / "format_1.sql").read_text(encoding="utf-8"))
    takes = [("take-1", "create"), ("take-1", "update"), ("take-2", "create")]
    sent = [new(name, None, entity_type="video", operation=operation) for name, operation in takes]
    with LocalStorageService(first, "ruth", runtime=Runtime(clock=lambda: 1_750_000_000 * 10**9)) as storage:
        assert list(storage.verify()) == []
        assert [change.entity_id for change in storage.get_changes_since()] == ["ruth-1", "take-1", "take-1", "take-2"]
        assert storage.create_changes(sent, "tablet-7:batch-0001") == Appended((2, 3, 4), True)
        assert storage.create_change(new("after", "ruth")).seq == 5
        assert list(storage.verify()) == []
    assert version(first) == FORMAT
    assert tables(first) == tables(path)


# Requests that no change can name: SQLite keeps a value of any type in any column.
UNNAMED: list[tuple[object, ...]] = [
    ("short", 0, 0, 1, 1, "f" * 64),
    ("key with spaces 0123456", 0, 0, 1, 1, "f" * 64),
    (b"key-0123456789abcdef", 0, 0, 1, 1, "f" * 64),
    ("key-0123456789abcde1", -1, 0, 1, 1, "f" * 64),
    ("key-0123456789abcde2", "x", 0, 1, 1, "f" * 64),
    ("key-0123456789abcde3", 0, 1.5, 1, 1, "f" * 64),
    ("key-0123456789abcde4", 0, 0, 1, 0, "f" * 64),
    ("key-0123456789abcde5", 0, 0, 1, 1, "f"),
    ("key-0123456789abcde6", 0, 0, 9, 1, "f" * 64),
    ("key-0123456789abcde7", 0, 0, "x", 1, "f" * 64),
]


def test_an_upgrade_names_the_requests_of_an_older_file(tmp_path: Path) -> None:
    first, copied = tmp_path / "first.db", tmp_path / "copied.db"
    with closing(sqlite3.connect(first, isolation_level=None)) as connection:
        connection.executescript((Path(__file__).parent / "format_1.sql").read_text(encoding="utf-8"))
        connection.executemany("INSERT INTO requests VALUES (1, ?, ?, ?, ?, ?, ?, 2000000000)", UNNAMED)
    takes = [("take-1", "create"), ("take-1", "update"), ("take-2", "create")]
    sent = [new(name, None, entity_type="video", operation=operation) for name, operation in takes]
    runtime = Runtime(clock=lambda: 1_750_000_000 * 10**9)
    with LocalStorageService(first, "ruth", runtime=runtime) as storage:
        changes = list(storage.get_changes_since())
    assert [change.request_key is not None for change in changes] == [False, True, False, False]
    with LocalStorageService(copied, "ruth", runtime=runtime) as copy:
        copy.restore_changes(changes)
        assert copy.create_changes(sent, "tablet-7:batch-0001") == Appended((2, 3, 4), True)
        assert list(copy.verify()) == []


def test_an_upgrade_keeps_the_device_tokens_of_a_file_of_format_4(tmp_path: Path) -> None:
    path = tmp_path / "team.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript((Path(__file__).parent / "format_1.sql").read_text(encoding="utf-8"))
    prepare(path, 0, LOG.replace(upgrades=UPGRADES[:3]))
    row = (
        "4fJ9sK2mQx8LbN3v",
        "0" * 64,
        "ruth",
        "editor",
        None,
        "2026-11-25T20:00:00.000Z",
        2**33,
        "device:x",
        "t",
        None,
    )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"INSERT INTO tokens VALUES ({', '.join('?' * len(row))})", row)
    with LocalStorageService(path) as storage:
        storage.create_change(new(project_id="ruth"))
        assert [token.name for token in storage.get_tokens(project_id="ruth").tokens] == ["t"]


def test_a_file_of_the_last_format_is_left_alone(path: Path) -> None:
    before = files(path)
    prepare(path, 0)
    assert files(path) == before


def test_an_older_file_is_upgraded_once(path: Path) -> None:
    prepare(path, 0, LOG.replace(upgrades=(*UPGRADES, ADD)))
    assert version(path) == header_version(path) == FORMAT + 1
    assert requests(path) == ["none"] * 3
    before = files(path)
    prepare(path, 0, LOG.replace(upgrades=(*UPGRADES, ADD)))
    assert files(path) == before


def test_the_steps_are_done_in_order_from_any_format(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(path.read_bytes())
    prepare(path, 0, LOG.replace(upgrades=(*UPGRADES, ADD, COUNT)))
    prepare(other, 0, LOG.replace(upgrades=(*UPGRADES, ADD)))
    prepare(other, 0, LOG.replace(upgrades=(*UPGRADES, ADD, COUNT)))
    assert version(path) == version(other) == FORMAT + 2
    assert content(path) == content(other)
    assert any("'none'" in line and "steps" in line for line in content(path))


def test_processes_that_open_an_older_file_at_the_same_moment_upgrade_it_once(path: Path) -> None:
    with closing(sqlite3.connect(path)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")  # so that each reads the header before one can upgrade
        run_together(PREPARE, str(path), then=blocker.rollback)
    assert version(path) == FORMAT + 1
    assert requests(path) == ["none"] * 3


def test_an_upgrade_that_is_not_in_the_header_yet_is_not_done_again(path: Path) -> None:
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM changes").fetchall()  # needs the old pages, the header's among them
        prepare(path, 0, LOG.replace(upgrades=(*UPGRADES, ADD)))
        assert header_version(path) == FORMAT
        prepare(path, 0, LOG.replace(upgrades=(*UPGRADES, ADD)))
    assert version(path) == FORMAT + 1
    assert requests(path) == ["none"] * 3


def test_a_failed_upgrade_leaves_the_file_as_it_was(path: Path) -> None:
    before, octets = content(path), path.read_bytes()
    with pytest.raises(StorageError, match="no such table: nowhere"):
        prepare(path, 0, LOG.replace(upgrades=(*UPGRADES, ADD, FAIL)))
    assert path.read_bytes() == octets
    assert content(path) == before
    assert version(path) == FORMAT
    with LocalStorageService(path) as storage:
        assert storage.create_change(new()).seq == 4


def test_an_upgrade_waits_for_a_writer_and_then_says_so(path: Path) -> None:
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy):
            prepare(path, 0.05, LOG.replace(upgrades=(*UPGRADES, ADD)))
    assert version(path) == FORMAT


@pytest.mark.parametrize("number", [0, FORMAT + 2, FORMAT + 100])
def test_a_format_without_a_path_from_it_is_refused_unaltered(path: Path, number: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {number}")
    before = files(path)
    with pytest.raises(NotALog, match=f"format {number}; this program knows {FORMAT + 1}"):
        prepare(path, 0, LOG.replace(upgrades=(*UPGRADES, ADD)))
    assert files(path) == before


def test_a_newer_format_that_is_not_in_the_header_yet_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {FORMAT + 1}")
        assert header_version(path) == FORMAT
        storage = LocalStorageService(path)
        with pytest.raises(NotALog, match=f"format {FORMAT + 1}"):
            storage.initialize()
        with pytest.raises(StorageError, match="not open"):
            storage.get_head(project_id="p")


def test_a_file_that_a_newer_program_upgrades_meanwhile_is_not_written_to(path: Path) -> None:
    with LocalStorageService(path) as storage:
        storage.create_change(new())
        prepare(path, 0, LOG.replace(upgrades=(*UPGRADES, ADD)))
        with pytest.raises(NotALog, match=f"format {FORMAT + 1}"):
            storage.create_change(new())
        assert len(everything(storage)) == 4
