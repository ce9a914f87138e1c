"""The logs that the contract suite runs over: every storage, and every entry point to it.

A `Log` is one place where changes are kept, opened as often as a test likes, by threads and processes. To put a new
storage or a new entry point under the contract, add it to `DIRECT` or `ENTRY_POINTS`.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.errors import TableNotFound
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.log.access_items import access_key, member_item
from aws_backend.log.items import change_key, request_key, sequence_key
from aws_backend.storage import DynamoDBStorageService
from scripts.engines import DYNAMODB_LOCAL, DYNOXIDE
from sltt_core.base.runtime import SYSTEM, Runtime
from sltt_core.model.changes import NewChange
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.conftest import MODEL, engine_url
from tests.contract.http_client import HttpStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sltt_core.log.batches import Appended
    from sltt_core.log.pages import ChangeStats, Page, ProjectsPage
    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.changes import Change


class Reachable(Protocol):
    """The part of the contract that every entry point offers."""

    def create_change(self, change: NewChange, idempotency_key: str | None = None) -> Change: ...
    def create_changes(
        self, changes: Sequence[NewChange], idempotency_key: str | None = None, *, if_head: int | None = None
    ) -> Appended: ...
    def mark_as_outdated(self, seq: int, outdated_by: int, *, project_id: str | None = None) -> Change: ...
    def get_change(self, seq: int, *, project_id: str | None = None) -> Change: ...
    def get_changes_with_cursor(
        self, cursor: int = 0, limit: int = 1000, *, project_id: str | None = None, chain: str | None = None
    ) -> Page: ...
    def get_change_stats(self, *, project_id: str | None = None) -> ChangeStats: ...
    def get_entity_type_stats(self, *, project_id: str | None = None) -> dict[str, int]: ...
    def get_all_projects(self, cursor: str | None = None, limit: int = 1000) -> ProjectsPage: ...


class Log(ABC):
    """A log, with ways to damage it that bypass the service."""

    name: str
    environ: Mapping[str, str] = {}
    """What another process needs to open `url`."""
    url: str

    def __init__(self, folder: Path) -> None:
        self._opened: list[BaseStorageService] = []

    @abstractmethod
    def make(self, project_id: str | None = None, **options: Any) -> BaseStorageService:
        """Return a service that is not open yet."""

    def open(self, project_id: str | None = None, **options: Any) -> BaseStorageService:
        storage = self.make(project_id, **options)
        storage.initialize()
        self._opened.append(storage)
        return storage

    def reach(self, project_id: str | None = None) -> Reachable:
        """Return the log at this entry point."""
        return self.open(project_id)

    def close(self) -> None:
        for storage in self._opened:
            storage.close()

    @abstractmethod
    def lose(self, project_id: str, seq: int) -> None:
        """Remove one change from the log."""

    @abstractmethod
    def alter(self, project_id: str, seq: int, data_json: str) -> None:
        """Alter a stored change."""

    @abstractmethod
    def forget_key(self, project_id: str, key: str) -> None:
        """Remove what is recorded about the first chunk of an idempotency key."""

    @abstractmethod
    def damage_key(self, project_id: str, key: str) -> None:
        """Make what is recorded about the first chunk of an idempotency key invalid."""

    @abstractmethod
    def damage_members(self, project_id: str, damage: str) -> None:
        """Alter what is recorded about the members of a project."""

    @abstractmethod
    def rewind(self, last: Change) -> None:
        """Record that the log ends with this change, although it goes on."""

    @abstractmethod
    def forget_project(self, project_id: str) -> None:
        """Remove a whole log, as the restore of an old backup does."""


_FIRST_CHUNK = "key = ? AND number = 0 AND log = (SELECT log FROM logs WHERE project_id = ?)"


class SqliteLog(Log):
    """A log in an SQLite file."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "log.db"
        self.url = f"sqlite:{self.path}"

    def make(self, project_id: str | None = None, **options: Any) -> BaseStorageService:
        return LocalStorageService(self.path, project_id, **options)

    def lose(self, project_id: str, seq: int) -> None:
        self._execute(
            "DELETE FROM changes WHERE id = ? + (SELECT log << 40 FROM logs WHERE project_id = ?)", seq, project_id
        )

    def alter(self, project_id: str, seq: int, data_json: str) -> None:
        self._execute(
            "UPDATE changes SET data_json = ? WHERE id = ? + (SELECT log << 40 FROM logs WHERE project_id = ?)",
            data_json,
            seq,
            project_id,
        )

    def forget_key(self, project_id: str, key: str) -> None:
        self._execute(f"DELETE FROM requests WHERE {_FIRST_CHUNK}", key, project_id)

    def damage_key(self, project_id: str, key: str) -> None:
        self._execute(f"UPDATE requests SET fingerprint = 'x' WHERE {_FIRST_CHUNK}", key, project_id)

    def damage_members(self, project_id: str, damage: str) -> None:
        mine = f"WHERE project_id = '{project_id}'"
        self._execute(
            {
                "lost": f"DELETE FROM members {mine}",
                "another role": f"UPDATE members SET role = 'owner' {mine} AND principal = 'm3'",
                "one too many": f"INSERT INTO members VALUES ('{project_id}', 'eve', 'owner', 1)",
                "one missing": f"DELETE FROM members {mine} AND principal = 'm3'",
                "unreadable": f"UPDATE members SET role = 'king' {mine} AND principal = 'm3'",
                "another since": f"UPDATE members SET since = 2 {mine} AND principal = 'm3'",
                "orphan": f"INSERT INTO members VALUES ('{project_id}', 'eve#1', 'viewer', 1)",
                "orphans": f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) "
                f"INSERT INTO members SELECT '{project_id}', 'o' || i, 'viewer', 1 FROM n",
                "former member listed": f"UPDATE members SET role = 'viewer' {mine} AND principal = 'm7'",
                "member not listed": f"UPDATE members SET role = 'none' {mine} AND principal = 'm3'",
            }[damage]
        )

    def rewind(self, last: Change) -> None:
        self._execute(
            "UPDATE logs SET value = ?, chain = ? WHERE project_id = ?", last.seq + 1, last.chain, last.project_id
        )

    def forget_project(self, project_id: str) -> None:
        self._execute("DELETE FROM changes WHERE id >> 40 = (SELECT log FROM logs WHERE project_id = ?)", project_id)
        for table in ("entity_types", "requests"):
            self._execute(f"DELETE FROM {table} WHERE log = (SELECT log FROM logs WHERE project_id = ?)", project_id)
        self._execute("DELETE FROM logs WHERE project_id = ?", project_id)

    def _execute(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=10)) as connection:
            connection.execute(sql, values)


