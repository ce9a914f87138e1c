"""The response parser compared with h11, and on responses that no server should send. No sockets are used."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise, repeat
from time import thread_time
from typing import NamedTuple

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.http_client import responses as http_responses
from sltt_core.http_client.responses import MAX_CHUNK_LINE, MAX_HEADER_BYTES, MAX_HEADERS, MAX_INTERIM, read_response
from sltt_core.http_client.transport import BadResponse, HttpResponse, OutcomeUnknown, TransportError
from tests.sltt_core.http_client.peers import response

MAX_BODY = 100_000
EXAMPLES = int(os.environ.get("SLTT_EXAMPLES", "100"))
"""Examples of each property test."""


IN_BODY = "in the body"


class Parsed(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes
    reusable: bool


def ours(pieces: Sequence[bytes], max_body: int = MAX_BODY) -> Parsed:
    """Return the result of our parser for a response that comes in these pieces, then ends."""
    left: Iterator[bytes] = iter([*(piece for piece in pieces if piece), b""])
    response, reusable = read_response(left.__next__, max_body)  # it must not ask for more after the end
    assert type(response) is HttpResponse
    headers = dict(response.headers)
    if "transfer-encoding" in headers:  # as h11 does
        headers["transfer-encoding"] = headers["transfer-encoding"].lower()
    return Parsed(response.status, headers, response.body, reusable)


def theirs(pieces: Sequence[bytes]) -> Parsed:
    """Return the result of h11's parser."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2 * MAX_HEADER_BYTES)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    status, body = 0, b""
    headers: dict[str, str] = {}
    todo = [*(piece for piece in pieces if piece), b""]
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            error.add_note(IN_BODY if status else "in the head")
            raise
        if event is h11.NEED_DATA:
            connection.receive_data(todo.pop(0))
        elif isinstance(event, h11.Response):
            status = event.status_code
            for raw_name, raw_value in event.headers:
                name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
                headers[name] = f"{headers[name]}, {value}" if name in headers else value
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError(f"not a response: {event}")
    over = not todo or connection.trailing_data[0]
    return Parsed(status, headers, body, connection.our_state is connection.their_state is h11.DONE and not over)


# Valid responses

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VISIBLE = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x100))]
FRAMING = ("content-length", "transfer-encoding", "connection")

