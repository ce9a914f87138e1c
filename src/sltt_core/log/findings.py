"""What can be wrong with a log, and the report of what was found.

A log gets that way when a table is restored to a point in time, which may cut a transaction in half; when somebody
edits it by hand; when it was written by the original backend, whose numbers have holes and whose changes have no links.
"""

from __future__ import annotations

from sltt_core.base.record import Record

KINDS: dict[str, tuple[str, bool]] = {
    "original": (
        "the log was written by the original backend: it has no format, and its counter is the last number",
        True,
    ),
    "no-sequence": ("there are changes, and no sequence item", True),
    "value-behind": ("the sequence item is behind the changes", True),
    "hole": ("numbers are missing", True),
    "not-a-change": ("there is an item that says nothing, as marking a missing change once made them", True),
    "unlinked": ("changes have no link", True),
    "relinking": ("a repair was interrupted while it made links anew", True),
    "end-link": ("the sequence item has another link than the last change", True),
    "counts": ("the counts are not those of the log", True),
    "request": ("an idempotency key stands for changes that are not there", True),
    "broken-link": ("a change is not what its link says: it was altered, or is of another history", False),
    "unreadable": ("a change breaks a rule of this format, and its text cannot be kept", False),
}
"""What can be wrong, and whether `repair` mends it."""
MAX_FINDINGS = 100
"""Of one kind that are told."""


class Finding(Record):
    """One thing that is wrong."""

    kind: str
    """A key of `KINDS`."""
    first: int | None
    """The first sequence number at fault, if numbers are."""
    last: int | None
    detail: str = ""

    @property
    def repairable(self) -> bool:
        """Whether `repair` mends it."""
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
    """What `verify` found, and what `repair` did about it."""

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
        """Whether `repair` mends all that is wrong."""
        return all(finding.repairable for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"project {self.project_id}: {self.changes:,} changes, {'sound' if self.sound else 'not sound'}"]
        return "\n".join(
            [*lines, *(f"  {finding}" for finding in self.findings), *(f"  done: {text}" for text in self.done)]
        )
