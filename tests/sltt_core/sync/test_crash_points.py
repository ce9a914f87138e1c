"""A device that stops anywhere in a sync ends, after its restart, where it would have ended without."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.sltt_core.sync.crashes import SCENARIOS, Crash, Points, World

KILLED = 8
"""How many points of each scenario are ended by SIGKILL."""


def all_points(world: World, folder: Path, hides: bool) -> tuple[int, dict[str, Any]]:
    """Return the number of points of a run, and its end state."""
    points = Points()
    straight = world.copy(folder / "straight")
    straight.run(points, hides)
    return points.count, straight.state()


def stop_everywhere(world: World, folder: Path, hides: bool, step: int = 1) -> Iterator[tuple[int, str]]:
    """Stop at every point, start again, and return what differs from the run without a stop."""
    count, expected = all_points(world, folder, hides)
    for stop in range(0, count, step):
        copy = world.copy(folder / f"at{stop}")
        points = Points(stop)
        with suppress(Crash):
            copy.run(points, hides)
        if not points.crashed:
            yield stop, "the run did not come so far"
            continue
        try:
            copy.run(Points(), hides)
            found = copy.state()
        except Exception as error:  # every kind is a finding
            yield stop, f"{type(error).__name__}: {error}"
            continue
        if found != expected:
            yield stop, f"{found} is not {expected}"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where the system has one: a run closes and opens files, and a disk is slow."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="sltt-", dir=memory) as name:
        yield Path(name)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_point_of_a_sync_leads_to_the_same_end(scenario: str, folder: Path) -> None:
    world = SCENARIOS[scenario](folder / "prepared")
    found = list(stop_everywhere(world, folder, hides=True))
    count = sum(1 for path in folder.iterdir() if path.name.startswith("at"))
    print(f"{scenario}: {count - len(found)} of {count} points")
    assert found == []
    assert count > 100


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_points_of_a_sync_with_fresh_pages_lead_to_the_same_end(scenario: str, folder: Path) -> None:
    """Every third one: a pull settles most of what the test above finds."""
    assert list(stop_everywhere(SCENARIOS[scenario](folder / "prepared"), folder, hides=False, step=3)) == []


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_process_that_is_killed_leads_to_the_same_end(scenario: str, folder: Path) -> None:
    world = SCENARIOS[scenario](folder / "prepared")
    count, expected = all_points(world, folder, hides=True)
    for stop in range(0, count, count // KILLED):
        copy = world.copy(folder / f"killed{stop}")
        ended = subprocess.run(
            [sys.executable, "-m", "tests.sltt_core.sync.crashes", copy.folder, str(stop)], check=False
        )
        assert ended.returncode == -signal.SIGKILL
        copy.run(Points())
        assert copy.state() == expected
