"""Fixtures: a log in its own table, on each local DynamoDB in turn (`table_log`) or on dynoxide alone (`log`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.aws_backend.logs import ENGINES
from tests.contract.logs import DynoxideLog, batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService
    from tests.contract.logs import DynamoDBLog


@pytest.fixture(params=ENGINES, ids=lambda kind: str(kind.name))
def table_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DynamoDBLog]:
    log: DynamoDBLog = request.param(tmp_path)
    yield log
    log.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[DynoxideLog]:
    created = DynoxideLog(tmp_path)
    yield created
    created.close()


@pytest.fixture
def storage(log: DynoxideLog) -> BaseStorageService:
    """A storage whose project already has two changes."""
    opened = log.open("p")
    opened.create_changes(batch(2))
    return opened
