"""`LogTable`: all calls to DynamoDB for the logs in a table, as methods in terms of the log.

It builds expressions, reads page by page and limits the time of a request. It raises the errors of
`aws_backend.dynamodb` and of the transport unchanged; the storage translates them (`aws_backend.log.errors`).
"""

from __future__ import annotations

from _thread import allocate_lock

from aws_backend.dynamodb.errors import ConditionFailed, Throttled, TransactionCanceled
from aws_backend.dynamodb.responses import check_response
from aws_backend.log.access_items import access_key, member_key, members_of, principal_registry
from aws_backend.log.items import (
    REGISTRY,
    change_key,
    head_of,
    log_end_of,
    request_key,
    request_of,
    sequence_key,
)
from sltt_core.base.errors import StorageBusy
from sltt_core.base.forks import call_after_fork
from sltt_core.base.runtime import SYSTEM
from sltt_core.log.pages import EMPTY_LOG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from aws_backend.dynamodb.client import DynamoDBClient
    from aws_backend.log.items import Item, LogEnd, Request
    from aws_backend.log.transactions import Action
    from sltt_core.base.runtime import Runtime
    from sltt_core.log.pages import Head
    from sltt_core.model.grants import Members

INDEX = "projects"
"""The sparse index that holds only the sequence items, in the order of their projects."""
LOCAL_HINT = "For a local DynamoDB, set USE_LOCAL_DYNAMODB=true."
REQUEST_SECONDS = 10.0
"""Default time limit of a request to a storage, in seconds, including all calls and waits."""
THROTTLE_SECONDS = 0.1
"""Longest first wait after a throttled call, in seconds. The wait is a random part of it, and it doubles each time."""
CONFLICT_PAUSE = 0.02
"""Seconds before items that were locked by another transaction are read again."""
MAX_KEYS = 100
"""Largest number of items in one BatchGetItem (AWS: BatchGetItem)."""
MAX_KNOWN_HEADS = 100_000
"""Number of projects whose head is cached. The one whose head changed longest ago is removed first."""


