"""What can be wrong with a log, on every storage, and the report of what was found.

A log is damaged when somebody edits it by hand; when a DynamoDB table is restored to a point in time, which may cut a
transaction in half. A log of the original backend has holes in its numbers, and its changes have no links.
"""

from __future__ import annotations

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[int], None]
    """Called now and then with the number of changes that were examined."""

KINDS: dict[str, tuple[str, bool]] = {
    "original": (
        "the log was written by the original backend: it has no format, and its counter is the last number",
        True,
    ),
    "no-sequence": ("there are changes, and no record of the end of their log", True),
    "value-behind": ("the recorded end of the log is behind the changes", True),
    "hole": ("numbers are missing", True),
    "not-a-change": ("there is an item that says nothing, as marking a missing change once made them", True),
    "unlinked": ("changes have no link", True),
    "relinking": ("a repair was interrupted while it made links anew", True),
    "end-link": ("the recorded end of the log has another link than the last change", True),
    "counts": ("the counts are not those of the log", True),
    "request": ("an idempotency key stands for changes that are not there", True),
    "broken-link": ("a change is not what its link says: it was altered, or is of another history", False),
    "unreadable": ("a change breaks a rule of this format, and its text cannot be kept", False),
}
"""What can be wrong, and whether `repair` (of `DynamoDBStorageService`) repairs it."""
MAX_FINDINGS = 100
"""Findings of one kind that are collected before the first is returned; more are left out."""


class Finding(Record):
    """One thing that is wrong."""

    kind: str
    """A key of `KINDS`."""
    first: int | None
    """The first sequence number that is affected; `None` when the log as a whole is."""
    last: int | None
    """The last sequence number that is affected."""
    detail: str = ""
    """More about this case, in words; the text of `KINDS` when empty."""

    @property
    def repairable(self) -> bool:
        """Whether `repair` of `DynamoDBStorageService` repairs it."""
        return KINDS[self.kind][1]

    def __str__(self) -> str:
        numbers = (
            ""
            if self.first is None
            else f" {self.first}"
            if self.first == self.last
            else f" {self.first} to {self.last}"
        )
        return f"{self.kind}{numbers}: {self.detail or KINDS[self.kind][0]}"


class Report(Record):
    """What was found, and what `repair` did about it."""

    project_id: str
    changes: int
    """How many changes were examined."""
    findings: tuple[Finding, ...]
    done: tuple[str, ...] = ()
    """What was done, in words; empty when nothing was, or `dry_run`."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def repairable(self) -> bool:
        """Whether `repair` repairs all that is wrong."""
        return all(finding.repairable for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"project {self.project_id}: {self.changes:,} changes, {'sound' if self.sound else 'not sound'}"]
        return "\n".join(
            [*lines, *(f"  {finding}" for finding in self.findings), *(f"  done: {text}" for text in self.done)]
        )
