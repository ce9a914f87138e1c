"""The totals of many schedules. Processes that run some of them import this module."""

from __future__ import annotations

import gc
import signal
from collections import Counter
from time import monotonic
from typing import Any

from tests.simulation import permissions
from tests.simulation.checker import CHECKS, WITH_MEMBERS, violations
from tests.simulation.devices import checker as devices
from tests.simulation.devices.world import DeviceWorld
from tests.simulation.team import TeamWorld
from tests.simulation.world import World


class Tally:
    """The totals of many schedules."""

    def __init__(self, world: type[World]) -> None:
        self.world = world
        self.schedules = self.requests = self.calls = self.crashes = 0
        self.virtual_seconds = 0.0
        self.faults: Counter[str] = Counter()
        self.violations: list[tuple[int, str]] = []
        self.began = monotonic()

    def run(self, seed: int) -> None:
        outcome = self.world(seed).run()
        self.schedules += 1
        self.requests += outcome.requests
        self.calls += len(outcome.history.calls) + len(outcome.history.sent)
        self.virtual_seconds += outcome.seconds
        self.faults.update(outcome.faults)
        self.violations += [(seed, violation) for violation in violations(outcome.history)]

    def add(self, other: Tally) -> None:
        """Add the totals of other schedules."""
        self.schedules += other.schedules
        self.requests += other.requests
        self.calls += other.calls
        self.virtual_seconds += other.virtual_seconds
        self.faults.update(other.faults)
        self.violations += other.violations

    def __str__(self) -> str:
        seeds = len({seed for seed, _ in self.violations})
        return (
            f"{self.schedules:,} schedules, {self.calls:,} calls, {self.requests:,} requests, "
            f"{sum(self.faults.values()):,} faults of {len(self.faults)} kinds, {len(checked(self.world))} promises: "
            f"{len(self.violations)} violations" + (f" in {seeds} schedules" if seeds else "")
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "schedules": self.schedules,
            "calls": self.calls,
            "requests": self.requests,
            "virtualSeconds": round(self.virtual_seconds),
            "seconds": round(monotonic() - self.began, 1),
            "faults": dict(self.faults.most_common()),
            "violations": [{"seed": seed, "violation": violation} for seed, violation in self.violations],
        }


def checked(world: type[World]) -> set[str]:
    """Return the promises that are checked in one kind of schedules."""
    if world is DeviceWorld:
        return set(devices.CHECKS)
    return WITH_MEMBERS if world is TeamWorld else set(CHECKS) - set(permissions.CHECKS)


def run_some(world: type[World], seeds: range) -> Tally:
    """Run the schedules of some seeds; return their totals."""
    tally = Tally(world)
    gc.disable()  # a world is one large reference cycle; automatic collection costs 20 % of the time
    for seed in seeds:
        tally.run(seed)
    gc.collect()
    return tally


def ignore_ctrl_c() -> None:
    """Leave Ctrl-C to the process that prints the totals."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
