"""The compared ways to append and read: by hand, in Python and over HTTP. Each has its own logs."""

from __future__ import annotations

import json
import os
import sqlite3
from threading import Thread
from time import perf_counter, process_time
from typing import TYPE_CHECKING, NamedTuple

from bench.support.context import DATA, PROJECT, new_change
from bench.support.servers import CHANGES, KEY, BenchServer, get, load, post
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from bench.support.context import BenchContext

THREADS = 16
READ = 10_000
"""Changes in the log that is read; reading starts in its middle."""
MIDDLE = READ // 2


class Sample(NamedTuple):
    """The figures of one case in one round."""

    rate: float
    """Calls per second: batches, pages or requests."""
    cpu: float
    """Milliseconds of processor time of each call; over HTTP, of the server."""


class ByHand:
    """The code without this project: a plain table with the same journal (WAL) and durability (FULL).

    Every batch is a commit. Nothing is checked, counted, chained or replayed. Each thread has its own connection.
    """

    INSERT = "INSERT INTO changes (project_id, entity_type, entity_id, operation, data) VALUES (?, ?, ?, ?, ?)"
    SELECT = "SELECT * FROM changes WHERE project_id = ? AND seq > ? ORDER BY seq LIMIT ?"

    def __init__(self, path: Path) -> None:
        self._connections = [
            sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False) for _ in range(THREADS)
        ]
        for connection in self._connections:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        self._connections[0].execute(
            "CREATE TABLE changes (seq INTEGER PRIMARY KEY, project_id TEXT, entity_type TEXT, entity_id TEXT, "
            "operation TEXT, data TEXT)"
        )

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def append(self, thread: int, batch: int) -> None:
        connection = self._connections[thread]
        rows = [(PROJECT, "passage", "ruth-1", "update", json.dumps(DATA)) for _ in range(batch)]
        if batch == 1:
            connection.execute(self.INSERT, rows[0])
        else:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(self.INSERT, rows)
            connection.execute("COMMIT")

    def read(self, thread: int, limit: int) -> None:
        self._connections[thread].execute(self.SELECT, (PROJECT, MIDDLE, limit)).fetchall()


class Contenders:
    """Each method measures a number of clients (threads or connections) that make calls of a number of changes."""

    def __init__(self, context: BenchContext, stack: ExitStack) -> None:
        folder, log = context.folder, context.log(READ)
        self._seconds = context.size.seconds
        self._hand, self._hand_read = ByHand(folder / "hand.db"), ByHand(folder / "hand-read.db")
        stack.callback(self._hand.close)
        stack.callback(self._hand_read.close)
        self._hand_read.append(0, READ)
        self._file = os.open(folder / "lines", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        stack.callback(os.close, self._file)
        self._sync = getattr(os, "fdatasync", os.fsync)  # macOS has only `fsync`
        self._python = stack.enter_context(LocalStorageService(folder / "python.db"))
        self._python_read = stack.enter_context(LocalStorageService(log))
        self._server = stack.enter_context(BenchServer(folder / "server", folder / "server.db", "--quiet"))
        self._talking = stack.enter_context(BenchServer(folder / "talking", folder / "talking.db"))
        self._server_read = stack.enter_context(BenchServer(folder / "server-read", log, "--quiet"))

    def append_by_hand(self, clients: int, batch: int) -> Sample:
        return self._by_threads(clients, lambda thread: self._hand.append(thread, batch))

    def append_to_file(self, clients: int, _: int) -> Sample:
        def append(_: int) -> None:
            os.write(self._file, json.dumps(DATA).encode() + b"\n")
            self._sync(self._file)

        return self._by_threads(clients, append)

    def append_in_python(self, clients: int, batch: int) -> Sample:
        return self._by_threads(clients, lambda _: self._python.create_changes([new_change() for _ in range(batch)]))

    def append_over_http(self, clients: int, batch: int) -> Sample:
        return self._requests(self._server, clients, post(batch))

    def append_with_key(self, clients: int, batch: int) -> Sample:
        return self._requests(self._server, clients, post(batch, KEY))

    def append_with_access_log(self, clients: int, batch: int) -> Sample:
        return self._requests(self._talking, clients, post(batch))

    def read_by_hand(self, clients: int, limit: int) -> Sample:
        return self._by_threads(clients, lambda thread: self._hand_read.read(thread, limit))

    def read_in_python(self, clients: int, limit: int) -> Sample:
        read = self._python_read.get_changes_with_cursor
        return self._by_threads(clients, lambda _: read(MIDDLE, limit, project_id=PROJECT))

    def read_over_http(self, clients: int, limit: int) -> Sample:
        return self._requests(self._server_read, clients, get(f"{CHANGES}?cursor={MIDDLE}&limit={limit}"))

    def health(self, clients: int, _: int) -> Sample:
        return self._requests(self._server, clients, get("/health"))

    def _requests(self, server: BenchServer, clients: int, request: str) -> Sample:
        found = load(server, request, clients, self._seconds)
        return Sample(found.rate, found.cpu)

    def _by_threads(self, threads: int, call: Callable[[int], object]) -> Sample:
        """Let threads repeatedly call a function with their number."""
        counts = [0] * threads

        def work(thread: int) -> None:
            while True:
                call(thread)
                counts[thread] += 1
                if perf_counter() >= end:
                    return

        workers = [Thread(target=work, args=(thread,)) for thread in range(threads)]
        used, begin = process_time(), perf_counter()
        end = begin + self._seconds
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        calls = sum(counts)
        return Sample(calls / (perf_counter() - begin), (process_time() - used) * 1000 / calls)
