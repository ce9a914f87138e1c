"""Kept connections to a real DynamoDB that are dead without a sign, behind a real TCP proxy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.function.settings import function_of
from aws_backend.storage import DynamoDBStorageService
from scripts.engines import DYNOXIDE
from sltt_core.base.runtime import SYSTEM, Runtime
from sltt_core.http_client.transport import HttpTransport, Origin, parse_origin
from tests.aws_backend.function.gateways import Invocation, Sent, received, url_event
from tests.aws_backend.logs import KEY, new_table
from tests.conftest import engine_url
from tests.contract.logs import batch, everything
from tests.sltt_core.http_client.peers import Tunnel, soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sltt_core.http_client.sockets import Connection
    from sltt_core.log.storage import BaseStorageService

WORKS: dict[str, Callable[[BaseStorageService], Any]] = {
    "append": lambda storage: storage.create_changes(batch(2), KEY),
    "append without a key": lambda storage: storage.create_changes(batch(2)),
    "mark": lambda storage: storage.mark_as_outdated(1, 2),
    "page": lambda storage: storage.get_changes_with_cursor(),
    "change": lambda storage: storage.get_change(1),
    "statistics": lambda storage: storage.get_change_stats(),
    "projects": lambda storage: storage.get_all_projects(),
    "heads": lambda storage: storage.get_heads(["p"]),
}
IDLE = 16


class Impatient(HttpTransport):
    """A transport with a short wait on a kept connection; each response on another one may take the usual time."""

    made: list[Impatient]

    def __init__(self, origin: Origin, seconds: float) -> None:
        super().__init__(origin, read_seconds=seconds, kept_seconds=0.1)
        self.made.append(self)
        self.opened = 0

    def _open(self, deadline: float) -> Connection:
        self.opened += 1
        return super()._open(deadline)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Impatient]:
    transports: list[Impatient] = []
    monkeypatch.setattr(Impatient, "made", transports, raising=False)
    return transports


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    with Tunnel(parse_origin(engine_url(DYNOXIDE))) as opened:
        yield opened


def keep_dead_connections(tunnel: Tunnel, transport: Impatient) -> int:
    """Fill the pool with connections, and let the proxy forget them all; return how many were opened so far."""
    transport._close_idle()
    ready = [transport._open(soon()) for _ in range(IDLE)]
    for connection in ready:
        transport._keep(connection)
    tunnel.freeze(transport.opened)
    return transport.opened


@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_dead_connections_cost_a_call_one_short_wait(
    tunnel: Tunnel, made: list[Impatient], work: Callable[[BaseStorageService], Any]
) -> None:
    url = f"http://127.0.0.1:{tunnel.origin.port}"
    runtime: Runtime = SYSTEM.replace(transport=Impatient)
    with DynamoDBStorageService(
        new_table(engine_url(DYNOXIDE)), "p", use_local_dynamodb=True, local_endpoint=url, runtime=runtime
    ) as storage:
        first = storage.create_changes(batch(2))
        before = keep_dead_connections(tunnel, made[-1])
        dead = [connection for connection, _ in made[-1]._idle]
        work(storage)
        assert made[-1].opened > before
        assert [connection.fileno() for connection in dead] == [-1] * IDLE
        changes = everything(storage)
        appended = 2 if work in (WORKS["append"], WORKS["append without a key"]) else 0
        assert [change.seq for change in changes] == list(range(1, len(first.seqs) + appended + 1))
        assert list(storage.verify()) == []


def test_a_lambda_function_responds_after_it_was_frozen(tunnel: Tunnel, made: list[Impatient]) -> None:
    environ = {
        "DYNAMODB_TABLE": new_table(engine_url(DYNOXIDE)),
        "DYNAMODB_ENDPOINT": f"http://127.0.0.1:{tunnel.origin.port}",
        "AWS_REGION": "eu-west-1",
    }
    handler = function_of(environ, runtime=SYSTEM.replace(transport=Impatient))
    body = b'{"projectId":"p","entityType":"t","entityId":"e","data":{}}'
    sent = Sent("POST", "/api/changes", body, {"content-type": "application/json", "idempotency-key": KEY})
    for number in range(3):
        keep_dead_connections(tunnel, made[-1])
        got = received(handler(url_event(sent), Invocation(10_000)))
        assert (got.status, json.loads(got.body)["createdSeqs"]) == (200, [1]), number
    made[-1].close()  # a function is never closed
