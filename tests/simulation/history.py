"""The record of a schedule: the calls of the storages and their responses. The checker reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from sltt_core.log.pages import ChangeStats
from sltt_core.model.changes import Change, NewChange

if TYPE_CHECKING:
    from tests.simulation.devices.record import Record


class Batch(NamedTuple):
    """The changes that a writer sends together. Each change has a unique `cid`."""

    number: int
    key: str | None
    """The idempotency key; a batch without one is sent only once, even if it fails."""
    cids: tuple[tuple[str, str], ...]
    """Project and `cid` of each change, in order."""
    changes: tuple[NewChange, ...] = ()
    """The changes as sent."""
    reuses: int | None = None
    """The number of another batch, stored before, whose key it has."""
    invalid: int | None = None
    """The place of a change that is not valid: it has no project."""


class Call:
    """One call of a storage's method."""

    __slots__ = (
        "arguments",
        "started",
        "began",
        "by",
        "ended",
        "error",
        "host",
        "method",
        "response",
        "skew",
        "slept",
        "time_limit",
    )

    def __init__(
        self, host: str, by: int, method: str, arguments: dict[str, Any], started: int, began: float, time_limit: float
    ) -> None:
        self.host = host
        self.by = by
        """The number of the batch, or of the reader."""
        self.method = method
        self.arguments = arguments
        self.started = started
        """Its position in the order of the beginnings and ends of all calls."""
        self.began = began
        self.time_limit = time_limit
        """The time limit of a request to the storage, in seconds."""
        self.skew = 0.0
        """How many seconds the clock of its process is ahead."""
        self.slept = 0.0
        """How many seconds its process slept during the call."""
        self.ended: tuple[int, float] | None = None
        """The position of its end in the same order, and the time; `None` if its process died during the call."""
        self.response: Any = None
        self.error: BaseException | None = None

    @property
    def acknowledged(self) -> bool:
        return self.ended is not None and self.error is None

    def __repr__(self) -> str:
        outcome = "died" if self.ended is None else repr(self.error) if self.error else repr(self.response)
        return f"{self.host} {self.by} {self.method} {self.arguments} -> {outcome}"


class Sent:
    """One request that was passed to the API of a process. One that waits is passed several times."""

    __slots__ = (
        "action",
        "began",
        "cids",
        "ended",
        "error",
        "grants",
        "host",
        "listed",
        "principal",
        "project",
        "refusal",
        "slept",
        "started",
        "status",
        "time_limit",
        "version",
    )

    def __init__(self, host: str, principal: str, action: str, project: str, started: int, began: float) -> None:
        self.host = host
        self.principal = principal
        self.action = action
        """`read`, `append`, `grant` or `list`; `leave` is a grant of `none` to the sender."""
        self.project = project
        self.cids: tuple[str, ...] = ()
        """The changes that it appends."""
        self.grants: tuple[str, str] | None = None
        """The principal and the role, if it is a grant."""
        self.started = started
        """Its position in the order of the beginnings and ends of all calls."""
        self.began = began
        self.slept = 0.0
        """How many seconds its process slept meanwhile."""
        self.time_limit = 0.0
        """The time limit of a request to the storage, in seconds."""
        self.ended: tuple[int, float] | None = None
        """The position of its response in the same order, and the time; `None` if the process died before."""
        self.status: int | None = None
        self.error: BaseException | None = None
        """The error behind the response, if the sender did not cause it."""
        self.refusal: str | None = None
        """Why it was refused; empty if it was not, `None` if nothing was decided."""
        self.version = 0
        """The version of the members in the response to a grant."""
        self.listed: list[str] | None = None
        """The projects in the response to a list."""

    def __repr__(self) -> str:
        what = self.grants or self.cids or self.listed or ""
        outcome = "died" if self.ended is None else f"{self.status} {self.refusal or ''} at {self.ended[1]:.3f}"
        return f"{self.host} {self.principal} {self.action} {self.project} {what} at {self.began:.3f} -> {outcome}"


class Transaction(NamedTuple):
    """An append that was sent to DynamoDB."""

    actions: int
    members: int
    """The number of its chunks."""
    changes: int
    size: int
    """The bytes of all items that it puts."""
    change_size: int
    """The bytes of its changes."""
    limit: int
    """The largest number of bytes of changes in one atomic write of its process."""


class Restored(NamedTuple):
    """The restore of the table to an earlier state."""

    order: int
    """Its position in the order of the beginnings and ends of all calls."""
    torn: bool
    """Whether items may be restored to different moments, so that half of a transaction may be missing."""


class Logs(NamedTuple):
    """The log of a project at the end of a schedule, with its statistics."""

    changes: tuple[Change, ...]
    stats: ChangeStats
    entity_types: dict[str, int]
    error: BaseException | None
    """Why it could not be read to its end."""
    findings: tuple[str, ...]
    """The findings of `verify`."""


class History(NamedTuple):
    """The record of a schedule."""

    seed: int
    calls: list[Call]
    batches: list[Batch]
    chunk_limits: frozenset[tuple[int, int]]
    """The limits of all processes: the largest number of changes, and of their bytes, in one atomic write."""
    final: dict[str, Logs]
    projects: tuple[str, ...]
    """The list of projects at the end."""
    restored: list[Restored]
    """The restores of the table."""
    failures: list[BaseException]
    """Unexpected exceptions of the simulation itself."""
    stuck: int
    """The number of calls that never end."""
    transactions: tuple[Transaction, ...] = ()
    settled: int = 0
    """The position of the moment since when no faults happen, in the order of the beginnings and ends of all calls."""
    late: int | None = None
    """The position of the moment when 399 days have passed; `None` if the schedule ends before."""
    repeated: bool = False
    """Whether the network delivered a request twice."""
    sent: tuple[Sent, ...] = ()
    """The requests to the API, in a schedule with members."""
    written_at: Mapping[str, list[float]] = MappingProxyType({})
    """When each change of a project was written, in virtual time; in a schedule with members."""
    lost: Mapping[str, float] = MappingProxyType({})
    """How many seconds the steady clock of each process stood still."""
    lag: float = 0.0
    """How many seconds an eventually consistent read may be behind, in a schedule with members."""
    devices: Record | None = None
    """What the devices have at the end, in a schedule with devices."""