class HurriedClock:
    """A steady clock. A pause advances it instead of waiting."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return monotonic() + self._ahead

    def pause(self, seconds: float) -> None:
        self._ahead += seconds


class DynamoDBLog(Log):
    """A log in its own table on a local DynamoDB."""

    engine: str

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.table = f"log-{uuid4().hex}"
        self.url = f"dynamodb:{self.table}"
        self.endpoint = engine_url(self.engine)
        self.environ = {"DYNAMODB_ENDPOINT": self.endpoint}
        self.client = DynamoDBClient("us-east-1", lambda: Credentials("local", "local"), endpoint=self.endpoint)

    def make(self, project_id: str | None = None, **options: Any) -> DynamoDBStorageService:
        runtime: Runtime = options.pop("runtime", SYSTEM)
        hurried = HurriedClock()
        if runtime.steady_clock is SYSTEM.steady_clock:
            runtime = runtime.replace(steady_clock=hurried)
        if runtime.pause is SYSTEM.pause:
            runtime = runtime.replace(pause=hurried.pause)
        return DynamoDBStorageService(
            self.table, project_id, use_local_dynamodb=True, local_endpoint=self.endpoint, runtime=runtime, **options
        )

    def close(self) -> None:
        super().close()
        try:
            self.call("DeleteTable")
        except TableNotFound:
            pass  # it was not open
        self.client.close()

    def call(self, operation: str, **payload: Any) -> dict[str, Any]:
        return self.client.call(operation, {"TableName": self.table, **payload})

    def lose(self, project_id: str, seq: int) -> None:
        self.call("DeleteItem", Key=change_key(project_id, seq))

    def alter(self, project_id: str, seq: int, data_json: str) -> None:
        self.call(
            "UpdateItem",
            Key=change_key(project_id, seq),
            UpdateExpression="SET dataJson = :d",
            ExpressionAttributeValues={":d": {"S": data_json}},
        )

    def forget_key(self, project_id: str, key: str) -> None:
        self.call("DeleteItem", Key=request_key(project_id, key, 0))

    def damage_key(self, project_id: str, key: str) -> None:
        self.call(
            "UpdateItem",
            Key=request_key(project_id, key, 0),
            UpdateExpression="SET fingerprint = :x",
            ExpressionAttributeValues={":x": {"S": "x"}},
        )

    def damage_members(self, project_id: str, damage: str) -> None:
        if damage == "lost":
            self.call("DeleteItem", Key=access_key(project_id))
            return
        items = {
            "orphan": [member_item(project_id, "eve#1", "viewer")],
            "orphans": [member_item(project_id, f"o{number}", "viewer") for number in range(250)],
            "former member listed": [member_item(project_id, "m7", "viewer")],
            "member not listed": [member_item(project_id, "m3", "none")],
        }
        if damage in items:
            for one in items[damage]:
                self.call("PutItem", Item=one)
            return
        item = self.call("GetItem", Key=access_key(project_id), ConsistentRead=True).get("Item")
        item = item or {**access_key(project_id), "members": {"M": {}}, "version": {"N": "1"}}
        members = item["members"]["M"]
        if damage == "one missing":
            del members["m3"]
        elif damage == "another since":
            members["m3"]["M"]["since"] = {"N": "2"}
        else:
            name, role = {
                "another role": ("m3", "owner"),
                "one too many": ("eve", "owner"),
                "unreadable": ("m3", "king"),
            }[damage]
            members[name] = {"M": {"since": {"N": "1"}, **members.get(name, {"M": {}})["M"], "role": {"S": role}}}
        self.call("PutItem", Item=item)

    def rewind(self, last: Change) -> None:
        self.call(
            "UpdateItem",
            Key=sequence_key(last.project_id),
            UpdateExpression="SET #value = :value, chain = :chain",
            ExpressionAttributeNames={"#value": "value"},
            ExpressionAttributeValues={":value": {"N": str(last.seq + 1)}, ":chain": {"S": last.chain}},
        )

    def forget_project(self, project_id: str) -> None:
        for item in self.items():
            if item["pk"]["S"].partition("#")[2].partition("#")[0] == project_id or item["pk"]["S"] == project_id:
                self.call("DeleteItem", Key={"pk": item["pk"], "seq": item["seq"]})

    def items(self) -> list[dict[str, Any]]:
        """All items of the table."""
        found: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            response = self.call("Scan", ConsistentRead=True, **more)
            found += response["Items"]
            if "LastEvaluatedKey" not in response:
                return found
            more = {"ExclusiveStartKey": response["LastEvaluatedKey"]}


class DynoxideLog(DynamoDBLog):
    """On dynoxide."""

    name = engine = DYNOXIDE


class DynamoDBLocalLog(DynamoDBLog):
    """On AWS's own DynamoDB Local."""

    name = engine = DYNAMODB_LOCAL


