"""`repair`: repairs a log by conditional writes only, so that writers may continue.

One pass goes from the first change to the last. A missing number gets a tombstone, and a wrong link is replaced. The
last transaction also sets value, link and counts of the sequence item. If a writer interferes, a condition fails, and
the pass continues from the last place that was written. Before the first link is altered, the sequence item gets the
attribute `relinking` with the first number concerned. So the next repair resumes an interrupted one, and its unfinished
links are not reported as tampering.
"""

from __future__ import annotations

from aws_backend.dynamodb.errors import TransactionCanceled
from aws_backend.log.items import Counts, change_of
from aws_backend.log.maintenance import (
    PAGE_CHANGES,
    all_items_after,
    delete_request,
    note_relinking,
    put_named_request,
    relink,
    repair_sequence,
    request_items,
)
from aws_backend.log.transactions import MAX_ACTIONS, put_change
from aws_backend.upkeep.audit import TOMBSTONE_TYPE, audit, completed, last_assigned, read_with_sequence
from sltt_core.base.errors import LogDamaged, StorageBusy
from sltt_core.base.timestamps import now_utc
from sltt_core.log.findings import Report
from sltt_core.log.requests import request_of
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.changes import Change, item_size
from sltt_core.model.fields import TOMBSTONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aws_backend.log.items import Item, LogEnd
    from aws_backend.log.table import LogTable
    from sltt_core.log.findings import Progress

MAX_ROUNDS = 1000
"""How often the pass continues after a condition failed."""
ROUND_SECONDS = 0.02
"""Longest wait before it continues, in seconds. The wait is a random part of it."""
MAX_BYTES = 3_500_000
"""Largest total size of the items in a transaction. An item counts in full even if only its link is written (AWS:
TransactWriteItems, "aggregate size")."""
MAX_TOMBSTONES = 10_000
"""Largest number of tombstones. More numbers are missing only if an item was put far beyond the log's end by hand."""


def repair(
    table: LogTable,
    project_id: str,
    *,
    dry_run: bool,
    relink_from: int | None = None,
    progress: Progress = lambda _: None,
) -> Report:
    """Repair what the audit finds and report what was done; with `dry_run`, only report what was found.

    From number `relink_from` on, the changes are accepted as they are, even if they do not match their links.

    Raises `LogDamaged` if something cannot be repaired, before anything is written, and `StorageBusy` if other writers
    interfere too often.
    """
    report = audit(table, project_id, progress=progress)
    if dry_run or report.sound:
        return report
    faults = [finding for finding in report.findings if not finding.repairable]
    if relink_from is not None:
        faults = [f for f in faults if f.kind != "broken-link" or f.first is None or f.first < relink_from]
    missing = sum(f.last - f.first + 1 for f in report.findings if f.kind == "hole" and f.first and f.last)
    if missing > MAX_TOMBSTONES:
        raise LogDamaged(
            f"project {project_id} cannot be repaired: {missing:,} numbers are missing (limit {MAX_TOMBSTONES:,})",
            hint="Look for an item far beyond the log's end that does not belong there, and delete it.",
        )
    if faults:
        fault = faults[0]
        raise LogDamaged(
            f"project {project_id} cannot be repaired: {fault}",
            hint="Restore this change from a backup, or from a device that has it, and verify again. If you know that "
            "its content is right, use repair(relink_from=…) with its number to compute the links from there on again.",
        )
    return report.replace(done=tuple(_Repair(table, project_id, report, relink_from).run(progress)))


