"""Concurrent writers: the simulation of their conflicts, and the counts of the bench with real writers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from bench.__main__ import run
from bench.dynamodb.conflicts import PATIENCE_MS, POLICIES, Policy, backoff, none, simulate, uniform
from bench.dynamodb.policies import every
from bench.support.context import Progress
from bench.support.stats import share_of_least

if TYPE_CHECKING:
    from pathlib import Path

    from bench.support.tables import Table


def test_a_single_writer_never_fails_and_needs_one_round_trip() -> None:
    outcome = simulate(1, POLICIES["none"], 20, seed=1)
    taken = every(outcome)
    assert outcome.attempts - len(taken) in (0, 1)  # the last may be on its way
    assert (outcome.conflicts, outcome.refused) == (0, 0)
    assert sum(taken) / len(taken) == pytest.approx(4, rel=0.05)


def test_a_simulation_repeats() -> None:
    policy = POLICIES["0 – 10 ms after conflicts"]
    first, again, other = (simulate(4, policy, 1, seed) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_losers_of_a_race_try_again(policy: Policy) -> None:
    outcome = simulate(16, policy, 5, seed=3)
    taken = every(outcome)
    assert len(taken) > 500
    assert outcome.attempts > len(taken)
    assert 0 < outcome.conflicts < outcome.attempts
    assert max(taken) < PATIENCE_MS + 100
    assert outcome.refused < len(taken) / 10


def test_items_locked_for_no_time_cause_losses_but_no_conflicts() -> None:
    assert simulate(8, POLICIES["none"], 5, seed=1, hold_part=0.0).conflicts == 0


def test_a_writer_gives_up_after_its_time() -> None:
    hours = Policy(lambda failures, random: 3_600_000.0, none)
    outcome = simulate(4, hours, 5, seed=1)
    assert outcome.refused == outcome.conflicts > 0


def test_waits() -> None:
    assert none(9, 0.5) == 0
    assert uniform(10)(9, 0.5) == 5
    assert [backoff(10, most=50)(failures, 0.5) for failures in (1, 2, 3, 4, 5)] == [5, 10, 20, 25, 25]


def test_the_share_of_the_least() -> None:
    assert share_of_least([5, 5, 5]) == 100
    assert share_of_least([1, 2, 3]) == 50
    assert share_of_least([0, 7]) == 0


def tables(name: str, folder: Path) -> dict[str, Table]:
    """Run a bench, and return its tables by the ends of their titles."""
    return {table.title.rpartition(": ")[2]: table for table in run([name], "tiny", folder, Progress(io.StringIO()))}


def test_the_reader_misses_no_change(tmp_path: Path) -> None:
    found = tables("contention", tmp_path)
    if "An append, p99; beside the original's way" not in found:
        pytest.skip("no engine runs here")
    missed = next(table for title, table in found.items() if title.startswith("Changes that a reader missed"))
    ours = [row for row in missed.rows if row.name.startswith("ours")]
    assert len(ours) == 6
    assert all(set(row.values) == {0} for row in ours)
    attempts = {row.name: row.values for row in found["Transactions for each append"].rows}
    assert attempts["ours, 1 writer"] == [1]
    assert attempts["ours, 4 writers, 4 projects"] == [1]
    assert attempts["ours, 4 writers in one process"][0] <= 1 <= attempts["ours, 4 writers"][0]


def test_requests_cost_the_same_on_a_long_and_a_short_log(tmp_path: Path) -> None:
    found = tables("costs", tmp_path)
    if not found:
        pytest.skip("no engine runs here")
    units = {row.name.rpartition(", ")[0]: row.values for row in found["capacity units"].rows}
    assert units == {
        "statistics": [0.5],
        "statistics by entity type": [0.5],
        "10 projects": [0.5],
        "a page of 5": [0.5],
        "an append": [6.0],
    }
    for title in ("capacity units", "requests"):
        table = found[title]
        assert all(ratio.median == 1 for row in table.rows if (ratio := table.ratio(row)))
    assert {value for row in found["requests"].rows for value in row.values} == {1}
