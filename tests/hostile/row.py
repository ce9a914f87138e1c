"""`Row`: an entry in a table of hostile requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.hostile.raw import change

if TYPE_CHECKING:
    from collections.abc import Callable


class Row(NamedTuple):
    """A request, and its expected response."""

    name: str
    request: bytes | Callable[[], bytes]
    """The bytes, or a function that returns them when there are many."""
    status: int
    detail: str = ""
    """A part of the response's `detail`."""
    stored: int = 0
    """The number of changes that it adds to the project `p`."""


GOOD = b"[" + change() + b"]"
NOT_HTTP = "the request is not valid HTTP"
