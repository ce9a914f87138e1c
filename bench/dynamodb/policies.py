"""Tables that compare waits between attempts of an append, from the simulation of `conflicts.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.dynamodb.conflicts import HOLD_PART, POLICIES, ROUND_TRIP_MS, Outcome, simulate
from bench.support.stats import quantile, share_of_least
from bench.support.tables import Row, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.context import BenchContext

WRITERS = 16
SECONDS_TIMES = 40
"""Virtual seconds for each second that other benches measure."""
BRIEFLY = ("none", "0 – 2 ms after conflicts", "0 – 10 ms after conflicts", "backoff from 10 ms after both")
"""The policies that are simulated in other settings, too."""
BASELINE = BRIEFLY[0]
SETTINGS: dict[str, dict[str, Any]] = {
    "4 writers": {"writers": 4},
    "32 writers": {"writers": 32},
    "16 writers, held a quarter": {"writers": 16, "hold_part": 0.25},
    "16 writers, held three quarters": {"writers": 16, "hold_part": 0.75},
}
METRICS: dict[str, tuple[str, Callable[[Outcome], float]]] = {
    "p50": ("ms", lambda outcome: quantile(every(outcome), 0.5)),
    "p99": ("ms", lambda outcome: quantile(every(outcome), 0.99)),
    "slowest": ("ms", lambda outcome: max(every(outcome))),
    "slowest writer's appends, of an equal share": ("%", lambda outcome: share_of_least([*map(len, outcome.taken)])),
    "transactions for each append": ("", lambda outcome: outcome.attempts / len(every(outcome))),
    "conflicts for each append": ("", lambda outcome: outcome.conflicts / len(every(outcome))),
    "appends that failed after 10 s": ("", lambda outcome: float(outcome.refused)),
}


def tables(context: BenchContext) -> list[Table]:
    """Simulate every policy once for each seed."""
    seconds = SECONDS_TIMES * context.size.seconds
    seeds = range(context.size.rounds)

    def outcomes(name: str, **options: Any) -> list[Outcome]:
        context.progress.step(f"simulated: {name}")
        return [simulate(policy=POLICIES[name], seconds=seconds, seed=seed, **options) for seed in seeds]

    found = {name: outcomes(name, writers=WRITERS) for name in POLICIES}
    made = [
        Table(
            "contention-waits" if what == "p99" else "",
            f"Waits between attempts, simulated, {WRITERS} writers: {what}",
            [Row(name, unit, [value(outcome) for outcome in found[name]], BASELINE) for name in POLICIES],
        )
        for what, (unit, value) in METRICS.items()
    ]
    made[0].notes.append(
        f"Virtual time, {seconds:g} s in each round: a round trip of {ROUND_TRIP_MS:g} ms, of which a transaction "
        f"holds the sequence item for {HOLD_PART:.0%}. One that comes meanwhile is refused as a conflict, one that "
        "expected another number as lost. After a conflict the log's end is read before the next attempt."
    )
    rows = []
    for where, options in SETTINGS.items():
        for name in BRIEFLY:
            values = [quantile(every(outcome), 0.99) for outcome in outcomes(name, **options)]
            rows.append(Row(f"{where}: {name}", "ms", values, f"{where}: {BASELINE}"))
    return [*made, Table("", "Waits between attempts, simulated, in other settings: p99", rows)]


def every(outcome: Outcome) -> list[float]:
    """Return the milliseconds of each append of all writers."""
    return [value for mine in outcome.taken for value in mine]
