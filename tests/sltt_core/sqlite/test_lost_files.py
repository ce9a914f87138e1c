"""A commit is acknowledged only when it is in the file that the path leads to, whatever happens to the file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from sltt_core import LocalStorageService, NotALog, StorageError, StorageUnavailable
from sltt_core.api.app import Api
from sltt_core.api.http import Request
from tests.contract.logs import batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BACKUP = """
import sqlite3, sys
source, target = map(sqlite3.connect, sys.argv[1:])
source.backup(target)
target.close()
source.close()
"""
APPEND = """
import sys
from sltt_core import LocalStorageService, NewChange
with LocalStorageService(sys.argv[1], "p") as storage:
    storage.create_change(NewChange(entity_type="t", entity_id="other", data={}))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def storage(path: Path) -> Iterator[LocalStorageService]:
    with LocalStorageService(path, "p") as opened:
        opened.create_changes(batch(3))
        yield opened


def run(program: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True, timeout=60)


def posix_locks() -> int:
    with open("/proc/locks", encoding="ascii") as locks:
        return sum(f" {os.getpid()} " in line for line in locks)


# POSIX locks


@pytest.mark.parametrize("program", [BACKUP, APPEND], ids=["backup", "append"])
def test_another_process_leaves_the_write_ahead_log_of_two_services(path: Path, program: str) -> None:
    with LocalStorageService(path, "p") as first:
        first.create_change(new())
        with LocalStorageService(path, "p") as second:
            run(program, path, path.with_name("backup.db"))
            assert path.with_name("log.db-wal").exists()
            seqs = [first.create_change(new()).seq, second.create_change(new()).seq]
    with LocalStorageService(path, "p") as again:
        found = [change.seq for change in everything(again)]
    assert found == list(range(1, found[-1] + 1))
    assert seqs == found[-2:]


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="the kernel does not list its locks")
@pytest.mark.parametrize("end", ["closed", "refused"])
def test_opening_the_file_again_keeps_the_locks(storage: LocalStorageService, path: Path, end: str) -> None:
    assert storage._writer.connection is not None
    if end == "refused":
        storage._writer.connection.execute("PRAGMA application_id = 7")
        storage._writer.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = posix_locks()
    assert before > 0
    again = LocalStorageService(path)
    if end == "refused":
        with pytest.raises(NotALog):
            again.initialize()
    else:
        again.initialize()
    again.close()
    assert posix_locks() == before


# Another file at the path


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def replace(path: Path) -> None:
    with LocalStorageService(path.with_name("new.db"), "p") as other:
        other.create_change(new("another"))
    path.with_name("new.db").rename(path)


def delete_all(path: Path) -> None:
    for file in path.parent.glob("log.db*"):
        file.unlink()


def delete_wal(path: Path) -> None:
    path.with_name("log.db-wal").unlink()


def replace_wal(path: Path) -> None:
    wal = path.with_name("log.db-wal")
    octets = wal.read_bytes()
    wal.unlink()
    path.with_name("keeps the inode").touch()
    wal.write_bytes(octets)


def delete_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


LOSSES = [delete, move, replace, delete_all, delete_wal, replace_wal, delete_folder]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_a_lost_file_is_noticed_by_every_use(
    storage: LocalStorageService, path: Path, lose: Callable[[Path], None]
) -> None:
    api = Api(storage)
    assert api.handle(Request("GET", "/health", "", {}, b"")).status == 200
    lose(path)
    for use in (
        lambda: storage.create_change(new()),
        lambda: storage.mark_as_outdated(1, 2),
        storage.get_head,
        storage.check,
    ):
        with pytest.raises(StorageUnavailable, match=r"log\.db: the file or its -wal was deleted, moved or replaced"):
            use()
    response = api.handle(Request("GET", "/health", "", {}, b""))
    assert response.status == 503
    assert b"deleted, moved or replaced" in response.body


