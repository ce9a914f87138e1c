"""`sltt serve --storage dynamodb:TABLE`: it serves a table, and reports errors to the client and to the operator."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.errors import BY_CODE, error_from_response
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.log.items import change_key, sequence_key
from aws_backend.log.schema import definition
from aws_backend.settings import open_dynamodb
from aws_backend.storage import DynamoDBStorageService
from scripts.engines import DYNOXIDE, free_port, start
from sltt_core.api.app import Api
from sltt_core.api.http import Request
from sltt_core.base.errors import SlttError
from sltt_core.http_client.transport import BadResponse, ConnectFailed, OutcomeUnknown
from tests.conftest import engine_url
from tests.sltt_core.base.test_errors import CLASSES
from tests.sltt_core.server.command import read_banner, start_sltt, try_the_curls

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NOTHING_SET = {
    name: ""
    for name in os.environ.keys() | {"AWS_EC2_METADATA_DISABLED"}
    if name.startswith(("AWS_", "DYNAMODB_", "USE_LOCAL_"))
}


def test_serve_creates_a_table_and_serves_it_until_ctrl_c(dynamodb_url: str) -> None:
    name = f"serve-{uuid4().hex}"
    url = f"dynamodb:{name}"
    process = start_sltt("serve", "--port", "0", "--storage", url, **NOTHING_SET, DYNAMODB_ENDPOINT=dynamodb_url)
    _, lines = read_banner(process)
    assert lines[0].endswith(f" serves {url} at {dynamodb_url}\n")
    try_the_curls(lines)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "stopped\n")
    assert [json.loads(line)["status"] for line in err.splitlines()] == [200] * 3
    with open_dynamodb(name, "ruth", {"DYNAMODB_ENDPOINT": dynamodb_url}) as storage:
        assert storage.get_head().seq == 1


AWS = {"DYNAMODB_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true"}
LOCAL = {"DYNAMODB_ENDPOINT": "{engine}"}

MISTAKES: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "nothing listens": (
        "team",
        {"DYNAMODB_ENDPOINT": "http://127.0.0.1:{free}"},
        [
            "DynamoDB does not respond at http://127.0.0.1:{free}",
            "Connection refused",
            "`make dynamodb`",
            "DYNAMODB_ENDPOINT",
        ],
    ),
    "no such host": (
        "team",
        {"DYNAMODB_ENDPOINT": "http://nowhere.invalid:8000"},
        ["DynamoDB does not respond at http://nowhere.invalid:8000", "DYNAMODB_ENDPOINT"],
    ),
    "no url": ("team", {"DYNAMODB_ENDPOINT": "localhost:8000"}, ["DYNAMODB_ENDPOINT: 'localhost:8000'", "http://"]),
    "no flag": ("team", {"USE_LOCAL_DYNAMODB": "perhaps"}, ["USE_LOCAL_DYNAMODB is 'perhaps'"]),
    "contradiction": (
        "team",
        {"USE_LOCAL_DYNAMODB": "true", "DYNAMODB_ENDPOINT": "https://dynamodb.eu-west-1.amazonaws.com"},
        ["DYNAMODB_ENDPOINT names a DynamoDB on AWS", "USE_LOCAL_DYNAMODB", "Unset one"],
    ),
    "table's name": ("te am", LOCAL, ["storage: table name 'te am' is not valid", "3–255 characters"]),
    "keys": ("{wrong_keys}", LOCAL, ["has the key id (S); a table of logs has pk (S) and seq (N)", "not altered"]),
    "index": ("{no_index}", LOCAL, ["has no index 'projects'", "docs/table.md"]),
    "no region": (
        "team",
        {"AWS_CONFIG_FILE": "{tmp}/none"},
        ["no AWS region", "DYNAMODB_REGION", "USE_LOCAL_DYNAMODB=true"],
    ),
    "bad region": ("team", {"DYNAMODB_REGION": "eu west"}, ["AWS region 'eu west' is not valid", "DYNAMODB_REGION"]),
    "no credentials": (
        "team",
        AWS,
        ["no AWS credentials were found", "AWS_PROFILE", "AWS_ACCESS_KEY_ID is not set", "USE_LOCAL"],
    ),
    "half credentials": ("team", {**AWS, "AWS_ACCESS_KEY_ID": "AKID"}, ["AWS_SECRET_ACCESS_KEY is missing"]),
    "no profile": ("team", {"AWS_PROFILE": "gone"}, ["profile 'gone' does not exist", "AWS_PROFILE"]),
}


@pytest.fixture(scope="module")
def foreign() -> dict[str, str]:
    """Tables that are not logs, on one engine."""
    names = {"wrong_keys": f"wrong-keys-{uuid4().hex}", "no_index": f"no-index-{uuid4().hex}"}
    table = definition(names["no_index"])
    del table["GlobalSecondaryIndexes"]
    table["AttributeDefinitions"] = table["AttributeDefinitions"][:2]
    other = {
        "TableName": names["wrong_keys"],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    with closing(DynamoDBClient("us-east-1", lambda: Credentials("a", "b"), endpoint=engine_url("dynoxide"))) as client:
        client.call("CreateTable", table)
        client.call("CreateTable", other)
    return names


@pytest.mark.parametrize(("table", "environment", "messages"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_in_one_message_without_a_traceback(
    tmp_path: Path, foreign: dict[str, str], table: str, environment: dict[str, str], messages: list[str]
) -> None:
    values = {"free": free_port(), "engine": engine_url("dynoxide"), "tmp": tmp_path, **foreign}
    given = {name: value.format(**values) for name, value in environment.items()}
    storage = f"dynamodb:{table.format(**values)}"
    process = start_sltt(
        "serve", "--port", "0", "--storage", storage, **{**NOTHING_SET, "HOME": str(tmp_path), **given}
    )
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    for text in messages:
        assert text.format(**values) in err
    lines = err.splitlines()
    assert lines[0].startswith("Error: ")
    assert lines[-1].startswith("Hint: ")
    assert len(lines) <= 3
    assert "Traceback" not in err


def test_a_missing_table_on_aws_is_reported(tmp_path: Path) -> None:
    """The storage is in this process, because only here can the region's endpoint be a local engine."""
    client = DynamoDBClient("eu-west-1", lambda: Credentials("a", "b"), endpoint=engine_url("dynoxide"))
    with closing(client), pytest.raises(SlttError, match="table team does not exist in eu-west-1"):
        DynamoDBStorageService("team", client=client).initialize()


