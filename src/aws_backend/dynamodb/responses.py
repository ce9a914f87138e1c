"""What a response must look like to be DynamoDB's: the types of all members that a caller reads.

A proxy, a captive portal or another service may respond at an endpoint. Without these checks its response would end in
a `KeyError` somewhere else. The check of many items runs in C, because a page has thousands of attributes.
"""

from __future__ import annotations

from itertools import chain

from aws_backend.dynamodb.errors import NotDynamoDB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_VALUES = {
    ("S", str),
    ("N", str),
    ("B", str),
    ("BOOL", bool),
    ("NULL", bool),
    ("M", dict),
    ("L", list),
    ("SS", list),
    ("NS", list),
    ("BS", list),
}
"""The types of attribute values (AWS: API reference, `AttributeValue`). The values inside of a map are not checked."""


def check_response(
    operation: str, response: Mapping[str, Any], check: Callable[[Mapping[str, Any]], bool] | None = None
) -> None:
    """Check the members of a response that callers read; raises `NotDynamoDB` for one that is missing or wrong.

    `check` is the caller's own check; by default, that of this module for the operation, if it has one.
    """
    check = check or _CHECKS.get(operation)
    if check is None:
        return
    try:
        if check(response):
            return
    except (AttributeError, KeyError, TypeError):  # a list where a map must be, and the like
        pass
    raise NotDynamoDB(f"the response to {operation} does not have the form of one of DynamoDB's")


def are_items(items: Any) -> bool:
    """Return whether this is a list of items; raises `TypeError` for some of what is not.

    Of each item it checks that the attributes are maps, of the first and the last one also what is in these maps.
    """
    if type(items) is not list or not set(map(type, chain.from_iterable(map(dict.values, items)))) <= {dict}:
        return False
    values = [value for item in (items[:1] + items[1:][-1:]) for value in item.values()]
    return all(len(value) == 1 and (*value, *map(type, value.values())) in _VALUES for value in values)


def _is_page(response: Mapping[str, Any]) -> bool:
    return are_items(response["Items"]) and are_items([response.get("LastEvaluatedKey", {})])


def _has_item(response: Mapping[str, Any]) -> bool:
    return are_items([response.get("Item", {})])


def _has_attributes(response: Mapping[str, Any]) -> bool:
    return are_items([response.get("Attributes", {})])


def _is_batch(response: Mapping[str, Any]) -> bool:
    keys = [request["Keys"] for request in dict.values(response.get("UnprocessedKeys", {}))]
    return all(map(are_items, [*dict.values(response["Responses"]), *keys]))


def _is_transaction(response: Mapping[str, Any]) -> bool:
    """Check the response to a transaction that reads two items."""
    found = response["Responses"]
    return type(found) is list and len(found) == 2 and are_items([dict.get(one, "Item", {}) for one in found])


_CHECKS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "Query": _is_page,
    "Scan": _is_page,
    "GetItem": _has_item,
    "UpdateItem": _has_attributes,
    "BatchGetItem": _is_batch,
    "TransactGetItems": _is_transaction,
}
