"""Translates the events of API Gateway and function URLs to `Request`, and `Response` to their response format.

There are four shapes of events, which differ in their members (AWS: "Lambda proxy integrations in API Gateway",
"Create AWS Lambda proxy integrations for HTTP APIs", "Invoking Lambda function URLs"):

                              path              query     base64 responses
    REST API                  as sent           decoded   decoded if the API's binary media types cover them
    HTTP API, format 1.0      decoded           decoded   decoded
    HTTP API, format 2.0      decoded           as sent   decoded
    function URL              as sent           as sent   decoded

This module encodes again what a gateway has decoded, so that the routes always see an encoded path and query. Two
things are lost: an encoded slash in a decoded path is now a slash; bytes that are not UTF-8 are now U+FFFD, which is
encoded as a byte that is not UTF-8, and refused as such.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from sltt_core.api.access import Principal
from sltt_core.api.http import Request, Response
from sltt_core.api.routes import ROUTES
from sltt_core.base.errors import InvalidInput, NotAllowed, SlttError
from sltt_core.base.record import Record
from sltt_core.model.grants import check_issued_principal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Event = Mapping[str, Any]

MAX_RESPONSE_BYTES = 6_291_556
"""The largest response of a function, as JSON with envelope and escapes (AWS: "Lambda quotas", 6 MB; the exact number
is from the message of Lambda's error `Function.ResponseSizeTooLarge`)."""
MAX_PAGE_BYTES = 3_000_000
"""The largest page of changes: JSON escapes may double each byte, and not every REST API can decode base64 instead."""
_ENVELOPE_BYTES = 20_000  # for the status and the headers, which need far less
_MAX_BASE64_BYTES = (MAX_RESPONSE_BYTES - _ENVELOPE_BYTES) // 4 * 3  # base64 turns three bytes into four

_DEFAULT_STAGE = "$default"
_NO_AUTHORIZER = {"claims": None, "scopes": None}  # what API Gateway sends without an authorizer, except in format 2.0
_IAM = ("userArn", "user", "caller", "accessKey", "accountId", "cognitoIdentityId")  # null unless IAM verified a caller
_ROOTS = tuple({"/" + route.path.split("/")[1] for route in ROUTES})
_MEMBERS: dict[str, tuple[type, ...]] = {
    "headers": (dict, str),
    "multiValueHeaders": (dict, list, str),
    "queryStringParameters": (dict, str),
    "multiValueQueryStringParameters": (dict, list, str),
    "cookies": (list, str),
    "rawQueryString": (str,),
    "body": (str,),
    "isBase64Encoded": (bool,),
}
"""The type of each member that is read: an object or an array, and then the type of what it contains."""
_ENCODED_PATH = str.maketrans({"%": "%25", "\ufffd": "%FF"})
_ENCODED_QUERY = str.maketrans({"%": "%25", "&": "%26", "+": "%2B", "=": "%3D", "\ufffd": "%FF"})


class UnknownEvent(Exception):
    """The event is not from API Gateway or a function URL. The message lists the members that it has."""


class ResponseTooLarge(SlttError):
    """A response is larger than Lambda passes on."""

    kind = "response-too-large"
    title = "Response too large"
    hint = "Ask for fewer changes with `limit`."


class Gateway(Record):
    """The settings that depend on what calls the function: API Gateway or a function URL."""

    base_path: str = ""
    """The prefix that a custom domain's mapping puts before the paths, such as `/sync`."""
    principal_claim: str = "sub"
    """The name of the token's claim, or of the key in a Lambda authorizer's context, that holds the principal's id."""
    rest_binary: bool = False
    """Whether the binary media types of the REST API are `*/*`."""


class Shape(Record):
    """A format of events."""

    name: str
    read: Callable[[Event, str], Request]
    """Returns the request, without its body, for an event and its path."""
    path: Callable[[Event], str]
    """Returns the path of an event."""
    decodes_path: bool
    """Whether the gateway decodes the path."""
    decodes_base64: bool
    """Whether the gateway decodes a response in base64, whatever its settings."""


_WARM_UPS = (
    ("source", "aws.events"),
    ("source", "aws.scheduler"),
    ("source", "serverless-plugin-warmup"),
    ("warmup", True),
)


def is_warm_up(event: object) -> bool:
    """Return whether an event is a scheduled event of EventBridge, or a warm-up event, and not a request."""
    return (
        isinstance(event, dict)
        and "requestContext" not in event
        and any(event.get(name) == value for name, value in _WARM_UPS)
    )


def shape_of(event: object) -> Shape:
    """Return the shape of an event; raises `UnknownEvent`."""
    if not isinstance(event, dict):
        raise UnknownEvent(f"the event is a {type(event).__name__}, not an object")
    wrong = [name for name, types in _MEMBERS.items() if not _has_type(event.get(name), types)]
    if wrong:
        raise UnknownEvent(f"the event's {wrong[0]} has a wrong type")
    context = event.get("requestContext")
    if isinstance(context, dict) and "elb" not in context and _has_type(context.get("stage"), (str,)):
        version, http = event.get("version"), context.get("http")
        if (
            version == "2.0"
            and isinstance(http, dict)
            and isinstance(http.get("method"), str)
            and isinstance(event.get("rawPath"), str)
        ):
            return FUNCTION_URL if ".lambda-url." in str(context.get("domainName")) else HTTP_API_2
        if isinstance(event.get("httpMethod"), str) and isinstance(event.get("path"), str):
            return HTTP_API_1 if version == "1.0" else REST_API
    known = ", ".join(sorted(map(str, event))[:10]) or "nothing"
    raise UnknownEvent(
        "the event is not from an API Gateway REST API, an HTTP API or a function URL: these have requestContext"
        f" with httpMethod and path, or with rawPath and requestContext.http; this event has {known[:200]!a}"
    )


def _has_type(value: object, types: tuple[type, ...]) -> bool:
    """Return whether a value is null or has a type, and what it contains the next type; an array contains no null."""
    if value is None:
        return True
    contents = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, types[0]) and all(
        _has_type(item, types[1:]) and (item is not None or types[0] is dict) for item in contents
    )


