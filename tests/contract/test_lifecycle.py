"""Opening and closing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import StorageError
from tests.contract.logs import Log, batch, everything, new

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService


def test_opening_and_closing_are_idempotent(direct: Log) -> None:
    storage = direct.open()
    storage.initialize()
    storage.create_change(new())
    storage.close()
    storage.close()
    with storage:
        storage.create_change(new())
        assert len(everything(storage)) == 2


def test_a_closed_storage_raises_an_error(direct_storage: BaseStorageService) -> None:
    direct_storage.create_changes(batch(2))
    direct_storage.close()
    with pytest.raises(StorageError, match="not open"):
        direct_storage.create_change(new())
    with pytest.raises(StorageError, match="not open"):
        direct_storage.get_head(project_id="p")


def test_changes_survive_closing_and_opening(direct: Log) -> None:
    with direct.open() as storage:
        storage.create_changes(batch(120))
        before = everything(storage)
    assert everything(direct.open()) == before
