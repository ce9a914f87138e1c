from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base import json_reader
from sltt_core.base.json_reader import (
    MAX_DEPTH,
    JsonProblem,
    LongInteger,
    Reader,
    decode_utf8,
    has_lone_surrogate,
    is_deeper,
    is_object,
    quote,
    read,
    where,
    whole_number,
)
from tests.sltt_core.samples import json_values

# Agreement with the standard library, and places.

SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def spell(value: Any, random: Random) -> str:
    """Write a value as JSON in one of the many ways: white space, escapes, forms of numbers."""

    def space() -> str:
        return "".join(random.choices(" \t\n\r", k=random.choice((0, 0, 0, 1, 3))))

    def character(c: str) -> str:
        ways = [] if c < " " or c in '"\\' else [c, c, c]
        if c in SHORT_ESCAPES:
            ways.append(SHORT_ESCAPES[c])
        if not ways or random.random() < 0.2:
            octets = c.encode("utf-16-be")
            units = [f"{octets[i]:02x}{octets[i + 1]:02x}" for i in range(0, len(octets), 2)]
            ways = ["".join("\\u" + "".join(random.choice((d, d.upper())) for d in unit) for unit in units)]
        return random.choice(ways)

    if isinstance(value, str):
        return f'"{"".join(map(character, value))}"'
    if isinstance(value, float):
        return random.choice((repr(value), f"{value:.17e}", f"{value:.16E}".replace("E+", "E")))
    if isinstance(value, list):
        items = [f"{space()}{spell(item, random)}{space()}" for item in value]
        return f"[{','.join(items) or space()}]"
    if isinstance(value, dict):
        pairs = [f"{space()}{spell(k, random)}{space()}:{space()}{spell(v, random)}{space()}" for k, v in value.items()]
        return f"{{{','.join(pairs) or space()}}}"
    return json.dumps(value)


randoms = st.randoms(use_true_random=True)
spaces = st.text(" \t\n\r", max_size=3)


