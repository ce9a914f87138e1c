"""A simulation of writers whose transactions conflict, to compare waits between attempts. It has no side effects.

No local engine refuses a transaction because another holds an item; DynamoDB does (AWS, "DynamoDB transactions: how it
works", transaction conflict handling). Here an accepted transaction holds the sequence item until it is executed. A
transaction that comes meanwhile is refused at once as a conflict. One that comes later and expected another value is
refused with the current value. Time is virtual, and random numbers are seeded.
"""

from __future__ import annotations

from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    Wait = Callable[[int, float], float]
    """Milliseconds, by the failures of this append so far (1 or more) and a random number from 0 up to 1."""

ROUND_TRIP_MS = 4.0
HOLD_PART = 0.5
"""The part of a round trip during which a transaction holds its items."""
PATIENCE_MS = 10_000.0
"""The time after which an append fails, as `aws_backend.log.table.REQUEST_SECONDS`."""


def none(failures: int, random: float) -> float:
    """Try again at once."""
    return 0.0


def uniform(most: float) -> Wait:
    """Wait a random part of `most` milliseconds."""
    return lambda failures, random: most * random


def backoff(first: float, most: float = 20_000.0) -> Wait:
    """Wait a random part of a time that doubles with each failure: full jitter, as in AWS's SDKs."""
    return lambda failures, random: min(most, first * 2.0 ** (failures - 1)) * random


class Policy(NamedTuple):
    """The waits of a writer."""

    after_conflict: Wait
    after_loss: Wait


POLICIES = {
    "none": Policy(none, none),
    "0 – 2 ms after conflicts": Policy(uniform(2), none),
    "0 – 5 ms after conflicts": Policy(uniform(5), none),
    "0 – 10 ms after conflicts": Policy(uniform(10), none),
    "0 – 20 ms after conflicts": Policy(uniform(20), none),
    "0 – 2 ms after both": Policy(uniform(2), uniform(2)),
    "0 – 10 ms after both": Policy(uniform(10), uniform(10)),
    "backoff from 10 ms after conflicts": Policy(backoff(10), none),
    "backoff from 10 ms after both": Policy(backoff(10), backoff(10)),
    "backoff from 50 ms after both": Policy(backoff(50), backoff(50)),
}


class Outcome(NamedTuple):
    """The result of the appends."""

    taken: list[list[float]]
    """For each writer, the milliseconds of each append."""
    attempts: int
    conflicts: int
    refused: int
    """Appends that failed after the maximum time."""


def simulate(
    writers: int,
    policy: Policy,
    seconds: float,
    seed: int,
    *,
    round_trip: float = ROUND_TRIP_MS,
    hold_part: float = HOLD_PART,
) -> Outcome:
    """Let writers append to one project; each sends its next change when it has the response to the one before."""
    random = Random(seed)
    hold, travel = round_trip * hold_part, round_trip * (1 - hold_part) / 2
    value = 0
    held_until = -1.0
    now = 0.0
    events: list[tuple[float, int, int, str, int]] = []
    """Time, number (so that events differ), writer, kind, and value."""
    count = attempts = conflicts = refused = 0
    begun = [0.0] * writers
    failures = [0] * writers
    taken: list[list[float]] = [[] for _ in range(writers)]

    def some(mean: float) -> float:
        return mean * (0.5 + random.expovariate(2))  # at least half, rarely more than three times the mean

    def later(after: float, writer: int, what: str, known: int = 0) -> None:
        nonlocal count
        count += 1
        heappush(events, (now + after, count, writer, what, known))

    for writer in range(writers):
        later(some(round_trip), writer, "begin")
    while events[0][0] < seconds * 1000:
        now, _, writer, what, known = heappop(events)
        if what == "begin":
            begun[writer], failures[writer] = now, 0
            later(some(travel), writer, "write", known)
        elif what == "write":
            attempts += 1
            if now < held_until:
                later(some(travel), writer, "conflict")
            elif known != value:
                later(some(travel), writer, "loss", value)
            else:
                held = some(hold)
                held_until = now + held
                later(held, writer, "commit")
        elif what == "commit":
            value += 1
            later(some(travel), writer, "done", value)
        elif what == "read":
            later(some(travel), writer, "retry", value)
        elif what == "retry":
            later(some(travel), writer, "write", known)
        elif what == "done":
            taken[writer].append(now - begun[writer])
            later(0, writer, "begin", known)
        else:
            failures[writer] += 1
            conflicts += what == "conflict"
            wait = policy.after_conflict if what == "conflict" else policy.after_loss
            pause = wait(failures[writer], random.random())
            if now + pause - begun[writer] >= PATIENCE_MS:
                refused += 1
                taken[writer].append(now - begun[writer])
                later(0, writer, "begin", value)
            elif what == "conflict":  # it reads the head of the log before it tries again
                later(pause + some(travel), writer, "read")
            else:
                later(pause + some(travel), writer, "write", known)
    return Outcome(taken, attempts, conflicts, refused)
