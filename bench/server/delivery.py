"""A server with clients that wait for changes, and the time from an append to their responses."""

from __future__ import annotations

import time
from contextlib import contextmanager
from http.client import HTTPConnection
from random import random
from typing import TYPE_CHECKING, NamedTuple, Self

from bench.support.context import PROJECT, BenchError, new_change
from bench.support.servers import CHANGE, BenchServer, Waiters, waiters
from bench.support.stats import quantile
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.support.context import BenchContext

LOG = 1_000
"""Changes in the log that is read."""
WATCHED = "watched"
"""The project that clients wait for; the requests whose latency is measured go to another."""
SETTLING = 0.1, 0.5
"""Seconds until one or many clients wait in the server."""
LOOK = 0.05
"""Seconds between two checks of the server for other processes' changes; appends come at random between them."""


class Delivery(NamedTuple):
    """Milliseconds from the start of an append to three events."""

    appended: float
    """The end of the append."""
    half: float
    """The responses to half of the waiting clients."""
    last: float
    """The responses to all of them."""


class DeliveryBench:
    """A server on its own log, and clients that wait for changes in it."""

    def __init__(self, server: BenchServer, storage: LocalStorageService, waiting: Waiters) -> None:
        self.server = server
        self._storage, self._waiting = storage, waiting
        self._connection = HTTPConnection(*server.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def append_by_http(self) -> None:
        """Append through the same server."""
        change = CHANGE.replace(f'"{PROJECT}"', f'"{WATCHED}"')
        self._connection.request("POST", "/api/changes", change, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        response.read()
        if response.status != 200:
            raise BenchError("the change that is waited for was refused")

    def append_by_another_process(self) -> None:
        """Append in another process than the server: in this one."""
        self._storage.create_changes([new_change(WATCHED)])

    def deliver(
        self, count: int, append: Callable[[], None], during: Callable[[], dict[str, float]]
    ) -> tuple[Delivery, dict[str, float]]:
        """Let `count` clients wait, call `during`, append, and record the times of their responses."""
        head = self._storage.get_head(project_id=WATCHED).seq
        self._waiting.wait([f"/api/projects/{WATCHED}/changes?cursor={head}&wait=60"] * count)
        time.sleep(SETTLING[count > 50] + LOOK * random())
        found = during()
        self._connection.close()  # the server may have closed it
        self._connection.connect()
        self._waiting.expect()
        begin = time.monotonic()
        append()
        appended = time.monotonic()
        times = self._waiting.response_times()
        if min(times) < begin:
            raise BenchError(f"some of {count} clients got a response before the change for which they waited")
        moments = (appended, quantile(times, 0.5), max(times))
        return Delivery(*((moment - begin) * 1000 for moment in moments)), found

    def deliver_to_one(self, append: Callable[[], None], trials: int) -> Delivery:
        """Return the medians of several trials, because the time to the next check is random."""
        found = [self.deliver(1, append, nothing)[0] for _ in range(trials)]
        return Delivery(*(quantile(values, 0.5) for values in zip(*found, strict=True)))


def nothing() -> dict[str, float]:
    """Do nothing while clients wait."""
    return {}


@contextmanager
def delivery_bench(context: BenchContext, name: str) -> Iterator[DeliveryBench]:
    """Start a server on a log that is not empty, and a process for clients."""
    log = context.folder / f"{name}.db"
    with LocalStorageService(log) as storage:
        storage.create_changes([new_change()] * LOG)
        storage.create_changes([new_change(WATCHED)])
        with (
            BenchServer(context.folder / name, log, "--quiet") as server,
            waiters(server) as waiting,
            DeliveryBench(server, storage, waiting) as bench,
        ):
            yield bench
