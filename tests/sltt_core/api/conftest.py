from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sltt_core.base.runtime import Runtime
from sltt_core.sqlite.storage import LocalStorageService
from tests.sltt_core.samples import NANOSECONDS


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LocalStorageService]:
    """A storage whose clock does not advance."""
    with LocalStorageService(tmp_path / "log.db", runtime=Runtime(clock=lambda: NANOSECONDS)) as service:
        yield service
