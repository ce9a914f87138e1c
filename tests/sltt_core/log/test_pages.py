from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base.errors import ChainMismatch, LogDamaged, SlttError
from sltt_core.log.pages import (
    ALL,
    EMPTY_LOG,
    MAX_EXAMINED,
    MAX_LIMIT,
    PAGE_BYTES,
    ChangeFilter,
    Page,
    chain_mismatch,
    check_limit,
    contiguous_run,
    filtered_page,
)
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import Change, wire_size
from tests.sltt_core.samples import change

MUCH = 10**9


def seqs(changes: Iterable[Change]) -> list[int]:
    return [item.seq for item in changes]


def changes_of(*numbers: int) -> list[Change]:
    return [change(seq=number) for number in numbers]


@pytest.mark.parametrize(
    ("stored", "cursor", "run"),
    [
        ([], 0, []),
        ([1], 0, [1]),
        ([1, 2, 3], 0, [1, 2, 3]),
        ([4, 5], 3, [4, 5]),
        ([1, 2, 4, 5], 0, [1, 2]),
        ([1, 3, 4], 0, [1]),
        ([2, 3], 0, []),
        ([6, 7], 4, []),
        ([1, 1, 2], 0, [1]),
        ([1, 2], 1, []),  # what is before the cursor is no run after it
        ([3, 2, 1], 2, [3]),
    ],
)
def test_a_run_ends_at_the_first_gap(stored: list[int], cursor: int, run: list[int]) -> None:
    assert seqs(contiguous_run(changes_of(*stored), cursor, MUCH)) == run


@settings(deadline=None, max_examples=100)
@given(st.sets(st.integers(1, 12)), st.integers(0, 12), st.integers(1, 3000))
def test_a_run_never_skips_a_number(stored: set[int], cursor: int, max_bytes: int) -> None:
    run = contiguous_run([change(seq=number) for number in sorted(stored) if number > cursor], cursor, max_bytes)
    assert seqs(run) == list(range(cursor + 1, cursor + 1 + len(run)))
    assert {item.seq for item in run} <= stored
    if not run:
        assert cursor + 1 not in stored
    elif cursor + len(run) + 1 in stored:  # it stopped for the bytes
        assert sum(map(wire_size, run)) + wire_size(change()) > max_bytes
    assert sum(map(wire_size, run[1:])) <= max_bytes


def test_a_run_ends_before_it_grows_too_large() -> None:
    stored = changes_of(1, 2, 3)
    each = wire_size(stored[0])
    for max_bytes, count in [(3 * each, 3), (3 * each - 1, 2), (2 * each, 2), (2 * each - 1, 1), (each, 1), (1, 1)]:
        assert len(contiguous_run(stored, 0, max_bytes)) == count


def test_the_first_change_is_taken_whatever_its_size() -> None:
    large = change(data_json='{"a":"%s"}' % ("x" * 5000))
    assert contiguous_run([large, change(seq=2)], 0, 1000) == [large]
    assert contiguous_run([change(), large.replace(seq=2), change(seq=3)], 0, 1000) == [change()]


def test_only_the_needed_rows_are_read() -> None:
    def stored() -> Iterator[Change]:
        yield from changes_of(1, 2, 4)
        raise AssertionError("read on behind the gap")

    assert seqs(contiguous_run(stored(), 0, MUCH)) == [1, 2]


def test_the_limits_of_a_page() -> None:
    assert (MAX_LIMIT, MAX_EXAMINED, PAGE_BYTES) == (1000, 10_000, 4_000_000)


def test_an_empty_log_ends_before_its_first_change() -> None:
    assert EMPTY_LOG.as_tuple() == (0, GENESIS)


# Narrowed pages.

LOG = [
    change(
        seq=number,
        entity_type="note" if number % 2 else "video",
        entity_id=f"e{number % 5}",
        outdated_by=99 if number % 3 == 0 else None,
        chain=f"{number:022}",
    )
    for number in range(1, 31)
]


@pytest.mark.parametrize(
    ("filter", "kept"),
    [
        (ALL, list(range(1, 31))),
        (ChangeFilter(frozenset({"note"})), list(range(1, 31, 2))),
        (ChangeFilter(frozenset({"note", "video"})), list(range(1, 31))),
        (ChangeFilter(frozenset({"none"})), []),
        (ChangeFilter(entity_ids=frozenset({"e0", "e4"})), [n for n in range(1, 31) if n % 5 in (0, 4)]),
        (ChangeFilter(frozenset({"note"}), frozenset({"e0"})), [5, 15, 25]),
        (ChangeFilter(outdated=False), [n for n in range(1, 31) if n % 3]),
        (ChangeFilter(frozenset({"note"}), frozenset({"e0"}), False), [5, 25]),
    ],
)
def test_changes_that_do_not_match_the_filter_are_left_out(filter: ChangeFilter, kept: list[int]) -> None:
    assert [item.seq for item in LOG if filter.matches(item)] == kept


def pages(size: int, cursor: int = 0, end: int = 30) -> Iterator[Page]:
    """The pages of the log as a storage returns them."""
    while True:
        run = LOG[cursor : min(cursor + size, end)]
        link = run[-1].chain if run else f"{cursor:022}"
        through = cursor + len(run)
        yield Page(tuple(run), through, link, through if through < end else None)
        if through >= end:
            raise AssertionError("asked for a page behind the last")
        cursor = through


