"""The transaction of an append: its actions, its conditions, and the reasons of a refusal."""

from __future__ import annotations

from typing import Any

import pytest

from aws_backend.log.items import (
    NO_LOG,
    LogEnd,
    Request,
    advanced,
    change_item,
    log_end_values,
    registry_values,
    request_item,
    request_of,
    sequence_key,
)
from aws_backend.log.transactions import (
    MAX_ACTIONS,
    Built,
    Member,
    Refusal,
    advance,
    build,
    build_verbatim,
    expectation,
    grant,
    put_request,
    read_reasons,
    update_item,
)
from sltt_core.base.errors import LogDamaged, NotALog
from sltt_core.log.batches import CHUNK_CHANGES, Chunk, StoredChunk
from sltt_core.log.requests import NamedRequest
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.model.grants import NO_MEMBERS, Members, new_grant
from sltt_core.model.grants import Member as Granted
from tests.sltt_core.samples import NOW, log, new_change

NONE = {"Code": "None"}
FAILED = {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}


def member(count: int = 1, key: str = "k" * 16, number: int = 0, owner: str | None = None, **given: Any) -> Member:
    changes = tuple(new_change(entity_id=f"e{place}", **given) for place in range(count))
    return Member(Chunk("ruth", key, number, 7, "f" * 64, changes, 0, owner), key, 1_775_000_000)


def built(*members: Member, before: LogEnd = NO_LOG) -> Built:
    return build("table", members, before, NOW, "t" * 32)


def end(value: int, **more: Any) -> LogEnd:
    return NO_LOG.replace(value=value, chain="c" * 22, creates=value - 1, exists=True, **more)


def test_a_full_chunk_uses_all_actions_of_a_transaction() -> None:
    assert len(built(member(CHUNK_CHANGES)).actions) == MAX_ACTIONS


def test_members_are_numbered_and_linked_in_order() -> None:
    transaction = built(member(2), member(3, "l" * 16))
    actions = transaction.actions
    assert [next(iter(action)) for action in actions] == ["Update", *["Put"] * 7]
    requests = [action["Put"]["Item"] for action in actions[1:3]]
    assert [item["firstSeq"]["N"] for item in requests] == ["1", "3"]
    assert [item["count"]["N"] for item in requests] == ["2", "3"]
    assert all(item["offset"] == {"N": "7"} and item["token"] == {"S": "t" * 32} for item in requests)
    changes = [change for numbered in transaction.changes for change in numbered]
    assert [change.seq for change in changes] == [1, 2, 3, 4, 5]
    assert transaction.after.head.as_tuple() == (5, check_links(GENESIS, changes))
    assert transaction.token == "t" * 32


def test_every_put_requires_that_the_item_does_not_exist() -> None:
    for action in built(member(3)).actions[1:]:
        assert action["Put"]["ConditionExpression"] == "attribute_not_exists(pk)"


def test_only_the_first_append_adds_the_log_to_the_index() -> None:
    update = built(member()).actions[0]["Update"]
    assert update["ConditionExpression"] == "attribute_not_exists(#pk)"
    assert update["ExpressionAttributeValues"][":registry"] == {"S": "projects"}
    update = built(member(), before=end(5)).actions[0]["Update"]
    assert ":registry" not in update["ExpressionAttributeValues"]
    assert update["ExpressionAttributeValues"][":was_value"] == {"N": "5"}
    assert "attribute_not_exists(#repairs)" in update["ConditionExpression"]
    update = built(member(), before=end(5, repairs=2)).actions[0]["Update"]
    assert update["ExpressionAttributeValues"][":was_repairs"] == {"N": "2"}


@pytest.mark.parametrize("before", [NO_LOG, end(5), end(5, repairs=1)])
def test_every_name_and_value_is_used_in_an_expression(before: LogEnd) -> None:
    """DynamoDB refuses names and values that no expression uses."""
    update = built(member(), before=before).actions[0]["Update"]
    text = f"{update['UpdateExpression']} {update['ConditionExpression']}"
    words = set(text.replace(",", " ").replace("(", " ").replace(")", " ").split())
    assert {word for word in words if word.startswith("#")} == set(update["ExpressionAttributeNames"])
    assert {word for word in words if word.startswith(":")} == set(update["ExpressionAttributeValues"])


def test_the_refusal_of_a_lost_race_contains_the_true_end() -> None:
    true = end(9, entity_types={"document": 8})
    item = {**sequence_key("ruth"), **log_end_values(true), **registry_values("ruth")}
    members = [member(2)]
    transaction = built(*members, before=end(5))
    refusal = read_reasons([{**FAILED, "Item": item}, NONE, FAILED, FAILED], transaction, members)
    assert refusal is not None
    assert (refusal.end, refusal.replays, refusal.conflict) == (true, {}, False)


