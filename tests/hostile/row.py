"""What a table of hostile requests is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.hostile.raw import change

if TYPE_CHECKING:
    from collections.abc import Callable


class Row(NamedTuple):
    """A request, and the one answer it gets."""

    name: str
    request: bytes | Callable[[], bytes]
    """The bytes, or a function that makes them when there are many."""
    status: int
    said: str = ""
    """Words of the answer's `detail`."""
    stored: int = 0
    """How many changes it adds to the project `p`."""


GOOD = b"[" + change() + b"]"
NOT_HTTP = "this is not an HTTP request"
