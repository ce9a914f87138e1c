"""Generated input: the result is always as documented, and the work is proportional to the size of the input."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from pathlib import Path
from socket import SHUT_WR
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import sltt_core
from sltt_core.api.app import Api
from sltt_core.api.bodies import MAX_MEMBERS, accepts_gzip, decoded_body
from sltt_core.api.http import MAX_BODY_BYTES, Request
from sltt_core.api.routes import ROUTES, match, parse_parameters
from sltt_core.base.errors import InvalidBatch, InvalidInput, SlttError
from sltt_core.base.json_reader import JsonProblem, LongInteger, decode_utf8, read
from sltt_core.model.changes import parse_changes
from sltt_core.model.drafts import MAX_PROBLEMS
from sltt_core.model.fields import CHECKS
from tests.hostile.raw import Connection, change, is_healthy
from tests.hostile.test_requests import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis.strategies import SearchStrategy

    from sltt_core.server.rest_api_server import RestApiServer
    from sltt_core.sqlite.storage import LocalStorageService

LIMIT = 100_000


def fuzzed(examples: int) -> settings:
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


# Something like JSON

PIECES = [
    *(b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"{}", b"[]", b'""', b'"a"', b'"a":1', b',"a":1', b'{"a":'),
    *(b"null", b"true", b"0", b"-0", b"1.5", b"1e5", b"-", b"0.", b"01", b"1" * 50, b"9" * 400),
    *(b"1e999", b"-1E400", b"0.1e-999", b"NaN", b"Infinity"),
    *(b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\n", b"\\x", b"\\u12", b"\\\\", b'\\"'),
    *(b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0", b"\n", b"\x1f", b"\x7f", b"\xe2\x80\xa8"),
    *(b"{" * 70, b"[" * 70, b"]" * 70, b'{"a":' * 70, b"[{" * 2000),
    *(f'"{name}":'.encode() for name in CHECKS),
    *(b'"create"', b'"p"', b'"2025-03-01T09:30:00Z"', b'"\xc2\x85"', change()),
]  # fmt: skip
BODIES = [
    change(),
    b"[" + change() + b"," + change('{"a":[1,{"b":"\\u00e9"},null]}', operation='"update"', seq="7") + b"]",
    b" [ " + change('{"":1.50,"n":' + "8" * 60 + "}", timestamp='"2025-03-01T09:30:00.5+02:00"', cid='"c"') + b" ] ",
]


def spliced(whole: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """Replace some parts with the pieces."""
    for start, length, piece in cuts:
        start %= len(whole) + 1
        whole = whole[:start] + piece + whole[start + length :]
    return whole


SCALARS = [
    *("null", "true", "false", "0", "-0", "1e5", "-1E+5", "1.5", "9" * 50, '""', '"a"', '"\\\\"', '"[{\\""'),
    *('"\\ud83d\\ude00"', '"\\u0000"', '"é"', '"\u2028"', '"😀"', "0.1e-999", "[]", "{}"),
]  # fmt: skip
NESTED = ["[" * depth + "]" * depth for depth in (62, 65)]
DOUBTFUL = ["1e999", "NaN", '"\\ud800"', "01", '{"a":1,"a":2}', "'a'", "9" * 400, *NESTED]
FIELDS = {
    "projectId": ['"p"', '"q"', "null", '""'],
    "entityType": ['"t"', '"a.b:c-d_e"', '"t t"', "null"],
    "entityId": ['"e"', '"é 😀"', '"\\u00e9"', '"\\u0000"', '"' + "e" * 256 + '"'],
    "operation": ['"create"', '"update"', '"delete"', "null", '"void"'],
    "timestamp": ['"2025-03-01T09:30:00Z"', '"2025-03-01 09:30:00.123456+0200"', "null", '"2025-02-30T00:00Z"'],
    "changeAt": ['"2025-03-01T09:30:00.000Z"', "null", "0"],
    "cid": ['"c"', "null", '"\\n"'],
    "changeBy": ['"somebody"', "null", "[]"],
    "seq": ["0", "7", str(2**63 - 1), "null", "-1", "1.0"],
    "cloudAt": ['"2025-03-01T09:30:00Z"', "null", '"yesterday"'],
    "outdatedBy": ["7", "null", '"7"'],
    "surprise": ["null"],
}
GAP = st.sampled_from(["", "", "", " ", "\n\t", "\r\n"])
NAME = st.sampled_from(['"a"', '"b"', '""', '"é"', '"\\u0061"', '"__proto__"', '"\\\\"'])


def written(inside: SearchStrategy[str], begin: str, end: str) -> SearchStrategy[str]:
    """Join texts with gaps between them."""
    return st.builds(
        lambda gap, parts: begin + gap + f"{gap},{gap}".join(parts) + gap + end, GAP, st.lists(inside, max_size=3)
    )


def members(values: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.builds(lambda name, gap, value: f"{name}{gap}:{gap}{value}", NAME, GAP, values)


VALUES = st.recursive(
    st.sampled_from(SCALARS * 6 + DOUBTFUL),
    lambda inner: written(inner, "[", "]") | written(members(inner), "{", "}"),
    max_leaves=6,
)
CHANGES = st.builds(
    lambda data, fields: change(data, **fields).decode(),
    written(members(VALUES), "{", "}"),
    # The first entries of the lists are valid and likely.
    st.fixed_dictionaries({}, optional={name: st.sampled_from(texts[:2] * 6 + texts) for name, texts in FIELDS.items()})
    | st.just({}),
)
PIECE = st.sampled_from(PIECES) | st.binary(max_size=3)
CUTS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), PIECE), max_size=3)
GOOD_OR_NEARLY = st.sampled_from(BODIES) | (CHANGES | written(CHANGES, "[", "]")).map(str.encode)
LIKE_JSON = (
    GOOD_OR_NEARLY
    | GOOD_OR_NEARLY
    | st.builds(spliced, GOOD_OR_NEARLY, CUTS)
    | st.binary(max_size=60)
    | st.lists(PIECE, max_size=12).map(b"".join)
)


def plain(text: str) -> Any:
    """Read JSON as the standard library does, but long integers as ours: it refuses those of over 4,300 digits."""
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) <= 40 else LongInteger(digits))


@fuzzed(700)
@given(LIKE_JSON, st.sampled_from([None, "p"]))
@example(BODIES[0], None)
@example(BODIES[1], None)
@example(BODIES[2], "p")
def test_a_body_parses_to_its_changes_or_to_problems(body: bytes, project_id: str | None) -> None:
    try:
        found = parse_changes(body, project_id)
    except InvalidBatch as error:
        problems = error.problems
    else:
        problems = ()
    if problems:
        assert len(problems) <= MAX_PROBLEMS + 1
        assert all(len(problem.reason) < 300 and len(problem.field) < 300 for problem in problems)
        return
    given = plain(body.decode())
    given = given if isinstance(given, list) else [given]
    assert len(found) == len(given) > 0
    for new, change_given in zip(found, given, strict=True):
        assert plain(new.data_json) == change_given["data"]
        assert new.data_json.encode() in body
        assert new.entity_type == change_given["entityType"]
        assert new.entity_id == change_given["entityId"]
        assert new.project_id == (change_given.get("projectId") or project_id)
        assert new.operation == change_given.get("operation")
        assert new.cid == change_given.get("cid")
        assert new.change_by == change_given.get("changeBy")
        assert (new.client_seq is None) == (change_given.get("seq") is None)


@fuzzed(700)
@given(LIKE_JSON.map(lambda body: body.decode("utf-8", "replace")))
def test_a_text_is_parsed_as_by_the_standard_library_or_refused(text: str) -> None:
    try:
        value = read(text)
    except JsonProblem as problem:
        reason = str(problem)
    else:
        reason = ""
    assert len(reason) < 300
    assert reason or json.dumps(value) == json.dumps(plain(text))


# Something like gzip

COMPRESSED = [gzip.compress(body, mtime=0) for body in (b"", b"x", BODIES[1], bytes(5000))]


@fuzzed(600)
@given(
    st.binary(max_size=40)
    | st.lists(st.sampled_from(COMPRESSED) | st.binary(max_size=3), max_size=4).map(b"".join)
    | st.builds(
        spliced, st.sampled_from(COMPRESSED), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 9), st.binary()))
    ),
    st.sampled_from([4000, LIMIT]),
)
def test_a_body_is_decompressed_correctly_or_refused(body: bytes, limit: int) -> None:
    try:
        decompressed = decoded_body(body, {"content-encoding": "gzip"}, limit)
    except InvalidInput:
        return
    assert len(decompressed) <= limit
    assert decompressed == gzip.decompress(body)


@fuzzed(300)
@given(st.lists(st.sampled_from(["gzip", "br", "*", "identity", ";", "q=", "0", "1", ".", ",", " ", "=", "x", "\xff"])))
def test_any_accept_encoding_is_accepted(parts: list[str]) -> None:
    assert accepts_gzip({"accept-encoding": "".join(parts)}) in (True, False)


# Something like a request

TARGET_PIECES = [
    *(route.path.replace("{projectId}", "p").replace("{seq}", "1") for route in ROUTES),
    *("/", "//", "/api", "/api/projects/", "/changes", "/stats", "p", "1", "*", "%", "%2F", "%00", "%ff", "%C3%A9"),
    *("?", "&", "=", "+", ";", "#", "limit=", "cursor=", "wait=0", "chain=", "entityType=", "entityId=", "outdated="),
    *("0", "1", "1000", "9" * 20, "-", "nan", "include", "exclude", "t", "A" * 22, "%D9%A3"),
    *("é", "\udcff", "\xff", "\0"),
]  # fmt: skip
PARAMETERS = {
    "projectId": ["p", "nobody", "a%2Bb", "%70", "%00"],
    "seq": ["1", "2", "%31", "0"],
    "principal": ["ada", "%F0%9F%A4%9F", "a%2Fb", "%00"],
    "tokenId": ["A" * 16, "A", "%41" * 16, "A" * 15 + "%23"],
    "invitationId": ["A" * 16, "A", "%41" * 16, "A" * 15 + "%23"],
    "cursor": ["0", "1", "999", "p", "-1"],
    "limit": ["1", "1000", "%31", "0"],
    "chain": ["A" * 22, "B" * 22, "x"],
    "wait": ["0", "0.0", "nan"],
    "at": ["p:0", "p:1:" + "A" * 22, "a:b:1", "p:", "p:x", "%3A"],
    "data": ["text", "json", "x"],
    "entityType": ["t", "a.b", "a b"],
    "entityId": ["e", "%C3%A9", "a+b", "%ff"],
    "outdated": ["include", "exclude", "yes"],
}


@st.composite
def routed(draw: st.DrawFn) -> tuple[str, str]:
    """Return a request for a route, with some of its parameters and mostly valid values."""
    route = draw(st.sampled_from(ROUTES))
    path, pairs = route.path, []
    for parameter in route.parameters:
        texts = PARAMETERS[parameter.name]
        text = draw(st.sampled_from(texts[:1] * 8 + texts))
        if parameter.place == "path":
            path = path.replace(f"{{{parameter.name}}}", text)
        else:
            pairs += [f"{parameter.name}={text}"] * draw(st.sampled_from([0, 0, 0, 0, 1, 1, 1, 2]))
    return route.method, f"{path}?{'&'.join(pairs)}" if pairs else path


LIKE_TARGETS = st.lists(st.sampled_from(TARGET_PIECES) | st.text(max_size=3), min_size=1, max_size=8).map("".join)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "content-type",
            "content-encoding",
            "accept-encoding",
            "idempotency-key",
            "if-none-match",
            "origin",
            "host",
            "x-request-id",
            "access-control-request-method",
        ]
    ),
    st.sampled_from(["application/json", "gzip", "*", 'W/"x"', "a" * 16, "http://localhost", "", ",", "\xff", "null"])
    | st.text(st.characters(max_codepoint=255), max_size=20),
    max_size=4,
)
METHODS = st.sampled_from(["GET", "GET", "HEAD", "POST", "POST", "OPTIONS", "PUT", "TRACE", "", "get"])
ASKED = routed() | routed() | st.tuples(METHODS, LIKE_TARGETS)


@fuzzed(700)
@given(ASKED)
def test_a_target_is_parsed_or_refused(asked: tuple[str, str]) -> None:
    method, target = asked
    path, _, query = target.partition("?")
    try:
        route, found = match(method, path)
        parameters = parse_parameters(route, found, query)
    except SlttError as error:
        refused = error
    else:
        assert parameters.keys() <= {parameter.name for parameter in route.parameters}
        return
    assert refused.status in (400, 404, 405)
    assert len(refused.message) < 500


@fuzzed(700)
@given(ASKED, HEADERS, LIKE_JSON | st.sampled_from(COMPRESSED))
def test_any_request_gets_a_response(
    fuzzed_api: tuple[Api, list[BaseException]], asked: tuple[str, str], headers: dict[str, str], body: bytes
) -> None:
    api, reported = fuzzed_api
    method, target = asked
    if method == "POST":
        headers = {"content-type": "application/json", **headers}
    path, _, query = target.partition("?")
    response = api.handle(Request(method, path, query, headers, body))
    assert not reported
    assert 200 <= response.status < 500
    assert all(name.isascii() and value.isprintable() for name, value in response.headers)
    assert response.header("x-request-id")
    compressed = response.header("content-encoding") == "gzip"
    text = gzip.decompress(response.content) if compressed else response.content
    assert text == b"" if response.status in (204, 304) else json.loads(text)


@pytest.fixture(scope="module")
def fuzzed_api(server: RestApiServer, storage: LocalStorageService) -> tuple[Api, list[BaseException]]:
    """An API on the server's storage, and the list of its unexpected errors."""
    reported: list[BaseException] = []
    return Api(storage, "fuzzed", cors=["http://localhost"], report=reported.append), reported


