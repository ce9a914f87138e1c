"""`verify`: a sound log yields nothing, also while writers write; damage is found."""

from __future__ import annotations

from threading import Barrier, Event, Thread
from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import InvalidInput, NotFound, SlttError, StorageError
from tests.contract.logs import Log, batch, everything, new

if TYPE_CHECKING:
    from pathlib import Path

    from sltt_core.log.findings import Finding
    from sltt_core.log.storage import BaseStorageService

KEY = "key-0123456789abcdef"


def fill(storage: BaseStorageService, project_id: str = "p") -> None:
    """Write 128 changes of all kinds."""
    storage.create_changes(batch(20, project_id))
    storage.create_changes([new(f"note{place}", project_id, entity_type="note") for place in range(105)], KEY)
    storage.create_change(new("e1", project_id, operation="update", cid="é", change_by="Ruth", data='{"a": "\\u00e9"}'))
    storage.create_changes([new("e2", project_id, operation="delete"), new("e3", project_id)], f"{KEY}-2")
    storage.mark_as_outdated(2, 126, project_id=project_id)


def places(findings: list[Finding]) -> list[tuple[str, int | None, int | None]]:
    return [(finding.kind, finding.first, finding.last) for finding in findings]


def test_a_sound_log_yields_nothing(direct_storage: BaseStorageService) -> None:
    fill(direct_storage)
    fill(direct_storage, "q")
    assert list(direct_storage.verify(project_id="p")) == []
    assert list(direct_storage.verify(project_id="q", requests=False)) == []


def test_a_project_without_changes_yields_nothing(direct_storage: BaseStorageService) -> None:
    assert list(direct_storage.verify(project_id="nobody")) == []
    fill(direct_storage)
    assert list(direct_storage.verify(project_id="nobody")) == []


def test_a_restored_log_yields_nothing(direct_storage: BaseStorageService, direct: Log, tmp_path: Path) -> None:
    fill(direct_storage)
    folder = tmp_path / "target"
    folder.mkdir()
    target = type(direct)(folder)
    try:
        storage = target.open()
        storage.restore_changes(everything(direct_storage))
        storage.create_changes(batch(3), f"{KEY}-other")
        assert list(storage.verify(project_id="p")) == []
    finally:
        target.close()


def test_nothing_is_found_while_writers_write(direct: Log) -> None:
    storage = direct.open()
    storage.create_change(new())
    failed: list[SlttError] = []
    writing, verified = Barrier(3), Event()

    def write(writer: int) -> None:
        own = direct.open()
        writing.wait(60)
        try:
            for number in range(300):
                own.create_changes(batch(1 + number % 5), f"{KEY}-{writer}-{number}")
                own.mark_as_outdated(1, number + 2, project_id="p")
                if verified.is_set():
                    break
        except SlttError as error:
            failed.append(error)

    writers = [Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    writing.wait(60)
    try:
        found = [finding for _ in range(4) for finding in storage.verify(project_id="p")]
    finally:
        verified.set()
        for writer in writers:
            writer.join()
    assert found == []
    assert failed == []
    assert storage.get_head(project_id="p").seq > 1
    assert list(storage.verify(project_id="p")) == []


def test_damage_is_found_in_its_project_alone(direct: Log) -> None:
    storage = direct.open()
    for project_id in ("p", "q", "r"):
        fill(storage, project_id)
    direct.lose("p", 7)
    direct.lose("p", 8)
    direct.alter("q", 5, '{"forged":true}')
    # A storage may have a key of its own for changes that came without one, so the keys are left out.
    assert places(list(direct.open().verify(project_id="p", requests=False))) == [("hole", 7, 8)]
    assert places(list(direct.open().verify(project_id="q", requests=False))) == [("broken-link", 5, 5)]
    assert list(direct.open().verify(project_id="r")) == []


def test_a_key_with_missing_changes_is_found(direct: Log) -> None:
    storage = direct.open()
    fill(storage)
    direct.lose("p", 128)
    found = places(list(direct.open().verify(project_id="p")))
    assert found == [("hole", 128, 128), ("request", 127, 128)]
    assert places(list(direct.open().verify(project_id="p", requests=False))) == [("hole", 128, 128)]


def test_verifying_writes_nothing(direct: Log) -> None:
    storage = direct.open()
    fill(storage)
    before = everything(storage)
    direct.alter("p", 5, '{"forged":true}')
    forged = everything(direct.open())
    assert list(direct.open().verify(project_id="p"))
    assert everything(direct.open()) == forged
    direct.alter("p", 5, before[4].data_json)
    assert list(direct.open().verify(project_id="p")) == []


def test_arguments_are_checked_at_once(direct: Log) -> None:
    with pytest.raises(InvalidInput, match="project_id is required"):
        direct.open().verify()
    with pytest.raises(NotFound):
        direct.open("p").verify(project_id="q")
    assert list(direct.open("p").verify()) == []


def test_a_closed_storage_raises_an_error(direct_storage: BaseStorageService) -> None:
    direct_storage.close()
    with pytest.raises(StorageError, match="not open"):
        list(direct_storage.verify(project_id="p"))


def test_progress_is_reported(direct_storage: BaseStorageService) -> None:
    direct_storage.create_changes(batch(1001))
    examined: list[int] = []
    assert list(direct_storage.verify(project_id="p", progress=examined.append)) == []
    assert examined == [1000]
