"""Responses that are not DynamoDB's: each member that is read, missing or of a wrong type, is one clear error."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.errors import DynamoDBError, NotDynamoDB, ServerFault, error_from_response
from aws_backend.dynamodb.responses import check_response as check_with
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.log.items import change_item
from aws_backend.log.schema import definition, has_table
from aws_backend.storage import DynamoDBStorageService
from sltt_core.base.errors import NotALog, StorageError, StorageUnavailable
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import BadResponse, HttpResponse, OutcomeUnknown
from sltt_core.model.changes import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ITEM = change_item(
    Change(
        "p",
        1,
        "t",
        "e",
        "create",
        "2025-03-01T09:30:00.000Z",
        "2025-03-01T09:30:00.000Z",
        "{}",
        None,
        None,
        None,
        "x" * 22,
    )
)
TABLE = {
    **definition("team"),
    "TableStatus": "ACTIVE",
    "Replicas": [{"RegionName": "us-east-1"}],
}
TABLE["GlobalSecondaryIndexes"] = [{**index, "IndexStatus": "ACTIVE"} for index in TABLE["GlobalSecondaryIndexes"]]
KEY = {"pk": ITEM["pk"], "seq": ITEM["seq"]}

SOUND: dict[str, dict[str, Any]] = {
    "Query": {"Items": [ITEM, ITEM, ITEM], "LastEvaluatedKey": KEY},
    "Scan": {"Items": [ITEM]},
    "GetItem": {"Item": ITEM},
    "UpdateItem": {"Attributes": ITEM},
    "BatchGetItem": {"Responses": {"team": [ITEM]}, "UnprocessedKeys": {"team": {"Keys": [KEY]}}},
    "TransactGetItems": {"Responses": [{"Item": ITEM}, {}]},
    "DescribeTable": {"Table": TABLE},
}
OPTIONAL = {"LastEvaluatedKey", "Item", "Attributes", "UnprocessedKeys", "Replicas", "GlobalSecondaryIndexes"}
"""Members that may be missing, or empty."""
NOT_READ = {"BillingMode", "TableName", "Projection", "ProjectionType"}
WRONG: list[Any] = [None, 7, 2.5, True, "text", [], {}, [7], ["text"], {"a": 7}, [[]], [None]]


def check_response(operation: str, response: Any) -> None:
    check_with(operation, response, has_table if operation == "DescribeTable" else None)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to each member of a document, at every depth."""
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in pairs:
        if name not in NOT_READ:
            yield (*path, name)
            yield from places(value, (*path, name))


