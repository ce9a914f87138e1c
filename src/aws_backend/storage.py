"""`DynamoDBStorageService`: the change log in a DynamoDB table that many projects share.

Every append is one transaction (`aws_backend.log.appender`) and every page is one query (`aws_backend.log.reader`).
Statistics are one read of the sequence item. The list of projects is a query of an index that holds nothing else.
`aws_backend.log.items` says what the table holds, and `docs/decisions/0009-why-one-transaction.md` says why.
"""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic, sleep, time_ns

from aws_backend.dynamodb.client import DynamoDBClient, random_fraction
from aws_backend.dynamodb.errors import ConditionFailed
from aws_backend.log import schema as tables
from aws_backend.log.appender import Appender
from aws_backend.log.items import REGISTRY, change_key, change_of, request_key, sequence_key
from aws_backend.log.notifier import Notifier
from aws_backend.log.reader import LogReader
from aws_backend.log.table import REQUEST_SECONDS, LogTable, random_key
from sltt_core.base.errors import StorageError
from sltt_core.log.batches import CHUNK_BYTES, CHUNK_CHANGES, StoredChunk
from sltt_core.log.pages import PAGE_BYTES, ChangeStats, Head
from sltt_core.log.storage import BaseStorageService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from sltt_core.base.timestamps import Clock
    from sltt_core.log.batches import Chunk
    from sltt_core.log.findings import Finding, Progress, Report
    from sltt_core.log.pages import Run
    from sltt_core.model.changes import Change

LOCAL_ENDPOINT = "http://localhost:8000"
"""Where a local DynamoDB listens by default."""
LOCAL_REGION = "us-east-1"
POLL_SECONDS = 0.5
"""How often one who waits looks for what another process wrote: half a read unit for each project."""
MAX_KEYS = 100
"""Items of one BatchGetItem (AWS: BatchGetItem)."""


