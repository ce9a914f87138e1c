from __future__ import annotations

import json
from urllib.parse import parse_qsl, quote, quote_plus, unquote_to_bytes, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.api.http import Request, Response, json_response, percent_decode, query_pairs
from sltt_core.base.errors import InvalidInput

DECODED = [
    ("", ""),
    ("ruth", "ruth"),
    ("a+b", "a+b"),
    ("a%20b", "a b"),
    ("%41%6a%6A", "Ajj"),
    ("%2F", "/"),
    ("%252F", "%2F"),
    ("%25", "%"),
    ("%00", "\0"),
    ("%c3%A9", "é"),
    ("%F0%9F%98%80", "😀"),
    ("é", "é"),
    ("é%C3%A9", "éé"),
    ("%E8%AA%9E语", "語语"),
]

REFUSED = [
    *("%", "a%", "%2", "%zz", "%2g", "%g2", "%%20", "%u0041", "% 20", "%+1", "%\uff11\uff11"),
    *("%FF", "%80", "%C3", "%c3a", "%C0%AF", "%ED%A0%80", "%F4%90%80%80", "%E8%AA"),
    *("\udcff", "\ud800", "a\udfff%41"),
]


@pytest.mark.parametrize(("text", "decoded"), DECODED)
def test_percent_encoding_is_decoded_once(text: str, decoded: str) -> None:
    assert percent_decode(text, "projectId") == decoded


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("plus", [False, True])
def test_invalid_percent_encoding_is_refused(text: str, plus: bool) -> None:
    with pytest.raises(InvalidInput, match=r"^projectId (has a %|is not)") as caught:
        percent_decode(text, "projectId", plus=plus)
    assert (caught.value.field, caught.value.status) == ("projectId", 400)


def test_plus_is_a_space_only_in_a_query() -> None:
    assert percent_decode("a+b%2Bc", "x", plus=True) == "a b+c"
    assert percent_decode("a+b%2Bc", "x") == "a+b+c"


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(max_size=8))
def test_text_encoded_by_urllib_is_decoded(text: str, safe: str) -> None:
    assert percent_decode(quote(text, safe=""), "x") == text
    assert percent_decode(quote(text, safe=safe.encode("ascii", "ignore").decode().replace("%", "")), "x") == text
    assert percent_decode(quote_plus(text), "x", plus=True) == text


@settings(deadline=None, max_examples=200)
@given(st.text("%0123456789abcdefABCDEFgz+é", max_size=12) | st.text(max_size=6))
def test_any_text_is_decoded_like_urllib_or_refused(text: str) -> None:
    try:
        decoded = percent_decode(text, "x")
    except InvalidInput:
        return
    assert decoded == unquote_to_bytes(text).decode()


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("", []),
        ("a=1", [("a", "1")]),
        ("a=1&b=2", [("a", "1"), ("b", "2")]),
        ("a=1&a=2", [("a", "1"), ("a", "2")]),
        ("a", [("a", "")]),
        ("a=", [("a", "")]),
        ("=1", [("", "1")]),
        ("&", [("", ""), ("", "")]),
        ("a=1&", [("a", "1"), ("", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=b%3Dc%26d", [("a", "b=c&d")]),
        ("%61=%31", [("a", "1")]),
        ("a+b=c+d", [("a b", "c d")]),
        ("a=1;b=2", [("a", "1;b=2")]),
        ("a=?", [("a", "?")]),
        ("a[]=1", [("a[]", "1")]),
    ],
)
def test_a_query_is_split_and_decoded(query: str, pairs: list[tuple[str, str]]) -> None:
    assert query_pairs(query) == pairs


@pytest.mark.parametrize(
    ("query", "field"), [("%zz=1", "query"), ("limit=%zz", "limit"), (f"{'x' * 500}=%zz", "x" * 40)]
)
def test_a_query_that_cannot_be_decoded_is_refused_under_a_short_name(query: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        query_pairs(query)
    assert caught.value.field == field
    assert len(caught.value.message) < 120


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=4))
def test_a_query_encoded_by_urllib_is_parsed(pairs: list[tuple[str, str]]) -> None:
    try:
        query = urlencode(pairs)
    except UnicodeEncodeError:
        return
    assert query_pairs(query) == pairs == parse_qsl(query, keep_blank_values=True)


def test_a_request_has_defaults_for_optional_parts() -> None:
    request = Request("GET", "/health")
    assert (request.query, request.headers, request.body, request.principal) == ("", {}, b"", None)


def test_a_response_finds_its_headers() -> None:
    response = Response(200, (("a", "1"), ("b", "2"), ("a", "3")), b"")
    assert [response.header(name) for name in "abc"] == ["1", "2", None]


def test_json_is_sent_as_utf8_with_an_entity_tag() -> None:
    response = json_response('{"a":"é😀"}')
    assert (response.status, response.headers) == (200, (("content-type", "application/json"),))
    assert json.loads(response.content) == {"a": "é😀"}
    one, same, other = (json_response(f'{{"t":{t}}}', same=part) for t, part in [(1, "x"), (2, "x"), (1, "y")])
    assert one.header("etag") == same.header("etag") != other.header("etag")
    assert str(one.header("etag")).startswith('W/"')
