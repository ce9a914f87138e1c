"""The table is created on a local DynamoDB only and checked everywhere; on real engines, and on simulated slow ones."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.errors import TableNotFound
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.log.schema import INDEX_KEYS, KEYS, READY_SECONDS, definition
from aws_backend.log.table import INDEX
from aws_backend.storage import DynamoDBStorageService
from scripts.engines import DYNOXIDE, free_port
from sltt_core.base.errors import NotALog, SlttError, StorageError
from sltt_core.base.runtime import Runtime
from tests.conftest import engine_url
from tests.contract.logs import batch
from tests.sltt_core.http_client.peers import Peer, response
from tests.together import run_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.sltt_core.http_client.peers import Line

LOCAL = Credentials("local", "local")


@pytest.fixture
def client(dynamodb_url: str) -> Iterator[DynamoDBClient]:
    created = DynamoDBClient("us-east-1", lambda: LOCAL, endpoint=dynamodb_url)
    yield created
    created.close()


@pytest.fixture
def name(client: DynamoDBClient) -> Iterator[str]:
    """The name of a table that does not exist yet; the table is deleted after the test."""
    created = f"table-{uuid4().hex}"
    yield created
    try:
        client.call("DeleteTable", {"TableName": created})
    except TableNotFound:
        pass


def local(name: str, at: DynamoDBClient, **options: Any) -> DynamoDBStorageService:
    """Return a storage on a local DynamoDB; with a client of its own unless `options` has one."""
    return DynamoDBStorageService(name, use_local_dynamodb=True, local_endpoint=at.endpoint, **options)


def on_aws(name: str, client: DynamoDBClient, **options: Any) -> DynamoDBStorageService:
    """Return a storage that treats a local engine like AWS."""
    return DynamoDBStorageService(name, client=client, **options)


def describe(client: DynamoDBClient, name: str) -> dict[str, Any]:
    found: dict[str, Any] = client.call("DescribeTable", {"TableName": name})["Table"]
    return found


def keys(found: Mapping[str, Any]) -> dict[str, str]:
    return {entry["AttributeName"]: entry["KeyType"] for entry in found["KeySchema"]}


# On a local DynamoDB


def test_a_missing_table_is_created_with_its_index(client: DynamoDBClient, name: str) -> None:
    with local(name, client) as storage:
        assert storage.get_all_projects().projects == ()
    found = describe(client, name)
    assert found["TableStatus"] == "ACTIVE"
    assert keys(found) == KEYS
    [index] = found["GlobalSecondaryIndexes"]
    assert (index["IndexName"], keys(index), index["Projection"]) == (
        INDEX,
        INDEX_KEYS,
        {"ProjectionType": "KEYS_ONLY"},
    )
    assert found["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_an_existing_table_is_used_unchanged(client: DynamoDBClient, name: str) -> None:
    with local(name, client) as storage:
        storage.create_changes(batch(3))
    created = describe(client, name)["CreationDateTime"]
    with local(name, client) as again:
        assert again.get_head(project_id="p").seq == 3
    assert describe(client, name)["CreationDateTime"] == created


def test_threads_that_open_a_storage_at_once_create_one_table(client: DynamoDBClient, name: str) -> None:
    start = Barrier(8)

    def append(number: int) -> int:
        with local(name, client, project_id=f"p{number}") as storage:
            start.wait()
            return storage.create_changes(batch(1, None)).seqs[0]

    def open_and_append(number: int) -> int:
        start.wait()
        return append(number)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_and_append, range(8))) == [1] * 8


OPENER = """
import sys
from aws_backend.storage import DynamoDBStorageService
name, endpoint = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
with DynamoDBStorageService(name, use_local_dynamodb=True, local_endpoint=endpoint) as storage:
    print(len(storage.get_all_projects().projects))