def test_a_refusal_without_a_sequence_item_means_an_empty_log() -> None:
    members = [member()]
    refusal = read_reasons([FAILED, NONE, NONE], built(*members, before=end(5)), members)
    assert refusal is not None
    assert refusal.end == NO_LOG


def test_a_log_of_the_original_backend_is_refused() -> None:
    members = [member()]
    item = {**sequence_key("ruth"), "value": {"N": "7"}}
    with pytest.raises(NotALog, match=r"project ruth .*original"):
        read_reasons([{**FAILED, "Item": item}, NONE, NONE], built(*members), members)


def test_an_existing_request_is_a_replay() -> None:
    request = Request(3, 2, 7, "f" * 64, "u" * 32, NOW, 1)
    members = [member(2), member(1, "l" * 16)]
    transaction = built(*members, before=end(5))
    item = request_item({"pk": {"S": "x"}, "seq": {"N": "0"}}, request)
    refusal = read_reasons([NONE, {**FAILED, "Item": item}, NONE, NONE, NONE, NONE], transaction, members)
    assert refusal is not None
    assert (refusal.replays, refusal.end, refusal.occupied) == ({0: request}, None, None)


def test_an_existing_change_after_the_recorded_end_is_damage() -> None:
    members = [member(2), member(2, "l" * 16)]
    transaction = built(*members, before=end(5))
    refusal = read_reasons([NONE, NONE, NONE, NONE, NONE, FAILED, FAILED], transaction, members)
    assert refusal is not None
    assert (refusal.occupied, refusal.end, refusal.replays) == (7, None, {})


@pytest.mark.parametrize(
    ("code", "conflict", "throttled"),
    [
        ("TransactionConflict", True, False),
        ("ThrottlingError", False, True),
        ("ProvisionedThroughputExceeded", False, True),
    ],
)
def test_conflicts_and_throttling_are_distinguished(code: str, conflict: bool, throttled: bool) -> None:
    members = [member()]
    refusal = read_reasons([{"Code": code}, NONE, NONE], built(*members), members)
    assert refusal is not None
    assert (refusal.conflict, refusal.throttled) == (conflict, throttled)


def test_other_reasons_are_not_a_refusal() -> None:
    members = [member()]
    assert read_reasons([NONE, NONE, {"Code": "ValidationError"}], built(*members), members) is None
    assert read_reasons([], built(*members), members) is None


# Restoring


@pytest.mark.parametrize("count", [1, 3])
def test_a_restored_log_is_written_as_it_is(count: int) -> None:
    before = end(3)
    changes = log(*(new_change(entity_id=f"e{place}") for place in range(count)), after=before.head)
    transaction = build_verbatim("table", changes, [], before, NO_MEMBERS, "t" * 32)
    assert transaction.actions == [
        advance("table", "ruth", before, transaction.after),
        *[
            {
                "Put": {
                    "TableName": "table",
                    "Item": change_item(change),
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            }
            for change in changes
        ],
    ]
    assert (transaction.token, transaction.before, transaction.changes) == ("t" * 32, before, [tuple(changes)])
    assert transaction.after == advanced(before, changes)
    assert transaction.after.head.as_tuple() == (2 + count, changes[-1].chain)


def test_restored_changes_bring_the_items_of_their_requests() -> None:
    before = end(3)
    changes = log(*(new_change(entity_id=f"e{place}") for place in range(3)), after=before.head)
    requests = [
        NamedRequest("k" * 16, 4, StoredChunk(3, 2, "f" * 64, None, 7), NOW),
        NamedRequest("l" * 16, 0, StoredChunk(5, 1, "e" * 64, None, 0), NOW),
    ]
    transaction = build_verbatim("table", changes, requests, before, NO_MEMBERS, "t" * 32)
    puts = [action["Put"] for action in transaction.actions[4:]]
    assert [set(put) for put in puts] == [{"TableName", "Item"}] * 2, "the item may be there"
    assert {put["TableName"] for put in puts} == {"table"}
    assert [put["Item"]["pk"]["S"] + put["Item"]["seq"]["N"] for put in puts] == [
        f"REQUEST#ruth#{'k' * 16}4",
        f"REQUEST#ruth#{'l' * 16}0",
    ]
    expires = int(requests[0].expires)
    assert [request_of(put["Item"]) for put in puts] == [
        Request(3, 2, 7, "f" * 64, "t" * 32, NOW, expires),
        Request(5, 1, 0, "e" * 64, "t" * 32, NOW, expires),
    ]


def test_restored_grants_change_the_members() -> None:
    before = end(3)
    changes = log(new_change(), new_grant("ruth", "bea", "viewer", None), after=before.head)
    members = Members({"ann": Granted("owner", 1)})
    transaction = build_verbatim("table", changes, [], before, members, "t" * 32)
    assert transaction.actions[3:] == grant("table", members, changes)
    assert len(transaction.actions) == 5


# Grants


def test_a_first_grant_puts_the_access_item_and_that_of_the_member() -> None:
    changes = log(new_grant("ruth", "ann", "owner", "ann"), new_change())
    assert grant("table", NO_MEMBERS, changes) == [
        {
            "Put": {
                "TableName": "table",
                "Item": {
                    "pk": {"S": "ACCESS#ruth"},
                    "seq": {"N": "0"},
                    "members": {"M": {"ann": {"M": {"role": {"S": "owner"}, "since": {"N": "1"}}}}},
                    "version": {"N": "1"},
                },
                "ConditionExpression": "attribute_not_exists(pk) OR #version = :version",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":version": {"N": "0"}},
            }
        },
        {
            "Put": {
                "TableName": "table",
                "Item": {
                    "pk": {"S": "MEMBER#ruth#ann"},
                    "seq": {"N": "0"},
                    "projectId": {"S": "ruth"},
                    "registry": {"S": "PRINCIPAL#ann"},
                },
            }
        },
    ]