def request_from(event: Event, shape: Shape, gateway: Gateway) -> Request:
    """Return the request of an event, without its body and its principal."""
    path = shape.path(event)
    request = shape.read(event, _without_prefix(path, event["requestContext"].get("stage"), gateway.base_path))
    if shape.decodes_path:
        request = request.replace(path=request.path.translate(_ENCODED_PATH))
    if not _decodes_base64(shape, gateway) and "accept-encoding" in request.headers:
        headers = {name: value for name, value in request.headers.items() if name != "accept-encoding"}
        request = request.replace(headers=headers)
    return request


def body_from(event: Event) -> bytes:
    """Return the body of the request; raises `InvalidInput` if it is not valid base64."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return bytes(body.encode("utf-8", "surrogatepass"))
    try:
        return a2b_base64(body, strict_mode=True)
    except (Base64Error, ValueError):
        raise InvalidInput("the body is not valid base64, but the event has isBase64Encoded", field="body") from None


def with_body(request: Request, body: bytes, shape: Shape, event: Event) -> Request:
    """Return the request with its body, and without `Content-Encoding` if a REST API has decompressed the body.

    A REST API decompresses a gzip body and keeps the header. Text that begins as JSON is not gzip.
    """
    headers = request.headers
    if (
        shape == REST_API
        and not event.get("isBase64Encoded")
        and headers.get("content-encoding", "").strip().lower() in ("gzip", "x-gzip")
        and body.lstrip(b" \t\r\n").startswith((b"{", b"["))
    ):
        headers = {name: value for name, value in headers.items() if name != "content-encoding"}
    return request.replace(body=body, headers=headers)


def principal_from(event: Event, claim: str) -> Principal | None:
    """Return the principal that the gateway's authorizer has verified; `None` if there is no authorizer.

    `claim` names the member with the principal's id. The principal's claims are those of the token, or the authorizer's
    context, or the identity that IAM verified. Raises `NotAllowed` if an authorizer is present and does not provide an
    id that can be stored with a change: neither a mistake in the settings nor an odd event makes clients anonymous.
    """
    context = event["requestContext"]
    authorizer = context.get("authorizer")
    keys: tuple[str, ...] = (claim,)
    if authorizer is None or (authorizer == _NO_AUTHORIZER and "http" not in context):
        claims, keys = context.get("identity"), ("userArn",)  # IAM for a REST API
        if claims is None or (isinstance(claims, dict) and all(claims.get(name) is None for name in _IAM)):
            return None
    else:
        for path, names in (
            (("jwt", "claims"), (claim,)),  # a JWT authorizer for an HTTP API
            (("claims",), (claim,)),  # Cognito for a REST API
            (("iam",), ("userArn",)),
            (("lambda",), (claim, "principalId")),  # a Lambda authorizer, format 2.0
            ((), (claim, "principalId")),  # a Lambda authorizer, other formats
        ):
            claims = authorizer
            for name in path:
                claims = claims.get(name) if isinstance(claims, dict) else None
            if isinstance(claims, dict):
                keys = names
                break
    claims = claims if isinstance(claims, dict) else {}
    try:
        return Principal(check_issued_principal(next((claims[key] for key in keys if key in claims), None)), claims)
    except ValueError as error:
        refusal = NotAllowed(f"the authorizer does not provide a valid principal: {keys[0]} {error}")
        refusal.operator_hint = (
            "Set PRINCIPAL_CLAIM to the claim, or the key of the authorizer's context, with the principal's id."
        )
        raise refusal from None


def collect_body(response: Response, in_time: Callable[[], bool]) -> Response:
    """Return a response whose body is bytes. A stream is read to its end and closed.

    Raises `ResponseTooLarge` if the stream is larger than Lambda passes on, or if `in_time` returns false before its
    end. Errors of the stream pass through.
    """
    if isinstance(response.body, bytes):
        return response
    body = bytearray()
    try:
        for chunk in response.body:
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise ResponseTooLarge(f"the response is larger than Lambda's limit of {MAX_RESPONSE_BYTES:,} bytes")
            if not in_time():
                raise ResponseTooLarge("the response is not complete at the end of the invocation's time")
    finally:
        response.close()
    return response.replace(body=bytes(body))


def event_response(response: Response, shape: Shape, gateway: Gateway, *, head: bool) -> dict[str, Any]:
    """Return a response in the gateway's format; raises `ResponseTooLarge`. With `head`, the body is empty."""
    if head:
        response.close()
    body = b"" if head else response.content
    binary = response.header("content-encoding") is not None
    if not binary and not _fits_as_text(body):
        binary = _decodes_base64(shape, gateway)
        if not binary:
            raise _too_large(body)
    if binary and len(body) > _MAX_BASE64_BYTES:
        raise _too_large(body)
    text = b2a_base64(body, newline=False) if binary else body
    return {
        "statusCode": response.status,
        "headers": dict(response.headers),
        "body": text.decode(),
        "isBase64Encoded": binary,
    }


