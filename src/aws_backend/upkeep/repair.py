"""`repair`: a log mended by conditional writes alone, while writers write.

One pass from the first change to the last makes right what is not: a missing number gets a void change, a change
without the right link gets it, and in the end the sequence item gets its value, link and counts in the same transaction
as the last links. Whatever a writer does meanwhile makes a condition fail; then the pass goes on from where it was.
Before the first link is altered the sequence item notes from where on (`relinking`), so that a repair that was
interrupted is taken up again and its half-made links are not taken for tampering.
"""

from __future__ import annotations

from aws_backend.dynamodb.errors import TransactionCanceled
from aws_backend.log.items import (
    Counts,
    change_of,
)
from aws_backend.log.maintenance import (
    PAGE_CHANGES,
    all_items_after,
    delete_request,
    note_relinking,
    relink,
    repair_sequence,
    request_items,
)
from aws_backend.log.transactions import MAX_ACTIONS, put_change
from aws_backend.upkeep.audit import TOMBSTONE_TYPE, audit, completed, reaches, read_sequence
from sltt_core.base.errors import LogDamaged, StorageBusy
from sltt_core.base.timestamps import now_utc
from sltt_core.log.findings import Report
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.changes import Change, item_size
from sltt_core.model.fields import TOMBSTONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aws_backend.log.items import Item, LogEnd
    from aws_backend.log.table import LogTable
    from aws_backend.upkeep.audit import Progress

MAX_ROUNDS = 1000
"""How often the pass goes on after a writer was faster."""
ROUND_SECONDS = 0.02
"""Before it goes on, it waits a random part of this."""
MAX_BYTES = 3_500_000
"""Of items in one transaction, those whose link alone is written, too (AWS: TransactWriteItems, "aggregate size")."""
MAX_TOMBSTONES = 10_000
"""Numbers that are sealed. More are missing only where somebody has put an item far beyond the log's end."""