# Errors while it serves

SECRETS = ("arn:aws", "123456789012", "amazonaws", "eu-west-1", "10.1.2.3")
WORDS = (
    "User: arn:aws:iam::123456789012:user/noemie is not authorized to perform that on resource: "
    "arn:aws:dynamodb:eu-west-1:123456789012:table/team at dynamodb.eu-west-1.amazonaws.com (10.1.2.3)"
)
REFUSALS: dict[str, SlttError] = {
    code: error_from_response(400, json.dumps({"__type": f"x#{code}", "message": WORDS}).encode())
    for code in (*BY_CODE, "SomethingNew")
    if code != "ConditionalCheckFailedException"  # occurs only where a condition is set, and is handled there
} | {kind.__name__: kind(WORDS) for kind in (ConnectFailed, OutcomeUnknown, BadResponse)}


class Refusing(DynamoDBClient):
    """A client for which DynamoDB refuses every operation except DescribeTable."""

    refusal: SlttError | None = None

    def call(self, operation: str, payload: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        if self.refusal is None or operation == "DescribeTable":
            return super().call(operation, payload, **options)
        raise self.refusal


CHANGE = b'[{"projectId":"p","entityType":"t","entityId":"e","data":{}}]'
REQUESTS = (
    Request("POST", "/api/changes", "", {"content-type": "application/json"}, CHANGE),
    Request("GET", "/api/projects", "", {}, b""),
    Request("GET", "/api/projects/p/changes", "", {}, b""),
    Request("GET", "/api/projects/p/changes/1", "", {}, b""),
    Request("GET", "/api/projects/p/stats", "", {}, b""),
)


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_only_the_operator_sees_accounts_and_hosts_in_an_error(
    refusal: SlttError,
) -> None:
    reported: list[BaseException] = []
    client = Refusing("us-east-1", lambda: Credentials("a", "b"), endpoint=engine_url("dynoxide"))
    client.call("CreateTable", definition(name := f"refusing-{uuid4().hex}"))
    kinds = {f"urn:sltt:problem:{kind.kind}" for kind in CLASSES.values()}
    time_limit = [30.0]
    with closing(client), DynamoDBStorageService(name, client=client, time_limit=lambda: time_limit[0]) as storage:
        api = Api(storage, report=reported.append)
        assert api.handle(REQUESTS[0]).status == 200  # afterwards, an append starts with its transaction
        client.refusal = refusal
        time_limit[0] = 0.02
        for request in REQUESTS:
            reported.clear()
            response = api.handle(request)
            problem = json.loads(response.content)
            assert response.status == problem["status"] in (429, 500, 503)
            assert problem["type"] in kinds - {"urn:sltt:problem:internal"}
            assert not [secret for secret in SECRETS if secret in response.content.decode()]
            assert ("retry-after" in dict(response.headers)) == (response.status != 500)
            if problem["type"] in ("urn:sltt:problem:storage", "urn:sltt:problem:storage-unavailable"):
                [error] = reported
                assert WORDS in str(error.__cause__)
            else:
                assert reported == []


def test_the_operator_of_a_real_server_sees_the_error_of_dynamodb() -> None:
    engine = engine_url("dynoxide")
    name = f"serve-{uuid4().hex}"
    process = start_sltt(
        "serve", "--port", "0", "--storage", f"dynamodb:{name}", **NOTHING_SET, DYNAMODB_ENDPOINT=engine
    )
    url, _ = read_banner(process)
    with closing(DynamoDBClient("us-east-1", lambda: Credentials("a", "b"), endpoint=engine)) as client:
        client.call("DeleteTable", {"TableName": name})
    response = httpx.get(f"{url}/api/projects/ruth/stats")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (response.status_code, response.json()["type"]) == (500, "urn:sltt:problem:storage")
    assert "hint" not in response.json()
    (line,) = map(json.loads, err.splitlines())
    assert (line["route"], line["status"]) == ("GET /api/projects/{projectId}/stats", 500)
    assert line["requestId"] == response.headers["x-request-id"]
    assert (line["error"], line["because"][0][:38]) == ("StorageError", "TableNotFound: ResourceNotFoundExcepti")
    assert "DYNAMODB_REGION" in line["hint"]
    assert process.returncode == 0


@pytest.mark.parametrize("quiet", [False, True])
def test_a_request_is_one_json_line_while_dynamodb_is_down(quiet: bool) -> None:
    engine = start(DYNOXIDE)
    try:
        name, options = f"serve-{uuid4().hex}", ["--quiet"] if quiet else []
        environ = {**NOTHING_SET, "DYNAMODB_ENDPOINT": engine.url}
        process = start_sltt("serve", "--port", "0", "--storage", f"dynamodb:{name}", *options, **environ)
        url, _ = read_banner(process)
    finally:
        engine.stop()
    ids = [f"request-{number}" for number in range(len(REQUESTS))]
    responses = [
        httpx.request(
            request.method,
            url + request.path,
            content=request.body,
            headers={**request.headers, "x-request-id": request_id},
            timeout=60,
        )
        for request, request_id in zip(REQUESTS, ids, strict=True)
    ]
    httpx.get(f"{url}/health")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert [response.status_code for response in responses] == [503] * len(REQUESTS)
    lines = [json.loads(line) for line in err.splitlines()]
    assert [line["requestId"] for line in lines if line["status"] != 200] == ids
    assert len(lines) == len(ids) + (0 if quiet else 1)
    for line, response in zip(lines, responses, strict=False):
        assert line["error"] == "StorageUnavailable"
        assert line["because"][0].startswith("ConnectFailed: ")
        assert not any(secret in response.text for secret in ("DYNAMODB_", "--", engine.url, "localhost", "127.0.0.1"))


def test_a_damaged_log_is_reported_to_client_and_operator() -> None:
    engine = engine_url("dynoxide")
    name = f"serve-{uuid4().hex}"
    reported: list[BaseException] = []
    client = DynamoDBClient("us-east-1", lambda: Credentials("a", "b"), endpoint=engine)
    with closing(client), open_dynamodb(name, None, {"DYNAMODB_ENDPOINT": engine}) as storage:
        api = Api(storage, report=reported.append)
        assert api.handle(REQUESTS[0]).status == 200
        client.call(
            "UpdateItem",
            {
                "TableName": name,
                "Key": sequence_key("p"),
                "UpdateExpression": "REMOVE #f",
                "ExpressionAttributeNames": {"#f": "format"},
            },
        )
        response = api.handle(REQUESTS[4])
        assert (response.status, json.loads(response.content)["type"]) == (500, "urn:sltt:problem:log-damaged")
        client.call(
            "UpdateItem",
            {"TableName": name, "Key": change_key("p", 1), "UpdateExpression": "REMOVE dataJson"},
        )
        response = api.handle(REQUESTS[2])
        assert (response.status, json.loads(response.content)["type"]) == (500, "urn:sltt:problem:log-damaged")
    assert len(reported) == 2