@settings(deadline=None, max_examples=200)
@given(json_values, randoms, spaces, spaces)
def test_valid_json_is_read_as_the_standard_library_reads_it(
    value: Any, random: Random, before: str, after: str
) -> None:
    spelled = spell(value, random)
    for text in (spelled, json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        # By their writing: to Python 1, 1.0 and True are equal.
        assert repr(read(before + text + after)) == repr(json.loads(text))


@settings(deadline=None, max_examples=100)
@given(st.lists(json_values, min_size=1, max_size=4), randoms, spaces)
def test_the_reader_knows_the_place_of_each_value(values: list[Any], random: Random, space: str) -> None:
    texts = [spell(value, random) for value in values]
    glue = f"{space},{space}"
    array = Reader(f"{space}[{space}{glue.join(texts)}{space}]{space}")
    skimmed = Reader(array.text)
    found, indices = [], []
    for index, _ in zip(array.elements(), skimmed.elements(), strict=True):
        start = array.at
        array.value()
        found.append(array.text[start : array.at])
        indices.append(index)
        skimmed.skip()
        assert skimmed.at == array.at
    array.finish()
    assert (found, indices) == (texts, list(range(len(texts))))

    names = [f'k"{index}' for index in indices]
    members = glue.join(f"{quote(name)}{space}:{space}{text}" for name, text in zip(names, texts, strict=True))
    whole = Reader(f"{space}{{{space}{members}{space}}}{space}")
    pairs = []
    for name in whole.members():
        start = whole.at
        whole.value()
        pairs.append((name, whole.text[start : whole.at]))
    whole.finish()
    assert pairs == list(zip(names, texts, strict=True))


@settings(deadline=None, max_examples=300)
@given(st.text('{}[]":,\\u0 1-.eEdD89aftn\n', max_size=12) | st.text(max_size=6))
def test_invalid_json_is_refused_with_a_json_problem_and_no_other_error(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        expected = JsonProblem
    try:
        value = read(text)
    except JsonProblem:
        return  # our rules are stricter: see the tables below
    assert repr(value) == repr(expected)


# Valid and invalid JSON, modelled on the JSON parsing test suite by Nicolas Seriot.


def step_through(text: str, step: Callable[[Reader], object]) -> None:
    """Read an object or array value by value."""
    reader = Reader(text)
    for _ in reader.members() if text.startswith("{") else reader.elements():
        step(reader)
    reader.finish()


ACCEPTED: list[tuple[str, Any]] = [
    ("[]", []),
    ("{}", {}),
    (" [ ] ", []),
    ("\t{\n}\r", {}),
    ("null", None),
    ("true", True),
    ("false", False),
    ("0", 0),
    ("-0", 0),
    ("-0.0", -0.0),
    ("0e1", 0.0),
    ("0E+1", 0.0),
    ("0e999", 0.0),
    ("1e-999", 0.0),
    ("1E22", 1e22),
    ("1e308", 1e308),
    ("-1.7976931348623157e308", -1.7976931348623157e308),
    ("123.456e-789", 0.0),
    ("0.1", 0.1),
    ("-1", -1),
    ("1" * 40, int("1" * 40)),
    ('""', ""),
    ('"a"', "a"),
    ('"\\u0061"', "a"),
    ('"\\u0000"', "\0"),
    ('"\\u001F"', "\x1f"),
    ('"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'),
    ('"\x7f"', "\x7f"),
    ('"\u2028\u2029"', "\u2028\u2029"),
    ('"\ufeff"', "\ufeff"),
    ('"\U0010ffff"', "\U0010ffff"),
    ('"\\ud83d\\ude00"', "😀"),
    ('"\\uD83D\\uDE00"', "😀"),
    ('"\\uDbFf\\udFfF"', "\U0010ffff"),
    ('"\\ud800\\udc00"', "\U00010000"),
    ('"\\\\ud800"', "\\ud800"),
    ('"\\\\\\\\uDC00"', "\\\\uDC00"),
    ('"\\ud7ff\\ue000"', "\ud7ff\ue000"),
    ('"\\uFFFF"', "\uffff"),
    ('"[{"', "[{"),
    ('"//* no comment"', "//* no comment"),
    ('{"":0}', {"": 0}),
    ('{"a":{"a":1}}', {"a": {"a": 1}}),
    ('[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
    ('{"a":1,"A":2}', {"a": 1, "A": 2}),
    ('{"é":1,"e\u0301":2}', {"é": 1, "e\u0301": 2}),
    ('{"a":[1,"b",null,{"c":[]}]}', {"a": [1, "b", None, {"c": []}]}),
    ("[[[]],[]]", [[[]], []]),
    ('{"__proto__":1,"constructor":2}', {"__proto__": 1, "constructor": 2}),
    ('{"NaN":"Infinity"}', {"NaN": "Infinity"}),
]

REFUSED = [
    # No value, or text after it.
    *("", " ", "\n", "1 2", "[] []", "{}x", "[]]", "{}}", "null,", "[],", '"a""b"', "[1]#", "\0", "1\0"),
    # Truncated.
    *("[", "{", "[1", "[1,", '{"a"', '{"a":', '{"a":1', '{"a":1,', '"', '"a', '"\\', '"\\u', '"\\u00', '"\\u00e"',),
    *("tru", "-", "[{"),
    # Commas and colons.
    *("[,]", "[1,]", "[,1]", "[1,,2]", "[1 2]", "[1:2]", '{"a":1,}', "{,}", '{"a" 1}', '{"a"::1}', '{"a",1}'),
    *('{:1}', '{"a":}'),
    # Invalid keys.
    *("{a:1}", "{1:1}", "{'a':1}", "{null:1}", "{[]:1}", '{{"a":1}:1}'),
    # Brackets.
    *("]", "}", "[}", "{]", '[{"a":1]', '{"a":[1}', "[1)", "<a>"),
    # Words.
    *("nul", "True", "NULL", "undefined", "nulll", "None", "yes"),
    # Numbers.
    *("01", "-01", "00", "1.", ".5", "-.5", "1.e1", "1e", "1e+", "1eE2", "+1", "--1", "- 1", "0x1F", "1_000", "1,000"),
    *("1a", "\u0661", "\uff11", "∞", "1.2.3", "inf", "nan"),
    # Strings.
    *("'a'", '"a\nb"', '"a\tb"', '"\x00"', '"\x1f"', '"\\x41"', '"\\a"', '"\\U0041"', '"\\\'"', '"\\u00g0"'),
    *('"\\u 041"', '"\\u+041"', '"\\u0x41"'),
    # White space that JSON does not allow, comments, and a byte order mark.
    *("\u00a01", "1\u2028", "\v1", "\f1", "[1\u3000]", "/* */1", "1//", "#1", "\ufeff1", "[\ufeff]"),
]  # fmt: skip

LONG = "k" * 50
FORBIDDEN = [
    # Accepted by Python's library, but not by RFC 8259.
    ("NaN", "NaN is not JSON"),
    ("Infinity", "Infinity is not JSON"),
    ("-Infinity", "-Infinity is not JSON"),
    ("[NaN]", "NaN is not JSON"),
    ('{"a":{"b":[-Infinity]}}', "-Infinity is not JSON"),
    # Numbers that would change.
    ("1e999", "1e999 is too large for a double"),
    ("-1e999", "-1e999 is too large for a double"),
    ("1e309", "too large"),
    ("1.8E308", "too large"),
    ('[{"a":1e400}]', "too large"),
    ("1" * 400 + ".5", "the number 1111111111111111111111111111111111111... is too large"),
    # Duplicate keys.
    ('{"a":1,"a":1}', 'the key "a" appears twice'),
    ('{"a":1,"b":2,"a":3}', 'the key "a" appears twice'),
    ('{"b":1,"a":2,"a":3}', 'the key "a" appears twice'),
    ('{"a":1,"\\u0061":2}', 'the key "a" appears twice'),
    ('{"\\u00e9":1,"é":2}', 'the key "é" appears twice'),
    ('{"\\/":1,"/":2}', 'the key "/" appears twice'),
    ('{"":1,"":2}', 'the key "" appears twice'),
    ('{"a":{"b":[{"c":1,"c":2}]}}', 'the key "c" appears twice'),
    ('[[[{"x":{},"x":{}}]]]', 'the key "x" appears twice'),
    ('{"\\n":1,"\\u000a":2}', 'the key "\\\\n" appears twice'),
    (f'{{"{LONG}":1,"{LONG}":2}}', f'the key "{"k" * 37}..." appears twice'),
    # Half of a surrogate pair, which UTF-8 cannot encode.
    ('"\\ud800"', "half of a surrogate pair"),
    ('"\\uD800"', "half of a surrogate pair"),
    ('"\\uDBFF"', "half of a surrogate pair"),
    ('"\\udc00"', "half of a surrogate pair"),
    ('"\\uDfFf"', "half of a surrogate pair"),
    ('"a\\ud83db"', "half of a surrogate pair"),
    ('"\\ud83d\\ud83d\\ude00"', "half of a surrogate pair"),
    ('"\\ude00\\ud83d"', "half of a surrogate pair"),
    ('"\\ud83d\\u0041"', "half of a surrogate pair"),
    ('"\\ud83d\\\\ude00"', "half of a surrogate pair"),
    ('"\\\\\\ud800"', "half of a surrogate pair"),
    ('"\\ud83d😀"', "half of a surrogate pair"),
    ('{"\\ud800":1}', "half of a surrogate pair"),
    ('{"a":[{"b":{"\\uDC00":1}}]}', "half of a surrogate pair"),
    ('[1,{"a":["x","\\uDEAD"]}]', "half of a surrogate pair"),
]


@pytest.mark.parametrize(("text", "value"), ACCEPTED)
def test_json_is_read(text: str, value: Any) -> None:
    assert repr(read(text)) == repr(value)
    assert read(f"[{text}]") == [value]
    assert read(f'{{"k":{text}}}') == {"k": value}


@pytest.mark.parametrize("text", REFUSED)
def test_invalid_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1|line 2|BOM"):
        json.loads(text)
    with pytest.raises(JsonProblem):
        read(text)


@pytest.mark.parametrize("text", REFUSED)
def test_invalid_json_cannot_be_skipped(text: str) -> None:
    with pytest.raises(JsonProblem):
        step_through(f'{{"a":{text}}}', Reader.skip)


@pytest.mark.parametrize(("text", "reason"), FORBIDDEN)
def test_json_that_would_change_is_refused_but_can_be_skipped(text: str, reason: str) -> None:
    for whole in (text, f"[{text}]", f'{{"k":{text}}}'):
        with pytest.raises(JsonProblem, match=reason.replace(".", "\\.")):
            read(whole)
    reader = Reader(f"[{text}, 5]")
    values = []
    for _ in reader.elements():
        start = reader.at
        try:
            values.append(reader.value())
        except JsonProblem:
            assert reader.at == start
            reader.skip()
    reader.finish()
    assert values == [5]


@pytest.mark.parametrize("digits", [41, 4_300, 4_301, 10_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_long_integer_is_accepted_as_text(digits: int, sign: str) -> None:
    text = sign + "7" * digits
    value = read(text)
    assert value == LongInteger(text)
    assert not isinstance(value, str | int)  # otherwise it would be accepted as an entity id
    assert read(f'{{"a":[{text}]}}') == {"a": [LongInteger(text)]}


# Nesting.


def nested(levels: int, kinds: str) -> str:
    """Brackets in brackets, of the kinds in turn."""
    opening = "".join("[" if kinds[level % len(kinds)] == "[" else '{"a":' for level in range(levels))
    closing = "".join("]" if kinds[level % len(kinds)] == "[" else "}" for level in reversed(range(levels)))
    return f"{opening}1{closing}"


@pytest.mark.parametrize("kinds", ["[", "{", "[{", "{[[", "{{["])
def test_64_levels_are_accepted_and_65_refused(kinds: str) -> None:
    assert MAX_DEPTH == 64
    assert not is_deeper(nested(64, kinds), 64)
    assert is_deeper(nested(64, kinds), 63)
    read(nested(64, kinds))
    for levels in (65, 66, 300):
        with pytest.raises(JsonProblem, match="nested deeper than 64 levels"):
            read(nested(levels, kinds))


def test_closed_brackets_do_not_count() -> None:
    wide = f"[{','.join(['[]', '{}'] * 500)}]"
    assert not is_deeper(wide, 2)
    assert is_deeper(wide, 1)
    read(wide)
    deep = f"[{nested(63, '[')},{nested(63, '{')}]"
    assert not is_deeper(deep, 64)
    assert is_deeper(deep, 63)
    read(deep)
    with pytest.raises(JsonProblem, match="nested"):
        read(f"[{nested(63, '[')},{nested(64, '{')}]")


@pytest.mark.parametrize(
    "string", ["[" * 100, "{" * 100, '\\"' + "[" * 100, "\\\\" * 3 + "[{" * 50, "]" * 100 + "[" * 100, "\\u005b[" * 70]
)
def test_brackets_in_strings_do_not_count(string: str) -> None:
    text = f'{{"{string}":["{string}"]}}'
    assert not is_deeper(text, 2)
    assert is_deeper(text, 1)
    assert read(text) == json.loads(text)


@pytest.mark.parametrize("string", ["", "a", "\\\\", 'a\\"', "\\u005c", "\\n\\\\", "[", "]"])
def test_brackets_after_strings_count(string: str) -> None:
    for text in (f'["{string}",{nested(63, "[")}]', f'{{"{string}":{nested(63, "{")}}}'):
        assert not is_deeper(text, 64)
        assert is_deeper(text, 63)
        read(text)
        with pytest.raises(JsonProblem, match="nested"):
            read(f"[{text}]")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, '[{"a":' * 50_000, nested(100_000, "{[")]
)
def test_a_hundred_thousand_brackets_are_refused_without_a_crash(text: str) -> None:
    with pytest.raises(JsonProblem):
        read(text)
    with pytest.raises(JsonProblem):
        Reader(text).skip()


# Bytes.


@pytest.mark.parametrize("text", ["", "{}", '"é語😀"', "\U0010ffff", "\x00", "\u2028", "\ufffe", "a\ufeff"])
def test_utf8_is_decoded(text: str) -> None:
    assert decode_utf8(text.encode()) == text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xef\xbb\xbf", "byte order mark"),
        (b"\xff\xfe[\x00]\x00", "byte 0 is not UTF-8"),
        (b"\xfe\xff\x00[\x00]", "byte 0 is not UTF-8"),
        ('["é"]'.encode("latin-1"), "byte 2 is not UTF-8"),
        (b'"\x80"', "byte 1 is not UTF-8"),
        (b'"\xc0\x80"', "byte 1 is not UTF-8"),  # NUL, overlong
        (b'"\xc0\xaf"', "byte 1 is not UTF-8"),  # a slash, overlong
        (b'"\xc1\xbf"', "byte 1 is not UTF-8"),
        (b'"\xe0\x80\xaf"', "byte 1 is not UTF-8"),
        (b'"\xf0\x80\x80\xaf"', "byte 1 is not UTF-8"),
        (b'"\xed\xa0\x80"', "byte 1 is not UTF-8"),  # U+D800
        (b'"\xed\xbf\xbf"', "byte 1 is not UTF-8"),  # U+DFFF
        (b'"\xed\xa0\xbd\xed\xb8\x80"', "byte 1 is not UTF-8"),  # a pair of them, as in CESU-8
        (b'"\xf4\x90\x80\x80"', "byte 1 is not UTF-8"),  # beyond U+10FFFF
        (b'"\xf5\x80\x80\x80"', "byte 1 is not UTF-8"),
        (b'"\xc3"', "byte 1 is not UTF-8"),
        (b'"\xe2\x82"', "byte 1 is not UTF-8"),
        (b'"\xf0\x9f\x98', "byte 1 is not UTF-8"),
    ],
)
def test_invalid_utf8_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(JsonProblem, match=reason):
        decode_utf8(body)


# Places in messages.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a value at the end of the text"),
        ("x", "expected a value at line 1, column 1"),
        ("[1,\n 2,\n x]", "expected a value at line 3, column 2"),
        ("[1,\r\n\r\n  x]", "expected a value at line 3, column 3"),
        ("[1,", "expected a value at the end of the text"),
        ("[1]\n]", "expected the end of the text at line 2, column 1"),
        ("[1 2]", "expecting ',' delimiter at line 1, column 4"),
        ('{"é😀" 1}', "expecting ':' delimiter at line 1, column 7"),
        ('["a', "unterminated string starting at line 1, column 2"),
        ('["a\nb"]', "invalid control character at line 1, column 4"),
        ('["\n"]', "invalid control character at line 1, column 3"),
    ],
)
def test_an_error_contains_the_place(text: str, message: str) -> None:
    with pytest.raises(JsonProblem) as caught:
        read(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1\n 2]", "expected ',' or ']' at line 2, column 2"),
        ("[1", "expected ',' or ']' at the end of the text"),
        ("[1}", "expected ',' or ']' at line 1, column 3"),
        ('{"a":1 "b"}', "expected ',' or '}' at line 1, column 8"),
        ('{"a"=1}', "expected ':' at line 1, column 5"),
        ("{a:1}", "expected a key in double quotes at line 1, column 2"),
        ('{"a":1,}', "expected a key in double quotes at line 1, column 8"),
        ("{", "expected a key in double quotes at the end of the text"),
        ("1", "expected '[' at line 1, column 1"),
    ],
)
def test_an_error_of_a_loop_contains_the_place(text: str, message: str) -> None:
    with pytest.raises(JsonProblem) as caught:
        step_through(text, Reader.value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "at", "place"),
    [
        ("ab", 0, "line 1, column 1"),
        ("ab", 1, "line 1, column 2"),
        ("ab", 2, "the end of the text"),
        ("", 0, "the end of the text"),
        ("a\nb", 1, "line 1, column 2"),
        ("a\nb", 2, "line 2, column 1"),
        ("\n\nb", 2, "line 3, column 1"),
    ],
)
def test_where_returns_line_and_column(text: str, at: int, place: str) -> None:
    assert where(text, at) == place