def changed(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    document = copy.deepcopy(document)
    inside = document
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = value
    return document


def is_of_the_same_form(old: Any, new: Any, name: Any) -> bool:
    """Whether a wrong value is none: an empty list or map where there may be fewer members, nothing where it may be."""
    if type(new) is type(old):
        return isinstance(new, str) or not new
    return name in OPTIONAL and name in ("Replicas", "GlobalSecondaryIndexes") and not new


def is_unknown_member(path: tuple[Any, ...], new: Any) -> bool:
    """Whether a wrong value is only a member more, as a later version of DynamoDB may have."""
    return len(path) == 2 and path[0] == "Responses" and path[1] != "team" and isinstance(new, dict)


CASES = [
    (operation, path, wrong)
    for operation, sound in SOUND.items()
    for path in places(sound)
    if not (operation == "Query" and path[:2] == ("Items", 1) and len(path) > 3)  # of a page, the ends are looked at
    for wrong in WRONG
]


def value_at(document: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


@pytest.mark.parametrize("operation", SOUND)
def test_a_sound_response_is_accepted(operation: str) -> None:
    check_response(operation, SOUND[operation])
    for name in OPTIONAL & SOUND[operation].keys():
        check_response(operation, {key: value for key, value in SOUND[operation].items() if key != name})


def test_every_member_of_a_wrong_type_is_noticed() -> None:
    missed = []
    tried = 0
    for operation, path, wrong in CASES:
        old = value_at(SOUND[operation], path)
        if is_of_the_same_form(old, wrong, path[-1]) or is_unknown_member(path, wrong):
            continue
        tried += 1
        try:
            check_response(operation, changed(SOUND[operation], path, wrong))
            missed.append((operation, path, wrong))
        except NotDynamoDB:
            pass
    assert missed == []
    assert tried > 1000


@pytest.mark.parametrize(
    ("operation", "member"),
    [("Query", "Items"), ("Scan", "Items"), ("BatchGetItem", "Responses"), ("TransactGetItems", "Responses")],
)
def test_a_missing_member_is_noticed(operation: str, member: str) -> None:
    with pytest.raises(NotDynamoDB, match=operation):
        check_response(operation, {key: value for key, value in SOUND[operation].items() if key != member})
    with pytest.raises(NotDynamoDB):
        check_response("DescribeTable", {})


# Errors


HTML = b"<html>SENTINEL: please log in</html>"


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b'{"a":' * 100_000, HTML, b"", b"[]", b"7", b'{"__type": ["SENTINEL"]}', b'{"__type": 7}']
)
def test_an_error_that_is_not_dynamodbs(body: bytes) -> None:
    error = error_from_response(400, body)
    assert type(error) is NotDynamoDB
    assert isinstance(error, DynamoDBError)
    assert isinstance(error, BadResponse)
    assert error.code == "HTTP 400"
    assert type(error_from_response(503, body)) is ServerFault


@pytest.mark.parametrize("wrong", [7, "text", {"a": 1}, [7], [None], [[]], [{"Code": 7}], [{"Item": []}], True])
def test_reasons_that_are_not_dynamodbs(wrong: Any) -> None:
    body = {"__type": "x#TransactionCanceledException", "CancellationReasons": wrong}
    assert type(error_from_response(400, json.dumps(body).encode())) is NotDynamoDB


@pytest.mark.parametrize("wrong", [7, "text", [], [7], {"pk": 7}, {"pk": []}])
def test_an_item_of_a_failed_condition_that_is_not_dynamodbs(wrong: Any) -> None:
    body = {"__type": "x#ConditionalCheckFailedException", "Item": wrong}
    assert type(error_from_response(400, json.dumps(body).encode())) is NotDynamoDB


# Storages


class Server:
    """A transport to a server that responds to everything alike."""

    def __init__(self, status: int, body: bytes) -> None:
        self.response = HttpResponse(status, {}, body)
        self.count = 0

    def send(self, request: bytes, **_: Any) -> HttpResponse:
        self.count += 1
        return self.response

    def warm(self, deadline: float) -> None: ...

    def close(self) -> None: ...


def storage_at(server: Server, **options: Any) -> DynamoDBStorageService:
    runtime = Runtime(transport=lambda *_: server, pause=lambda _: None)
    fixed = Credentials("AKIDEXAMPLE", "secret")
    client = DynamoDBClient("eu-west-1", lambda: fixed, runtime=runtime)
    return DynamoDBStorageService("team", client=client, runtime=runtime, **options)


