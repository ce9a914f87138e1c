"""The file of a device: its formats, and the lock that keeps it to one process."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sltt_core.base.errors import NotALog, StorageBusy, StorageError
from sltt_core.sqlite.schema import SCHEMA
from sltt_core.sqlite.storage import LocalStorageService
from sltt_core.sync import view
from sltt_core.sync.device_file import APPLICATION_ID, DEVICE, ProcessLock
from sltt_core.sync.store import DeviceStore
from sltt_core.sync.view import DeviceLog

HOLD = """
import sys
from sltt_core.sync.store import DeviceStore
store = DeviceStore(sys.argv[1])
store.open()
print("open", flush=True)
sys.stdin.readline()
"""


def edit(store: DeviceStore, entity_id: str = "e", project_id: str = "p") -> None:
    store.add_unit([store.new_edit(project_id, "document", entity_id, "create", {"n": 1}, None)])


def pragma(path: Path, name: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def test_the_header_names_the_program_and_the_format(tmp_path: Path) -> None:
    with DeviceStore(tmp_path / "d.db"):
        pass
    assert pragma(tmp_path / "d.db", "application_id") == APPLICATION_ID == int.from_bytes(b"SLTD", "big")
    assert pragma(tmp_path / "d.db", "user_version") == DEVICE.last_format


def test_the_tables_of_the_log_are_those_of_a_log() -> None:
    assert DEVICE.schema.startswith(SCHEMA)


def test_an_older_format_is_upgraded_in_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "d.db"
    with DeviceStore(path) as store:
        edit(store)
        known = store.device_id
    good = ("ALTER TABLE outsyncs ADD COLUMN note TEXT", "UPDATE outsyncs SET note = 'upgraded'")
    bad = (*good, "INSERT INTO nowhere VALUES (1)")
    with monkeypatch.context() as patch:
        patch.setattr(view.DeviceLog, "_file_kind", DEVICE.replace(upgrades=(bad,)))
        with pytest.raises(StorageError, match="nowhere"), DeviceStore(path):
            pass
    assert pragma(path, "user_version") == 1
    monkeypatch.setattr(view.DeviceLog, "_file_kind", DEVICE.replace(upgrades=(good,)))
    with DeviceStore(path) as store:
        assert store.device_id == known
        edit(store, "f")
        assert [(one.local, one.entity_id) for one in store.outsyncs()] == [(1, "e"), (2, "f")]
    assert pragma(path, "user_version") == 2


def test_a_newer_format_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    with DeviceStore(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {DEVICE.last_format + 1}")
    before = path.read_bytes()
    with pytest.raises(NotALog, match=f"format {DEVICE.last_format + 1}"):
        DeviceStore(path).open()
    assert path.read_bytes() == before


def a_log(path: Path) -> None:
    with LocalStorageService(path):
        pass


def a_text(path: Path) -> None:
    path.write_text("notes " * 200)


@pytest.mark.parametrize("make", [a_log, a_text])
def test_another_file_is_refused_unchanged(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "d.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(NotALog):
        DeviceStore(path).open()
    assert path.read_bytes() == before


def test_a_log_storage_refuses_a_store(tmp_path: Path) -> None:
    with DeviceStore(tmp_path / "d.db"):
        pass
    with pytest.raises(NotALog, match="is not a change log"):
        LocalStorageService(tmp_path / "d.db").initialize()


def test_a_second_process_gets_a_clear_error_until_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=-1, stdout=-1, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(StorageBusy, match=f"open in the process {holder.pid}"):
            DeviceStore(path).open()
        with DeviceLog(path) as log:  # a reader may have it open beside the device
            assert log.get_head(project_id="p").seq == 0
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with DeviceStore(path) as store:
            edit(store)
    finally:
        holder.kill()
        holder.communicate()


def test_a_second_object_in_the_process_gets_the_error_too(tmp_path: Path) -> None:
    with DeviceStore(tmp_path / "d.db") as store:
        with pytest.raises(StorageBusy, match="open in this process"):
            DeviceStore(tmp_path / "d.db").open()
        edit(store)  # the failed attempt took nothing from the first
    with DeviceStore(tmp_path / "d.db"):
        pass


def test_the_child_of_a_fork_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path / "d.db")
    lock.acquire()
    read, write = os.pipe()
    ready, say_ready = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(say_ready, b"x")
        os.read(read, 1)
        os._exit(0)
    try:
        os.read(ready, 1)
        lock.release()
        other = ProcessLock(tmp_path / "d.db")
        other.acquire()
        other.release()
    finally:
        os.write(write, b"x")
        os.waitpid(child, 0)
        for descriptor in (read, write, ready, say_ready):
            os.close(descriptor)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        DeviceStore(tmp_path / "nowhere" / "d.db").open()


def test_a_reader_does_not_create_a_store(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no store of a device"):
        DeviceLog(tmp_path / "d.db").initialize()
    assert list(tmp_path.iterdir()) == []


def test_lost_changes_have_the_columns_of_changes() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(DEVICE.schema)
        tables = [connection.execute(f"PRAGMA table_info({name})").fetchall() for name in ("changes", "lost")]
    assert tables[0] == tables[1]
