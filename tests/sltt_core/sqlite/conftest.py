"""Fixtures: a file that holds the logs of `write_template`, for tests that damage it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sltt_core.sqlite.damages import write_template

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "log.db"
    write_template(path)
    return path


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "log.db"
    copy.write_bytes(template.read_bytes())
    return copy
