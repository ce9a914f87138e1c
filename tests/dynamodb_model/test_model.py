"""Behaviour of the model that no local engine shows: transactions in flight, expiry of tokens, stale reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.dynamodb_model.calls import SCHEMA
from tests.dynamodb_model.model import TOKEN_SECONDS, Model
from tests.dynamodb_model.values import Refused

TABLE = str(SCHEMA["TableName"])


class Time:
    """A clock that tests set."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def model(time: Time) -> Model:
    made = Model(time)
    made.call("CreateTable", SCHEMA)
    return made


def key(seq: int) -> dict[str, Any]:
    return {"pk": {"S": "p"}, "seq": {"N": str(seq)}}


def put(*seqs: int, token: str | None = None, text: str = "x") -> dict[str, Any]:
    actions = [{"Put": {"TableName": TABLE, "Item": {**key(seq), "text": {"S": text}}}} for seq in seqs]
    return {"TransactItems": actions} | ({"ClientRequestToken": token} if token else {})


def refusal(model: Model, operation: str, payload: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        model.call(operation, payload)
    return caught.value


def read(model: Model, seq: int, strong: bool = True) -> dict[str, Any] | None:
    payload = {"TableName": TABLE, "Key": key(seq), "ConsistentRead": strong}
    found: dict[str, Any] | None = model.call("GetItem", payload).get("Item")
    return found


def test_other_requests_conflict_with_a_transaction_in_flight(model: Model) -> None:
    model.holding = True
    model.call("TransactWriteItems", put(1, 2, token="first"))
    model.holding = False
    conflict = refusal(model, "TransactWriteItems", put(2, 3))
    codes = [reason["Code"] for reason in conflict.more["CancellationReasons"]]
    assert (conflict.code, codes) == ("TransactionCanceledException", ["TransactionConflict", "None"])
    alone = {"TableName": TABLE, "Item": key(1)}
    assert refusal(model, "PutItem", alone).code == "TransactionConflictException"
    together = {"TransactItems": [{"Get": {"TableName": TABLE, "Key": key(seq)}} for seq in (1, 3)]}
    assert refusal(model, "TransactGetItems", together).code == "TransactionCanceledException"
    again = put(1, 2, token="first")
    assert refusal(model, "TransactWriteItems", again).code == "TransactionInProgressException"
    model.release(*model.held[0])
    assert model.call("TransactWriteItems", again) == {}
    assert model.call("TransactWriteItems", put(2, 3)) == {}


def test_a_token_is_remembered_for_ten_minutes(model: Model, time: Time) -> None:
    model.call("TransactWriteItems", put(1, token="t"))
    version = model.version
    time.now += TOKEN_SECONDS - 1
    model.call("TransactWriteItems", put(1, token="t"))
    assert model.version == version
    other = put(1, token="t", text="other")
    assert refusal(model, "TransactWriteItems", other).code == "IdempotentParameterMismatchException"
    time.now += 2
    model.call("TransactWriteItems", other)
    assert model.version == version + 1


def test_the_token_of_a_refused_transaction_may_count_as_used(model: Model) -> None:
    impossible = put(1, token="t")
    impossible["TransactItems"][0]["Put"]["ConditionExpression"] = "attribute_exists(pk)"
    assert refusal(model, "TransactWriteItems", impossible).code == "TransactionCanceledException"
    model.call("TransactWriteItems", put(1, token="t"))
    model.remembers_refused = True
    impossible["ClientRequestToken"] = "u"
    impossible["TransactItems"][0]["Put"]["Item"] = key(9)
    assert refusal(model, "TransactWriteItems", impossible).code == "TransactionCanceledException"
    other = put(2, token="u")
    assert refusal(model, "TransactWriteItems", other).code == "IdempotentParameterMismatchException"


def test_an_eventually_consistent_read_may_be_stale_and_a_strong_one_is_not(model: Model) -> None:
    model.call("TransactWriteItems", put(1, text="old"))
    then = model.version
    model.call("TransactWriteItems", put(1, text="new"))
    model.view = lambda slot: slot.at(then)
    assert (read(model, 1, strong=False) or {})["text"] == {"S": "old"}
    assert (read(model, 1) or {})["text"] == {"S": "new"}


def test_a_restore_resets_every_item_to_an_earlier_state(model: Model) -> None:
    model.call("TransactWriteItems", put(1, 2, token="t"))
    then = model.version
    model.call("TransactWriteItems", put(2, 3, text="later"))
    model.restore(lambda: then)
    assert [(read(model, seq) or {}).get("text") for seq in (1, 2, 3)] == [{"S": "x"}, {"S": "x"}, None]
    model.call("TransactWriteItems", put(1, token="t", text="the token is free again"))


def test_a_page_may_end_anywhere_and_returns_the_last_key(model: Model) -> None:
    model.call("TransactWriteItems", put(1, 2, 3, 4))
    model.page_bytes = 1
    payload: dict[str, Any] = {
        "TableName": TABLE,
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": "p"}},
    }
    seen = []
    for _ in range(4):
        page = model.call("Query", payload)
        seen += [item["seq"]["N"] for item in page["Items"]]
        payload["ExclusiveStartKey"] = page.get("LastEvaluatedKey")
    assert seen == ["1", "2", "3", "4"]
    assert payload["ExclusiveStartKey"] is None


def test_the_model_does_not_import_the_simulation() -> None:
    files = list(Path(__file__).parent.glob("*.py"))
    assert len(files) > 10
    uses = re.compile(r"^\s*(from|import) tests\.simulation", re.MULTILINE)
    assert [file.name for file in files if uses.search(file.read_text())] == []
