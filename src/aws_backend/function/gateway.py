"""What API Gateway and function URLs hand to a Lambda function, as a `Request`, and a `Response` as they want it back.

Four shapes, told apart by what only they have (AWS: "Lambda proxy integrations in API Gateway", "Create AWS Lambda
proxy integrations for HTTP APIs", "Invoking Lambda function URLs"):

                              path              query     responses in base64
    REST API                  as sent           decoded   undone if the API's binary media types cover them
    HTTP API, format 1.0      decoded           decoded   undone
    HTTP API, format 2.0      decoded           as sent   undone
    function URL              as sent           as sent   undone

What a gateway has decoded is encoded again here, so that the routes see one kind of path and query. Two things cannot
be had back: an encoded slash in a decoded path, which has become a slash, and the bytes of what was not UTF-8, for
which stands U+FFFD; that is refused as what it was.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64

from sltt_core.api.access import Principal
from sltt_core.api.http import Request, Response
from sltt_core.api.routes import ROUTES
from sltt_core.base.errors import InvalidInput, NotAllowed, SlttError
from sltt_core.base.record import Record
from sltt_core.model.fields import check_free_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Event = Mapping[str, Any]

MAX_RESPONSE_BYTES = 6_291_556
"""Of a function's response, as JSON, envelope and escapes included (AWS: "Lambda quotas", 6 MB; the number is Lambda's
own, from the message of `Function.ResponseSizeTooLarge`)."""
MAX_PAGE_BYTES = 3_000_000
"""Of a page's changes: escaping may double each byte, and API Gateway's REST APIs may not be able to do without."""
_ENVELOPE_BYTES = 20_000  # for the status and the headers, which take far less
_MAX_BASE64_BYTES = (MAX_RESPONSE_BYTES - _ENVELOPE_BYTES) // 4 * 3  # base64 makes four of three

_DEFAULT_STAGE = "$default"
_ROOTS = tuple({"/" + route.path.split("/")[1] for route in ROUTES})
_ENCODED_PATH = str.maketrans({"%": "%25", "\ufffd": "%FF"})
_ENCODED_QUERY = str.maketrans({"%": "%25", "&": "%26", "+": "%2B", "=": "%3D", "\ufffd": "%FF"})


class UnknownEvent(Exception):
    """The function was not called by API Gateway, nor through a function URL; the message says what is missing."""


class ResponseTooLarge(SlttError):
    """A response has more bytes than Lambda hands on."""

    kind = "response-too-large"
    title = "Response too large"
    hint = "Ask for fewer changes with `limit`."


class Gateway(Record):
    """How what stands before the function is set up."""

    base_path: str = ""
    """What a custom domain's mapping puts before the paths, such as `/sync`."""
    principal_claim: str = "sub"
    """The claim of a token, or the key of a Lambda authorizer's context, that is the principal's id."""
    rest_binary: bool = False
    """Whether the binary media types of the REST API are `*/*`."""


class Shape(Record):
    """A kind of event."""

    name: str
    read: Callable[[Event, str], Request]
    """Makes the request without its body, given the path."""
    path: Callable[[Event], str]
    decoded: bool
    """Whether the path comes decoded."""
    undoes_base64: bool
    """Whether a response in base64 is undone whatever the settings."""


def shape_of(event: object) -> Shape:
    """Tell which kind of event it is; raises `UnknownEvent`."""
    if not isinstance(event, dict):
        raise UnknownEvent(f"the event is a {type(event).__name__}, not an object")
    context = event.get("requestContext")
    if isinstance(context, dict) and "elb" not in context:
        version = event.get("version")
        if version == "2.0" and isinstance(context.get("http"), dict) and isinstance(event.get("rawPath"), str):
            return FUNCTION_URL if ".lambda-url." in str(context.get("domainName")) else HTTP_API_2
        if isinstance(event.get("httpMethod"), str) and isinstance(event.get("path"), str):
            return HTTP_API_1 if version == "1.0" else REST_API
    known = ", ".join(sorted(map(str, event))[:10]) or "nothing"
    raise UnknownEvent(
        "the event is neither of an API Gateway REST API or HTTP API nor of a function URL: they have requestContext,"
        f" and httpMethod and path, or rawPath and requestContext.http; this one has {known[:200]}"
    )


def request_from(event: Event, shape: Shape, gateway: Gateway) -> Request:
    """Make the request, but for its body and who is asking."""
    path = shape.path(event)
    request = shape.read(event, _without_prefix(path, event["requestContext"].get("stage"), gateway.base_path))
    if shape.decoded:
        request = request.replace(path=request.path.translate(_ENCODED_PATH))
    if not _undoes_base64(shape, gateway) and "accept-encoding" in request.headers:
        headers = {name: value for name, value in request.headers.items() if name != "accept-encoding"}
        request = request.replace(headers=headers)
    return request


