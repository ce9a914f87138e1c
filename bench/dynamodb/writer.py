"""A process that writes to a log on DynamoDB, or reads it; `contention.py` gives it orders.

Run as `python -m bench.dynamodb.writer URL TABLE`; it reads orders from stdin and writes responses to stdout, a
line of JSON each. An order can delay every request, by half of the time before it and half after it. The way of the
original storage: it increments a counter, then puts the change under the number; its reader continues after the last
number that it got.
"""

from __future__ import annotations

import json
import select
import sys
import time
from threading import Thread
from typing import TYPE_CHECKING, Any

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.storage import DynamoDBStorageService
from bench.support.context import DATA, new_change
from sltt_core.base.errors import TooManyWriters
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import HttpResponse, HttpTransport, parse_origin

if TYPE_CHECKING:
    from collections.abc import Callable

REGION = "us-east-1"
CREDENTIALS = Credentials("bench", "bench")
LIMIT = 1000
DATA_JSON = json.dumps(DATA)


class FarTransport(HttpTransport):
    """A transport that delays requests and counts them."""

    seconds = 0.0
    transactions = 0

    def send(
        self, request: bytes, *, deadline: float, repeatable: bool = False, wait_seconds: float = 0.0
    ) -> HttpResponse:
        self.transactions += b".TransactWriteItems\r\n" in request[:400]
        self._travel()
        response = super().send(request, deadline=deadline, repeatable=repeatable, wait_seconds=wait_seconds)
        self._travel()
        return response

    def _travel(self) -> None:
        if self.seconds:
            time.sleep(self.seconds / 2)


class Writer:
    """The orders on a table."""

    def __init__(self, url: str, table: str) -> None:
        self._transport = FarTransport(parse_origin(url), max_idle=64)
        self._client = DynamoDBClient(
            REGION,
            lambda: CREDENTIALS,
            endpoint=url,
            runtime=Runtime(transport=lambda origin, seconds: self._transport),
        )
        self._table = table
        self._storage = DynamoDBStorageService(table, use_local_dynamodb=True, client=self._client)
        self._storage.initialize()

    def write(
        self, way: str, project: str, delay: float, threads: int, begin: float, seconds: float
    ) -> dict[str, object]:
        """Let each thread append changes one after the other, from a given time for a given duration."""
        append = {"ours": self._append, "original": self._append_as_original}[way]
        self._transport.seconds, self._transport.transactions = delay, 0
        taken: list[list[float]] = [[] for _ in range(threads)]
        refused: list[int] = []

        def work(mine: list[float]) -> None:
            time.sleep(max(0.0, begin - time.monotonic()))
            while not mine or time.monotonic() < begin + seconds:
                start = time.monotonic()
                try:
                    append(project)
                except TooManyWriters:
                    refused.append(1)
                mine.append((time.monotonic() - start) * 1000)

        workers = [Thread(target=work, args=(mine,)) for mine in taken]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return {
            "taken": taken,
            "refused": len(refused),
            "attempts": self._transport.transactions,
            "end": time.monotonic(),
        }

    def read(self, way: str, project: str, delay: float) -> list[int]:
        """Follow a log until the next order has come and no more is found; return the numbers that were read."""
        page = {"ours": self._page, "original": self._page_of_original}[way]
        self._transport.seconds = delay
        cursor, seen = 0, []
        while True:
            last = bool(select.select([0], [], [], 0)[0])
            found = page(project, cursor)
            seen += found
            if found:
                cursor = found[-1]
            elif last:
                return seen

    def _append(self, project: str) -> None:
        self._storage.create_changes([new_change(project)])

    def _page(self, project: str, cursor: int) -> list[int]:
        page = self._storage.get_changes_with_cursor(cursor, LIMIT, project_id=project)
        return [change.seq for change in page.changes]

    def _append_as_original(self, project: str) -> None:
        counted = self._client.call(
            "UpdateItem",
            {
                "TableName": self._table,
                "Key": {"pk": {"S": f"SEQUENCE#{project}"}, "seq": {"N": "0"}},
                "UpdateExpression": "ADD #value :one",
                "ExpressionAttributeNames": {"#value": "value"},
                "ExpressionAttributeValues": {":one": {"N": "1"}},
                "ReturnValues": "UPDATED_NEW",
            },
        )
        item = {
            "pk": {"S": project},
            "seq": counted["Attributes"]["value"],
            "entityType": {"S": "passage"},
            "entityId": {"S": "ruth-1"},
            "operation": {"S": "update"},
            "dataJson": {"S": DATA_JSON},
        }
        self._client.call("PutItem", {"TableName": self._table, "Item": item})

    def _page_of_original(self, project: str, cursor: int) -> list[int]:
        payload = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND seq > :cursor",
            "ExpressionAttributeValues": {":pk": {"S": project}, ":cursor": {"N": str(cursor)}},
            "Limit": LIMIT,
        }
        return [int(item["seq"]["N"]) for item in self._client.call("Query", payload)["Items"]]


def main() -> None:
    """Execute orders until the end of stdin."""
    writer = Writer(sys.argv[1], sys.argv[2])
    do: dict[str, Callable[..., object]] = {"write": writer.write, "read": writer.read}
    print(json.dumps("ready"), flush=True)
    with open(0, "rb", buffering=0) as orders:  # unbuffered, so that `select` shows whether another order waits
        while line := orders.readline():
            order: dict[str, Any] = json.loads(line)
            name = order.pop("do")
            if name in do:
                print(json.dumps(do[name](**order)), flush=True)


if __name__ == "__main__":
    main()
