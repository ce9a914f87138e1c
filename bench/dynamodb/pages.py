"""A page of 1,000 changes from DynamoDB's reply to the HTTP body, compared with only parsing that reply."""

from __future__ import annotations

import json
from contextlib import ExitStack
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.storage import DynamoDBStorageService
from bench.support.context import PROJECT, BenchError, new_change
from bench.support.stats import quantile
from bench.support.tables import Row, Table
from scripts import engines
from sltt_core.api.app import Api
from sltt_core.api.http import Request
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import HttpResponse, HttpTransport, parse_origin

if TYPE_CHECKING:
    from bench.support.context import BenchContext

TABLE = "bench-pages"
LIMIT = 1000
PARSED, WRITTEN, ASKED = "json.loads of the reply", "reply to body", "request to body"


class ReplayTransport(HttpTransport):
    """A transport that records the last reply, and returns it again without a request in replay mode."""

    response: HttpResponse | None = None
    replays = False
    replied = 0.0
    """The time of its last reply, in seconds of processor time."""

    def send(
        self, request: bytes, *, deadline: float, repeatable: bool = False, wait_seconds: float = 0.0
    ) -> HttpResponse:
        if not self.replays or self.response is None:
            self.response = super().send(request, deadline=deadline, repeatable=repeatable, wait_seconds=wait_seconds)
        self.replied = process_time()
        return self.response


def measure(context: BenchContext) -> list[Table]:
    """Record a reply of an engine once, and alternate between creating a page of it and parsing it."""
    try:
        engine = engines.start(engines.DYNOXIDE)
    except engines.CannotRun as error:
        context.progress.begin(f"pages: left out; {error}")
        return []
    with ExitStack() as closing:
        closing.callback(engine.stop)
        credentials = Credentials("bench", "bench")
        transport = ReplayTransport(parse_origin(engine.url))
        client = DynamoDBClient(
            "us-east-1",
            lambda: credentials,
            endpoint=engine.url,
            runtime=Runtime(transport=lambda origin, seconds: transport),
        )
        closing.callback(client.close)
        storage = closing.enter_context(DynamoDBStorageService(TABLE, use_local_dynamodb=True, client=client))
        storage.create_changes([new_change()] * (LIMIT + 100))
        api = Api(storage)
        request = Request("GET", f"/api/projects/{PROJECT}/changes", f"limit={LIMIT}")
        body = api.handle(request).content
        if json.loads(body)["count"] != LIMIT or transport.response is None:
            raise BenchError(f"the response to the page was {body[:300].decode()}")
        response = transport.response.body
        transport.replays = True
        found = context.rounds({"page": lambda: _round(api, request, transport, response, context.size.seconds)})[
            "page"
        ]
    rows = [Row(name, "ms", [costs[name] for costs in found], PARSED) for name in (PARSED, WRITTEN, ASKED)]
    notes = [
        f"Processor time, by turns. Response: {len(response):,} bytes, as the engine sent it; body: {len(body):,}.",
        "Reply to body: checksum, parsing, the run without a gap, the text, its encoding, headers. Request to body: "
        "with routing and signing before.",
    ]
    return [Table("pages", "A page of 1,000 changes, from DynamoDB's reply to the HTTP body", rows, notes)]


def _round(api: Api, request: Request, transport: ReplayTransport, response: bytes, seconds: float) -> dict[str, float]:
    taken: dict[str, list[float]] = {PARSED: [], WRITTEN: [], ASKED: []}
    end = perf_counter() + seconds
    while not taken[PARSED] or perf_counter() < end:
        begin = process_time()
        json.loads(response)
        taken[PARSED].append(process_time() - begin)
        begin = process_time()
        api.handle(request)
        now = process_time()
        taken[ASKED].append(now - begin)
        taken[WRITTEN].append(now - transport.replied)
    return {name: quantile(values, 0.5) * 1000 for name, values in taken.items()}
