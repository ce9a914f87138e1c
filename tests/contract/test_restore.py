"""`restore_changes`: a log is restored exactly, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import InvalidBatch
from tests.contract.logs import Log, batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.changes import Change


@pytest.fixture
def source(direct_storage: BaseStorageService) -> list[Change]:
    """A log with all kinds of changes."""
    direct_storage.create_changes(
        [new("x", operation="update", cid="c", change_by="Ruth", timestamp="2020-01-01T00:00Z")]
    )
    direct_storage.create_changes([new("x", operation="delete", entity_type="note"), *batch(250)])
    direct_storage.mark_as_outdated(1, 2, project_id="p")
    return everything(direct_storage)


@pytest.fixture
def target(direct: Log, tmp_path: Path) -> Iterator[BaseStorageService]:
    folder = tmp_path / "target"
    folder.mkdir()
    log = type(direct)(folder)
    yield log.open()
    log.close()


def test_a_log_is_restored_exactly(
    source: list[Change], target: BaseStorageService, direct_storage: BaseStorageService
) -> None:
    head = target.restore_changes(source[:100])
    assert head.as_tuple() == (100, source[99].chain)
    assert target.restore_changes(iter(source[100:])) == direct_storage.get_head(project_id="p")
    assert everything(target) == source
    assert target.get_change_stats(project_id="p") == direct_storage.get_change_stats(project_id="p")
    assert target.get_entity_type_stats(project_id="p") == direct_storage.get_entity_type_stats(project_id="p")
    added = target.create_change(new())
    assert added.seq == len(source) + 1


def test_changes_that_do_not_continue_the_log_are_all_refused(source: list[Change], target: BaseStorageService) -> None:
    target.restore_changes(source[:5])
    altered = source[7].replace(data_json='{"a":1}')
    elsewhere = source[7].replace(project_id="q")
    for changes, index, reason in (
        ([], None, "the batch is empty"),
        (source[:5], 0, "the next number of the log is 6"),
        (source[6:9], 0, "the next number of the log is 6"),
        ([source[5], source[7]], 1, "the next number of the log is 7"),
        ([*source[5:7], altered], 2, "chain"),
        ([*source[5:7], elsewhere], 2, "to project q"),
        ([source[5].replace(chain="A" * 22)], 0, "chain"),
        ([*source[5:200], altered], 195, "the next number of the log is 201"),
    ):
        with pytest.raises(InvalidBatch, match=reason) as caught:
            target.restore_changes(changes)
        assert caught.value.failed_at_index == index
        assert everything(target) == source[:5]


def test_another_history_is_refused(source: list[Change], target: BaseStorageService) -> None:
    target.create_changes(batch(5))
    with pytest.raises(InvalidBatch, match="chain"):
        target.restore_changes(source[5:])
