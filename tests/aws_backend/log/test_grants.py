"""Grants whose transaction is refused: what shows damage, and what is only another writer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb.errors import TransactionCanceled
from aws_backend.log.access_items import access_key
from aws_backend.log.items import LogEnd, log_end_values, registry_values
from aws_backend.log.transactions import build_verbatim, check_verbatim
from sltt_core.base.errors import LogDamaged
from sltt_core.log.batches import chunk_of, number_changes
from sltt_core.model.grants import NO_MEMBERS, Member, Members, new_grant
from tests.dynamodb_model.direct import TABLE, new_model, new_storage

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService

NOW = "2025-03-01T09:30:00.000Z"
END = LogEnd(7, "A" * 22, 6, 0, 0, {"note": 6}, 0, True)
FAILED = {"Code": "ConditionalCheckFailed"}
FINE = {"Code": "None"}
OTHER = {"Code": "TransactionConflict"}


def refused(*reasons: dict[str, Any]) -> None:
    """Check a refused transaction: that of a grant, with an action of another kind after it."""
    changes = number_changes(chunk_of("p", new_grant("p", "bob", "viewer", "ada")), END.head, NOW)
    built = build_verbatim("logs", changes, (), END, Members({"ada": Member("owner", 1)}), "token")
    assert len(built.actions) == 4
    error = TransactionCanceled("canceled")
    error.reasons = reasons
    check_verbatim(error, built)


def end_item(value: int) -> dict[str, Any]:
    item = {**log_end_values(END.replace(value=value)), **registry_values("p"), "format": {"N": "1"}}
    return {**FAILED, "Item": item}


@pytest.mark.parametrize(
    ("reasons", "damage"),
    [
        ((FINE, FAILED, FINE, FINE, FINE), "change 7 of project p already exists, but the sequence item has 7"),
        ((FINE, FINE, FAILED, FINE, FINE), "the access item of project p has a version"),
        ((end_item(7), FINE, FINE, FINE, FINE), "fails a condition on its own values"),
        ((end_item(7), FAILED, FINE, FINE, FINE), "fails a condition on its own values"),
    ],
)
def test_a_refusal_that_shows_damage(reasons: tuple[dict[str, Any], ...], damage: str) -> None:
    with pytest.raises(LogDamaged, match=damage):
        refused(*reasons)


@pytest.mark.parametrize(
    "reasons",
    [
        (end_item(8), FAILED, FAILED, FINE, FINE),  # another process has appended
        (FAILED, FINE, FINE, FINE, FINE),  # the sequence item is gone
        (FINE, FINE, FINE, FINE, FAILED),  # the credential has changed
        (OTHER, FAILED, FINE, FINE, FINE),  # an append is in flight
        (FINE, FINE, OTHER, FINE, FINE),
    ],
)
def test_a_refusal_that_shows_another_writer(reasons: tuple[dict[str, Any], ...]) -> None:
    refused(*reasons)


def test_an_access_item_with_a_wrong_version_is_damage() -> None:
    model = new_model()
    storage: BaseStorageService = new_storage(model)
    storage.set_role("ada", "owner", project_id="p")
    item = model.call("GetItem", {"TableName": TABLE, "Key": access_key("p"), "ConsistentRead": True})["Item"]
    model.call("PutItem", {"TableName": TABLE, "Item": {**item, "version": {"N": "5"}}})
    with pytest.raises(LogDamaged, match="the access item of project p has a version"):
        storage.set_role("bob", "viewer", project_id="p")
    assert storage.get_members(project_id="p") != NO_MEMBERS
    assert [finding.kind for finding in storage.verify(project_id="p")] == ["members"]
    storage.repair(project_id="p", dry_run=False)
    assert set(storage.set_role("bob", "viewer", project_id="p").roles) == {"ada", "bob"}
    assert not list(storage.verify(project_id="p"))
