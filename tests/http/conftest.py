"""Fixtures of the HTTP suite: `entry_point`, and `make_entry_point` for one with settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.http.entry_points import ENTRY_POINTS, EntryPoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=ENTRY_POINTS, ids=lambda made: made.name)
def make_entry_point(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., EntryPoint]]:
    made: list[EntryPoint] = []

    def make(**options: Any) -> EntryPoint:
        entry_point: EntryPoint = request.param(tmp_path, **options)
        made.append(entry_point)
        return entry_point

    yield make
    for entry_point in made:
        entry_point.close()


@pytest.fixture
def entry_point(make_entry_point: Callable[..., EntryPoint]) -> EntryPoint:
    return make_entry_point()
