"""The writer alone: which jobs share a transaction, who gets which error, and what is stored afterwards."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import LogDamaged, SlttError, StorageBusy, StorageError, StorageUnavailable
from sltt_core.sqlite import writer as writers
from sltt_core.sqlite.database import Database
from sltt_core.sqlite.writer import GROUP_JOBS, Job, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Work = Callable[[sqlite3.Connection], object]

INTERRUPTED = "the write was interrupted; read the log to see whether it holds it"


class Notes:
    """A writer on a real file, and what it did."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = Database(path, 0.2)
        self.database.open()
        self.writer = Writer(self.database, self.begin, self.committed)
        self.writer.open()
        self.writer.write(lambda connection: connection.execute("CREATE TABLE notes (name UNIQUE)"))
        self.begun = 0
        self.seen: list[list[str]] = []
        """What another connection saw when the writer said that it had committed."""
        self.failure: BaseException | None = None

    def begin(self, connection: sqlite3.Connection) -> None:
        self.begun = getattr(self, "begun", 0) + 1
        assert connection.in_transaction
        failure, self.failure = getattr(self, "failure", None), None
        if failure is not None:
            connection.execute("INSERT INTO notes VALUES ('begin')")
            raise failure

    def committed(self) -> None:
        if hasattr(self, "seen") and self.path.exists():
            self.seen.append(self.stored())

    def stored(self) -> list[str]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [name for (name,) in connection.execute("SELECT name FROM notes ORDER BY rowid")]

    def queue(self, *works: Work) -> list[Job]:
        """Put jobs in the queue, like threads that wait for the lock."""
        jobs = [Job(work) for work in works]
        self.writer.jobs.extend(jobs)
        return jobs


def insert(name: str) -> Work:
    return lambda connection: connection.execute("INSERT INTO notes VALUES (?)", (name,)).rowcount


def insert_and_raise(name: str, error: BaseException) -> Work:
    def work(connection: sqlite3.Connection) -> None:
        insert(name)(connection)
        raise error

    return work


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    made = Notes(tmp_path / "log.db")
    yield made
    made.writer.close()
    made.database.close()


def test_a_write_returns_its_result_when_it_is_committed(notes: Notes) -> None:
    assert notes.writer.write(insert("a")) == 1
    assert notes.writer.write(lambda connection: None) is None
    assert (notes.begun, notes.seen, list(notes.writer.jobs)) == (2, [["a"], ["a"]], [])


def test_waiting_jobs_share_a_transaction_in_their_order(notes: Notes) -> None:
    jobs = notes.queue(insert("a"), insert("b"))
    assert notes.writer.write(insert("c")) == 1
    assert (notes.begun, notes.seen, notes.stored()) == (1, [["a", "b", "c"]], ["a", "b", "c"])
    assert [(job.done, job.started, job.result, job.error) for job in jobs] == [(True, True, 1, None)] * 2


@pytest.mark.parametrize(("waiting", "transactions"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 3)])
def test_a_transaction_has_a_limited_number_of_jobs(
    notes: Notes, monkeypatch: pytest.MonkeyPatch, waiting: int, transactions: int
) -> None:
    monkeypatch.setattr(writers, "GROUP_JOBS", 2)
    names = [str(number) for number in range(waiting)]
    notes.queue(*map(insert, names))
    notes.writer.write(insert("mine"))
    assert (notes.begun, notes.seen) == (transactions, [[*names, "mine"]])


def test_256_jobs_share_a_transaction(notes: Notes) -> None:
    assert GROUP_JOBS == 256


def test_an_error_goes_to_its_job_alone_and_undoes_its_writes(notes: Notes) -> None:
    wrong = ValueError("no")
    first, failed, last = notes.queue(insert("a"), insert_and_raise("b", wrong), insert("c"))
    notes.writer.write(insert("d"))
    assert notes.seen == [["a", "c", "d"]]
    assert (first.error, failed.error, last.error) == (None, wrong, None)
    assert [job.done for job in (first, failed, last)] == [True] * 3
    with pytest.raises(KeyError, match="mine"):
        notes.writer.write(insert_and_raise("e", KeyError("mine")))
    assert notes.stored() == ["a", "c", "d"]


def test_an_error_of_sqlite_is_explained(notes: Notes) -> None:
    notes.queue(insert("a"))
    with pytest.raises(LogDamaged, match=r"^log\.db: the rows of a log contradict each other$") as caught:
        notes.writer.write(insert("a"))
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert notes.stored() == ["a"]


