"""`DynamoDBStorageService`: the change log in a DynamoDB table that many projects share.

An append is one transaction (`aws_backend.log.appender`). A page is one query (`aws_backend.log.reader`). Statistics
are one read of the sequence item. The list of projects is a query of an index that contains only sequence items.
`aws_backend.log.items` describes the items; `docs/decisions/0009-one-transaction.md` explains the design.
"""

from __future__ import annotations

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.log.appender import Appender
from aws_backend.log.errors import translated
from aws_backend.log.items import change_of
from aws_backend.log.notifier import Notifier
from aws_backend.log.reader import LogReader
from aws_backend.log.table import LOCAL_HINT, REQUEST_SECONDS, LogTable
from sltt_core.base.errors import StorageError
from sltt_core.base.forks import call_after_fork
from sltt_core.base.runtime import SYSTEM
from sltt_core.log.batches import CHUNK_BYTES, CHUNK_CHANGES, StoredChunk
from sltt_core.log.pages import PAGE_BYTES, ChangeStats, Head
from sltt_core.log.storage import BaseStorageService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from aws_backend.log.items import LogEnd
    from sltt_core.base.runtime import Observer, Runtime
    from sltt_core.log.batches import Chunk
    from sltt_core.log.findings import Finding, Progress, Report
    from sltt_core.log.issuing import C, Decision
    from sltt_core.log.pages import Run
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change, NewChange
    from sltt_core.model.grants import Members

LOCAL_ENDPOINT = "http://localhost:8000"
"""The default endpoint of a local DynamoDB."""
LOCAL_REGION = "us-east-1"
POLL_SECONDS = 0.5
"""Seconds between two checks of a waiting request for changes of other processes. A check costs half a read unit."""