def test_a_later_grant_requires_the_members_that_it_was_decided_on() -> None:
    before = Members({"ann": Granted("owner", 1), "bea": Granted("viewer", 1), "cid": Granted("viewer", 2)})
    changes = log(new_grant("ruth", "bea", "none", "ann"), after=end(3).head)
    access, bea = grant("table", before, changes)
    assert access["Put"]["ConditionExpression"] == "#version = :version"
    assert access["Put"]["ExpressionAttributeValues"] == {":version": {"N": "2"}}
    assert access["Put"]["Item"]["version"] == {"N": "3"}
    assert set(access["Put"]["Item"]["members"]["M"]) == {"ann", "bea", "cid"}
    assert "registry" not in bea["Put"]["Item"], "a former member does not list the project"


def test_changes_that_grant_nothing_have_no_actions_for_members() -> None:
    assert grant("table", NO_MEMBERS, log(new_change())) == []


def test_a_chunk_with_an_owner_grants_in_the_same_transaction() -> None:
    transaction = built(member(2, owner="ann"), member(1, "l" * 16))
    assert [change.seq for numbered in transaction.changes for change in numbered] == [2, 3, 4]
    request = request_of(transaction.actions[1]["Put"]["Item"])
    assert (request.first_seq, request.count) == (2, 2)
    granted = log(new_grant("ruth", "ann", "owner", "ann"))
    assert transaction.actions[7:] == grant("table", NO_MEMBERS, granted)
    assert len(transaction.actions) == 9
    assert transaction.after.value == 5


# The actions, whole


def test_an_update_of_an_item() -> None:
    key = sequence_key("ruth")
    assert update_item("table", key, {"a": {"N": "2"}}, {"a": {"N": "1"}, "b": None}) == {
        "Update": {
            "TableName": "table",
            "Key": key,
            "UpdateExpression": "SET #a = :a",
            "ConditionExpression": "#a = :was_a AND attribute_not_exists(#b)",
            "ExpressionAttributeNames": {"#a": "a", "#b": "b"},
            "ExpressionAttributeValues": {":a": {"N": "2"}, ":was_a": {"N": "1"}},
        }
    }


def test_an_expectation_is_a_condition_with_its_names_and_values() -> None:
    assert expectation({"a": {"N": "1"}, "b": None}) == {
        "ConditionExpression": "#a = :was_a AND attribute_not_exists(#b)",
        "ExpressionAttributeNames": {"#a": "a", "#b": "b"},
        "ExpressionAttributeValues": {":was_a": {"N": "1"}},
    }
    assert expectation({"b": None}) == {
        "ConditionExpression": "attribute_not_exists(#b)",
        "ExpressionAttributeNames": {"#b": "b"},
    }, "DynamoDB refuses an empty map of values"


