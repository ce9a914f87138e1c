"""`DynamoDBClient`: with real engines, and with a transport that fails on demand."""

from __future__ import annotations

import json
from binascii import crc32
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb import client as client_module
from aws_backend.dynamodb.client import CALL_SECONDS, DynamoDBClient, default_endpoint
from aws_backend.dynamodb.errors import (
    ClockSkewed,
    ConditionFailed,
    InvalidRequest,
    ServerFault,
    TableInUse,
    TableNotFound,
    Throttled,
    TransactionCanceled,
    TransactionInProgress,
)
from aws_backend.dynamodb.retry import MAX_ATTEMPTS
from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.base.errors import SlttError
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import BadResponse, ConnectFailed, HttpResponse, OutcomeUnknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "wJalrXUtnFEMI-SENTINEL-SECRET"
CREDENTIALS = Credentials("AKIDLOCAL", SECRET)
NOW = 1_740_821_400.0


# Real engines


@pytest.fixture
def client(dynamodb_url: str) -> Iterator[DynamoDBClient]:
    created = DynamoDBClient("eu-west-1", lambda: CREDENTIALS, endpoint=dynamodb_url)
    yield created
    created.close()


@pytest.fixture
def table(client: DynamoDBClient, request: pytest.FixtureRequest) -> str:
    name = f"t-{abs(hash(request.node.nodeid)):x}"
    client.call(
        "CreateTable",
        {
            "TableName": name,
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "seq", "AttributeType": "N"},
            ],
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "seq", "KeyType": "RANGE"},
            ],
            "BillingMode": "PAY_PER_REQUEST",
        },
    )
    return name


def put(client: DynamoDBClient, table: str, seq: int, text: str = "x", **more: Any) -> dict[str, Any]:
    item = {"pk": {"S": "p"}, "seq": {"N": str(seq)}, "text": {"S": text}}
    return client.call("PutItem", {"TableName": table, "Item": item, **more})


def test_an_item_is_stored_and_read_unchanged(client: DynamoDBClient, table: str) -> None:
    text = 'é🤟 "quoted" \\ \u2028\n' + "x" * 100_000
    put(client, table, 1, text)
    found = client.call("GetItem", {"TableName": table, "Key": {"pk": {"S": "p"}, "seq": {"N": "1"}}})
    assert found["Item"]["text"] == {"S": text}


def test_a_query_returns_the_stored_items(client: DynamoDBClient, table: str) -> None:
    for seq in range(1, 31):
        put(client, table, seq)
    query = {
        "TableName": table,
        "KeyConditionExpression": "pk = :p AND seq > :cursor",
        "ExpressionAttributeValues": {":p": {"S": "p"}, ":cursor": {"N": "10"}},
        "Limit": 15,
    }
    page = client.call("Query", query)
    assert [int(item["seq"]["N"]) for item in page["Items"]] == list(range(11, 26))
    assert page["LastEvaluatedKey"] == {"pk": {"S": "p"}, "seq": {"N": "25"}}


