"""Regression tests for bugs that the simulation found in the storage; they need no seed."""

from __future__ import annotations

from typing import Any

import pytest

from aws_backend.log.items import request_key, sequence_key
from sltt_core.base.errors import LogDamaged, PartialAppend
from tests.contract.logs import batch, everything, new
from tests.dynamodb_model.direct import TABLE, new_model, new_storage

KEY = "key-0123456789abcdef"


def test_a_page_that_a_stale_read_cut_short_has_a_cursor() -> None:
    """The page lacked the changes that the same process had just written, and claimed to be the last one."""
    model = new_model()
    storage = new_storage(model)
    storage.create_changes(batch(2))
    stale = model.version
    storage.create_changes(batch(3))
    model.view = lambda slot: slot.at(stale)
    page = storage.get_changes_with_cursor(0)
    assert (page.through, page.cursor) == (2, 2)
    assert len(list(storage.get_changes_since(0))) == 5


def test_the_change_at_the_cursor_does_not_count_for_the_page_size() -> None:
    """It did count. A page that was full only because of it claimed to be the last one."""
    storage = new_storage(new_model(), page_bytes=900_000)
    for number in range(6):
        storage.create_changes([new(f"e{number}", data={"text": "x" * 390_000})])
    assert [change.seq for change in everything(storage)] == [1, 2, 3, 4, 5, 6]


def test_a_page_with_one_change_larger_than_the_page_size_has_a_cursor() -> None:
    model = new_model()
    storage = new_storage(model, page_bytes=1_000)
    storage.create_changes([new(f"e{number}", data={"text": "x" * 2_000}) for number in range(3)])
    model.page_bytes = 1
    assert [change.seq for change in everything(storage)] == [1, 2, 3]


def test_a_late_response_does_not_undo_the_head_known_from_a_newer_append() -> None:
    """The response was older than the append, arrived after it, and was treated as a log that had become shorter."""
    model = new_model()
    storage = new_storage(model)
    storage.create_changes(batch(2))
    old = model.version
    call = model.call

    def overtaken(operation: str, payload: Any) -> Any:
        response = call(operation, payload)
        if operation == "GetItem" and payload["ConsistentRead"]:
            model.call = call  # type: ignore[method-assign]
            storage.create_changes(batch(3))
            model.view = lambda slot: slot.at(old)
        return response

    model.view = lambda slot: slot.at(old - 1)
    model.call = overtaken  # type: ignore[method-assign]
    storage.get_head()
    page = storage.get_changes_with_cursor(0)
    assert (page.through, page.cursor) == (2, 2)
    assert len(list(storage.get_changes_since(0))) == 5


def test_verify_finds_a_key_whose_chunk_is_incomplete_at_the_end_of_the_log() -> None:
    """Its first change was present, and the sequence item was behind. The key would have returned other numbers."""
    model = new_model()
    storage = new_storage(model)
    storage.create_changes(batch(2))
    before = model.call("GetItem", {"TableName": TABLE, "Key": sequence_key("p"), "ConsistentRead": True})["Item"]
    storage.create_changes(batch(2, entity_type="late"), KEY)
    model.call("PutItem", {"TableName": TABLE, "Item": before})
    model.call("DeleteItem", {"TableName": TABLE, "Key": {"pk": {"S": "p"}, "seq": {"N": "4"}}})
    restarted = new_storage(model)
    assert {finding.kind for finding in restarted.verify()} == {"value-behind", "request"}
    restarted.repair(dry_run=False)
    assert list(restarted.verify()) == []
    assert restarted.create_changes(batch(2, entity_type="late"), KEY).seqs == (4, 5)


@pytest.mark.parametrize("count", [9, 10, 12])
def test_a_chunk_that_does_not_fit_the_batch_is_damage(count: int) -> None:
    """The key of the first chunk was missing. The result had the numbers of other changes, or was an IndexError."""
    model = new_model()
    new_storage(model, chunk_changes=3).create_changes(batch(count), KEY)
    model.call("DeleteItem", {"TableName": TABLE, "Key": request_key("p", KEY, 0)})
    with pytest.raises(PartialAppend, match="lacks a chunk of the batch") as caught:
        new_storage(model, chunk_changes=5).create_changes(batch(count), KEY)
    assert isinstance(caught.value.cause, LogDamaged)
    assert caught.value.seqs[:6] == (count + 1, count + 2, count + 3, count + 4, count + 5, None)
