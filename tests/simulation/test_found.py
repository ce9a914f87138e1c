"""What the simulation found in the storage, each without a seed: what a storage has to do when DynamoDB does this."""

from __future__ import annotations

from typing import Any

import pytest

from aws_backend.log.items import request_key, sequence_key
from sltt_core.base.errors import LogDamaged, PartialAppend
from tests.contract.logs import batch, everything, new
from tests.dynamodb_model.direct import TABLE, new_model, new_storage

KEY = "key-0123456789abcdef"


def test_a_page_that_a_stale_read_cut_short_does_not_say_that_it_is_the_last() -> None:
    """It showed some changes, and not those that the same process had just written: "no more"."""
    model = new_model()
    storage = new_storage(model)
    storage.create_changes(batch(2))
    stale = model.version
    storage.create_changes(batch(3))
    model.sight = lambda slot: slot.at(stale)
    page = storage.get_changes_with_cursor(0)
    assert (page.through, page.cursor) == (2, 2)
    assert len(list(storage.get_changes_since(0))) == 5


def test_the_change_at_the_cursor_takes_no_room_on_the_page() -> None:
    """It did, and a page that was full with it, but not without it, said that there was no more."""
    storage = new_storage(new_model(), page_bytes=900_000)
    for number in range(6):
        storage.create_changes([new(f"e{number}", data={"text": "x" * 390_000})])
    assert [change.seq for change in everything(storage)] == [1, 2, 3, 4, 5, 6]


def test_one_change_larger_than_a_page_is_not_the_last() -> None:
    model = new_model()
    storage = new_storage(model, page_bytes=1_000)
    storage.create_changes([new(f"e{number}", data={"text": "x" * 2_000}) for number in range(3)])
    model.page_bytes = 1
    assert [change.seq for change in everything(storage)] == [1, 2, 3]


def test_an_answer_that_its_own_append_overtook_does_not_unsay_the_append() -> None:
    """It was read before, came after, and was taken for a log that had become shorter."""
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
            model.sight = lambda slot: slot.at(old)
        return response

    model.sight = lambda slot: slot.at(old - 1)
    model.call = overtaken  # type: ignore[method-assign]
    storage.get_head()
    page = storage.get_changes_with_cursor(0)
    assert (page.through, page.cursor) == (2, 2)
    assert len(list(storage.get_changes_since(0))) == 5


def test_verify_finds_a_key_whose_chunk_was_torn_at_the_end_of_the_log() -> None:
    """The first of its changes was there, and the sequence item was behind: the key would have answered for others."""
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
    """The first chunk's key was gone, and the second's was there: the numbers of other changes, or an IndexError."""
    model = new_model()
    new_storage(model, chunk_changes=3).create_changes(batch(count), KEY)
    model.call("DeleteItem", {"TableName": TABLE, "Key": request_key("p", KEY, 0)})
    with pytest.raises(PartialAppend, match="lacks a chunk of the batch") as caught:
        new_storage(model, chunk_changes=5).create_changes(batch(count), KEY)
    assert isinstance(caught.value.cause, LogDamaged)
    assert caught.value.seqs[:6] == (count + 1, count + 2, count + 3, count + 4, count + 5, None)
