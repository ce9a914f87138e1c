"""`LogTable`: the one place that calls DynamoDB for the logs in a table. Its methods are verbs of the log.

It knows expressions, paging and the time that a request may take. It raises the errors of `aws_backend.dynamodb` and of
the transport as they are; the storage translates them (`aws_backend.log.errors`).
"""

from __future__ import annotations

from _thread import allocate_lock

from aws_backend.dynamodb.errors import ConditionFailed, Throttled, TransactionCanceled
from aws_backend.dynamodb.responses import check_response
from aws_backend.log.items import (
    REGISTRY,
    change_key,
    log_end_of,
    request_key,
    request_of,
    sequence_key,
)
from sltt_core.base.errors import StorageBusy
from sltt_core.base.runtime import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from aws_backend.dynamodb.client import DynamoDBClient
    from aws_backend.log.items import Item, LogEnd, Request
    from aws_backend.log.transactions import Action
    from sltt_core.base.runtime import Runtime

INDEX = "projects"
"""The sparse index that holds only the sequence items, in the order of their projects."""
LOCAL_HINT = "For a local DynamoDB, set USE_LOCAL_DYNAMODB=true."
REQUEST_SECONDS = 10.0
"""How long a request to a storage may take, with all its calls and all its waiting."""
THROTTLE_SECONDS = 0.1
"""The first wait after being throttled is a random part of this; it doubles each time."""
CONFLICT_PAUSE = 0.02
"""Seconds before items that a transaction was writing are read together again."""
MAX_KEYS = 100
"""Items of one BatchGetItem (AWS: BatchGetItem)."""


MAX_KNOWN_HEADS = 100_000
"""Projects whose heads are remembered; the one written or read longest ago is forgotten first."""


class KnownHeads:
    """The greatest sequence number that this process has seen of each project. Safe for use by several threads.

    A read that shows less is stale, or the log was replaced.
    """

    __slots__ = ("_heads", "_lock")

    def __init__(self) -> None:
        self._heads: dict[str, int] = {}
        self._lock = allocate_lock()

    def get(self, project_id: str) -> int:
        """Return the greatest number seen, 0 for none."""
        return self._heads.get(project_id, 0)

    def note(self, project_id: str, seq: int) -> None:
        """Remember that the log reaches at least `seq`."""
        with self._lock:
            heads = self._heads
            if seq > heads.get(project_id, 0):
                if len(heads) >= MAX_KNOWN_HEADS and project_id not in heads:
                    del heads[next(iter(heads))]
                heads.pop(project_id, None)  # so that those written to last stay longest
                heads[project_id] = seq

    def forget(self, project_id: str) -> None:
        """Forget a log that was replaced."""
        self._heads.pop(project_id, None)


