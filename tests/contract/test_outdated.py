"""`mark_as_outdated`: sets the only field of a stored change that can change."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import InvalidInput, NotFound
from sltt_core.model.chain import GENESIS, check_links
from tests.contract.logs import batch, everything, new

if TYPE_CHECKING:
    from tests.contract.logs import Log, Reachable


def test_the_greatest_number_remains_in_any_order(storage: Reachable) -> None:
    storage.create_changes(batch(5))
    for number, expected in ((3, 3), (5, 5), (4, 5)):
        assert storage.mark_as_outdated(2, number, project_id="p").outdated_by == expected
    assert storage.get_change(2, project_id="p").outdated_by == 5


def test_concurrent_marks_leave_the_greatest_number(direct: Log) -> None:
    services = [direct.open("p"), direct.open("p")]
    services[0].create_changes(batch(40))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: services[number % 2].mark_as_outdated(1, number), range(2, 41)))
    assert services[0].get_change(1).outdated_by == 40


@pytest.mark.parametrize("outdated_by", [1, 2])
def test_a_number_that_is_not_later_is_refused(storage: Reachable, outdated_by: int) -> None:
    storage.create_changes(batch(5))
    with pytest.raises(InvalidInput, match=f"outdated_by {outdated_by} is not later than 2") as caught:
        storage.mark_as_outdated(2, outdated_by, project_id="p")
    assert caught.value.field == "outdated_by"


def test_an_invalid_argument_is_reported_by_its_parameter(direct: Log) -> None:
    storage = direct.open()
    for call, field in (
        (lambda: storage.mark_as_outdated(1, 0, project_id="p"), "outdated_by"),
        (lambda: storage.mark_as_outdated(0, 1, project_id="p"), "seq"),
        (lambda: storage.get_head(), "project_id"),
        (lambda: storage.get_head(project_id="a/b"), "project_id"),
        (lambda: storage.get_all_projects("a/b"), "cursor"),
        (lambda: storage.create_change(new(project_id=None)), "changes[0].project_id"),
    ):
        with pytest.raises(InvalidInput) as caught:
            call()
        assert caught.value.field == field
        assert caught.value.message.startswith(field)


@pytest.mark.parametrize(("seq", "outdated_by"), [(6, 7), (2, 6)])
def test_marking_creates_no_change(storage: Reachable, seq: int, outdated_by: int) -> None:
    storage.create_changes(batch(5))
    before = everything(storage)
    with pytest.raises(NotFound):
        storage.mark_as_outdated(seq, outdated_by, project_id="p")
    with pytest.raises(NotFound):
        storage.mark_as_outdated(1, 2, project_id="nobody")
    assert everything(storage) == before
    assert storage.get_all_projects().projects == ("p",)


def test_marking_breaks_no_link(storage: Reachable) -> None:
    storage.create_changes(batch(5))
    storage.mark_as_outdated(2, 4, project_id="p")
    check_links(GENESIS, everything(storage))