class KnownHeads:
    """The greatest sequence number that this process has seen in each project. Safe for use by several threads.

    A read that ends at a lower number is stale, unless the log was replaced.
    """

    __slots__ = ("__weakref__", "_heads", "_lock")

    def __init__(self) -> None:
        self._heads: dict[str, int] = {}
        self._lock = allocate_lock()
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may hold."""
        self._lock = allocate_lock()

    def get(self, project_id: str) -> int:
        """Return the greatest number seen; 0 if there is none."""
        return self._heads.get(project_id, 0)

    def note(self, project_id: str, seq: int) -> None:
        """Record that the log has a change with number `seq`."""
        with self._lock:
            heads = self._heads
            if seq > heads.get(project_id, 0):
                if len(heads) >= MAX_KNOWN_HEADS and project_id not in heads:
                    del heads[next(iter(heads))]
                heads.pop(project_id, None)  # moves the project to the end of the dict: it is removed last
                heads[project_id] = seq

    def forget(self, project_id: str) -> None:
        """Remove a project, because its log was replaced."""
        self._heads.pop(project_id, None)


class LogTable:
    """A DynamoDB table of logs. Safe for use by several threads."""

    def __init__(
        self,
        name: str,
        client: DynamoDBClient,
        *,
        runtime: Runtime = SYSTEM,
        time_limit: Callable[[], float] = lambda: REQUEST_SECONDS,
    ) -> None:
        """`runtime` must be the client's. `time_limit` returns the time limit of a request, in seconds."""
        self.name = name
        self.client = client
        self.runtime = runtime
        self.known_heads = KnownHeads()
        self._time_limit = time_limit

    def deadline(self) -> float:
        """Return the deadline of a request that begins now, in seconds of the steady clock."""
        return self.runtime.steady_clock() + self._time_limit()

    def is_late(self, deadline: float, wait: float = 0.0) -> bool:
        """Return whether the deadline has passed, or will have passed after `wait` seconds."""
        return self.runtime.steady_clock() + wait >= deadline

    def call(self, operation: str, payload: Mapping[str, Any], deadline: float, **options: Any) -> dict[str, Any]:
        """Call an operation of DynamoDB on this table; `options` are those of `DynamoDBClient.call`.

        Raises `NotDynamoDB` for a response of another form.
        """
        response = self.client.call(operation, {"TableName": self.name, **payload}, deadline=deadline, **options)
        check_response(operation, response)
        return response

    def pages(
        self, operation: str, payload: dict[str, Any], deadline: float | None, limit: int | None = None
    ) -> Iterator[list[Item]]:
        """Yield the items of each response, until there are no more or `limit` items are read.

        Without a deadline, each call has the time limit of a request.
        """
        while True:
            if limit is not None:
                payload["Limit"] = limit
            response = self.call(operation, payload, self.deadline() if deadline is None else deadline)
            items = response["Items"]
            yield items
            if limit is not None:
                limit -= len(items)
            if "LastEvaluatedKey" not in response or (limit is not None and limit <= 0):
                return
            payload["ExclusiveStartKey"] = response["LastEvaluatedKey"]

    # Reading a log

    def changes_from(
        self, project_id: str, first: int, limit: int, deadline: float, *, strong: bool
    ) -> Iterator[list[Item]]:
        """Yield at most `limit` changes from number `first` on, in order; one list for each response."""
        payload = {
            "KeyConditionExpression": "pk = :pk AND seq >= :from",
            "ExpressionAttributeValues": {":pk": {"S": project_id}, ":from": {"N": str(first)}},
            "ConsistentRead": strong,
        }
        return self.pages("Query", payload, deadline, limit)

    def get_change(self, project_id: str, seq: int, deadline: float, *, strong: bool) -> Item | None:
        """Return the item of a change; `None` if it does not exist."""
        return self.get(change_key(project_id, seq), deadline, strong=strong)

    def get(self, key: Item, deadline: float, *, strong: bool) -> Item | None:
        """Return an item or `None`. A strong read sees every write acknowledged before; it costs twice as much."""
        item: Item | None = self.call("GetItem", {"Key": key, "ConsistentRead": strong}, deadline).get("Item")
        return item

    def get_sequence(self, project_id: str, deadline: float, *, strong: bool = True) -> Item | None:
        """Return the sequence item unparsed; `None` if it does not exist."""
        return self.get(sequence_key(project_id), deadline, strong=strong)

    def read_end(self, project_id: str, deadline: float, *, strong: bool = True) -> LogEnd:
        """Return the end of a log. Without `strong` it may be stale, but includes all that this process has seen.

        Raises the errors of `log_end_of`.
        """
        known = self.known_heads.get(project_id)
        end = log_end_of(self.get_sequence(project_id, deadline, strong=strong), project_id)
        if end.head.seq < known:
            if not strong:
                return self.read_end(project_id, deadline)
            # The log is shorter than before this read began: it was replaced. A number that became known during the
            # read, from another thread's append, is newer than this response and proves nothing.
            if self.known_heads.get(project_id) == known:
                self.known_heads.forget(project_id)
        self.known_heads.note(project_id, end.head.seq)
        return end

    def read_members(self, project_id: str, deadline: float, *, strong: bool) -> Members:
        """Return the members of a project; raises `LogDamaged` if their item is not valid."""
        return members_of(self.get(access_key(project_id), deadline, strong=strong), project_id)

    def ends(self, project_ids: Sequence[str], deadline: float) -> dict[str, Head]:
        """Return the end of each log that has changes; by eventually consistent reads, 100 a call.

        A log of which this process has seen a later number is read again. Raises `LogDamaged` if an end is not valid.
        """
        heads: dict[str, Head] = {}
        keys = [sequence_key(project_id) for project_id in dict.fromkeys(project_ids)]
        options = {"ProjectionExpression": "pk, projectId, #v, chain", "ExpressionAttributeNames": {"#v": "value"}}
        for item in self.batch(keys, deadline, **options):
            if "projectId" in item:  # it is not of the original backend
                project_id = item["pk"]["S"].partition("#")[2]
                heads[project_id] = head_of(item, project_id)
        for project_id in project_ids:
            if self.known_heads.get(project_id) > heads.get(project_id, EMPTY_LOG).seq:
                heads[project_id] = self.read_end(project_id, deadline).head
        return {project_id: head for project_id, head in heads.items() if head.seq}

    def batch(self, keys: Sequence[Item], deadline: float, **options: Any) -> Iterator[Item]:
        """Yield those of the items with these keys that exist, in no order; `options` are those of `BatchGetItem`."""
        for start in range(0, len(keys), MAX_KEYS):
            some: Any = keys[start : start + MAX_KEYS]
            attempt = 0
            while some:
                payload = {"RequestItems": {self.name: {"Keys": some, **options}}}
                response = self.client.call("BatchGetItem", payload, deadline=deadline)
                check_response("BatchGetItem", response)
                yield from response["Responses"].get(self.name, ())
                some = response.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys")
                if some:
                    self.back_off(attempt, deadline)
                    attempt += 1

    def projects(self, after: str | None, limit: int, deadline: float) -> list[str]:
        """Return up to `limit` project ids in order, those after `after` if given."""
        return self.registered(REGISTRY, sequence_key, after, limit, deadline)

    def projects_of(self, principal: str, after: str | None, limit: int, deadline: float) -> list[str]:
        """Return up to `limit` ids of a principal's projects in order, those after `after` if given."""
        key = lambda project_id: member_key(project_id, principal)  # noqa: E731
        return self.registered(principal_registry(principal), key, after, limit, deadline)

    def registered(
        self, registry: str, key: Callable[[str], Item], after: str | None, limit: int, deadline: float
    ) -> list[str]:
        """Return up to `limit` sort keys of a partition of the index in order, those after `after` if given.

        `key` returns the key of the item that has a sort key there.
        """
        condition, values = "registry = :r", {":r": {"S": registry}}
        if after is not None:
            condition += " AND projectId > :after"
            values[":after"] = {"S": after}
        payload = {
            "IndexName": INDEX,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "Limit": limit,
        }
        found: list[str] = []
        for items in self.pages("Query", payload, deadline):
            # An item whose `projectId` was altered is not listed: it would name a project that does not exist.
            names = [item["projectId"]["S"] for item in items]
            found += [name for name, item in zip(names, items, strict=True) if item["pk"] == key(name)["pk"]]
            if len(found) >= limit:
                break
        return found[:limit]

    def read_request(self, project_id: str, key: str, number: int, deadline: float) -> Request | None:
        """Return the request item of a chunk, by a strong read; `None` if the chunk was not written."""
        item = self.get(request_key(project_id, key, number), deadline, strong=True)
        return None if item is None else request_of(item)

    def read_together(self, project_id: str, seq: int, deadline: float) -> tuple[Item | None, Item | None]:
        """Return a change's item and the sequence item in one transaction: never from the middle of an append.

        TransactGetItems is serializable with TransactWriteItems; two strong reads are not (AWS, "DynamoDB transactions:
        how it works"). Raises `StorageBusy` if writers hold the items until the deadline.
        """
        keys = (change_key(project_id, seq), sequence_key(project_id))
        payload = {"TransactItems": [{"Get": {"TableName": self.name, "Key": key}} for key in keys]}
        while True:
            try:
                response = self.client.call("TransactGetItems", payload, deadline=deadline)
            except TransactionCanceled as error:  # a write transaction is in flight
                if not error.is_transient:
                    raise
                if self.is_late(deadline, CONFLICT_PAUSE):
                    raise StorageBusy(f"other processes write to project {project_id} without a pause") from error
                self.runtime.pause(CONFLICT_PAUSE)
            else:
                check_response("TransactGetItems", response)
                change, sequence = response["Responses"]
                return change.get("Item"), sequence.get("Item")

    # Writing

    def transact(self, actions: Sequence[Action], token: str, deadline: float) -> None:
        """Carry out all actions in one transaction; raises `TransactionCanceled` if none was carried out."""
        payload = {"TransactItems": actions, "ClientRequestToken": token}
        self.client.call("TransactWriteItems", payload, deadline=deadline)

    def mark_outdated(self, project_id: str, seq: int, outdated_by: int, deadline: float) -> Item | None:
        """Set `outdatedBy` if it is absent or lower; return the change's item afterwards, `None` if there is none."""
        payload = {
            "Key": change_key(project_id, seq),
            "UpdateExpression": "SET outdatedBy = :by",
            "ConditionExpression": "attribute_exists(pk) AND (attribute_not_exists(outdatedBy) OR outdatedBy < :by)",
            "ExpressionAttributeValues": {":by": {"N": str(outdated_by)}},
            "ReturnValues": "ALL_NEW",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            item: Item = self.call("UpdateItem", payload, deadline, repeatable=True)["Attributes"]
        except ConditionFailed as error:
            return error.item  # it has this number or a higher one already, or the change does not exist
        return item

    def back_off(self, attempt: int, deadline: float) -> None:
        """Wait after a throttled call, longer for each `attempt` (from 0); raises `Throttled` near the deadline."""
        wait = THROTTLE_SECONDS * 2.0**attempt * self.runtime.random()
        if self.is_late(deadline, wait):
            raise Throttled("the table is throttled")
        self.runtime.pause(wait)
