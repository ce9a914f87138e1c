"""Generated calls of the kinds that the storage makes, to compare the model with the real engines."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

TABLE = "agreement"
SCHEMA: dict[str, Any] = {
    "TableName": TABLE,
    "AttributeDefinitions": [
        {"AttributeName": "pk", "AttributeType": "S"},
        {"AttributeName": "seq", "AttributeType": "N"},
        {"AttributeName": "registry", "AttributeType": "S"},
        {"AttributeName": "projectId", "AttributeType": "S"},
    ],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "seq", "KeyType": "RANGE"}],
    "BillingMode": "PAY_PER_REQUEST",
    "GlobalSecondaryIndexes": [
        {
            "IndexName": "projects",
            "KeySchema": [
                {"AttributeName": "registry", "KeyType": "HASH"},
                {"AttributeName": "projectId", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
    ],
}

Call = tuple[str, dict[str, Any]]

PARTITIONS = ("a", "b")
PLACES = ("0", "1", "2", "3", "10")

_keys = st.fixed_dictionaries(
    {
        "pk": st.sampled_from(PARTITIONS).map(lambda text: {"S": text}),
        "seq": st.sampled_from(PLACES).map(lambda text: {"N": text}),
    }
)
_numbers = st.sampled_from(["0", "1", "2", "3", "9", "10", "-1", "1.5", "100", "12345678901234567890"])
_values = st.one_of(
    _numbers.map(lambda text: {"N": text}),
    st.sampled_from(["", "x", "é🤟", "x" * 1500]).map(lambda text: {"S": text}),
    st.just({"BOOL": True}),
    st.just({"NULL": True}),
    st.just({"M": {"document": {"N": "2"}, "deep": {"M": {"n": {"N": "1"}}}}}),
    st.just({"L": [{"N": "1"}, {"S": "y"}]}),
)
_compared = st.one_of(
    _numbers.map(lambda text: {"N": text}), st.sampled_from(["", "x", "y"]).map(lambda text: {"S": text})
)
_attributes = st.dictionaries(st.sampled_from(["n", "m", "chain", "dataJson"]), _values, max_size=3)
_listed = st.sampled_from([{}, {}, {"registry": {"S": "r"}}])
_items = st.tuples(_keys, _attributes, _listed).map(lambda parts: parts[0] | parts[1] | parts[2])

_paths = st.sampled_from(["#n", "m", "m.#d", "m.deep.n", "chain", "pk", "seq"])
_signs = st.sampled_from(["=", "<", "<=", ">", ">=", "<>"])
_simple = st.one_of(
    st.tuples(_paths, _signs).map(lambda parts: f"{parts[0]} {parts[1]} :c"),
    _paths.map(lambda path: f"attribute_exists({path})"),
    _paths.map(lambda path: f"attribute_not_exists({path})"),
    _paths.map(lambda path: f"{path} BETWEEN :low AND :high"),
)
_conditions = st.recursive(
    _simple,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]} AND {parts[1]}"),
        st.tuples(inner, inner).map(lambda parts: f"({parts[0]} OR {parts[1]})"),
        _simple.map(lambda text: f"NOT {text}"),
    ),
    max_leaves=3,
)
_updates = st.sampled_from(
    [
        "SET #n = :v",
        "SET #n = if_not_exists(#n, :zero) + :one, chain = :v",
        "SET m = :v REMOVE chain",
        "REMOVE #n, chain",
        "SET registry = :r, projectId = :p",
        "REMOVE registry",
    ]
)
# If the attribute is missing, the engines report it differently in a transaction.
_nested = st.sampled_from(
    ["SET #n = #n + :one", "SET m.#d = if_not_exists(m.#d, :zero) + :one", "SET m.deep.n = m.deep.n - :one"]
)
_PLACEHOLDERS: dict[str, Any] = {
    ":one": {"N": "1"},
    ":zero": {"N": "0"},
    ":low": {"N": "1"},
    ":high": {"N": "5"},
    ":r": {"S": "r"},
}


def _list(request: dict[str, Any]) -> None:
    """Give an item in the index a unique sort key there: the order of items with equal keys is not defined."""
    item = request.get("Item")
    if item and "registry" in item:
        item["projectId"] = _place(item)


def _place(key: dict[str, Any]) -> dict[str, str]:
    return {"S": f"p-{key['pk']['S']}-{key['seq']['N']}"}


def _complete(request: dict[str, Any], value: Any, compared: Any = None) -> dict[str, Any]:
    """Define the placeholders that a request's expressions use, and no others."""
    text = " ".join(part for name, part in request.items() if name.endswith("Expression"))
    names = {"#n": "n", "#d": "document"}
    used = {short: full for short, full in names.items() if short in text}
    values = {name: known for name, known in _PLACEHOLDERS.items() if name in text.replace(",", " ").split()}
    values |= {name: known for name, known in _PLACEHOLDERS.items() if name + ")" in text or name + "," in text}
    if ":p" in text:
        values[":p"] = _place(request["Key"])
    if ":v" in text:
        values[":v"] = value
    if ":c" in text:
        values[":c"] = compared
    if used:
        request["ExpressionAttributeNames"] = used
    if values:
        request["ExpressionAttributeValues"] = values
    return request


