"""The simulation finds each planted bug. A bug that it does not find reveals an ineffective check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulation.bugs import BUGS, find

if TYPE_CHECKING:
    from tests.simulation.bugs import Bug

SEEDS = 1500
"""Largest number of schedules for one bug; most bugs need a few."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    found = find(bug, range(SEEDS))
    assert found is not None, f"{bug.name} was not found with {SEEDS} seeds"
