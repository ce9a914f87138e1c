"""`Connections`: all connections of a storage, which close before a fork and open again when they are next used.

A connection of SQLite must not exist during a fork (https://www.sqlite.org/howtocorrupt.html, section 2.6). The child
has none of the POSIX locks of the parent, but SQLite in the child still counts them. So even a new connection of the
child to the same file would have no lock.
"""

from __future__ import annotations

import os
from threading import Lock
from time import monotonic, sleep
from weakref import WeakSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.sqlite.database import Database
    from sltt_core.sqlite.notifier import Notifier
    from sltt_core.sqlite.readers import Readers
    from sltt_core.sqlite.writer import Writer


class Connections:
    """All connections of one storage, which are opened and closed together."""

    __slots__ = ("__weakref__", "_database", "_is_open", "_notifier", "_opening", "_readers", "_writer")

    def __init__(self, database: Database, readers: Readers, writer: Writer, notifier: Notifier) -> None:
        self._database = database
        self._readers = readers
        self._writer = writer
        self._notifier = notifier
        self._opening = Lock()
        self._is_open = False

    def open(self) -> None:
        """Open the file, and close the connections at every fork from now on. Does nothing when it is open."""
        with _lock:
            _storages.add(self)
        with self._opening:
            if self._is_open:
                return
            try:
                self._database.open()
                self._readers.open()
                self._writer.open()
            except BaseException:
                self._close()
                raise
            self._is_open = True

    def close(self) -> None:
        """Close the connections after the write in progress; each reader closes its own. Does nothing when closed."""
        with self._opening:
            self._close()

    def _close(self) -> None:
        self._is_open = False
        self._readers.close()
        self._writer.close()
        self._database.close()
        self._notifier.notify()

    def before_fork(self, deadline: float) -> bool:
        """Close every connection until its next use. Return whether no thread used one until the deadline."""
        for lock in (self._opening, self._writer.lock, self._readers.lock, self._database.lock):
            if not _hold(lock, deadline):
                return False
        while self._readers.lent:
            if monotonic() > deadline:
                return False
            sleep(0.001)
        self._readers.drain()
        self._writer.suspend()
        self._database.suspend()
        return True

    def never_deallocate(self) -> None:
        """Keep the connections until the process ends: deallocating one in a child damages the parent's file."""
        import ctypes

        for connection in (*self._readers.connections, self._database.anchor, self._writer.connection):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    def after_fork_in_child(self, safe: bool) -> None:
        """Forget the other threads, which do not exist here. When a connection was in use, refuse every use."""
        self._notifier.forget()
        self._writer.forget(safe)
        if not safe:
            self._opening = Lock()
            self._readers.refuse()
            self._database.refuse()


WAIT_SECONDS = 15.0
"""How long a fork waits for reads and writes in progress. After that, the child cannot use the storage."""

_storages: WeakSet[Connections] = WeakSet()
_lock = Lock()
_held: list[Lock] = []
_unsafe: list[Connections] = []
"""Those that are in use during the fork."""


def _before() -> None:
    deadline = monotonic() + WAIT_SECONDS
    _hold(_lock, deadline)
    for connections in list(_storages):
        if not connections.before_fork(deadline):
            _unsafe.append(connections)
            connections.never_deallocate()


def _hold(lock: Lock, deadline: float) -> bool:
    held = lock.acquire(timeout=max(0.0, deadline - monotonic()))
    if held:
        _held.append(lock)
    return held


def _after_in_parent() -> None:
    _unsafe.clear()
    _release()


def _after_in_child() -> None:
    for connections in list(_storages):
        connections.after_fork_in_child(safe=connections not in _unsafe)
    _unsafe.clear()
    _release()


def _release() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
