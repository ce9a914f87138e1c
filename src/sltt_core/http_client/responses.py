"""Answers in: bytes of HTTP/1.1 to a `Reply` (RFC 9110, RFC 9112), and what can go wrong on the wire.

Does no input or output of its own: it asks for the next bytes when it needs them. Every length is bounded.

It refuses what a lenient client would guess at: a length that is given twice or in two ways, a line that does not end
in CR LF, control characters in the head, a coding that nobody asked for. Two servers and proxies that guess differently
is how one request gets the answer to another. Trailers and chunk extensions are skipped; a folded header line is
unfolded (RFC 9112, section 5.2).
"""

from __future__ import annotations

from operator import itemgetter, methodcaller

from sltt_core.base.errors import SlttError
from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Never

    More = Callable[[], bytes]
    """Returns the next bytes of a connection, at least one; `b""` at its end."""

MAX_HEADER_BYTES = 65_536
"""Of an answer's status line and headers; its trailers have as much again."""
MAX_HEADERS = 256
"""Header lines of an answer."""
MAX_CHUNK_LINE = 4_096
"""Bytes of the line before a chunk: its size and its extensions."""
MAX_INTERIM = 10
"""Interim (1xx) answers before the final one."""


class TransportError(SlttError):
    """The request did not get a good answer over the wire."""

    status = 502
    kind = "transport"
    title = "No answer"
    retryable = True
    retry_after = 1


class ConnectFailed(TransportError):
    """No connection in time, or it was gone before the request was on it: the request was not sent."""

    kind = "connect-failed"
    title = "Cannot connect"


class OutcomeUnknown(TransportError):
    """The request was sent, wholly or in part, and no whole answer came: it may have been carried out."""

    kind = "outcome-unknown"
    title = "Outcome unknown"
    hint = "Send it again only if that does no harm, or look whether it was carried out."


class BadResponse(TransportError):
    """The answer is no HTTP, or larger than is taken; the request may have been carried out."""

    kind = "bad-reply"
    title = "Bad answer"


class HttpResponse(Record):
    """An answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of several with one name, the values joined with `, `."""
    body: bytes


def read_response(more: More, max_body: int, begun: bytes = b"") -> tuple[HttpResponse, bool]:
    """Read one final answer, and tell whether the connection may serve another request.

    `begun` holds the bytes that were read already. Raises `BadResponse`, `OutcomeUnknown` when the connection ends
    too soon, and whatever `more` raises.
    """
    source = _Source(more, begun)
    for _ in range(MAX_INTERIM + 1):
        version, status, headers = _parse_head(_read_head(source))
        length = _parse_framing(version, headers)
        if status >= 200:
            break
        if status == 101:
            raise BadResponse("the server switched to another protocol unasked")
    else:
        raise BadResponse(f"more than {MAX_INTERIM} interim answers")

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
        if end <= len(source.data):  # as nearly always: the answer came in one piece
            body = source.data[source.at : end]
            source.at = end
        else:
            body = source.take(length)
    else:
        _refuse_body(max_body)
    # What came too much belongs to no request of ours.
    return _new(HttpResponse, (status, headers, body)), lasting and source.at == len(source.data)


_new: Any = tuple.__new__  # what Reply.of does, without the call


class _Source:
    """The bytes that came, and how far they are read."""

    __slots__ = ("at", "data", "more")

    def __init__(self, more: More, data: bytes) -> None:
        self.more = more
        self.data = data
        self.at = 0

    def piece(self) -> bytes:
        """Return the next piece, which is not kept in `data`."""
        piece = self.more()
        if not piece:
            raise OutcomeUnknown("the connection ended in the middle of an answer")
        return piece

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        data, end = self.data, self.at + count
        if end <= len(data):
            taken = data[self.at : end]
            self.at = end
            return taken
        parts = bytearray(data[self.at :])  # not a list: the pieces may be of one byte
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
        """Return the next line, without its end."""
        end = self.data.find(b"\r\n", self.at)
        while end < 0:
            searched = len(self.data) - self.at
            if searched > limit + 1:  # its end may be half there
                raise BadResponse(f"a line in the answer's body is longer than {limit:,} bytes")
            self.data, self.at = self.data[self.at :] + self.piece(), 0
            end = self.data.find(b"\r\n", max(0, searched - 1))
        line = self.data[self.at : end]
        self.at = end + 2
        if len(line) > limit:
            raise BadResponse(f"a line in the answer's body is longer than {limit:,} bytes")
        if b"\n" in line or b"\r" in line:
            raise BadResponse(f"a line in the answer's body has the wrong end: {line[:40]!r}")
        return line