def test_a_file_that_is_replaced_during_a_commit_is_noticed(storage: LocalStorageService, path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        storage._writer.write(lambda connection: replace(path))
    storage.close()
    with LocalStorageService(path, "p") as other:
        assert [change.entity_id for change in everything(other)] == ["another"]


def test_a_file_that_is_put_back_is_used_again(storage: LocalStorageService, path: Path) -> None:
    move(path)
    with pytest.raises(StorageUnavailable):
        storage.create_change(new())
    path.with_name("moved.db").rename(path)
    assert storage.create_change(new()).seq == 4


def test_a_reader_never_opens_the_file_that_replaced_its_own(storage: LocalStorageService, path: Path) -> None:
    with storage._readers.snapshot():  # so that the next reader opens a connection
        replace(path)
        with pytest.raises(StorageUnavailable), storage._readers.snapshot():
            pytest.fail("it lent a connection")
        with pytest.raises(StorageUnavailable):
            storage._readers.borrow()


def test_a_moved_file_is_whole_and_its_log_is_not_applied_to_another(storage: LocalStorageService, path: Path) -> None:
    move(path)
    replace(path)
    storage.close()
    for name, ids in (("moved.db", ["e0", "e1", "e2"]), ("log.db", ["another"])):
        with LocalStorageService(path.with_name(name), "p") as opened:
            assert [change.entity_id for change in everything(opened)] == ids
            assert list(opened.verify()) == []


def test_a_closed_storage_opens_the_file_that_is_there_now(storage: LocalStorageService, path: Path) -> None:
    storage.close()
    replace(path)
    storage.initialize()
    assert [change.entity_id for change in everything(storage)] == ["another"]
    storage.check()


def test_a_closed_storage_has_no_file_to_lose(storage: LocalStorageService, path: Path) -> None:
    storage.close()
    delete(path)
    storage.check()


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with LocalStorageService("log.db", "p") as storage:
        storage.create_change(new())
        storage.close()
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        storage.initialize()
        assert storage.create_change(new()).seq == 2
        assert storage.path == tmp_path / "log.db"
    assert list((tmp_path / "elsewhere").iterdir()) == []


# Odd paths


def test_a_symbolic_link_leads_to_the_file(storage: LocalStorageService, path: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "folder" / "link.db"
    link.symlink_to(path)
    with LocalStorageService(link, "p") as linked:
        assert linked.create_change(new()).seq == 4
        assert storage.create_change(new()).seq == 5
        link.unlink()
        with pytest.raises(StorageUnavailable):
            linked.create_change(new())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "log.db", "log.db-shm", "log.db-wal"]


def test_a_hard_link_is_refused(storage: LocalStorageService, path: Path) -> None:
    storage.close()
    os.link(path, path.with_name("other.db"))
    for name in (path, path.with_name("other.db")):
        with pytest.raises(StorageError, match=r"the file has 2 names \(hard links\)"):
            LocalStorageService(name).initialize()
    path.with_name("other.db").unlink()
    storage.initialize()


def test_a_draft_of_a_creator_that_was_killed_does_no_harm(storage: LocalStorageService, path: Path) -> None:
    storage.close()
    os.link(path, path.with_name(".log.db-abcdefgh"))
    storage.initialize()
    assert storage.create_change(new()).seq == 4


def dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nothing.db"))


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def left_over_wal(path: Path) -> None:
    path.with_name("log.db-wal").write_bytes(b"frames of another database")


def left_over_journal(path: Path) -> None:
    path.with_name("log.db-journal").write_bytes(b"pages of another database")


@pytest.mark.parametrize(
    "make",
    [dangling_link, link_to_itself, pipe, left_over_wal, left_over_journal],
    ids=lambda make: make.__name__,
)
def test_an_odd_path_is_refused_at_once(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    before = sorted(path.parent.iterdir())
    with pytest.raises(StorageError, match=r"log\.db"):
        LocalStorageService(path).initialize()
    assert sorted(path.parent.iterdir()) == before


def test_a_write_ahead_log_of_the_file_itself_is_used(storage: LocalStorageService, path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "log.db"
    copy.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*) FROM changes").fetchone() == (3,)
    with LocalStorageService(copy, "p") as copied:
        assert len(everything(copied)) == 3