def test_a_failed_condition_returns_the_item(client: DynamoDBClient, table: str) -> None:
    put(client, table, 1, "first")
    with pytest.raises(ConditionFailed) as caught:
        put(
            client,
            table,
            1,
            "second",
            ConditionExpression="attribute_not_exists(pk)",
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    assert caught.value.item is not None
    assert caught.value.item["text"] == {"S": "first"}


def test_a_canceled_transaction_has_its_reasons(client: DynamoDBClient, table: str) -> None:
    put(client, table, 1)
    puts = [
        {
            "Put": {
                "TableName": table,
                "Item": {"pk": {"S": "p"}, "seq": {"N": seq}},
                "ConditionExpression": "attribute_not_exists(pk)",
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }
        for seq in ("2", "1")
    ]
    with pytest.raises(TransactionCanceled) as caught:
        client.call("TransactWriteItems", {"TransactItems": puts, "ClientRequestToken": "token-1"})
    assert [reason["Code"] for reason in caught.value.reasons] == ["None", "ConditionalCheckFailed"]
    assert caught.value.reasons[1]["Item"]["text"] == {"S": "x"}


def test_errors_of_dynamodb_have_their_classes(client: DynamoDBClient, table: str) -> None:
    with pytest.raises(TableNotFound):
        client.call("DescribeTable", {"TableName": "nowhere"})
    with pytest.raises(InvalidRequest):
        client.call("GetItem", {"TableName": table, "Key": {"pk": {"S": "p"}}})
    with pytest.raises(TableInUse):
        client.call(
            "CreateTable",
            {
                "TableName": table,
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "BillingMode": "PAY_PER_REQUEST",
            },
        )


def test_threads_can_share_a_client(client: DynamoDBClient, table: str) -> None:
    def work(writer: int) -> list[str]:
        for number in range(20):
            put(client, table, writer * 100 + number, f"{writer}-{number}")
        keys = [{"pk": {"S": "p"}, "seq": {"N": str(writer * 100 + number)}} for number in range(20)]
        return [client.call("GetItem", {"TableName": table, "Key": key})["Item"]["text"]["S"] for key in keys]

    with ThreadPoolExecutor(8) as threads:
        for writer, texts in enumerate(threads.map(work, range(8))):
            assert texts == [f"{writer}-{number}" for number in range(20)]


def test_a_connection_can_be_opened_before_the_first_call(client: DynamoDBClient) -> None:
    client.warm()
    assert client.call("ListTables", {})["TableNames"] is not None


# Faults


class Script:
    """A transport with scripted steps: responses to return and errors to raise."""

    def __init__(self, *steps: HttpResponse | SlttError) -> None:
        self.steps = list(steps)
        self.requests: list[bytes] = []
        self.repeatable: list[bool] = []

    def send(self, request: bytes, *, deadline: float, repeatable: bool = False) -> HttpResponse:
        self.requests.append(request)
        self.repeatable.append(repeatable)
        step = self.steps.pop(0)
        if isinstance(step, SlttError):
            raise step
        return step


def response(body: bytes = b"{}", status: int = 200, **headers: str) -> HttpResponse:
    return HttpResponse(status, {"x-amz-crc32": str(crc32(body)), **headers}, body)


def fault(code: str, status: int = 400, message: str = "", **headers: str) -> HttpResponse:
    return response(json.dumps({"__type": f"x#{code}", "message": message}).encode(), status, **headers)


class Scene:
    """A client with a scripted transport, and a clock that advances only when the client waits."""

    def __init__(self, *steps: HttpResponse | SlttError, random: Callable[[], float] = lambda: 0.5) -> None:
        self.script = Script(*steps)
        self.waits: list[float] = []
        self.time = 0.0
        self.client = DynamoDBClient(
            "eu-west-1",
            lambda: CREDENTIALS,
            endpoint="http://127.0.0.1:8000",
            runtime=Runtime(
                transport=lambda origin, seconds: self.script,
                clock=lambda: int((NOW + self.time) * 1e9),
                steady_clock=lambda: self.time,
                pause=self.pause,
                random=random,
            ),
        )

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


WRITE = ("PutItem", {"TableName": "t"})
READ = ("GetItem", {"TableName": "t"})
TRANSACTION = ("TransactWriteItems", {"ClientRequestToken": "t-1"})
NOT_CARRIED_OUT = [fault("ThrottlingException"), fault("TransactionConflictException"), ConnectFailed("no")]
MAYBE_CARRIED_OUT = [
    fault("InternalServerError", 500),
    fault("ServiceUnavailable", 503),
    OutcomeUnknown("cut"),
    BadResponse("odd"),
    response(b"{}").replace(headers={"x-amz-crc32": "1"}),
    response(b"{"),
]


@pytest.mark.parametrize("step", [*NOT_CARRIED_OUT, *MAYBE_CARRIED_OUT])
@pytest.mark.parametrize("call", [READ, TRANSACTION])
def test_repeatable_calls_are_retried(step: HttpResponse | SlttError, call: tuple[str, dict[str, Any]]) -> None:
    scene = Scene(step, step, response(b'{"ok":1}'))
    assert scene.client.call(*call) == {"ok": 1}
    assert len(scene.script.requests) == 3
    assert len(scene.waits) == 2
    assert 0 < scene.waits[0] < scene.waits[1]
    assert all(scene.script.repeatable)


@pytest.mark.parametrize("step", NOT_CARRIED_OUT)
def test_a_write_that_was_not_carried_out_is_retried(step: HttpResponse | SlttError) -> None:
    scene = Scene(step, response())
    assert scene.client.call(*WRITE) == {}
    assert scene.script.repeatable == [False, False]


@pytest.mark.parametrize("step", MAYBE_CARRIED_OUT)
def test_a_write_that_may_have_been_carried_out_is_not_retried(step: HttpResponse | SlttError) -> None:
    scene = Scene(step, response())
    with pytest.raises(OutcomeUnknown):
        scene.client.call(*WRITE)
    assert len(scene.script.requests) == 1
    scene = Scene(step, response(b'{"ok":1}'))
    assert scene.client.call(*WRITE, repeatable=True) == {"ok": 1}


@pytest.mark.parametrize("code", ["ConditionalCheckFailedException", "ValidationException", "AccessDeniedException"])
def test_an_error_that_would_recur_is_raised_without_a_retry(code: str) -> None:
    scene = Scene(fault(code), response())
    with pytest.raises(SlttError, match=code):
        scene.client.call(*READ)
    assert len(scene.script.requests) == 1
    assert scene.waits == []


def test_the_number_of_attempts_is_limited() -> None:
    scene = Scene(*[fault("ThrottlingException")] * 20)
    with pytest.raises(Throttled):
        scene.client.call(*READ)
    assert len(scene.script.requests) == MAX_ATTEMPTS


def test_the_deadline_ends_the_attempts() -> None:
    scene = Scene(*[fault("ThrottlingException")] * 20, random=lambda: 0.999)
    with pytest.raises(Throttled):
        scene.client.call(*READ, deadline=0.25)
    assert scene.time < 0.25
    assert 1 < len(scene.script.requests) < MAX_ATTEMPTS


def test_a_failing_service_uses_up_the_retry_quota() -> None:
    scene = Scene(*[fault("ThrottlingException")] * 1000, random=lambda: 0.0)
    sent = []
    for _ in range(40):
        before = len(scene.script.requests)
        with pytest.raises(Throttled):
            scene.client.call(*READ, deadline=1e9)
        sent.append(len(scene.script.requests) - before)
    assert sent[0] == MAX_ATTEMPTS
    assert sent[-1] == 1


def test_a_transaction_in_progress_is_retried_only_with_its_token() -> None:
    scene = Scene(fault("TransactionInProgressException"), response())
    assert scene.client.call(*TRANSACTION) == {}
    scene = Scene(fault("TransactionInProgressException"))
    with pytest.raises(OutcomeUnknown):
        scene.client.call("TransactWriteItems", {})
    assert TransactionInProgress.retryable


@pytest.mark.parametrize("skew", [-86_400.0, -3600.0, 301.0, 7200.0])
@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "InvalidSignatureException"])
def test_a_skewed_clock_is_corrected_once(skew: float, code: str) -> None:
    date = formatdate(NOW + skew, usegmt=True)
    refusal = fault(code, message="Signature expired: it is late", date=date)
    scene = Scene(refusal, response(), response())
    scene.client.call(*WRITE)
    scene.client.call(*WRITE)
    stamps = [request.partition(b"x-amz-date:")[2].lstrip()[:16] for request in scene.script.requests]
    assert stamps[0] == b"20250301T093000Z"
    assert stamps[1] == stamps[2] != stamps[0]
    assert scene.waits == []


