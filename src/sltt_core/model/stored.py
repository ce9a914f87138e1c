"""The rules that a change in a log keeps, and the error for one that does not.

Each read checks its changes with `is_sound`. `verify` checks every rule.
"""

from __future__ import annotations

from sltt_core.base.errors import LogDamaged
from sltt_core.base.json_reader import JsonProblem, is_object, read
from sltt_core.base.timestamps import is_time, normalise
from sltt_core.model.fields import (
    FIELDS,
    MAX_SEQ,
    OPERATIONS,
    STORED_OPERATIONS,
    TOMBSTONE,
    check_entity_type,
    check_free_text,
    check_idempotency_key,
    is_link,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sltt_core.model.changes import Change


def is_sound(change: Change) -> bool:
    """Return whether the values of a stored change have their types and can be written into JSON verbatim.

    It is a fast approximation of `broken_rule`: a change that passes may repeat a key in its data, or have a name of
    a request with a part that is not valid. One that does not pass may be valid, because ids may have characters that
    Unicode calls not printable.
    """
    values = change.as_tuple()
    kind, entity, operation, timestamp, cloud_at, data, outdated_by, cid, change_by, chain, name = values[2:]
    try:
        return (
            operation in STORED_OPERATIONS
            and is_time(timestamp)
            and (cloud_at == timestamp or is_time(cloud_at))
            and is_object(data)
            and type(entity) is str
            and 0 < len(entity) < 256
            and entity.isprintable()
            and is_link(chain)
            and (outdated_by is None or (type(outdated_by) is int and 0 < outdated_by <= MAX_SEQ))
            and (cid is None or cid.isprintable())
            and (change_by is None or change_by.isprintable())
            and (name is None or (name.count(" ") == 4 and len(name) > 86))
            and check_entity_type(kind) == kind
        )
    except (AttributeError, TypeError, ValueError):
        return False


def sound(change: Change, names: Mapping[str, str]) -> Change:
    """Return a stored change; raises `LogDamaged` with the field if it breaks a rule.

    `names` has the name of each field in the storage.
    """
    if not is_sound(change):
        broken = broken_rule(change)
        if broken is not None:
            raise LogDamaged(
                f"change {change.seq} of project {change.project_id} is damaged: {names[broken[0]]} {broken[1]}"
            )
    return change


def broken_rule(change: Change) -> tuple[str, str] | None:
    """Return the first field of a stored change that breaks a rule of the format, and how; `None` if none does."""
    for name, check in _RULES.items():
        value = getattr(change, name)
        if value is None and name not in _OPTIONAL:
            return name, "is missing"
        try:
            check(value)
        except ValueError as error:
            return name, str(error)
    return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    return value


def _optional_text(value: object) -> None:
    if value is not None:
        _text(value)


def _operation(value: object) -> None:
    if value not in (*OPERATIONS, TOMBSTONE):
        raise ValueError(f"is not one of {', '.join((*OPERATIONS, TOMBSTONE))}")


def _time(value: object) -> None:
    normalise(_text(value))


def _object(value: object) -> None:
    try:
        if type(read(_text(value))) is not dict:
            raise ValueError("is not a JSON object")
    except JsonProblem as error:
        raise ValueError(f"is not a JSON object: {error}") from None


def _optional_number(value: object) -> None:
    if value is not None and not (type(value) is int and 1 <= value <= MAX_SEQ):
        raise ValueError(f"is not an integer from 1 to {MAX_SEQ}")


def _link(value: object) -> None:
    if not isinstance(value, str) or not is_link(value):
        raise ValueError("is not a link: 22 characters of base64url")


def request_parts(value: object) -> tuple[str, int, int, int, str]:
    """Return the parts of a `request_key` (`sltt_core.log.requests`); raises `ValueError`."""
    parts = value.split(" ") if isinstance(value, str) else []
    if len(parts) == 5:
        key, *digits, fingerprint = parts
        numbers = [int(text) for text in digits if text.isascii() and text.isdigit() and len(text) <= 13]
        if (
            len(numbers) == 3
            and max(numbers) <= MAX_SEQ
            and numbers[2] > 0
            and len(fingerprint) == 64
            and fingerprint.isascii()
            and fingerprint.isalnum()
        ):
            return check_idempotency_key(key), numbers[0], numbers[1], numbers[2], fingerprint
    raise ValueError("is not a key, three numbers and a fingerprint")


def check_request_key(value: object) -> None:
    """Check a `request_key` of a stored change; raises `ValueError`."""
    if value is not None:
        request_parts(value)


_OPTIONAL = {field.name for field in FIELDS if field.optional}
_RULES: dict[str, Callable[[object], object]] = {
    "entity_type": check_entity_type,
    "entity_id": check_free_text,
    "operation": _operation,
    "timestamp": _time,
    "cloud_at": _time,
    "data_json": _object,
    "outdated_by": _optional_number,
    # The original backend accepted any text here.
    "cid": _optional_text,
    "change_by": _optional_text,
    "chain": _link,
    "request_key": check_request_key,
}
