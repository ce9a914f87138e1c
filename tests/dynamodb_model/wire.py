"""The model behind DynamoDB's HTTP: a request's bytes in, a `Reply` out."""

from __future__ import annotations

import json
from binascii import crc32
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sltt_core.http_client.transport import HttpResponse
from tests.dynamodb_model.values import Refused

if TYPE_CHECKING:
    from tests.dynamodb_model.model import Model

PREFIX = "DynamoDB_20120810."
ERRORS = "com.amazonaws.dynamodb.v20120810#"


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


@lru_cache(1024)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)


class Request:
    """A request as it came over the wire."""

    def __init__(self, octets: bytes) -> None:
        head, _, body = octets.partition(b"\r\n\r\n")
        first, *lines = head.decode("ascii").split("\r\n")
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        if first != "POST / HTTP/1.1" or int(self.headers["content-length"]) != len(body):
            raise ValueError("not a request to DynamoDB, or not whole")
        self.body = body

    @property
    def operation(self) -> str:
        return self.headers["x-amz-target"].removeprefix(PREFIX)


def carry_out(model: Model, request: Request) -> HttpResponse:
    """Have the model carry out a request, and return its answer as DynamoDB sends it."""
    try:
        payload = json.loads(request.body)
    except ValueError:
        return refusal(Refused("SerializationException"), model.now())
    try:
        response = model.call(request.operation, payload)
    except Refused as refused:
        return refusal(refused, model.now())
    return make_response(200, response, model.now())


def refusal(refused: Refused, now: float) -> HttpResponse:
    """Write an error as DynamoDB does."""
    response: dict[str, Any] = {"__type": ERRORS + refused.code, **refused.more}
    # The name of the message's field is another for the errors of transactions, on AWS as well.
    response["Message" if refused.code == "TransactionCanceledException" else "message"] = refused.message
    return make_response(refused.status, response, now)


def make_response(status: int, response: dict[str, Any], now: float) -> HttpResponse:
    body = _encode(response).encode()
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "content-length": str(len(body)),
        "x-amz-crc32": str(crc32(body)),
        "date": _date(int(now)),
    }
    return HttpResponse(status, headers, body)
