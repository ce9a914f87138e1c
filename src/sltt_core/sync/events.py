"""The events of a sync, and the queue through which a program receives them on its own thread."""

from __future__ import annotations

from queue import Empty, SimpleQueue

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    Event = Record
    Notify = Callable[[Record], None]


class Progress(Record):
    """A part of a sync is done."""

    project_id: str
    direction: Literal["up", "down"]
    done: int
    """Changes sent or received so far."""
    total: int | None
    """How many there are, if that is known."""


class Arrived(Record):
    """Changes of others came down; the device has them."""

    project_id: str
    first: int
    """The first number that came down."""
    last: int
    """The last number that came down."""
    own: int
    """How many of them are edits of this device."""


class Rejected(Record):
    """The server refused an edit; it is listed as rejected."""

    project_id: str
    cid: str
    reason: str


class Offline(Record):
    """The server is out of reach, or busy; the same is tried again."""

    reason: str
    retry_seconds: float | None
    """Seconds until the next try; `None` if there is none."""


class Online(Record):
    """The server responds again."""


class Stopped(Record):
    """A project is not synced any more: its membership ended, the credential is not valid, or settings are wrong."""

    project_id: str
    outcome: str
    reason: str


class Diverged(Record):
    """The server has another history of a project than the device; `resync` is the way out."""

    project_id: str
    reason: str


class Failed(Record):
    """The store failed, for example because the disk is full; the same is tried again."""

    reason: str


class Events:
    """The events of one watcher, in order. Iterate over it, or call `get`."""

    def __init__(self, project_id: str | None = None) -> None:
        """`project_id` limits the events to those of one project and of the connection; `None` means all."""
        self._project_id = project_id
        self._queue: SimpleQueue[Record | None] = SimpleQueue()
        self.ended = False
        """Whether the last event was received, and none follows."""

    def put(self, event: Record | None) -> None:
        """Add an event; `None` ends the iteration. Any thread may call it."""
        project_id = getattr(event, "project_id", None)
        if event is None or self._project_id is None or project_id in (None, self._project_id):
            self._queue.put(event)

    def get(self, timeout: float | None = None) -> Record | None:
        """Return the next event, or `None` after `timeout` seconds or at the end; `None` waits without limit."""
        if self.ended:
            return None
        try:
            event = self._queue.get(timeout=timeout)
        except Empty:
            return None
        self.ended = event is None
        return event

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Record:
        event = self.get()
        if event is None:
            raise StopIteration
        return event


def ignore(event: Record) -> None:
    """Do nothing with an event."""