def repair(
    table: LogTable,
    project_id: str,
    *,
    dry_run: bool,
    relink_from: int | None = None,
    progress: Progress = lambda _: None,
) -> Report:
    """Mend what the audit finds and say what was done; with `dry_run`, only what was found.

    `relink_from` says that the changes from there on are right as they stand, whatever their links say.

    Raises `LogDamaged` when something cannot be mended, before anything is written.
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
            f"project {project_id} lacks {missing:,} numbers, more than are sealed",
            hint="Look for an item far beyond the log's end that does not belong there, and take it away.",
        )
    if faults:
        fault = faults[0]
        raise LogDamaged(
            f"project {project_id} cannot be mended: {fault}",
            hint="Restore this change from a backup, or from a device that has it, and verify again. If you know that "
            "what it says is right, repair(relink_from=…) takes its number and makes the links from there on anew.",
        )
    return report.replace(done=tuple(_Repair(table, project_id, report, relink_from).run(progress)))


class _Repair:
    """One mending of a log."""

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
        dropped = self._drop_requests()
        if self._relink_from is not None:
            self._note_relinking(self._relink_from)
        end = self._pass(progress)
        if dropped:
            keys = _counted(dropped, "idempotency key")
            done.append(f"forgot {keys} whose changes are not there: sent again, they are stored")
        if self._tombstones:
            done.append(f"put {_counted(self._tombstones, 'void change')} where numbers were missing")
        if self._links:
            done.append(f"made the links of {_counted(self._links, 'change')} anew, from {self._relink_from} on")
        done.append(f"set the sequence item to {end.value}, with its link and its counts")
        return done

    def _drop_requests(self) -> int:
        """Forget the keys that stand for what is not there, unless they were stored anew meanwhile."""
        bad = {(f.detail.split(" ")[0], f.detail.split(" ")[1]) for f in self._report.findings if f.kind == "request"}
        dropped = 0
        for item in request_items(self._table, self._project_id) if bad else ():
            if (item["pk"]["S"], item["seq"]["N"]) not in bad:
                continue
            dropped += delete_request(self._table, item)
        return dropped

    def _note_relinking(self, first: int) -> None:
        """Note on the sequence item from where on links are made anew."""
        note_relinking(self._table, self._project_id, first)
        _, sequence = read_sequence(self._table, self._project_id, first)
        assert sequence is not None
        self._relink_from = int(sequence["relinking"]["N"])

    def _pass(self, progress: Progress) -> LogEnd:
        """Go through the log and make it right, until the sequence item is, too."""
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
                state.back()
                self._table.runtime.pause(ROUND_SECONDS * self._table.runtime.random())
        raise StorageBusy(f"others write to project {self._project_id} so much that the repair did not come to its end")

    def _walk(self, state: _State, progress: Progress) -> None:
        """Go on to the end that can be seen; what is still to be written then goes with the sequence item."""
        for item in all_items_after(self._table, self._project_id, state.at):
            seq = int(item["seq"]["N"])
            while state.at + 1 < seq:
                self._seal(state)
            self._step(state, item)
            if state.at % PAGE_CHANGES == 0:
                progress(state.at)
                if not state.actions:
                    state.keep()

    def _step(self, state: _State, item: Item) -> None:
        """Give the change that comes next its link, if it has another."""
        full, _ = completed(item, self._table.runtime.clock)
        change = change_of(full)
        right = link_of(state.link, change)
        if "chain" not in item or change.chain != right or full.keys() != item.keys():
            if self._relink_from is None or change.seq < self._relink_from:
                raise LogDamaged(f"change {change.seq} of project {self._project_id} was altered meanwhile")
            new = {name: value for name, value in full.items() if name not in item and name != "chain"}
            self._plan(state, relink(self._table.name, item, right, new), item_size(change))
            state.new_links += 1
        state.add(change.replace(chain=right))

    def _seal(self, state: _State) -> None:
        """Put a void change where the next number is missing."""
        if self._relink_from is None or state.at + 1 < self._relink_from:
            raise _PartlyVisible  # the audit saw no hole here: a transaction is on its way
        now = now_utc(self._table.runtime.clock)
        values = (TOMBSTONE_TYPE, TOMBSTONE_TYPE, TOMBSTONE, now, now, "{}", None, None, None, "")
        change = Change.of((self._project_id, state.at + 1, *values))
        change = change.replace(chain=link_of(state.link, change))
        self._plan(state, put_change(self._table.name, change), item_size(change))
        state.new_tombstones += 1
        state.add(change)

    def _plan(self, state: _State, action: dict[str, Any], size: int) -> None:
        """Add a write; write those that are planned first when it would be one too many beside the sequence item."""
        if len(state.actions) + 1 >= MAX_ACTIONS or state.size + size > MAX_BYTES:
            self._write(state.actions)
            self._keep(state)
        state.actions.append(action)
        state.size += size

    def _write(self, actions: list[dict[str, Any]]) -> None:
        self._table.transact(actions, self._table.runtime.new_token(), self._table.deadline())

    def _keep(self, state: _State) -> None:
        """Take what was written for done: from here one goes on when a condition fails later."""
        self._tombstones += state.new_tombstones
        self._links += state.new_links
        state.keep()

    def _settle(self, state: _State) -> LogEnd | None:
        """Set the sequence item, with the writes that are left; `None` when the log goes on."""
        sequence = self._table.get_sequence(self._project_id, self._table.deadline())
        if reaches(sequence) != state.at:
            change, sequence = read_sequence(self._table, self._project_id, state.at + 1)
            if change is not None:
                return None
        while state.at < reaches(sequence):
            self._seal(state)
        repairs = int(sequence["repairs"]["N"]) if sequence is not None and "repairs" in sequence else 0
        end = state.counts.end(state.at, state.link, repairs + 1)
        try:
            self._write([*state.actions, repair_sequence(self._table.name, self._project_id, sequence, end)])
        except TransactionCanceled as error:
            if not error.is_transient or any(reason.get("Code") not in (None, "None") for reason in error.reasons[:-1]):
                raise
            return None  # a writer was faster, and nothing else is wrong: what is planned still holds
        self._keep(state)
        self._table.known_heads.note(self._project_id, state.at)
        return end


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"


class _PartlyVisible(Exception):
    """A number is not there, though nothing is wrong: look again."""


class _State:
    """How far the pass is: the last number, its link, the counts so far, and what is planned but not written yet."""

    __slots__ = ("_kept", "actions", "at", "counts", "link", "new_links", "new_tombstones", "size")

    def __init__(self) -> None:
        self.at = 0
        self.link = GENESIS
        self.counts = Counts({}, {})
        self.keep()

    def add(self, change: Change) -> None:
        """Go on past a change."""
        self.at, self.link = change.seq, change.chain
        self.counts.add(change)

    def keep(self) -> None:
        """Note this place: everything up to here is written."""
        self._kept = (self.at, self.link, self.counts.copy())
        self._clear()

    def back(self) -> None:
        """Go back to the place that was noted last."""
        self.at, self.link, counts = self._kept
        self.counts = counts.copy()
        self._clear()

    def _clear(self) -> None:
        self.actions: list[dict[str, Any]] = []
        self.size = self.new_links = self.new_tombstones = 0
