"""A run of changes as DynamoDB gave it: what it writes and says without reading every change of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws_backend.items import StoredChanges, change_item
from sltt_core.errors import NotALog
from sltt_core.pages import Page
from tests.sltt_core.samples import change

if TYPE_CHECKING:
    from sltt_core.changes import Change

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
CHANGES = st.lists(
    st.builds(
        lambda **fields: change(**fields),
        entity_id=TEXT,
        data_json=st.dictionaries(TEXT, TEXT, max_size=2).map(json.dumps),
        outdated_by=st.none() | st.integers(2, 10**15),
        cid=st.none() | TEXT,
        change_by=st.none() | TEXT,
    ),
    max_size=4,
).map(lambda found: [item.replace(seq=place + 1) for place, item in enumerate(found)])


@given(CHANGES)
def test_a_run_is_written_and_marked_as_its_changes_are(changes: list[Change]) -> None:
    run: Any = StoredChanges([change_item(item) for item in changes])
    end = len(changes)
    assert run.to_json() == Page(changes, end, "", None).changes_json()
    assert Page(run, end, "", None).state(0) == Page(changes, end, "", None).state(0)
    assert list(run) == changes


def test_to_look_at_one_change_is_not_to_read_them_all() -> None:
    changes = [change(seq=1), change(seq=2), change(seq=3)]
    items = [change_item(item) for item in changes]
    del items[0]["entityType"]
    run = StoredChanges(items)
    assert run[-1] == changes[-1]
    assert run[1] == changes[1]
    with pytest.raises(NotALog, match="change 1 of project ruth is not of this format: it has no entityType"):
        run[1:]


@pytest.mark.parametrize("name", ["entityType", "entityId", "operation", "timestamp", "cloudAt", "dataJson", "chain"])
def test_a_change_without_what_it_must_have_is_named_and_not_written(name: str) -> None:
    items = [change_item(change(seq=seq, cid="c")) for seq in (1, 2)]
    del items[1][name]
    with pytest.raises(NotALog, match=f"change 2 of project ruth is not of this format: it has no {name}"):
        StoredChanges(items).to_json()
    items[1][name] = {"N": "1"}
    with pytest.raises(NotALog, match="change 2 of project ruth is not of this format: an attribute is of another"):
        StoredChanges(items).to_json()
