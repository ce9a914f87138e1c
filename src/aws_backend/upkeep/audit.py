"""`audit`: reads a whole log and reports what is wrong with it. It writes nothing.

`sltt_core.log.findings.KINDS` lists what it can find. Writers may continue. Before something is reported that an append
in flight may explain, it is read again in a transaction.
"""

from __future__ import annotations

from aws_backend.log.items import FORMAT, Counts, change_of, log_end_of, request_key
from aws_backend.log.maintenance import PAGE_CHANGES, all_items_after, request_items
from sltt_core.base.errors import NotALog
from sltt_core.base.json_reader import JsonProblem, read
from sltt_core.base.timestamps import normalise, now_utc
from sltt_core.log.findings import KINDS, MAX_FINDINGS, Finding, Report
from sltt_core.log.requests import RECENT_SECONDS, Requests
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.fields import CHECKS, TOMBSTONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from aws_backend.log.items import Item
    from aws_backend.log.table import LogTable
    from sltt_core.log.findings import Progress
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change

TOMBSTONE_TYPE = "void"
"""The entity type and id of a tombstone: the change that repair puts in place of a missing one."""


def read_with_sequence(table: LogTable, project_id: str, seq: int) -> tuple[Item | None, Item | None]:
    """Return a change's item and the sequence item, read in one transaction."""
    return table.read_together(project_id, max(seq, 1), table.deadline())


def last_assigned(sequence: Item | None) -> int:
    """Return the last number that a sequence item has assigned; 0 if there is none.

    `value` is the next number; in the original backend, which wrote no `format`, it is the last number.
    """
    if sequence is None or "value" not in sequence:
        return 0
    value = int(sequence["value"]["N"])
    return value - 1 if "format" in sequence else value


def completed(item: Item, clock: Callable[[], int]) -> tuple[dict[str, Any], bool]:
    """Return an item with all attributes of a change, and whether it has content of its own.

    Missing attributes get default values. The original backend wrote `changeAt` for `timestamp`. An item without an
    entity has no content: it becomes a tombstone. A missing link becomes `GENESIS`, as a placeholder.
    """
    full = dict(item)
    now = now_utc(clock)
    has_content = "entityType" in item and "entityId" in item
    for name in ("entityType", "entityId"):
        full.setdefault(name, {"S": TOMBSTONE_TYPE})
    full.setdefault("operation", {"S": "create" if has_content else TOMBSTONE})
    full.setdefault("dataJson", {"S": "{}"})
    if "timestamp" not in full:
        full["timestamp"] = {"S": _time(full.get("changeAt")) or _time(full.get("cloudAt")) or now}
    full.setdefault("cloudAt", full["timestamp"])
    full.setdefault("chain", {"S": GENESIS})
    return full, has_content


def _time(value: Any) -> str | None:
    try:
        return normalise(value["S"])
    except (TypeError, KeyError, ValueError):
        return None


def audit(table: LogTable, project_id: str, *, requests: bool = True, progress: Progress = lambda _: None) -> Report:
    """Read a whole log and report what is wrong with it.

    With `requests` the idempotency keys are checked too, which scans the whole table. Raises `NotALog` if the sequence
    item has a newer format.
    """
    return _Audit(table, project_id, progress).run(requests)


