"""`LogReader`: reads the contiguous changes after a cursor, from queries that may be stale or see half a transaction.

A `Query` is eventually consistent, and even a consistent one can see some items of a transaction before the others
(AWS, "DynamoDB transactions: how it works", isolation: read-committed). So the changes are cut at the first gap: a
change that is not visible yet is delayed, never skipped. If a result contradicts what this process knows, the reader
repeats the query with strong consistency before it returns or raises.
"""

from __future__ import annotations

from aws_backend.log.items import StoredChanges, change_of, log_end_of
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
"""How long, in seconds, a gap is read again with strong consistency before the log is reported as damaged."""
GAP_PAUSE = 0.05
"""Seconds between two reads of a gap."""
RESPONSE_BYTES = 1_048_576
"""Largest size of the items in a response to Query (AWS: "Constraints in Amazon DynamoDB")."""
WIRE_BYTES = 300
"""A change takes at most this many bytes in a response of the API, plus twice its size as an item."""


class LogReader:
    """Reads changes of the logs in a table. Safe for use by several threads."""

    def __init__(self, table: LogTable, page_bytes: int) -> None:
        self._table = table
        self._page_bytes = page_bytes

    def read(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        """Return the last known number of the log, the link at the cursor (or `None`), and the changes after it.

        `chain` is the link that the client expects at the cursor, if it sent one. Raises `LogDamaged` if the change
        right after the cursor is missing and does not appear.
        """
        table = self._table
        deadline = table.deadline()
        view = self._query(project_id, cursor, limit, deadline, strong=False)
        if not view.is_plausible(table.known_heads.get(project_id), chain):
            view = self._query(project_id, cursor, limit, deadline, strong=True)
            if not view.is_plausible(table.known_heads.get(project_id)):
                view = self._wait(project_id, view, deadline)
        table.known_heads.note(project_id, view.last)
        end, known, run = view.cut(self._page_bytes)
        # An eventually consistent query may miss the latest changes of this process. The next page returns them.
        return max(end, table.known_heads.get(project_id)) if run else end, known, run

    def _query(self, project_id: str, cursor: int, limit: int, deadline: float, *, strong: bool) -> _View:
        """Query the change at the cursor, for its link; `limit` changes after it; one more, to see if more follow."""
        wanted = limit + 1 + (cursor > 0)
        items: list[Item] = []
        light = True
        pages = self._table.changes_from(project_id, max(cursor, 1), wanted, deadline, strong=strong)
        for responses, page in enumerate(pages, 1):
            items += page
            # While items of the largest size would fit in the page, it is not necessary to measure each one.
            light = WIRE_BYTES * len(items) + 2 * RESPONSE_BYTES * responses <= self._page_bytes
            if not (light or self._has_room(items, cursor)):
                break
        return _View(items, cursor, limit, light)

    def _has_room(self, items: list[Item], cursor: int) -> bool:
        """Return whether to read another response: the query must go on until one change exceeds the page.

        Only a change that is cut off shows that the log has more.
        """
        run = items[1:] if items and items[0]["seq"]["N"] == str(cursor) else items
        return len(run) < 2 or _wire_size(run) <= self._page_bytes

    def _wait(self, project_id: str, view: _View, deadline: float) -> _View:
        """Repeat an implausible query until it is plausible, the log proves to be shorter, or `GAP_SECONDS` passed."""
        table = self._table
        begin = table.runtime.steady_clock()
        until = begin + min(GAP_SECONDS, (deadline - begin) / 2)  # the rest is for `_confirm`
        while True:
            if not view.run:  # the log may have been replaced by a shorter one
                end = table.read_end(project_id, deadline).head
                if end.seq <= view.cursor:
                    view.end = end.seq
                    view.known = end.chain if end.seq == view.cursor else view.known
                    return view
            if table.is_late(until, GAP_PAUSE):
                return self._confirm(project_id, view, deadline)
            table.runtime.pause(GAP_PAUSE)
            view = self._query(project_id, view.cursor, view.limit, deadline, strong=True)
            if view.is_plausible(table.known_heads.get(project_id)):
                return view

    def _confirm(self, project_id: str, view: _View, deadline: float) -> _View:
        """Read the missing change and the log's end in one transaction; query again if the log is in order.

        Raises `LogDamaged` if the change is really missing.
        """
        missing = view.cursor + 1
        change, sequence = self._table.read_together(project_id, missing, deadline)
        if change is None and (view.run or missing < log_end_of(sequence, project_id).value):
            raise LogDamaged(f"change {missing} of project {project_id} is missing")
        return self._query(project_id, view.cursor, view.limit, deadline, strong=True)


class _View:
    """The result of one query: the change at the cursor, and the changes after it."""

    __slots__ = ("_light", "_strong", "cursor", "end", "known", "last", "limit", "run")

    def __init__(self, items: list[Item], cursor: int, limit: int, light: bool) -> None:
        self.cursor = cursor
        self.limit = limit
        self.known: str | None = GENESIS
        """The link at the cursor; `None` if the query did not return that change."""
        if cursor:
            self.known = None
            if items and items[0]["seq"]["N"] == str(cursor):
                self.known = change_of(items.pop(0)).chain
        foreign = next((place for place, item in enumerate(items) if not item["seq"]["N"].isdigit()), None)
        if foreign == 0:
            raise LogDamaged(f"project {items[0]['pk']['S']} has an item with the number {items[0]['seq']['N']}")
        del items[foreign if foreign is not None else len(items) :]
        self.run = items
        self.last = int(items[-1]["seq"]["N"]) if items else 0
        """The last number after the cursor in the result; 0 if there is none."""
        self.end = (self.last or cursor) + (foreign is not None)  # the next page reports a number that is none
        """The last known number of the log."""
        self._light = light

    def is_plausible(self, seen: int, *chain: str | None) -> bool:
        """Return whether the result can be correct: no change is missing right after the cursor.

        `seen` is the greatest number that this process has seen. `chain` is passed for an eventually consistent query
        only: then the change at the cursor must be there, with this link unless it is `None`.
        """
        if chain and (self.known is None or chain[0] not in (None, self.known)):
            return False
        if self.run:
            return bool(self.run[0]["seq"]["N"] == str(self.cursor + 1))
        return self.known is not None and self.cursor >= seen

    def cut(self, page_bytes: int) -> Run:
        """Return the result of `LogReader.read`: cut at the first gap, at the limit and at the size of a page."""
        run, cursor = self.run, self.cursor
        if self.last - cursor != len(run):  # there is a gap, or numbers that do not follow the cursor
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
    """Return how many of the changes fit in a page; at least one."""
    size = 0
    for place, item in enumerate(items):
        size += wire_size(change_of(item))
        if size > max_bytes and place:
            return place
    return len(items)