# The reader step by step.


def test_a_failed_value_does_not_change_the_place() -> None:
    reader = Reader('  {"a":1,"a":2} ')
    with pytest.raises(JsonProblem):
        reader.value()
    assert (reader.at, reader.peek()) == (2, "{")
    reader.skip()
    reader.finish()


def test_a_name_that_appears_twice_is_yielded_twice() -> None:
    reader = Reader('{"a":1, "b":2, "\\u0061":3}')
    assert [(name, reader.value()) for name in reader.members()] == [("a", 1), ("b", 2), ("a", 3)]


@pytest.mark.parametrize("text", ["[]", " [ ] ", "{}", "\n{\t}"])
def test_a_loop_over_an_empty_container_has_no_iteration(text: str) -> None:
    reader = Reader(text)
    assert list(reader.elements() if "[" in text else reader.members()) == []
    reader.finish()
    assert reader.peek() == ""


def test_loops_can_be_nested() -> None:
    reader = Reader('[ {"a": [1, 2]}, {} ,{"b":[]}]')
    found = [(name, reader.value()) for _ in reader.elements() for name in reader.members()]
    reader.finish()
    assert found == [("a", [1, 2]), ("b", [])]


@pytest.mark.parametrize(
    ("value", "lone"),
    [
        ("a😀", False),
        ("\ud800", True),
        ({"a": ["b", {"c": "\udfff"}]}, True),
        ({"a": {"\udfff": 1}}, True),
        ([1, 1.5, None, True, {"a": "b"}], False),
        (LongInteger("1"), False),
    ],
)
def test_a_lone_surrogate_is_found_anywhere(value: object, lone: bool) -> None:
    assert has_lone_surrogate(value) is lone


