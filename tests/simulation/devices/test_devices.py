"""Schedules with devices: every promise of the sync holds, and each planted bug is found."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.simulation.checker import violations
from tests.simulation.devices.bugs import DEVICE_BUGS
from tests.simulation.devices.faults import FAULTS
from tests.simulation.devices.world import DeviceWorld
from tests.simulation.planting import find

if TYPE_CHECKING:
    from tests.simulation.planting import Bug

BLOCK = 25
"""Number of schedules in one test, which takes two seconds."""
SEEDS = 400
"""Largest number of schedules for one bug."""


@pytest.mark.parametrize("first", range(2 * BLOCK, 6 * BLOCK, BLOCK))
def test_every_promise_about_devices_holds(first: int) -> None:
    for seed in range(first, first + BLOCK):
        assert violations(DeviceWorld(seed).run().history) == [], f"replay it: make simulate SEED={seed} ARGS=--devices"


def test_every_fault_and_every_outcome_of_devices_occurs() -> None:
    counts: Counter[str] = Counter()
    edits = 0
    for seed in range(2 * BLOCK):
        outcome = DeviceWorld(seed).run()
        counts.update(outcome.faults)
        devices = outcome.history.devices
        assert devices is not None
        assert violations(outcome.history) == [], f"replay it: make simulate SEED={seed} ARGS=--devices"
        assert len(devices.stores) >= 3
        edits += len(devices.edits)
        counts.update({name: len(getattr(devices, name)) for name in ("dropped", "changed", "refused", "excused")})
        counts.update(edit.state for store in devices.stores for edit in store.outbox)
    expected = ("sync done", "sync offline", "sync diverged", "resync done", "restored to a point in time")
    more = ("stopped in a transaction", "dropped", "changed", "refused", "excused", "rejected", "held")
    assert not [name for name in (*FAULTS, *expected, *more) if not counts[name]]
    assert edits > 500


def test_a_seed_always_gives_the_same_trace_of_devices() -> None:
    first, second = DeviceWorld(3).run(), DeviceWorld(3, tracing=True).run()
    assert first.digest == second.digest
    assert len(second.trace) > 50
    assert DeviceWorld(4).run().digest != first.digest


@pytest.mark.parametrize("bug", DEVICE_BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_of_the_sync_is_found(bug: Bug) -> None:
    begin = BEGIN.get(bug.name, 0)
    found = find(bug, (*range(begin, SEEDS), *range(begin)))
    assert found is not None, f"{bug.name} was not found with {SEEDS} seeds"


BEGIN: dict[str, int] = {
    "outbox cleared on 200": 60,
    "rejected on a proxy's 400": 60,
    "stale page accepted": 15,
    "part of a batch twice": 90,
}
"""Where the search begins, to save time."""
