"""The translation of recorded events to requests, and of responses to the format of a gateway."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from aws_backend.function.gateway import (
    _ENVELOPE_BYTES,
    _MAX_BASE64_BYTES,
    FUNCTION_URL,
    HTTP_API_1,
    HTTP_API_2,
    MAX_PAGE_BYTES,
    MAX_RESPONSE_BYTES,
    REST_API,
    Gateway,
    ResponseTooLarge,
    Shape,
    UnknownEvent,
    body_from,
    collect_body,
    event_response,
    principal_from,
    request_from,
    shape_of,
    with_body,
)
from sltt_core.api.access import Principal
from sltt_core.api.http import Request, Response, query_pairs
from sltt_core.base.errors import InvalidInput, NotAllowed
from tests.aws_backend.function.gateways import received

EVENTS = Path(__file__).with_name("events")
BINARY = Gateway(rest_binary=True)
SHAPES = {
    "rest": REST_API,
    "rest_lambda_authorizer": REST_API,
    "http_1_0": HTTP_API_1,
    "http_2_0_jwt": HTTP_API_2,
    "http_2_0_iam": HTTP_API_2,
    "http_2_0_lambda": HTTP_API_2,
    "function_url": FUNCTION_URL,
}


def event(name: str, **others: Any) -> Any:
    """Return a recorded event with some members replaced; `stage` and the like are members of its `requestContext`."""
    found = json.loads((EVENTS / f"{name}.json").read_text())
    for key in ("authorizer", "identity", "stage", "domainName"):
        if key in others:
            found["requestContext"][key] = others.pop(key)
    return {**found, **others}


def path_in(name: str, path: str, stage: str = "$default", gateway: Gateway = BINARY) -> str:
    """Return the path of the request for an event with this path."""
    member = "rawPath" if name in ("http_2_0_jwt", "function_url") else "path"
    return request_from(event(name, stage=stage, **{member: path}), SHAPES[name], gateway).path


# The shape of an event


@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_the_shape_of_a_recorded_event_is_recognised(name: str, shape: Shape) -> None:
    assert shape_of(event(name)) == shape


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (None, "NoneType"),
        ([], "list"),
        ({}, "nothing"),
        ({"source": "aws.events", "detail-type": "Scheduled Event"}, "detail-type, source"),
        ({"Records": []}, "Records"),
        ({"httpMethod": "GET", "path": "/", "requestContext": {"elb": {"targetGroupArn": "arn"}}}, "httpMethod"),
        ({"version": "2.0", "rawPath": "/", "requestContext": {}}, "rawPath"),
        ({"version": "2.0", "rawPath": None, "requestContext": {"http": {}}}, "rawPath"),
        ({"httpMethod": "GET", "requestContext": {}}, "httpMethod"),
        ({"requestContext": "x", "httpMethod": "GET", "path": "/"}, "path"),
    ],
)
def test_an_unknown_event_is_refused_with_its_members(other: object, message: str) -> None:
    with pytest.raises(UnknownEvent, match=message):
        shape_of(other)


# The request


def test_a_rest_api_event_becomes_a_request() -> None:
    headers = json.loads((EVENTS / "rest_lambda_authorizer.json").read_text())["headers"]
    lower = {name.lower(): value for name, value in headers.items()}
    recorded = event("rest_lambda_authorizer")
    assert request_from(recorded, REST_API, BINARY) == Request("POST", "/hello/world", "name=me", lower)
    assert body_from(recorded) == b'{\r\n\t"a": 1\r\n}'
    assert principal_from(recorded, "sub") == Principal("admin", recorded["requestContext"]["authorizer"])


@pytest.mark.parametrize("name", ["rest", "http_1_0"])
def test_a_format_1_event_becomes_a_request(name: str) -> None:
    recorded = event(name)
    headers = {"header1": "value1", "header2": "value1, value2"}
    query = "parameter1=value1&parameter1=value2&parameter2=value"
    assert request_from(recorded, SHAPES[name], BINARY) == Request("GET", "/my/path", query, headers)
    assert body_from(recorded) == b"Hello from Lambda!"
    assert principal_from(recorded, "sub") is None


@pytest.mark.parametrize("name", ["http_2_0_jwt", "function_url"])
def test_a_format_2_event_becomes_a_request(name: str) -> None:
    headers = {"header1": "value1", "header2": "value1,value2", "cookie": "cookie1; cookie2"}
    query = "parameter1=value1&parameter1=value2&parameter2=value"
    assert request_from(event(name), SHAPES[name], BINARY) == Request("POST", "/my/path", query, headers)


@pytest.mark.parametrize("name", ["rest", "http_1_0"])
def test_single_values_are_used_where_lists_are_missing(name: str) -> None:
    recorded = event(name, multiValueHeaders=None, multiValueQueryStringParameters=None)
    request = request_from(recorded, SHAPES[name], BINARY)
    assert request.headers == {"header1": "value1", "header2": "value2"}
    assert request.query == "parameter1=value2&parameter2=value"


def test_headers_and_query_may_be_missing() -> None:
    nothing = {"headers": None, "multiValueHeaders": None}
    query = {"queryStringParameters": None, "multiValueQueryStringParameters": None}
    assert request_from(event("rest", **nothing, **query), REST_API, BINARY) == Request("GET", "/my/path")
    bare = event("function_url", headers=None, cookies=None, rawQueryString="")
    assert request_from(bare, FUNCTION_URL, BINARY) == Request("POST", "/my/path")


def test_headers_that_differ_only_in_case_are_joined() -> None:
    several = {"X-A": ["1", "2"], "x-a": ["3"], "Cookie": ["a=1", "b=2"], "Empty": []}
    request = request_from(event("rest", multiValueHeaders=several), REST_API, BINARY)
    assert request.headers == {"x-a": "1, 2, 3", "cookie": "a=1; b=2", "empty": ""}


@pytest.mark.parametrize(
    "pairs",
    [
        {"entityId": ["a&b=c", "100%", "1+1", "%41", "é 🤟", ""]},
        {"a=b&c": ["x"], "%": ["y"], "": ["z"]},
    ],
)
def test_a_decoded_query_is_encoded_again(pairs: dict[str, list[str]]) -> None:
    request = request_from(event("rest", multiValueQueryStringParameters=pairs), REST_API, BINARY)
    assert query_pairs(request.query) == [(name, value) for name, values in pairs.items() for value in values]


def test_a_decoded_query_that_was_not_utf8_is_refused() -> None:
    recorded = event("rest", multiValueQueryStringParameters={"entityId": ["a\ufffd"]})
    with pytest.raises(InvalidInput, match="entityId is not UTF-8"):
        query_pairs(request_from(recorded, REST_API, BINARY).query)


# Paths


@pytest.mark.parametrize("path", ["/api/projects/a%2Fb/stats", "/api/projects/%FF/stats", "/api/projects/%00/stats"])
@pytest.mark.parametrize("name", ["rest", "function_url"])
def test_a_path_as_sent_is_unchanged(name: str, path: str) -> None:
    assert path_in(name, path) == path


@pytest.mark.parametrize("name", ["http_1_0", "http_2_0_jwt"])
@pytest.mark.parametrize(
    ("decoded", "encoded"),
    [
        ("/api/projects/a%2Fb/stats", "/api/projects/a%252Fb/stats"),
        ("/api/projects/100%/stats", "/api/projects/100%25/stats"),
        ("/api/projects/\ufffd/stats", "/api/projects/%FF/stats"),
        ("/api/projects/a+b/stats", "/api/projects/a+b/stats"),
    ],
)
def test_a_decoded_path_is_encoded_again(name: str, decoded: str, encoded: str) -> None:
    assert path_in(name, decoded) == encoded


@pytest.mark.parametrize("name", ["rest", "http_1_0", "http_2_0_jwt"])
@pytest.mark.parametrize(
    ("stage", "base", "path", "expected"),
    [
        ("prod", "", "/prod/api/help", "/api/help"),
        ("prod", "", "/api/help", "/api/help"),
        ("prod", "", "/prod/health", "/health"),
        ("prod", "", "/prod/openapi.json", "/openapi.json"),
        ("prod", "", "/production/health", "/production/health"),
        ("prod", "", "/prod/nowhere", "/prod/nowhere"),
        ("prod", "", "/prod", "/prod"),
        ("prod", "", "/prod/prod/health", "/prod/prod/health"),
        ("api", "", "/api/api/help", "/api/help"),
        ("api", "", "/api/help", "/api/help"),
        ("api", "", "/api/health", "/health"),
        ("$default", "", "/$default/health", "/$default/health"),
        ("prod", "/sync", "/sync/health", "/health"),
        ("prod", "/sync", "/sync/prod/health", "/health"),
        ("prod", "/sync", "/prod/sync/health", "/health"),
        ("prod", "/sync", "/prod/health", "/health"),
        ("prod", "/sync", "/health", "/health"),
        ("prod", "/v1/nested", "/v1/nested/api/projects", "/api/projects"),
        ("$default", "/sync", "/sync/api/projects/sync/stats", "/api/projects/sync/stats"),
    ],
)
def test_stage_and_base_path_are_removed(name: str, stage: str, base: str, path: str, expected: str) -> None:
    assert path_in(name, path, stage, Gateway(base)) == expected


# Bodies


def test_a_body_in_base64_is_decoded() -> None:
    body = bytes(range(256))
    assert body_from({"body": b64encode(body).decode(), "isBase64Encoded": True}) == body


@pytest.mark.parametrize("nothing", [{}, {"body": None}, {"body": ""}, {"body": "", "isBase64Encoded": True}])
def test_a_body_may_be_missing(nothing: dict[str, Any]) -> None:
    assert body_from(nothing) == b""


@pytest.mark.parametrize("text", ["====", "a", "YQ==x", "Y Q==", "é"])
def test_an_invalid_base64_body_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        body_from({"body": text, "isBase64Encoded": True})
    assert caught.value.field == "body"


def test_half_a_surrogate_pair_is_passed_to_the_parser() -> None:
    assert body_from({"body": "\ud800"}) == b"\xed\xa0\x80"


# The principal


def id_from(recorded: dict[str, Any], claim: str) -> str | None:
    principal = principal_from(recorded, claim)
    return None if principal is None else principal.id


@pytest.mark.parametrize(
    ("name", "authorizer", "claim", "expected"),
    [
        ("rest", {"claims": {"sub": "u-1", "email": "n@example.org"}}, "sub", "u-1"),
        ("rest", {"claims": {"sub": "u-1", "email": "n@example.org"}}, "email", "n@example.org"),
        ("rest", {"principalId": "user|a1b2", "integrationLatency": 7}, "sub", "user|a1b2"),
        ("rest", {"principalId": "user|a1b2", "name": "Noémie"}, "name", "Noémie"),
        ("rest", None, "sub", None),
        ("http_1_0", {"claims": {"sub": "u-1"}, "scopes": ["s"]}, "sub", "u-1"),
        ("http_2_0_jwt", {"jwt": {"claims": {"sub": "u-1"}, "scopes": None}}, "sub", "u-1"),
        ("http_2_0_jwt", {"lambda": {"sub": "u-1"}}, "sub", "u-1"),
        ("http_2_0_jwt", {"lambda": {"principalId": "u-1"}}, "sub", "u-1"),
        ("function_url", {"iam": {"userArn": "arn:aws:iam::1:user/n", "userId": "A"}}, "sub", "arn:aws:iam::1:user/n"),
    ],
)
def test_the_authorizer_provides_the_principal(name: str, authorizer: object, claim: str, expected: str | None) -> None:
    assert id_from(event(name, authorizer=authorizer), claim) == expected


@pytest.mark.parametrize(
    ("name", "authorizer", "claims"),
    [
        ("rest", {"claims": {"sub": "u-1", "scope": "a b"}}, {"sub": "u-1", "scope": "a b"}),
        ("rest", {"principalId": "u-1", "team": "ruth"}, {"principalId": "u-1", "team": "ruth"}),
        ("http_1_0", {"claims": {"sub": "u-1"}, "scopes": ["s"]}, {"sub": "u-1"}),
        ("http_2_0_jwt", {"jwt": {"claims": {"sub": "u-1", "iss": "i"}, "scopes": None}}, {"sub": "u-1", "iss": "i"}),
        ("http_2_0_jwt", {"lambda": {"sub": "u-1", "team": "ruth"}}, {"sub": "u-1", "team": "ruth"}),
        ("function_url", {"iam": {"userArn": "a:b", "userId": "A"}}, {"userArn": "a:b", "userId": "A"}),
    ],
)
def test_the_principal_has_the_verified_claims(name: str, authorizer: object, claims: dict[str, str]) -> None:
    principal = principal_from(event(name, authorizer=authorizer), "sub")
    assert principal is not None
    assert principal.claims == claims


def test_recorded_authorizers_provide_the_principal() -> None:
    assert id_from(event("http_2_0_jwt"), "claim1") == "value1"
    assert id_from(event("http_2_0_lambda"), "key") == "value"
    assert id_from(event("http_2_0_iam"), "sub") == "arn:aws:iam::1234567890:user/Admin"
    assert id_from(event("function_url"), "sub") == "arn:aws:iam::111122223333:user/example-user"


def test_iam_provides_the_principal_of_a_rest_api() -> None:
    identity = {"userArn": "arn:aws:iam::1:user/n", "sourceIp": "192.0.2.1"}
    assert id_from(event("rest", authorizer=None, identity=identity), "sub") == "arn:aws:iam::1:user/n"
    assert principal_from(event("rest", authorizer=None, identity=None), "sub") is None


@pytest.mark.parametrize(
    ("authorizer", "message"),
    [
        ({"jwt": {"claims": {"email": "x"}}}, "sub is not a string"),
        ({"jwt": {"claims": {"sub": ""}}}, "sub is empty"),
        ({"jwt": {"claims": {"sub": "a\nb"}}}, "sub contains a control character"),
        ({"jwt": {"claims": {"sub": "x" * 256}}}, "sub is longer"),
        ({"jwt": {"claims": {"sub": ["a"]}}}, "sub is not a string"),
        ({"jwt": {"claims": {}}}, "sub is not a string"),
        ({}, "sub is not a string"),
        ({"lambda": None}, "sub is not a string"),
        ({"lambda": {"other": "x"}}, "sub is not a string"),
        ({"iam": {"accessKey": "x"}}, "is not a string"),
    ],
)
def test_an_authorizer_without_a_principal_is_refused(authorizer: object, message: str) -> None:
    with pytest.raises(NotAllowed, match=message):
        principal_from(event("http_2_0_jwt", authorizer=authorizer), "sub")


# The response

JSON_RESPONSE = Response(200, (("content-type", "application/json"),), b'{"a":"\xc3\xa9"}')
GZIP_RESPONSE = Response(200, (("content-encoding", "gzip"),), b"\x1f\x8b")


@pytest.mark.parametrize("shape", [REST_API, HTTP_API_1, HTTP_API_2, FUNCTION_URL])
def test_a_response_is_translated(shape: Shape) -> None:
    assert event_response(JSON_RESPONSE, shape, Gateway(), head=False) == {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": '{"a":"é"}',
        "isBase64Encoded": False,
    }
    assert event_response(GZIP_RESPONSE, shape, Gateway(), head=False) == {
        "statusCode": 200,
        "headers": {"content-encoding": "gzip"},
        "body": "H4s=",
        "isBase64Encoded": True,
    }


def test_a_response_to_head_has_no_body() -> None:
    for response in (JSON_RESPONSE, GZIP_RESPONSE):
        assert event_response(response, HTTP_API_2, Gateway(), head=True)["body"] == ""


def test_a_rest_api_without_binary_media_types_gets_no_gzip() -> None:
    several = {"Accept-Encoding": ["gzip"], "Accept": ["*/*"]}
    recorded = event("rest", multiValueHeaders=several)
    assert request_from(recorded, REST_API, Gateway()).headers == {"accept": "*/*"}
    assert request_from(recorded, REST_API, BINARY).headers == {"accept-encoding": "gzip", "accept": "*/*"}
    url = event("function_url", headers={"accept-encoding": "gzip"}, cookies=None)
    assert request_from(url, FUNCTION_URL, Gateway()).headers == {"accept-encoding": "gzip"}


@pytest.mark.parametrize("letter", ['"', "\\", "\n", "x", "é", "🤟"])
@pytest.mark.parametrize("size", [MAX_PAGE_BYTES + 5_000, 4_100_000])
def test_a_response_is_never_larger_than_the_limit_of_lambda(letter: str, size: int) -> None:
    text = letter * (size // len(letter.encode()))
    response = event_response(Response(200, (), text.encode()), HTTP_API_2, Gateway(), head=False)
    assert received(response).body == text.encode()  # `received` checks the size
    assert response["isBase64Encoded"] == (
        size > MAX_PAGE_BYTES + 5_000 and letter in '"\\\n'
    )  # base64 only where it is needed


def test_every_page_fits_as_text() -> None:
    worst = Response(200, (), b'"' * (MAX_PAGE_BYTES + 100_000))
    assert not event_response(worst, REST_API, Gateway(), head=False)["isBase64Encoded"]


def test_a_response_that_is_too_large_is_an_error() -> None:
    with pytest.raises(ResponseTooLarge, match="4,000,000"):
        event_response(Response(200, (), b'"' * 4_000_000), REST_API, Gateway(), head=False)
    with pytest.raises(ResponseTooLarge):
        event_response(Response(200, (), b"x" * MAX_RESPONSE_BYTES), HTTP_API_2, Gateway(), head=False)
    with pytest.raises(ResponseTooLarge):
        event_response(
            Response(200, (("content-encoding", "gzip"),), b"x" * 5_000_000), HTTP_API_2, Gateway(), head=False
        )


# The types of members, and what an error says


MISTYPED: dict[str, tuple[object, ...]] = {
    "headers": ([], "x", {"a": 1}, {"a": ["x"]}),
    "multiValueHeaders": ([], {"a": "x"}, {"a": [1]}, {"a": [None]}),
    "queryStringParameters": ([], {"a": 1}),
    "multiValueQueryStringParameters": ([], {"a": "x"}, {"a": [1]}, {"a": [None]}),
    "cookies": ({}, "x", [1], [None]),
    "rawQueryString": (1, [], {}),
    "body": (1, {}, b"x"),
    "isBase64Encoded": ("true", 1, []),
}
WELL_TYPED: dict[str, tuple[object, ...]] = {
    "headers": ({}, {"a": None}, {"a": "x"}),
    "multiValueHeaders": ({}, {"a": None}, {"a": []}, {"a": ["x", "y"]}),
    "cookies": ([], ["x"]),
    "body": ("", None),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in MISTYPED.items() for value in values])
def test_a_member_of_a_wrong_type_is_named(name: str, value: object) -> None:
    with pytest.raises(UnknownEvent) as caught:
        shape_of(event("rest", **{name: value}))
    assert str(caught.value) == f"the event's {name} has a wrong type"


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WELL_TYPED.items() for value in values])
def test_a_member_of_the_right_type_is_accepted(name: str, value: object) -> None:
    assert shape_of(event("rest", **{name: value})) == REST_API


@pytest.mark.parametrize(("stage", "known"), [(None, True), ("prod", True), (1, False), ({}, False)])
def test_a_stage_is_a_text_or_absent(stage: object, known: bool) -> None:
    if known:
        assert shape_of(event("rest", stage=stage)) == REST_API
        return
    with pytest.raises(UnknownEvent):
        shape_of(event("rest", stage=stage))


@pytest.mark.parametrize(
    ("other", "known"),
    [
        ({}, "'nothing'"),
        ({f"m{number:02}": 1 for number in range(12)}, repr(", ".join(f"m{number:02}" for number in range(10)))),
        ({"x" * 250: 1}, repr("x" * 200)),
        ({"é": 1}, r"'\xe9'"),
    ],
)
def test_an_unknown_event_is_described(other: object, known: str) -> None:
    with pytest.raises(UnknownEvent) as caught:
        shape_of(other)
    assert str(caught.value) == (
        "the event is not from an API Gateway REST API, an HTTP API or a function URL: these have requestContext with "
        f"httpMethod and path, or with rawPath and requestContext.http; this event has {known}"
    )


def test_the_error_for_a_body_that_is_not_base64() -> None:
    with pytest.raises(InvalidInput) as caught:
        body_from({"body": "!", "isBase64Encoded": True})
    assert str(caught.value) == "the body is not valid base64, but the event has isBase64Encoded"


@pytest.mark.parametrize(
    ("shape", "headers", "body", "encoded", "kept"),
    [
        (REST_API, {"content-encoding": " GZip "}, b" \t\r\n{}", False, False),
        (REST_API, {"content-encoding": "gzip"}, b"[]", False, False),
        (REST_API, {"content-encoding": "gzip"}, b"[]", True, True),
        (REST_API, {"content-encoding": "gzip"}, b"\x0b[]", False, True),
        (REST_API, {"content-encoding": "gzip"}, b"X{}", False, True),
        (REST_API, {"content-encoding": "deflate"}, b"{}", False, True),
        (HTTP_API_1, {"content-encoding": "gzip"}, b"{}", False, True),
    ],
)
def test_only_a_decompressed_body_loses_its_content_encoding(
    shape: Shape, headers: dict[str, str], body: bytes, encoded: bool, kept: bool
) -> None:
    request = Request("POST", "/", "", {"a": "b", **headers})
    got = with_body(request, body, shape, {"isBase64Encoded": encoded})
    assert got.body == body
    assert got.headers == ({"a": "b", **headers} if kept else {"a": "b"})
    assert with_body(Request("POST", "/", "", {}), body, shape, {}).headers == {}


def test_the_authorizer_of_format_2_is_one_even_if_it_is_empty() -> None:
    """A REST API without an authorizer sends these nulls; format 2.0 does not."""
    nulls = {"claims": None, "scopes": None}
    assert principal_from({"requestContext": {"authorizer": nulls}}, "sub") is None
    with pytest.raises(NotAllowed):
        principal_from({"requestContext": {"authorizer": nulls, "http": {"method": "GET"}}}, "sub")


def test_a_header_of_format_2_may_be_null() -> None:
    request = request_from(event("http_2_0_jwt", headers={"X-A": None, "X-B": "b"}, cookies=None), HTTP_API_2, BINARY)
    assert request.headers == {"x-a": "", "x-b": "b"}


def test_values_of_format_1_may_be_null_or_missing() -> None:
    others = {
        "multiValueHeaders": None,
        "headers": {"X-A": None, "X-B": "b"},
        "multiValueQueryStringParameters": {"a": [], "b": None, "c": [""], "d": ["1", "2"]},
    }
    request = request_from(event("http_1_0", **others), HTTP_API_1, BINARY)
    assert request.headers == {"x-a": "", "x-b": "b"}
    assert request.query == "a=&b=&c=&d=1&d=2"


# A stream


class Stream:
    """A stream of chunks that notes that it is closed."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = iter(chunks)
        self.closed = 0

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self.closed += 1


