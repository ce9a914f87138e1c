"""`audit`: reads a whole log and reports what is wrong with it. It writes nothing.

`sltt_core.log.findings.KINDS` lists what it can find. Writers may continue. Before something is reported that an append
in flight may explain, it is read again in a transaction. Items may have any attributes of any type, because somebody
may have edited them by hand.
"""

from __future__ import annotations

from aws_backend.log.items import NAMES, check_format, is_original, registry_values, request_key
from aws_backend.log.maintenance import (
    PAGE_CHANGES,
    all_items_after,
    has_request,
    items_before_the_first,
    request_and_member_items,
)
from aws_backend.log.rules import END_RULES, REQUEST_RULES, whole
from aws_backend.upkeep.members import is_orphan, read_recorded, wrong_members
from sltt_core.base.timestamps import normalise, now_utc
from sltt_core.log.findings import Collector, Finding, Report
from sltt_core.log.repairs import TOMBSTONE_TYPE, Plan
from sltt_core.log.requests import RECENT_SECONDS
from sltt_core.log.verifier import LogChecker, RecordedEnd
from sltt_core.model.changes import Change
from sltt_core.model.fields import FIELDS, MAX_SEQ, OPERATIONS, TOMBSTONE, check_idempotency_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aws_backend.log.items import Item
    from aws_backend.log.table import LogTable
    from sltt_core.log.findings import Progress
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.grants import Members

    Claim = tuple[Item, int, str]
    """A request item, the last number that it claims to have written, and when."""

_END_KINDS = {"chain": "end-link"} | dict.fromkeys(("creates", "updates", "deletes", "entityTypes"), "counts")
"""The kind of finding for an attribute of the sequence item; `unreadable-end` for the others."""


def read_with_sequence(table: LogTable, project_id: str, seq: int) -> tuple[Item | None, Item | None]:
    """Return a change's item and the sequence item, read in one transaction."""
    return table.read_together(project_id, min(max(seq, 1), MAX_SEQ), table.deadline())


def last_assigned(sequence: Item | None) -> int | None:
    """Return the last number that a sequence item has assigned; 0 if there is none, `None` if it cannot be read.

    `value` is the next number; in the original backend it is the last number.
    """
    if sequence is None or "value" not in sequence:
        return 0 if sequence is None or is_original(sequence) else None
    value = whole(sequence["value"])
    if value is not None and is_original(sequence):
        value += 1
    return value - 1 if value is not None and 1 <= value <= MAX_SEQ + 1 else None


def seq_of(item: Item) -> int | None:
    """Return the number of a change's item; `None` if no change can have it."""
    seq = whole(item["seq"])
    return seq if seq is not None and 1 <= seq <= MAX_SEQ else None


def completed(item: Item, clock: Callable[[], int]) -> dict[str, Any]:
    """Return an item with all attributes of a change.

    Missing attributes get default values. The original backend wrote `changeAt` for `timestamp`. An item without an
    entity has no content: it becomes a tombstone. An item with a link is complete, or damaged: it is returned as it is.
    """
    full = dict(item)
    if "chain" in item:
        return full
    for name in ("entityType", "entityId"):
        full.setdefault(name, {"S": TOMBSTONE_TYPE})
    full.setdefault("operation", {"S": "create" if has_content(item) else TOMBSTONE})
    full.setdefault("dataJson", {"S": "{}"})
    if "timestamp" not in full:
        full["timestamp"] = {"S": _time(full.get("changeAt")) or _time(full.get("cloudAt")) or now_utc(clock)}
    full.setdefault("cloudAt", full["timestamp"])
    return full


def has_content(item: Item) -> bool:
    """Return whether an item has content of its own."""
    return "chain" in item or ("entityType" in item and "entityId" in item)


