"""Checks, compares and measures DynamoDB's values, such as `{"S": "x"}`, as AWS documents them.

Sources: AWS, "Supported data types and naming rules", "DynamoDB item sizes and formats", "Comparison operator and
function reference".
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as BadBase64
from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

Value = dict[str, Any]
"""An attribute value: the letters of its type, and its content."""
Item = dict[str, Value]

NUMBERS = Context(prec=38, Emax=10_000, Emin=-10_000)
MAX_ITEM_BYTES = 409_600
MAX_NESTING = 32


class Refused(Exception):
    """An error response of DynamoDB: its code, its message, and the other members of its JSON."""

    def __init__(self, code: str, message: str = "", status: int = 400, **more: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.more = more


class CannotUpdate(Refused):
    """An update that does not match the item."""

    def __init__(self, message: str) -> None:
        super().__init__("ValidationException", message)


def invalid(message: str) -> Refused:
    """Return the error for a request that is invalid for any state of the table."""
    return Refused("ValidationException", message)


@lru_cache(65_536)
def number(text: str) -> Decimal:
    """Parse a number: at most 38 significant digits, magnitude from 1E-130 to 9.99E+125."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise invalid("The parameter cannot be converted to a numeric value") from None
    if not value.is_finite() or text != text.strip() or "_" in text:
        raise invalid("The parameter cannot be converted to a numeric value")
    if not value:
        return Decimal(0)
    digits = value.normalize(Context(prec=1000, Emax=10_000, Emin=-10_000))
    if len(digits.as_tuple().digits) > 38:
        raise invalid("Attempting to store more than 38 significant digits in a Number")
    if not -130 <= digits.adjusted() <= 125:
        raise invalid("Number overflow. Attempting to store a number with magnitude out of the supported range")
    return digits


@lru_cache(65_536)
def canonical(text: str) -> str:
    """Return a number as DynamoDB returns it: without an exponent and without insignificant zeros."""
    return format(number(text), "f")


def checked(value: object, depth: int = 0) -> Value:
    """Check one value and return it with its numbers in canonical form."""
    if type(value) is not dict or len(value) != 1:
        raise invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
    ((kind, held),) = value.items()
    if kind == "S" and type(held) is str:
        return value
    if kind == "N" and type(held) is str:
        return {"N": canonical(held)}
    if (kind == "BOOL" and type(held) is bool) or (kind == "NULL" and held is True):
        return value
    if kind == "M" and type(held) is dict and depth < MAX_NESTING:
        return {"M": {name: checked(inner, depth + 1) for name, inner in held.items()}}
    if kind == "L" and type(held) is list and depth < MAX_NESTING:
        return {"L": [checked(inner, depth + 1) for inner in held]}
    if kind == "B" and type(held) is str:
        octets(held)
        return value
    if kind in ("SS", "NS", "BS") and type(held) is list and held:
        members = [canonical(member) for member in held] if kind == "NS" else held
        if len(set(members)) != len(members):
            raise invalid("Input collection contains duplicates")
        return {kind: members}
    raise invalid("One or more parameter values were invalid: Supplied AttributeValue")


def octets(text: str) -> bytes:
    """Decode a binary value."""
    try:
        return b64decode(text, validate=True)
    except (BadBase64, ValueError):
        raise Refused("SerializationException", "not base64") from None


def size_of(value: Value) -> int:
    """Return the size of a value in bytes."""
    ((kind, held),) = value.items()
    if kind == "S":
        return len(held) if held.isascii() else len(held.encode())
    if kind == "N":
        return number_size(held)
    if kind == "B":
        return len(octets(held))
    if kind == "M":
        return 3 + sum(len(name.encode()) + 1 + size_of(inner) for name, inner in held.items())
    if kind == "L":
        return 3 + sum(1 + size_of(inner) for inner in held)
    if kind in ("SS", "NS", "BS"):
        return sum(size_of({kind[0]: member}) for member in held)
    return 1


@lru_cache(65_536)
def number_size(text: str) -> int:
    """Return the size of a number in bytes: one for each two significant digits, one more, and one for a sign."""
    value = number(text)
    if not value:
        return 1
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    # Digits are stored in pairs, from the decimal point on.
    pairs = (len(digits) + (exponent % 2) + 1) // 2
    return 1 + pairs + (value < 0)


def item_size(item: Item) -> int:
    """Return the size of an item in bytes: the names of its attributes and their values."""
    size = 0
    for name, value in item.items():
        size += len(name) if name.isascii() else len(name.encode())
        text = value.get("S")
        size += size_of(value) if text is None else len(text) if text.isascii() else len(text.encode())
    return size


def equal(left: Value, right: Value) -> bool:
    """Return whether two values are equal; the order of a set's members does not matter."""
    if left == right:
        return True
    if left.keys() != right.keys():
        return False
    ((kind, held),) = left.items()
    return kind in ("SS", "NS", "BS") and sorted(held) == sorted(right[kind])


def rank(value: Value) -> tuple[str, Any] | None:
    """Return a sort key for values of the same type; `None` for a type without an order."""
    ((kind, held),) = value.items()
    if kind == "N":
        return kind, number(held)
    if kind == "S":
        return kind, held.encode()
    if kind == "B":
        return kind, octets(held)
    return None
