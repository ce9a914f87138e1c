"""`Meter`: what a storage asks of DynamoDB: its calls, and the capacity units that they take."""

from __future__ import annotations

from typing import NamedTuple


class Metered(NamedTuple):
    """What some calls took."""

    calls: tuple[str, ...]
    units: float


class Meter:
    """An observer that counts."""

    def __init__(self) -> None:
        self._calls: list[str] = []
        self._units = 0.0

    def on_call(self, operation: str, attempts: int, seconds: float, units: float | None) -> None:
        self._calls.append(operation)
        self._units += units or 0.0

    def read(self) -> Metered:
        """What there was since the last reading."""
        metered = Metered(tuple(self._calls), self._units)
        self._calls, self._units = [], 0.0
        return metered