def _name_of(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["seq"]["N"]


def _time(value: Any) -> str | None:
    try:
        return normalise(value["S"])
    except (AttributeError, TypeError, KeyError, ValueError):
        return None


def raw_change(item: Item) -> Change:
    """Return the change of an item whose number is valid; what is missing is `None`, and what has a wrong type stays.

    So no value is mistaken for one of another type, whatever the item contains.
    """
    values: list[Any] = []
    for field in FIELDS:
        value = item.get(field.attribute)
        if value is not None:
            of_type = whole(value) if field.type == "integer" else value.get("S")
            value = value if of_type is None else of_type
        values.append(value)
    return Change.of(values)


def audit(
    table: LogTable,
    project_id: str,
    *,
    requests: bool = True,
    relink_from: int | None = None,
    progress: Progress = lambda _: None,
) -> Audit:
    """Read a whole log and return what is wrong with it.

    With `requests` the idempotency keys are checked too, which scans the whole table. `relink_from` is that of the
    repair. Raises `NotALog` if the sequence item has a newer format.
    """
    made = Audit(table, project_id, relink_from, progress)
    made.run(requests)
    return made


class Audit:
    """One pass over a log, and its result."""

    def __init__(self, table: LogTable, project_id: str, relink_from: int | None, progress: Progress) -> None:
        self.plan = Plan(project_id, relink_from)
        self.bad_requests: list[Item] = []
        """The request items that repair deletes."""
        self.unrecorded: list[NamedRequest] = []
        """The requests whose items repair puts."""
        self.members_differ = False
        """Whether repair records the members again."""
        self.member_items: list[Item] = []
        """Repair deletes those that belong to nobody."""
        self._collected = Collector()
        self._table = table
        self._project_id = project_id
        self._progress = progress
        self._checker = LogChecker(project_id, NAMES)
        self._examined = 0
        self._requests: dict[int, list[Claim]] = {}
        self._open_requests: list[Claim] = []
        self._recorded: set[tuple[str, str]] = set()
        self._reported: set[tuple[str, str]] = set()
        self._named: list[NamedRequest] = []
        self._relinking: int | None = None

    @property
    def report(self) -> Report:
        """What was found."""
        return Report(self._project_id, self._examined, self._collected.findings())

    def run(self, requests: bool) -> None:
        """Read the log."""
        if requests:
            for item in request_and_member_items(self._table, self._project_id):
                if item["pk"]["S"].startswith("MEMBER#"):
                    self.member_items.append(item)
                else:
                    self._take_request(item)
        _, sequence = read_with_sequence(self._table, self._project_id, 1)
        if sequence is not None:
            if not is_original(sequence):
                check_format(sequence, self._project_id)
            self._relinking = whole(sequence.get("relinking", {}))
            if self._relinking is not None:
                self._add(self._checker.finding("relinking", self._relinking, self._relinking))
        self._checker = LogChecker(self._project_id, NAMES, self._relinking)
        for item in items_before_the_first(self._table, self._project_id):
            self._add_foreign(item)
        self._walk()
        self._check_end()
        self._check_members()
        # Request items whose numbers are beyond the log's end: all of them, or the last ones, because the table was
        # restored to a point in time within their transaction.
        end = self._checker.seq
        beyond = [request for first, waiting in self._requests.items() if first > end for request in waiting]
        for item, last, _ in [*beyond, *self._open_requests]:
            if last > MAX_SEQ or read_with_sequence(self._table, self._project_id, last)[0] is None:
                self._report_request(item)
        for named in self._named if requests else ():
            self._check_recorded(named)

    def _add(self, finding: Finding) -> None:
        self._collected.add(finding)
        self.plan.add(finding)

    def _add_foreign(self, item: Item) -> None:
        number = item["seq"]["N"]
        seq = whole(item["seq"])
        self._add(
            self._checker.finding("foreign", seq, seq, f"an item of the log has the number {number}", attribute="seq")
        )

    # The changes

    def _walk(self) -> None:
        """Examine the visible items after the last examined number."""
        for item in all_items_after(self._table, self._project_id, self._checker.seq):
            seq = seq_of(item)
            if seq is None:
                self._add_foreign(item)
                continue
            if seq > self._checker.seq + 1:
                self._check_gap(seq)
            self._check_change(item, seq)

    def _check_gap(self, seq: int) -> None:
        """Read missing numbers before `seq` again: half of a transaction may have been visible."""
        # The transaction blocks until no append is in flight.
        read_with_sequence(self._table, self._project_id, self._checker.seq + 1)
        for item in all_items_after(self._table, self._project_id, self._checker.seq, seq - 1):
            found = seq_of(item)
            if found is not None:  # the walk reports the others
                self._report_missing(found)
                self._check_change(item, found)
        self._report_missing(seq)

    def _report_missing(self, seq: int) -> None:
        """Report the numbers between the last examined one and `seq` as missing."""
        at = self._checker.seq
        for finding in self._checker.missing(seq):
            self._add(finding)
            within = [request for first in self._requests if at < first < seq for request in self._requests[first]]
            self._open_requests += within
            for request, _, _ in self._open_requests:
                self._report_request(request)
            self._open_requests = [request for request in self._open_requests if request[1] >= seq]

    def _check_change(self, item: Item, seq: int) -> None:
        """Examine the item with the next number."""
        change = raw_change(completed(item, self._table.runtime.clock))
        for finding in self._checker.check(change, "unlinked" if has_content(item) else "not-a-change"):
            self._add(finding)
        named = self._checker.named
        if named is not None and named.seconds_left(self._table.runtime.clock) >= RECENT_SECONDS:
            self._named.append(named)
        self._check_requests(seq, None if change.operation == TOMBSTONE else change.cloud_at)
        self._examined += 1
        if self._examined % PAGE_CHANGES == 0:
            self._progress(self._examined)

    # The idempotency keys

    def _take_request(self, item: Item) -> None:
        """Keep a request item until its changes are examined; report it if an attribute breaks a rule."""
        for name, rule in REQUEST_RULES.items():
            if not rule(item.get(name)):
                self._report_request(item, name)
                return
        number = whole(item["seq"])
        try:
            check_idempotency_key(item["pk"]["S"].split("#", 2)[2])
        except ValueError:
            self._report_request(item, "pk")
            return
        if number is None or not 0 <= number <= MAX_SEQ:
            self._report_request(item, "seq")
            return
        first, count = int(item["firstSeq"]["N"]), int(item["count"]["N"])
        self._requests.setdefault(first, []).append((item, first + count - 1, item["createdAt"]["S"]))
        self._recorded.add(_name_of(item))

    def _check_requests(self, seq: int, cloud_at: object) -> None:
        """Check that the requests that claim number `seq` wrote it: the change has the time of the request."""
        self._open_requests += self._requests.get(seq, ())
        for item, _, created_at in self._open_requests:
            if cloud_at != created_at:
                self._report_request(item)
        self._open_requests = [request for request in self._open_requests if request[1] > seq]

    def _report_request(self, item: Item, attribute: str | None = None) -> None:
        pk, number = _name_of(item)
        if (pk, number) in self._reported:
            return
        self._reported.add((pk, number))
        self.bad_requests.append(item)
        first = last = None
        detail = f"{pk} {number} refers to changes that are missing, or that another batch wrote"
        if attribute is not None:
            detail = f"{pk} {number}: {attribute} is missing or not valid"
        else:
            first = int(item["firstSeq"]["N"])
            last = first + int(item["count"]["N"]) - 1
        finding = self._checker.finding("request", first, last, detail, attribute)
        self._add(finding.replace(key=pk.split("#", 2)[2], chunk=whole(item["seq"])))

    def _check_recorded(self, named: NamedRequest) -> None:
        """Report a complete request that changes name if it has no item, or one that repair deletes."""
        name = _name_of(request_key(self._project_id, named.key, named.number))
        # An item that was not read may have been written since.
        if name in self._reported or not (
            name in self._recorded or has_request(self._table, self._project_id, named.key, named.number)
        ):
            self.unrecorded.append(named)
            self._add(self._checker.unrecorded(named))

    # The end of the log

    def _check_end(self) -> None:
        """Compare the sequence item with the log, both read while no append is in flight."""
        while True:
            at = self._checker.seq
            change, sequence = read_with_sequence(self._table, self._project_id, at + 1)
            if change is None or at == MAX_SEQ:
                break
            self._walk()  # another process has appended
        if sequence is None:
            if self._checker.seq:
                self._add(self._checker.finding("no-sequence"))
            return
        original = is_original(sequence)
        end = last_assigned(sequence)
        wrong = set() if original else self._check_attributes(sequence)
        if end is None:
            return
        if original or wrong & {*_END_KINDS}:
            self._compare(end)
            if original:
                self._add(self._checker.finding("original"))
            return
        counts = [int(sequence[name]["N"]) for name in ("creates", "updates", "deletes")]
        types = {name: int(count["N"]) for name, count in sequence["entityTypes"]["M"].items()}
        operations = zip(OPERATIONS, counts, strict=True)
        self._compare(end, RecordedEnd(end, sequence["chain"]["S"], {**dict(operations)}, types))

    def _check_members(self) -> None:
        """Compare the access item and the member items with the grants of the log."""
        before: Members | None = None
        while True:
            recorded = read_recorded(self._table, self._project_id)
            if recorded is not None and recorded.version > self._checker.seq:
                self._walk()  # another process has granted a role
            found = self._checker.check_members(recorded)
            if not found and wrong_members(self._table, self._project_id, self._checker.members):
                found = [self._checker.finding("members")]
            if not found or recorded == before:
                break
            before = recorded  # if it differs the next time, a role was granted meanwhile
        for item in self.member_items if self._checker.all_counted else ():
            # It was written in one transaction with its grant, which was read later.
            if not is_orphan(item, self._project_id, self._checker.members):
                continue
            detail = f"{' '.join(_name_of(item))} is of a principal that has no grant in the log"
            found.append(self._checker.finding("members", detail=detail))
        for finding in found:
            self.members_differ = True
            self._add(finding)

    def _compare(self, end: int, recorded: RecordedEnd | None = None) -> None:
        at = self._checker.seq
        if end > at:
            self._report_missing(end + 1)
        elif recorded is not None:
            for finding in self._checker.check_end(recorded):
                self._add(finding)
        elif end < at:
            self._add(self._checker.finding("value-behind", end + 1, at))

    def _check_attributes(self, sequence: Item) -> set[str]:
        """Report the attributes of the sequence item that break a rule, and return their names."""
        wrong = {name for name, rule in END_RULES.items() if not rule(sequence.get(name))}
        keys = registry_values(self._project_id)
        wrong |= {name for name in ("registry", "projectId") if sequence.get(name) != keys[name]}
        if "relinking" in sequence and (self._relinking is None or not 1 <= self._relinking <= MAX_SEQ):
            wrong.add("relinking")
        for name in sorted(wrong):
            kind = _END_KINDS.get(name, "unreadable-end")
            detail = f"{name} of the sequence item is missing or not valid"
            self._add(self._checker.finding(kind, None, None, detail, attribute=name))
        return wrong
