"""`LogChecker`: checks the changes of one log in order, and then the recorded end of the log.

It does not depend on a storage: `verify` of each storage reads rows or items and passes the changes. The memory it
needs grows with the number of entity types, not with the log.
"""

from __future__ import annotations

from sltt_core.base.record import Record
from sltt_core.log.findings import Finding
from sltt_core.log.requests import Requests
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.fields import MAX_SEQ, OPERATIONS, is_link
from sltt_core.model.grants import MEMBER, NO_MEMBERS
from sltt_core.model.stored import broken_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change
    from sltt_core.model.grants import Members


class RecordedEnd(Record):
    """What a storage records about a log besides its changes. In a damaged log, values may have any type."""

    seq: int
    """The last sequence number."""
    chain: Any
    """The link of that change."""
    operations: dict[str, Any]
    """The number of changes of each operation in `OPERATIONS`."""
    types: dict[Any, Any]
    """The number of changes of each entity type."""


class LogChecker:
    """Checks one log from its first change. `seq` must be an integer; other fields may have any value."""

    __slots__ = (
        "_all_counted",
        "_link",
        "_members",
        "_names",
        "_operations",
        "_project_id",
        "_relinking",
        "_requests",
        "_types",
        "seq",
    )

    def __init__(self, project_id: str, names: Mapping[str, str], relinking: int | None = None) -> None:
        """`names` has the storage's name of each field of a change.

        `relinking` is the first number whose link an interrupted repair may have altered: from there on, links are not
        checked.
        """
        self.seq = 0
        """The number of the last change checked."""
        self._project_id = project_id
        self._names = names
        self._relinking = MAX_SEQ + 1 if relinking is None else relinking
        self._link: str | None = GENESIS  # `None` if it is not known
        self._operations = dict.fromkeys(OPERATIONS, 0)
        self._types: dict[str, int] = {}
        self._requests = Requests()
        self._members = NO_MEMBERS
        self._all_counted = True

    @property
    def named(self) -> NamedRequest | None:
        """The request that changes name whose chunk ended with the last change checked, if it is complete."""
        return self._requests.complete

    def check(self, change: Change, unlinked: str = "unlinked") -> list[Finding]:
        """Check the next change, and return the findings about it and about the numbers before it.

        A change whose link is `None` gets a finding of the kind `unlinked`.
        """
        seq = change.seq
        if not 1 <= seq <= MAX_SEQ:
            return [self.finding("foreign", seq, seq)]
        found = self.missing(seq)
        self.seq = seq
        broken = broken_rule(change if change.chain is not None else change.replace(chain=GENESIS))
        if broken is not None:
            name = self._names[broken[0]]
            found.append(self.finding("unreadable", seq, seq, f"{name} {broken[1]}", attribute=name))
            self._all_counted = False
            self._requests.forget()
        elif change.chain is None:
            found.append(self.finding(unlinked, seq, seq))
            self._all_counted &= unlinked == "unlinked"
            self._take(change)
        else:
            if self._link is not None and seq < self._relinking and link_of(self._link, change) != change.chain:
                found.append(self.finding("broken-link", seq, seq))
            self._take(change)
        self._link = change.chain if _is_link(change.chain) else None
        return found

    def missing(self, seq: int) -> list[Finding]:
        """Return the finding that the numbers between the last change checked and `seq` are missing, if they are."""
        if seq <= self.seq + 1:
            return []
        found = self.finding("hole", self.seq + 1, seq - 1)
        self._link = None
        self._all_counted = False
        self._requests.forget()
        self.seq = seq - 1
        return [found]

    def check_end(self, end: RecordedEnd) -> list[Finding]:
        """Compare the recorded end with the changes after all of them were checked, and return the findings.

        Counts are compared only if no change is missing or unreadable.
        """
        if end.seq > self.seq:
            return self.missing(end.seq + 1)
        if end.seq < self.seq:
            return [self.finding("value-behind", end.seq + 1, self.seq)]
        found: list[Finding] = []
        if self._link is not None and end.chain != self._link and self._relinking > MAX_SEQ:
            found.append(self.finding("end-link", end.seq, end.seq))
        if self._all_counted and (end.operations != self._operations or end.types != self._types):
            found.append(self.finding("counts"))
        return found

    @property
    def all_counted(self) -> bool:
        """Whether no change was missing or unreadable so far."""
        return self._all_counted

    @property
    def members(self) -> Members:
        """The members that follow from the changes checked."""
        return self._members

    def check_members(self, recorded: Members | None) -> list[Finding]:
        """Compare the recorded members (`None` if they cannot be read) with the grants, after all changes were checked.

        Like counts, they are compared only if no change is missing or unreadable.
        """
        if recorded == self._members or (recorded is not None and not self._all_counted):
            return []
        return [self.finding("members")]

    def finding(
        self,
        kind: str,
        first: int | None = None,
        last: int | None = None,
        detail: str = "",
        attribute: str | None = None,
    ) -> Finding:
        """Return a finding about this log."""
        return Finding(kind, first, last, detail, self._project_id, attribute)

    def unrecorded(self, named: NamedRequest) -> Finding:
        """Return the finding that a request that changes name is not recorded."""
        first, last = named.stored.first_seq, named.stored.first_seq + named.stored.count - 1
        detail = f"chunk {named.number} of the idempotency key {named.key} is not recorded"
        return self.finding("no-request", first, last, detail).replace(key=named.key, chunk=named.number)

    def _take(self, change: Change) -> None:
        """Count a change that breaks no rule, and note the request that it names."""
        self._types[change.entity_type] = self._types.get(change.entity_type, 0) + 1
        if change.operation in self._operations:
            self._operations[change.operation] += 1
        self._requests.add(change)
        if change.entity_type == MEMBER:
            self._members = self._members.after([change])


def joined(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Join findings that differ only in their numbers, if these are consecutive."""
    pending: Finding | None = None
    for finding in findings:
        both = None if pending is None else pending.joined(finding)
        if pending is not None and both is None:
            yield pending
        pending = both or finding
    if pending is not None:
        yield pending


def _is_link(value: object) -> bool:
    return isinstance(value, str) and is_link(value)
