"""What the model does that no local engine shows: transactions in flight, tokens for ten minutes, reads of the past."""

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
    """A clock that stands where it is put."""

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


def test_a_transaction_in_flight_keeps_others_from_its_items(model: Model) -> None:
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
    model.let_go(*model.held[0])
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


def test_a_weak_read_may_see_the_past_and_a_strong_one_may_not(model: Model) -> None:
    model.call("TransactWriteItems", put(1, text="old"))
    then = model.version
    model.call("TransactWriteItems", put(1, text="new"))
    model.sight = lambda slot: slot.at(then)
    assert (read(model, 1, strong=False) or {})["text"] == {"S": "old"}
    assert (read(model, 1) or {})["text"] == {"S": "new"}


def test_going_back_takes_every_item_to_what_it_was(model: Model) -> None:
    model.call("TransactWriteItems", put(1, 2, token="t"))
    then = model.version
    model.call("TransactWriteItems", put(2, 3, text="later"))
    model.go_back(lambda: then)
    assert [(read(model, seq) or {}).get("text") for seq in (1, 2, 3)] == [{"S": "x"}, {"S": "x"}, None]
    model.call("TransactWriteItems", put(1, token="t", text="the token is forgotten"))


def test_a_page_may_end_anywhere_and_says_where(model: Model) -> None:
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


def test_the_model_knows_nothing_of_the_simulation() -> None:
    files = list(Path(__file__).parent.glob("*.py"))
    assert len(files) > 10
    uses = re.compile(r"^\s*(from|import) tests\.simulation", re.MULTILINE)
    assert [file.name for file in files if uses.search(file.read_text())] == []
