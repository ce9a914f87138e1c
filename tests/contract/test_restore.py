"""`restore_changes`: a log is restored exactly, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import InvalidBatch
from sltt_core.model.chain import link_of
from sltt_core.model.changes import Change
from tests.contract.logs import Log, batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService


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


NOT_READABLE: dict[str, list[object]] = {
    "entity_type": [None, "", "a b", "x" * 65, 7, b"note"],
    "entity_id": [None, "", "a\nb", "x" * 256, "\ud800", 7],
    "operation": [None, "", "drop", "CREATE", 1],
    "timestamp": [None, "", "yesterday", "2020-02-30T00:00:00Z", 1_740_000_000],
    "cloud_at": [None, "", "now", "2020-01-01T24:00:00Z", 1.5],
    "data_json": [None, "", "[]", "{", '{"a":1}x', '{"a":NaN}', '{"a":1,"a":2}', {}],
    "outdated_by": [0, -1, 1.5, "2", True, 10**13],
    "cid": [7, b"c", "\ud800"],
    "change_by": [7, ["ada"], "\ud800"],
    "chain": [None, "", "A" * 21, "A" * 23, "!" * 22, 7],
    "request_key": ["", "key", 7, f"key-0123456789abcdef 0 0 0 {'a' * 64}", f"short 0 0 1 {'a' * 64}"],
}
"""Values of each field that a read would report as damage."""


@pytest.mark.parametrize("name", NOT_READABLE)
def test_a_change_that_no_read_accepts_is_refused_with_its_field(
    source: list[Change], target: BaseStorageService, name: str
) -> None:
    """Its link can be right, because its author can compute the link. It was stored."""
    for value in NOT_READABLE[name]:
        bad = source[1].replace(**{name: value})
        if name != "chain":
            try:
                bad = bad.replace(chain=link_of(source[0].chain, bad))
            except (TypeError, ValueError, AttributeError):
                pass  # no link covers such a value
        with pytest.raises(InvalidBatch) as caught:
            target.restore_changes([source[0], bad])
        assert [problem.index for problem in caught.value.problems] == [1], value
        assert caught.value.problems[0].field == f"changes[1].{name}", value
    assert everything(target) == []
    assert list(target.verify(project_id="p")) == []


@pytest.mark.parametrize("seq", [True, 1.0, "1", None])
def test_a_number_of_another_type_is_refused(source: list[Change], target: BaseStorageService, seq: object) -> None:
    with pytest.raises(InvalidBatch, match="the next number of the log is 1"):
        target.restore_changes([source[0].replace(seq=seq)])
    assert everything(target) == []


def test_every_field_of_a_change_has_a_value_that_is_refused() -> None:
    assert set(NOT_READABLE) == set(Change.fields) - {"project_id", "seq"}
