"""What goes wrong in a schedule: each fault's name, and how often it comes, drawn anew for each seed."""

from __future__ import annotations

from collections import Counter
from random import Random

# Each fault: how it is called, and the most that it is likely to be, per request (or per step, or per schedule).
FAULTS: dict[str, float] = {
    "no connection": 0.10,
    "request lost": 0.15,
    "reply lost": 0.20,
    "reply garbled": 0.10,
    "slow request": 0.15,
    "slow reply": 0.15,
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
"""How likely a schedule is to have one kind of trouble nearly all the time."""
STORMY = [name for name, most in FAULTS.items() if 0.1 < most < 0.7]
RESTORE = 0.12
"""How likely a schedule is to have its table restored to a point in time."""


class Weather:
    """Decides what goes wrong, and counts it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.counts: Counter[str] = Counter()
        self.calm = False
        # Most schedules have a few kinds of trouble, so that each is seen alone as well as with others.
        share = random.choice((0.0, 0.15, 0.3, 0.6, 1.0))
        self.chances = {name: most * random.random() for name, most in FAULTS.items() if random.random() < share}
        if random.random() < STORM:
            self.chances[random.choice(STORMY)] = 0.4 + 0.5 * random.random()

    def strikes(self, name: str) -> bool:
        """Tell whether a fault comes now."""
        chance = self.chances.get(name)
        if chance is None or self.calm or self.random.random() >= chance:
            return False
        self.counts[name] += 1
        return True
