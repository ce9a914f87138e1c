"""Fixtures: a log by every entry point (`log`, `storage`), and by the Python API alone (`direct`, `direct_storage`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.logs import DIRECT, ENTRY_POINTS, Log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService
    from tests.contract.logs import Reachable


@pytest.fixture(params=ENTRY_POINTS, ids=lambda made: made.name)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    made: Any = request.param(tmp_path)
    yield made
    made.close()


@pytest.fixture
def storage(log: Log) -> Reachable:
    return log.reach()


@pytest.fixture(params=DIRECT, ids=lambda made: made.name)
def direct(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    made: Any = request.param(tmp_path)
    yield made
    made.close()


@pytest.fixture
def direct_storage(direct: Log) -> BaseStorageService:
    return direct.open()
