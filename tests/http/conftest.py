"""Fixtures of the HTTP suite: `way`, and `make_way` for a way with settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.http.ways import WAYS, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def make_way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Way]]:
    made: list[Way] = []

    def make(**options: Any) -> Way:
        way: Way = request.param(tmp_path, **options)
        made.append(way)
        return way

    yield make
    for way in made:
        way.close()


@pytest.fixture
def way(make_way: Callable[..., Way]) -> Way:
    return make_way()
