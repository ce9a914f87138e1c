"""The logs that the contract suite runs over: every storage, and every way into it.

A `Log` is one place where changes are kept, opened as often as a test likes, by threads and processes. To put a new
storage or a new way in under the contract, add it to `DIRECT` or `WAYS`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sltt_core.changes import NewChange
from sltt_core.local_storage import LocalStorageService
from sltt_core.server.rest_api_server import RestApiServer
from tests.contract.http_client import HttpStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sltt_core.batches import Appended
    from sltt_core.changes import Change
    from sltt_core.pages import ChangeStats, Page, ProjectsPage
    from sltt_core.storage import BaseStorageService


class Reachable(Protocol):
    """The part of the contract that every way in offers."""

    def create_change(self, change: NewChange, idempotency_key: str | None = None) -> Change: ...
    def create_changes(self, changes: Sequence[NewChange], idempotency_key: str | None = None) -> Appended: ...
    def get_change(self, seq: int, *, project_id: str | None = None) -> Change: ...
    def get_changes_with_cursor(
        self, cursor: int = 0, limit: int = 1000, *, project_id: str | None = None, chain: str | None = None
    ) -> Page: ...
    def get_change_stats(self, *, project_id: str | None = None) -> ChangeStats: ...
    def get_entity_type_stats(self, *, project_id: str | None = None) -> dict[str, int]: ...
    def get_all_projects(self, cursor: str | None = None, limit: int = 1000) -> ProjectsPage: ...


class SqliteLog:
    """A log in an SQLite file, and what can be done to it behind the service's back."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.db"
        self._opened: list[LocalStorageService] = []

    @property
    def url(self) -> str:
        return f"sqlite:{self.path}"

    def open(self, project_id: str | None = None, **options: Any) -> BaseStorageService:
        storage = LocalStorageService(self.path, project_id, **options)
        storage.initialize()
        self._opened.append(storage)
        return storage

    def close(self) -> None:
        for storage in self._opened:
            storage.close()

    def lose(self, project_id: str, seq: int) -> None:
        """Take one change out of the log."""
        self._execute(
            "DELETE FROM changes WHERE id = ? + (SELECT log << 40 FROM logs WHERE project_id = ?)", seq, project_id
        )

    def alter(self, project_id: str, seq: int, data_json: str) -> None:
        """Change what a stored change says."""
        self._execute(
            "UPDATE changes SET data_json = ? WHERE id = ? + (SELECT log << 40 FROM logs WHERE project_id = ?)",
            data_json,
            seq,
            project_id,
        )

    def forget_project(self, project_id: str) -> None:
        """Take a whole log away, as restoring an old backup does."""
        self._execute("DELETE FROM changes WHERE id >> 40 = (SELECT log FROM logs WHERE project_id = ?)", project_id)
        for table in ("entity_types", "requests"):
            self._execute(f"DELETE FROM {table} WHERE log = (SELECT log FROM logs WHERE project_id = ?)", project_id)
        self._execute("DELETE FROM logs WHERE project_id = ?", project_id)

    def _execute(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=10)) as connection:
            connection.execute(sql, values)


class HttpLog(SqliteLog):
    """The same log behind a real server on a real port."""

    name = "http-sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._servers: list[RestApiServer] = []
        self._clients: list[HttpStorage] = []

    def reach(self, project_id: str | None = None) -> HttpStorage:
        server = RestApiServer(storage=LocalStorageService(self.path, project_id), server_name="contract")
        server.start(port=0)
        self._servers.append(server)
        self._clients.append(HttpStorage(server.url, project_id))
        return self._clients[-1]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for server in self._servers:
            server.stop()
        super().close()


class DirectSqliteLog(SqliteLog):
    """The log through the Python API."""

    def reach(self, project_id: str | None = None) -> BaseStorageService:
        return self.open(project_id)


DIRECT: list[Callable[[Path], DirectSqliteLog]] = [DirectSqliteLog]
WAYS: list[Callable[[Path], DirectSqliteLog | HttpLog]] = [DirectSqliteLog, HttpLog]


def new(entity_id: str = "e", project_id: str | None = "p", **fields: Any) -> NewChange:
    """Make a change with as little said as possible."""
    fields = {"entity_type": "document", "data": "{}", **fields}
    return NewChange(project_id=project_id, entity_id=entity_id, **fields)


def batch(count: int, project_id: str | None = "p", **fields: Any) -> list[NewChange]:
    """Make a batch of changes that can be told apart."""
    return [new(f"e{number}", project_id, **fields) for number in range(count)]


def everything(storage: Reachable, project_id: str = "p", limit: int = 1000) -> list[Change]:
    """Read a whole log, page by page, with each page's link in hand."""
    found: list[Change] = []
    page = storage.get_changes_with_cursor(0, limit, project_id=project_id)
    found += page.changes
    while page.cursor is not None:
        page = storage.get_changes_with_cursor(page.cursor, limit, project_id=project_id, chain=page.chain)
        found += page.changes
    return found
