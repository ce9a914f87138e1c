"""Checks of the parts of a request, shared by the operations of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.dynamodb_model.expressions import Bindings
from tests.dynamodb_model.table import Keys
from tests.dynamodb_model.values import Item, Refused, Value, checked, invalid

MAX_ACTIONS = 100
"""Largest number of actions in a transaction."""


def canceled(reasons: list[dict[str, Any]]) -> Refused:
    codes = ", ".join(reason["Code"] for reason in reasons)
    message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
    return Refused("TransactionCanceledException", message, CancellationReasons=reasons)


def bindings_of(request: Mapping[str, Any]) -> Bindings:
    """Return the placeholders of a request, with checked values."""
    names = request.get("ExpressionAttributeNames")
    values = request.get("ExpressionAttributeValues")
    if names == {} or values == {}:
        raise invalid("ExpressionAttributeNames and ExpressionAttributeValues must not be empty")
    return Bindings(names or {}, {name: checked(value) for name, value in (values or {}).items()})


def checked_item(item: Mapping[str, Value]) -> Item:
    """Check all values of an item; return the item with its numbers in canonical form."""
    return {name: checked(value) for name, value in item.items()}


def checked_key(keys: Keys, key: Mapping[str, Value]) -> Item:
    """Check a key: it must have all attributes of the key and no others."""
    if key.keys() != set(keys.names):
        raise invalid("The provided key element does not match the schema")
    found = checked_item(key)
    for name in keys.names:
        keys.check(name, found[name], of_key=True)
    return found
