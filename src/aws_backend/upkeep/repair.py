"""`repair`: repairs a log by conditional writes only, so that writers may continue.

One pass goes from the first change to the last. A missing number gets a tombstone, and a wrong link is replaced. The
last transaction also sets value, link and counts of the sequence item. If a writer interferes, a condition fails, and
the pass continues from the last place that was written. Before the first link is altered, the sequence item gets the
attribute `relinking` with the first number concerned. So the next repair resumes an interrupted one, and its unfinished
links are not reported as tampering.
"""

from __future__ import annotations

from aws_backend.dynamodb.errors import TransactionCanceled
from aws_backend.log.items import LogEnd
from aws_backend.log.maintenance import (
    PAGE_CHANGES,
    access_action,
    all_items_after,
    delete_request,
    note_relinking,
    put_named_request,
    relink,
    repair_sequence,
)
from aws_backend.log.rules import END_RULES, whole
from aws_backend.log.transactions import MAX_ACTIONS, put_change
from aws_backend.upkeep.audit import (
    audit,
    completed,
    last_assigned,
    raw_change,
    read_with_sequence,
    seq_of,
)
from aws_backend.upkeep.members import read_recorded, repair_some
from sltt_core.base.errors import LogDamaged, StorageBusy
from sltt_core.base.timestamps import now_utc
from sltt_core.log.repairs import Rebuilt, steps
from sltt_core.model.changes import item_size
from sltt_core.model.stored import broken_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from aws_backend.log.items import Item
    from aws_backend.log.table import LogTable
    from aws_backend.upkeep.audit import Audit
    from sltt_core.log.findings import Progress, Report

MAX_ROUNDS = 1000
"""How often the pass continues after a condition failed."""
ROUND_SECONDS = 0.02
"""Longest wait before it continues, in seconds. The wait is a random part of it."""
MAX_BYTES = 3_500_000
"""Largest total size of the items in a transaction. An item counts in full even if only its link is written (AWS:
TransactWriteItems, "aggregate size")."""


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
    found = audit(table, project_id, relink_from=relink_from, progress=progress)
    report = found.report
    if dry_run or report.sound:
        return report
    found.plan.check()
    return report.replace(done=_Repair(table, project_id, found).run(progress))