class _Audit:
    """One pass over a log."""

    def __init__(self, table: LogTable, project_id: str, progress: Progress) -> None:
        self._table = table
        self._project_id = project_id
        self._progress = progress
        self._at = 0
        self._link: str | None = GENESIS
        self._counts = Counts({}, {})
        self._examined = 0
        self._findings: dict[str, list[Finding]] = {}
        self._requests: dict[int, list[tuple[Item, int, str]]] = {}
        self._open_requests: list[tuple[Item, int, str]] = []
        self._bad_requests: set[str] = set()
        self._named = Requests()
        self._recorded: set[tuple[str, str]] = set()
        self._unrecorded: list[NamedRequest] = []
        self._relinking: int | None = None

    def run(self, requests: bool) -> Report:
        if requests:
            for item in request_items(self._table, self._project_id):
                first, count = int(item["firstSeq"]["N"]), int(item["count"]["N"])
                self._requests.setdefault(first, []).append((item, first + count - 1, item["createdAt"]["S"]))
                self._recorded.add((item["pk"]["S"], item["seq"]["N"]))
        _, sequence = read_with_sequence(self._table, self._project_id, 1)
        if sequence is not None and sequence.get("format", {}).get("N", str(FORMAT)) != str(FORMAT):
            log_end_of(sequence, self._project_id)  # raises `NotALog`
        if sequence is not None and "relinking" in sequence:
            self._relinking = int(sequence["relinking"]["N"])
            self._report("relinking", self._relinking, self._relinking)
        self._walk()
        self._check_end()
        # Request items whose numbers are beyond the log's end: all of them, or the last ones, because the table was
        # restored to a point in time within their transaction.
        beyond = [request for first, waiting in self._requests.items() if first > self._at for request in waiting]
        for item, last, _ in [*beyond, *self._open_requests]:
            if read_with_sequence(self._table, self._project_id, last)[0] is None:
                self._report_request(item)
        for named in self._unrecorded if requests else ():
            self._check_recorded(named)
        order = list(KINDS)
        findings = sorted(
            (finding for found in self._findings.values() for finding in found),
            key=lambda finding: (order.index(finding.kind), finding.first or 0),
        )
        return Report(self._project_id, self._examined, tuple(findings))

    def _report(self, kind: str, first: int | None, last: int | None, detail: str = "") -> None:
        """Add a finding; adjacent numbers with the same fault become one finding."""
        found = self._findings.setdefault(kind, [])
        if found and not detail and found[-1].last is not None and first == found[-1].last + 1:
            found[-1] = found[-1].replace(last=last)
        elif len(found) < MAX_FINDINGS or kind in ("request", "no-request"):  # repair needs every one
            found.append(Finding(kind, first, last, detail))

    def _walk(self) -> None:
        """Examine the visible items after the last examined number."""
        for item in all_items_after(self._table, self._project_id, self._at):
            seq = int(item["seq"]["N"])
            if seq > self._at + 1:
                self._check_gap(seq)
            self._check_change(item)

    def _check_gap(self, seq: int) -> None:
        """Read missing numbers before `seq` again: half of a transaction may have been visible."""
        read_with_sequence(self._table, self._project_id, self._at + 1)  # blocks until no append is in flight
        for item in all_items_after(self._table, self._project_id, self._at, seq - 1):
            self._report_missing(int(item["seq"]["N"]))
            self._check_change(item)
        self._report_missing(seq)

    def _report_missing(self, seq: int) -> None:
        """Report the numbers between the last examined one and `seq` as missing."""
        if seq > self._at + 1:
            self._report("hole", self._at + 1, seq - 1)
            within = [
                request for first in self._requests if self._at < first < seq for request in self._requests[first]
            ]
            self._open_requests += within
            for request, _, _ in self._open_requests:
                self._report_request(request)
            self._open_requests = [request for request in self._open_requests if request[1] >= seq]
            self._at, self._link = seq - 1, None
            self._named.forget()

    def _check_change(self, item: Item) -> None:
        """Examine the item with the next number."""
        seq = int(item["seq"]["N"])
        full, has_content = completed(item, self._table.runtime.clock)
        try:
            change = change_of(full)
        except NotALog as error:
            self._report("unreadable", seq, seq, error.message)
            self._at, self._link = seq, None
            return
        if not has_content:
            self._report("not-a-change", seq, seq)
        elif problem := _unreadable(full) if "chain" not in item else "":
            self._report("unreadable", seq, seq, problem)
        elif "chain" not in item or "timestamp" not in item or "cloudAt" not in item:
            self._report("unlinked", seq, seq)
        if "chain" in item and self._link is not None and (self._relinking is None or seq < self._relinking):
            expected = link_of(self._link, change)
            if change.chain != expected:
                self._report("broken-link", seq, seq)
        self._link = change.chain if "chain" in item else None
        self._counts.add(change)
        self._note_name(change)
        self._check_requests(seq, None if change.operation == TOMBSTONE else change.cloud_at)
        self._at = seq
        self._examined += 1
        if self._examined % PAGE_CHANGES == 0:
            self._progress(self._examined)

    def _check_requests(self, seq: int, cloud_at: str | None) -> None:
        """Check that the requests that claim number `seq` wrote it: the change has the time of the request."""
        self._open_requests += self._requests.get(seq, ())
        for item, _, created_at in self._open_requests:
            if cloud_at != created_at:
                self._report_request(item)
        self._open_requests = [request for request in self._open_requests if request[1] > seq]

    def _note_name(self, change: Change) -> None:
        """Note a request that complete changes name, if its item was not there and cannot have expired."""
        try:
            self._named.add(change)
        except ValueError as error:
            self._named.forget()
            self._report("unreadable", change.seq, change.seq, f"requestKey or cloudAt {error}")
        named = self._named.complete
        if named is not None and named.seconds_left(self._table.runtime.clock) >= RECENT_SECONDS:
            key = request_key(self._project_id, named.key, named.number)
            if (key["pk"]["S"], key["seq"]["N"]) not in self._recorded:
                self._unrecorded.append(named)

    def _check_recorded(self, named: NamedRequest) -> None:
        """Report a request whose item is missing. It may have been written after the items were read."""
        table = self._table
        if table.read_request(self._project_id, named.key, named.number, table.deadline()) is None:
            first, last = named.stored.first_seq, named.stored.first_seq + named.stored.count - 1
            detail = f"chunk {named.number} of the idempotency key {named.key} is not recorded"
            self._report("no-request", first, last, detail)

    def _report_request(self, item: Item) -> None:
        key = f"{item['pk']['S']} {item['seq']['N']}"
        if key not in self._bad_requests:
            self._bad_requests.add(key)
            first = int(item["firstSeq"]["N"])
            last = first + int(item["count"]["N"]) - 1
            self._report(
                "request", first, last, f"{key} refers to changes that are missing, or that another batch wrote"
            )

    def _check_end(self) -> None:
        """Compare the sequence item with the log, both read while no append is in flight."""
        while True:
            change, sequence = read_with_sequence(self._table, self._project_id, self._at + 1)
            if change is None:
                break
            self._walk()  # another process has appended
        end = last_assigned(sequence)
        if sequence is None:
            if self._at:
                self._report("no-sequence", None, None)
            return
        if end > self._at:
            self._report_missing(end + 1)
        elif end < self._at:
            self._report("value-behind", end + 1, self._at)
        if "format" not in sequence:
            self._report("original", None, None)
            return
        try:
            stored = log_end_of(sequence, self._project_id)
        except NotALog as error:
            self._report("counts", None, None, error.message)
            return
        if end == self._at and self._link not in (None, stored.chain) and self._relinking is None:
            self._report("end-link", end, end)
        if end != self._at or "hole" in self._findings or "not-a-change" in self._findings:
            return  # repair computes the counts again anyway
        if self._counts.end(end, stored.chain, stored.repairs) != stored:
            self._report("counts", None, None)


def _unreadable(item: Mapping[str, Any]) -> str:
    """Return which text of an item breaks a rule of this format; empty if none does."""
    for name in ("entityType", "entityId", "operation"):
        try:
            CHECKS[name](item[name].get("S"))
        except ValueError as error:
            return f"{name} {error}"
    try:
        if type(read(item["dataJson"]["S"])) is not dict:
            return "dataJson is not a JSON object"
        if normalise(item["timestamp"]["S"]) and normalise(item["cloudAt"]["S"]):
            return ""
    except (JsonProblem, ValueError) as error:
        return str(error)
    return ""
