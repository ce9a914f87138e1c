"""`Meter`: counts a storage's calls of DynamoDB, and the capacity units that they consume."""

from __future__ import annotations

from typing import NamedTuple


class Metered(NamedTuple):
    """The cost of some calls."""

    calls: tuple[str, ...]
    units: float


class Meter:
    """An observer that counts."""

    def __init__(self) -> None:
        self._calls: list[str] = []
        self._units = 0.0

    def on_call(
        self,
        operation: str,
        attempts: int,
        throttled: int,
        seconds: float,
        read_units: float | None,
        write_units: float | None,
    ) -> None:
        self._calls.append(operation)
        self._units += (read_units or 0.0) + (write_units or 0.0)

    def read(self) -> Metered:
        """Return the calls since the last reading, and reset."""
        metered = Metered(tuple(self._calls), self._units)
        self._calls, self._units = [], 0.0
        return metered
