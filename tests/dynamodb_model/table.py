"""A table of the model: its keys, its index, and every item with all it ever was."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.dynamodb_model.values import Item, Value, invalid, octets, rank

MAX_KEY_BYTES = {"HASH": 2048, "RANGE": 1024}


class Version(NamedTuple):
    """What an item was from a write on; `None`: it was not there."""

    number: int
    """Of the write, among all of the model's."""
    time: float
    item: Item | None


class Slot:
    """The place of one item, with its history."""

    __slots__ = ("busy", "hidden", "key", "order", "versions")

    def __init__(self, key: Item, order: tuple[Any, Any]) -> None:
        self.key = key
        self.order = order
        """What it is ordered by: partition and place in it."""
        self.versions: list[Version] = []
        self.busy = False
        """Whether a transaction is being carried out on it."""
        self.hidden = False
        """Whether nobody has seen yet what that transaction made of it: once seen, it stays so."""

    @property
    def latest(self) -> Item | None:
        return self.versions[-1].item if self.versions else None

    def at(self, number: int) -> Item | None:
        """Return the item as of a write."""
        for version in reversed(self.versions):
            if version.number <= number:
                return version.item
        return None


class Keys(NamedTuple):
    """The key of a table or of an index: its attributes' names, and their types."""

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
        """Return what an item is ordered by."""
        place = rank(item[self.range]) if self.range else None
        return rank(item[self.hash]), place and place[1]


class Index(NamedTuple):
    """A global secondary index."""

    name: str
    keys: Keys
    projected: frozenset[str] | None
    """The attributes it holds; `None` for all."""

    def entry(self, item: Item | None) -> Item | None:
        """Return what the index holds of an item; `None` when the item is not in it."""
        if item is None or any(name not in item for name in self.keys.names):
            return None
        if self.projected is None:
            return item
        return {name: value for name, value in item.items() if name in self.projected}


class Table:
    """Items by their keys. Nothing is forgotten: a version is added by each write."""

    def __init__(self, name: str, keys: Keys, indexes: dict[str, Index], description: dict[str, Any]) -> None:
        self.name = name
        self.keys = keys
        self.indexes = indexes
        self.description = description
        self.time_to_live: dict[str, Any] = {}
        self._slots: dict[tuple[Any, Any], Slot] = {}
        self._partitions: dict[Any, list[Any]] = {}

    def slot(self, key: Item) -> Slot:
        """Return the place of a key."""
        order = self.keys.order(key)
        slot = self._slots.get(order)
        if slot is None:
            slot = self._slots[order] = Slot({name: key[name] for name in self.keys.names}, order)
            insort(self._partitions.setdefault(order[0], []), order[1])
        return slot

    def slots(self) -> Iterator[Slot]:
        """Return every place, partition by partition."""
        for partition, places in self._partitions.items():
            for place in places:
                yield self._slots[partition, place]

    def run(self, partition: Any, low: Any, backward: bool) -> Iterator[Slot]:
        """Return the places of a partition in order, from `low` on where it is given."""
        places = self._partitions.get(partition, [])
        if backward:
            for place in reversed(places):
                yield self._slots[partition, place]
            return
        start = 0 if low is None else bisect_left(places, low)
        for place in places[start:]:
            yield self._slots[partition, place]
