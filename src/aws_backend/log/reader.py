"""`LogReader`: the contiguous run after a cursor, from reads that may be stale or see half a transaction.

A `Query` is eventually consistent, and even a consistent one sees a transaction's items one by one (AWS, "DynamoDB
transactions: how it works", isolation: read-committed). So a run is cut at the first gap: what is not visible yet is
delayed, never passed over. What cannot be, by what this process knows, is looked at again, strongly, before it is told.
"""

from __future__ import annotations

from aws_backend.log.items import DAMAGED_HINT, StoredChanges, change_of, log_end_of
from sltt_core.base.errors import LogDamaged
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import wire_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from aws_backend.log.items import Item
    from aws_backend.log.table import LogTable
    from sltt_core.log.pages import Run
    from sltt_core.model.changes import Change

GAP_SECONDS = 2.0
"""How long a gap is looked at again, strongly, before the log is said to be damaged."""
GAP_PAUSE = 0.05
"""Between two looks at a gap."""
RESPONSE_BYTES = 1_048_576
"""Of items in one answer to a Query (AWS: "Constraints in Amazon DynamoDB")."""
WIRE_BYTES = 300
"""What a change takes in an answer of ours beyond twice what it takes as an item, at most."""


class LogReader:
    """Reads runs of logs in a table. Safe for use by several threads."""

    def __init__(self, table: LogTable, page_bytes: int) -> None:
        self._table = table
        self._page_bytes = page_bytes

    def read(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        """Return how far the log is known to reach, the link at the cursor if it has it, and the run after it.

        `chain` is the link that the reader expects, if it knows one. Raises `LogDamaged` for a gap right after the
        cursor that does not close.
        """
        table = self._table
        deadline = table.deadline()
        view = self._look(project_id, cursor, limit, deadline, strong=False)
        if not view.is_sound(table.known_heads.get(project_id), chain):
            view = self._look(project_id, cursor, limit, deadline, strong=True)
            if not view.is_sound(table.known_heads.get(project_id)):
                view = self._wait(project_id, view, deadline)
        table.known_heads.note(project_id, view.last)
        end, known, run = view.cut(self._page_bytes)
        # A weak look may have ended before what this process has written: there is more, and the next page finds it.
        return max(end, table.known_heads.get(project_id)) if run else end, known, run

    def _look(self, project_id: str, cursor: int, limit: int, deadline: float, *, strong: bool) -> _View:
        """Query the change at the cursor, for its link, the run, and one more, to know whether it goes on."""
        wanted = limit + 1 + (cursor > 0)
        items: list[Item] = []
        light = True
        pages = self._table.changes_from(project_id, max(cursor, 1), wanted, deadline, strong=strong)
        for responses, page in enumerate(pages, 1):
            items += page
            # As long as even the largest items fit on a page, nobody need measure them one by one.
            light = WIRE_BYTES * len(items) + 2 * RESPONSE_BYTES * responses <= self._page_bytes
            if not (light or self._has_room(items, cursor)):
                break
        return _View(items, cursor, limit, light)

    def _has_room(self, items: list[Item], cursor: int) -> bool:
        """Tell whether a page may hold more: only by a change that is cut off does one see that the log goes on."""
        run = items[1:] if items and items[0]["seq"]["N"] == str(cursor) else items
        return len(run) < 2 or _wire_size(run) <= self._page_bytes

    def _wait(self, project_id: str, view: _View, deadline: float) -> _View:
        """Look at what cannot be again and again, until it has changed or is certain."""
        table = self._table
        begin = table.runtime.steady_clock()
        until = begin + min(GAP_SECONDS, (deadline - begin) / 2)  # the rest is for making certain
        while True:
            if not view.run:  # the log may be shorter than it once was
                end = table.read_end(project_id, deadline).head
                if end.seq <= view.cursor:
                    view.end = end.seq
                    view.known = end.chain if end.seq == view.cursor else view.known
                    return view
            if table.is_late(until, GAP_PAUSE):
                return self._certain(project_id, view, deadline)
            table.runtime.pause(GAP_PAUSE)
            view = self._look(project_id, view.cursor, view.limit, deadline, strong=True)
            if view.is_sound(table.known_heads.get(project_id)):
                return view

    def _certain(self, project_id: str, view: _View, deadline: float) -> _View:
        """Read what is missing together with the log's end: now it is there, or the log is damaged."""
        missing = view.cursor + 1
        change, sequence = self._table.read_together(project_id, missing, deadline)
        if change is None and (view.run or missing < log_end_of(sequence, project_id).value):
            raise LogDamaged(f"change {missing} of project {project_id} is missing", hint=DAMAGED_HINT)
        return self._look(project_id, view.cursor, view.limit, deadline, strong=True)


class _View:
    """What one look showed: the change at the cursor, and what comes after."""

    __slots__ = ("_light", "_strong", "cursor", "end", "known", "last", "limit", "run")

    def __init__(self, items: list[Item], cursor: int, limit: int, light: bool) -> None:
        self.cursor = cursor
        self.limit = limit
        self.known: str | None = GENESIS
        """The link at the cursor."""
        if cursor:
            self.known = None
            if items and items[0]["seq"]["N"] == str(cursor):
                self.known = change_of(items.pop(0)).chain
        self.run = items
        self.last = int(items[-1]["seq"]["N"]) if items else 0
        """The last number after the cursor that was seen."""
        self.end = self.last or cursor
        """How far the log reaches."""
        self._light = light

    def is_sound(self, seen: int, *chain: str | None) -> bool:
        """Tell whether this may be the truth: nothing is missing right here of what is known to exist.

        `chain` is asked of a weak look alone: that the link is there, and the one that the reader expects, if any.
        """
        if chain and (self.known is None or chain[0] not in (None, self.known)):
            return False
        if self.run:
            return bool(self.run[0]["seq"]["N"] == str(self.cursor + 1))
        return self.known is not None and self.cursor >= seen

    def cut(self, page_bytes: int) -> Run:
        """Cut the run at the first gap, at the limit and at the bytes of a page."""
        run, cursor = self.run, self.cursor
        if self.last - cursor != len(run):  # a gap further on, or changes that have no place here
            end = (place for place, item in enumerate(run) if item["seq"]["N"] != str(cursor + place + 1))
            run = run[: next(end, len(run))]
        run = run[: self.limit]
        if not self._light:
            run = run[: _fitting(run, page_bytes)]
        changes: Sequence[Change] = StoredChanges(run) if run else ()  # type: ignore[assignment]
        return self.end, self.known, changes


def _wire_size(items: list[Item]) -> int:
    return sum([wire_size(change_of(item)) for item in items])


def _fitting(items: list[Item], max_bytes: int) -> int:
    """Return how many changes of a run fit in a page; at least one."""
    size = 0
    for place, item in enumerate(items):
        size += wire_size(change_of(item))
        if size > max_bytes and place:
            return place
    return len(items)