def narrowed(filter: ChangeFilter, limit: int, cursor: int = 0, size: int = 7, max_bytes: int = MUCH) -> Page:
    following = pages(size, cursor)
    return filtered_page(next(following), following, cursor, limit, filter, max_bytes)


@pytest.mark.parametrize("size", [1, 2, 7, 15, 30, 100])
@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
@pytest.mark.parametrize(
    "filter", [ChangeFilter(frozenset({"note"})), ChangeFilter(frozenset({"none"})), ChangeFilter(outdated=False)]
)
def test_filtered_pages_have_each_matching_change_once(filter: ChangeFilter, limit: int, size: int) -> None:
    found: list[int] = []
    cursor: int | None = 0
    while cursor is not None:
        page = narrowed(filter, limit, cursor, size)
        assert page.chain == f"{page.through:022}"
        assert page.cursor == (page.through if page.through < 30 else None)
        assert len(page.changes) <= limit
        assert page.through > cursor
        found += seqs(page.changes)
        cursor = page.cursor
    assert found == [item.seq for item in LOG if filter.matches(item)]


def test_a_filtered_page_ends_at_its_last_change_or_at_the_end() -> None:
    assert narrowed(ChangeFilter(frozenset({"video"})), 3).through == 6
    assert narrowed(ChangeFilter(frozenset({"video"})), 1000).through == 30
    at_the_end = narrowed(ChangeFilter(frozenset({"video"})), 1000, cursor=30)
    assert (at_the_end.changes, at_the_end.through, at_the_end.chain, at_the_end.cursor) == ((), 30, f"{30:022}", None)


def test_a_filtered_page_ends_before_it_grows_too_large() -> None:
    notes = ChangeFilter(frozenset({"note"}))
    each = wire_size(LOG[0])
    page = narrowed(notes, 1000, max_bytes=2 * each)
    assert (seqs(page.changes), page.through, page.cursor) == ([1, 3], 4, 4)
    assert seqs(narrowed(notes, 1000, max_bytes=1).changes) == [1]


def test_a_filtered_page_ends_before_a_gap() -> None:
    def damaged() -> Iterator[Page]:
        yield Page(tuple(LOG[:7]), 7, LOG[6].chain, 7)
        raise LogDamaged("change 8 is missing")

    following = damaged()
    page = filtered_page(next(following), following, 0, 1000, ChangeFilter(frozenset({"video"})), MUCH)
    assert (seqs(page.changes), page.through, page.cursor, page.chain) == ([2, 4, 6], 7, 7, LOG[6].chain)


def test_a_filtered_page_examines_a_limited_number_of_changes() -> None:
    def endless(cursor: int) -> Iterator[Page]:
        while True:
            run = tuple(change(seq=seq, chain=f"{seq:022}") for seq in range(cursor + 1, cursor + 1001))
            cursor += 1000
            yield Page(run, cursor, run[-1].chain, cursor)

    following = endless(500)
    page = filtered_page(next(following), following, 500, 10, ChangeFilter(frozenset({"none"})), MUCH)
    through = 500 + MAX_EXAMINED
    assert page == Page((), through, f"{through:022}", through)


# What a reader's link is compared with.


@pytest.mark.parametrize(
    ("cursor", "known", "kind", "message"),
    [
        (3, "k" * 22, ChainMismatch, f"project ruth has the link {'k' * 22} at 3, not {'c' * 22}"),
        (6, None, ChainMismatch, "project ruth ends at 5, before 6"),
        (3, None, LogDamaged, "change 3 of project ruth is missing"),
        (5, None, LogDamaged, "change 5 of project ruth is missing"),
    ],
)
def test_a_chain_mismatch_is_explained(cursor: int, known: str | None, kind: type[SlttError], message: str) -> None:
    error = chain_mismatch("ruth", cursor, 5, "c" * 22, known)
    assert (type(error), str(error)) == (kind, message)


@pytest.mark.parametrize("limit", [1, 500, 1000])
def test_a_limit_from_1_to_1000_is_accepted(limit: int) -> None:
    assert check_limit(limit) == limit


@pytest.mark.parametrize("limit", [0, -1, 1001, True, 1.0, "5", None])
def test_an_invalid_limit_is_refused(limit: object) -> None:
    with pytest.raises(ValueError, match=r"^is not an integer from 1 to 1000$"):
        check_limit(limit)


def test_different_pages_have_different_states() -> None:
    one, two, three = changes_of(1, 2, 3)
    marked = change(seq=2, outdated_by=3)
    pages = [
        Page((), 0, GENESIS, None),
        Page((one,), 1, one.chain, None),
        Page((one,), 1, one.chain, 1),
        Page((one,), 1, GENESIS, 1),
        Page((one, two), 2, two.chain, 2),
        Page((one, marked), 2, two.chain, 2),
        Page((one, change(seq=2, outdated_by=4)), 2, two.chain, 2),
        Page((one,), 2, two.chain, 2),
        Page((two,), 2, two.chain, 2),
        Page((marked,), 2, two.chain, 2),
        Page((one, two, three), 3, three.chain, None),
    ]
    states = [page.state(0) for page in pages]
    assert len(set(states)) == len(pages)
    assert pages[0].state(0) == Page((), 0, GENESIS, None).state(0) != Page((), 1, GENESIS, None).state(1)


def test_the_state_of_a_whole_page_is_short() -> None:
    changes = tuple(changes_of(*range(1, 1001)))
    assert len(Page(changes, 1000, changes[-1].chain, None).state(0)) < 60
