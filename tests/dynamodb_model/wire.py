"""DynamoDB's HTTP protocol for the model: it accepts the bytes of a request and returns an `HttpResponse`."""

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
    """A request, parsed from its bytes."""

    def __init__(self, octets: bytes) -> None:
        start, _, body = octets.partition(b"\r\n\r\n")
        first, *lines = start.decode("ascii").split("\r\n")
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        if first != "POST / HTTP/1.1" or int(self.headers["content-length"]) != len(body):
            raise ValueError("not a request to DynamoDB, or incomplete")
        self.body = body

    @property
    def operation(self) -> str:
        return self.headers["x-amz-target"].removeprefix(PREFIX)


def carry_out(model: Model, request: Request) -> HttpResponse:
    """Let the model carry out a request; return the response as DynamoDB sends it."""
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
    """Return the error response as DynamoDB sends it."""
    response: dict[str, Any] = {"__type": ERRORS + refused.code, **refused.more}
    # The member with the message has a different name in errors of transactions, on AWS too.
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
