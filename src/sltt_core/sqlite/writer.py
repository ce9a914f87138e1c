"""Group commit: one connection writes, and threads that write at the same time share a transaction.

Each write is put in a queue. The thread that gets the lock next does all queued writes in one transaction, so the
threads wait for the disk once instead of once each (`docs/decisions/0005-why-sqlite-group-commit.md`).
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
    from pathlib import Path
    from typing import TypeVar

    T = TypeVar("T")
    Work = Callable[[sqlite3.Connection], T]
    """Some writes, given the connection. It must find out what it refuses before it writes anything."""

GROUP_JOBS = 256
"""Writes that share a transaction at most."""


class Writer:
    """The writing connection of a storage, and the queue of writes before it."""

    __slots__ = ("_busy_seconds", "_committed", "_finish", "_path", "connection", "jobs", "lock")

    def __init__(self, path: Path, busy_seconds: float, finish: Work[None], committed: Callable[[], None]) -> None:
        """`finish` is called at the end of each transaction, before its commit; `committed` after the last one."""
        self._path = path
        self._busy_seconds = busy_seconds
        self._finish = finish
        self._committed = committed
        self.lock = Lock()
        """Held by the thread that writes."""
        self.jobs: deque[Job] = deque()
        self.connection: sqlite3.Connection | None = None
        """`None` while closed."""

    def open(self) -> None:
        """Open the connection; raises `NotALog` when the file is of a newer format."""
        connection = sqlite_file.connect(self._path, self._busy_seconds)
        try:
            sqlite_file.check_format(connection, self._path)
        except BaseException:
            connection.close()
            raise
        self.connection = connection

    def close(self) -> None:
        """Close the connection after the write in progress. Twice does no harm."""
        with self.lock:
            if self.connection is not None:
                self.connection.close()
                self.connection = None

    def write(self, work: Work[T]) -> T:
        """Do some work in a transaction, alone or together with other threads' work; return its result.

        An error of ours that the work raises goes to this caller alone, and the work of the others is kept.
        """
        job = Job(work)
        self.jobs.append(job)
        with self.lock:
            if not job.done:
                self._write_until(job)
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def _write_until(self, mine: Job) -> None:
        """Do every waiting job up to and with mine, in transactions of up to `GROUP_JOBS`."""
        while not mine.done:
            group = [self.jobs.popleft() for _ in range(min(len(self.jobs), GROUP_JOBS))]
            try:
                if self.connection is None:
                    raise sqlite_file.not_open()
                self._transact(self.connection, group)
            except SlttError as error:
                _fail(group, error)
            except BaseException:
                _fail(group, StorageError("the write was interrupted; read the log to see whether it holds it"))
                raise
            finally:
                for job in group:
                    job.done = True
        self._committed()

    def _transact(self, connection: sqlite3.Connection, group: Sequence[Job]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                sqlite_file.check_format(connection, self._path)
                for job in group:
                    job.run(connection)
                self._finish(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise sqlite_file.explain(error, self._path) from error


class Job:
    """Some work for the writing connection, and its outcome."""

    __slots__ = ("done", "error", "result", "work")

    def __init__(self, work: Work[object]) -> None:
        self.work = work
        self.done = False
        self.result: object = None
        self.error: Exception | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work and note the result, or the error of ours that it raised."""
        try:
            self.result = self.work(connection)
        except SlttError as error:
            self.error = error


def _fail(group: Sequence[Job], error: SlttError) -> None:
    """Give an error to every job of a group that has none of its own."""
    for job in group:
        job.error = job.error or error