def _too_large(body: bytes) -> ResponseTooLarge:
    return ResponseTooLarge(
        f"the response of {len(body):,} bytes is larger than Lambda's limit, as Lambda counts bytes"
    )


def _fits_as_text(body: bytes) -> bool:
    """Return whether a body fits as text: in JSON, quotes, backslashes and line ends take two bytes."""
    space = MAX_RESPONSE_BYTES - _ENVELOPE_BYTES - len(body)
    return len(body) <= space or sum(map(body.count, _ESCAPED)) <= space


_ESCAPED = (b'"', b"\\", b"\n", b"\r", b"\t")  # the only bytes of JSON text that a JSON string escapes


def _decodes_base64(shape: Shape, gateway: Gateway) -> bool:
    return shape.decodes_base64 or gateway.rest_binary


def _without_prefix(path: str, stage: str | None, base_path: str) -> str:
    """Return a path without its prefix: a custom domain's base path, a stage, or both in either order.

    A prefix is removed only if one of the API's paths follows, so that a stage may be called `api`.
    """
    named = f"/{stage}" if stage and stage != _DEFAULT_STAGE else ""
    for prefix in (base_path + named, named + base_path, base_path, named):
        if prefix and path.startswith(prefix):
            rest = path[len(prefix) :]
            if any(rest == root or rest.startswith(f"{root}/") for root in _ROOTS):
                return rest
    return path


def _read_v1(event: Event, path: str) -> Request:
    """Read format 1.0: it has all values of each header and query parameter, decoded."""
    several = event.get("multiValueHeaders") or {
        name: [value or ""] for name, value in (event.get("headers") or {}).items()
    }
    headers: dict[str, str] = {}
    for name, values in several.items():
        name = name.lower()
        separator = "; " if name == "cookie" else ", "
        joined = separator.join(values or ())
        headers[name] = f"{headers[name]}{separator}{joined}" if name in headers else joined
    parameters = event.get("multiValueQueryStringParameters") or {
        name: [value] for name, value in (event.get("queryStringParameters") or {}).items()
    }
    pairs = [(name, value or "") for name, values in parameters.items() for value in values or [""]]
    query = "&".join(f"{name.translate(_ENCODED_QUERY)}={value.translate(_ENCODED_QUERY)}" for name, value in pairs)
    return Request(event["httpMethod"], path, query, headers)


def _read_v2(event: Event, path: str) -> Request:
    """Read format 2.0: it has headers with joined values, separate cookies, and the query as sent."""
    headers = {name.lower(): value or "" for name, value in (event.get("headers") or {}).items()}
    cookies = event.get("cookies")
    if cookies:
        headers["cookie"] = "; ".join(cookies)
    return Request(event["requestContext"]["http"]["method"], path, event.get("rawQueryString") or "", headers)


def _path_v1(event: Event) -> str:
    path: str = event["path"]
    return path


def _path_v2(event: Event) -> str:
    path: str = event["rawPath"]
    return path


REST_API = Shape("REST API", _read_v1, _path_v1, decodes_path=False, decodes_base64=False)
HTTP_API_1 = Shape("HTTP API, format 1.0", _read_v1, _path_v1, decodes_path=True, decodes_base64=True)
HTTP_API_2 = Shape("HTTP API, format 2.0", _read_v2, _path_v2, decodes_path=True, decodes_base64=True)
FUNCTION_URL = Shape("function URL", _read_v2, _path_v2, decodes_path=False, decodes_base64=True)
