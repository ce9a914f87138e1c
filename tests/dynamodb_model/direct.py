"""A storage that calls a model directly, for tests that control the state of the model themselves."""

from __future__ import annotations

from time import time
from typing import Any

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.log import schema as tables
from aws_backend.storage import DynamoDBStorageService
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import HttpResponse
from tests.dynamodb_model.model import Model
from tests.dynamodb_model.wire import Request, carry_out

TABLE = "logs"
CREDENTIALS = Credentials("AKIDLOCAL", "secret")


class DirectTransport:
    """A transport that lets the model carry out each request at once."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def send(self, request: bytes, *, deadline: float, repeatable: bool = False) -> HttpResponse:
        return carry_out(self.model, Request(request))

    def close(self) -> None:
        pass


def new_model() -> Model:
    model = Model(time)
    model.call("CreateTable", tables.definition(TABLE))
    return model


def new_storage(model: Model, **options: Any) -> DynamoDBStorageService:
    transport: Any = DirectTransport(model)
    client = DynamoDBClient(
        "eu-west-1",
        lambda: CREDENTIALS,
        runtime=Runtime(transport=lambda origin, seconds: transport, pause=lambda seconds: None),
    )
    storage = DynamoDBStorageService(
        TABLE, "p", client=client, check_table=False, runtime=Runtime(pause=lambda seconds: None), **options
    )
    storage.initialize()
    return storage