class ModelLog(DynamoDBLog):
    """On the model of DynamoDB that the simulation runs on."""

    name = engine = MODEL


class _OverHttp(Log):
    """A log behind a real server on a real port."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._servers: list[RestApiServer] = []
        self._clients: list[HttpStorage] = []

    def reach(self, project_id: str | None = None) -> HttpStorage:
        server = RestApiServer(storage=self.make(project_id), server_name="contract")
        server.start(port=0)
        self._servers.append(server)
        self._clients.append(HttpStorage(server.url, project_id))
        return self._clients[-1]

    @property
    def server_url(self) -> str:
        return self._servers[-1].url

    def close(self) -> None:
        for client in self._clients:
            client.close()
        for server in self._servers:
            server.stop()
        super().close()


class HttpSqliteLog(_OverHttp, SqliteLog):
    """The SQLite file behind a server."""

    name = "http-sqlite"


class HttpDynoxideLog(_OverHttp, DynoxideLog):
    """dynoxide's table behind a server."""

    name = "http-dynoxide"


class HttpDynamoDBLocalLog(_OverHttp, DynamoDBLocalLog):
    """DynamoDB Local's table behind a server."""

    name = "http-dynamodb-local"


DIRECT: list[Callable[[Path], Log]] = [SqliteLog, DynoxideLog, DynamoDBLocalLog, ModelLog]
ENTRY_POINTS: list[Callable[[Path], Log]] = [*DIRECT, HttpSqliteLog, HttpDynoxideLog, HttpDynamoDBLocalLog]


def new(entity_id: str = "e", project_id: str | None = "p", **fields: Any) -> NewChange:
    """Return a change with only the required fields."""
    fields = {"entity_type": "document", "data": "{}", **fields}
    return NewChange(project_id=project_id, entity_id=entity_id, **fields)


def batch(count: int, project_id: str | None = "p", **fields: Any) -> list[NewChange]:
    """Return a batch of changes with distinct ids."""
    return [new(f"e{number}", project_id, **fields) for number in range(count)]


def everything(storage: Reachable, project_id: str = "p", limit: int = 1000) -> list[Change]:
    """Read a whole log page by page, and check the link of each page."""
    found: list[Change] = []
    page = storage.get_changes_with_cursor(0, limit, project_id=project_id)
    found += page.changes
    while page.cursor is not None:
        page = storage.get_changes_with_cursor(page.cursor, limit, project_id=project_id, chain=page.chain)
        found += page.changes
    return found
