"""The parser of HTTP/1.1 responses (RFC 9110, RFC 9112), and the errors of the client.

The parser does no input or output: it calls a function for the next bytes. Every length is bounded.

It refuses what a lenient client would guess: a length that is given twice or in two ways, a line that does not end in
CR LF, control characters in the headers, a transfer coding that was not requested. When a server and a proxy guess
differently, a request may get the response to another. Trailers and chunk extensions are skipped. A folded header line
is unfolded (RFC 9112, section 5.2).
"""

from __future__ import annotations

from _operator import itemgetter, methodcaller

from sltt_core.base.errors import SlttError
from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Never

    More = Callable[[], bytes]
    """Returns the next bytes of a connection, at least one; `b""` at its end."""

MAX_HEADER_BYTES = 65_536
"""Bytes of a response's status line and headers together; also the limit for its trailers."""
MAX_HEADERS = 256
"""Header lines of a response."""
MAX_CHUNK_LINE = 4_096
"""Bytes of the line before a chunk: the chunk's size and extensions."""
MAX_INTERIM = 10
"""Interim (1xx) responses before the final one."""


class TransportError(SlttError):
    """The request did not get a valid response."""

    status = 502
    kind = "transport"
    title = "No response"
    retryable = True
    retry_after = 1


class ConnectFailed(TransportError):
    """No connection was made in time, or it ended before the request: the request was not sent."""

    kind = "connect-failed"
    title = "Cannot connect"


class OutcomeUnknown(TransportError):
    """The request was sent, wholly or in part, and no complete response came: it may have been executed."""

    kind = "outcome-unknown"
    title = "Outcome unknown"
    hint = "Send it again only if that does no harm, or check whether it was executed."


class BadResponse(TransportError):
    """The response is not valid HTTP, or too large; the request may have been executed."""

    kind = "bad-response"
    title = "Bad response"


class HttpResponse(Record):
    """A response."""

    status: int
    headers: Mapping[str, str]
    """Values by names in lower case; the values of headers with the same name are joined with `, `."""
    body: bytes

    def __repr__(self) -> str:
        """Leave out the headers and the body, which may contain credentials."""
        return f"HttpResponse({self.status})"


def read_response(more: More, max_body: int, begun: bytes = b"") -> tuple[HttpResponse, bool]:
    """Read one final response; return it, and whether the connection can be used for another request.

    `max_body` bounds the body, in bytes. `begun` holds the bytes that were read already. Raises `BadResponse`,
    `OutcomeUnknown` when the connection ends too soon, and the errors of `more`.
    """
    source = _Source(more, begun)
    for _ in range(MAX_INTERIM + 1):
        version, status, headers = _parse_headers(_read_headers(source))
        length = _parse_framing(version, headers)
        if status >= 200:
            break
        if status == 101:
            raise BadResponse("the server switched to another protocol without a request for it")
    else:
        raise BadResponse(f"more than {MAX_INTERIM} interim responses")

    lasting = version == "HTTP/1.1"
    if "connection" in headers:
        tokens = headers["connection"].lower().replace(" ", "").replace("\t", "").split(",")
        lasting = (lasting or "keep-alive" in tokens) and "close" not in tokens

    if status in (204, 304):
        body = b""
    elif length == _CHUNKED:
        body = _read_chunks(source, max_body)
    elif length == _TO_THE_END:
        body, lasting = _read_to_end(source, max_body), False
    elif length <= max_body:
        end = source.at + length
        if end <= len(source.data):  # the usual case: the response came in one piece
            body = source.data[source.at : end]
            source.at = end
        else:
            body = source.take(length)
    else:
        _refuse_body(max_body)
    # Bytes after the response belong to no request of this client: the connection is not used again.
    return _new(HttpResponse, (status, headers, body)), lasting and source.at == len(source.data)


_new: Any = tuple.__new__  # `HttpResponse.of`, without the call


class _Source:
    """The received bytes, and how many of them were read."""

    __slots__ = ("at", "data", "more")

    def __init__(self, more: More, data: bytes) -> None:
        self.more = more
        self.data = data
        self.at = 0

    def piece(self) -> bytes:
        """Return the next piece from the connection, without adding it to `data`."""
        piece = self.more()
        if not piece:
            raise OutcomeUnknown("the connection ended in the middle of a response")
        return piece

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        data, end = self.data, self.at + count
        if end <= len(data):
            taken = data[self.at : end]
            self.at = end
            return taken
        parts = bytearray(data[self.at :])  # not a list, because the pieces may be of one byte each
        while True:
            piece = self.piece()
            left = len(parts) + len(piece) - count
            if left >= 0:
                break
            parts += piece
        self.data, self.at = piece, len(piece) - left
        parts += piece[: self.at]
        return bytes(parts)

    def line(self, limit: int) -> bytes:
        """Return the next line, without its CR LF; raises `BadResponse` when it has more than `limit` bytes."""
        end = self.data.find(b"\r\n", self.at)
        while end < 0:
            searched = len(self.data) - self.at
            if searched > limit + 1:  # the last byte may be the CR of its end
                raise BadResponse(f"a line in the response's body is longer than {limit:,} bytes")
            self.data, self.at = self.data[self.at :] + self.piece(), 0
            end = self.data.find(b"\r\n", max(0, searched - 1))
        line = self.data[self.at : end]
        self.at = end + 2
        if len(line) > limit:
            raise BadResponse(f"a line in the response's body is longer than {limit:,} bytes")
        if b"\n" in line or b"\r" in line:
            raise BadResponse(f"a line in the response's body does not end in CR LF: {line[:40]!r}")
        return line


