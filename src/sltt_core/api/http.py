"""`Request` and `Response`, and the percent-encoding of URLs (RFC 3986)."""

from __future__ import annotations

from binascii import unhexlify

from sltt_core.base.errors import InvalidInput
from sltt_core.base.hashes import sha256
from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sltt_core.api.access import Principal

MAX_WAIT_SECONDS = 60
"""How long a client may ask to wait for a change."""
MAX_BODY_BYTES = 4_000_000
"""Bytes of a request body."""
JSON = "application/json"
PROBLEM_JSON = "application/problem+json"


class Request(Record):
    """A request, whichever server or gateway it came through."""

    method: str
    path: str
    """As sent, percent-encoding and all, without the query."""
    query: str = ""
    """As sent, without the question mark."""
    headers: Mapping[str, str] = {}
    """Names in lower case; a header that came several times has its values joined with `, `."""
    body: bytes = b""
    principal: Principal | None = None
    """Who sends it, as the server or the gateway has verified; `None` when nobody has."""


class Wait(Record):
    """What would make an empty page worth asking for again."""

    project_id: str
    cursor: int
    """The change to wait for has a higher sequence number."""
    seconds: float
    """How long the client wants to wait, from its request on."""


class Response(Record):
    """A response, whichever server or gateway it leaves through."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | Iterator[bytes]
    """An iterator is a stream. A server sends it chunk by chunk, on any thread, without a time limit for the whole. It
    is not compressed and has no entity tag. Its `close`, if it has one, is called when it ends or when the client goes
    away. An iterator that pauses for long yields `b""` at times, so that it can be closed in between."""
    wait: Wait | None = None
    """Set when the client asked to wait for a change and there is none: whoever runs the API waits, and asks again."""

    @property
    def content(self) -> bytes:
        """The body of a response that is not a stream; raises `TypeError` for one that is."""
        if not isinstance(self.body, bytes):
            raise TypeError("the response is a stream")
        return self.body

    def close(self) -> None:
        """Close the body if it is a stream: for a server that does not send it to its end."""
        close = getattr(self.body, "close", None)
        if close is not None:
            close()

    def header(self, name: str) -> str | None:
        """Return the value of a header, by its name in lower case."""
        return next((value for key, value in self.headers if key == name), None)


def json_response(text: str, *, same: str | None = None, wait: Wait | None = None) -> Response:
    """Make a response of JSON text. `same` is the part that tells two responses apart; it makes the entity tag.

    The tag is weak (RFC 9110, section 8.8.1): responses with the same one may differ in their `timestamp`.
    """
    headers: tuple[tuple[str, str], ...] = (("content-type", JSON),)
    if same is not None:
        headers += (("etag", f'W/"{sha256(same.encode()).hexdigest()[:24]}"'),)
    return Response(200, headers, text.encode(), wait)


def percent_decode(text: str, field: str, *, plus: bool = False) -> str:
    """Undo percent-encoding, strictly: what is not hexadecimal or not UTF-8 raises `InvalidInput`.

    `plus` reads `+` as a blank, as query strings have it (HTML's form encoding) and paths have not.
    """
    if plus:
        text = text.replace("+", " ")
    if "%" not in text and text.isascii():
        return text
    try:
        first, *rest = text.encode("utf-8", "surrogateescape").split(b"%")
    except UnicodeEncodeError:
        raise InvalidInput(f"{field} is not text", field=field) from None
    parts = [first]
    for part in rest:
        try:
            octet = unhexlify(part[:2])
        except ValueError:
            octet = b""
        if not octet:
            raise InvalidInput(f"{field} has a % that two hexadecimal digits do not follow", field=field)
        parts += (octet, part[2:])
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{field} is not UTF-8 when decoded", field=field) from None


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Split a query into names and values, decoded; a name without `=` has an empty value."""
    pairs = []
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        name = percent_decode(name, "query", plus=True)
        pairs.append((name, percent_decode(value, name[:40], plus=True)))
    return pairs