def test_a_correct_clock_is_not_corrected() -> None:
    refusal = fault("RequestTimeTooSkewed", date=formatdate(NOW, usegmt=True))
    with pytest.raises(ClockSkewed):
        Scene(refusal, response()).client.call(*WRITE)
    with pytest.raises(ClockSkewed):
        Scene(fault("RequestTimeTooSkewed"), response()).client.call(*WRITE)
    late = fault("RequestTimeTooSkewed", date=formatdate(NOW + 9000, usegmt=True))
    later = fault("RequestTimeTooSkewed", date=formatdate(NOW + 19000, usegmt=True))
    with pytest.raises(ClockSkewed):
        Scene(late, later, response()).client.call(*WRITE)


def test_no_secret_is_sent_or_shown() -> None:
    scene = Scene(fault("AccessDeniedException", message="denied"))
    with pytest.raises(SlttError) as caught:
        scene.client.call(*READ)
    assert SECRET not in str(caught.value) + repr(caught.value) + repr(CREDENTIALS) + repr(vars(caught.value))
    assert SECRET.encode() not in b"".join(scene.script.requests)


def test_a_request_has_the_format_of_the_api_reference() -> None:
    scene = Scene(response())
    scene.client.call("PutItem", {"TableName": "t", "Item": {"text": {"S": "é"}}})
    head, _, body = scene.script.requests[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert first == "POST / HTTP/1.1"
    assert headers["host"] == "127.0.0.1:8000"
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert headers["x-amz-target"] == "DynamoDB_20120810.PutItem"
    assert headers["content-length"] == str(len(body))
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDLOCAL/20250301/eu-west-1/dynamodb/")
    assert json.loads(body) == {"TableName": "t", "Item": {"text": {"S": "é"}}}


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://dynamodb.eu-west-1.amazonaws.com"),
        ("us-gov-west-1", "https://dynamodb.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://dynamodb.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_each_region_has_its_endpoint(region: str, url: str) -> None:
    assert default_endpoint(region) == url
    client = DynamoDBClient(region, lambda: CREDENTIALS)
    assert client.endpoint == url
    client.close()


def test_a_call_has_a_default_deadline() -> None:
    assert client_module.CALL_SECONDS == CALL_SECONDS == 10
    assert ServerFault.retryable


# Observers


def canceled(*codes: str) -> HttpResponse:
    reasons = [{"Code": code} for code in codes]
    body = {"__type": "x#TransactionCanceledException", "message": "", "CancellationReasons": reasons}
    return response(json.dumps(body).encode(), 400)


def consumed(*tables: dict[str, float]) -> HttpResponse:
    return response(json.dumps({"ConsumedCapacity": tables[0] if len(tables) == 1 else tables}).encode())


class Seen:
    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def on_call(self, *call: object) -> None:
        self.calls.append(call)


@pytest.mark.parametrize(
    ("call", "steps", "seen"),
    [
        (READ, [consumed({"CapacityUnits": 0.5})], ("GetItem", 1, 0, 0.0, 0.5, 0.0)),
        (WRITE, [consumed({"CapacityUnits": 3})], ("PutItem", 1, 0, 0.0, 0.0, 3.0)),
        (WRITE, [response()], ("PutItem", 1, 0, 0.0, None, None)),
        (
            TRANSACTION,
            [consumed({"CapacityUnits": 6, "WriteCapacityUnits": 6}, {"CapacityUnits": 2, "WriteCapacityUnits": 2})],
            ("TransactWriteItems", 1, 0, 0.0, 0.0, 8.0),
        ),
        # A transaction that was carried out before reads its items.
        (
            TRANSACTION,
            [consumed({"CapacityUnits": 4, "ReadCapacityUnits": 4})],
            ("TransactWriteItems", 1, 0, 0.0, 4.0, 0.0),
        ),
        (
            WRITE,
            [fault("ThrottlingException"), fault("TransactionConflictException"), consumed({"CapacityUnits": 1})],
            ("PutItem", 3, 1, 0.1, 0.0, 1.0),
        ),
    ],
)
def test_an_observer_learns_of_units_and_throttled_attempts(
    call: tuple[str, dict[str, Any]], steps: list[HttpResponse], seen: tuple[object, ...]
) -> None:
    scene, observer = Scene(*steps), Seen()
    scene.client.observe(observer)
    scene.client.call(*call)
    ((operation, attempts, throttled, seconds, *units),) = observer.calls
    assert [operation, attempts, throttled, *units] == [*seen[:3], *seen[4:]]
    assert seconds == pytest.approx(seen[3])


@pytest.mark.parametrize(
    ("codes", "throttled"),
    [(["ThrottlingError", "None"], 1), (["ConditionalCheckFailed"], 0), (["TransactionConflict"], 0)],
)
def test_a_transaction_that_is_canceled_for_lack_of_capacity_is_throttled(codes: list[str], throttled: int) -> None:
    scene, observer = Scene(canceled(*codes)), Seen()
    scene.client.observe(observer)
    with pytest.raises(TransactionCanceled):
        scene.client.call(*TRANSACTION)
    assert observer.calls == [("TransactWriteItems", 1, throttled, 0.0, None, None)]