def body_from(event: Event) -> bytes:
    """Return the bytes of the request's body; raises `InvalidInput`."""
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return bytes(body.encode("utf-8", "surrogatepass"))
    try:
        return a2b_base64(body, strict_mode=True)
    except (Base64Error, ValueError):
        raise InvalidInput("the body is not base64, though the event says so", field="body") from None


def principal_from(event: Event, claim: str) -> Principal | None:
    """Return who sends the request, as the gateway's authorizer has verified; `None` where there is no authorizer.

    The principal's claims are those of the token, or the authorizer's context, or the identity that IAM found. Raises
    `NotAllowed` where there is an authorizer and it names nobody, or names what cannot be stored with a change: a
    mistake in the settings makes nobody anonymous.
    """
    context = event["requestContext"]
    # One that is not there may have its place kept for it: {"claims": null, "scopes": null}.
    authorizer = {name: value for name, value in (context.get("authorizer") or {}).items() if value is not None}
    jwt, iam, custom = authorizer.get("jwt"), authorizer.get("iam"), authorizer.get("lambda")
    claims = jwt.get("claims") if jwt else authorizer.get("claims")
    if claims is not None:  # Cognito before a REST API; a JWT authorizer before an HTTP API
        found = claims.get(claim)
    elif iam is not None:
        claims, found = iam, iam.get("userArn")
    elif authorizer:  # a Lambda authorizer, before an HTTP API of format 2.0, or else
        claims = authorizer if custom is None else custom
        found = claims.get(claim, claims.get("principalId"))
    else:  # IAM before a REST API says it elsewhere
        claims = context.get("identity") or {}
        found = claims.get("userArn")
        if found is None:
            return None
    try:
        return Principal(check_free_text(found), claims)
    except ValueError as error:
        raise NotAllowed(
            f"the authorizer does not name the principal: {claim} {error}",
            hint="PRINCIPAL_CLAIM names the claim, or the key of the authorizer's context, that does.",
        ) from None


def collected(response: Response, in_time: Callable[[], bool]) -> Response:
    """Return a response whose body is bytes: a stream is read to its end and closed.

    Raises `ResponseTooLarge` when the stream has more bytes than Lambda hands on, or when `in_time` returns false
    before its end, and what the stream raises.
    """
    if isinstance(response.body, bytes):
        return response
    body = bytearray()
    try:
        for chunk in response.body:
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise ResponseTooLarge(f"the response has more bytes than the {MAX_RESPONSE_BYTES:,} that Lambda takes")
            if not in_time():
                raise ResponseTooLarge("the response is not complete before the invocation's time is up")
    finally:
        response.close()
    return response.replace(body=bytes(body))


def event_response(response: Response, shape: Shape, gateway: Gateway, *, head: bool) -> dict[str, Any]:
    """Return a response as the gateway takes it; raises `ResponseTooLarge`. `head` leaves the body out."""
    if head:
        response.close()
    body = b"" if head else response.content
    binary = response.header("content-encoding") is not None
    if not binary and not _fits_as_text(body):
        binary = _undoes_base64(shape, gateway)
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
    return ResponseTooLarge(f"the response has {len(body):,} bytes, which are too many as Lambda counts them")


def _fits_as_text(body: bytes) -> bool:
    """Tell whether a body fits in a response as JSON text, where quotes, backslashes and line ends take two bytes."""
    room = MAX_RESPONSE_BYTES - _ENVELOPE_BYTES - len(body)
    return len(body) <= room or sum(map(body.count, _ESCAPED)) <= room


_ESCAPED = (b'"', b"\\", b"\n", b"\r", b"\t")  # all of JSON text that is escaped in a JSON string


def _undoes_base64(shape: Shape, gateway: Gateway) -> bool:
    return shape.undoes_base64 or gateway.rest_binary


def _without_prefix(path: str, stage: str | None, base_path: str) -> str:
    """Take away what stands before our paths: a custom domain's base path, a stage, or the one and then the other.

    Each is taken away only where a path of ours follows, so a stage may be called `api`.
    """
    named = f"/{stage}" if stage and stage != _DEFAULT_STAGE else ""
    for prefix in (base_path + named, base_path, named):
        if prefix and path.startswith(prefix):
            rest = path[len(prefix) :]
            if any(rest == root or rest.startswith(f"{root}/") for root in _ROOTS):
                return rest
    return path


def _read_v1(event: Event, path: str) -> Request:
    """Format 1.0: headers and query come with all their values, each decoded."""
    several = event.get("multiValueHeaders") or {name: [value] for name, value in (event.get("headers") or {}).items()}
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
    """Format 2.0: headers come joined, cookies apart, the query as sent."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
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


REST_API = Shape("REST API", _read_v1, _path_v1, decoded=False, undoes_base64=False)
HTTP_API_1 = Shape("HTTP API, format 1.0", _read_v1, _path_v1, decoded=True, undoes_base64=True)
HTTP_API_2 = Shape("HTTP API, format 2.0", _read_v2, _path_v2, decoded=True, undoes_base64=True)
FUNCTION_URL = Shape("function URL", _read_v2, _path_v2, decoded=False, undoes_base64=True)
