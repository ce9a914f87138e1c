"""DynamoDB in memory, as AWS documents it: `Model(time).call("GetItem", {...})`.

It supports the calls of the storage and refuses all others. It also has behaviour of the real DynamoDB that no local
engine shows; the simulation switches it on: items that a transaction holds (`busy`), stale reads (`view`), pages that
end early (`page_bytes`).

Sources: AWS, "Amazon DynamoDB API Reference" (each operation), "Service, account, and table quotas".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tests.dynamodb_model import capacity, reading
from tests.dynamodb_model.capacity import Bill
from tests.dynamodb_model.expressions import Expression, check_placeholders, condition
from tests.dynamodb_model.requests import MAX_ACTIONS, bindings_of, canceled, checked_item, checked_key
from tests.dynamodb_model.table import Index, Keys, Slot, Table, Version
from tests.dynamodb_model.updates import check_overlap, update
from tests.dynamodb_model.values import MAX_ITEM_BYTES, CannotUpdate, Item, Refused, invalid, item_size

MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
TOKEN_SECONDS = 600.0
MAX_PAGE_BYTES = 1024 * 1024

View = Callable[[Slot], Item | None]


def latest(slot: Slot) -> Item | None:
    """The view that returns the current state of an item."""
    slot.hidden = False
    return slot.latest


class Change(NamedTuple):
    """The effect of a write on an item."""

    table: Table
    slot: Slot
    old: Item | None
    new: Item | None
    writes: bool
    """Whether it writes; a condition check does not."""
    paths: frozenset[str]
    """The attributes that an update names."""


class _Remembered(NamedTuple):
    until: float
    request: str
    response: dict[str, Any] | None
    """`None` if the transaction was refused."""


class Model:
    """All tables of one account in one region."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` returns seconds since 1970."""
        self.now = now
        self.tables: dict[str, Table] = {}
        self.version = 0
        """The number of the last write."""
        self.oldest = 0
        """The oldest write that a stale read may see; a restore sets it, because a restored table is a new one."""
        self.view: View = latest
        """The state of an item that an eventually consistent read returns."""
        self.query_view: View = latest
        """The same for a strongly consistent Query, which is not a snapshot: it is only read-committed."""
        self.page_bytes = MAX_PAGE_BYTES
        self.holding = False
        """Whether a transaction holds its items until `release`."""
        self.held: list[tuple[str | None, list[Slot]]] = []
        self.remembers_refused = False
        """Whether the token of a refused transaction counts as used. The local engines forget it; AWS does not say."""
        self._tokens: dict[str, _Remembered] = {}

    def call(self, operation: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out an operation and return its response; raises `Refused`."""
        method = _OPERATIONS.get(operation)
        if method is None:
            raise Refused("UnknownOperationException")
        return method(self, payload)

    def release(self, token: str | None, slots: list[Slot]) -> None:
        """End a transaction that holds its items."""
        if (token, slots) in self.held:
            self.held.remove((token, slots))
            for slot in slots:
                slot.busy = slot.hidden = False

    def reveal(self, slot: Slot) -> None:
        """Make the writes of the transaction that holds this item visible to all reads, because one read saw them."""
        for _, slots in self.held:
            if slot in slots:
                for other in slots:
                    other.hidden = False

    def restore(self, number: Callable[[], int]) -> None:
        """Restore each item to its state after the write with the number that `number` returns for it."""
        while self.held:
            self.release(*self.held[0])
        self._tokens.clear()
        self.version += 1
        self.oldest = self.version
        for table in self.tables.values():
            for slot in table.slots():
                then = slot.at(number())
                if then is not slot.latest:
                    slot.versions.append(Version(self.version, self.now(), then))

    def expire(self) -> None:
        """Delete each item whose time to live has passed. AWS takes up to a few days; this is the earliest moment."""
        self.version += 1
        for table in self.tables.values():
            name = table.time_to_live.get("AttributeName", "")
            for slot in table.slots():
                expires = (slot.latest or {}).get(name, {}).get("N")
                if expires is not None and float(expires) < self.now():
                    slot.versions.append(Version(self.version, self.now(), None))

    def table(self, payload: Mapping[str, Any]) -> Table:
        """Return the table that a request names."""
        table = self.tables.get(payload.get("TableName", ""))
        if table is None:
            raise Refused("ResourceNotFoundException", "Requested resource not found")
        return table

    # Tables

    def _create_table(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        name = payload["TableName"]
        if name in self.tables:
            raise Refused("ResourceInUseException", f"Table already exists: {name}")
        types = {entry["AttributeName"]: entry["AttributeType"] for entry in payload["AttributeDefinitions"]}
        keys = _keys_of(payload["KeySchema"], types)
        indexes = {}
        used = set(keys.names)
        for given in payload.get("GlobalSecondaryIndexes", ()):
            index_keys = _keys_of(given["KeySchema"], types)
            used |= set(index_keys.names)
            kind = given["Projection"]["ProjectionType"]
            kept = {*keys.names, *index_keys.names, *given["Projection"].get("NonKeyAttributes", ())}
            projected = None if kind == "ALL" else frozenset(kept)
            indexes[given["IndexName"]] = Index(given["IndexName"], index_keys, projected)
        if used != types.keys():
            raise invalid("Number of attributes in KeySchema does not exactly match AttributeDefinitions")
        description = {name: value for name, value in payload.items() if name not in ("Tags", "BillingMode")}
        for index in description.get("GlobalSecondaryIndexes", ()):
            index["IndexStatus"] = "ACTIVE"
        description |= {
            "TableStatus": "ACTIVE",
            "CreationDateTime": self.now(),
            "ItemCount": 0,
            "TableSizeBytes": 0,
            "TableArn": f"arn:aws:dynamodb:model:000000000000:table/{name}",
            "BillingModeSummary": {"BillingMode": payload.get("BillingMode", "PROVISIONED")},
        }
        self.tables[name] = Table(name, keys, indexes, description)
        return {"TableDescription": description}

    def _describe_table(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {"Table": self.table(payload).description}

    def _list_tables(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {"TableNames": sorted(self.tables)}

    def _delete_table(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        table = self.table(payload)
        del self.tables[table.name]
        return {"TableDescription": table.description | {"TableStatus": "DELETING"}}

    def _update_time_to_live(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        table = self.table(payload)
        wanted = payload["TimeToLiveSpecification"]
        if bool(wanted["Enabled"]) == bool(table.time_to_live):
            raise invalid("TimeToLive is already " + ("enabled" if wanted["Enabled"] else "disabled"))
        table.time_to_live = wanted if wanted["Enabled"] else {}
        return {"TimeToLiveSpecification": wanted}

    def _describe_time_to_live(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        wanted = self.table(payload).time_to_live
        if not wanted:
            return {"TimeToLiveDescription": {"TimeToLiveStatus": "DISABLED"}}
        return {
            "TimeToLiveDescription": {"TimeToLiveStatus": "ENABLED", "AttributeName": wanted["AttributeName"]},
        }

    # Writing

    def _write(self, kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        change = self._plan(kind, payload)
        if change.slot.busy:
            raise Refused("TransactionConflictException", "Transaction is ongoing for the item")
        self._commit([change])
        response: dict[str, Any] = _returned(payload.get("ReturnValues", "NONE"), change)
        if payload.get("ReturnConsumedCapacity", "NONE") != "NONE":
            bill = Bill(change.table.name)
            bill.write += capacity.write_units(change.old, change.new)
            bill.add_indexes(capacity.index_units(change.table, change.old, change.new))
            response["ConsumedCapacity"] = bill.to_json(payload["ReturnConsumedCapacity"], split=False)
        return response

    def _put_item(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return self._write("Put", payload)

    def _update_item(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return self._write("Update", payload)

    def _delete_item(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return self._write("Delete", payload)

    def _plan(self, kind: str, request: Mapping[str, Any]) -> Change:
        """Return the effect of a write; raises `Refused`, with the item if wanted, if its condition does not hold."""
        table = self.table(request)
        bindings = bindings_of(request)
        expressions: list[Expression] = []
        test = request.get("ConditionExpression")
        if test is not None:
            expressions.append(condition(test))
        elif kind == "ConditionCheck":
            raise invalid("The ConditionExpression is required")
        changing = request.get("UpdateExpression")
        if changing is not None:
            expressions.append(update(changing))
        check_placeholders(expressions, bindings)
        if kind == "Put":
            item = checked_item(request["Item"])
            for name in table.keys.names:
                table.keys.check(name, item.get(name), of_key=False)
            if item_size(item) > MAX_ITEM_BYTES:
                raise invalid("Item size has exceeded the maximum allowed size")
            _check_index_keys(table, item)
            slot = table.slot(item)
        else:
            slot = table.slot(checked_key(table.keys, request["Key"]))
        if changing is not None:
            paths = expressions[-1].paths
            check_overlap(paths, bindings)
        old = slot.latest
        if test is not None and not expressions[0].run(old or {}, bindings):
            more: dict[str, Any] = {"Item": old} if _wants_old(request) and old is not None else {}
            raise Refused("ConditionalCheckFailedException", "The conditional request failed", **more)
        if kind == "Delete":
            return Change(table, slot, old, None, True, frozenset())
        if kind == "ConditionCheck":
            return Change(table, slot, old, old, False, frozenset())
        if kind == "Put":
            return Change(table, slot, old, item, True, frozenset())
        new = dict(slot.key) if old is None else old
        named = frozenset[str]()
        if changing is not None:
            if any(bindings.name(str(path[0])) in table.keys.names for path in expressions[-1].paths):
                raise CannotUpdate("Cannot update attribute. This attribute is part of the key")
            new = expressions[-1].run(new, bindings)
            named = frozenset(bindings.name(str(path[0])) for path in expressions[-1].paths)
        if item_size(new) > MAX_ITEM_BYTES:
            raise CannotUpdate("Item size to update has exceeded the maximum allowed size")
        try:
            _check_index_keys(table, new)
        except Refused as refused:
            raise CannotUpdate(refused.message) from None
        return Change(table, slot, old, new, True, named)

    def _commit(self, changes: list[Change]) -> None:
        """Write all changes as one write."""
        self.version += 1
        now = self.now()
        for change in changes:
            if change.writes:
                change.slot.versions.append(Version(self.version, now, change.new))

    def _transact_write(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        token = payload.get("ClientRequestToken")
        request = ""
        if token is not None:
            request = json.dumps({**payload, "ReturnConsumedCapacity": None}, sort_keys=True)
            if not 1 <= len(token) <= 36:
                raise invalid("ClientRequestToken must have length from 1 to 36")
            before = self._tokens.get(token)
            if before is not None and before.until > self.now():
                if before.request != request:
                    raise Refused(
                        "IdempotentParameterMismatchException", "The request uses the same token for another request"
                    )
                if any(held == token for held, _ in self.held):
                    raise Refused("TransactionInProgressException", "The transaction is already in progress")
                if before.response is not None:
                    return before.response
        actions = payload["TransactItems"]
        _check_actions(actions)
        changes, reasons = self._prepare(actions)
        if token is not None and self.remembers_refused:
            self._tokens[token] = _Remembered(self.now() + TOKEN_SECONDS, request, None)
        if any(reason["Code"] != "None" for reason in reasons):
            raise canceled(reasons)
        size = sum(item_size(change.new or change.slot.key) for change in changes)
        if size > MAX_TRANSACTION_BYTES:
            raise invalid("Collection of items in the transaction is larger than 4 MB")
        self._commit(changes)
        response: dict[str, Any] = {}
        if payload.get("ReturnConsumedCapacity", "NONE") != "NONE":
            bills: dict[str, Bill] = {}
            for change in changes:
                bill = bills.setdefault(change.table.name, Bill(change.table.name))
                bill.write += 2 * capacity.write_units(change.old, change.new)
                bill.add_indexes(capacity.index_units(change.table, change.old, change.new), 2)
            response["ConsumedCapacity"] = capacity.total(bills.values(), payload["ReturnConsumedCapacity"], split=True)
        slots = [change.slot for change in changes]
        if token is not None:
            self._tokens[token] = _Remembered(self.now() + TOKEN_SECONDS, request, response)
        if self.holding:
            self.held.append((token, slots))
            for slot in slots:
                slot.busy = slot.hidden = True
        return response

    def _prepare(self, actions: list[dict[str, Any]]) -> tuple[list[Change], list[dict[str, Any]]]:
        changes: list[Change] = []
        reasons: list[dict[str, Any]] = []
        slots = []
        for action in actions:
            ((kind, request),) = action.items()
            table = self.table(request)
            key = checked_item(request["Item"]) if kind == "Put" else checked_key(table.keys, request["Key"])
            for name in table.keys.names:
                table.keys.check(name, key.get(name), of_key=False)
            slots.append(table.slot(key))
        if len(set(map(id, slots))) != len(slots):
            raise invalid("Transaction request cannot include multiple operations on one item")
        for action, slot in zip(actions, slots, strict=True):
            ((kind, request),) = action.items()
            try:
                change = self._plan(kind, request)
            except CannotUpdate as error:
                reasons.append({"Code": "ValidationError", "Message": error.message})
                continue
            except Refused as refused:
                if refused.code != "ConditionalCheckFailedException":
                    raise
                reasons.append({"Code": "ConditionalCheckFailed", "Message": refused.message, **refused.more})
                continue
            if slot.busy:
                reasons.append({"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"})
                continue
            changes.append(change)
            reasons.append({"Code": "None"})
        return changes, reasons


_KINDS = {"Put", "Update", "Delete", "ConditionCheck"}


def _check_actions(actions: list[dict[str, Any]]) -> None:
    if not 1 <= len(actions) <= MAX_ACTIONS:
        raise invalid(f"Member must have length less than or equal to {MAX_ACTIONS} and at least 1")
    if any(len(action) != 1 or not action.keys() <= _KINDS for action in actions):
        raise invalid("TransactItems can only contain one of Check, Put, Update or Delete")


def _keys_of(schema: list[dict[str, str]], types: dict[str, str]) -> Keys:
    roles = {entry["KeyType"]: entry["AttributeName"] for entry in schema}
    names = [name for name in (roles["HASH"], roles.get("RANGE")) if name is not None]
    if not set(names) <= types.keys():
        raise invalid("Some index key attributes are not defined in AttributeDefinitions")
    return Keys(roles["HASH"], roles.get("RANGE"), {name: types[name] for name in names})


def _check_index_keys(table: Table, item: Item) -> None:
    for index in table.indexes.values():
        for name in index.keys.names:
            if name in item:
                index.keys.check(name, item[name], of_key=False)


def _wants_old(request: Mapping[str, Any]) -> bool:
    return bool(request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD")


def _returned(wanted: str, change: Change) -> dict[str, Any]:
    old, new = change.old or {}, change.new or {}
    found: Item = {}
    if wanted == "ALL_OLD":
        found = old
    elif wanted == "ALL_NEW":
        found = new
    elif wanted in ("UPDATED_OLD", "UPDATED_NEW"):
        source = old if wanted == "UPDATED_OLD" else new
        found = {name: value for name, value in source.items() if name in change.paths}
    return {"Attributes": found} if found else {}


_OPERATIONS: dict[str, Callable[[Model, Mapping[str, Any]], dict[str, Any]]] = {
    "CreateTable": Model._create_table,
    "DescribeTable": Model._describe_table,
    "ListTables": Model._list_tables,
    "DeleteTable": Model._delete_table,
    "UpdateTimeToLive": Model._update_time_to_live,
    "DescribeTimeToLive": Model._describe_time_to_live,
    "PutItem": Model._put_item,
    "UpdateItem": Model._update_item,
    "DeleteItem": Model._delete_item,
    "TransactWriteItems": Model._transact_write,
    "GetItem": reading.get_item,
    "BatchGetItem": reading.batch_get,
    "TransactGetItems": reading.transact_get,
    "Query": reading.query,
    "Scan": reading.scan,
}