def _read_headers(source: _Source) -> bytes:
    data, start = source.data or source.piece(), source.at
    end = data.find(b"\r\n\r\n", start)
    while end < 0:
        searched = len(data) - start
        if searched > MAX_HEADER_BYTES + 3:  # the last three bytes may belong to their end
            break
        if data[start : start + 5] != b"HTTP/"[:searched]:  # this is not HTTP: do not wait for more
            _refuse_start(data[start:])
        data, start = data[start:] + source.piece(), 0
        end = data.find(b"\r\n\r\n", max(0, searched - 3))
    if not 0 <= end - start <= MAX_HEADER_BYTES:
        raise BadResponse(f"the response's headers are larger than {MAX_HEADER_BYTES:,} bytes")
    source.data, source.at = data, end + 4
    return data[start:end]


def _parse_headers(raw: bytes) -> tuple[str, int, dict[str, str]]:
    """Return the version, the status and the headers; `raw` begins with the status line."""
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, digits = first[:8], first[9:12]
    if version not in ("HTTP/1.1", "HTTP/1.0") or first[8:9] != " " or first[12:13] not in ("", " "):
        _refuse_start(raw)
    if not digits[2:] or not digits.isdecimal() or digits < "100":  # in Latin-1, only 0 to 9 are decimal
        raise BadResponse(f"the response's status {digits!r} is not valid")
    count = len(lines)
    if raw.translate(None, _TEXT) != b"\r\n" * count:
        raise BadResponse("the response's headers contain control characters")
    if count > MAX_HEADERS:
        raise BadResponse(f"the response has more than {MAX_HEADERS} header lines")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        lines = _unfold(lines)
        count = len(lines)
    # These calls run in C: with about eight headers, three Python calls for each take a third of a request's time.
    pairs = list(map(_split, lines))
    try:
        names = tuple(map(str.lower, map(_first, pairs)))
        headers = dict(zip(names, map(_strip, map(_second, pairs)), strict=True))
    except IndexError:
        wrong = next(line for line in lines if ":" not in line)
        raise BadResponse(f"the response's header line {wrong[:60]!r} is not valid") from None
    if names not in _seen:
        _check_names(names)
    if len(headers) != count:
        headers = _join(pairs)
    return version, int(digits), headers


def _check_names(names: tuple[str, ...]) -> None:
    """Refuse invalid header names; remember valid ones, because the responses of a server have the same names."""
    for name in names:
        if not name or name.strip(_TOKEN):
            raise BadResponse(f"the response's header name {name[:60]!r} is not valid")
    if len(_seen) >= _MAX_SEEN:
        _seen.clear()
    _seen.add(names)


_seen: set[tuple[str, ...]] = set()
_MAX_SEEN = 16


def _join(pairs: list[list[str]]) -> dict[str, str]:
    """Return the headers; the values of those with the same name are joined with `, `."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        name, value = name.lower(), value.strip(" \t")
        if name not in headers:
            headers[name] = value
        elif name != "content-length" or headers[name] != value:
            headers[name] += f", {value}"
    return headers


_split = methodcaller("split", ":", 1)
_strip = methodcaller("strip", " \t")
_first, _second = itemgetter(0), itemgetter(1)

_TEXT = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"  # names are in lower case when they are checked


def _refuse_start(data: bytes) -> Never:
    raise BadResponse(f"the response is not HTTP/1: it begins with {data[:60]!r}")


def _unfold(lines: list[str]) -> list[str]:
    """Join each line that begins with a space to the one before it."""
    whole: list[str] = []
    for line in lines:
        if not line.startswith((" ", "\t")):
            whole.append(line)
        elif whole:
            whole[-1] += " " + line.lstrip(" \t")
        else:
            raise BadResponse(f"the response's header line {line[:60]!r} is not valid")
    return whole


def _parse_framing(version: str, headers: dict[str, str]) -> int:
    """Return the length of the body from the headers, or `_CHUNKED`, or `_TO_THE_END`."""
    if "transfer-encoding" in headers:
        coding = headers["transfer-encoding"]
        if "content-length" in headers or coding.lower() != "chunked" or version != "HTTP/1.1":
            raise BadResponse(f"the response's Transfer-Encoding {coding[:40]!r} does not determine its length")
        return _CHUNKED
    if "content-length" not in headers:
        return _TO_THE_END
    digits = headers["content-length"]
    if not digits.isdecimal() or len(digits) > 20:
        raise BadResponse(f"the response's Content-Length {digits[:40]!r} is not valid")
    return int(digits)


_CHUNKED, _TO_THE_END = -1, -2


def _refuse_body(max_body: int) -> Never:
    raise BadResponse(f"the response's body is larger than {max_body:,} bytes")


def _read_chunks(source: _Source, max_body: int) -> bytes:
    body = bytearray()
    while True:
        digits = source.line(MAX_CHUNK_LINE).partition(b";")[0].rstrip(b" \t")
        if not digits or digits.strip(b"0123456789abcdefABCDEF") or len(digits) > 16:
            raise BadResponse(f"the chunk size {digits[:20]!r} is not valid")
        length = int(digits, 16)
        if length == 0:
            break
        if len(body) + length > max_body:
            _refuse_body(max_body)
        body += source.take(length)
        if source.take(2) != b"\r\n":
            raise BadResponse("a chunk is longer than its size")
    left = MAX_HEADER_BYTES
    while line := source.line(left):  # trailers are skipped
        left = max(0, left - len(line) - 2)
    return bytes(body)


def _read_to_end(source: _Source, max_body: int) -> bytes:
    body = bytearray(source.data[source.at :])
    while len(body) <= max_body:
        piece = source.more()
        if not piece:
            source.at = len(source.data)
            return bytes(body)
        body += piece
    _refuse_body(max_body)