class _Repair:
    """One repair of a log."""

    def __init__(self, table: LogTable, project_id: str, found: Audit) -> None:
        self._table = table
        self._project_id = project_id
        self._bad_requests = found.bad_requests
        self._unrecorded = found.unrecorded
        self._members_differ = found.members_differ
        self._member_items: Sequence[Item] = found.member_items
        self._relink_from = found.plan.starts
        self._tombstones = self._links = 0

    def run(self, progress: Progress) -> tuple[str, ...]:
        deleted = sum(delete_request(self._table, item) for item in self._bad_requests)
        recorded = sum(put_named_request(self._table, self._project_id, named) for named in self._unrecorded)
        if self._relink_from is not None:
            self._note_relinking(self._relink_from)
        end = self._pass(progress)
        if self._members_differ:
            self._repair_members()
        return steps(
            keys=deleted,
            recorded=recorded,
            tombstones=self._tombstones,
            links=self._links,
            first=self._relink_from,
            members=self._members_differ,
            end=f"set the sequence item to {end.value}, with its link and its counts",
        )

    def _note_relinking(self, first: int) -> None:
        """Record on the sequence item the first number whose link may change, unless it has a lower one already."""
        for _ in range(MAX_ROUNDS):
            _, sequence = read_with_sequence(self._table, self._project_id, first)
            noted = whole((sequence or {}).get("relinking", {}))
            self._relink_from = first if noted is None or noted < 1 else min(first, noted)
            if self._relink_from == noted or note_relinking(self._table, self._project_id, sequence, self._relink_from):
                return
        raise self._busy()

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
        raise self._busy()

    def _busy(self) -> StorageBusy:
        return StorageBusy(f"too many concurrent writers to project {self._project_id}: the repair did not finish")

    def _walk(self, state: _State, progress: Progress) -> None:
        """Repair the visible items after the current place; the last planned writes are left for `_settle`."""
        for item in all_items_after(self._table, self._project_id, state.at):
            seq = seq_of(item)
            if seq is None:
                raise self._altered(f"an item with the number {item['seq']['N']} was put")
            while state.at + 1 < seq:
                self._put_tombstone(state)
            self._step(state, item)
            if state.at % PAGE_CHANGES == 0:
                progress(state.at)
                if not state.actions:
                    state.save()

    def _step(self, state: _State, item: Item) -> None:
        """Plan to replace the link of the next change if it is wrong."""
        full = completed(item, self._table.runtime.clock)
        change = raw_change(full)
        if broken_rule(change.replace(chain=state.rebuilt.link) if "chain" not in item else change) is not None:
            raise self._altered(f"change {change.seq} was altered")
        linked = state.rebuilt.linked(change)
        if change.chain != linked.chain:
            if self._relink_from is None or change.seq < self._relink_from:
                raise self._altered(f"change {change.seq} was altered")
            new = {name: value for name, value in full.items() if name not in item}
            self._plan(state, relink(self._table.name, item, linked.chain, new), item_size(change))
            state.new_links += 1
        state.rebuilt.add(linked)

    def _altered(self, what: str) -> LogDamaged:
        return LogDamaged(f"{what} during the repair of project {self._project_id}", hint="Verify the project again.")

    def _put_tombstone(self, state: _State) -> None:
        """Plan to put a tombstone in place of the next number, which is missing."""
        if self._relink_from is None or state.at + 1 < self._relink_from:
            raise _PartlyVisible  # the audit found no hole here: an append is in flight
        change = state.rebuilt.tombstone(self._project_id, now_utc(self._table.runtime.clock))
        self._plan(state, put_change(self._table.name, change), item_size(change))
        state.new_tombstones += 1
        state.rebuilt.add(change)

    def _plan(self, state: _State, action: dict[str, Any], size: int) -> None:
        """Add a write; first send the planned ones if they, this one and the last ones exceed a transaction."""
        if len(state.actions) + 2 >= MAX_ACTIONS or state.size + size > MAX_BYTES:
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
        while state.at < (last_assigned(sequence) or 0):
            self._put_tombstone(state)
        counted = (sequence or {}).get("repairs")
        repairs = whole(counted) if counted is not None and END_RULES["repairs"](counted) else None
        end = state.end((repairs or 0) + 1)
        actions = [*state.actions]
        # The audit did not compare them if a change was missing. No grant is in flight: it changes the sequence item.
        self._members_differ |= read_recorded(self._table, self._project_id) != state.rebuilt.members
        if self._members_differ:
            actions.append(access_action(self._table.name, self._project_id, state.rebuilt.members))
        try:
            self._write([*actions, repair_sequence(self._table.name, self._project_id, sequence, end)])
        except TransactionCanceled as error:
            if not error.is_transient or any(reason.get("Code") not in (None, "None") for reason in error.reasons[:-1]):
                raise
            return None  # an append changed the sequence item; the planned writes are still right
        self._save(state)
        self._table.known_heads.note(self._project_id, state.at)
        return end

    def _repair_members(self) -> None:
        """Put the member items that differ from the access item, which is right now, and delete those of nobody."""
        for _ in range(MAX_ROUNDS):
            try:
                left = repair_some(self._table, self._project_id, self._member_items)
            except TransactionCanceled as error:
                if not error.is_transient:
                    raise
                self._table.runtime.pause(ROUND_SECONDS * self._table.runtime.random())
                continue
            if left is None:
                return
            self._member_items = left
        raise self._busy()


class _PartlyVisible(Exception):
    """A number is missing because an append is only partly visible: read again."""


class _State:
    """The progress of the pass: the end of the log so far, and the planned writes."""

    __slots__ = ("_saved", "actions", "new_links", "new_tombstones", "rebuilt", "size")

    def __init__(self) -> None:
        self.rebuilt = Rebuilt()
        self.save()

    @property
    def at(self) -> int:
        """The last number."""
        return self.rebuilt.seq

    def end(self, repairs: int) -> LogEnd:
        """Return the end of the log for the sequence item."""
        rebuilt = self.rebuilt
        creates, updates, deletes = rebuilt.operations.values()
        return LogEnd(rebuilt.seq + 1, rebuilt.link, creates, updates, deletes, rebuilt.types, repairs, True)

    def save(self) -> None:
        """Save the current place: everything before it is written."""
        self._saved = self.rebuilt.copy()
        self._clear()

    def go_back(self) -> None:
        """Go back to the saved place, and drop the planned writes."""
        self.rebuilt = self._saved.copy()
        self._clear()

    def _clear(self) -> None:
        self.actions: list[dict[str, Any]] = []
        self.size = self.new_links = self.new_tombstones = 0
