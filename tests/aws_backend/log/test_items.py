"""Changes, log ends and requests as items: round trips, sizes, keys, and the JSON of a page."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws_backend.log.items import (
    NO_LOG,
    LogEnd,
    Request,
    StoredChanges,
    advanced,
    change_item,
    change_key,
    change_of,
    log_end_of,
    log_end_values,
    registry_values,
    request_item,
    request_key,
    request_of,
    sequence_key,
)
from aws_backend.log.rules import FORMAT
from sltt_core.base.errors import LogDamaged, NotALog
from sltt_core.log.batches import Chunk, number_changes
from sltt_core.log.pages import EMPTY_LOG, Page
from sltt_core.model.changes import Change, fingerprint, item_size
from sltt_core.model.fields import utf8_length
from tests.sltt_core.samples import NOW, change, log, new_change, project_ids, stored_changes


@given(stored_changes)
def test_a_change_survives_the_round_trip_through_its_item(stored: Change) -> None:
    assert change_of(change_item(stored)) == stored


def size_in_dynamodb(item: dict[str, Any]) -> int:
    """Return an item's size by AWS's formula: names and texts in UTF-8; numbers as two digits a byte, plus one."""
    return sum(
        len(name) + (utf8_length(value["S"]) if "S" in value else (len(value["N"]) + 1) // 2 + 1)
        for name, value in item.items()
    )


@given(stored_changes)
def test_the_estimated_size_of_an_item_is_not_too_small(stored: Change) -> None:
    assert size_in_dynamodb(change_item(stored)) <= item_size(stored)


@pytest.mark.parametrize(("key", "octets"), [("k" * 16, 97), ("k" * 36, 117), ("k" * 128, 209)])
def test_the_name_of_a_request_adds_few_bytes_to_the_first_change_of_a_chunk(key: str, octets: int) -> None:
    new = new_change()
    for count in (1, 2):
        chunk = Chunk("ruth", key, 0, 0, fingerprint([new] * count), (new,) * count, 1000)
        named = [size_in_dynamodb(change_item(one)) for one in number_changes(chunk, EMPTY_LOG, NOW)]
        unnamed = [size_in_dynamodb(change_item(one)) for one in log(*[new] * count)]
        assert [one - other for one, other in zip(named, unnamed, strict=True)] == [octets, 0][:count]


@given(st.lists(stored_changes.map(lambda stored: stored.replace(project_id="ruth")), max_size=5))
def test_a_page_of_items_has_the_same_json_as_its_changes(stored: list[Change]) -> None:
    changes: Any = StoredChanges([change_item(one) for one in stored])
    page = Page(changes, 1, None, None)
    assert page.changes_json() == Page(tuple(stored), 1, None, None).changes_json()
    assert page.state(0) == Page(tuple(stored), 1, None, None).state(0)
    assert changes == tuple(stored)
    assert changes == StoredChanges([change_item(one) for one in stored])
    assert list(changes) == stored
    assert len(changes) == len(stored)
    assert changes[:2] == tuple(stored[:2])
    assert repr(changes) == repr(tuple(stored))


def test_reading_one_change_does_not_convert_the_others() -> None:
    items = [change_item(change(seq=seq)) for seq in (1, 2, 3)]
    del items[0]["entityType"]
    run: Any = StoredChanges(items)
    assert run[-1] == change(seq=3)
    assert run[1] == change(seq=2)
    with pytest.raises(LogDamaged, match="change 1 of project ruth is damaged: it has no entityType"):
        run[1:]


@pytest.mark.parametrize("name", ["entityType", "entityId", "operation", "timestamp", "cloudAt", "dataJson", "chain"])
def test_the_error_for_an_invalid_item_names_the_missing_attribute(name: str) -> None:
    item = change_item(change())
    whole = dict(item)
    del item[name]
    for read in (lambda: change_of(item), lambda: StoredChanges([whole, item]).to_json()):
        with pytest.raises(LogDamaged, match=f"change 1 of project ruth is damaged: it has no {name}"):
            read()
    item[name] = {"N": "1"}
    with pytest.raises(LogDamaged, match=f"{name} has the wrong type"):
        change_of(item)


def test_an_item_of_the_original_backend_is_not_called_damaged() -> None:
    item = change_item(change())
    del item["chain"], item["timestamp"]
    with pytest.raises(NotALog, match="change 1 of project ruth does not have this format: it has no timestamp, chain"):
        change_of(item)


def test_keys_of_different_kinds_and_projects_never_collide() -> None:
    """`#` separates the parts of a key. Project ids and idempotency keys cannot contain it."""
    keys = [str(change_key("a", 0)["pk"]), str(sequence_key("a")["pk"]), str(request_key("a", "k" * 16, 0)["pk"])]
    assert len(set(keys)) == 3
    assert [key.count("#") for key in keys] == [0, 1, 2]


@given(project_ids)
def test_a_project_id_does_not_contain_the_separator(project_id: str) -> None:
    assert "#" not in project_id
    assert sequence_key(project_id)["pk"] == {"S": f"SEQUENCE#{project_id}"}


counts = st.integers(0, 2**40)
log_ends = st.builds(
    LogEnd,
    value=st.integers(1, 2**40),
    chain=st.text("abc-_", min_size=22, max_size=22),
    creates=counts,
    updates=counts,
    deletes=counts,
    entity_types=st.dictionaries(st.text("ab.:-", min_size=1, max_size=9), counts, max_size=5),
    repairs=st.integers(0, 9),
    exists=st.just(True),
)


@given(log_ends)
def test_a_log_end_survives_the_round_trip_through_its_item(end: LogEnd) -> None:
    item = {**sequence_key("p"), **log_end_values(end), **registry_values("p")}
    if end.repairs:
        item["repairs"] = {"N": str(end.repairs)}
    assert log_end_of(item, "p") == end


def test_a_log_end_counts_the_appended_changes() -> None:
    changes = log(new_change(), new_change(operation="update", entity_type="video"), new_change(operation="delete"))
    end = advanced(NO_LOG, changes)
    assert end.stats.as_tuple() == (3, 1, 1, 1)
    assert end.entity_types == {"document": 2, "video": 1}
    assert end.head.as_tuple() == (3, changes[-1].chain)
    again = advanced(end, log(new_change(entity_type="new"), after=end.head))
    assert again.stats.as_tuple() == (4, 2, 1, 1)
    assert end.entity_types == {"document": 2, "video": 1}, "the earlier end is not altered"


def test_an_invalid_sequence_item_is_refused() -> None:
    whole = {**sequence_key("p"), **log_end_values(NO_LOG), **registry_values("p")}
    assert log_end_of(None, "p") == NO_LOG
    original = {**sequence_key("p"), "value": {"N": "7"}}
    with pytest.raises(NotALog, match="original"):
        log_end_of(original, "p")
    with pytest.raises(NotALog, match=f"format {FORMAT + 1}; this program supports format {FORMAT}"):
        log_end_of({**whole, "format": {"N": str(FORMAT + 1)}}, "p")
    for name in log_end_values(NO_LOG):
        with pytest.raises(LogDamaged, match=f"{name} is missing or not valid"):
            log_end_of({key: value for key, value in whole.items() if key != name}, "p")


def test_a_request_survives_the_round_trip_through_its_item() -> None:
    request = Request(7, 98, 196, "f" * 64, "t" * 32, "2025-03-01T09:30:00.000Z", 1_775_000_000)
    key = request_key("p", "k" * 16, 2)
    assert request_of(request_item(key, request)) == request
    assert request.stored.as_tuple() == (7, 98, "f" * 64, None, 196)
