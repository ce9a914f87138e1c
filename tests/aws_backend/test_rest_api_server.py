"""`AwsRestApiServer`: the REST API on a given table, or on the one that the environment names."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest

from aws_backend.rest_api_server import AwsRestApiServer
from aws_backend.storage import DynamoDBStorageService
from sltt_core.base.errors import InvalidInput
from tests.conftest import engine_url

CHANGE = {"projectId": "ruth", "entityType": "passage", "entityId": "ruth-1", "data": {}}


def test_the_server_serves_the_given_storage(dynamodb_url: str) -> None:
    storage = DynamoDBStorageService(f"server-{uuid4().hex}", use_local_dynamodb=True, local_endpoint=dynamodb_url)
    server = AwsRestApiServer(storage=storage, server_name="mine")
    server.start(port=0)
    health = httpx.get(f"{server.url}/health").json()
    assert (health["server"], health["storageType"]) == ("mine", "dynamodb")
    assert httpx.post(f"{server.url}/api/changes", json=[CHANGE, CHANGE]).json()["createdSeqs"] == [1, 2]
    assert httpx.get(f"{server.url}/api/projects/ruth/changes").json()["count"] == 2
    url = server.url
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_the_default_storage_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"server-{uuid4().hex}"
    monkeypatch.setenv("DYNAMODB_TABLE", name)
    monkeypatch.setenv("DYNAMODB_ENDPOINT", engine_url("dynoxide"))
    server = AwsRestApiServer()
    server.start(port=0)
    assert httpx.post(f"{server.url}/api/changes", json=CHANGE).json()["createdSeqs"] == [1]
    server.stop()
    with DynamoDBStorageService(
        name, "ruth", use_local_dynamodb=True, local_endpoint=engine_url("dynoxide")
    ) as storage:
        assert storage.get_head().seq == 1


def test_a_missing_setting_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYNAMODB_TABLE", raising=False)
    with pytest.raises(InvalidInput, match="DYNAMODB_TABLE is not set"):
        AwsRestApiServer()


def test_options_are_passed_to_the_server() -> None:
    storage = DynamoDBStorageService(
        f"server-{uuid4().hex}", use_local_dynamodb=True, local_endpoint=engine_url("dynoxide")
    )
    server = AwsRestApiServer(storage=storage, cors=["https://app.example.org"])
    server.start(port=0)
    response = httpx.get(f"{server.url}/health", headers={"origin": "https://app.example.org"})
    server.stop()
    assert response.headers["access-control-allow-origin"] == "https://app.example.org"
