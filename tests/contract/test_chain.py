"""The chain: readers find a log that was restored, replaced, truncated or altered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import ChainMismatch, InvalidInput
from sltt_core.model.chain import GENESIS, check_links
from tests.contract.logs import Log, Reachable, batch, everything, new

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService


def test_every_change_continues_the_chain(log: Log) -> None:
    storage = log.reach()
    for count in (1, 5, 99, 1):
        storage.create_changes(batch(count))
    whole = everything(storage)
    assert check_links(GENESIS, whole) == whole[-1].chain
    assert log.open().get_head(project_id="p").as_tuple() == (106, whole[-1].chain)


def test_a_reader_with_the_right_link_continues(storage: Reachable) -> None:
    storage.create_changes(batch(5))
    for cursor, change in enumerate(everything(storage), 1):
        page = storage.get_changes_with_cursor(cursor, project_id="p", chain=change.chain)
        assert len(page.changes) == 5 - cursor
    assert len(storage.get_changes_with_cursor(0, project_id="p", chain=GENESIS).changes) == 5
    assert storage.get_changes_with_cursor(0, project_id="nobody", chain=GENESIS).changes == ()


def test_a_link_of_another_history_is_refused(storage: Reachable) -> None:
    storage.create_changes(batch(5))
    links = [GENESIS, *(change.chain for change in everything(storage))]
    for cursor in range(6):
        for place, link in enumerate(links):
            if place != cursor:
                with pytest.raises(ChainMismatch):
                    storage.get_changes_with_cursor(cursor, project_id="p", chain=link)
    with pytest.raises(ChainMismatch, match="ends at 5"):
        storage.get_changes_with_cursor(6, project_id="p", chain=links[5])


@pytest.mark.parametrize("chain", ["", "A" * 21, "A" * 23, "A" * 21 + "=", "A" * 21 + "ä", "A" * 21 + "/"])
def test_an_invalid_link_is_refused(storage: Reachable, chain: str) -> None:
    with pytest.raises(InvalidInput, match="chain"):
        storage.get_changes_with_cursor(0, project_id="p", chain=chain)


def test_a_log_reset_to_an_older_state_is_found(log: Log) -> None:
    storage = log.reach()
    storage.create_changes(batch(5))
    known = storage.get_changes_with_cursor(0, project_id="p")
    older = everything(storage)[:3]
    log.forget_project("p")
    log.open().restore_changes(older)
    with pytest.raises(ChainMismatch):
        storage.get_changes_with_cursor(5, project_id="p", chain=known.chain)
    storage.create_changes([new("another"), new("history")])
    with pytest.raises(ChainMismatch):
        storage.get_changes_with_cursor(5, project_id="p", chain=known.chain)
    assert storage.get_changes_with_cursor(3, project_id="p", chain=older[-1].chain).through == 5


def test_a_log_that_was_replaced_is_found(log: Log) -> None:
    storage = log.reach()
    storage.create_changes(batch(5))
    known = storage.get_changes_with_cursor(0, project_id="p")
    log.forget_project("p")
    storage.create_changes(batch(5))
    with pytest.raises(ChainMismatch):
        storage.get_changes_with_cursor(5, project_id="p", chain=known.chain)


def test_checking_the_links_finds_an_altered_change(log: Log) -> None:
    storage = log.reach()
    storage.create_changes(batch(5))
    log.alter("p", 3, '{"tampered":true}')
    with pytest.raises(ChainMismatch, match="change 3 "):
        check_links(GENESIS, everything(storage))


def test_the_iterator_finds_a_log_that_is_replaced_meanwhile(direct: Log) -> None:
    storage: BaseStorageService = direct.open()
    storage.create_changes(batch(1500))
    changes = storage.get_changes_since(project_id="p")
    for _ in range(1000):
        next(changes)
    direct.forget_project("p")
    storage.create_changes(batch(1500))
    with pytest.raises(ChainMismatch):
        next(changes)
