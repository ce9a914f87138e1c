"""`Meter`: what a storage asks of DynamoDB: its calls, and the capacity units that they take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService


class Metered(NamedTuple):
    """What some calls took."""

    calls: tuple[str, ...]
    units: float


class Meter:
    """Stands between a storage and its client."""

    def __init__(self, storage: BaseStorageService) -> None:
        self._client: Any = storage._client  # type: ignore[attr-defined]
        self._call = self._client.call
        self._client.call = self._metered
        self._calls: list[str] = []
        self._units = 0.0

    def _metered(self, operation: str, payload: Any, **options: Any) -> Any:
        self._calls.append(operation)
        response = self._call(operation, {**payload, "ReturnConsumedCapacity": "TOTAL"}, **options)
        consumed = response.get("ConsumedCapacity", {})
        for one in consumed if isinstance(consumed, list) else [consumed]:
            self._units += one.get("CapacityUnits", 0.0)
        return response

    def read(self) -> Metered:
        """What there was since the last reading."""
        metered = Metered(tuple(self._calls), self._units)
        self._calls, self._units = [], 0.0
        return metered