def _read_head(source: _Source) -> bytes:
    data, start = source.data or source.piece(), source.at
    end = data.find(b"\r\n\r\n", start)
    while end < 0:
        searched = len(data) - start
        if searched > MAX_HEADER_BYTES + 3:  # its end may be half there
            break
        if data[start : start + 5] != b"HTTP/"[:searched]:  # no need to wait for the end of that
            _refuse_start(data[start:])
        data, start = data[start:] + source.piece(), 0
        end = data.find(b"\r\n\r\n", max(0, searched - 3))
    if not 0 <= end - start <= MAX_HEADER_BYTES:
        raise BadResponse(f"the answer's head is larger than {MAX_HEADER_BYTES:,} bytes")
    source.data, source.at = data, end + 4
    return data[start:end]


def _parse_head(head: bytes) -> tuple[str, int, dict[str, str]]:
    """Return the version, the status and the headers."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, digits = first[:8], first[9:12]
    if version not in ("HTTP/1.1", "HTTP/1.0") or first[8:9] != " " or first[12:13] not in ("", " "):
        _refuse_start(head)
    if not digits.isdecimal() or digits < "100":  # of Latin-1, only 0 to 9 are decimal
        raise BadResponse(f"the answer's status is {digits!r}")
    count = len(lines)
    if head.translate(None, _TEXT) != b"\r\n" * count:
        raise BadResponse("the answer's head has control characters in it")
    if count > MAX_HEADERS:
        raise BadResponse(f"the answer has more than {MAX_HEADERS} header lines")
    if b"\r\n " in head or b"\r\n\t" in head:
        lines = _unfold(lines)
        count = len(lines)
    # All in C: an answer has eight headers or so, and three calls for each would be a third of all that a call needs.
    pairs = list(map(_split, lines))
    try:
        names = tuple(map(str.lower, map(_first, pairs)))
        headers = dict(zip(names, map(_strip, map(_second, pairs)), strict=True))
    except IndexError:
        wrong = next(line for line in lines if ":" not in line)
        raise BadResponse(f"the answer has the header line {wrong[:60]!r}") from None
    if names not in _seen:
        _check_names(names)
    if len(headers) != count:
        headers = _join(pairs)
    return version, int(digits), headers


def _check_names(names: tuple[str, ...]) -> None:
    """Refuse what is no header name, and remember what is: a server's answers have the same names over and over."""
    for name in names:
        if not name or name.strip(_TOKEN):
            raise BadResponse(f"the answer has the header name {name[:60]!r}")
    if len(_seen) >= _MAX_SEEN:
        _seen.clear()
    _seen.add(names)


_seen: set[tuple[str, ...]] = set()
_MAX_SEEN = 16


def _join(pairs: list[list[str]]) -> dict[str, str]:
    """Make one header of several with the same name, joining their values."""
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
_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"  # names are in lower case by then


def _refuse_start(data: bytes) -> Never:
    raise BadResponse(f"the answer begins with {data[:60]!r}")


def _unfold(lines: list[str]) -> list[str]:
    """Join each line that begins with a space to the one before it."""
    whole: list[str] = []
    for line in lines:
        if not line.startswith((" ", "\t")):
            whole.append(line)
        elif whole:
            whole[-1] += " " + line.lstrip(" \t")
        else:
            raise BadResponse(f"the answer has the header line {line[:60]!r}")
    return whole


def _parse_framing(version: str, headers: dict[str, str]) -> int:
    """Return the length of the body, or `_CHUNKED`, or `_TO_THE_END`, as the headers have it."""
    if "transfer-encoding" in headers:
        coding = headers["transfer-encoding"]
        if "content-length" in headers or coding.lower() != "chunked" or version != "HTTP/1.1":
            raise BadResponse(f"the answer's Transfer-Encoding {coding[:40]!r} does not tell its length")
        return _CHUNKED
    if "content-length" not in headers:
        return _TO_THE_END
    digits = headers["content-length"]
    if not digits.isdecimal() or len(digits) > 20:
        raise BadResponse(f"the answer's Content-Length is {digits[:40]!r}")
    return int(digits)


_CHUNKED, _TO_THE_END = -1, -2


def _refuse_body(max_body: int) -> Never:
    raise BadResponse(f"the answer's body is larger than {max_body:,} bytes")


def _read_chunks(source: _Source, max_body: int) -> bytes:
    body = bytearray()
    while True:
        digits = source.line(MAX_CHUNK_LINE).partition(b";")[0].rstrip(b" \t")
        if not digits or digits.strip(b"0123456789abcdefABCDEF") or len(digits) > 16:
            raise BadResponse(f"a chunk's size is {digits[:20]!r}")
        length = int(digits, 16)
        if length == 0:
            break
        if len(body) + length > max_body:
            _refuse_body(max_body)
        body += source.take(length)
        if source.take(2) != b"\r\n":
            raise BadResponse("a chunk is longer than it says")
    left = MAX_HEADER_BYTES
    while line := source.line(left):  # trailers tell us nothing
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
