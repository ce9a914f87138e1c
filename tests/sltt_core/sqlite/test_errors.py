"""Whatever SQLite raises, the methods of the storage raise errors of the contract, and nothing else."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core import LocalStorageService, StorageBusy, StorageError
from sltt_core.base import errors as contract
from sltt_core.sqlite import file as sqlite_file
from tests.contract.logs import batch
from tests.contract.methods import methods_of, named, public_methods

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.changes import Change


def failure(kind: type[sqlite3.Error], code: int | None = None) -> sqlite3.Error:
    error = kind("SENTINEL words of SQLite")
    if code is not None:
        error.sqlite_errorcode = code
    return error


LOWER: dict[str, sqlite3.Error] = {
    **{
        name: failure(sqlite3.OperationalError, getattr(sqlite3, name))
        for name in (
            "SQLITE_BUSY",
            "SQLITE_BUSY_SNAPSHOT",
            "SQLITE_LOCKED",
            "SQLITE_FULL",
            "SQLITE_READONLY",
            "SQLITE_CANTOPEN",
            "SQLITE_IOERR",
            "SQLITE_IOERR_WRITE",
            "SQLITE_PROTOCOL",
            "SQLITE_NOMEM",
            "SQLITE_INTERRUPT",
            "SQLITE_SCHEMA",
        )
    },
    "SQLITE_CORRUPT": failure(sqlite3.DatabaseError, sqlite3.SQLITE_CORRUPT),
    "SQLITE_NOTADB": failure(sqlite3.DatabaseError, sqlite3.SQLITE_NOTADB),
    "SQLITE_CONSTRAINT": failure(sqlite3.IntegrityError, sqlite3.SQLITE_CONSTRAINT),
    "SQLITE_TOOBIG": failure(sqlite3.DataError, sqlite3.SQLITE_TOOBIG),
    "closed connection": failure(sqlite3.ProgrammingError),
    "interface": failure(sqlite3.InterfaceError),
    "internal": failure(sqlite3.InternalError),
    "not supported": failure(sqlite3.NotSupportedError),
}
"""Errors of every class of `sqlite3`, with the codes that SQLite gives them."""

RESTORED: list[Change] = []

METHODS: dict[str, Callable[[BaseStorageService], Any]] = {
    **methods_of(RESTORED),
    "wait_for_write": lambda storage: storage.wait_for_write(0, 0.0),
    "write_mark": lambda storage: storage.write_mark(),
}
"""A call of each public method that touches the file; `initialize` has a test of its own."""


class Failing:
    """A connection whose statements fail as soon as `error` is set."""

    error: sqlite3.Error | None = None

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, *arguments: Any) -> Any:
        if self.error is not None and statement not in ("ROLLBACK", "COMMIT"):
            raise self.error
        return self._connection.execute(statement, *arguments)

    def executemany(self, statement: str, *arguments: Any) -> Any:
        if self.error is not None:
            raise self.error
        return self._connection.executemany(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStorageService]:
    """One for all tests: a call that fails leaves it as it was."""
    folder = tmp_path_factory.mktemp("errors")
    with pytest.MonkeyPatch.context() as patch:
        connect = sqlite_file.connect
        patch.setattr(sqlite_file, "connect", lambda *arguments: Failing(connect(*arguments)))
        with LocalStorageService(folder / "source.db", "p") as source:
            source.create_changes(batch(3))
            RESTORED[:] = list(source.get_changes_since())
        with LocalStorageService(folder / "log.db", "p") as opened:
            opened.restore_changes(RESTORED[:2])
            del RESTORED[:2]
            yield opened
            assert opened.get_head().seq == 2


def test_every_public_method_is_called(storage: LocalStorageService) -> None:
    assert public_methods(LocalStorageService) - {"initialize"} == named(METHODS)


def test_every_class_of_sqlite_is_tried() -> None:
    assert {type(error) for error in LOWER.values()} == {
        sqlite3.OperationalError,
        *sqlite3.DatabaseError.__subclasses__(),
        sqlite3.DatabaseError,
        sqlite3.InterfaceError,
    }


@pytest.mark.parametrize("error", LOWER.values(), ids=LOWER)
@pytest.mark.parametrize("method", METHODS)
def test_an_error_of_sqlite_becomes_one_of_the_contract(
    storage: LocalStorageService, method: str, error: sqlite3.Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Failing, "error", error)
    with pytest.raises(StorageError) as caught:
        METHODS[method](storage)
    assert type(caught.value).__module__ == contract.__name__
    assert caught.value.__cause__ is error
    busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    assert isinstance(caught.value, StorageBusy) == busy


@pytest.mark.parametrize("error", LOWER.values(), ids=LOWER)
def test_opening_raises_an_error_of_the_contract(
    tmp_path: Path, error: sqlite3.Error, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalStorageService(tmp_path / "log.db"):
        pass

    def fail(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(sqlite3, "connect", fail)
    with pytest.raises(StorageError) as caught:
        LocalStorageService(tmp_path / "log.db").initialize()
    assert type(caught.value).__module__ == contract.__name__
    assert caught.value.__cause__ is error