class DynamoDBStorageService(BaseStorageService):
    """The change logs of any number of projects in one DynamoDB table; `BaseStorageService` is the contract.

    On AWS, credentials are found where AWS's SDKs find them, and the table is never created. With
    `use_local_dynamodb`, made-up credentials are sent to `local_endpoint`, and a table that is missing is made. The
    list of projects may take a moment to show a new one, for an index of DynamoDB is eventually consistent.

    Beyond the contract's errors: `TooManyWriters` (429) when others appended to the project all the time that a request
    may take, `Throttled` (429) when the table or the account may not do more just now, `TransportError` (503) when
    DynamoDB cannot be reached or the outcome is unknown: the same idempotency key settles it.
    """

    storage_type = "dynamodb"

    def __init__(
        self,
        table_name: str,
        project_id: str | None = None,
        *,
        region: str | None = None,
        use_local_dynamodb: bool = False,
        local_endpoint: str = LOCAL_ENDPOINT,
        client: DynamoDBClient | None = None,
        check_table: bool = True,
        clock: Clock = time_ns,
        steady_clock: Callable[[], float] = monotonic,
        pause: Callable[[float], None] = sleep,
        random: Callable[[], float] = random_fraction,
        new_token: Callable[[], str] = random_key,
        new_lock: Callable[[], Any] = allocate_lock,
        time_limit: Callable[[], float] = lambda: REQUEST_SECONDS,
        chunk_changes: int = CHUNK_CHANGES,
        chunk_bytes: int = CHUNK_BYTES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        """Connect to nothing yet.

        `region` is by default what AWS_REGION, AWS_DEFAULT_REGION or the profile says. `check_table=False` leaves out
        the look at the table when it is opened, which costs a round trip; then a local DynamoDB's is not made, either.
        `patience` says how many seconds a request may take, with all its calls and waiting. `new_lock` makes the locks
        that threads wait at.
        """
        super().__init__(
            project_id, clock=clock, chunk_changes=chunk_changes, chunk_bytes=chunk_bytes, page_bytes=page_bytes
        )
        self.table_name = table_name
        self.local = use_local_dynamodb
        self.region = region
        self._endpoint = local_endpoint if use_local_dynamodb else None
        self._check_table = check_table
        self._client = client
        self._given_client = client is not None
        self._settings: dict[str, Any] = {
            "clock": clock,
            "steady_clock": steady_clock,
            "pause": pause,
            "random": random,
            "new_token": new_token,
            "time_limit": time_limit,
        }
        self._new_lock = new_lock
        self._opening = new_lock()
        self._notifier = Notifier(new_lock)
        self._parts: _Parts | None = None

    @property
    def place(self) -> str:
        if self._endpoint is not None:
            return f"at {self._endpoint}"
        return "" if self._client is None else f"in {self._client.region}"

    def initialize(self) -> None:
        with self._opening:
            if self._parts is not None:
                return
            if self._client is None:
                self._client = self._make_client()
            table = LogTable(self.table_name, self._client, **self._settings)
            try:
                if self._check_table and self.local:
                    tables.create(table)
                elif self._check_table:
                    tables.check(table, self._client.region)
            except BaseException:
                self._drop_client()
                raise
            new_key = self._settings["new_token"]
            self._parts = _Parts(
                table,
                LogReader(table, self._page_bytes),
                Appender(table, max_bytes=self._chunk_bytes, new_key=new_key, new_lock=self._new_lock),
            )

    def warm(self) -> None:
        """Have credentials and a connection ready before the first request; raises what is wrong with them."""
        assert self._client is not None
        self._client.warm()

    def close(self) -> None:
        with self._opening:
            if self._parts is not None:
                self._parts = None
                self._drop_client()
        self._notifier.notify()

    def _drop_client(self) -> None:
        if not self._given_client and self._client is not None:
            self._client.close()
            self._client = None

    def _make_client(self) -> DynamoDBClient:
        if self.local:
            from aws_backend.dynamodb.sigv4 import Credentials

            made_up = Credentials("local", "local")
            return DynamoDBClient(_region(self.region or LOCAL_REGION), lambda: made_up, endpoint=self._endpoint)
        from aws_backend.dynamodb.credentials import default_chain, region_from_environment

        return DynamoDBClient(_region(self.region or region_from_environment()), default_chain().get)

    # Writing

    def _append(self, chunk: Chunk) -> StoredChunk:
        parts = self._open  # as it is now: whoever closes the storage meanwhile does not undo what is stored
        stored = parts.appender.append(chunk)
        parts.table.see(chunk.project_id, stored.first_seq + stored.count - 1)
        if stored.changes is not None:
            self._notifier.notify()
        return stored

    def _stored_chunk(self, project_id: str, key: str, number: int) -> StoredChunk | None:
        table = self._open.table
        request = table.read_request(request_key(project_id, key, number), table.deadline())
        return None if request is None else request.stored

    def _restore(self, project_id: str, changes: tuple[Change, ...]) -> None:
        from aws_backend.log.restore import restore

        restore(self._open.table, project_id, changes)
        self._open.appender.forget(project_id)
        self._notifier.notify()

    def _mark(self, project_id: str, seq: int, outdated_by: int) -> Change | None:
        table = self._open.table
        try:
            response = table.call(
                "UpdateItem",
                {
                    "TableName": table.name,
                    "Key": change_key(project_id, seq),
                    "UpdateExpression": "SET outdatedBy = :by",
                    "ConditionExpression": "attribute_exists(pk) AND "
                    "(attribute_not_exists(outdatedBy) OR outdatedBy < :by)",
                    "ExpressionAttributeValues": {":by": {"N": str(outdated_by)}},
                    "ReturnValues": "ALL_NEW",
                    "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                },
                table.deadline(),
                repeatable=True,
            )
        except ConditionFailed as error:
            return None if error.item is None else change_of(error.item)  # it says so already, or a later number
        return change_of(response["Attributes"])

    # Reading

    def _get(self, project_id: str, seq: int) -> Change | None:
        table = self._open.table
        deadline = table.deadline()
        key = change_key(project_id, seq)
        item = table.get(key, deadline, strong=False) or table.get(key, deadline, strong=True)
        if item is None:
            return None
        table.see(project_id, seq)
        return change_of(item)

    def _run(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        return self._open.reader.read(project_id, cursor, limit, chain)

    def _head(self, project_id: str) -> Head:
        table = self._open.table
        return table.read_end(project_id, table.deadline(), strong=False).head

    def _heads(self, project_ids: Sequence[str]) -> dict[str, int]:
        table = self._open.table
        deadline = table.deadline()
        heads: dict[str, int] = {}
        for start in range(0, len(project_ids), MAX_KEYS):
            some = dict.fromkeys(project_ids[start : start + MAX_KEYS])
            keys: Any = [sequence_key(project_id) for project_id in some]
            attempt = 0
            while keys:
                request = {table.name: {"Keys": keys, "ProjectionExpression": "projectId, #v"}}
                request[table.name]["ExpressionAttributeNames"] = {"#v": "value"}
                response = table.call("BatchGetItem", {"RequestItems": request}, deadline)
                for item in response["Responses"].get(table.name, ()):
                    if "projectId" in item:
                        heads[item["projectId"]["S"]] = int(item["value"]["N"]) - 1
                keys = response.get("UnprocessedKeys", {}).get(table.name, {}).get("Keys")
                if keys:
                    table.back_off(attempt, deadline)
                    attempt += 1
        for project_id in project_ids:
            seen = table.seen(project_id)
            if seen > heads.get(project_id, 0):
                heads[project_id] = seen
        return heads

    def write_mark(self) -> object:
        assert self._open
        return self._notifier.count

    def wait_for_write(self, mark: object, seconds: float) -> None:
        assert isinstance(mark, int)
        self._notifier.wait(mark, min(seconds, POLL_SECONDS))

    def _change_stats(self, project_id: str) -> ChangeStats:
        table = self._open.table
        return table.read_end(project_id, table.deadline(), strong=False).stats

    def _entity_type_stats(self, project_id: str) -> dict[str, int]:
        table = self._open.table
        types = table.read_end(project_id, table.deadline(), strong=False).entity_types
        return dict(sorted(types.items()))

    def _projects(self, after: str | None, limit: int) -> list[str]:
        table = self._open.table
        deadline = table.deadline()
        payload: dict[str, Any] = {
            "TableName": table.name,
            "IndexName": tables.INDEX,
            "KeyConditionExpression": "registry = :r" + ("" if after is None else " AND projectId > :after"),
            "ExpressionAttributeValues": {":r": {"S": REGISTRY}} | ({} if after is None else {":after": {"S": after}}),
        }
        found: list[str] = []
        while True:
            payload["Limit"] = limit - len(found)
            response = table.call("Query", payload, deadline)
            found += [item["projectId"]["S"] for item in response["Items"]]
            if "LastEvaluatedKey" not in response or len(found) >= limit:
                return found
            payload["ExclusiveStartKey"] = response["LastEvaluatedKey"]

    # The log in order

    def _verify(self, project_id: str, requests: bool, progress: Progress) -> Iterator[Finding]:
        """Read a whole log, and with `requests` the whole table, which holds the idempotency keys."""
        from aws_backend.upkeep.audit import audit

        yield from audit(self._open.table, project_id, requests=requests, progress=progress).findings

    def repair(
        self,
        *,
        project_id: str | None = None,
        dry_run: bool = True,
        relink_from: int | None = None,
        progress: Progress = lambda _: None,
    ) -> Report:
        """Mend what `verify` finds, by conditional writes that race live writers safely; say what was done.

        Nothing that a stored change says is altered: a number that is missing is taken by an explicit `void` change,
        links and counts are made anew where they have to be. With `dry_run`, says what is wrong and does nothing.
        Raises `LogDamaged` for what cannot be mended: a change that is not what its link says, unless `relink_from`
        says that all changes from there on are right as they stand.
        """
        from aws_backend.upkeep.repair import repair

        project_id = self._project(project_id)
        report = repair(self._open.table, project_id, dry_run=dry_run, relink_from=relink_from, progress=progress)
        self._open.appender.forget(project_id)
        self._notifier.notify()
        return report

    @property
    def _open(self) -> _Parts:
        parts = self._parts
        if parts is None:
            raise StorageError(
                "the storage is not open", hint="Call initialize() first, or use it as a context manager."
            )
        return parts


def _region(name: str | None) -> str:
    """Return a region's name that can stand in a host's; raises `StorageError`."""
    if name is None:
        raise StorageError("no AWS region is known", hint=f"Set DYNAMODB_REGION, or AWS_REGION. {tables.LOCAL_HINT}")
    if not (name.isascii() and name.replace("-", "").isalnum()):
        raise StorageError(
            f"{name!r} is no AWS region", hint="Look at DYNAMODB_REGION, AWS_REGION and the profile; one is eu-west-1."
        )
    return name


class _Parts:
    """What an open storage works with."""

    __slots__ = ("appender", "reader", "table")

    def __init__(self, table: LogTable, reader: LogReader, appender: Appender) -> None:
        self.table = table
        self.reader = reader
        self.appender = appender