class _Repair:
    """One repair of a log."""

    def __init__(self, table: LogTable, project_id: str, report: Report, relink_from: int | None) -> None:
        self._table = table
        self._project_id = project_id
        self._report = report
        starts = [
            finding.first
            for finding in report.findings
            if finding.first is not None and finding.kind in ("hole", "not-a-change", "unlinked", "relinking")
        ]
        if relink_from is not None:
            starts.append(relink_from)
        self._relink_from = min(starts, default=None)
        self._tombstones = self._links = 0

    def run(self, progress: Progress) -> list[str]:
        done = []
        deleted = self._delete_requests()
        recorded = self._put_requests()
        if self._relink_from is not None:
            self._note_relinking(self._relink_from)
        end = self._pass(progress)
        if deleted:
            keys = _counted(deleted, "idempotency key")
            done.append(f"deleted {keys} whose changes are missing: if they are sent again, they are stored")
        if recorded:
            done.append(f"recorded {_counted(recorded, 'idempotency key')} that changes name")
        if self._tombstones:
            done.append(f"put {_counted(self._tombstones, 'tombstone')} in place of missing changes")
        if self._links:
            done.append(f"computed the links of {_counted(self._links, 'change')} again, from {self._relink_from} on")
        done.append(f"set the sequence item to {end.value}, with its link and its counts")
        return done

    def _delete_requests(self) -> int:
        """Delete the request items that the audit reported, unless they have been written again; return how many."""
        bad = {(f.detail.split(" ")[0], f.detail.split(" ")[1]) for f in self._report.findings if f.kind == "request"}
        deleted = 0
        for item in request_items(self._table, self._project_id) if bad else ():
            if (item["pk"]["S"], item["seq"]["N"]) not in bad:
                continue
            deleted += delete_request(self._table, item)
        return deleted

    def _put_requests(self) -> int:
        """Put the request items that the audit missed, as the changes name them; return how many."""
        table, put = self._table, 0
        for finding in self._report.findings:
            if finding.kind != "no-request" or finding.first is None:
                continue
            item = table.get_change(self._project_id, finding.first, table.deadline(), strong=True)
            named = None if item is None else request_of(change_of(item))
            if named is not None:
                put += put_named_request(table, self._project_id, named)
        return put

    def _note_relinking(self, first: int) -> None:
        """Record on the sequence item the first number whose link may change."""
        note_relinking(self._table, self._project_id, first)
        _, sequence = read_with_sequence(self._table, self._project_id, first)
        assert sequence is not None
        self._relink_from = int(sequence["relinking"]["N"])

    def _pass(self, progress: Progress) -> LogEnd:
        """Repair the log from its first change to its last, and the sequence item; return the end of the log."""
        state = _State()
        for _ in range(MAX_ROUNDS):
            try:
                self._walk(state, progress)
                end = self._settle(state)
                if end is not None:
                    return end
            except (TransactionCanceled, _PartlyVisible) as error:
                if isinstance(error, TransactionCanceled) and not error.is_transient:
                    raise
                state.go_back()
                self._table.runtime.pause(ROUND_SECONDS * self._table.runtime.random())
        raise StorageBusy(f"too many concurrent writers to project {self._project_id}: the repair did not finish")

    def _walk(self, state: _State, progress: Progress) -> None:
        """Repair the visible items after the current place; the last planned writes are left for `_settle`."""
        for item in all_items_after(self._table, self._project_id, state.at):
            seq = int(item["seq"]["N"])
            while state.at + 1 < seq:
                self._put_tombstone(state)
            self._step(state, item)
            if state.at % PAGE_CHANGES == 0:
                progress(state.at)
                if not state.actions:
                    state.save()

    def _step(self, state: _State, item: Item) -> None:
        """Plan to replace the link of the next change if it is wrong."""
        full, _ = completed(item, self._table.runtime.clock)
        change = change_of(full)
        right = link_of(state.link, change)
        if "chain" not in item or change.chain != right or full.keys() != item.keys():
            if self._relink_from is None or change.seq < self._relink_from:
                raise LogDamaged(f"change {change.seq} of project {self._project_id} was altered during the repair")
            new = {name: value for name, value in full.items() if name not in item and name != "chain"}
            self._plan(state, relink(self._table.name, item, right, new), item_size(change))
            state.new_links += 1
        state.add(change.replace(chain=right))

    def _put_tombstone(self, state: _State) -> None:
        """Plan to put a tombstone in place of the next number, which is missing."""
        if self._relink_from is None or state.at + 1 < self._relink_from:
            raise _PartlyVisible  # the audit found no hole here: an append is in flight
        now = now_utc(self._table.runtime.clock)
        values = (TOMBSTONE_TYPE, TOMBSTONE_TYPE, TOMBSTONE, now, now, "{}", None, None, None, "", None)
        change = Change.of((self._project_id, state.at + 1, *values))
        change = change.replace(chain=link_of(state.link, change))
        self._plan(state, put_change(self._table.name, change), item_size(change))
        state.new_tombstones += 1
        state.add(change)

    def _plan(self, state: _State, action: dict[str, Any], size: int) -> None:
        """Add a write; first send the planned ones if they, this one and the sequence item exceed a transaction."""
        if len(state.actions) + 1 >= MAX_ACTIONS or state.size + size > MAX_BYTES:
            self._write(state.actions)
            self._save(state)
        state.actions.append(action)
        state.size += size

    def _write(self, actions: list[dict[str, Any]]) -> None:
        self._table.transact(actions, self._table.runtime.new_token(), self._table.deadline())

    def _save(self, state: _State) -> None:
        """Record that the planned writes are done: the pass continues from here if a later condition fails."""
        self._tombstones += state.new_tombstones
        self._links += state.new_links
        state.save()

    def _settle(self, state: _State) -> LogEnd | None:
        """Set the sequence item, in one transaction with the remaining writes; `None` if the log has more changes."""
        sequence = self._table.get_sequence(self._project_id, self._table.deadline())
        if last_assigned(sequence) != state.at:
            change, sequence = read_with_sequence(self._table, self._project_id, state.at + 1)
            if change is not None:
                return None
        while state.at < last_assigned(sequence):
            self._put_tombstone(state)
        repairs = int(sequence["repairs"]["N"]) if sequence is not None and "repairs" in sequence else 0
        end = state.counts.end(state.at, state.link, repairs + 1)
        try:
            self._write([*state.actions, repair_sequence(self._table.name, self._project_id, sequence, end)])
        except TransactionCanceled as error:
            if not error.is_transient or any(reason.get("Code") not in (None, "None") for reason in error.reasons[:-1]):
                raise
            return None  # an append changed the sequence item; the planned writes are still right
        self._save(state)
        self._table.known_heads.note(self._project_id, state.at)
        return end


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


class _PartlyVisible(Exception):
    """A number is missing because an append is only partly visible: read again."""


class _State:
    """The progress of the pass: the last number, its link, the counts so far, and the planned writes."""

    __slots__ = ("_saved", "actions", "at", "counts", "link", "new_links", "new_tombstones", "size")

    def __init__(self) -> None:
        self.at = 0
        self.link = GENESIS
        self.counts = Counts({}, {})
        self.save()

    def add(self, change: Change) -> None:
        """Advance past a change."""
        self.at, self.link = change.seq, change.chain
        self.counts.add(change)

    def save(self) -> None:
        """Save the current place: everything before it is written."""
        self._saved = (self.at, self.link, self.counts.copy())
        self._clear()

    def go_back(self) -> None:
        """Go back to the saved place, and drop the planned writes."""
        self.at, self.link, counts = self._saved
        self.counts = counts.copy()
        self._clear()

    def _clear(self) -> None:
        self.actions: list[dict[str, Any]] = []
        self.size = self.new_links = self.new_tombstones = 0