def test_a_stream_is_read_to_its_end_and_closed() -> None:
    stream = Stream(b"ab", b"", b"cde")
    response = collect_body(Response(201, (("a", "b"),), stream), lambda: True)
    assert (response.status, response.headers, response.body, stream.closed) == (201, (("a", "b"),), b"abcde", 1)
    assert collect_body(JSON_RESPONSE, lambda: False) is JSON_RESPONSE


def test_a_stream_that_is_too_large_is_an_error() -> None:
    whole = b"x" * (MAX_RESPONSE_BYTES - 1)
    assert collect_body(Response(200, (), Stream(whole, b"x")), lambda: True).body == whole + b"x"
    stream = Stream(whole, b"xx", b"never read")
    with pytest.raises(ResponseTooLarge) as caught:
        collect_body(Response(200, (), stream), lambda: True)
    assert str(caught.value) == "the response is larger than Lambda's limit of 6,291,556 bytes"
    assert stream.closed == 1


def test_a_stream_that_does_not_end_in_time_is_an_error() -> None:
    stream = Stream(b"a", b"b", b"c")
    times = iter((True, False))
    with pytest.raises(ResponseTooLarge) as caught:
        collect_body(Response(200, (), stream), lambda: next(times))
    assert str(caught.value) == "the response is not complete at the end of the invocation's time"
    assert stream.closed == 1