def test_an_error_that_ends_the_transaction_ends_the_group(notes: Notes) -> None:
    def work(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("the disk is gone")

    (before,) = notes.queue(insert("a"))
    with pytest.raises(StorageError, match=r"^log\.db: SQLite failed \(the disk is gone\)$") as caught:
        notes.writer.write(work)
    assert before.error is caught.value
    assert notes.stored() == []
    assert notes.writer.write(insert("b")) == 1


def test_an_interruption_ends_the_group_and_leaves_the_writer_usable(notes: Notes) -> None:
    before, failed = notes.queue(insert("a"), insert_and_raise("x", ValueError("own")))
    with pytest.raises(KeyboardInterrupt):
        notes.writer.write(insert_and_raise("b", KeyboardInterrupt()))
    assert isinstance(before.error, StorageError)
    assert str(before.error) == INTERRUPTED
    assert str(failed.error) == "own"
    assert notes.writer.connection is not None
    assert not notes.writer.connection.in_transaction
    assert (notes.stored(), list(notes.writer.jobs)) == ([], [])
    assert notes.writer.write(insert("c")) == 1


def test_a_failure_at_the_begin_writes_nothing(notes: Notes) -> None:
    notes.failure = sqlite3.OperationalError("no")
    with pytest.raises(StorageError, match=r"^log\.db: SQLite failed \(no\)$"):
        notes.writer.write(insert("a"))
    notes.failure = StorageBusy("full")
    with pytest.raises(StorageBusy, match="full"):
        notes.writer.write(insert("a"))
    assert notes.stored() == []
    assert notes.writer.write(insert("b")) == 1


def test_a_file_that_another_process_holds_is_busy(notes: Notes) -> None:
    with closing(sqlite3.connect(notes.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy, match=r"^log\.db: another process is writing and did not finish in time$"):
            notes.writer.write(insert("a"))
    assert notes.writer.write(insert("b")) == 1


def test_a_file_that_is_lost_during_the_write_is_noticed(notes: Notes) -> None:
    with pytest.raises(StorageUnavailable):
        notes.writer.write(lambda connection: notes.path.unlink())


def test_a_closed_writer_refuses_until_it_is_opened_again(notes: Notes) -> None:
    notes.writer.close()
    notes.writer.close()
    assert notes.writer.connection is None
    with pytest.raises(StorageError, match="the storage is not open"):
        notes.writer.write(insert("a"))
    assert list(notes.writer.jobs) == []
    notes.writer.open()
    assert notes.writer.write(insert("b")) == 1
    assert notes.stored() == ["b"]


def test_a_suspended_writer_connects_again(notes: Notes) -> None:
    with notes.writer.lock:
        notes.writer.suspend()
        notes.writer.suspend()
    assert notes.writer.connection is None
    assert notes.writer.write(insert("a")) == 1
    connection = notes.writer.connection
    assert connection is not None
    assert notes.writer.write(insert("b")) == 1
    assert notes.writer.connection is connection


@pytest.mark.parametrize("safe", [True, False])
def test_the_child_of_a_fork_forgets_the_queue(notes: Notes, safe: bool) -> None:
    writer = notes.writer
    connection, lock = writer.connection, writer.lock
    notes.queue(insert("a"))
    if not safe:
        lock.acquire()
    writer.forget(safe)
    assert list(writer.jobs) == []
    assert (writer.connection is connection, writer.lock is lock) == (safe, safe)
    assert writer.write(insert("b")) == 1
    assert notes.stored() == ["b"]
    if not safe and connection is not None:
        connection.close()


def test_an_interrupted_job_is_not_done_again(notes: Notes) -> None:
    job = Job(insert("a"))
    job.started = True
    notes.writer.jobs.append(job)
    assert notes.writer.write(insert("b")) == 1
    assert (notes.stored(), job.done, job.result) == (["b"], True, None)
    again = Job(insert("c"))
    again.started = True
    notes.writer._write_until(again)
    assert isinstance(again.error, SlttError)
    assert (str(again.error), again.done, notes.stored()) == (INTERRUPTED, True, ["b"])


def test_a_writer_that_was_not_opened_refuses(tmp_path: Path) -> None:
    database = Database(tmp_path / "log.db", 0.2)
    database.open()
    writer = Writer(database, lambda connection: None, lambda: None)
    assert writer.connection is None
    with pytest.raises(StorageError, match="the storage is not open"):
        writer.write(insert("a"))
    writer.open()
    assert writer.connection is not None
    writer.close()
    database.close()


class BrokenLock:
    """A lock whose thread is interrupted while it waits."""

    def __enter__(self) -> None:
        raise KeyboardInterrupt

    def __exit__(self, *error: object) -> None:
        pass


def test_a_job_of_an_interrupted_thread_leaves_the_queue(notes: Notes) -> None:
    (waiting,) = notes.queue(insert("a"))
    lock = notes.writer.lock
    notes.writer.lock = BrokenLock()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        notes.writer.write(insert("b"))
    notes.writer.lock = lock
    assert list(notes.writer.jobs) == [waiting]
    assert notes.writer.write(insert("c")) == 1
    assert notes.stored() == ["a", "c"]


def test_a_job_that_an_interrupted_thread_took_from_the_queue_is_done(notes: Notes) -> None:
    job = Job(insert("a"))
    notes.writer._write_until(job)
    assert (job.done, job.result, job.error, notes.stored()) == (True, 1, None, ["a"])


def test_a_transaction_that_an_interruption_left_open_is_undone(notes: Notes) -> None:
    assert notes.writer.connection is not None
    notes.writer.connection.execute("BEGIN IMMEDIATE")
    insert("a")(notes.writer.connection)
    assert notes.writer.write(insert("b")) == 1
    assert notes.stored() == ["b"]


def test_a_file_of_a_newer_format_is_not_written(notes: Notes) -> None:
    with closing(sqlite3.connect(notes.path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match=str(notes.path.name)):
        notes.writer.write(insert("a"))
    assert notes.stored() == []
