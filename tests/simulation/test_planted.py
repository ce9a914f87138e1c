"""The planted bugs: each is found from seeds alone. A bug that is not found is a check that does not look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.simulation.bugs import BUGS, find

if TYPE_CHECKING:
    from tests.simulation.bugs import Bug

SEEDS = 1500
"""The schedules that are looked at for one bug at most; most take a few."""


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found(bug: Bug) -> None:
    found = find(bug, range(SEEDS))
    assert found is not None, f"{bug.name} was not found with {SEEDS} seeds"
