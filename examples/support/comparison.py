"""Compare the sent changes with the stored ones, field by field."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

JSONObject = dict[str, Any]

# The fields that the log adds to a change.
ADDED = {"seq", "cloudAt", "chain", "outdatedBy"}


class Difference(Exception):
    """A stored change differs from the sent one; the message contains the difference."""


def compare(sent: list[JSONObject], stored: list[JSONObject]) -> int:
    """Compare a project's changes with the sent ones, in order; return the number of equal fields.

    Raises:
        Difference: at the first difference.
    """
    if len(stored) != len(sent):
        raise Difference(f"{len(sent)} changes were sent, {len(stored)} came back")
    return sum(_compare_one(*pair, seq) for seq, pair in enumerate(zip(sent, stored, strict=True), start=1))


def _compare_one(sent: JSONObject, stored: JSONObject, seq: int) -> int:
    if stored.get("seq") != seq:
        raise Difference(f"change {seq} came back with the number {stored.get('seq')}")
    fields = sent.keys() | (stored.keys() - ADDED)
    for name in sorted(fields):
        before, after = sent.get(name), stored.get(name)
        if not _same(name, before, after):
            raise Difference(f"change {seq}: {name} was {before!r}, came back as {after!r}")
    for name in ("cloudAt", "chain"):
        if not isinstance(stored.get(name), str):
            raise Difference(f"change {seq} came back without {name}")
    return len(fields)


def _same(name: str, sent: object, stored: object) -> bool:
    if name == "timestamp":  # the same time can be written in several ways
        try:
            return datetime.fromisoformat(str(sent)) == datetime.fromisoformat(str(stored))
        except ValueError:
            return False
    # As text, because 1, 1.0 and True are equal in Python, and because the order of the members matters.
    return json.dumps(sent) == json.dumps(stored)
