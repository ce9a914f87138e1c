"""`Request`, `Facts` about it and `Response`, and the percent-encoding of URLs (RFC 3986)."""

from __future__ import annotations

from binascii import unhexlify

from sltt_core.base.errors import InvalidInput
from sltt_core.base.hashes import sha256
from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from sltt_core.api.access import Principal

MAX_WAIT_SECONDS = 60
"""The longest time that a client may wait for a change, in seconds."""
MAX_PARAMETERS = 500
"""The most parameters in the query of a request. No route accepts as many, even if each is repeated."""
MAX_BODY_BYTES = 4_000_000
"""The most bytes of a request body, also after decompression."""
JSON = "application/json"
PROBLEM_JSON = "application/problem+json"


class Facts:
    """What is found out about a request while it is handled. Threads change it one after the other."""

    __slots__ = (
        "appended",
        "attempts",
        "calls",
        "principal",
        "project",
        "read_units",
        "route",
        "throttled",
        "write_units",
    )

    def __init__(self) -> None:
        self.route: str | None = None
        """The method and the pattern of the path; `None` until it is known."""
        self.principal: str | None = None
        self.project: str | None = None
        self.appended: int | None = None
        """Changes that were appended; `None` if the request is not an append."""
        self.calls = self.attempts = self.throttled = 0
        """Calls to the database, the requests that were sent for them, and those of these that were throttled."""
        self.read_units = self.write_units = 0.0

    def note_project(self, parameters: Mapping[str, Any]) -> None:
        """Take note of the project in the parameters of a request, if it is one."""
        if "changes" in parameters:
            project_ids = {change.project_id for change in parameters["changes"]}
            self.project = project_ids.pop() if len(project_ids) == 1 else None
        else:
            self.project = parameters.get("projectId")


class Request(Record):
    """A request, independent of the server or gateway that received it."""

    method: str
    path: str
    """The path without the query, percent-encoded as the client sent it."""
    query: str = ""
    """The query without the question mark, percent-encoded as the client sent it."""
    headers: Mapping[str, str] = {}
    """The headers by their names in lower case. The values of repeated headers are joined with `, `."""
    body: bytes = b""
    principal: Principal | None = None
    """The sender, as the server or the gateway has verified it; `None` if the request is anonymous."""
    waited: float = 0
    """How long the server has waited for a change before this call of the API, in seconds."""
    max_wait: float = 0
    """The longest time that the server waits for a change, in seconds; 0 if it never does."""
    facts: Facts | None = None
    """What the API finds out about the request is noted there, if it is given."""

    def __repr__(self) -> str:
        """Leave out the headers and the query, which may contain a credential, and the body."""
        return f"Request({self.method!r}, {self.path!r})"


class Wait(Record):
    """What a client waits for that got nothing new: a change of one of its projects, after the cursor there."""

    cursors: Mapping[str, int]
    """By project: the client waits for a change with a greater sequence number."""
    seconds: float
    """How long the client waits, counted from its request."""


class Response(Record):
    """A response, independent of the server or gateway that sends it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | Iterator[bytes]
    """An iterator is a stream. A server sends it chunk by chunk, on any thread, without a time limit for the whole. It
    is not compressed and has no entity tag. Its `close`, if it has one, is called when it ends or when the client
    disconnects. An iterator that pauses for long yields `b""` at intervals, so that the server can close it."""
    wait: Wait | None = None
    """Set if the client asked to wait and the log has no new change. Then the server waits, and calls `Api` again."""
    error: BaseException | None = None
    """The error behind the response, if the server's log must have it: the client did not cause it, or the operator
    can do something about it."""

    def __repr__(self) -> str:
        """Leave out the body, which may show a new secret."""
        return f"Response({self.status!r}, {self.headers!r})"

    @property
    def content(self) -> bytes:
        """The body of a response that is not a stream; raises `TypeError` for a stream."""
        if not isinstance(self.body, bytes):
            raise TypeError("the response is a stream")
        return self.body

    def close(self) -> None:
        """Close the body if it is a stream. A server calls this if it does not send the whole stream."""
        close = getattr(self.body, "close", None)
        if close is not None:
            close()

    def header(self, name: str) -> str | None:
        """Return the value of a header by its name in lower case, or `None`."""
        return next((value for key, value in self.headers if key == name), None)


def json_response(text: str, *, same: str | None = None, wait: Wait | None = None) -> Response:
    """Return a response with JSON text. The entity tag is a hash of `same`, a text that identifies the content.

    The tag is weak (RFC 9110, section 8.8.1): responses with equal tags may differ in their `timestamp`.
    """
    headers: tuple[tuple[str, str], ...] = (("content-type", JSON),)
    if same is not None:
        headers += (("etag", f'W/"{sha256(same.encode()).hexdigest()[:24]}"'),)
    return Response(200, headers, text.encode(), wait)


def percent_decode(text: str, field: str, *, plus: bool = False) -> str:
    """Decode percent-encoded text; raises `InvalidInput` if it is not hexadecimal or not UTF-8.

    `plus` decodes `+` as a space, as in query strings (HTML's form encoding), but not in paths.
    """
    if plus:
        text = text.replace("+", " ")
    if "%" not in text and text.isascii():
        return text
    try:
        first, *rest = text.encode("utf-8", "surrogateescape").split(b"%")
    except UnicodeEncodeError:
        raise InvalidInput(f"{field} is not UTF-8", field=field) from None
    parts = [first]
    for part in rest:
        try:
            octet = unhexlify(part[:2])
        except ValueError:
            octet = b""
        if not octet:
            raise InvalidInput(f"{field} has a % without two hexadecimal digits", field=field)
        parts += (octet, part[2:])
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{field} is not UTF-8 when decoded", field=field) from None


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Return the decoded names and values of a query. A name without `=` has an empty value.

    After `MAX_PARAMETERS` of them, the rest is one value: a route refuses so many, whatever the rest is.
    """
    pairs = []
    for part in query.split("&", MAX_PARAMETERS) if query else ():
        name, _, value = part.partition("=")
        name = percent_decode(name, "query", plus=True)
        pairs.append((name, percent_decode(value, name[:40], plus=True)))
    return pairs
