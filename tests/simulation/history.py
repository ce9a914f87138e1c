"""What was asked of the storages in a schedule, and what they answered: all that the checker knows."""

from __future__ import annotations

from typing import Any, NamedTuple

from sltt_core.log.pages import ChangeStats
from sltt_core.model.changes import Change


class Batch(NamedTuple):
    """What a writer wants stored: changes that can be told from all others by their `cid`."""

    number: int
    key: str | None
    """The idempotency key; without one the batch is sent once, whatever comes of it."""
    cids: tuple[tuple[str, str], ...]
    """Project and `cid` of each change, in order."""


class Call:
    """One call of a storage's method."""

    __slots__ = (
        "arguments",
        "asked",
        "began",
        "by",
        "ended",
        "error",
        "host",
        "method",
        "response",
        "slept",
        "time_limit",
    )

    def __init__(
        self, host: str, by: int, method: str, arguments: dict[str, Any], asked: int, began: float, time_limit: float
    ) -> None:
        self.host = host
        self.by = by
        """The number of the batch, or of the reader."""
        self.method = method
        self.arguments = arguments
        self.asked = asked
        """The place of its beginning in the order of all beginnings and ends."""
        self.began = began
        self.time_limit = time_limit
        """The seconds that the storage gives a request."""
        self.slept = 0.0
        """How long its process slept meanwhile."""
        self.ended: tuple[int, float] | None = None
        """The place of its end, and the time; `None` when its process died in it."""
        self.response: Any = None
        self.error: BaseException | None = None

    @property
    def acknowledged(self) -> bool:
        return self.ended is not None and self.error is None

    def __repr__(self) -> str:
        said = "died" if self.ended is None else repr(self.error) if self.error else repr(self.response)
        return f"{self.host} {self.by} {self.method} {self.arguments} -> {said}"


class Restored(NamedTuple):
    """A table was taken back to what it was."""

    order: int
    """The place among the calls' beginnings and ends."""
    torn: bool
    """Whether each item may have gone back to another moment, as when a transaction is cut in half."""


class Logs(NamedTuple):
    """The log of a project as it is in the end, and what else is said of it."""

    changes: tuple[Change, ...]
    stats: ChangeStats
    entity_types: dict[str, int]
    error: BaseException | None
    """Why it could not be read to its end."""
    findings: tuple[str, ...]
    """What `verify` finds."""


class History(NamedTuple):
    """A whole schedule."""

    seed: int
    calls: list[Call]
    batches: list[Batch]
    chunk_sizes: frozenset[int]
    """The most changes in one atomic write, of every process there was."""
    final: dict[str, Logs]
    projects: tuple[str, ...]
    """The list of projects in the end."""
    restored: list[Restored]
    """When the table was restored to an earlier time."""
    failures: list[BaseException]
    """What the simulation itself broke on."""
    stuck: int
    """Calls that will never end."""
