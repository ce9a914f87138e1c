"""Reading: pages, cursors, gaps, statistics, projects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import InvalidInput, LogDamaged, NotFound
from sltt_core.log.pages import Page
from sltt_core.model.chain import GENESIS
from tests.contract.logs import Log, Reachable, batch, everything, new

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService


def test_every_limit_and_every_cursor_give_the_same_log(storage: Reachable) -> None:
    count = 13
    storage.create_changes(batch(count))
    storage.create_changes(batch(5, "q"))
    whole = everything(storage)
    assert len(whole) == count
    for limit in range(1, count + 2):
        assert everything(storage, limit=limit) == whole
        for cursor in range(count + 1):
            page = storage.get_changes_with_cursor(cursor, limit, project_id="p")
            assert list(page.changes) == whole[cursor : cursor + limit]
            assert page.through == min(cursor + limit, count)
            assert page.chain == (whole[page.through - 1].chain if page.through else GENESIS)
            assert page.cursor == (page.through if page.through < count else None)


def test_a_project_without_changes_reads_as_empty(storage: Reachable) -> None:
    assert storage.get_changes_with_cursor(project_id="nobody") == Page((), 0, GENESIS, None)
    assert storage.get_change_stats(project_id="nobody").as_tuple() == (0, 0, 0, 0)
    assert storage.get_entity_type_stats(project_id="nobody") == {}
    with pytest.raises(NotFound):
        storage.get_change(1, project_id="nobody")


def test_a_cursor_beyond_the_end_gives_an_empty_page(storage: Reachable) -> None:
    storage.create_changes(batch(3))
    assert storage.get_changes_with_cursor(3, project_id="p").changes == ()
    assert storage.get_changes_with_cursor(99, project_id="p") == Page((), 99, None, None)


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30, True, 1.0, "1", None])
def test_a_limit_outside_1_to_1000_is_refused(direct_storage: BaseStorageService, limit: Any) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        direct_storage.get_changes_with_cursor(0, limit, project_id="p")
    with pytest.raises(InvalidInput, match="limit"):
        direct_storage.get_all_projects(None, limit)


@pytest.mark.parametrize("cursor", [-1, 2**40, 10**30, True, 1.0, "1", None])
def test_a_cursor_that_is_not_a_number_is_refused(direct_storage: BaseStorageService, cursor: Any) -> None:
    for read in (direct_storage.get_changes_with_cursor, direct_storage.get_changes_since):
        with pytest.raises(InvalidInput, match="cursor"):
            read(cursor, project_id="p")
    with pytest.raises(InvalidInput, match="cursor"):
        direct_storage.wait_for_changes(cursor, 0, project_id="p")


@pytest.mark.parametrize("seq", [0, -1, 2**40, "1", None])
def test_an_impossible_sequence_number_is_refused(direct_storage: BaseStorageService, seq: Any) -> None:
    with pytest.raises(InvalidInput, match="seq"):
        direct_storage.get_change(seq, project_id="p")


def test_a_page_holds_at_most_4_megabytes_and_at_least_one_change(log: Log) -> None:
    storage = log.reach()
    large = '{"text":"' + "é" * 190_000 + '"}'
    for _ in range(3):
        storage.create_changes(batch(9, data=large))
    pages, cursor = [], 0
    while True:
        page = storage.get_changes_with_cursor(cursor, project_id="p")
        size = sum(len(change.to_json().encode()) for change in page.changes)
        assert size <= 4_000_000
        pages.append(len(page.changes))
        if page.cursor is None:
            break
        cursor = page.cursor
    assert sum(pages) == 27
    assert pages == [10, 10, 7]
    small = log.open(page_bytes=100)
    assert [change.seq for change in small.get_changes_with_cursor(5, project_id="p").changes] == [6]


def test_the_iterator_reads_the_whole_log_a_page_at_a_time(direct: Log) -> None:
    storage = direct.open()
    storage.create_changes(batch(2500))
    asked: list[int] = []
    run = storage._run

    def watch(project_id: str, cursor: int, limit: int, chain: str | None) -> Any:
        asked.append(cursor)
        return run(project_id, cursor, limit, chain)

    storage._run = watch  # type: ignore[method-assign]
    changes = storage.get_changes_since(project_id="p")
    assert asked == [0]
    assert [next(changes).seq for _ in range(1000)] == list(range(1, 1001))
    assert asked == [0]
    assert [change.seq for change in changes] == list(range(1001, 2501))
    assert asked == [0, 1000, 2000]
    assert [change.seq for change in storage.get_changes_since(2498, project_id="p")] == [2499, 2500]


@pytest.mark.parametrize("missing", [1, 4, 5])
def test_a_reader_stops_before_a_gap_and_gets_the_missing_number(log: Log, missing: int) -> None:
    storage = log.reach()
    storage.create_changes(batch(6))
    log.lose("p", missing)
    if missing > 1:
        page = storage.get_changes_with_cursor(0, project_id="p")
        assert [change.seq for change in page.changes] == list(range(1, missing))
        assert page.cursor == page.through == missing - 1
    for _ in range(2):
        with pytest.raises(LogDamaged, match=f"change {missing} "):
            storage.get_changes_with_cursor(missing - 1, project_id="p")
    with pytest.raises(NotFound):
        storage.get_change(missing, project_id="p")


def test_a_gap_at_the_end_is_reported(log: Log) -> None:
    storage = log.reach()
    storage.create_changes(batch(6))
    log.lose("p", 6)
    with pytest.raises(LogDamaged, match="change 6 "):
        storage.get_changes_with_cursor(5, project_id="p")


def test_statistics_match_the_log(storage: Reachable) -> None:
    operations = ["create", "update", "update", "delete", None]
    given = [new(entity_type=f"t{number % 3}", operation=operations[number % 5]) for number in range(150)]
    storage.create_changes(given)
    storage.create_changes(batch(7, "other"))
    assert storage.get_change_stats(project_id="p").as_tuple() == (150, 60, 60, 30)
    assert storage.get_entity_type_stats(project_id="p") == {"t0": 50, "t1": 50, "t2": 50}
    assert list(storage.get_entity_type_stats(project_id="p")) == ["t0", "t1", "t2"]


def test_projects_are_listed_in_order_page_by_page(storage: Reachable) -> None:
    names = ["b", "a", "Z", "a.1", "a-1", "a~", "0", "p" * 128, "a@x", "a:x", "a+x", "a_x"]
    for name in names:
        storage.create_change(new(project_id=name))
    for limit in range(1, len(names) + 2):
        found: list[str] = []
        cursor = None
        while True:
            page = storage.get_all_projects(cursor, limit)
            assert len(page.projects) <= limit
            found += page.projects
            cursor = page.cursor
            if cursor is None:
                break
        assert found == sorted(names)
    assert storage.get_all_projects("a-zzz").projects[0] == "a.1"


def test_outdated_changes_are_left_out_on_demand(direct_storage: BaseStorageService) -> None:
    direct_storage.create_changes(batch(6))
    direct_storage.mark_as_outdated(2, 5, project_id="p")
    direct_storage.mark_as_outdated(3, 4, project_id="p")
    page = direct_storage.get_changes_not_outdated(project_id="p")
    assert [change.seq for change in page.changes] == [1, 4, 5, 6]
    page = direct_storage.get_changes_not_outdated(1, 2, project_id="p")
    assert [change.seq for change in page.changes] == [4, 5]
    assert (page.through, page.cursor) == (5, 5)
    assert page.chain == direct_storage.get_change(5, project_id="p").chain
    assert direct_storage.get_changes_not_outdated(6, project_id="p").through == 6


def test_the_ends_of_many_logs_are_read_together(direct: Log) -> None:
    storage = direct.open()
    names = [f"p{number}" for number in range(1203)]
    for number in (0, 1, 499, 500, 501, 1000, 1202):
        storage.create_changes(batch(number % 7 + 1, names[number]))
    heads = {names[number]: number % 7 + 1 for number in (0, 1, 499, 500, 501, 1000, 1202)}
    assert storage.get_heads(names) == heads
    assert storage.get_heads([]) == {}
    assert direct.open("p1").get_heads(["p1"]) == {"p1": 2}
    with pytest.raises(NotFound):
        direct.open("p1").get_heads(["p1", "p2"])
    with pytest.raises(InvalidInput):
        storage.get_heads(["a#b"])
