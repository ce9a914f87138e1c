"""The cost of DynamoDB calls for the client: PutItem, GetItem and Query of 100, compared with other clients."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import ExitStack
from functools import partial
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.sigv4 import Credentials, RequestSigner
from bench.support.context import BenchError
from bench.support.tables import Row, Table
from scripts import engines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.support.context import BenchContext

TABLE = "bench-calls"
REGION = "eu-west-1"
CREDENTIALS = Credentials("bench", "bench")
DATA = json.dumps({"title": "Famine in Bethlehem", "gloss": "In the days when the judges ruled", "seconds": 41.5})
ITEM = {"pk": {"S": "ruth"}, "seq": {"N": "1"}, "dataJson": {"S": DATA}}
KEY = {"pk": {"S": "ruth"}, "seq": {"N": "1"}}
PUT = {"TableName": TABLE, "Item": ITEM}
GET = {"TableName": TABLE, "Key": KEY}
QUERY = {
    "TableName": TABLE,
    "KeyConditionExpression": "pk = :p AND seq > :c",
    "ExpressionAttributeValues": {":p": {"S": "ruth"}, ":c": {"N": "0"}},
    "Limit": 100,
}
OPERATIONS: dict[str, dict[str, Any]] = {"PutItem": PUT, "GetItem": GET, "Query": QUERY}
FLOOR, OURS = "pre-signed raw loop", "ours"


class Cost(NamedTuple):
    """The cost of an operation."""

    cpu: float
    """Microseconds of the client's processor time."""
    rate: float
    """Operations a second."""
    calls: int
    """Calls of functions in Python and in C, counted by sys.setprofile."""


def measure(context: BenchContext) -> list[Table]:
    """Measure every client on the same engine, whose cost is the same for all."""
    try:
        engine = engines.start(engines.DYNOXIDE)
    except engines.CannotRun as error:
        context.progress.begin(f"dynamodb: left out; {error}")
        return []
    with ExitStack() as closing:
        closing.callback(engine.stop)
        fill(engine.url)
        clients = _clients(engine.url, closing)
        tables = []
        for operation in OPERATIONS:
            cases: dict[str, Callable[[], Cost]] = {
                name: partial(_cost, clients[name][operation], context.size.seconds, name) for name in clients
            }
            costs = context.rounds(cases)
            base = "boto3" if "boto3" in clients else FLOOR
            tables.append(
                Table(
                    f"dynamodb-{operation.lower()}",
                    f"{operation}: the client's processor time",
                    [Row(name, "µs", [cost.cpu for cost in found], base) for name, found in costs.items()],
                    ["Calls an operation (they repeat): " + ", ".join(f"{n} {c[0].calls:,}" for n, c in costs.items())],
                )
            )
            rates = [Row(name, "/s", [cost.rate for cost in found], base) for name, found in costs.items()]
            tables.append(Table("", f"{operation}: operations a second, one at a time", rates))
        return tables


def _cost(operation: Callable[[], object], seconds: float, name: str) -> Cost:
    for _ in range(3):
        operation()
    calls = count_calls(operation)
    end = perf_counter() + seconds
    done, used, begin = 0, process_time(), perf_counter()
    while perf_counter() < end:
        operation()
        done += 1
    if not done:
        raise BenchError(f"{name} did nothing in {seconds} seconds")
    return Cost((process_time() - used) / done * 1e6, done / (perf_counter() - begin), calls)