# Limits


def test_a_response_in_base64_may_have_every_byte_of_the_limit() -> None:
    headers = (("content-encoding", "gzip"),)
    assert event_response(Response(200, headers, b"x" * _MAX_BASE64_BYTES), HTTP_API_2, Gateway(), head=False)
    with pytest.raises(ResponseTooLarge):
        event_response(Response(200, headers, b"x" * (_MAX_BASE64_BYTES + 1)), HTTP_API_2, Gateway(), head=False)


def test_a_response_as_text_may_have_every_byte_of_the_limit() -> None:
    size = 4_000_000
    quotes = MAX_RESPONSE_BYTES - _ENVELOPE_BYTES - size
    fitting = b'"' * quotes + b"x" * (size - quotes)
    assert not event_response(Response(200, (), fitting), REST_API, Gateway(), head=False)["isBase64Encoded"]
    with pytest.raises(ResponseTooLarge):
        event_response(Response(200, (), b'"' + fitting[:-1].replace(b"x", b'"', 1)), REST_API, Gateway(), head=False)


@pytest.mark.parametrize("authorizer", ["sub", "x", 5, [], True])
def test_an_authorizer_of_a_wrong_type_is_refused_with_the_setting(authorizer: object) -> None:
    with pytest.raises(NotAllowed) as caught:
        principal_from(event("http_2_0_jwt", authorizer=authorizer), "sub")
    assert caught.value.operator_hint == (
        "Set PRINCIPAL_CLAIM to the claim, or the key of the authorizer's context, with the principal's id."
    )


@pytest.mark.parametrize("path", ["/othr/api/projects", "/syncXXXX/api/projects", "/prod2/api/projects"])
def test_another_prefix_is_not_removed(path: str) -> None:
    assert path_in("rest", path, "$default", Gateway(base_path="/sync")) == path
    assert path_in("rest", path, "prod", Gateway(base_path="/sync")) == path
