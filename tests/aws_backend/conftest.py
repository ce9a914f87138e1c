"""Fixtures: `table_log`, a log in a table of its own, on each local DynamoDB in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.aws_backend.logs import ENGINES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.contract.logs import DynamoDBLog


@pytest.fixture(params=ENGINES, ids=lambda kind: str(kind.name))
def table_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[DynamoDBLog]:
    log: DynamoDBLog = request.param(tmp_path)
    yield log
    log.close()
