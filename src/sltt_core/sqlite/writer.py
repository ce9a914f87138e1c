"""Group commit: one connection writes, and threads that write at the same time share a transaction.

Each write is put in a queue. The thread that gets the lock next does all queued writes in one transaction, so the
threads wait for the disk once instead of once each (`docs/decisions/0005-sqlite-group-commit.md`).
"""

from __future__ import annotations

import sqlite3
from collections import deque
from threading import Lock

from sltt_core.base.errors import SlttError, StorageError
from sltt_core.sqlite import file as sqlite_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from sltt_core.sqlite.database import Database

    T = TypeVar("T")
    Work = Callable[[sqlite3.Connection], T]
    """Some writes, given the connection. What it wrote before it raises an error is undone."""

GROUP_JOBS = 256
"""Writes that share a transaction at most."""
BEGIN = "BEGIN IMMEDIATE"
"""Waits for other processes that write. A plain `BEGIN` would wait at the first write, when it may be too late."""
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
BEGIN_JOB = "SAVEPOINT job"
COMMIT_JOB = "RELEASE job"
ROLLBACK_JOB = "ROLLBACK TO job"


class Writer:
    """The writing connection of a storage, and the queue of writes before it."""

    __slots__ = ("_begin", "_committed", "_database", "_is_open", "connection", "grouped", "groups", "jobs", "lock")

    def __init__(self, database: Database, begin: Work[None], committed: Callable[[], None]) -> None:
        """`begin` is called at the begin of each transaction; `committed` after the commit of the last one."""
        self._database = database
        self._begin = begin
        self._committed = committed
        self.lock = Lock()
        """Held by the thread that writes."""
        self.jobs: deque[Job] = deque()
        self.groups = self.grouped = 0
        """Transactions since the start, and the writes in them."""
        self._is_open = False
        self.connection: sqlite3.Connection | None = None
        """`None` while closed, and after a fork until the next write."""

    def open(self) -> None:
        """Open the connection."""
        with self.lock:
            self.connection = self._database.connect()
            self._is_open = True

    def close(self) -> None:
        """Close the connection after the write in progress. Does nothing when it is closed."""
        with self.lock:
            self._is_open = False
            self.suspend()

    def suspend(self) -> None:
        """Close the connection until the next write. The caller holds the lock."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def forget(self, safe: bool) -> None:
        """Forget the queue, whose threads do not exist in the child of a fork; if not safe, the connection, too."""
        self.jobs.clear()
        if not safe:
            self.connection = None
            self.lock = Lock()  # a thread that does not exist in this process may hold the other

    def write(self, work: Work[T]) -> T:
        """Do some work in a transaction, alone or together with other threads' work; return its result.

        An error that the work raises goes to this caller alone, and the work of the others is committed.
        """
        job = Job(work)
        try:
            self.jobs.append(job)
            with self.lock:
                if not job.done:
                    self._write_until(job)
        except BaseException:
            if job in self.jobs:  # interrupted: nobody waits for its outcome, so it must not be done later
                self.jobs.remove(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def _write_until(self, mine: Job) -> None:
        """Do every waiting job up to and with mine, in transactions of up to `GROUP_JOBS`."""
        while not mine.done:
            group: list[Job] = []
            try:
                if mine.started:  # by a thread that was interrupted before it could note the outcome
                    group.append(mine)
                    raise _interrupted()
                while self.jobs and len(group) < GROUP_JOBS:
                    group.append(self.jobs[0])
                    self.jobs.popleft()
                if mine not in group and not self.jobs:
                    group.append(mine)  # an interrupted thread took it from the queue
                self.groups += 1
                self.grouped += len(group)
                self._transact(self._connected(), [job for job in group if not job.started])
            except SlttError as error:
                _fail(group, error)
            except BaseException:
                _fail(group, _interrupted())
                raise
            finally:
                for job in group:
                    job.done = True
        self._committed()

    def _connected(self) -> sqlite3.Connection:
        if not self._is_open:
            raise sqlite_file.not_open()
        self._database.check()
        if self.connection is None:
            self.connection = self._database.connect()
        return self.connection

    def _transact(self, connection: sqlite3.Connection, group: Sequence[Job]) -> None:
        try:
            if connection.in_transaction:  # an interruption came before its end
                connection.execute(ROLLBACK)
            connection.execute(BEGIN)
            try:
                self._database.check_format(connection)
                self._begin(connection)
                for job in group:
                    self._run(connection, job)
                connection.execute(COMMIT)
            except BaseException:
                if connection.in_transaction:
                    connection.execute(ROLLBACK)
                raise
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self._database.path) from error
        self._database.check()  # a file that was replaced meanwhile does not hold the writes

    def _run(self, connection: sqlite3.Connection, job: Job) -> None:
        """Do the work of one job, or undo all of it and note the error.

        An error of SQLite that ends the transaction is raised: it ends the work of the whole group.
        """
        job.started = True
        connection.execute(BEGIN_JOB)
        try:
            job.result = job.work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute(ROLLBACK_JOB)
            if isinstance(error, sqlite3.Error):
                job.error = sqlite_file.explain(error, self._database.path)
                job.error.__cause__ = error
            else:
                job.error = error
        connection.execute(COMMIT_JOB)


class Job:
    """Some work for the writing connection, and its outcome."""

    __slots__ = ("done", "error", "result", "started", "work")

    def __init__(self, work: Work[object]) -> None:
        self.work = work
        self.started = False
        self.done = False
        self.result: object = None
        self.error: Exception | None = None


def _interrupted() -> StorageError:
    return StorageError("the write was interrupted; read the log to see whether it holds it")


def _fail(group: Sequence[Job], error: SlttError) -> None:
    """Give an error to every job of a group that has none of its own."""
    for job in group:
        job.error = job.error or error
