"""The cost of statistics, projects, pages and appends on DynamoDB, for a short and a long log."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.storage import DynamoDBStorageService
from bench.support.context import PROJECT, median_ms, new_change
from bench.support.tables import Row, Table
from scripts import engines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bench.support.context import BenchContext

BATCH = 9_800
"""Changes of one call that fills a log: a hundred transactions."""
OPERATIONS: dict[str, Callable[[DynamoDBStorageService, int], object]] = {
    "statistics": lambda storage, _: storage.get_change_stats(project_id=PROJECT),
    "statistics by entity type": lambda storage, _: storage.get_entity_type_stats(project_id=PROJECT),
    "10 projects": lambda storage, _: storage.get_all_projects(),
    "a page of 5": lambda storage, cursor: storage.get_changes_with_cursor(cursor, 5, project_id=PROJECT),
    "an append": lambda storage, _: storage.create_changes([new_change()]),
}
"""By the cursor before the log's last changes."""


class CountingClient(DynamoDBClient):
    """A client that requests the consumed capacity of each call, and adds it up."""

    units = 0.0
    requests = 0

    def call(self, operation: str, payload: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        response = super().call(operation, {**payload, "ReturnConsumedCapacity": "TOTAL"}, **options)
        consumed = response.get("ConsumedCapacity", [])
        for one in consumed if isinstance(consumed, list) else [consumed]:
            self.units += one["CapacityUnits"]
        self.requests += 1
        return response


class Cost(NamedTuple):
    """The cost of one call of an operation."""

    ms: float
    units: float
    """Capacity units, as reported by the engine."""
    requests: int


def measure(context: BenchContext) -> list[Table]:
    """Measure each operation on two tables, each with a log of another length."""
    try:
        engine = engines.start(engines.DYNOXIDE)
    except engines.CannotRun as error:
        context.progress.begin(f"costs: left out; {error}")
        return []
    lengths = context.size.stored
    with ExitStack() as closing:
        closing.callback(engine.stop)
        cases: dict[str, Callable[[], Cost]] = {}
        logs = {length: _log(context, length, engine.url, closing) for length in lengths}
        for name in OPERATIONS:
            for length, (client, storage) in logs.items():
                operation = partial(OPERATIONS[name], storage, length - 5)
                cases[f"{name}, {length:,}"] = partial(_cost, client, operation, context.size.seconds / 2)
        found = context.rounds(cases)

    def table(title: str, unit: str, value: Callable[[Cost], float]) -> Table:
        rows = [
            Row(f"{name}, {length:,}", unit, [value(cost) for cost in found[f"{name}, {length:,}"]], base)
            for name in OPERATIONS
            for length in lengths
            for base in [f"{name}, {lengths[0]:,}"]
        ]
        return Table("", f"On DynamoDB, by the length of the log: {title}", rows)

    return [
        table("median latency, one at a time", "ms", lambda cost: cost.ms),
        table("capacity units", "", lambda cost: cost.units),
        table("requests", "", lambda cost: float(cost.requests)),
    ]


def _log(
    context: BenchContext, length: int, url: str, closing: ExitStack
) -> tuple[CountingClient, DynamoDBStorageService]:
    """Create a table with a log of this length, and with a few other projects."""
    client = CountingClient("us-east-1", partial(Credentials, "bench", "bench"), endpoint=url)
    closing.callback(client.close)
    storage = DynamoDBStorageService(f"bench-costs-{length}", use_local_dynamodb=True, client=client)
    closing.enter_context(storage)
    for start in range(0, length, BATCH):
        context.progress.step(f"a log of {length:,} changes: {start:,}")
        storage.create_changes([new_change()] * min(BATCH, length - start))
    storage.create_changes([new_change(f"{PROJECT}-{number}") for number in range(9)])
    return client, storage


def _cost(client: CountingClient, operation: Callable[[], object], seconds: float) -> Cost:
    operation()
    units, requests = client.units, client.requests
    operation()
    units, requests = client.units - units, client.requests - requests
    return Cost(median_ms(operation, seconds), units, requests)
