"""`LogChecker`: checks the changes of one log in order, and then the recorded end of the log.

It does not depend on a storage: `verify` of each storage reads rows or items and passes the changes. The memory it
needs grows with the number of entity types, not with the log.
"""

from __future__ import annotations

from sltt_core.base.json_reader import JsonProblem, read
from sltt_core.base.record import Record
from sltt_core.base.timestamps import normalise
from sltt_core.log.findings import Finding
from sltt_core.log.requests import check_request_key
from sltt_core.model.chain import GENESIS, is_link, link_of
from sltt_core.model.fields import OPERATIONS, TOMBSTONE, check_entity_type, check_free_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from sltt_core.model.changes import Change


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

    __slots__ = ("_all_counted", "_link", "_operations", "_types", "seq")

    def __init__(self) -> None:
        self.seq = 0
        """The number of the last change checked."""
        self._link: str | None = GENESIS  # `None` if it is not known
        self._operations = dict.fromkeys(OPERATIONS, 0)
        self._types: dict[str, int] = {}
        self._all_counted = True

    def check(self, change: Change) -> list[Finding]:
        """Check the next change, and return the findings about it and about the numbers before it."""
        seq = change.seq
        if seq < 1:
            return [Finding("unreadable", seq, seq, "sequence numbers begin with 1")]
        found: list[Finding] = []
        if seq > self.seq + 1:
            found.append(self._hole(seq - 1))
        self.seq = seq
        problem = broken_rule(change)
        if problem:
            found.append(Finding("unreadable", seq, seq, problem))
            self._all_counted = False
        else:
            if self._link is not None and link_of(self._link, change) != change.chain:
                found.append(Finding("broken-link", seq, seq))
            self._types[change.entity_type] = self._types.get(change.entity_type, 0) + 1
            if change.operation in self._operations:
                self._operations[change.operation] += 1
        self._link = change.chain if _is_link(change.chain) else None
        return found

    def check_end(self, end: RecordedEnd) -> list[Finding]:
        """Compare the recorded end with the changes after all of them were checked, and return the findings.

        Counts are compared only if no change is missing or unreadable.
        """
        if end.seq > self.seq:
            return [self._hole(end.seq)]
        if end.seq < self.seq:
            return [Finding("value-behind", end.seq + 1, self.seq)]
        found: list[Finding] = []
        if self._link is not None and end.chain != self._link:
            found.append(Finding("end-link", end.seq, end.seq))
        if self._all_counted and (end.operations != self._operations or end.types != self._types):
            found.append(Finding("counts", None, None))
        return found

    def _hole(self, last: int) -> Finding:
        self._link = None
        self._all_counted = False
        return Finding("hole", self.seq + 1, last)


def broken_rule(change: Change) -> str:
    """Return the first field of a stored change that breaks a rule of the format, and how; empty if none does."""
    for name, check in _RULES.items():
        try:
            check(getattr(change, name))
        except ValueError as error:
            return f"{name} {error}"
    return ""


def joined(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Join findings of the same kind about consecutive numbers, if they have no details."""
    pending: Finding | None = None
    for finding in findings:
        if pending is not None and _continues(pending, finding):
            pending = pending.replace(last=finding.last)
            continue
        if pending is not None:
            yield pending
        pending = finding
    if pending is not None:
        yield pending


def _continues(before: Finding, finding: Finding) -> bool:
    return (
        before.kind == finding.kind
        and not before.detail
        and not finding.detail
        and before.last is not None
        and finding.first == before.last + 1
    )


def _is_link(value: object) -> bool:
    return isinstance(value, str) and is_link(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    return value


def _optional_text(value: object) -> None:
    if value is not None:
        _text(value)


def _operation(value: object) -> None:
    if value not in (*OPERATIONS, TOMBSTONE):
        raise ValueError(f"is not one of {', '.join((*OPERATIONS, TOMBSTONE))}")


def _time(value: object) -> None:
    normalise(_text(value))


def _object(value: object) -> None:
    try:
        if type(read(_text(value))) is not dict:
            raise ValueError("is not a JSON object")
    except JsonProblem as error:
        raise ValueError(f"is not a JSON object: {error}") from None


def _optional_number(value: object) -> None:
    if value is not None and type(value) is not int:
        raise ValueError("is not an integer")


def _link(value: object) -> None:
    if not _is_link(value):
        raise ValueError("is not a link: 22 characters of base64url")


_RULES: dict[str, Callable[[object], object]] = {
    "entity_type": check_entity_type,
    "entity_id": check_free_text,
    "operation": _operation,
    "timestamp": _time,
    "cloud_at": _time,
    "data_json": _object,
    "outdated_by": _optional_number,
    # The original backend accepted any text here.
    "cid": _optional_text,
    "change_by": _optional_text,
    "chain": _link,
    "request_key": check_request_key,
}