# The number of calls.


def test_valid_text_is_read_without_searching_places_depths_or_surrogates(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("looked for though the text makes it impossible")

    for name in ("where", "is_deeper", "has_lone_surrogate"):
        monkeypatch.setattr(json_reader, name, never)
    one = {"entityId": "é😀", "data": {"list": [1, 2.5, {"a": None}], "text": "\n"}}
    reader = Reader(json.dumps([one] * 1000, ensure_ascii=False))
    assert [reader.value() for _ in reader.elements()] == [one] * 1000
    reader.finish()


def test_a_place_is_computed_once_whatever_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(text: str, at: int) -> str:
        asked.append(at)
        return "there"

    monkeypatch.setattr(json_reader, "where", counted)
    refused: list[str] = []

    def skip_refused(reader: Reader) -> None:
        try:
            reader.value()
        except JsonProblem as problem:
            refused.append(str(problem))
            reader.skip()

    with pytest.raises(JsonProblem, match="expected a value at there"):
        step_through("[" + '{"a":1,"a":2},' * 1000 + "x]", skip_refused)
    assert len(refused) == 1001
    assert len(asked) == 2  # `value` and `skip`, both of the last


# Integers of any size.


def by_pieces(digits: str) -> int:
    """Parse an integer in pieces that are short enough for `int`."""
    value = 0
    for start in range(0, len(digits), 1_000):
        piece = digits[start : start + 1_000]
        value = value * int("1" + "0" * len(piece)) + int(piece)
    return value


@pytest.mark.parametrize("count", [1, 2, 40, 3_999, 4_000, 4_001, 4_300, 4_301, 8_001, 20_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_an_integer_of_any_size_is_parsed(count: int, sign: str) -> None:
    digits = "7" + "".join(Random(count).choices("0123456789", k=count - 1))
    assert whole_number(sign + digits) == (-by_pieces(digits) if sign else by_pieces(digits))


def test_an_integer_is_parsed_whatever_its_middle_is() -> None:
    for digits in ("1" + "0" * 8_000, "9" * 8_001, "1" + "0" * 4_000 + "1" + "0" * 4_000):
        assert whole_number(digits) == by_pieces(digits)


# What a problem says.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1,"a":2}', 'the key "a" appears twice in one object'),
        (f'{{"{"a" * 40}":1,"{"a" * 40}":2}}', f'the key "{"a" * 40}" appears twice in one object'),
        (f'{{"{"a" * 41}":1,"{"a" * 41}":2}}', f'the key "{"a" * 37}..." appears twice in one object'),
        ("[" * 65 + "]" * 65, f"nested deeper than {MAX_DEPTH} levels"),
        ("[" * 100_000 + "]" * 100_000, f"nested deeper than {MAX_DEPTH} levels"),
        ('["\\ud800"]', "a string contains half of a surrogate pair, which is not a character"),
    ],
)
def test_a_problem_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(JsonProblem) as caught:
        read(text)
    assert str(caught.value) == message


def test_a_byte_order_mark_is_named() -> None:
    with pytest.raises(JsonProblem) as caught:
        decode_utf8(b"\xef\xbb\xbf{}")
    assert str(caught.value) == "the text begins with a byte order mark"


@pytest.mark.parametrize("text", ["X1", " X1", "1X", "1 X", "[1X]"])
def test_only_the_four_characters_of_json_are_white_space(text: str) -> None:
    with pytest.raises(JsonProblem):
        read(text)


@pytest.mark.parametrize("kinds", ["[]", "{}"])
def test_brackets_that_close_reduce_the_depth(kinds: str) -> None:
    inner = ",".join(["[[]]"] * 3)
    for text, depth in (
        (f"[[[{inner}],[{inner}]],[[[[]]]]]", 5),
        ("[[[[]]],[[]],[]]", 4),
        ("[[],[[]],[[[]]]]", 4),
        (f"[{kinds},{kinds}]", 2),
        ("[[[1],[[1]]]]", 4),
    ):
        assert not is_deeper(text, depth)
        assert is_deeper(text, depth - 1)


def test_the_line_and_column_count_from_the_begin_of_the_text() -> None:
    assert where("\nab", 1) == "line 2, column 1"
    assert where("\nab", 0) == "line 1, column 1"


# Whole objects, and long values.


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", True),
        ('{"a":{"b":[1,"}"]}}', True),
        ('{"a":1e999,"a":2}', True),  # only the syntax counts
        ("", False),
        ("[]", False),
        ("1", False),
        ('"{}"', False),
        (" {}", False),
        ("{} ", False),
        ("{}{}", False),
        ("{", False),
        ('{"a"}', False),
        ('{"a":NaN}', False),
        ('{"a":' + "[" * 200_000, False),
    ],
)
def test_a_text_is_an_object_if_nothing_is_around_it(text: str, found: bool) -> None:
    assert is_object(text) is found


