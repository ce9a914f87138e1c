"""`Finding` and `Report`: what can be wrong with a log in any storage, and what was found and repaired.

Two things damage a log: an edit by hand, and the restore of a DynamoDB table to a point in time, which may leave half a
transaction. A log of the original backend has holes in its numbers, and its changes have no links. A link is a hash of
the change and of the link before it.
"""

from __future__ import annotations

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[int], None]
    """Called at intervals with the number of changes examined so far."""

KINDS: dict[str, tuple[str, bool]] = {
    "original": (
        "the original backend wrote the log: it has no format, and its counter is the last number, not the next",
        True,
    ),
    "no-sequence": ("the end of the log is not recorded, although the log has changes", True),
    "value-behind": ("the recorded end of the log is behind the changes", True),
    "hole": ("numbers are missing", True),
    "not-a-change": ("an item has no content; the original backend created it when it marked a missing change", True),
    "unlinked": ("changes have no link", True),
    "relinking": ("a repair was interrupted while it computed links", True),
    "unreadable-end": ("the record of the log's end has a value that breaks a rule of this format", True),
    "end-link": ("the recorded end of the log has a different link from the last change", True),
    "counts": ("the recorded counts differ from those of the changes", True),
    "members": ("the recorded members of the project differ from the grants in its log", True),
    "request": ("an idempotency key refers to changes that are missing, or that another batch wrote", True),
    "no-request": ("changes name an idempotency key that is not recorded, so a retry would be stored again", True),
    "broken-link": ("a change does not match its link: it was altered, or comes from another history", False),
    "unreadable": ("a change breaks a rule of this format", False),
    "foreign": ("an item or row has a number that no change can have", False),
    "orphan": ("rows belong to no project", False),
}
"""For each kind of finding: its text, and whether `repair` repairs it."""
MAX_FINDINGS = 100
"""Largest number of findings of one kind that are collected before the first is returned; more are left out."""


class Finding(Record):
    """One thing that is wrong."""

    kind: str
    """A key of `KINDS`."""
    first: int | None
    """The first sequence number affected; `None` if the finding concerns the whole log."""
    last: int | None
    """The last sequence number affected; `None` if the finding concerns the whole log."""
    detail: str = ""
    """The text of this finding; if empty, the text in `KINDS` applies."""
    project_id: str = ""
    """The project whose log it is."""
    attribute: str | None = None
    """The attribute (DynamoDB) or column (SQLite) that is wrong, if it is one."""
    key: str | None = None
    """The idempotency key, for the kinds `request` and `no-request`. An SQLite row whose key is not valid has none."""
    chunk: int | None = None
    """The number of the key's chunk, from 0."""

    @property
    def repairable(self) -> bool:
        """Whether `repair` repairs it."""
        return KINDS[self.kind][1]

    def joined(self, following: Finding) -> Finding | None:
        """Return this finding and one about the next numbers as one finding; `None` if they differ in anything else."""
        if self.last is None or following.first != self.last + 1:
            return None
        joined = self.replace(last=following.last)
        return joined if joined == following.replace(first=self.first) else None

    def __str__(self) -> str:
        numbers = (
            ""
            if self.first is None
            else f" {self.first}"
            if self.first == self.last
            else f" {self.first} to {self.last}"
        )
        return f"{self.kind}{numbers}: {self.detail or KINDS[self.kind][0]}"


class Collector:
    """Collects the findings of a log: at most `MAX_FINDINGS` of each kind, in the order of `KINDS`."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, list[Finding]] = {}

    def add(self, finding: Finding) -> None:
        """Add a finding; adjacent numbers with the same fault become one finding."""
        found = self._found.setdefault(finding.kind, [])
        if found and (joined := found[-1].joined(finding)) is not None:
            found[-1] = joined
        elif len(found) < MAX_FINDINGS:
            found.append(finding)

    def kinds(self) -> set[str]:
        """Return the kinds found so far."""
        return set(self._found)

    def findings(self) -> tuple[Finding, ...]:
        """Return the findings, sorted by kind and number."""
        return tuple(
            finding
            for kind in KINDS
            for finding in sorted(self._found.get(kind, ()), key=lambda finding: finding.first or 0)
        )


class Report(Record):
    """What was found in a log, and what `repair` did."""

    project_id: str
    changes: int
    """The number of changes examined."""
    findings: tuple[Finding, ...]
    done: tuple[str, ...] = ()
    """What was done, one text for each step; empty if nothing was done, as with `dry_run`."""

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def repairable(self) -> bool:
        """Whether `repair` repairs every finding."""
        return all(finding.repairable for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"project {self.project_id}: {self.changes:,} changes, {'sound' if self.sound else 'not sound'}"]
        return "\n".join(
            [*lines, *(f"  {finding}" for finding in self.findings), *(f"  done: {text}" for text in self.done)]
        )
