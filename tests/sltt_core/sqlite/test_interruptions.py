"""Closing during a read, and `KeyboardInterrupt` at any moment: no crash, no lock held, no connection lost."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core import LocalStorageService, StorageError
from sltt_core.sqlite import file as sqlite_file
from sltt_core.sqlite.writer import Job
from tests.contract.logs import batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]

CLOSE_WHILE_READING = """
import sys, threading
from sltt_core import LocalStorageService, StorageError, NewChange
path = sys.argv[1]
with LocalStorageService(path, "p") as filling:
    filling.create_changes([NewChange(entity_type="t", entity_id="e", data={"text": "x" * 200}) for _ in range(500)])
for _ in range(40):
    storage = LocalStorageService(path, "p")
    storage.initialize()
    started = threading.Barrier(5)
    def read():
        started.wait()
        try:
            while True:
                storage.get_changes_with_cursor()
                list(storage.verify())
                storage.wait_for_changes(10**6, 0.001)
        except StorageError as error:
            assert "not open" in str(error), error
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    storage.close()
    for thread in threads:
        thread.join()
    assert not storage._readers.idle and not storage._readers.connections
print("survived")
"""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def test_closing_while_threads_read_never_crashes(path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", CLOSE_WHILE_READING, str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "survived\n", "")
    assert [file.name for file in path.parent.iterdir()] == ["log.db"]


def test_a_snapshot_that_is_lent_outlives_the_close(path: Path) -> None:
    storage = LocalStorageService(path, "p")
    storage.initialize()
    storage.create_changes(batch(3))
    with storage._readers.snapshot() as connection:
        storage.close()
        assert connection.execute("SELECT count(*) FROM changes").fetchone() == (3,)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    with pytest.raises(StorageError, match="not open"):
        storage.get_head()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interruptions_at_random_moments_hold_nothing(path: Path) -> None:
    """Real signals, whose handler raises `KeyboardInterrupt` wherever the main thread is."""
    with LocalStorageService(path, "p") as storage:
        storage.create_changes(batch(3))
        everything(storage)
        before = descriptors()
        interrupted = 0
        old = signal.signal(signal.SIGALRM, signal.default_int_handler)
        acknowledged = 0
        try:
            for attempt in range(400):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.00003 * (attempt % 100 + 1))
                    for _ in range(200):  # Python drops an interruption of a `__del__`
                        storage.create_change(new())
                        acknowledged += 1
                        storage.get_changes_with_cursor(max(0, acknowledged - 5))
                        storage.wait_for_changes(10**6, 0.0002)
                except KeyboardInterrupt:
                    interrupted += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                gc.collect(1)  # tracebacks keep connections open until then, which is not what is counted here
        finally:
            signal.signal(signal.SIGALRM, old)
        assert interrupted >= 300
        for lock in (storage._writer.lock, storage._readers.lock, storage._database.lock):
            assert not lock.locked()
        assert not storage._writer.jobs
        storage.create_change(new())
        gc.collect()
        assert storage._readers.lent == 0
        assert descriptors() <= before + 10  # SQLite keeps some for its next connections
        assert storage.get_head().seq >= 3 + acknowledged + 1
        assert list(storage.verify()) == []


def test_a_thread_that_is_interrupted_while_it_waits_leaves_the_queue(path: Path) -> None:
    with LocalStorageService(path, "p") as storage:
        storage._writer.lock.acquire()
        Thread(target=interrupt_when, args=(lambda: len(storage._writer.jobs) == 1,)).start()
        with pytest.raises(KeyboardInterrupt):
            storage.create_change(new())
        storage._writer.lock.release()
        assert not storage._writer.jobs
        assert storage.create_change(new()).seq == 1


def interrupt_when(reached: Callable[[], bool]) -> None:
    while not reached():
        pass
    os.kill(os.getpid(), signal.SIGINT)


def test_a_job_whose_thread_was_interrupted_is_not_done_twice(path: Path) -> None:
    """Its outcome was not noted: the next thread reports that it is not known."""
    with LocalStorageService(path, "p") as storage:
        done: list[int] = []
        storage._writer.write(lambda connection: done.append(1))
        job = Job(lambda connection: done.append(2))
        job.started = True
        storage._writer._write_until(job)
        assert isinstance(job.error, StorageError)
        assert done == [1]


def test_a_job_that_an_interrupted_thread_took_from_the_queue_is_done(path: Path) -> None:
    with LocalStorageService(path, "p") as storage:
        done: list[int] = []
        storage._writer._write_until(Job(lambda connection: done.append(1)))
        assert done == [1]


def test_a_transaction_that_an_interruption_left_open_is_undone(path: Path) -> None:
    with LocalStorageService(path, "p") as storage:
        assert storage._writer.connection is not None
        storage._writer.connection.execute("BEGIN IMMEDIATE")
        storage._writer.connection.execute("DELETE FROM logs")
        assert storage.create_change(new()).seq == 1


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT", "SELECT"])
def test_a_failed_read_keeps_no_connection(path: Path, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    failing = [False]

    class Failing(sqlite_file.Connection):
        def execute(self, sql: str, *arguments: Any) -> Any:
            if failing[0] and sql.startswith(statement):
                raise sqlite3.OperationalError("the disk failed")
            return super().execute(sql, *arguments)

    monkeypatch.setattr(sqlite_file, "Connection", Failing)
    with LocalStorageService(path, "p") as storage:
        storage.create_change(new())
        everything(storage)
        before = descriptors()
        for _ in range(20):
            failing[0] = True
            with pytest.raises(StorageError):
                storage.get_head()
            failing[0] = False
            assert storage.get_head().seq == 1
        assert descriptors() == before
        assert len(storage._readers.connections) == len(storage._readers.idle) == 1
