"""A table of the model: its keys, its indexes, and its items with all their versions."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.dynamodb_model.values import Item, Value, invalid, octets, rank

MAX_KEY_BYTES = {"HASH": 2048, "RANGE": 1024}


class Version(NamedTuple):
    """The state of an item after a write."""

    number: int
    """The number of the write, among all writes to the model."""
    time: float
    item: Item | None
    """`None` if the item does not exist."""


class Slot:
    """A key of a table, with all versions of its item."""

    __slots__ = ("busy", "hidden", "key", "order", "versions")

    def __init__(self, key: Item, order: tuple[Any, Any]) -> None:
        self.key = key
        self.order = order
        """The key in a form that can be sorted: partition and sort key."""
        self.versions: list[Version] = []
        self.busy = False
        """Whether a transaction holds it."""
        self.hidden = False
        """Whether no read has seen the write of that transaction yet. Once seen, it stays visible."""

    @property
    def latest(self) -> Item | None:
        return self.versions[-1].item if self.versions else None

    def at(self, number: int) -> Item | None:
        """Return the item after the write with this number."""
        for version in reversed(self.versions):
            if version.number <= number:
                return version.item
        return None


class Keys(NamedTuple):
    """The key of a table or of an index: the names and types of its attributes."""

    hash: str
    range: str | None
    types: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.hash,) if self.range is None else (self.hash, self.range)

    def check(self, name: str, value: Value | None, of_key: bool) -> None:
        """Check the value of a key attribute."""
        wrong = "The provided key element does not match the schema" if of_key else ""
        if value is None:
            raise invalid(wrong or f"One or more parameter values were invalid: Missing the key {name} in the item")
        if self.types[name] not in value:
            raise invalid(wrong or f"One or more parameter values were invalid: Type mismatch for key {name}")
        ((kind, held),) = value.items()
        if kind == "N":
            return
        size = len(held.encode() if kind == "S" else octets(held))
        if size == 0:
            raise invalid(f"One or more parameter values are not valid. An empty value for key {name}")
        if size > MAX_KEY_BYTES["HASH" if name == self.hash else "RANGE"]:
            raise invalid("One or more parameter values were invalid: Size of key has exceeded the maximum size limit")

    def order(self, item: Item) -> tuple[Any, Any]:
        """Return the key of an item in a form that can be sorted."""
        place = rank(item[self.range]) if self.range else None
        return rank(item[self.hash]), place and place[1]


class Index(NamedTuple):
    """A global secondary index."""

    name: str
    keys: Keys
    projected: frozenset[str] | None
    """The attributes that it contains; `None` for all."""

    def entry(self, item: Item | None) -> Item | None:
        """Return the entry of an item in the index; `None` if the item is not in it."""
        if item is None or any(name not in item for name in self.keys.names):
            return None
        if self.projected is None:
            return item
        return {name: value for name, value in item.items() if name in self.projected}


class Table:
    """Items by their keys. Each write adds a version; no version is removed."""

    def __init__(self, name: str, keys: Keys, indexes: dict[str, Index], description: dict[str, Any]) -> None:
        self.name = name
        self.keys = keys
        self.indexes = indexes
        self.description = description
        self.time_to_live: dict[str, Any] = {}
        self._slots: dict[tuple[Any, Any], Slot] = {}
        self._partitions: dict[Any, list[Any]] = {}

    def slot(self, key: Item) -> Slot:
        """Return the slot of a key; create it if it is missing."""
        order = self.keys.order(key)
        slot = self._slots.get(order)
        if slot is None:
            slot = self._slots[order] = Slot({name: key[name] for name in self.keys.names}, order)
            insort(self._partitions.setdefault(order[0], []), order[1])
        return slot

    def slots(self) -> Iterator[Slot]:
        """Yield all slots, partition by partition."""
        for partition, places in self._partitions.items():
            for place in places:
                yield self._slots[partition, place]

    def run(self, partition: Any, low: Any, backward: bool) -> Iterator[Slot]:
        """Yield the slots of a partition in order, from sort key `low` on if given; or all of them backward."""
        places = self._partitions.get(partition, [])
        if backward:
            for place in reversed(places):
                yield self._slots[partition, place]
            return
        start = 0 if low is None else bisect_left(places, low)
        for place in places[start:]:
            yield self._slots[partition, place]