class DynamoDBStorageService(BaseStorageService):
    """The change logs of any number of projects in one DynamoDB table; `BaseStorageService` is the contract.

    On AWS, credentials are read from the same places as by AWS's SDKs, and the table is never created. With
    `use_local_dynamodb`, dummy credentials are sent to `local_endpoint`, and a missing table is created. A new project
    may appear in the list of projects with a delay, because an index of DynamoDB is eventually consistent. The child of
    a fork may use the storage: it opens connections of its own.

    Of the contract's errors it raises `TooManyWriters` if other processes append to the project until the time limit of
    the request, `StorageThrottled` if the table or the account is throttled, and `StorageUnavailable` if DynamoDB
    cannot be reached or the outcome is unknown; then try again with the same idempotency key. `__cause__` is the error
    of DynamoDB.
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
        endpoint: str | None = None,
        write_region: str | None = None,
        client: DynamoDBClient | None = None,
        check_table: bool = True,
        runtime: Runtime = SYSTEM,
        time_limit: Callable[[], float] = lambda: REQUEST_SECONDS,
        chunk_changes: int = CHUNK_CHANGES,
        chunk_bytes: int = CHUNK_BYTES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        """Configure the storage; `initialize` connects.

        The default of `region` is AWS_REGION, AWS_DEFAULT_REGION or the region of the profile. `endpoint` is the URL of
        a DynamoDB on AWS, such as that of a VPC endpoint; by default AWS_ENDPOINT_URL_DYNAMODB, AWS_ENDPOINT_URL or the
        profile define it, else the region. `write_region` is the only region that writes to a global table; without it
        a global table is refused. `check_table=False` skips the check of the table in `initialize`, which costs a round
        trip; then a local table is not created. `time_limit` returns the time limit of a request in seconds, including
        all its calls and waits. A given `client` must have the same `runtime`.
        """
        super().__init__(
            project_id, runtime=runtime, chunk_changes=chunk_changes, chunk_bytes=chunk_bytes, page_bytes=page_bytes
        )
        self.table_name = table_name
        self.local = use_local_dynamodb
        self.region = region
        self._endpoint = local_endpoint if use_local_dynamodb else endpoint
        self._write_region = write_region
        self._check_table = check_table
        self._client = client
        self._given_client = client is not None
        self._time_limit = time_limit
        self._opening = runtime.new_lock()
        self._notifier = Notifier(runtime.new_lock)
        self._parts: _Parts | None = None
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may hold. The parts of the storage do the same."""
        self._opening = self._runtime.new_lock()

    def observe(self, observer: Observer) -> None:
        self._runtime = self._runtime.replace(observer=observer)
        if self._client is not None:
            self._client.observe(observer)

    def gauges(self) -> dict[str, float]:
        return {} if self._parts is None else self._parts.appender.gauges()

    @property
    def place(self) -> str:
        if self._endpoint is not None:
            return f"at {self._endpoint}"
        return "" if self._client is None else f"in {self._client.region}"

    @translated
    def initialize(self) -> None:
        with self._opening:
            if self._parts is not None:
                return
            if self._client is None:
                self._client = self._make_client()
            table = LogTable(self.table_name, self._client, runtime=self._runtime, time_limit=self._time_limit)
            try:
                if self._check_table:
                    from aws_backend.log.schema import check, create

                    create(table) if self.local else check(table, self._client.region, self._write_region)
            except BaseException:
                self._drop_client()
                raise
            self._parts = _Parts(
                table, LogReader(table, self._page_bytes), Appender(table, max_bytes=self._chunk_bytes)
            )

    @translated
    def warm(self) -> None:
        """Load credentials and open a connection before the first request; raises `StorageError` if that fails."""
        self._open.table.client.warm()

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
        """Return the client. Raises `InvalidInput` for a setting of AWS that is not valid."""
        from aws_backend.dynamodb.credentials import connection_is_configured, default_chain, region_from_environment

        region = _region(self.region or (LOCAL_REGION if self.local else region_from_environment()))
        if not self.local and self._write_region not in (None, region):
            raise StorageError(
                f"the region is {region}, but the only region that writes is {self._write_region}",
                hint=f"Set DYNAMODB_REGION={self._write_region}, or change DYNAMODB_WRITE_REGION.",
            )
        endpoint, make_transport = self._endpoint, None
        # A local DynamoDB over http is always reached directly.
        if (not self.local or str(endpoint).startswith("https:")) and connection_is_configured():
            from aws_backend.dynamodb.connections import Connection

            connection = Connection(runtime=self._runtime)
            make_transport = connection.make_transport
            if not self.local:
                endpoint = connection.endpoint("dynamodb", region, endpoint)
        if self.local:
            from aws_backend.dynamodb.sigv4 import Credentials

            dummy = Credentials("local", "local")
            credentials = lambda: dummy  # noqa: E731
        else:
            credentials = default_chain(region=region, runtime=self._runtime).get
        return DynamoDBClient(
            region, credentials, endpoint=endpoint, make_transport=make_transport, runtime=self._runtime
        )

    # Writing

    @translated
    def _append(self, chunk: Chunk) -> StoredChunk:
        parts = self._open  # read once: another thread may close the storage during the append
        stored = parts.appender.append(chunk)
        parts.table.known_heads.note(chunk.project_id, stored.first_seq + stored.count - 1)
        if stored.changes is not None:
            self._notifier.notify()
        return stored

    @translated
    def _stored_chunk(self, project_id: str, key: str, number: int) -> StoredChunk | None:
        table = self._open.table
        request = table.read_request(project_id, key, number, table.deadline())
        return None if request is None else request.stored

    @translated
    def _grant(self, project_id: str, grant: NewChange) -> Members:
        from aws_backend.log.grants import append_grant

        members = append_grant(self._open.table, project_id, grant)
        self._open.appender.forget(project_id)
        self._notifier.notify()
        return members

    @translated
    def _members(self, project_id: str) -> Members:
        table = self._open.table
        return table.read_members(project_id, table.deadline(), strong=False)

    @translated
    def _projects_of(self, principal: str, after: str | None, limit: int) -> list[str]:
        table = self._open.table
        return table.projects_of(principal, after, limit, table.deadline())

    # Device tokens and invitations

    @translated
    def _credential(self, kind: type[C], credential_id: str) -> C | None:
        from aws_backend.log.credentials import read_credential

        table = self._open.table
        return read_credential(table, kind, credential_id, table.deadline())

    @translated
    def _credentials(self, kind: type[C], project_id: str, after: str | None, limit: int) -> tuple[list[C], str | None]:
        from aws_backend.log.credentials import list_credentials

        return list_credentials(self._open.table, kind, project_id, after, limit)

    @translated
    def _replace_credential(self, before: C | None, after: C) -> bool:
        from aws_backend.log.credentials import replace_credential

        return replace_credential(self._open.table, before, after)

    @translated
    def _change_credential(
        self, kind: type[C], project_id: str, credential_id: str, decide: Decision[C]
    ) -> tuple[C, Members]:
        from aws_backend.log.credentials import change_credential

        changed = change_credential(self._open.table, kind, project_id, credential_id, decide)
        self._open.appender.forget(project_id)
        self._notifier.notify()
        return changed

    @translated
    def _restore(self, project_id: str, changes: tuple[Change, ...], requests: tuple[NamedRequest, ...]) -> None:
        from aws_backend.log.restore import restore

        restore(self._open.table, project_id, changes, requests)
        self._open.appender.forget(project_id)
        self._notifier.notify()

    @translated
    def _mark(self, project_id: str, seq: int, outdated_by: int) -> Change | None:
        table = self._open.table
        item = table.mark_outdated(project_id, seq, outdated_by, table.deadline())
        return None if item is None else change_of(item)

    # Reading

    @translated
    def _get(self, project_id: str, seq: int) -> Change | None:
        table = self._open.table
        deadline = table.deadline()
        item = table.get_change(project_id, seq, deadline, strong=False) or table.get_change(
            project_id, seq, deadline, strong=True
        )
        if item is None:
            return None
        table.known_heads.note(project_id, seq)
        return change_of(item)

    @translated
    def _run(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        return self._open.reader.read(project_id, cursor, limit, chain)

    @translated
    def _head(self, project_id: str) -> Head:
        return self._read_end(project_id).head

    @translated
    def _ends(self, project_ids: Sequence[str]) -> dict[str, Head]:
        table = self._open.table
        return table.ends(project_ids, table.deadline())

    def write_mark(self) -> object:
        _ = self._open  # raises an error if the storage is closed
        return self._notifier.count

    def wait_for_write(self, mark: Any, seconds: float) -> None:
        self._notifier.wait(mark, min(seconds, POLL_SECONDS))

    @translated
    def _stats(self, project_id: str) -> tuple[ChangeStats, dict[str, int], Head]:
        end = self._read_end(project_id)
        return end.stats, dict(sorted(end.entity_types.items())), end.head

    def _read_end(self, project_id: str) -> LogEnd:
        table = self._open.table
        return table.read_end(project_id, table.deadline(), strong=False)

    @translated
    def _projects(self, after: str | None, limit: int) -> list[str]:
        table = self._open.table
        return table.projects(after, limit, table.deadline())

    # Verify and repair

    def _verify(self, project_id: str, requests: bool, progress: Progress) -> Iterator[Finding]:
        """Yield the findings of a log. With `requests`, scan the whole table for idempotency keys too."""
        yield from self._audit(project_id, requests, progress)

    @translated
    def _audit(self, project_id: str, requests: bool, progress: Progress) -> Sequence[Finding]:
        from aws_backend.upkeep.audit import audit

        return audit(self._open.table, project_id, requests=requests, progress=progress).report.findings

    @translated
    def _repair(self, project_id: str, dry_run: bool, relink_from: int | None, progress: Progress) -> Report:
        from aws_backend.upkeep.repair import repair

        report = repair(self._open.table, project_id, dry_run=dry_run, relink_from=relink_from, progress=progress)
        self._open.appender.forget(project_id)
        self._notifier.notify()
        return report

    @property
    def _open(self) -> _Parts:
        parts = self._parts
        if parts is None:
            raise StorageError(
                "the storage is not open", hint="Call initialize() first, or use the storage as a context manager."
            )
        return parts


def _region(name: str | None) -> str:
    """Return `name` if it is valid in a host name; raises `StorageError` otherwise."""
    if name is None:
        raise StorageError("no AWS region is set", hint=f"Set DYNAMODB_REGION or AWS_REGION. {LOCAL_HINT}")
    if not (name.isascii() and name.replace("-", "").isalnum()):
        raise StorageError(
            f"AWS region {name!r} is not valid: only letters, digits and hyphens, like eu-west-1",
            hint="Check DYNAMODB_REGION, AWS_REGION and the profile.",
        )
    return name


class _Parts:
    """The objects of an open storage."""

    __slots__ = ("appender", "reader", "table")

    def __init__(self, table: LogTable, reader: LogReader, appender: Appender) -> None:
        self.table = table
        self.reader = reader
        self.appender = appender
