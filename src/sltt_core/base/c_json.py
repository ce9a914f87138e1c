"""The C scanner and the C encoder of the standard library's JSON, without the package around them.

`import json` loads `re`, `enum` and `functools`, which take a quarter of a cold start's instructions. The C module
`_json` needs none of them, except to describe an error.
"""

from __future__ import annotations

from _json import encode_basestring as quote
from _json import encode_basestring_ascii as quote_ascii
from _json import make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Scan = Callable[[str, int], tuple[Any, int]]
    """Takes a text and a place; returns the value there and the place after it.

    Raises `StopIteration` with the place where no value begins, and `json.JSONDecodeError` (a `ValueError`) for other
    errors.
    """
    Encode = Callable[[Any, int], tuple[str, ...]]
    """Takes a value and 0; returns the pieces of its text. Raises `TypeError` for what is not JSON."""

_CONSTANTS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


__all__ = ["dumps", "encoder", "quote", "scanner"]


class _Options:
    """What `make_scanner` reads from a `json.JSONDecoder`; the defaults are those of the class."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = staticmethod(float)
    parse_int = staticmethod(int)
    parse_constant = staticmethod(_CONSTANTS.__getitem__)
    memo: dict[str, str] | None = None


def scanner(**hooks: Callable[..., Any]) -> Scan:
    """Return a C scanner; `hooks` are options of `json.JSONDecoder`."""
    options = _Options()
    options.__dict__.update(hooks)
    options.memo = {}
    made: Scan = make_scanner(options)  # type: ignore[arg-type]
    return made


def encoder(*, ascii_only: bool = False, item: str = ",", key: str = ":", allow_nan: bool = False) -> Encode:
    """Return a C encoder; `item` and `key` separate the items of an object or array, and a key from its value."""
    made: Encode = make_encoder(
        None, _refuse, quote_ascii if ascii_only else quote, None, key, item, False, False, allow_nan
    )
    return made


def _refuse(value: object) -> object:
    raise TypeError(f"a {type(value).__name__} is not a JSON value")


_readable = encoder(item=", ", key=": ")
_readable_ascii = encoder(ascii_only=True, item=", ", key=": ")


def dumps(value: object, *, ascii_only: bool = True) -> str:
    """Write a value as `json.dumps` does, but refuse NaN and infinities."""
    return "".join((_readable_ascii if ascii_only else _readable)(value, 0))
