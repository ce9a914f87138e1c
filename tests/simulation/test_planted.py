"""The simulation finds each planted bug. A bug that it does not find reveals an ineffective check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.planting import find
from tests.simulation.team import TeamWorld

if TYPE_CHECKING:
    from tests.simulation.planting import Bug

SEEDS = 1500
"""Largest number of schedules for one bug; most bugs need a few."""
SEEDS_WITH_MEMBERS = 250
"""The same for a bug that the schedules with members find."""
BEGIN = {
    "verify looks once": 1120,
    "link of the cursor ignored": 1140,
    "missing change trusted": 740,
    "second read eventually consistent": 210,
    "wait checked once": 230,
}
"""Where the search begins, to save time: just before the seed that found the bug last. It goes on from 0 after the last
seed, so each bug has the same number of schedules."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    begin, seeds = BEGIN.get(bug.name, 0), SEEDS_WITH_MEMBERS if bug.world is TeamWorld else SEEDS
    found = find(bug, (*range(begin, seeds), *range(begin)))
    assert found is not None, f"{bug.name} was not found with {seeds} seeds"