class LogTable:
    """A table with logs in it. Safe for use by several threads."""

    def __init__(
        self,
        name: str,
        client: DynamoDBClient,
        *,
        runtime: Runtime = SYSTEM,
        time_limit: Callable[[], float] = lambda: REQUEST_SECONDS,
    ) -> None:
        """`runtime` must be the client's, too. `time_limit` returns how many seconds a request that begins may take."""
        self.name = name
        self.client = client
        self.runtime = runtime
        self.known_heads = KnownHeads()
        self._time_limit = time_limit

    def deadline(self) -> float:
        """Return when a request that begins now has to end, on the steady clock."""
        return self.runtime.steady_clock() + self._time_limit()

    def is_late(self, deadline: float, wait: float = 0.0) -> bool:
        """Tell whether the deadline has passed, or will have passed after a wait."""
        return self.runtime.steady_clock() + wait >= deadline

    def call(self, operation: str, payload: Mapping[str, Any], deadline: float, **options: Any) -> dict[str, Any]:
        """Call an operation on this table; raises `NotDynamoDB` for a response of another form."""
        response = self.client.call(operation, {"TableName": self.name, **payload}, deadline=deadline, **options)
        check_response(operation, response)
        return response

    def pages(
        self, operation: str, payload: dict[str, Any], deadline: float | None, limit: int | None = None
    ) -> Iterator[list[Item]]:
        """Yield the items of each response, until there are no more or `limit` items were read.

        Without a deadline each page has the time that a request may take.
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
        """Yield the changes from number `first` on, in order, a response at a time, at most `limit`."""
        payload = {
            "KeyConditionExpression": "pk = :pk AND seq >= :from",
            "ExpressionAttributeValues": {":pk": {"S": project_id}, ":from": {"N": str(first)}},
            "ConsistentRead": strong,
        }
        return self.pages("Query", payload, deadline, limit)

    def get_change(self, project_id: str, seq: int, deadline: float, *, strong: bool) -> Item | None:
        """Return the item of a change, or `None`."""
        return self._get(change_key(project_id, seq), deadline, strong=strong)

    def _get(self, key: Item, deadline: float, *, strong: bool) -> Item | None:
        """Return an item, or `None`. A strong read sees every write that was acknowledged before; it costs twice."""
        item: Item | None = self.call("GetItem", {"Key": key, "ConsistentRead": strong}, deadline).get("Item")
        return item

    def get_sequence(self, project_id: str, deadline: float, *, strong: bool = True) -> Item | None:
        """Return the sequence item as it is, or `None`."""
        return self._get(sequence_key(project_id), deadline, strong=strong)

    def read_end(self, project_id: str, deadline: float, *, strong: bool = True) -> LogEnd:
        """Return a log's end. Read weakly, it may be an earlier one, but none before what this process has seen."""
        known = self.known_heads.get(project_id)
        end = log_end_of(self.get_sequence(project_id, deadline, strong=strong), project_id)
        if end.head.seq < known:
            if not strong:
                return self.read_end(project_id, deadline)
            # Shorter than it was before this read began: the log was replaced. What became known during the read, as
            # by another thread's append, is newer than this response and says nothing of the kind.
            if self.known_heads.get(project_id) == known:
                self.known_heads.forget(project_id)
        self.known_heads.note(project_id, end.head.seq)
        return end

    def ends(self, project_ids: Sequence[str], deadline: float) -> dict[str, int]:
        """Return the last number of each of these projects that has changes, by weak reads of 100 at a time."""
        heads: dict[str, int] = {}
        for start in range(0, len(project_ids), MAX_KEYS):
            some = dict.fromkeys(project_ids[start : start + MAX_KEYS])
            keys: Any = [sequence_key(project_id) for project_id in some]
            attempt = 0
            while keys:
                request = {
                    "Keys": keys,
                    "ProjectionExpression": "projectId, #v",
                    "ExpressionAttributeNames": {"#v": "value"},
                }
                payload = {"RequestItems": {self.name: request}}
                response = self.client.call("BatchGetItem", payload, deadline=deadline)
                check_response("BatchGetItem", response)
                for item in response["Responses"].get(self.name, ()):
                    if "projectId" in item:
                        heads[item["projectId"]["S"]] = int(item["value"]["N"]) - 1
                keys = response.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys")
                if keys:
                    self.back_off(attempt, deadline)
                    attempt += 1
        for project_id in project_ids:
            known = self.known_heads.get(project_id)
            if known > heads.get(project_id, 0):
                heads[project_id] = known
        return heads

    def projects(self, after: str | None, limit: int, deadline: float) -> list[str]:
        """Return up to `limit` ids of projects, in order, after the given one."""
        condition, values = "registry = :r", {":r": {"S": REGISTRY}}
        if after is not None:
            condition += " AND projectId > :after"
            values[":after"] = {"S": after}
        payload = {
            "IndexName": INDEX,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
        pages = self.pages("Query", payload, deadline, limit)
        return [item["projectId"]["S"] for items in pages for item in items]

    def read_request(self, project_id: str, key: str, number: int, deadline: float) -> Request | None:
        """Return what a chunk wrote under an idempotency key, by a strong read; `None` when it wrote nothing."""
        item = self._get(request_key(project_id, key, number), deadline, strong=True)
        return None if item is None else request_of(item)

    def read_together(self, project_id: str, seq: int, deadline: float) -> tuple[Item | None, Item | None]:
        """Return a change's item and the sequence item as they are at one moment between all transactions.

        TransactGetItems is serializable with TransactWriteItems; strong reads of one item after the other are not
        (AWS, "DynamoDB transactions: how it works").
        """
        keys = (change_key(project_id, seq), sequence_key(project_id))
        payload = {"TransactItems": [{"Get": {"TableName": self.name, "Key": key}} for key in keys]}
        while True:
            try:
                response = self.client.call("TransactGetItems", payload, deadline=deadline)
            except TransactionCanceled as error:  # a transaction is in flight
                if not error.is_transient:
                    raise
                if self.is_late(deadline, CONFLICT_PAUSE):
                    raise StorageBusy(f"others write to project {project_id} without a pause") from error
                self.runtime.pause(CONFLICT_PAUSE)
            else:
                check_response("TransactGetItems", response)
                change, sequence = response["Responses"]
                return change.get("Item"), sequence.get("Item")

    # Writing

    def transact(self, actions: Sequence[Action], token: str, deadline: float) -> None:
        """Carry out all actions in one transaction, or none; raises `TransactionCanceled` with the reasons."""
        payload = {"TransactItems": actions, "ClientRequestToken": token}
        self.client.call("TransactWriteItems", payload, deadline=deadline)

    def mark_outdated(self, project_id: str, seq: int, outdated_by: int, deadline: float) -> Item | None:
        """Set `outdatedBy` where it is absent or less; return the change's item as it is then, or `None`."""
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
            return error.item  # it has that number or a later one already, or there is no such change
        return item

    def back_off(self, attempt: int, deadline: float) -> None:
        """Wait after being throttled, longer with each attempt (from 0); raises `Throttled` when there is no time."""
        wait = THROTTLE_SECONDS * 2.0**attempt * self.runtime.random()
        if self.is_late(deadline, wait):
            raise Throttled("the table is throttled")
        self.runtime.pause(wait)
