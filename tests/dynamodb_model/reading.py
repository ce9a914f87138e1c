"""The read operations of the model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tests.dynamodb_model import capacity
from tests.dynamodb_model.capacity import Bill
from tests.dynamodb_model.expressions import (
    Bindings,
    Expression,
    check_placeholders,
    condition,
    key_condition,
    projection,
)
from tests.dynamodb_model.requests import MAX_ACTIONS, bindings_of, canceled, checked_item, checked_key
from tests.dynamodb_model.table import Index, Keys, Slot, Table
from tests.dynamodb_model.values import Item, Value, invalid, item_size, rank

if TYPE_CHECKING:
    from tests.dynamodb_model.model import Model, View

MAX_BATCH = 100
MAX_BATCH_BYTES = 16 * 1024 * 1024

Payload = Mapping[str, Any]


def _projected(request: Payload, bindings: Bindings) -> tuple[Expression | None, list[Expression]]:
    text = request.get("ProjectionExpression")
    found = None if text is None else projection(text)
    return found, [found] if found else []


def _shown(item: Item, kept: Expression | None, bindings: Bindings) -> Item:
    return item if kept is None else kept.run(item, bindings)


def get_item(self: Model, payload: Payload) -> dict[str, Any]:
    """Return one item."""
    table = self.table(payload)
    bindings = bindings_of(payload)
    kept, used = _projected(payload, bindings)
    check_placeholders(used, bindings)
    slot = table.slot(checked_key(table.keys, payload["Key"]))
    strong = bool(payload.get("ConsistentRead"))
    if strong and slot.busy:  # the read may be before or after the transaction; in the model it is always after
        self.reveal(slot)
    item = slot.latest if strong else self.view(slot)
    response: dict[str, Any] = {} if item is None else {"Item": _shown(item, kept, bindings)}
    bill = Bill(table.name)
    bill.read = capacity.read_units(item_size(item) if item else 0, strong)
    return response | _billed(bill, payload)


def _billed(bill: Bill, payload: Payload) -> dict[str, Any]:
    wanted = payload.get("ReturnConsumedCapacity", "NONE")
    return {} if wanted == "NONE" else {"ConsumedCapacity": bill.to_json(wanted, split=False)}


def batch_get(self: Model, payload: Payload) -> dict[str, Any]:
    """Return several items, as many as fit in 16 MB. Each is read separately."""
    wanted = [(name, request, key) for name, request in payload["RequestItems"].items() for key in request["Keys"]]
    if not 1 <= len(wanted) <= MAX_BATCH:
        raise invalid("Too many items requested for the BatchGetItem call")
    found: dict[str, list[Item]] = {name: [] for name in payload["RequestItems"]}
    left: dict[str, Any] = {}
    bills = {name: Bill(name) for name in found}
    seen: set[str] = set()
    size = 0
    for name, request, key in wanted:
        table = self.table({"TableName": name})
        bindings = bindings_of(request)
        kept, used = _projected(request, bindings)
        check_placeholders(used, bindings)
        slot = table.slot(checked_key(table.keys, key))
        mark = json.dumps([name, slot.key], sort_keys=True)
        if mark in seen:
            raise invalid("Provided list of item keys contains duplicates")
        seen.add(mark)
        strong = bool(request.get("ConsistentRead"))
        item = slot.latest if strong else self.view(slot)
        if size + (item_size(item) if item else 0) > min(MAX_BATCH_BYTES, self.page_bytes * 16) and size:
            rest = {part: value for part, value in request.items() if part != "Keys"}
            left.setdefault(name, {"Keys": [], **rest})["Keys"].append(key)
            continue
        size += item_size(item) if item else 0
        bills[name].read += capacity.read_units(item_size(item) if item else 0, strong)
        if item is not None:
            found[name].append(_shown(item, kept, bindings))
    response = {"Responses": found, "UnprocessedKeys": left}
    billed = capacity.total(bills.values(), payload.get("ReturnConsumedCapacity"))
    return response | ({"ConsumedCapacity": billed} if billed else {})


def transact_get(self: Model, payload: Payload) -> dict[str, Any]:
    """Return several items as they are at one moment."""
    actions = payload["TransactItems"]
    if not 1 <= len(actions) <= MAX_ACTIONS:
        raise invalid(f"Member must have length less than or equal to {MAX_ACTIONS}")
    responses: list[dict[str, Any]] = []
    reasons: list[dict[str, Any]] = []
    bills: dict[str, Bill] = {}
    seen: set[int] = set()
    for action in actions:
        request = action["Get"]
        table = self.table(request)
        bindings = bindings_of(request)
        kept, used = _projected(request, bindings)
        check_placeholders(used, bindings)
        slot = table.slot(checked_key(table.keys, request["Key"]))
        if id(slot) in seen:
            raise invalid("Transaction request cannot include multiple operations on one item")
        seen.add(id(slot))
        item = slot.latest
        responses.append({} if item is None else {"Item": _shown(item, kept, bindings)})
        conflict = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
        reasons.append(conflict if slot.busy else {"Code": "None"})
        bill = bills.setdefault(table.name, Bill(table.name))
        bill.read += 2 * capacity.read_units(item_size(item) if item else 0, strong=True)
    if any(reason["Code"] != "None" for reason in reasons):
        raise canceled(reasons)
    billed = capacity.total(bills.values(), payload.get("ReturnConsumedCapacity"), split=True)
    return {"Responses": responses} | ({"ConsumedCapacity": billed} if billed else {})


_TESTS: dict[str, Callable[[Any, list[Any]], bool]] = {
    "=": lambda place, given: bool(place == given[0]),
    "<": lambda place, given: bool(place < given[0]),
    "<=": lambda place, given: bool(place <= given[0]),
    ">": lambda place, given: bool(place > given[0]),
    ">=": lambda place, given: bool(place >= given[0]),
    "BETWEEN": lambda place, given: bool(given[0] <= place <= given[1]),
    "begins_with": lambda place, given: bool(place.startswith(given[0])),
}


class _Range:
    """The range of a key condition: a partition, and a comparison of its sort key."""

    def __init__(self, keys: Keys, expression: Expression, bindings: Bindings) -> None:
        comparisons = expression.parts
        parts = {bindings.name(str(path[0])): (sign, values) for sign, path, values in comparisons if len(path) == 1}
        if len(parts) != len(comparisons) or not parts.keys() <= set(keys.names):
            raise invalid("Query key condition not supported")
        sign, values = parts.get(keys.hash, ("", ()))
        if sign != "=":
            raise invalid("Query condition missed key schema element or is no equality")
        for name, (_, names) in parts.items():
            for value in names:
                if keys.types[name] not in bindings.values[value]:
                    raise invalid("One or more parameter values were invalid: Condition parameter type does not match")
        self.partition = rank(bindings.values[values[0]])
        self.sign, names = parts.get(keys.range or "", ("", ()))
        self.given = [_place(bindings.values[name]) for name in names]
        if self.sign == "BETWEEN" and self.given[0] > self.given[1]:
            raise invalid("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")

    @property
    def low(self) -> Any:
        """The lower limit of the sort key; `None` if there is none."""
        return self.given[0] if self.sign in ("=", ">", ">=", "BETWEEN", "begins_with") else None

    def holds(self, place: Any) -> bool:
        return not self.sign or _TESTS[self.sign](place, self.given)


def _place(value: Value) -> Any:
    found = rank(value)
    assert found is not None
    return found[1]


def query(self: Model, payload: Payload) -> dict[str, Any]:
    """Return a page of a partition, of the table or of an index."""
    table = self.table(payload)
    index = _index_of(table, payload)
    keys = index.keys if index else table.keys
    bindings = bindings_of(payload)
    expression = key_condition(payload["KeyConditionExpression"])
    kept, used = _projected(payload, bindings)
    test = payload.get("FilterExpression")
    filtering = None if test is None else condition(test, "FilterExpression")
    check_placeholders([expression, *used, *([filtering] if filtering else [])], bindings)
    wanted = _Range(keys, expression, bindings)
    backward = payload.get("ScanIndexForward") is False
    strong = bool(payload.get("ConsistentRead"))
    if strong and index:
        raise invalid("Consistent reads are not supported on global secondary indexes")
    view = self.query_view if strong else self.view
    if index:
        rows = _index_rows(table, index, view, backward)
        rows = (row for row in rows if rank(row[1][keys.hash]) == wanted.partition)
    else:
        low = None if backward else wanted.low
        rows = _rows(table.run(wanted.partition, low, backward), view)
    run = ((slot, item) for slot, item in rows if not keys.range or wanted.holds(_place(item[keys.range])))
    return _page(self, payload, table, index, run, (filtering, kept, bindings), backward)


def scan(self: Model, payload: Payload) -> dict[str, Any]:
    """Return a page of all items; their order has no meaning."""
    table = self.table(payload)
    index = _index_of(table, payload)
    bindings = bindings_of(payload)
    kept, used = _projected(payload, bindings)
    test = payload.get("FilterExpression")
    filtering = None if test is None else condition(test, "FilterExpression")
    check_placeholders([*used, *([filtering] if filtering else [])], bindings)
    view = self.query_view if payload.get("ConsistentRead") else self.view
    ordered = sorted(table.slots(), key=lambda slot: slot.order)
    rows = _index_rows(table, index, view, False) if index else _rows(iter(ordered), view)
    return _page(self, payload, table, index, rows, (filtering, kept, bindings), False)


def _index_of(table: Table, payload: Payload) -> Index | None:
    name = payload.get("IndexName")
    if name is None:
        return None
    if name not in table.indexes:
        raise invalid(f"The table does not have the specified index: {name}")
    return table.indexes[name]


def _rows(slots: Iterator[Slot], view: View) -> Iterator[tuple[Slot, Item]]:
    for slot in slots:
        item = view(slot)
        if item is not None:
            yield slot, item


def _index_rows(table: Table, index: Index, view: View, backward: bool) -> Iterator[tuple[Slot, Item]]:
    found = [(slot, entry) for slot in table.slots() if (entry := index.entry(view(slot))) is not None]
    found.sort(key=lambda row: (*index.keys.order(row[1]), row[0].order), reverse=backward)
    return iter(found)


def _page(
    self: Model,
    payload: Payload,
    table: Table,
    index: Index | None,
    rows: Iterator[tuple[Slot, Item]],
    shown: tuple[Expression | None, Expression | None, Bindings],
    backward: bool,
) -> dict[str, Any]:
    """Cut a page from the rows: after the start, up to the limit or 1 MB."""
    filtering, kept, bindings = shown
    limit = payload.get("Limit")
    if limit is not None and limit < 1:
        raise invalid("1 validation error detected: Limit must be at least 1")
    start = payload.get("ExclusiveStartKey")
    after = None if start is None else _position(table, index, _start_key(table, index, start))
    items: list[Item] = []
    size = examined = 0
    last: Item | None = None
    for slot, item in rows:
        position = _position(table, index, item if index else slot.key)
        if after is not None and (position >= after if backward else position <= after):
            continue
        if examined == limit:
            break
        # The item that crosses the limit is still returned (AWS: "Paginating table query results").
        if size >= self.page_bytes and examined:
            break
        examined += 1
        size += item_size(item)
        last = item
        if filtering is None or filtering.run(item, bindings):
            items.append(_shown(item, kept, bindings))
    else:
        if examined != limit:
            last = None
    response: dict[str, Any] = {"Count": len(items), "ScannedCount": examined}
    if payload.get("Select") != "COUNT":
        response["Items"] = items
    if last is not None:
        names = {*table.keys.names, *(index.keys.names if index else ())}
        response["LastEvaluatedKey"] = {name: value for name, value in last.items() if name in names}
    bill = Bill(table.name)
    bill.read = capacity.read_units(size, bool(payload.get("ConsistentRead")))
    if index:
        bill.indexes[index.name] = bill.read
    return response | _billed(bill, payload)


def _start_key(table: Table, index: Index | None, start: Payload) -> Item:
    names = {*table.keys.names, *(index.keys.names if index else ())}
    if start.keys() != names:
        raise invalid("The provided starting key is invalid")
    return checked_item(start)


def _position(table: Table, index: Index | None, item: Item) -> Any:
    own = table.keys.order(item)
    return (*index.keys.order(item), own) if index else own
