"""`Lanes`: the threads that handle requests, in groups that cannot take each other's threads.

Appends that wait for a locked database leave the threads of reads free, and both leave those of `/health` free.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from threading import Barrier, Thread, stack_size

from sltt_core.api.routes import match
from sltt_core.base.errors import SlttError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from sltt_core.api.http import Request

    P = ParamSpec("P")
    T = TypeVar("T")

NONE, PROBE, READ, WRITE = "none", "probe", "read", "write"
THREADS = {NONE: 4, PROBE: 1, READ: 16, WRITE: 32}
"""Threads by what their requests use of the storage; as many writes may share a commit as there are for `WRITE`."""
STACK_BYTES = 8 * 2**20
"""Stack size of each thread. The JSON reader of CPython 3.12 and 3.13 recurses up to 10,000 levels. On a platform that
gives threads 1 MB (musl), a body of that many brackets would overflow the stack and crash the process."""
_LANE_OF = {
    "health": NONE,
    "help_page": NONE,
    "openapi": NONE,
    "resource_metadata": NONE,
    "ready": PROBE,
    "post_changes": WRITE,
    "mark_as_outdated": WRITE,
    "put_member": WRITE,
    "delete_member": WRITE,
    "create_token": WRITE,
    "revoke_token": WRITE,
    "create_invitation": WRITE,
    "withdraw_invitation": WRITE,
    "accept_invitation": WRITE,
}


def lane_of(request: Request) -> str:
    """Return which lane handles the request."""
    try:
        route, _ = match(request.method, request.path)
    except SlttError:  # the response is an error, which needs no storage
        return NONE
    return _LANE_OF.get(route.handler, READ)


class Lane(Executor):
    """Threads that run submitted calls in order.

    They are daemon threads without an exit handler. Unlike those of `ThreadPoolExecutor`, they continue after the end
    of the main thread, until `shutdown`.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._threads = [Thread(target=self._run, name=f"sltt-request-{name}-{n}", daemon=True) for n in range(threads)]
        self._closed = False

    def start(self) -> None:
        """Start all threads. They get `STACK_BYTES`; then the setting, which is global to the process, is restored."""
        all_there = Barrier(len(self._threads) + 1)
        before = stack_size(STACK_BYTES)
        try:
            for thread in self._threads:
                self.submit(all_there.wait)
                thread.start()
        finally:
            stack_size(before)
        all_there.wait()

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `call` on one of the threads; raises `RuntimeError` after `shutdown`."""
        if self._closed:
            raise RuntimeError("the server has stopped")
        future: Future[T] = Future()
        self._jobs.put((future, partial(call, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new calls. If `wait`, return when all accepted calls have ended."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # also `SystemExit`: the thread must live on for other requests
                    future.set_exception(error)
            del job, future, call  # they keep a request and its response in memory, until the next job arrives


class Lanes:
    """A lane of each kind."""

    def __init__(self) -> None:
        self._lanes = {name: Lane(name, threads) for name, threads in THREADS.items()}

    def __getitem__(self, name: str) -> Lane:
        return self._lanes[name]

    def start(self) -> None:
        """Start all threads."""
        for lane in self._lanes.values():
            lane.start()

    def shutdown(self) -> None:
        """Wait for the accepted calls, then end the threads."""
        for lane in self._lanes.values():
            lane.shutdown()
