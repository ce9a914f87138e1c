"""Capacity units by AWS's documented formulas.

Sources: AWS, "DynamoDB read and write operations", "Managing complex workflows with DynamoDB transactions" (twice as
much for each item of a transaction), "Using Global Secondary Indexes" (a write that does not change an index costs
nothing there; one that changes the key of an entry costs two writes).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.dynamodb_model.table import Table
from tests.dynamodb_model.values import Item, item_size

READ_BYTES = 4096
WRITE_BYTES = 1024


def read_units(size: int, strong: bool) -> float:
    """Return the read units for so many bytes together; no byte costs as much as one."""
    whole = max(1, -(-size // READ_BYTES))
    return float(whole) if strong else whole / 2


def write_units(old: Item | None, new: Item | None) -> float:
    """Return the write units of a write: for the larger of the item before and after."""
    size = max(item_size(old) if old else 0, item_size(new) if new else 0)
    return float(max(1, -(-size // WRITE_BYTES)))


def index_units(table: Table, old: Item | None, new: Item | None) -> dict[str, float]:
    """Return the write units of a write for each index that it changes."""
    units = {}
    for index in table.indexes.values():
        before, after = index.entry(old), index.entry(new)
        if before == after:
            continue
        moved = before and after and index.keys.order(before) != index.keys.order(after)
        units[index.name] = (
            write_units(before, None) + write_units(None, after) if moved else write_units(before, after)
        )
    return units


class Bill:
    """The units of one call on one table."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.read = 0.0
        self.write = 0.0
        self.indexes: dict[str, float] = {}
        """The part for each index."""

    def add_indexes(self, units: dict[str, float], factor: int = 1) -> None:
        for name, cost in units.items():
            self.indexes[name] = self.indexes.get(name, 0.0) + cost * factor
            self.write += cost * factor

    def to_json(self, wanted: str, split: bool) -> dict[str, Any]:
        """Return it in the form of a response; with `split`, reads and writes are separate, as for transactions."""
        total = self.read + self.write
        response: dict[str, Any] = {"TableName": self.table, "CapacityUnits": total}
        if split:
            response |= {
                name: units
                for name, units in (("ReadCapacityUnits", self.read), ("WriteCapacityUnits", self.write))
                if units
            }
        if wanted == "INDEXES":
            response["Table"] = {"CapacityUnits": total - sum(self.indexes.values())}
            if self.indexes:
                response["GlobalSecondaryIndexes"] = {
                    name: {"CapacityUnits": units} for name, units in self.indexes.items()
                }
        return response


def total(bills: Iterable[Bill], wanted: str | None, split: bool = False) -> list[dict[str, Any]]:
    """Return the bills of several tables in the form of a response, in the order of their names."""
    if wanted in (None, "NONE"):
        return []
    return [bill.to_json(str(wanted), split) for bill in sorted(bills, key=lambda bill: bill.table)]