def test_the_update_of_the_sequence_item() -> None:
    before, after = end(3, repairs=1), end(5, repairs=1)
    values = log_end_values(after)
    assert advance("table", "ruth", before, after) == {
        "Update": {
            "TableName": "table",
            "Key": {"pk": {"S": "SEQUENCE#ruth"}, "seq": {"N": "0"}},
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ConditionExpression": "#value = :was_value AND #chain = :was_chain AND #format = :was_format"
            " AND #repairs = :was_repairs",
            "ExpressionAttributeNames": {f"#{name}": name for name in (*values, "value", "chain", "format", "repairs")},
            "ExpressionAttributeValues": {
                **{f":{name}": value for name, value in values.items()},
                ":was_value": {"N": "3"},
                ":was_chain": {"S": "c" * 22},
                ":was_format": {"N": "1"},
                ":was_repairs": {"N": "1"},
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def test_the_first_append_makes_the_sequence_item() -> None:
    transaction = built(member())
    values = log_end_values(transaction.after) | registry_values("ruth")
    assert transaction.actions[0] == {
        "Update": {
            "TableName": "table",
            "Key": {"pk": {"S": "SEQUENCE#ruth"}, "seq": {"N": "0"}},
            "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
            "ConditionExpression": "attribute_not_exists(#pk)",
            "ExpressionAttributeNames": {f"#{name}": name for name in (*values, "pk")},
            "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def test_the_request_item_of_a_chunk() -> None:
    request = Request(3, 2, 7, "f" * 64, "u" * 32, NOW, 1)
    assert put_request("table", "ruth", "k" * 16, 4, request) == {
        "Put": {
            "TableName": "table",
            "Item": request_item({"pk": {"S": f"REQUEST#ruth#{'k' * 16}"}, "seq": {"N": "4"}}, request),
            "ConditionExpression": "attribute_not_exists(pk)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def test_each_member_has_its_own_request_with_all_that_a_replay_needs() -> None:
    transaction = built(member(2, number=1), member(1, "l" * 16), before=end(5))
    requests = [action["Put"]["Item"] for action in transaction.actions[1:3]]
    assert [(item["pk"]["S"], item["seq"]["N"]) for item in requests] == [
        (f"REQUEST#ruth#{'k' * 16}", "1"),
        (f"REQUEST#ruth#{'l' * 16}", "0"),
    ]
    assert request_of(requests[0]) == Request(5, 2, 7, "f" * 64, "t" * 32, NOW, 1_775_000_000)
    assert request_of(requests[1]) == Request(7, 1, 7, "f" * 64, "t" * 32, NOW, 1_775_000_000)
    assert {action["Put"]["TableName"] for action in transaction.actions[1:]} == {"table"}
    assert [change.as_tuple()[6] for numbered in transaction.changes for change in numbered] == [NOW] * 3


def test_reasons_are_read_by_their_places() -> None:
    """Every reason of a refusal that failed for several of its items at once."""
    request = Request(3, 2, 7, "f" * 64, "u" * 32, NOW, 1)
    item = request_item({"pk": {"S": "x"}, "seq": {"N": "0"}}, request)
    members = [member(1), member(2, "l" * 16)]
    transaction = built(*members, before=end(5))
    refusal = read_reasons([NONE, NONE, {**FAILED, "Item": item}, FAILED, FAILED, NONE], transaction, members)
    assert refusal == Refusal({1: request}, None, False, False, 5)
    # A request item without its content, as an engine without ALL_OLD returns it, is no replay.
    assert read_reasons([NONE, FAILED, NONE, NONE, NONE, NONE], transaction, members) == Refusal(
        {}, None, False, False, None
    )
    both = read_reasons([{"Code": "TransactionConflict"}, {"Code": "ThrottlingError"}], transaction, members)
    assert both == Refusal({}, None, True, True, None)


def test_members_that_contradict_the_log_are_damage() -> None:
    """The log has no change yet, so that nobody can have a role."""
    members = [member(2, owner="ann")]
    transaction = built(*members)
    reasons = [NONE] * len(transaction.actions)
    assert len(reasons) == 7
    reasons[5] = FAILED
    with pytest.raises(LogDamaged) as caught:
        read_reasons(reasons, transaction, members)
    assert str(caught.value) == "the access item of project ruth has members that its log does not have"


def test_members_that_changed_with_the_log_are_a_lost_race() -> None:
    true = end(9)
    item = {**sequence_key("ruth"), **log_end_values(true), **registry_values("ruth")}
    members = [member(2, owner="ann")]
    transaction = built(*members)
    refusal = read_reasons([{**FAILED, "Item": item}, NONE, NONE, NONE, FAILED, FAILED, NONE], transaction, members)
    assert refusal == Refusal({}, true, False, False, 3)


def test_the_last_change_of_a_transaction_can_be_taken() -> None:
    members = [member(2, owner="ann")]
    reasons = [NONE, NONE, NONE, NONE, FAILED, NONE, NONE]
    assert read_reasons(reasons, built(*members), members) == Refusal({}, None, False, False, 3)
