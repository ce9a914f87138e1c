"""Logs in tables of the local DynamoDBs, and functions that damage them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aws_backend.log.items import change_key, request_key, sequence_key
from aws_backend.storage import DynamoDBStorageService
from sltt_core.base.runtime import Runtime
from tests.contract.logs import DynamoDBLocalLog, DynamoDBLog, DynoxideLog, ModelLog, batch

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINES = [DynoxideLog, DynamoDBLocalLog, ModelLog]
KEY = "key-0123456789abcdef"
P = "p"


def new_table(endpoint: str) -> str:
    """Create a table and return its name; a Lambda function does not check that its table exists."""
    name = f"log-{uuid4().hex}"
    with DynamoDBStorageService(name, use_local_dynamodb=True, local_endpoint=endpoint):
        return name


def put(log: DynamoDBLog, item: dict[str, Any]) -> None:
    log.call("PutItem", Item=item)


def sequence(log: DynamoDBLog) -> dict[str, Any]:
    """Return the current sequence item."""
    found: dict[str, Any] = log.call("GetItem", Key=sequence_key(P), ConsistentRead=True)["Item"]
    return found


def set_sequence(log: DynamoDBLog, name: str, value: dict[str, Any]) -> None:
    log.call(
        "UpdateItem",
        Key=sequence_key(P),
        UpdateExpression="SET #n = :v",
        ExpressionAttributeNames={"#n": name},
        ExpressionAttributeValues={":v": value},
    )


def fill(log: DynamoDBLog) -> dict[str, Any]:
    """Append 20 changes without a key and 10 with one; return the sequence item from before the 10."""
    storage = log.open(P)
    storage.create_changes(batch(20))
    before = sequence(log)
    storage.create_changes(batch(10, entity_type="late"), KEY)
    return before


def lose(*numbers: int) -> Callable[[DynamoDBLog, dict[str, Any]], None]:
    def damage(log: DynamoDBLog, before: dict[str, Any]) -> None:
        for number in numbers:
            log.lose(P, number)

    return damage


def value_behind(*numbers: int) -> Callable[[DynamoDBLog, dict[str, Any]], None]:
    """Return a damage: the sequence item is from before the last transaction, and the changes `numbers` are missing."""

    def damage(log: DynamoDBLog, before: dict[str, Any]) -> None:
        lose(*numbers)(log, before)
        put(log, before)

    return damage


def request_alone(log: DynamoDBLog, before: dict[str, Any]) -> None:
    """Of the last transaction, only the request item exists."""
    value_behind(*range(21, 31))(log, before)


def request_for_others(log: DynamoDBLog, before: dict[str, Any]) -> None:
    """Only the request item existed, and then other changes got its numbers."""
    request_alone(log, before)
    log.open(P, runtime=Runtime(clock=lambda: 1_740_000_000_000_000_000)).create_changes(batch(10, entity_type="other"))


def no_sequence(log: DynamoDBLog, before: dict[str, Any]) -> None:
    log.call("DeleteItem", Key=sequence_key(P))


def no_request(log: DynamoDBLog, before: dict[str, Any]) -> None:
    log.call("DeleteItem", Key=request_key(P, KEY, 0))


def wrong_counts(log: DynamoDBLog, before: dict[str, Any]) -> None:
    set_sequence(log, "creates", {"N": "3"})


def no_counts(log: DynamoDBLog, before: dict[str, Any]) -> None:
    log.call(
        "UpdateItem",
        Key=sequence_key(P),
        UpdateExpression="REMOVE entityTypes",
    )


def wrong_end_link(log: DynamoDBLog, before: dict[str, Any]) -> None:
    set_sequence(log, "chain", {"S": "x" * 22})


def marked_ghost(log: DynamoDBLog, before: dict[str, Any]) -> None:
    """The original backend could mark a change that did not exist, which left an item like this."""
    log.lose(P, 25)
    log.call(
        "UpdateItem",
        Key=change_key(P, 25),
        UpdateExpression="SET outdatedBy = :n",
        ExpressionAttributeValues={":n": {"N": "28"}},
    )


def everything_at_once(log: DynamoDBLog, before: dict[str, Any]) -> None:
    value_behind(21, 25)(log, before)
    lose(5)(log, before)
    no_sequence(log, before)


DAMAGES: dict[str, tuple[Callable[[DynamoDBLog, dict[str, Any]], None], set[str]]] = {
    "a hole": (lose(5), {"hole", "request"}),
    "half a transaction, every other change": (lose(22, 24, 26, 28), {"hole", "request"}),
    "half a transaction, the end": (lose(26, 27, 28, 29, 30), {"hole", "request"}),
    "half a transaction, the beginning": (lose(21, 22, 23), {"hole", "request"}),
    "value ahead": (lose(*range(21, 31)), {"hole", "request"}),
    "value behind": (value_behind(), {"value-behind"}),
    "value behind half a transaction": (value_behind(21, 25, 30), {"hole", "value-behind", "request"}),
    "a request without its changes": (request_alone, {"request"}),
    "no request": (no_request, {"no-request"}),
    "a request whose numbers others took": (request_for_others, {"request"}),
    "no sequence item": (no_sequence, {"no-sequence"}),
    "wrong counts": (wrong_counts, {"counts"}),
    "no counts": (no_counts, {"counts"}),
    "another link at the end": (wrong_end_link, {"end-link"}),
    "a ghost": (marked_ghost, {"not-a-change", "request"}),
    "everything at once": (everything_at_once, {"hole", "no-sequence", "request"}),
}
"""For each damage: the function that causes it, and the kinds of findings that the audit must report."""


def original_item(seq: int, **more: Any) -> dict[str, Any]:
    """Return a change as the original backend wrote it."""
    return {
        "pk": {"S": P},
        "seq": {"N": str(seq)},
        "entityType": {"S": "Document"},
        "operation": {"S": "update"},
        "changeAt": {"S": "2025-03-01T09:30:00.123456Z"},
        "entityId": {"S": f"doc-{seq}"},
        "dataJson": {"S": '{"title":"Ruth"}'},
        "cloudAt": {"S": "2025-03-01T09:31:00.654321Z"},
        **more,
    }


def fill_as_the_original(log: DynamoDBLog) -> None:
    """Fill a log as the original backend did: no format, holes, a ghost; the counter is the last assigned number."""
    log.open(P)
    for seq in (1, 2, 4, 5, 9):
        put(log, original_item(seq))
    put(log, {**change_key(P, 7), "outdatedBy": {"N": "9"}})
    put(log, {**sequence_key(P), "value": {"N": "11"}})
