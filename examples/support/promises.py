"""A promise that a demonstration checks, and the error when it does not hold."""

from __future__ import annotations


class Broken(Exception):
    """A promise does not hold; the message contains it."""


def require(holds: object, promise: str) -> None:
    """Raise `Broken` unless a promise holds."""
    if not holds:
        raise Broken(promise)
