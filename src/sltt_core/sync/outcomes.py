"""The results of a sync, and the state of a device, as values. Being offline is a value, not an exception."""

from __future__ import annotations

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    Outcome = Literal["done", "offline", "paused", "diverged", "stopped", "cancelled"]

DONE: Outcome = "done"
"""Everything that can be sent was sent, and the log was read to its end."""
OFFLINE: Outcome = "offline"
"""The server was not reached, was busy, or the response was not its own. The same is tried again later."""
PAUSED: Outcome = "paused"
"""The server refuses the project to this login. The outbox is kept."""
DIVERGED: Outcome = "diverged"
"""The server has another history than the device. Nothing is sent until `resync`."""
STOPPED: Outcome = "stopped"
"""The settings are wrong, or the server is not of this API's version: no change was refused."""
CANCELLED: Outcome = "cancelled"
"""The program asked to stop."""
OUTCOMES = (DONE, OFFLINE, PAUSED, DIVERGED, STOPPED, CANCELLED)


class Trouble(Record):
    """Why something did not end well."""

    outcome: Outcome
    kind: str
    """The last part of a problem document's `type`, or `unreachable`, `foreign-response`."""
    detail: str
    """A sentence for people."""
    retry_after: float | None = None
    """Seconds after which the server wants the next try, if it says so."""

    def __str__(self) -> str:
        return self.detail


class DownsyncResult(Record):
    """What a downsync of a project did."""

    changes: int
    """How many changes came down."""
    own: int
    """How many of them are edits of this device, which left the outbox."""
    through: int
    """The last number of the log that the device has now."""
    trouble: Trouble | None = None


class OutsyncResult(Record):
    """What an outsync of a project did. Each tuple has `cid`s."""

    sent: tuple[str, ...] = ()
    """The server has stored them, in this request or in an earlier one."""
    replayed: tuple[str, ...] = ()
    """Those of `sent` whose request had been stored before; only its response was lost."""
    rejected: tuple[str, ...] = ()
    held: int = 0
    """Edits that wait for a decision on a rejected one."""
    withheld: int = 0
    waiting: int = 0
    """Edits that could still be sent."""
    trouble: Trouble | None = None


class ProjectResult(Record):
    """What a sync of a project did."""

    project_id: str
    outcome: Outcome
    downsync: DownsyncResult
    outsync: OutsyncResult

    @property
    def trouble(self) -> Trouble | None:
        """Why the outcome is not `done`."""
        return self.downsync.trouble or self.outsync.trouble


class SyncResult(Record):
    """What a sync did, by project."""

    projects: Mapping[str, ProjectResult]
    trouble: Trouble | None = None
    """Why no project was synced."""

    @property
    def outcome(self) -> Outcome:
        """The worst outcome of a project, in the order of `OUTCOMES`."""
        found = [result.outcome for result in self.projects.values()]
        return max(found + ([self.trouble.outcome] if self.trouble else [DONE]), key=OUTCOMES.index)

    @property
    def ok(self) -> bool:
        """Whether every project is done, and no edit waits for a person's decision."""
        return self.outcome == DONE and not self.rejected

    @property
    def sent(self) -> int:
        """How many edits the server has stored."""
        return sum(len(result.outsync.sent) for result in self.projects.values())

    @property
    def received(self) -> int:
        """How many changes of others came down."""
        return sum(result.downsync.changes - result.downsync.own for result in self.projects.values())

    @property
    def rejected(self) -> tuple[str, ...]:
        """The edits that the server refused in this sync."""
        return tuple(cid for result in self.projects.values() for cid in result.outsync.rejected)

    def __str__(self) -> str:
        """Return one line for people."""
        text = f"{self.outcome}: sent {self.sent}, received {self.received}"
        if self.rejected:
            text += f", rejected {len(self.rejected)}"
        troubles = [str(result.trouble) for result in self.projects.values() if result.trouble is not None]
        troubles += [] if self.trouble is None else [str(self.trouble)]
        return text + (f" ({troubles[0]})" if troubles else "")


class ProjectStatus(Record):
    """What a device knows about a project, without a request."""

    project_id: str
    state: str
    """`following`, `paused` or `diverged`."""
    cursor: int
    """The last number of the log that the device has."""
    head: int
    """The last number of the server's log when it was last heard of."""
    heard_at: str | None
    """When that was: ISO 8601, UTC."""
    synced_at: str | None
    """When the last sync of the project ended well: ISO 8601, UTC."""
    outbox: Mapping[str, int]
    """The number of edits by state."""
    problem: Mapping[str, Any] | None
    """Why the project is paused or diverged: `type` and `detail`."""

    @property
    def lag(self) -> int:
        """How many changes the server had more than the device, when it was last heard of."""
        return max(0, self.head - self.cursor)


class SyncStatus(Record):
    """What a device knows about itself, without a request."""

    device_id: str
    server: str | None
    clock_offset: int | None
    """The clock of the server minus that of the device, in milliseconds, when it was last heard of."""
    projects: Mapping[str, ProjectStatus]