values = st.lists(st.text(VISIBLE, min_size=1, max_size=8), max_size=3).map(" ".join)
names = st.text(TOKEN, min_size=1, max_size=12).filter(lambda name: name.lower() not in FRAMING)
header_sets = st.lists(
    st.tuples(st.sampled_from(["Date", "x-amz-crc32", "X-Amzn-RequestId", "Set-Cookie"]) | names, values), max_size=6
)
connections = st.sampled_from(
    ["", "close", "keep-alive", "Close", "foo, close", "upgrade , keep-alive", "closed", "x-close"]
)
bodies = st.binary(max_size=60) | st.integers(0, 3000).map(lambda size: b"\r\n0\r\n\r\n" * (size // 7))
chunk_extensions = st.sampled_from(["", ";a", ";a=b", ';a="b c"', "; x ; y", " ", "\t;q=1"])


class Response(NamedTuple):
    """A response, and how it is written."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    connection: str
    body: bytes
    framing: str
    interim: list[int]


def responses(framings: Sequence[str]) -> st.SearchStrategy[Response]:
    return st.builds(
        Response,
        status=st.sampled_from([200, 200, 200, 400, 413, 500, 503, 204, 304]) | st.integers(200, 999),
        reason=st.just("OK") | st.just("") | values,
        headers=header_sets,
        connection=connections,
        body=bodies,
        framing=st.sampled_from(framings),
        interim=st.lists(st.sampled_from([100, 102, 103, 199]), max_size=MAX_INTERIM),
    )


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut into pieces at these places, modulo the length."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


cuts = st.lists(st.integers(0, 10_000), max_size=12) | st.just(list(range(4_000)))


def written_by_h11(response: Response) -> bytes:
    server = h11.Connection(h11.SERVER)
    version = b"1.0" if response.framing == "close" else b"1.1"
    server.receive_data(b"GET / HTTP/" + version + b"\r\nHost: a\r\n\r\n")
    while not isinstance(server.next_event(), h11.EndOfMessage):
        pass
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if response.connection:
        headers.append((b"Connection", response.connection.encode()))
    if response.framing == "length":
        headers.append((b"Content-Length", str(len(response.body)).encode()))
    elif response.framing == "chunked":
        headers.append((b"Transfer-Encoding", b"chunked"))
    wire = b""
    for status in response.interim:
        wire += server.send(h11.InformationalResponse(status_code=status, headers=[])) or b""
    wire += (
        server.send(
            h11.Response(status_code=response.status, headers=headers, reason=response.reason.encode("latin-1"))
        )
        or b""
    )
    if response.status not in (204, 304):
        wire += server.send(h11.Data(data=response.body)) or b""
    return wire + (server.send(h11.EndOfMessage()) or b"")


@settings(max_examples=EXAMPLES, deadline=None)
@given(responses(["length", "chunked", "close"]), cuts)
def test_responses_written_by_h11_parse_as_h11_parses_them(response: Response, places: list[int]) -> None:
    pieces = split(written_by_h11(response), places)
    parsed = ours(pieces)
    assert parsed == theirs(pieces)
    assert parsed.status == response.status
    assert parsed.body == (b"" if response.status in (204, 304) else response.body)


class Style(NamedTuple):
    """Choices that the grammar leaves to a server."""

    sizes: list[int]
    extension: str
    leading_zeros: int
    upper: bool
    trailers: list[tuple[str, str]]
    before_value: str
    after_value: str
    fold: bool
    bare_status: bool


styles = st.builds(
    Style,
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=8),
    extension=chunk_extensions,
    leading_zeros=st.integers(0, 6),
    upper=st.booleans(),
    trailers=header_sets,
    before_value=st.sampled_from([" ", "", "  ", "\t"]),
    after_value=st.sampled_from(["", " ", "\t "]),
    fold=st.booleans(),
    bare_status=st.booleans(),
)


def written_by_hand(response: Response, style: Style) -> bytes:
    def line(name: str, value: str) -> str:
        if style.fold and name.lower() not in FRAMING:
            value = value.replace(" ", "\r\n \t")
        return f"{name}:{style.before_value}{value}{style.after_value}\r\n"

    head = "".join(f"HTTP/1.1 {status} \r\n{line('Link', 'x')}\r\n" for status in response.interim)
    head += f"HTTP/1.1 {response.status}" + ("" if style.bare_status else f" {response.reason}") + "\r\n"
    head += "".join(line(*header) for header in response.headers)
    if response.connection:
        head += line("CONNECTION", response.connection)
    wire = response.body
    if response.framing == "length":
        head += line("content-LENGTH", str(len(response.body)))
        head += line("Content-Length", str(len(response.body))) * (style.leading_zeros > 4)
    elif response.framing == "chunked":
        head += line("TRANSFER-Encoding", "Chunked" if style.upper else "chunked")
        wire, rest, number = b"", response.body, 0
        while rest:
            size = style.sizes[number % len(style.sizes)]
            chunk, rest, number = rest[:size], rest[size:], number + 1
            digits = "0" * style.leading_zeros + (f"{len(chunk):X}" if style.upper else f"{len(chunk):x}")
            wire += f"{digits}{style.extension}\r\n".encode() + chunk + b"\r\n"
        wire += f"0{style.extension}\r\n".encode()
        wire += "".join(f"{name}: {value}\r\n" for name, value in style.trailers).encode("latin-1") + b"\r\n"
    if response.status in (204, 304):
        wire = b""
    return (head + "\r\n").encode("latin-1") + wire


# h11 refuses whitespace before a chunk's extension; RFC 9112, section 7.1.1, allows it.
@settings(max_examples=EXAMPLES, deadline=None)
@given(responses(["length", "chunked", "close"]), styles.filter(lambda style: style.extension != "\t;q=1"), cuts)
def test_responses_that_the_grammar_allows_parse_as_h11_parses_them(
    response: Response, style: Style, places: list[int]
) -> None:
    pieces = split(written_by_hand(response, style), places)
    parsed = ours(pieces)
    assert parsed == theirs(pieces)
    assert parsed.body == (b"" if response.status in (204, 304) else response.body)


# Invalid responses

NASTY = [
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n", b"\0", b" ", b"\t", b":", b";", b",", b"\xff", b"\x7f", b"\x0b",
    b"\x1f",
    b"0", b"-1", b"+5", b"5, 5", b"0x5", b"204", b"ffffffffffffffffff", b"99999999999999999999999",
    b"Content-Length: 3\r\n", b"Content-Length: 4\r\n", b"Connection: close\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/2.0", b"HTTP/1.1 100 \r\n\r\n", b"HTTP/1.1 101 \r\n\r\n",
    b"0\r\n\r\n", b"1\r\nx\r\n", b" folded\r\n", b"\r\n folded",
]  # fmt: skip

edits = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(0, 10_000), st.sampled_from(NASTY)),
        st.tuples(
            st.just("replace"), st.integers(0, 10_000), st.sampled_from(NASTY) | st.binary(min_size=1, max_size=1)
        ),
        st.tuples(st.just("remove"), st.integers(0, 10_000), st.binary(min_size=1, max_size=5)),
        st.tuples(st.just("repeat"), st.integers(0, 10_000), st.binary(min_size=1, max_size=20)),
        st.tuples(st.just("end"), st.integers(0, 10_000), st.just(b"")),
    ),
    min_size=1,
    max_size=3,
)


def edit(data: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for kind, where, what in changes:
        place = where % (len(data) + 1)
        before, after = data[:place], data[place:]
        if kind == "insert":
            data = before + what + after
        elif kind == "replace":
            data = before + what + after[len(what) :]
        elif kind == "remove":
            data = before + after[len(what) :]
        elif kind == "repeat":
            data = before + after[: len(what)] + after
        else:
            data = before
    return data


def is_known_difference(error: h11.RemoteProtocolError, wire: bytes) -> bool:
    """Return whether our parser accepts, without harm, what h11 refuses for this reason.

    - An invalid trailer: our parser skips trailers, and ends them where h11 does.
    - Whitespace before a chunk's extension: the grammar allows it.
    """
    if str(error).startswith(("illegal header line", "continuation line")):
        return IN_BODY in error.__notes__
    return str(error).startswith("illegal chunk header") and re.search(rb"[0-9A-Fa-f][ \t]+;", wire) is not None


def assert_as_strict_as_h11(pieces: list[bytes]) -> None:
    wire = b"".join(pieces)
    try:
        parsed = ours(pieces)
    except TransportError:
        return  # our parser may be stricter
    try:
        expected = theirs(pieces)
    except h11.RemoteProtocolError as error:
        if is_known_difference(error, wire):
            return
        raise AssertionError(f"h11 refuses {wire!r}: {error}") from error
    assert parsed[:3] == expected[:3]
    # Our client keeps a connection to an HTTP/1.0 server that offers it.
    assert expected.reusable or not parsed.reusable or (b"HTTP/1.0" in wire and "connection" in parsed.headers)


@pytest.mark.parametrize("status", ["99", "9", "", "099", "1000", "2O0", "20"])
def test_a_status_has_three_digits(status: str) -> None:
    with pytest.raises(TransportError):
        ours(
            [
                f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode(),
                b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ]
        )


@settings(max_examples=3 * EXAMPLES, deadline=None)
@given(responses(["length", "chunked", "chunked", "close"]), styles, edits, cuts)
def test_responses_that_h11_refuses_are_refused(
    response: Response, style: Style, changes: list[tuple[str, int, bytes]], places: list[int]
) -> None:
    assert_as_strict_as_h11(split(edit(written_by_hand(response, style), changes), places))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.sampled_from(NASTY), max_size=20).map(b"".join), cuts)
def test_noise_is_refused_as_h11_refuses_it(noise: bytes, places: list[int]) -> None:
    assert_as_strict_as_h11(split(noise, places))


# Limits and grammar, case by case

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def endless(start: bytes, piece: bytes, limit: int = 2_000) -> Callable[[], bytes]:
    """Return the source of a server that never stops sending; it raises `StopIteration` after `limit` pieces."""
    pieces = chain([start], repeat(piece, limit))
    return pieces.__next__


@pytest.mark.parametrize(
    ("start", "piece", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 1000 + b"\r\n", "headers are larger than 65,536"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1000, "headers are larger"),
        (b"HTTP/1.1 ", b"2" * 1000, "headers are larger"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", "more than 10 interim"),
        (CHUNKED, b"1" * 1000, "line in the response's body is longer than 4,096"),
        (CHUNKED, b"1;x=" + b"y" * 5000 + b"\r\nx\r\n", "longer than 4,096"),
        (CHUNKED, b"3e8\r\n" + b"x" * 1000 + b"\r\n", "body is larger than 100,000"),
        (CHUNKED + b"0\r\n", b"X: " + b"x" * 1000 + b"\r\n", "line in the response's body is longer"),
        (CHUNKED + b"0\r\nX: ", b"x" * 1000, "longer than 65,536"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 1000, "body is larger"),
    ],
)
def test_an_endless_response_is_refused(start: bytes, piece: bytes, reason: str) -> None:
    with pytest.raises(BadResponse, match=reason):
        read_response(endless(start, piece) if start else endless(piece, piece), MAX_BODY)


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize(
    "sized",
    [
        lambda extra: response(b"x", "X: " + "x" * (MAX_HEADER_BYTES - 39 + extra)),
        lambda extra: response(b"x", *["X: x"] * (MAX_HEADERS - 1 + extra)),
        lambda extra: response(b"x" * (MAX_BODY + extra)),
        lambda extra: CHUNKED + b"%x\r\n" % (MAX_BODY + extra) + b"x" * (MAX_BODY + extra) + b"\r\n0\r\n\r\n",
        lambda extra: CHUNKED + b"1;" + b"x" * (MAX_CHUNK_LINE - 2 + extra) + b"\r\nx\r\n0\r\n\r\n",
        lambda extra: CHUNKED + b"0\r\nX:" + b"x" * (MAX_HEADER_BYTES - 2 + extra) + b"\r\n\r\n",
        lambda extra: CHUNKED + b"0\r\n" + b"X: x\r\n" * (MAX_HEADER_BYTES // 6) + b"X" * (4 + extra) + b"\r\n\r\n",
        lambda extra: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (MAX_BODY + extra),
        lambda extra: b"HTTP/1.1 103 \r\n\r\n" * (MAX_INTERIM + extra) + response(),
    ],
    ids=["headers' bytes", "headers", "length", "chunk", "chunk line", "trailer", "trailers", "to the end", "interim"],
)
def test_the_bounds_are_exact(sized: Callable[[int], bytes], extra: int) -> None:
    data = sized(extra)
    ways = [[data[:-last], data[-last:]] for last in range(1, 13)]
    for pieces in [data], [data[place : place + 7] for place in range(0, len(data), 7)], *ways:
        if extra:
            with pytest.raises(BadResponse, match=r"larger|longer|more than"):
                ours(pieces)
        else:
            assert ours(pieces).status == 200


def head(*lines: str, first: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


BAD_HEADERS = {
    "two lengths": head("Content-Length: 1", "Content-Length: 2"),
    "two lengths in one": head("Content-Length: 1, 1"),
    "a negative length": head("Content-Length: -1"),
    "a length with a sign": head("Content-Length: +1"),
    "a hexadecimal length": head("Content-Length: 0x1"),
    "a length with an underscore": head("Content-Length: 1_0"),
    "no length": head("Content-Length:"),
    "a length of 25 digits": head("Content-Length: " + "9" * 25),
    "a length of 5000 digits": head("Content-Length: " + "9" * 5000),
    "a length of superscripts": head("Content-Length: \xb2"),
    "a huge length": head("Content-Length: 99999999999999999999"),
    "length and coding": head("Content-Length: 1", "Transfer-Encoding: chunked"),
    "coding and length": head("Transfer-Encoding: chunked", "Content-Length: 1"),
    "another coding": head("Transfer-Encoding: gzip"),
    "two codings": head("Transfer-Encoding: gzip, chunked"),
    "chunked twice": head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "no coding": head("Transfer-Encoding: identity"),
    "an empty coding": head("Transfer-Encoding:"),
    "a coding in HTTP/1.0": head("Transfer-Encoding: chunked", first="HTTP/1.0 200 OK"),
    "a coding in a 204": head("Transfer-Encoding: gzip", first="HTTP/1.1 204 No Content"),
    "another protocol": head(first="HTTP/1.1 101 Switching Protocols"),
    "HTTP/2": head(first="HTTP/2 200 OK"),
    "HTTP/1.2": head(first="HTTP/1.2 200 OK"),
    "HTTP/11": head(first="HTTP/11 200 OK"),
    "http": head(first="http/1.1 200 OK"),
    "no space": head(first="HTTP/1.1:200 OK"),
    "a tab": head(first="HTTP/1.1\t200 OK"),
    "two spaces": head(first="HTTP/1.1  200 OK"),
    "a status of two digits": head(first="HTTP/1.1 20 OK"),
    "a status of four digits": head(first="HTTP/1.1 2000 OK"),
    "a status below 100": head(first="HTTP/1.1 099 OK"),
    "a status of superscripts": head(first="HTTP/1.1 \xb2\xb2\xb2 OK"),
    "no status": head(first="HTTP/1.1 "),
    "no status line": head("Content-Length: 0", first="Server: x"),
    "an empty line first": b"\r\n" + head("Content-Length: 0"),
    "no headers": b"\r\n\r\n",
    "a NUL in the reason": head(first="HTTP/1.1 200 O\0K"),
    "a line without a colon": head("Content-Length"),
    "a line without a name": head(": 1"),
    "a space before the colon": head("Content-Length : 1"),
    "a space in a name": head("Content Length: 1"),
    "a name that is not ASCII": head("Caf\xe9: 1"),
    "a NUL": head("X: a\0b"),
    "a bare CR": head("X: a\rContent-Length: 1"),
    "a bare LF": head("X: a\nContent-Length: 1"),
    "an extra CR": head("X: a\r"),
    "another control character": head("X: a\x1bb"),
    "a folded first line": head(" X: a"),
    "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "SMTP": b"220 mail.example ESMTP\r\n",
}


@pytest.mark.parametrize("data", BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_bad_headers_are_refused_at_once(data: bytes) -> None:
    for pieces in ([data], [data[place : place + 1] for place in range(len(data))]):
        with pytest.raises(BadResponse):
            read_response(iter(pieces).__next__, MAX_BODY)  # StopIteration when the parser asks for more


@pytest.mark.parametrize(
    "size",
    [
        "",
        "g",
        "-1",
        "+1",
        "0x1",
        " 1",
        "1 1",
        "1_0",
        "\xb2",
        "1" * 17,
        "0" * 16 + "1",
        "7fffffffffffffff",
        "1\n",
        "\n1",
        "1;a\nb",
        "1,",
    ],
)
def test_a_bad_chunk_size_is_refused(size: str) -> None:
    with pytest.raises(BadResponse):
        ours([CHUNKED + size.encode("latin-1") + b"\r\nx\r\n0\r\n\r\n"])


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"x\r\n", b"\n\r", b" \r\n"])
def test_a_chunk_that_does_not_end_after_its_size_is_refused(end: bytes) -> None:
    with pytest.raises(BadResponse, match="longer than its size"):
        ours([CHUNKED + b"1\r\nx" + end + b"0\r\n\r\n"])


# Valid responses, case by case


@pytest.mark.parametrize(
    ("lines", "first", "reusable"),
    [
        ([], "HTTP/1.1 200 OK", True),
        (["Connection: keep-alive"], "HTTP/1.1 200 OK", True),
        (["Connection: close"], "HTTP/1.1 200 OK", False),
        (["Connection: Foo,\tCLOSE"], "HTTP/1.1 200 OK", False),
        (["Connection: foo", "Connection: close"], "HTTP/1.1 200 OK", False),
        (["Connection: closed"], "HTTP/1.1 200 OK", True),
        (["Connection: x-close-soon"], "HTTP/1.1 200 OK", True),
        (["Close: yes"], "HTTP/1.1 200 OK", True),
        ([], "HTTP/1.0 200 OK", False),
        (["Connection: Keep-Alive"], "HTTP/1.0 200 OK", True),
        (["Connection: no-keep-alive"], "HTTP/1.0 200 OK", False),
        (["Connection: keep-alive, close"], "HTTP/1.0 200 OK", False),
    ],
)
def test_the_connection_header_determines_whether_the_connection_is_kept(
    lines: list[str], first: str, reusable: bool
) -> None:
    assert ours([head("Content-Length: 0", *lines, first=first)]).reusable is reusable


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("framing", ["Content-Length: 5000000", "Transfer-Encoding: chunked", "X: x"])
def test_204_and_304_have_no_body_whatever_their_headers(status: int, framing: str) -> None:
    parsed = ours([head(framing, first=f"HTTP/1.1 {status} X")])
    assert (parsed.status, parsed.body, parsed.reusable) == (status, b"", True)


def test_headers_of_one_name_are_joined_and_lines_unfolded() -> None:
    data = head(
        "A: 1", "X:  a \t", "a: 2", "Content-Length: 0", "content-length: 0", "F: a", " \t b", "\tc", "E:", "D: \xe9"
    )
    assert ours([data]).headers == {"a": "1, 2", "x": "a", "content-length": "0", "f": "a b c", "e": "", "d": "\xe9"}


def test_bytes_after_a_response_make_its_connection_unusable() -> None:
    for whole in (response(), head(first="HTTP/1.1 204 X"), CHUNKED + b"2\r\nok\r\n0\r\n\r\n"):
        assert ours([whole]).reusable
        assert not ours([whole + b"\r\n"]).reusable


def test_the_parser_remembers_at_most_16_sets_of_header_names() -> None:
    for number in range(100):
        assert ours([head(f"X-{number}: 1", "Content-Length: 0")]).headers[f"x-{number}"] == "1"
    assert 0 < len(http_responses._seen) <= 16


# Truncated responses

GOOD = {
    "length": response(b"a body", "Date: today"),
    "chunked": CHUNKED + b"4;x=y\r\na bo\r\n2\r\ndy\r\n0\r\nT: t\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"a body"),
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_a_truncated_response_is_an_unknown_outcome(data: bytes) -> None:
    assert ours([data]).body == b"a body"
    for place in range(len(data)):
        with pytest.raises(OutcomeUnknown):
            ours([data[:place]])
        assert ours([data[:place], data[place:]]).body == b"a body"


def test_truncated_headers_are_an_unknown_outcome_without_a_length_too() -> None:
    data = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\na body"
    for place in range(len(data)):
        if place < len(data) - 6:
            with pytest.raises(OutcomeUnknown):
                ours([data[:place]])
        else:
            assert ours([data[:place]]).body == b"a body"[: place - len(data) + 6]


# Time


def test_a_hostile_response_is_read_in_linear_time() -> None:
    def cost(chunks: int) -> float:
        data = CHUNKED + b"1\r\nx\r\n" * chunks + b"0\r\n\r\n"
        best = 1e9
        for _ in range(3):
            before = thread_time()
            read_response(iter([data]).__next__, chunks)
            best = min(best, thread_time() - before)
        return best

    # Ten times the chunks take about ten times as long; copying the rest for each chunk would take 100 times.
    assert cost(60_000) < 40 * cost(6_000)
