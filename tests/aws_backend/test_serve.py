"""`sltt serve --storage dynamodb:TABLE`: it serves, or says what to do; what goes wrong is told to whom it concerns."""

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
from scripts.engines import free_port
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


def test_it_serves_a_table_that_it_made_until_ctrl_c(dynamodb_url: str) -> None:
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
    "nobody listens": (
        "team",
        {"DYNAMODB_ENDPOINT": "http://127.0.0.1:{free}"},
        [
            "no DynamoDB answers at http://127.0.0.1:{free}",
            "Connection refused",
            "`make dynamodb`",
            "DYNAMODB_ENDPOINT",
        ],
    ),
    "no such host": (
        "team",
        {"DYNAMODB_ENDPOINT": "http://nowhere.invalid:8000"},
        ["no DynamoDB answers at http://nowhere.invalid:8000", "DYNAMODB_ENDPOINT"],
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
    "bad region": ("team", {"DYNAMODB_REGION": "eu west"}, ["'eu west' is not an AWS region", "DYNAMODB_REGION"]),
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
    """Tables of others, on one engine."""
    names = {"wrong_keys": f"wrong-keys-{uuid4().hex}", "no_index": f"no-index-{uuid4().hex}"}
    made = definition(names["no_index"])
    del made["GlobalSecondaryIndexes"]
    made["AttributeDefinitions"] = made["AttributeDefinitions"][:2]
    other = {
        "TableName": names["wrong_keys"],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "BillingMode": "PAY_PER_REQUEST",
    }
    with closing(DynamoDBClient("us-east-1", lambda: Credentials("a", "b"), endpoint=engine_url("dynoxide"))) as client:
        client.call("CreateTable", made)
        client.call("CreateTable", other)
    return names


@pytest.mark.parametrize(("table", "environment", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_clear_message_and_no_traceback(
    tmp_path: Path, foreign: dict[str, str], table: str, environment: dict[str, str], said: list[str]
) -> None:
    values = {"free": free_port(), "engine": engine_url("dynoxide"), "tmp": tmp_path, **foreign}
    given = {name: value.format(**values) for name, value in environment.items()}
    storage = f"dynamodb:{table.format(**values)}"
    process = start_sltt(
        "serve", "--port", "0", "--storage", storage, **{**NOTHING_SET, "HOME": str(tmp_path), **given}
    )
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    for text in said:
        assert text.format(**values) in err
    lines = err.splitlines()
    assert lines[0].startswith("Error: ")
    assert lines[-1].startswith("Hint: ")
    assert len(lines) <= 3
    assert "Traceback" not in err


def test_on_aws_a_missing_table_is_said(tmp_path: Path) -> None:
    """Through a service in this process, for only here can the region's endpoint be an engine of ours."""
    client = DynamoDBClient("eu-west-1", lambda: Credentials("a", "b"), endpoint=engine_url("dynoxide"))
    with closing(client), pytest.raises(SlttError, match="no table team in eu-west-1"):
        DynamoDBStorageService("team", client=client).initialize()


# What goes wrong while it serves

SECRETS = ("arn:aws", "123456789012", "amazonaws", "eu-west-1", "10.1.2.3")
WORDS = (
    "User: arn:aws:iam::123456789012:user/noemie is not authorized to perform that on resource: "
    "arn:aws:dynamodb:eu-west-1:123456789012:table/team at dynamodb.eu-west-1.amazonaws.com (10.1.2.3)"
)
REFUSALS: dict[str, SlttError] = {
    code: error_from_response(400, json.dumps({"__type": f"x#{code}", "message": WORDS}).encode())
    for code in (*BY_CODE, "SomethingNew")
    if code != "ConditionalCheckFailedException"  # only where it is asked for, and handled there
} | {kind.__name__: kind(WORDS) for kind in (ConnectFailed, OutcomeUnknown, BadResponse)}


class Refusing(DynamoDBClient):
    """An engine that refuses all but to describe the table."""

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
def test_clients_see_a_documented_error_without_accounts_and_hosts_and_the_operator_sees_them(
    refusal: SlttError,
) -> None:
    told: list[BaseException] = []
    client = Refusing("us-east-1", lambda: Credentials("a", "b"), endpoint=engine_url("dynoxide"))
    client.call("CreateTable", definition(name := f"refusing-{uuid4().hex}"))
    kinds = {f"urn:sltt:problem:{kind.kind}" for kind in CLASSES.values()}
    time_limit = [30.0]
    with closing(client), DynamoDBStorageService(name, client=client, time_limit=lambda: time_limit[0]) as storage:
        api = Api(storage, report=told.append)
        assert api.handle(REQUESTS[0]).status == 200  # so that the next append is a transaction at once
        client.refusal = refusal
        time_limit[0] = 0.02
        for request in REQUESTS:
            told.clear()
            response = api.handle(request)
            problem = json.loads(response.content)
            assert response.status == problem["status"] in (429, 500, 503)
            assert problem["type"] in kinds - {"urn:sltt:problem:internal"}
            assert not [secret for secret in SECRETS if secret in response.content.decode()]
            assert ("retry-after" in dict(response.headers)) == (response.status != 500)
            if problem["type"] in ("urn:sltt:problem:storage", "urn:sltt:problem:storage-unavailable"):
                [error] = told
                assert WORDS in str(error.__cause__)
            else:
                assert told == []


def test_the_operator_of_a_real_server_reads_what_dynamodb_said() -> None:
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
    assert "DYNAMODB_REGION" in response.json()["hint"]
    assert "a request failed here, not through its own fault" in err
    assert "TableNotFound: ResourceNotFoundException" in err
    assert process.returncode == 0


def test_a_log_that_is_damaged_is_told_to_both() -> None:
    engine = engine_url("dynoxide")
    name = f"serve-{uuid4().hex}"
    told: list[BaseException] = []
    client = DynamoDBClient("us-east-1", lambda: Credentials("a", "b"), endpoint=engine)
    with closing(client), open_dynamodb(name, None, {"DYNAMODB_ENDPOINT": engine}) as storage:
        api = Api(storage, report=told.append)
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
        assert (response.status, json.loads(response.content)["type"]) == (500, "urn:sltt:problem:not-a-log")
        client.call(
            "UpdateItem",
            {"TableName": name, "Key": change_key("p", 1), "UpdateExpression": "REMOVE dataJson"},
        )
        response = api.handle(REQUESTS[2])
        assert (response.status, json.loads(response.content)["type"]) == (500, "urn:sltt:problem:not-a-log")
    assert len(told) == 2