METHODS: dict[str, Callable[[DynamoDBStorageService], Any]] = {
    "page": lambda storage: storage.get_changes_with_cursor(project_id="p"),
    "projects": lambda storage: storage.get_all_projects(),
    "heads": lambda storage: storage.get_heads(["p"]),
    "mark": lambda storage: storage.mark_as_outdated(1, 2, project_id="p"),
    "change": lambda storage: storage.get_change(1, project_id="p"),
    "statistics": lambda storage: storage.get_change_stats(project_id="p"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("status", "body"), [(200, HTML), (200, b"[]"), (200, b"[" * 200_000), (403, HTML), (400, b"[" * 200_000)]
)
def test_a_response_of_something_else_is_one_error(method: str, status: int, body: bytes) -> None:
    storage = storage_at(Server(status, body), check_table=False)
    storage.initialize()
    with pytest.raises(StorageUnavailable) as caught:
        METHODS[method](storage)
    assert isinstance(caught.value.__cause__, (NotDynamoDB, OutcomeUnknown))
    assert "SENTINEL" not in caught.value.message
    storage.close()


@pytest.mark.parametrize("method", ["page", "projects", "heads"])
def test_an_empty_response_is_one_error(method: str) -> None:
    storage = storage_at(Server(200, b"{}"), check_table=False)
    storage.initialize()
    with pytest.raises(StorageUnavailable, match="the response is not DynamoDB's"):
        METHODS[method](storage)
    storage.close()


@pytest.mark.parametrize("body", [b"{}", HTML, b'{"Table": []}'])
def test_a_table_of_something_else_is_one_error(body: bytes) -> None:
    with pytest.raises(
        StorageError, match=r"the response at https://dynamodb\.eu-west-1\.amazonaws\.com is not DynamoDB's"
    ):
        storage_at(Server(200, body)).initialize()


# The table


def described(**changes: Any) -> Server:
    return Server(200, json.dumps({"Table": {**TABLE, "Replicas": [], **changes}}).encode())


REPLICAS = [{"RegionName": "us-east-1"}, {"RegionName": "eu-west-1"}]


def test_a_global_table_is_refused_unless_this_region_alone_writes() -> None:
    storage_at(described()).initialize()
    storage_at(described(Replicas=[{"RegionName": "eu-west-1"}])).initialize()
    for write_region in (None, "us-east-1"):
        with pytest.raises(StorageError, match="team is a global table, with replicas in us-east-1") as caught:
            storage_at(described(Replicas=REPLICAS), write_region=write_region).initialize()
        assert "DYNAMODB_WRITE_REGION=eu-west-1" in caught.value.hint
    storage_at(described(Replicas=REPLICAS), write_region="eu-west-1").initialize()
    with pytest.raises(StorageError, match="strong consistency"):
        storage_at(described(Replicas=REPLICAS, MultiRegionConsistency="STRONG"), write_region="eu-west-1").initialize()


def test_another_region_than_the_one_that_writes_is_refused() -> None:
    storage = DynamoDBStorageService("team", region="eu-west-1", write_region="us-east-1", check_table=False)
    with pytest.raises(StorageError, match="the region is eu-west-1, but the only region that writes is us-east-1"):
        storage.initialize()


@pytest.mark.parametrize("status", [{"IndexStatus": "CREATING"}, {"IndexStatus": "ACTIVE", "Backfilling": True}])
def test_an_index_that_is_being_created_is_reported_on_aws(status: dict[str, Any]) -> None:
    indexes = [{**index, **status} for index in TABLE["GlobalSecondaryIndexes"]]
    with pytest.raises(StorageError, match="the index projects of table team is not ready: its status is CREATING"):
        storage_at(described(GlobalSecondaryIndexes=indexes)).initialize()
    with pytest.raises(NotALog, match="has no index"):
        storage_at(described(GlobalSecondaryIndexes=None)).initialize()


def test_an_index_that_is_being_created_is_waited_for_locally() -> None:
    creating = [{**index, "IndexStatus": "CREATING"} for index in TABLE["GlobalSecondaryIndexes"]]
    server = described(GlobalSecondaryIndexes=creating)
    now = 0.0

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds
        if now > 1.0:
            server.response = described().response

    def storage() -> DynamoDBStorageService:
        runtime = Runtime(transport=lambda *_: server, pause=pause, steady_clock=lambda: now)
        return DynamoDBStorageService("team", use_local_dynamodb=True, runtime=runtime)

    storage().initialize()
    assert 1.0 < now < 2.0
    server.response = described(GlobalSecondaryIndexes=creating).response
    now = -1000.0
    with pytest.raises(StorageError, match="is ACTIVE, and its index projects is CREATING"):
        storage().initialize()