@st.composite
def _writes(draw: st.DrawFn, kind: str, updates: st.SearchStrategy[str] = _updates) -> dict[str, Any]:
    request: dict[str, Any] = {"TableName": TABLE}
    if kind == "Put":
        request["Item"] = draw(_items)
    else:
        request["Key"] = draw(_keys)
    if kind == "Update":
        request["UpdateExpression"] = draw(updates)
    if kind == "ConditionCheck" or draw(st.booleans()):
        request["ConditionExpression"] = draw(_conditions)
        request["ReturnValuesOnConditionCheckFailure"] = draw(st.sampled_from(["ALL_OLD", "NONE"]))
    _list(request)
    return _complete(request, draw(_values), draw(_compared))


@st.composite
def _alone(draw: st.DrawFn) -> Call:
    kind = draw(st.sampled_from(["Put", "Update", "Update", "Delete"]))
    request = draw(_writes(kind, st.one_of(_updates, _nested)))
    returned = ["NONE", "ALL_OLD"] + (["ALL_NEW", "UPDATED_OLD", "UPDATED_NEW"] if kind == "Update" else [])
    request["ReturnValues"] = draw(st.sampled_from(returned))
    return f"{kind}Item", request


@st.composite
def _transactions(draw: st.DrawFn) -> Call:
    kinds = draw(
        st.lists(st.sampled_from(["Put", "Put", "Update", "ConditionCheck", "Delete"]), min_size=1, max_size=4)
    )
    actions: list[dict[str, Any]] = []
    keys: list[Any] = []
    for kind in kinds:
        request = draw(_writes(kind))
        key = _place(request.get("Item") or request["Key"])
        # Both engines refuse two actions on one item, but DynamoDB Local checks the conditions first.
        if key not in keys:
            keys.append(key)
            actions.append({kind: request})
    request = {"TransactItems": actions}
    if draw(st.booleans()):
        request["ClientRequestToken"] = draw(st.sampled_from(["t1", "t2"]))
    return "TransactWriteItems", request


@st.composite
def _queries(draw: st.DrawFn) -> Call:
    on_index = draw(st.sampled_from([False, False, True]))
    partition, place = ("registry", "projectId") if on_index else ("pk", "seq")
    sign = draw(st.sampled_from(["", "=", "<", "<=", ">", ">=", "BETWEEN"]))
    asked = f"{partition} = :p" + {"": "", "BETWEEN": f" AND {place} BETWEEN :low AND :high"}.get(
        sign, f" AND {place} {sign} :low"
    )
    kind, places = ("S", ["p-a-0", "p-a-2", "p-b-10", "p-b-3"]) if on_index else ("N", list(PLACES))
    values = {":p": {"S": "r" if on_index else draw(st.sampled_from(PARTITIONS))}}
    if ":low" in asked:
        values[":low"] = {kind: draw(st.sampled_from(places))}
    if ":high" in asked:
        values[":high"] = {kind: draw(st.sampled_from(places))}
    request: dict[str, Any] = {
        "TableName": TABLE,
        "KeyConditionExpression": asked,
        "ExpressionAttributeValues": values,
        "ScanIndexForward": draw(st.booleans()),
    }
    if on_index:
        request["IndexName"] = "projects"
    else:
        request["ConsistentRead"] = draw(st.booleans())
    # If a page reaches its limit exactly at the end of the range, DynamoDB Local returns no LastEvaluatedKey.
    open_ended = ("", ">", ">=") if request["ScanIndexForward"] else ("", "<", "<=")
    if sign in open_ended and draw(st.booleans()):
        request["Limit"] = draw(st.integers(1, 4))
    if not on_index and draw(st.booleans()):
        request["ProjectionExpression"] = "pk, seq, chain"
    return "Query", request


_gets = st.tuples(_keys, st.booleans(), st.sampled_from([None, "chain", "pk, #n, m.#d"])).map(
    lambda parts: (
        "GetItem",
        _complete(
            {"TableName": TABLE, "Key": parts[0], "ConsistentRead": parts[1]}
            | ({"ProjectionExpression": parts[2]} if parts[2] else {}),
            None,
        ),
    )
)
_batches = st.lists(_keys, min_size=1, max_size=4).map(
    lambda keys: ("BatchGetItem", {"RequestItems": {TABLE: {"Keys": keys, "ConsistentRead": True}}})
)
_snapshots = st.lists(_keys, min_size=1, max_size=4).map(
    lambda keys: ("TransactGetItems", {"TransactItems": [{"Get": {"TableName": TABLE, "Key": key}} for key in keys]})
)

calls = st.one_of(_alone(), _transactions(), _transactions(), _queries(), _queries(), _gets, _batches, _snapshots)


def placed(value: Any, mark: str) -> Any:
    """Return a call with a prefix in its partition keys and tokens, so that it cannot interfere with other calls."""
    if type(value) is dict:
        found: dict[str, Any] = {}
        for name, inner in value.items():
            if name in ("pk", "registry", ":p", ":r") and "S" in inner and len(inner["S"]) <= 2:
                found[name] = {"S": f"{mark}{inner['S']}"}
            elif name == "ClientRequestToken":
                found[name] = f"{mark}{inner}"
            else:
                found[name] = placed(inner, mark)
        return found
    if type(value) is list:
        return [placed(inner, mark) for inner in value]
    return value