"""


def test_processes_that_open_a_storage_at_once_create_one_table(client: DynamoDBClient, name: str) -> None:
    assert run_together(OPENER, name, client.endpoint) == ["0\n"] * 3


# States of a table that local engines never report


class Scripted(DynamoDBClient):
    """A client of an engine. Its `DescribeTable` first returns what the script contains, then the engine's response."""

    def __init__(self, endpoint: str, script: list[dict[str, Any] | SlttError]) -> None:
        super().__init__("us-east-1", lambda: LOCAL, endpoint=endpoint)
        self.script = script
        self.calls: list[str] = []

    def call(self, operation: str, payload: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        self.calls.append(operation)
        if operation == "DescribeTable" and self.script:
            step = self.script.pop(0)
            if isinstance(step, SlttError):
                raise step
            return {"Table": {**super().call(operation, payload, **options)["Table"], **step}}
        return super().call(operation, payload, **options)


CREATING: dict[str, Any] = {"TableStatus": "CREATING"}


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    created: list[Scripted] = []

    def make(*script: dict[str, Any] | SlttError) -> Scripted:
        created.append(Scripted(engine_url(DYNOXIDE), list(script)))
        return created[-1]

    yield make
    for client in created:
        client.close()


@pytest.fixture
def slow_table() -> str:
    """A table on one engine; these tests simulate the states, so one engine is enough."""
    created = f"table-{uuid4().hex}"
    client = DynamoDBClient("us-east-1", lambda: LOCAL, endpoint=engine_url(DYNOXIDE))
    client.call("CreateTable", definition(created))
    client.close()
    return created


def test_initialize_waits_for_a_table_that_is_being_created(slow_table: str, scripted: Callable[..., Scripted]) -> None:
    client = scripted(*[CREATING] * 4)
    now = 0.0

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    storage = local(slow_table, client, client=client, runtime=Runtime(steady_clock=lambda: now, pause=pause))
    storage.initialize()
    assert client.calls == ["DescribeTable"] * 5
    assert now > 0


def test_initialize_waits_for_a_table_that_another_process_creates(
    slow_table: str, scripted: Callable[..., Scripted]
) -> None:
    client = scripted(TableNotFound("the table does not exist"), CREATING)
    local(slow_table, client, client=client, runtime=Runtime(pause=lambda seconds: None)).initialize()
    assert client.calls == ["DescribeTable", "CreateTable", "DescribeTable", "DescribeTable"]


def test_a_table_that_never_becomes_active_is_reported(slow_table: str, scripted: Callable[..., Scripted]) -> None:
    client = scripted(*[CREATING] * 10_000)
    now = 0.0

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    with pytest.raises(StorageError, match="does not become active: its status is CREATING"):
        local(slow_table, client, client=client, runtime=Runtime(steady_clock=lambda: now, pause=pause)).initialize()
    assert READY_SECONDS <= now < READY_SECONDS + 1


@pytest.mark.parametrize("status", ["CREATING", "DELETING", "INACCESSIBLE_ENCRYPTION_CREDENTIALS", "ARCHIVED"])
def test_on_aws_a_table_that_is_not_ready_is_reported(
    slow_table: str, scripted: Callable[..., Scripted], status: str
) -> None:
    client = scripted({"TableStatus": status})
    with pytest.raises(StorageError, match=f"not ready: its status is {status}"):
        on_aws(slow_table, client).initialize()


def test_on_aws_a_table_whose_index_is_being_created_is_used(
    slow_table: str, scripted: Callable[..., Scripted]
) -> None:
    client = scripted({"TableStatus": "UPDATING"})
    with on_aws(slow_table, client) as storage:
        assert storage.create_changes(batch(1)).seqs == (1,)


# On AWS


def test_on_aws_a_missing_table_is_not_created(client: DynamoDBClient, name: str) -> None:
    with pytest.raises(StorageError, match=f"table {name} does not exist in us-east-1") as caught:
        on_aws(name, client).initialize()
    assert "DYNAMODB_REGION" in caught.value.hint
    assert "docs/table.md" in caught.value.hint
    with pytest.raises(TableNotFound):
        describe(client, name)


def test_on_aws_an_existing_table_is_used(client: DynamoDBClient, name: str) -> None:
    client.call("CreateTable", definition(name))
    with on_aws(name, client) as storage:
        assert storage.create_changes(batch(2)).seqs == (1, 2)
        assert storage.place == "in us-east-1"


def test_without_the_check_of_the_table_no_call_is_sent(slow_table: str, scripted: Callable[..., Scripted]) -> None:
    client = scripted()
    on_aws(slow_table, client, check_table=False).initialize()
    local(slow_table, client, client=client, check_table=False).initialize()
    assert client.calls == []


@pytest.mark.parametrize("region", ["eu west", "eu.west", "", "é", "a\r\nb"])
def test_an_invalid_region_is_reported(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", region)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(StorageError, match=r"no AWS region is set|AWS region .* is not valid") as caught:
        DynamoDBStorageService("team").initialize()
    assert "AWS_REGION" in caught.value.hint


# Tables with another schema


def without_index(name: str) -> dict[str, Any]:
    created = definition(name)
    del created["GlobalSecondaryIndexes"]
    created["AttributeDefinitions"] = created["AttributeDefinitions"][:2]
    return created


def with_index(name: str, hash_key: str, range_key: str | None) -> dict[str, Any]:
    created = definition(name)
    schema = [{"AttributeName": hash_key, "KeyType": "HASH"}]
    if range_key is not None:
        schema.append({"AttributeName": range_key, "KeyType": "RANGE"})
    created["GlobalSecondaryIndexes"][0]["KeySchema"] = schema
    used = {"pk", "seq", hash_key, range_key}
    created["AttributeDefinitions"] = [a for a in created["AttributeDefinitions"] if a["AttributeName"] in used]
    return created


def with_keys(name: str, *wanted: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": kind} for key, kind, _ in wanted],
        "KeySchema": [{"AttributeName": key, "KeyType": role} for key, _, role in wanted],
        "BillingMode": "PAY_PER_REQUEST",
    }


KEY = r"has the key {}; a table of logs has pk \(S\) and seq \(N\)"
FOREIGN = {
    "one key": (lambda name: with_keys(name, ("id", "S", "HASH")), KEY.format(r"id \(S\)")),
    "no sort key": (lambda name: with_keys(name, ("pk", "S", "HASH")), KEY.format(r"pk \(S\)")),
    "a number as text": (
        lambda name: with_keys(name, ("pk", "S", "HASH"), ("seq", "S", "RANGE")),
        KEY.format(r"pk \(S\), seq \(S\)"),
    ),
    "swapped keys": (
        lambda name: with_keys(name, ("seq", "N", "HASH"), ("pk", "S", "RANGE")),
        KEY.format(r"seq \(N\), pk \(S\)"),
    ),
    "no index": (without_index, "has no index 'projects'"),
    "swapped keys of the index": (lambda name: with_index(name, "projectId", "registry"), "has no index 'projects'"),
    "an index without a sort key": (lambda name: with_index(name, "registry", None), "has no index 'projects'"),
}


@pytest.mark.parametrize("make", [local, on_aws])
@pytest.mark.parametrize(("schema", "message"), FOREIGN.values(), ids=FOREIGN)
def test_a_table_with_another_schema_is_refused_and_not_altered(
    client: DynamoDBClient, name: str, schema: Any, message: str, make: Any
) -> None:
    client.call("CreateTable", schema(name))
    before = json.dumps(describe(client, name), sort_keys=True)
    for _ in range(2):  # a second attempt gets the same error
        with pytest.raises(NotALog, match=message) as caught:
            make(name, client).initialize()
        assert caught.value.hint
    assert json.dumps(describe(client, name), sort_keys=True) == before


def test_a_table_works_after_its_index_is_added(client: DynamoDBClient, name: str) -> None:
    client.call("CreateTable", without_index(name))
    whole = definition(name)
    client.call(
        "UpdateTable",
        {
            "TableName": name,
            "AttributeDefinitions": whole["AttributeDefinitions"],
            "GlobalSecondaryIndexUpdates": [{"Create": index} for index in whole["GlobalSecondaryIndexes"]],
        },
    )
    with local(name, client) as storage:
        storage.create_changes(batch(1))
        assert storage.get_all_projects().projects == ("p",)


# Endpoints that are not a local DynamoDB


def test_an_endpoint_without_a_server_is_reported_at_once() -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    pauses: list[float] = []
    client = DynamoDBClient("us-east-1", lambda: LOCAL, endpoint=endpoint, runtime=Runtime(pause=pauses.append))
    with pytest.raises(StorageError, match=f"DynamoDB does not respond at {endpoint}") as caught:
        local("team", client, client=client).initialize()
    assert "make dynamodb" in caught.value.hint
    assert "DYNAMODB_ENDPOINT" in caught.value.hint
    assert pauses == []


def responding(status: str, body: bytes) -> Any:
    def serve(line: Line) -> None:
        while line.read_request():
            line.send(response(body, status=status))

    return serve


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (responding("404 Not Found", b"<html>"), "does not respond as DynamoDB: HTTP 404"),
        (responding("200 OK", b"<html>"), "DynamoDB does not respond at"),
        (
            responding(
                "400 Bad Request", b'{"__type":"x#UnrecognizedClientException","message":"arn:aws:iam::1:user/x"}'
            ),
            "requires real credentials",
        ),
    ],
    ids=["another server", "a page", "aws"],
)
def test_an_endpoint_of_another_server_is_reported(script: Any, message: str) -> None:
    with Peer(script) as peer:
        endpoint = f"http://127.0.0.1:{peer.origin.port}"
        client = DynamoDBClient(
            "us-east-1", lambda: LOCAL, endpoint=endpoint, runtime=Runtime(pause=lambda seconds: None)
        )
        with pytest.raises(StorageError, match=message) as caught:
            local("team", client, client=client).initialize()
        client.close()
    assert "DYNAMODB_ENDPOINT" in caught.value.hint
    assert "arn:" not in caught.value.message
