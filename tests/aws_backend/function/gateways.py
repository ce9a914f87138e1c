"""API Gateway and function URLs as a function sees them: turns HTTP requests into events, and reads its responses.

The table in `aws_backend.function.gateway` shows what they do to paths and queries.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus, unquote_to_bytes

from aws_backend.function.gateway import MAX_RESPONSE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

STAGE = "prod"
ACCOUNT = "123456789012"


class Invocation(NamedTuple):
    """The context that Lambda passes to a function."""

    milliseconds: int = 29_000

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


class Sent(NamedTuple):
    """A request as a client sends it."""

    method: str
    target: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


class Undecodable(Exception):
    """A gateway cannot decode this text. No document describes what it does instead."""


def rest_event(sent: Sent) -> dict[str, Any]:
    """An event of a REST API whose binary media types are `*/*`."""
    return {"resource": "/{proxy+}", **_v1(sent, sent.path), "pathParameters": {"proxy": sent.path[1:]}}


def http_1_event(sent: Sent) -> dict[str, Any]:
    """An event of an HTTP API, format 1.0."""
    path = _decoded_path(sent.path)
    return {"version": "1.0", "resource": "/{proxy+}", **_v1(sent, f"/{STAGE}{path}"), "pathParameters": None}


def http_2_event(sent: Sent) -> dict[str, Any]:
    """An event of an HTTP API, format 2.0, on a stage with a name."""
    return _v2(sent, f"/{STAGE}{_decoded_path(sent.path)}", "id.execute-api.us-east-1.amazonaws.com", STAGE)


def url_event(sent: Sent) -> dict[str, Any]:
    """An event of a function URL."""
    return _v2(sent, sent.path, "id.lambda-url.us-east-1.on.aws", "$default")


def authorize(event: dict[str, Any], principal: str) -> None:
    """Add to an event what the gateway's own authorizer says: of JWT, or of IAM for a function URL."""
    context = event["requestContext"]
    claims = {"claims": {"sub": principal}, "scopes": None}
    if event.get("version") != "2.0":
        context["authorizer"] = claims
    elif ".lambda-url." in context["domainName"]:
        context["authorizer"] = {"iam": {"userArn": principal, "accountId": ACCOUNT}}
    else:
        context["authorizer"] = {"jwt": claims}


class Got(NamedTuple):
    """A response as the client receives it."""

    status: int
    headers: dict[str, str]
    body: bytes


def received(response: dict[str, Any]) -> Got:
    """Return what a client receives for a function's response, after a check of its format and its size."""
    size = len(json.dumps(response, ensure_ascii=False).encode())
    assert size <= MAX_RESPONSE_BYTES, f"Lambda does not pass on {size} bytes"
    assert response.keys() == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert all(type(value) is str for pair in response["headers"].items() for value in pair)
    body = b64decode(response["body"], validate=True) if response["isBase64Encoded"] else response["body"].encode()
    return Got(response["statusCode"], response["headers"], body)


def _v1(sent: Sent, path: str) -> dict[str, Any]:
    pairs = [part.partition("=")[::2] for part in sent.query.split("&") if part]
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(_decoded_plus(name), []).append(_decoded_plus(value))
    names = {name: name.title() for name in sent.headers}
    return {
        "path": path,
        "httpMethod": sent.method,
        "headers": {names[name]: value for name, value in sent.headers.items()} or None,
        "multiValueHeaders": {names[name]: [value] for name, value in sent.headers.items()} or None,
        "queryStringParameters": {name: all_of[-1] for name, all_of in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "id",
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "httpMethod": sent.method,
            "identity": {"sourceIp": "192.0.2.1", "userArn": None},
            "path": f"/{STAGE}{sent.path}",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "stage": STAGE,
        },
        "stageVariables": None,
        **_body(sent),
    }


def _v2(sent: Sent, path: str, domain: str, stage: str) -> dict[str, Any]:
    cookies = {"cookies": sent.headers["cookie"].split("; ")} if "cookie" in sent.headers else {}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": sent.query,
        **cookies,
        "headers": {name: value for name, value in sent.headers.items() if name != "cookie"},
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "id",
            "domainName": domain,
            "http": {"method": sent.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": stage,
        },
        **_body(sent),
    }


def _body(sent: Sent) -> dict[str, Any]:
    if not sent.body:
        return {"body": None, "isBase64Encoded": False}
    return {"body": b64encode(sent.body).decode(), "isBase64Encoded": True}


def _decoded(text: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        raise Undecodable(text)
    return unquote_to_bytes(text).decode("utf-8", "replace")


def _decoded_path(path: str) -> str:
    if "%2f" in path.lower():
        raise Undecodable(path)
    return _decoded(path)


def _decoded_plus(text: str) -> str:
    _decoded(text)
    return unquote_plus(text, errors="replace")
