"""What a reader asks for while a page is implausible, and until when: on a table that only notes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.log.items import NO_LOG, change_item, log_end_values, registry_values, sequence_key
from aws_backend.log.reader import GAP_PAUSE, LogReader
from aws_backend.log.table import KnownHeads
from sltt_core.base.errors import LogDamaged
from sltt_core.base.runtime import Runtime
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import wire_size
from tests.sltt_core.samples import log, new_change

if TYPE_CHECKING:
    from aws_backend.log.items import Item, LogEnd

CHANGES = log(*(new_change(entity_id=f"e{place}") for place in range(5)))
ITEMS: list[Item] = [change_item(change) for change in CHANGES]


class NotedTable:
    """A table with scripted responses. Time passes only in pauses."""

    def __init__(self, *responses: list[Item], end: LogEnd = NO_LOG, together: Any = (None, None)) -> None:
        self.responses = list(responses)
        """The items of each query; the last is repeated."""
        self.end = end
        self.together = together
        self.limit = 10.0
        self.page_bytes = 4_000_000
        self.one_by_one = False
        self.responses_read = 0
        self.now = 0.0
        self.known_heads = KnownHeads()
        self.runtime = Runtime(steady_clock=lambda: self.now, pause=self.pause)
        self.queries: list[tuple[int, int, float, bool]] = []
        self.ends: list[float] = []
        self.reads: list[tuple[int, float]] = []

    def pause(self, seconds: float) -> None:
        self.now += seconds

    def deadline(self) -> float:
        return self.now + self.limit

    def is_late(self, deadline: float, wait: float = 0.0) -> bool:
        return self.now + wait >= deadline

    def changes_from(
        self, project_id: str, first: int, limit: int, deadline: float, *, strong: bool
    ) -> Iterator[list[Item]]:
        self.queries.append((first, limit, deadline, strong))
        items = list(self.responses.pop(0) if len(self.responses) > 1 else self.responses[0])
        for response in [[item] for item in items] if self.one_by_one else [items]:
            self.responses_read += 1
            yield response

    def read_end(self, project_id: str, deadline: float) -> LogEnd:
        self.ends.append(deadline)
        return self.end

    def read_together(self, project_id: str, seq: int, deadline: float) -> Any:
        self.reads.append((seq, deadline))
        return self.together

    def read(self, cursor: int, chain: str | None = None) -> Any:
        table: Any = self
        return LogReader(table, self.page_bytes).read("ruth", cursor, 10, chain)


def end(value: int) -> LogEnd:
    return NO_LOG.replace(value=value, chain=CHANGES[value - 2].chain, exists=True)


def sequence(value: int) -> Item:
    return {**sequence_key("ruth"), **registry_values("ruth"), "format": {"N": "1"}, **log_end_values(end(value))}


def seqs(found: Any) -> list[int]:
    return [change.seq for change in found[2]]


def test_a_gap_that_closes_is_read_strongly_until_the_same_deadline() -> None:
    table = NotedTable(ITEMS[1:], ITEMS[1:], ITEMS[1:], ITEMS)
    assert seqs(table.read(0)) == [1, 2, 3, 4, 5]
    assert table.queries == [(1, 11, 10.0, False), *[(1, 11, 10.0, True)] * 3]
    assert table.now == pytest.approx(2 * GAP_PAUSE)


@pytest.mark.parametrize(("limit", "seconds"), [(10.0, 2.0), (1.0, 0.5)])
def test_a_gap_that_stays_is_confirmed_after_two_seconds_or_half_of_the_time(limit: float, seconds: float) -> None:
    table = NotedTable(ITEMS[1:])
    table.limit = limit
    with pytest.raises(LogDamaged, match="change 1 of project ruth is missing"):
        table.read(0)
    assert seconds - 2 * GAP_PAUSE <= table.now <= seconds
    assert table.reads == [(1, limit)]
    assert {query[2:] for query in table.queries[1:]} == {(limit, True)}


def test_a_gap_that_only_the_transaction_closes_is_queried_again() -> None:
    responses: list[list[Item]] = [ITEMS[1:]]
    table = NotedTable(*responses, together=(ITEMS[0], sequence(6)))
    original = table.read_together

    def closing(project_id: str, seq: int, deadline: float) -> Any:
        table.responses = [ITEMS]
        return original(project_id, seq, deadline)

    table.read_together = closing  # type: ignore[method-assign]
    assert seqs(table.read(0)) == [1, 2, 3, 4, 5]
    assert table.queries[-1] == (1, 11, 10.0, True)


@pytest.mark.parametrize(("value", "missing"), [(4, True), (3, False)])
def test_an_empty_page_is_damage_only_if_the_log_goes_on(value: int, missing: bool) -> None:
    """The change at the cursor is there, and none after it, although this process has seen more."""
    table = NotedTable(ITEMS[1:2], end=end(5), together=(None, sequence(value)))
    table.known_heads.note("ruth", 4)
    if missing:
        with pytest.raises(LogDamaged, match="change 3 of project ruth is missing"):
            table.read(2)
    else:
        assert table.read(2) == (2, CHANGES[1].chain, ())
    assert set(table.ends) == {10.0}


@pytest.mark.parametrize(("value", "link"), [(3, CHANGES[1].chain), (2, None)])
def test_a_log_that_became_shorter_is_read_to_its_end(value: int, link: str | None) -> None:
    table = NotedTable([], end=end(value))
    table.known_heads.note("ruth", 5)
    last, known, run = table.read(2)
    assert (last, known, len(run)) == (value - 1, link, 0)
    assert len(table.queries) == 2


def test_a_page_that_lacks_what_this_process_has_seen_is_read_again() -> None:
    table = NotedTable(ITEMS[1:2], ITEMS[1:2], ITEMS[1:2], ITEMS[1:], end=end(6))
    table.known_heads.note("ruth", 5)
    assert seqs(table.read(2)) == [3, 4, 5]
    assert len(table.queries) == 4


def wire_bytes(first: int, last: int) -> int:
    return sum(wire_size(change) for change in CHANGES[first:last])


@pytest.mark.parametrize(("spare", "found", "read"), [(0, 2, 3), (-1, 1, 2)])
@pytest.mark.parametrize("cursor", [0, 1])
def test_a_page_has_what_fits_and_one_more_change_is_read(cursor: int, spare: int, found: int, read: int) -> None:
    """One change that does not fit shows that the log goes on. The change at the cursor takes no room."""
    table = NotedTable(ITEMS)
    table.one_by_one = True
    table.page_bytes = wire_bytes(cursor, cursor + 2) + spare
    last, _, run = table.read(cursor)
    assert [change.seq for change in run] == list(range(cursor + 1, cursor + 1 + found))
    assert (table.responses_read, last) == (cursor + read, cursor + read)


@pytest.mark.parametrize("cursor", [0, 1])
def test_a_page_ends_before_a_gap(cursor: int) -> None:
    table = NotedTable([*ITEMS[:3], *ITEMS[4:]])
    last, known, run = table.read(cursor)
    assert [change.seq for change in run] == list(range(cursor + 1, 4))
    assert (last, known) == (5, CHANGES[0].chain if cursor else GENESIS)


def test_a_page_of_few_large_changes_has_what_fits() -> None:
    large = log(*(new_change(data={"text": "x" * 5_000}) for _ in range(3)))
    table = NotedTable([change_item(change) for change in large])
    table.page_bytes = 2 * wire_size(large[0])
    assert seqs(table.read(0)) == [1, 2]


def test_a_process_remembers_the_last_number_that_it_has_read() -> None:
    table = NotedTable(ITEMS)
    table.read(0)
    assert table.known_heads.get("ruth") == 5


FOREIGN: Item = {**ITEMS[4], "seq": {"N": "5.5"}}
"""An item that another program put among the changes."""


def test_a_page_ends_before_an_item_whose_number_is_none_and_the_next_page_reports_it() -> None:
    table = NotedTable([*ITEMS[:2], FOREIGN, ITEMS[4]])
    last, _, run = table.read(0)
    assert ([change.seq for change in run], last) == ([1, 2], 3)
    table = NotedTable([ITEMS[1], FOREIGN, ITEMS[4]])
    with pytest.raises(LogDamaged, match=r"^project ruth has an item with the number 5\.5$"):
        table.read(2)


def test_a_first_item_whose_number_is_none_is_reported() -> None:
    table = NotedTable([FOREIGN])
    with pytest.raises(LogDamaged, match=r"^project ruth has an item with the number 5\.5$"):
        table.read(0)


def test_a_damaged_sequence_item_is_reported_with_its_project() -> None:
    table = NotedTable(ITEMS[1:2], end=end(5), together=(None, {**sequence(4), "value": {"S": "four"}}))
    table.known_heads.note("ruth", 4)
    with pytest.raises(LogDamaged, match="project ruth"):
        table.read(2)
