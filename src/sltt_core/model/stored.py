"""The rules that a change in a log keeps, and the error for one that does not.

Each read checks its changes with `is_sound` of `sltt_core.model.changes`. Only `verify`, and a read of a change that is
not sound, load this module: it says which rule is broken.
"""

from __future__ import annotations

from sltt_core.base.errors import LogDamaged
from sltt_core.base.json_reader import JsonProblem, read
from sltt_core.base.timestamps import normalise
from sltt_core.model.chain import is_link
from sltt_core.model.fields import MAX_SEQ, OPERATIONS, TOMBSTONE, check_entity_type, check_free_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sltt_core.model.changes import Change


def broken_rule(change: Change) -> tuple[str, str] | None:
    """Return the first field of a stored change that breaks a rule of the format, and how; `None` if none does."""
    for name, check in _RULES.items():
        try:
            check(getattr(change, name))
        except ValueError as error:
            return name, str(error)
    return None


def check(change: Change, names: Mapping[str, str]) -> None:
    """Raise `LogDamaged` if a change breaks a rule; `names` has the storage's name of each field."""
    broken = broken_rule(change)
    if broken is not None:
        raise LogDamaged(
            f"change {change.seq} of project {change.project_id} is damaged: {names[broken[0]]} {broken[1]}"
        )


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
}
