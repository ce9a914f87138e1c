"""Python's values as JSON text: only what JSON has, and an error that names the place of anything else."""

from __future__ import annotations

from sltt_core.base.json_reader import MAX_DEPTH, JsonProblem, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAX_PATH = 200
"""Characters of a path that an error shows."""

_HINTS = {
    "Decimal": "str() keeps its digits, float() makes it a number",
    "Fraction": "str() or float() makes it a JSON value",
    "UUID": "str() makes it a text",
    "set": "sorted() makes it a list",
    "frozenset": "sorted() makes it a list",
    "bytes": "decode() or base64.b64encode().decode() makes it a text",
    "bytearray": "decode() or base64.b64encode().decode() makes it a text",
    "datetime": "isoformat() makes it a text",
    "date": "isoformat() makes it a text",
    "time": "isoformat() makes it a text",
    "timedelta": "total_seconds() makes it a number",
}
"""What a caller may do with a value of a type that JSON does not have, by the type's name."""


class NotJson(JsonProblem):
    """A value that JSON does not have; the message says why."""

    def __init__(self, path: str, reason: str) -> None:
        """`path` leads from the outermost value to this one: `.verses[2].at`; of a long one the end is kept."""
        super().__init__(reason)
        self.path = path if len(path) <= MAX_PATH else f"...{path[-MAX_PATH:]}"
        self.reason = reason


def write(value: object) -> str:
    """Return a value as compact JSON; any mapping is an object, a list or a tuple is an array.

    Raises `NotJson` for a value that JSON does not have and for a key that is not a string, `JsonProblem` for what
    cannot be written for another reason: a value without an end, or nested too deep.
    """
    from json import dumps

    try:
        found = _fault(value, set())
        if found is None:
            return dumps(value, default=dict, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise JsonProblem(f"cannot be written as JSON: {error}") from None
    raise NotJson(*found)


def _fault(value: Any, above: set[int]) -> tuple[str, str] | None:
    """Find the first value that is not JSON: its path and the reason. `above` are the ids of what holds this one."""
    if value is None or isinstance(value, (str, int)):
        return None
    if isinstance(value, float):
        return None if value - value == 0.0 else ("", f"{_NAMES.get(str(value), value)} is not JSON")
    steps: Iterable[tuple[Any, Any]]
    if isinstance(value, (list, tuple)):
        steps = enumerate(value)
    elif hasattr(value, "keys"):
        steps = (value if isinstance(value, dict) else dict(value)).items()
        for key, _ in steps:
            if not isinstance(key, str):
                kind = type(key).__name__
                return "", f"the key {key!r:.40} is not a string but {_article(kind)} {kind}; str() makes it one"
    else:
        kind = type(value).__name__
        hint = f"; {_HINTS[kind]}" if kind in _HINTS else ""
        return "", f"{_article(kind)} {kind} is not a JSON value{hint}"
    if id(value) in above:
        raise ValueError("a value holds itself")
    if len(above) > MAX_DEPTH:
        return None  # it is refused for its depth
    above.add(id(value))
    for step, inner in steps:
        found = _fault(inner, above)
        if found is not None:
            return _path(step) + found[0], found[1]
    above.remove(id(value))
    return None


_NAMES = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _article(kind: str) -> str:
    return "an" if kind[0] in "AEIOaeio" else "a"


def _path(step: int | str) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if step.isidentifier() and len(step) <= 40:
        return f".{step}"
    return f"[{quote(step[:40]).encode('ascii', 'replace').decode()}]"
