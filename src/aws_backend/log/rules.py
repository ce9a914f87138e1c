"""The rules of the attributes of a sequence item and of a request item: `END_RULES` and `REQUEST_RULES`.

Each rule takes the attribute's value in DynamoDB's form, or `None`, and returns whether it is valid.
"""

from __future__ import annotations

from sltt_core.base.timestamps import is_time
from sltt_core.model.fields import MAX_SEQ, check_entity_type, is_link

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

FORMAT = 1
"""The log format that this program reads and writes: the attribute `format` of the sequence item."""


def whole(value: Mapping[str, Any]) -> int | None:
    """Return the integer of an attribute; `None` if it is not an integer of at most 20 digits."""
    digits = value.get("N")
    if type(digits) is str and len(digits) <= 20 and digits.removeprefix("-").isdigit():
        return int(digits)
    return None


def _is_whole(least: int, most: int = 2**63 - 1) -> Callable[[Any], bool]:
    def rule(value: Any) -> bool:
        number = whole(value) if value is not None else None
        return number is not None and least <= number <= most

    return rule


def _are_counts(value: Any) -> bool:
    counts = (value or {}).get("M")
    if type(counts) is not dict or not all(_is_count(count) for count in counts.values()):
        return False
    try:
        for name in counts:
            check_entity_type(name)
    except ValueError:
        return False
    return True


_is_count = _is_whole(0)
END_RULES: dict[str, Callable[[Any], bool]] = {
    "format": _is_whole(FORMAT, FORMAT),
    "value": _is_whole(1, MAX_SEQ + 1),
    "chain": lambda value: value is not None and type(value.get("S")) is str and is_link(value["S"]),
    "creates": _is_count,
    "updates": _is_count,
    "deletes": _is_count,
    "entityTypes": _are_counts,
    "repairs": lambda value: value is None or _is_whole(1, 10**9)(value),
}
"""For each attribute of a sequence item that a read needs: whether its value, or `None`, is valid."""


def _is_time(value: Any) -> bool:
    try:
        return _is_text(value) and is_time(value["S"])
    except ValueError:
        return False


def _is_text(value: Any) -> bool:
    return value is not None and type(value.get("S")) is str and 0 < len(value["S"]) <= 255


REQUEST_RULES: dict[str, Callable[[Any], bool]] = {
    "firstSeq": _is_whole(1, MAX_SEQ),
    "count": _is_whole(1, MAX_SEQ),
    "offset": _is_whole(0, MAX_SEQ),
    "fingerprint": lambda value: _is_text(value) and len(value["S"]) == 64,  # SHA-256 in hex
    "token": lambda value: _is_text(value) and len(value["S"]) <= 36,  # AWS: TransactWriteItems, ClientRequestToken
    "createdAt": _is_time,
    "expires": _is_whole(1, 10**12),
}
"""For each attribute of a request item that a read needs."""