def count_calls(operation: Callable[[], object]) -> int:
    """Count the calls of one operation, in Python and in C, without those of the counting."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        operation()
    finally:
        sys.setprofile(None)
    return count - 2  # the operation itself, and setprofile


def fill(url: str) -> None:
    """Create the table and put 200 items into it."""
    client = DynamoDBClient(REGION, lambda: CREDENTIALS, endpoint=url)
    names = {"pk": "S", "seq": "N"}
    client.call(
        "CreateTable",
        {
            "TableName": TABLE,
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, kind in names.items()],
            "KeySchema": [
                {"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=True)
            ],
            "BillingMode": "PAY_PER_REQUEST",
        },
    )
    for seq in range(1, 201):
        client.call("PutItem", {"TableName": TABLE, "Item": {**ITEM, "seq": {"N": str(seq)}}})
    client.close()


Operations = dict[str, "Callable[[], object]"]


def _clients(url: str, closing: ExitStack) -> dict[str, Operations]:
    made = {FLOOR: _floor(url, closing), OURS: _ours(url, closing)}
    for name, make in (("boto3", _boto3), ("pynamodb", _pynamodb), *_aiodynamos()):
        try:
            made[name] = make(url, closing)
        except ModuleNotFoundError:
            continue  # `make bench` installs them; the test of the benches does not
    return made


def _floor(url: str, closing: ExitStack) -> Operations:
    """The minimum in Python: the bytes of a request that was signed once, a socket, and json.loads."""
    address = urlsplit(url)
    signer = RequestSigner(REGION, "dynamodb", address.netloc)
    connection = socket.create_connection((str(address.hostname), int(address.port or 80)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    closing.callback(connection.close)

    def ask(request: bytes) -> object:
        connection.sendall(request)
        received = connection.recv(262_144)
        head, _, body = received.partition(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(262_144)
        return json.loads(body)

    from time import time

    operations: Operations = {}
    for name, payload in OPERATIONS.items():
        body = json.dumps(payload).encode()
        head = signer.write_headers(CREDENTIALS, f"DynamoDB_20120810.{name}", body, time())
        operations[name] = partial(ask, head + body)
    return operations


def _ours(url: str, closing: ExitStack) -> Operations:
    client = DynamoDBClient(REGION, lambda: CREDENTIALS, endpoint=url)
    closing.callback(client.close)
    return {name: partial(client.call, name, payload) for name, payload in OPERATIONS.items()}


def _boto3(url: str, closing: ExitStack) -> Operations:
    import boto3  # type: ignore[import-not-found, import-untyped, unused-ignore]

    session = boto3.session.Session("bench", "bench", region_name=REGION)
    client = session.client("dynamodb", endpoint_url=url)
    closing.callback(client.close)
    calls = {"PutItem": client.put_item, "GetItem": client.get_item, "Query": client.query}
    return {name: partial(calls[name], **payload) for name, payload in OPERATIONS.items()}


def _pynamodb(url: str, closing: ExitStack) -> Operations:
    from pynamodb.connection import Connection  # type: ignore[import-not-found, unused-ignore]

    connection = Connection(region=REGION, host=url)
    connection.session.set_credentials("bench", "bench")
    closing.callback(connection.client.close)
    return {name: partial(connection.dispatch, name, payload) for name, payload in OPERATIONS.items()}


def _aiodynamos() -> Iterator[tuple[str, Callable[[str, ExitStack], Operations]]]:
    for library in ("httpx", "aiohttp"):
        yield f"aiodynamo + {library}", partial(_aiodynamo, library)


def _aiodynamo(library: str, url: str, closing: ExitStack) -> Operations:
    """Aiodynamo in its own event loop; each operation runs the loop until it is done."""
    from aiodynamo.client import Client  # type: ignore[import-not-found, unused-ignore]
    from aiodynamo.credentials import Key, StaticCredentials  # type: ignore[import-not-found, unused-ignore]
    from aiodynamo.expressions import HashKey, RangeKey  # type: ignore[import-not-found, unused-ignore]
    from yarl import URL  # type: ignore[import-not-found, unused-ignore]

    loop = asyncio.new_event_loop()

    async def make() -> Any:
        if library == "httpx":
            import httpx
            from aiodynamo.http.httpx import HTTPX  # type: ignore[import-not-found, unused-ignore]

            session: Any = httpx.AsyncClient()
            close, http = session.aclose, HTTPX(session)
        else:
            import aiohttp  # type: ignore[import-not-found, unused-ignore]
            from aiodynamo.http.aiohttp import AIOHTTP  # type: ignore[import-not-found, unused-ignore]

            session = aiohttp.ClientSession()
            close, http = session.close, AIOHTTP(session)
        return Client(http, StaticCredentials(Key("bench", "bench")), REGION, URL(url)), close

    client, close = loop.run_until_complete(make())
    closing.callback(loop.close)
    closing.callback(lambda: loop.run_until_complete(close()))
    item = {"pk": "ruth", "seq": 1, "dataJson": DATA}
    condition = HashKey("pk", "ruth") & RangeKey("seq").gt(0)

    async def query() -> None:
        async for _ in client.query(TABLE, condition, limit=100):
            pass

    return {
        "PutItem": lambda: loop.run_until_complete(client.put_item(TABLE, item)),
        "GetItem": lambda: loop.run_until_complete(client.get_item(TABLE, {"pk": "ruth", "seq": 1})),
        "Query": lambda: loop.run_until_complete(query()),
    }
