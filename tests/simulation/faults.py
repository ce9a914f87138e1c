"""The faults of a schedule: their names and probabilities. Each seed draws its own probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

# The name of each fault, and its greatest probability per request (or per step, or per schedule).
FAULTS: dict[str, float] = {
    "no connection": 0.10,
    "request lost": 0.15,
    "response lost": 0.20,
    "response garbled": 0.10,
    "slow request": 0.15,
    "slow response": 0.15,
    "delivered twice": 0.20,
    "throttled": 0.20,
    "throttled in a transaction": 0.20,
    "transaction conflict": 0.25,
    "transaction held": 0.40,
    "token mismatch": 0.15,
    "server fault before": 0.15,
    "server fault after": 0.15,
    "stale read": 0.60,
    "half a transaction seen": 0.60,
    "short page": 0.50,
    "process asleep": 0.02,
    "asleep past the token": 0.02,
    "crash": 0.02,
    "credentials expire": 0.70,
    "clock skew": 0.70,
    "refused tokens remembered": 0.50,
}
STORM = 0.2
"""Probability that one kind of fault happens nearly all the time in a schedule."""
RESTORE = 0.12
"""Probability that the table is restored to a point in time in a schedule."""


class FaultInjector:
    """Decides which faults happen, and counts them."""

    def __init__(self, random: Random, kinds: Mapping[str, float] = FAULTS) -> None:
        """`kinds` has the name of each fault, and its greatest probability."""
        self.random = random
        self.counts: Counter[str] = Counter()
        self.disabled = False
        # Most schedules have a few kinds of faults, so that each happens alone and together with others.
        share = random.choice((0.0, 0.15, 0.3, 0.6, 1.0))
        self.chances = {name: most * random.random() for name, most in kinds.items() if random.random() < share}
        if random.random() < STORM:
            stormy = [name for name, most in kinds.items() if 0.1 < most < 0.7]
            self.chances[random.choice(stormy)] = 0.4 + 0.5 * random.random()

    def occurs(self, name: str) -> bool:
        """Decide whether a fault happens now."""
        chance = self.chances.get(name)
        if chance is None or self.disabled or self.random.random() >= chance:
            return False
        self.counts[name] += 1
        return True
