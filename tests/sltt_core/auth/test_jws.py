"""The parts of a token, and the reason for which each malformed token is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sltt_core.auth.jws import MAX_TOKEN_BYTES, InvalidToken, json_object, parse
from tests.sltt_core.auth.samples import b64

NOT_COMPACT = "the token is not a signed JWT in compact form"
NO_OBJECT = "the token's header is not a valid JSON object"
WRONG_TYPE = "the token's typ is neither JWT nor at+jwt"
NO_STRING = "the token's alg or kid is not a string"


def token(header: Any, payload: bytes = b"payload", signature: bytes = b"signature") -> str:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return f"{b64(text)}.{b64(payload)}.{b64(signature)}"


def test_a_token_has_a_header_a_payload_and_a_signature() -> None:
    text = token({"alg": "ES256", "kid": "k1", "typ": "JWT"}, b'{"sub":"ann"}', b"\0\xff")
    jws = parse(text)
    assert (jws.algorithm, jws.key_id, jws.payload, jws.signature) == ("ES256", "k1", b'{"sub":"ann"}', b"\0\xff")
    assert jws.signed == text.rpartition(".")[0].encode()


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/JWT", ...])
def test_the_type_of_a_token_is_that_of_a_jwt_or_absent(kind: Any) -> None:
    header = {"alg": "ES256"} if kind is ... else {"alg": "ES256", "typ": kind}
    assert parse(token(header)).key_id is None


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"alg": "ES256", "crit": ["exp"]}, "the token's header has crit, but no extension is supported"),
        ({"alg": "ES256", "crit": None}, "the token's header has crit, but no extension is supported"),
        ({"alg": "ES256", "typ": "JOSE"}, WRONG_TYPE),
        ({"alg": "ES256", "typ": "text/jwt"}, WRONG_TYPE),
        ({"alg": "ES256", "typ": "application/application/jwt"}, WRONG_TYPE),
        ({"alg": "ES256", "typ": None}, WRONG_TYPE),
        ({"alg": "ES256", "typ": ["jwt"]}, WRONG_TYPE),
        ({}, NO_STRING),
        ({"alg": None}, NO_STRING),
        ({"alg": 7, "kid": "k1"}, NO_STRING),
        ({"alg": "ES256", "kid": 7}, NO_STRING),
        (["alg"], NO_OBJECT),
        (b'{"alg":"ES256","alg":"none"}', NO_OBJECT),
        (b'{"alg":"\xff"}', NO_OBJECT),
        (b"{", NO_OBJECT),
    ],
)
def test_a_header_that_is_not_accepted_has_a_reason(header: Any, reason: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        parse(token(header))
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "text", ["", "a", "e30.e30", "e30..e30", ".e30.e30", "e30.e30.", "e30.e30.e30.e30", "..", "a.b"]
)
def test_a_token_has_three_parts(text: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        parse(text)
    assert str(caught.value) == NOT_COMPACT


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_part_is_base64url(place: int) -> None:
    parts = token({"alg": "ES256"}).split(".")
    parts[place] += "="
    with pytest.raises(InvalidToken) as caught:
        parse(".".join(parts))
    assert str(caught.value) == "the token is not base64url"


def sized(size: int) -> str:
    """A token with this many characters."""
    head, tail = b64(b'{"alg":"ES256"}'), b64(b"s")
    return f"{head}.{'A' * (size - len(head) - len(tail) - 2)}.{tail}"


def test_a_token_has_at_most_16384_bytes() -> None:
    assert MAX_TOKEN_BYTES == 16_384
    assert len(parse(sized(MAX_TOKEN_BYTES)).payload) > 12_000
    with pytest.raises(InvalidToken) as caught:
        parse(sized(MAX_TOKEN_BYTES + 1))
    assert str(caught.value) == "the token is too long"


def test_a_signature_is_at_most_that_of_an_rsa_key_of_8192_bits() -> None:
    assert len(parse(token({"alg": "RS256"}, signature=bytes(1024))).signature) == 1024
    with pytest.raises(InvalidToken) as caught:
        parse(token({"alg": "RS256"}, signature=bytes(1025)))
    assert str(caught.value) == NOT_COMPACT


def test_an_error_names_the_bytes_that_are_no_object() -> None:
    assert json_object(b'{"a":[1]}', "the body") == {"a": [1]}
    for wrong in (b"[]", b"nope", b"\xff", b"", b"null"):
        with pytest.raises(InvalidToken) as caught:
            json_object(wrong, "the body")
        assert str(caught.value) == "the body is not a valid JSON object"
