"""`wait_for_changes`: a change of any process, or a timeout."""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tests.contract.logs import batch
from tests.contract.workers import start_writer

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService
    from tests.contract.logs import Log


def test_an_existing_change_ends_the_wait_immediately(direct_storage: BaseStorageService) -> None:
    direct_storage.create_changes(batch(3))
    assert direct_storage.wait_for_changes(2, 0, project_id="p")
    assert not direct_storage.wait_for_changes(3, 0, project_id="p")
    assert not direct_storage.wait_for_changes(9, 0, project_id="p")


def test_a_wait_without_changes_times_out(direct_storage: BaseStorageService) -> None:
    direct_storage.create_changes(batch(3, "other"))
    assert not direct_storage.wait_for_changes(0, 0.06, project_id="p")


@pytest.mark.parametrize("same_service", [True, False])
def test_a_change_wakes_a_waiting_thread(direct: Log, same_service: bool) -> None:
    reader = direct.open("p")
    writer = reader if same_service else direct.open("p")
    results: list[bool] = []
    waiting = Thread(target=lambda: results.append(reader.wait_for_changes(0, 30)))
    waiting.start()
    writer.create_changes(batch(1))
    waiting.join(30)
    assert results == [True]


def test_a_change_of_another_process_ends_the_wait(direct: Log) -> None:
    reader = direct.open("p")
    with start_writer(direct, "p", batches=1, size=1):
        assert reader.wait_for_changes(0, 30)