# Something like HTTP

SENT = [row.request for table in TABLES.values() for row in table if isinstance(row.request, bytes)]
SMALL = [request for request in SENT if len(request) < 1000]
WIRE_PIECES = [
    *(b"\r\n", b"\n", b"\r", b" ", b":", b"0", b"\0", b"\xff", b"0\r\n\r\n", b"ffffffffffffffff\r\n"),
    *(b"GET / ", b"HTTP/1.1", b"Host: localhost\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Connection: close\r\n", b"Upgrade: h2c\r\nConnection: upgrade\r\n"),
]  # fmt: skip
LIKE_HTTP = st.lists(
    st.builds(
        spliced,
        st.sampled_from(SMALL),
        st.lists(
            st.tuples(st.integers(0, 400), st.integers(0, 12), st.sampled_from(WIRE_PIECES) | st.binary(max_size=3)),
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=3,
).map(b"".join)


@settings(fuzzed(400), suppress_health_check=[HealthCheck.too_slow])
@given(LIKE_HTTP)
def test_a_server_survives_any_bytes(server: RestApiServer, sent: bytes) -> None:
    with Connection(server.url) as connection:
        connection.send(sent)
        connection.socket.shutdown(SHUT_WR)
        received = connection.rest()
    assert b"HTTP/1.1 5" not in received.replace(b"HTTP/1.1 501 ", b"")  # 501: an unknown transfer coding
    assert received.startswith(b"HTTP/1.1 ") or not received
    assert is_healthy(server.url)


# Linear work: four times the input takes about four times the work, not sixteen times.


class Text(str):
    """A text that counts the characters that its methods copy or search."""

    work = 0

    def __getitem__(self, place: Any) -> Text:
        found = Text(super().__getitem__(place))
        Text.work += len(found)
        return found

    def count(self, *arguments: Any) -> int:
        Text.work += len(range(*slice(*arguments[1:3] if len(arguments) > 1 else (None, None)).indices(len(self))))
        return super().count(*arguments)

    def encode(self, *arguments: Any) -> bytes:
        Text.work += len(self)
        return super().encode(*arguments)


class Bytes(bytes):
    """Bytes that count the copied bytes."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        Text.work += len(found) if isinstance(found, bytes) else 1
        return found


OURS = str(Path(sltt_core.__file__).parent)


def work_of(function: Callable[[], object]) -> int:
    """Count the executed lines of our code, the calls of C functions, and the copied characters."""
    counted = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal counted
        if event == "line":
            counted += 1
        return trace if frame.f_code.co_filename.startswith(OURS) else None

    def profile(frame: Any, event: str, argument: object) -> None:
        nonlocal counted
        if event == "c_call":
            counted += 1

    Text.work = 0
    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        function()
    except SlttError:
        pass
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return counted + Text.work


def is_linear(work: Callable[[int], object], size: int) -> bool:
    once, more = work_of(lambda: work(size)), work_of(lambda: work(4 * size))
    return more <= 4.5 * once + 500


def test_the_count_distinguishes_quadratic_from_linear_work() -> None:
    def square(size: int) -> None:
        text = Text("x" * size)
        for place in range(size):
            text[place:]

    def line(size: int) -> None:
        text = Text("x" * size)
        for place in range(size):
            text[place : place + 10]

    assert is_linear(line, 500)
    assert not is_linear(square, 500)


def changes_of(data: str = "{}", times: int = 1, **fields: str) -> bytes:
    return b"[" + b",".join([change(data, **fields)] * times) + b"]"


LONG: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "changes": (50, lambda n: changes_of(times=n)),
    "changes of several projects": (50, lambda n: b"[%b]" % b",".join(change(projectId=f'"p{i}"') for i in range(n))),
    "bad changes": (50, lambda n: changes_of(times=n, seq="-1")),
    "more bad changes than are reported": (1000, lambda n: changes_of(times=n, seq="-1")),
    "elements that are no changes": (200, lambda n: b"[" + b"0," * n + b"0]"),
    "more numbers than are reported": (2000, lambda n: b"[" + b"0," * n + b"0]"),
    "bad changes, then no JSON": (50, lambda n: changes_of(times=n, seq="-1")[:-1] + b"]x"),
    "good changes, then no JSON": (50, lambda n: changes_of(times=n)[:-1] + b",x]"),
    "changes on lines, then no JSON": (50, lambda n: changes_of(times=n).replace(b"{", b"\n{") + b"x"),
    "changes of too large numbers": (50, lambda n: changes_of('{"a":1e999}', times=n)),
    "changes with a key twice": (50, lambda n: changes_of('{"a":1,"a":2}', times=n)),
    "changes with half a surrogate pair": (50, lambda n: changes_of('{"a":"\\ud800"}', times=n)),
    "unknown fields": (100, lambda n: change(**{f"x{i}": "1" for i in range(n)})),
    "a field over and over": (100, lambda n: b"{" + b",".join([b'"seq":1'] * n) + b"}"),
    "a bad field over and over": (100, lambda n: b"{" + b",".join([b'"data":{"a":1,"a":1}'] * n) + b"}"),
    "keys in data": (300, lambda n: changes_of("{" + ",".join(f'"k{i}":{i}' for i in range(n)) + "}")),
    "a key over and over in data": (300, lambda n: changes_of("{" + ",".join(['"k":1'] * n) + "}")),
    "keys, the last twice": (300, lambda n: changes_of("{" + "".join(f'"k{i}":1,' for i in range(n)) + '"z":1,"z":1}')),
    "elements in data": (300, lambda n: changes_of('{"a":[' + "1," * n + "1]}")),
    "objects in data": (300, lambda n: changes_of('{"a":[' + '{"b":1},' * n + "1]}")),
    "objects with a key twice": (300, lambda n: changes_of('{"a":[' + '{"b":1,"b":1},' * n + "1]}")),
    "levels": (15, lambda n: changes_of('{"a":' + "[" * n + "]" * n + "}")),
    "levels that are too many": (100, lambda n: changes_of('{"a":' + "[" * n + "]" * n + "}")),
    "levels beyond all reason": (5000, lambda n: changes_of('{"a":' + "[" * n + "]" * n + "}")),
    "brackets without an end": (5000, lambda n: b"[" * n),
    "objects without an end": (5000, lambda n: b'{"data":' * n),
    "brackets in a string": (300, lambda n: changes_of('{"a":"' + "[{" * n + '"}')),
    "backslashes": (300, lambda n: changes_of('{"a":"' + "\\\\" * n + '","b":[' + "[]," * 100 + "1]}")),
    "backslashes in a key": (300, lambda n: changes_of('{"' + "\\\\" * n + '":1}')),
    "backslashes in a field's name": (300, lambda n: change(**{"\\\\" * n: "1"})),
    "backslashes in an id": (300, lambda n: changes_of(entityId='"' + "\\\\" * n + '"')),
    "quotes in a string": (300, lambda n: changes_of('{"a":"' + '\\"' * n + '"}')),
    "pairs of surrogates": (300, lambda n: changes_of('{"a":"' + "\\ud83d\\ude00" * n + '"}')),
    "pairs, then a half": (300, lambda n: changes_of('{"a":"' + "\\ud83d\\ude00" * n + '\\ud800"}')),
    "digits": (300, lambda n: changes_of('{"a":' + "7" * n + "}")),
    "digits of a fraction": (300, lambda n: changes_of('{"a":0.' + "7" * n + "}")),
    "digits of an exponent": (300, lambda n: changes_of('{"a":1e' + "7" * n + "}")),
    "digits of a seq": (300, lambda n: changes_of(seq="7" * n)),
    "blanks": (500, lambda n: b" " * n + changes_of() + b"\n" * n),
    "blanks between": (300, lambda n: changes_of().replace(b",", b"," + b"\t" * n).replace(b":", b"\r" * n + b":")),
    "blanks alone": (500, lambda n: b" " * n),
    "lines, then no JSON": (500, lambda n: changes_of('{"a":[' + "1,\n" * n + "x]}")),
    "text that is no UTF-8 at its end": (500, lambda n: changes_of('{"a":"' + "x" * n + '"}') + b"\xff"),
    "a string that does not end": (500, lambda n: b'{"data":{"a":"' + b"x" * n),
    "letters beyond ASCII": (300, lambda n: changes_of('{"a":"' + "\u00e9\u8a9e\U0001f600" * n + '"}')),
}


@pytest.mark.parametrize("name", LONG)
def test_parsing_a_body_takes_linear_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    size, body = LONG[name]
    monkeypatch.setattr("sltt_core.model.changes.decode_utf8", lambda body: Text(decode_utf8(body)))
    assert is_linear(lambda n: parse_changes(body(n)), size)


PACKED_LONG: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "members": (20, lambda n: gzip.compress(bytes(20_000), 0) * n),
    "members beyond all reason": (1000, lambda n: gzip.compress(b"x") * n),
    "well compressed": (50_000, lambda n: gzip.compress(bytes(n))),
    "hardly compressed": (50_000, lambda n: gzip.compress(bytes(n), 0)),
    "broken off": (50_000, lambda n: gzip.compress(bytes(n), 0)[:-9]),
    "another format": (50_000, lambda n: zlib.compress(bytes(n), 0)),
    "too much": (3_000_000, lambda n: gzip.compress(bytes(n))),
    "a name": (50_000, lambda n: b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"n" * n),
}


@pytest.mark.parametrize("name", PACKED_LONG)
def test_decompressing_a_body_takes_linear_work(name: str) -> None:
    size, body = PACKED_LONG[name]
    bodies = {n: Bytes(body(n)) for n in (size, 4 * size)}
    assert is_linear(lambda n: decoded_body(bodies[n], {"content-encoding": "gzip"}, 2_000_000), size)


@pytest.mark.parametrize("member", [b"", b"x", bytes(1000)])
def test_each_of_many_members_takes_little_work(member: bytes) -> None:
    body = Bytes(gzip.compress(member) * 100_000)
    work = work_of(lambda: decoded_body(body, {"content-encoding": "gzip"}, MAX_BODY_BYTES))
    assert work < MAX_MEMBERS * 20_000


@pytest.mark.parametrize(
    "target",
    [
        lambda n: "/" * n,
        lambda n: "/api/projects/" + "p" * n + "/stats",
        lambda n: "/api/projects/" + "%41" * n + "/stats",
        lambda n: "/api/projects/" + "%" * n + "/stats",
        lambda n: "/api/projects/p/changes?" + "&" * n,
        lambda n: "/api/projects/p/changes?" + "&".join(f"a{i}={i}" for i in range(n)),
        lambda n: "/api/projects/p/changes?" + "&".join(["limit=1"] * n),
        lambda n: "/api/projects/p/changes?" + "&".join(["entityId=%C3%A9"] * n),
        lambda n: "/api/projects/p/changes?" + "=" * n,
        lambda n: "/api/projects/p/changes?entityId=" + "+" * n,
        lambda n: "/api/projects/p/changes?limit=" + "9" * n,
        lambda n: "/api/projects/p/changes?wait=" + "9" * n,
    ],
    ids=[
        "slashes",
        "letters",
        "encoded",
        "bad",
        "ampersands",
        "names",
        "limits",
        "ids",
        "equals",
        "pluses",
        "9s",
        "waits",
    ],
)
def test_parsing_a_target_takes_linear_work(target: Callable[[int], str]) -> None:
    def understand(size: int) -> None:
        path, _, query = target(size).partition("?")
        parse_parameters(*match("GET", Text(path)), Text(query))

    assert is_linear(understand, 300)


@pytest.mark.parametrize(
    "name", ["if-none-match", "accept-encoding", "content-type", "x-request-id", "idempotency-key"]
)
def test_a_long_header_takes_linear_work(fuzzed_api: tuple[Api, list[BaseException]], name: str) -> None:
    def ask(size: int) -> None:
        fuzzed_api[0].handle(Request("GET", "/api/help", "", {name: Text(',W/"x"; q=1' * size)}))

    assert is_linear(ask, 300)