@pytest.mark.parametrize(
    ("text", "limit", "skipped"),
    [
        ('["abcdef" , 1]', 7, '"abcdef"'),
        ('["abcdef" , 1]', 8, None),
        ('["abcdef" , 1]', 100, None),
        ('["abcdef" , 1]', 0, '"abcdef"'),
        ('   [{"a":NaN,"a":1e999}]', 10, '{"a":NaN,"a":1e999}'),  # the stricter rules do not count
    ],
)
def test_a_value_that_is_too_long_is_skipped_and_returned(text: str, limit: int, skipped: str | None) -> None:
    reader = Reader(text)
    next(reader.elements())
    start = reader.at
    assert reader.skip_longer(limit) == skipped
    assert reader.at == start + len(skipped or "")


def test_a_value_that_cannot_be_too_long_is_not_scanned() -> None:
    assert Reader("  nope").skip_longer(4) is None
    with pytest.raises(JsonProblem):
        Reader("  nope").skip_longer(3)


@pytest.mark.parametrize("count", [15, 16, 17, 33, 1_000])
def test_white_space_of_any_length_is_skipped(count: int) -> None:
    space = " \n\t\r" * count
    reader = Reader(f"{space}[{space}1{space}]")
    assert reader.at == 4 * count
    assert [reader.value() for _ in reader.elements()] == [1]
    reader.finish()
