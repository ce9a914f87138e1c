"""After a fork, parent and child each use connections of their own, with locks that hold."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import pytest

from sltt_core import LocalStorageService, StorageError
from sltt_core.sqlite import connections
from tests.contract.logs import batch, everything, new
from tests.forks import NEEDS_FORK, in_child

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = NEEDS_FORK

ROOT = Path(__file__).resolve().parents[3]
DAEMON = """
import os, sys
from sltt_core import LocalStorageService, NewChange
storage = LocalStorageService(sys.argv[1], "p")
storage.initialize()
storage.create_change(NewChange(entity_type="t", entity_id="before", data={}))
if os.fork():
    sys.exit()  # a clean end, which deallocates everything
os.setsid()
if os.fork():
    sys.exit()
storage.create_change(NewChange(entity_type="t", entity_id="daemon", data={}))
storage.close()
print("done", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def storage(path: Path) -> Iterator[LocalStorageService]:
    with LocalStorageService(path, "p") as opened:
        opened.create_changes(batch(3))
        everything(opened)
        yield opened


def test_parent_and_children_append_to_one_log(storage: LocalStorageService) -> None:
    def append() -> None:
        for _ in range(30):
            assert storage.create_changes(batch(2)).replayed is False
            storage.get_changes_with_cursor()
        storage.close()

    waits = [in_child(append) for _ in range(3)]
    for _ in range(30):
        storage.create_changes(batch(2))
    for wait in waits:
        wait()
    changes = everything(storage)
    assert [change.seq for change in changes] == list(range(1, 3 + 4 * 60 + 1))
    assert list(storage.verify()) == []


def test_a_child_holds_locks_of_its_own(storage: LocalStorageService, path: Path) -> None:
    """The parent closes last for itself; the write-ahead log that the child uses must stay."""
    reader, writer = os.pipe()

    def append() -> None:
        storage.create_change(new("child"))
        os.read(reader, 1)
        assert path.with_name("log.db-wal").exists()
        storage.create_change(new("child"))

    wait = in_child(append)
    while storage.get_head().seq < 4:
        pass
    storage.close()
    os.write(writer, b".")
    wait()
    with LocalStorageService(path, "p") as again:
        assert [change.entity_id for change in everything(again)][3:] == ["child", "child"]


def test_a_child_that_only_ends_leaves_the_parent_alone(storage: LocalStorageService, path: Path) -> None:
    in_child(lambda: None)()
    assert storage.create_change(new()).seq == 4
    in_child(storage.close)()
    assert storage.create_change(new()).seq == 5
    assert [change.seq for change in everything(storage)] == [1, 2, 3, 4, 5]


def append_in_process(path: str) -> int:
    with LocalStorageService(path, "p") as storage:
        return storage.create_change(new("process")).seq


def test_multiprocessing_with_fork(storage: LocalStorageService, path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(3) as pool:
        seqs = pool.map(append_in_process, [str(path)] * 20)
        pool.close()
        pool.join()
    assert sorted(seqs) == list(range(4, 24))
    assert storage.create_change(new()).seq == 24


def test_a_daemon_writes_after_both_forks(path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", DAEMON, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert (run.stdout, run.stderr) == ("done\n", "")
    with LocalStorageService(path, "p") as storage:
        assert [change.entity_id for change in everything(storage)] == ["before", "daemon"]


def test_a_fork_while_threads_read_and_write(storage: LocalStorageService) -> None:
    stop = Event()
    errors: list[BaseException] = []

    def use(work: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            errors.append(error)

    works: list[Callable[[], object]] = [
        lambda: storage.create_changes(batch(2)),
        storage.get_changes_with_cursor,
        lambda: storage.wait_for_changes(10**6, 0.01),
    ]
    threads = [Thread(target=use, args=(work,)) for work in works * 2]
    for thread in threads:
        thread.start()

    def child() -> None:
        before = storage.get_head().seq
        seqs = storage.create_changes(batch(2)).seqs
        assert seqs[0] > before
        assert not storage._writer.jobs
        assert storage.wait_for_changes(0, 1)

    for _ in range(10):
        in_child(child)()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(storage.verify()) == []


def test_a_waiter_notices_a_write_after_the_fork(storage: LocalStorageService) -> None:
    mark = storage.write_mark()
    in_child(lambda: storage.create_change(new()))()
    assert storage.write_mark() != mark
    assert storage.get_head().seq == 4


def test_a_child_of_a_fork_during_a_read_refuses(
    storage: LocalStorageService, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WAIT_SECONDS", 0.05)

    def child() -> None:
        for work in (storage.get_head, lambda: storage.create_change(new()), storage.write_mark):
            with pytest.raises(StorageError, match="forked while the storage was in use"):
                work()
        storage.close()

    with storage._readers.snapshot():
        wait = in_child(child)
    wait()
    assert storage.create_change(new()).seq == 4
    assert path.with_name("log.db-wal").exists()


def test_a_child_of_a_fork_during_a_write_refuses(
    storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WAIT_SECONDS", 0.05)

    def child() -> None:
        with pytest.raises(StorageError, match="forked while the storage was in use"):
            storage.create_change(new())
        storage.close()

    with storage._writer.lock:
        wait = in_child(child)
    wait()
    assert storage.create_change(new()).seq == 4
