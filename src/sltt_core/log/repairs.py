"""What `repair` has in common in every storage: when it refuses, tombstones, and the true end of a log."""

from __future__ import annotations

from sltt_core.base.errors import LogDamaged
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.changes import Change
from sltt_core.model.fields import OPERATIONS, TOMBSTONE
from sltt_core.model.grants import MEMBER, NO_MEMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.log.findings import Finding

MAX_TOMBSTONES = 10_000
"""Largest number of tombstones. More numbers are missing only if a change was put far beyond the log's end by hand."""
TOMBSTONE_TYPE = "void"
"""The entity type and id of a tombstone: the change that repair puts in place of a missing one."""
_RELINKED = ("hole", "not-a-change", "unlinked", "relinking")
"""Kinds of findings from whose first number on the links are computed again."""


class Plan:
    """What a repair has to do, from every finding of a log, however many a report keeps."""

    __slots__ = ("_faults", "_missing", "_project_id", "_relink_from", "starts")

    def __init__(self, project_id: str, relink_from: int | None) -> None:
        """From number `relink_from` on, changes are accepted although they do not match their links."""
        self._project_id = project_id
        self._relink_from = relink_from
        self._missing = 0
        self._faults: dict[str, Finding] = {}
        self.starts = relink_from
        """The first number whose link is computed again; `None` if no link is."""

    def add(self, finding: Finding) -> None:
        """Take a finding into account."""
        first = finding.first
        if finding.kind == "hole" and first is not None and finding.last is not None:
            self._missing += finding.last - first + 1
        if finding.kind in _RELINKED and first is not None:
            self.starts = first if self.starts is None else min(self.starts, first)
        if finding.repairable or finding.kind == "orphan":  # nobody knows whose rows an orphan's are
            return
        accepted = self._relink_from is not None and first is not None and first >= self._relink_from
        if finding.kind != "broken-link" or not accepted:
            self._faults.setdefault(finding.kind, finding)

    def check(self) -> None:
        """Raise `LogDamaged` if something cannot be repaired."""
        where = f"project {self._project_id} cannot be repaired"
        for fault in self._faults.values():
            hint = (
                "Restore this change from a backup, or from a device that has it, and verify again. If you know that "
                "its content is right, use repair(relink_from=…) with its number to compute the links from there on "
                "again."
                if fault.kind == "broken-link"
                else "Restore this change from a backup, or from a device that has it, and verify again. If nobody has "
                "it, delete it: repair then puts a tombstone in its place."
            )
            raise LogDamaged(f"{where}: {fault}", hint=hint)
        if self._missing > MAX_TOMBSTONES:
            raise LogDamaged(
                f"{where}: {self._missing:,} numbers are missing (limit {MAX_TOMBSTONES:,})",
                hint="Look for a change far beyond the log's end that does not belong there, and delete it.",
            )


class Rebuilt:
    """The end of a log as its changes say: the last number, its link, and the counts."""

    __slots__ = ("link", "members", "operations", "seq", "types")

    def __init__(self) -> None:
        self.seq = 0
        self.link = GENESIS
        self.operations = dict.fromkeys(OPERATIONS, 0)
        self.types: dict[str, int] = {}
        self.members = NO_MEMBERS

    def copy(self) -> Rebuilt:
        """Return an independent copy."""
        copied = Rebuilt()
        copied.seq, copied.link = self.seq, self.link
        copied.operations, copied.types = dict(self.operations), dict(self.types)
        copied.members = self.members
        return copied

    def add(self, change: Change) -> None:
        """Advance past the next change, which has its right link."""
        self.seq, self.link = change.seq, change.chain
        if change.operation in self.operations:
            self.operations[change.operation] += 1
        self.types[change.entity_type] = self.types.get(change.entity_type, 0) + 1
        if change.entity_type == MEMBER:
            self.members = self.members.after([change])

    def linked(self, change: Change) -> Change:
        """Return the next change with its right link."""
        return change.replace(chain=link_of(self.link, change))

    def tombstone(self, project_id: str, now: str) -> Change:
        """Return the tombstone for the next number, which is missing; `now` is ISO 8601, UTC."""
        values = (TOMBSTONE_TYPE, TOMBSTONE_TYPE, TOMBSTONE, now, now, "{}", None, None, None, GENESIS, None)
        return self.linked(Change.of((project_id, self.seq + 1, *values)))


def steps(
    *, keys: int, recorded: int, tombstones: int, links: int, first: int | None, members: bool, end: str
) -> tuple[str, ...]:
    """Return what was done, in words.

    `keys` were deleted and `recorded` recorded; `first` is the first number whose link was computed again; `members`
    tells whether the members were recorded again.
    """
    done = []
    if keys:
        done.append(
            f"deleted {_counted(keys, 'idempotency key')} whose changes are missing: if they are sent again, they are "
            "stored"
        )
    if recorded:
        done.append(f"recorded {_counted(recorded, 'idempotency key')} that changes name")
    if tombstones:
        done.append(f"put {_counted(tombstones, 'tombstone')} in place of missing changes")
    if links:
        done.append(f"computed the links of {_counted(links, 'change')} again, from {first} on")
    if members:
        done.append("recorded the members again, as the grants in the log say")
    return (*done, end)


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"
