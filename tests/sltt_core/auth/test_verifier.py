"""Which tokens are accepted, and for how long they are remembered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltt_core.auth import openssl
from sltt_core.auth.claims import LEEWAY_SECONDS
from sltt_core.auth.jwks import KEY_TYPES, KeySet, parse_key_set
from sltt_core.auth.jws import MAX_TOKEN_BYTES, InvalidToken
from sltt_core.auth.verifier import CACHE_SECONDS, Verifier
from sltt_core.base.runtime import Runtime
from tests.sltt_core.auth.forgeries import forged_tokens
from tests.sltt_core.auth.samples import (
    ALL_KEYS,
    AUDIENCE,
    ISSUER,
    SECRET,
    b64,
    claims,
    good_tokens,
    hs256,
    key_set,
    secret_jwk,
    token,
)

if TYPE_CHECKING:
    from sltt_core.auth.jwks import Key

NOW = 1_800_000_000


class Time:
    """Both clocks, which a test sets; counts how often a key is asked for."""

    def __init__(self) -> None:
        self.now = float(NOW)
        self.steady = 1_000.0
        self.found = 0
        self._keys = parse_key_set(ALL_KEYS, secrets=True)

    def verifier(self, max_cached: int = 1_000) -> Verifier:
        runtime = Runtime(clock=lambda: int(self.now * 10**9), steady_clock=lambda: self.steady)
        return Verifier(ISSUER, AUDIENCE, self, runtime=runtime, max_cached=max_cached)

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        self.found += 1
        return self._keys.find(key_id, algorithm)

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.steady += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=[KEY_TYPES, openssl.KEY_TYPES], ids=["pure", "openssl"])
def verifier(request: pytest.FixtureRequest) -> Iterator[Verifier]:
    keys = parse_key_set(ALL_KEYS, request.param, secrets=True)
    assert (len(keys), keys.reasons) == (3, ())
    return Verifier(ISSUER, AUDIENCE, keys)  # type: ignore[return-value]


def test_good_tokens_are_accepted(verifier: Verifier) -> None:
    for name, good in good_tokens().items():
        identity = verifier.verify(good)
        assert identity.subject == ("é" * 255 if name == "a long sub" else "anna"), name
        assert identity.claims["iss"] == ISSUER


def test_no_forged_token_is_accepted(verifier: Verifier) -> None:
    forged = forged_tokens()
    assert len(forged) >= 60
    accepted, reasons = [], {}
    for name, text in forged.items():
        try:
            accepted.append((name, verifier.verify(text)))
        except InvalidToken as error:
            reasons[name] = str(error)
    assert not accepted
    for name, reason in reasons.items():
        assert not any(part in reason for part in forged[name].split(".") if len(part) > 6), name


@given(st.text(max_size=60), st.integers(0, 700), st.integers(0, 40))
def test_an_altered_token_is_refused(text: str, place: int, length: int) -> None:
    good = token("HS256")
    altered = good[:place] + text + good[place + length :]
    verifier = Verifier(ISSUER, AUDIENCE, parse_key_set(ALL_KEYS, secrets=True))
    if altered != good:
        with pytest.raises(InvalidToken):
            verifier.verify(altered)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_a_claim_may_be_anything(value: object) -> None:
    """Whatever the issuer signs is refused or accepted, without another error."""
    verifier = Verifier(ISSUER, AUDIENCE, parse_key_set(ALL_KEYS, secrets=True))
    for name in ("iss", "aud", "exp", "nbf", "iat", "sub", "other"):
        try:
            identity = verifier.verify(token("HS256", payload={**claims(), name: value}))
        except InvalidToken:
            continue
        assert 0 < len(identity.subject) <= 255


def test_nothing_of_a_long_token_is_read(time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sltt_core.auth.verifier.parse", lambda text: pytest.fail("it was read"))
    with pytest.raises(InvalidToken, match="too long"):
        time.verifier().verify("x" * (MAX_TOKEN_BYTES + 1))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x" * (MAX_TOKEN_BYTES + 1), "the token is too long or not ASCII"),
        (token("HS256") + "é", "the token is too long or not ASCII"),
        ("x" * MAX_TOKEN_BYTES, "the token is not a signed JWT in compact form"),
        (token("HS256", sign=lambda signed: bytes(32)), "the token's signature is not by a known key"),
        (token("HS256", kid="unknown"), "the token's signature is not by a known key"),
        (token("HS256", payload=b"[]"), "the token's payload is not a valid JSON object"),
    ],
    ids=["long", "not ASCII", "form", "signature", "key", "payload"],
)
def test_a_token_that_is_refused_has_a_reason(time: Time, text: str, reason: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        time.verifier().verify(text)
    assert str(caught.value) == reason


def test_a_token_without_kid_may_use_the_only_key() -> None:
    good, other = token("HS256", kid=...), token("RS256", kid=...)
    verifier = Verifier(ISSUER, AUDIENCE, parse_key_set(key_set(secret_jwk()), secrets=True))
    assert verifier.verify(good).subject == "anna"
    # Also then the key decides on the algorithm, not the token.
    misnamed = [token(header={"alg": name}, sign=hs256) for name in ("RS256", "none", "HS512")]
    for text in (other, *misnamed):
        with pytest.raises(InvalidToken):
            verifier.verify(text)


# Times


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW + 1}, None),
        ({"exp": NOW}, "has expired"),
        ({"nbf": NOW + LEEWAY_SECONDS}, None),
        ({"nbf": NOW + LEEWAY_SECONDS + 1}, "is not valid yet"),
        ({"iat": NOW + LEEWAY_SECONDS}, None),
        ({"iat": NOW + LEEWAY_SECONDS + 1}, "is not valid yet"),
        ({"iat": ...}, None),
        ({"exp": 253_402_300_799}, None),
        ({"exp": 253_402_300_800}, "whole number of seconds"),
    ],
)
def test_the_times_of_a_token_are_compared_with_the_clock(
    time: Time, changes: dict[str, object], reason: str | None
) -> None:
    text = token("HS256", payload=claims(NOW, **changes))
    if reason is None:
        assert time.verifier().verify(text).subject == "anna"
    else:
        with pytest.raises(InvalidToken, match=reason):
            time.verifier().verify(text)


def test_a_verified_token_is_remembered_for_five_minutes(time: Time) -> None:
    verifier, text = time.verifier(), token("HS256", payload=claims(NOW))
    first = verifier.verify(text)
    time.after(CACHE_SECONDS - 1)
    assert verifier.verify(text) is first
    assert time.found == 1
    time.after(1)
    assert verifier.verify(text) == first
    assert time.found == 2


def test_a_token_is_not_remembered_beyond_its_exp(time: Time) -> None:
    verifier, text = time.verifier(), token("HS256", payload=claims(NOW, exp=NOW + 10))
    verifier.verify(text)
    time.after(9)
    verifier.verify(text)
    time.after(1)
    with pytest.raises(InvalidToken, match="has expired"):
        verifier.verify(text)


def test_a_clock_that_jumps_over_exp_ends_a_remembered_token(time: Time) -> None:
    verifier, text = time.verifier(), token("HS256", payload=claims(NOW, exp=NOW + 10))
    verifier.verify(text)
    time.now += 10  # and the steady clock does not move
    with pytest.raises(InvalidToken, match="has expired"):
        verifier.verify(text)


def test_a_bad_token_is_not_remembered_and_spoils_no_good_one(time: Time) -> None:
    verifier, text = time.verifier(), token("HS256", payload=claims(NOW))
    for _ in range(2):
        with pytest.raises(InvalidToken):
            verifier.verify(text[:-1] + ("A" if text[-1] != "A" else "E"))
    assert time.found == 2
    verifier.verify(text)
    assert time.found == 3


def test_the_tokens_that_are_remembered_are_bounded(time: Time) -> None:
    verifier = time.verifier(max_cached=2)
    texts = [token("HS256", payload=claims(NOW, sub=name)) for name in "abc"]
    for text in texts:
        verifier.verify(text)
    assert time.found == 3
    assert [verifier.verify(text).subject for text in reversed(texts)] == ["c", "b", "a"]
    assert time.found == 4  # the oldest was forgotten


def test_threads_that_verify_one_token_at_once_forget_no_other(time: Time) -> None:
    verifier = time.verifier(max_cached=2)
    first, second = (token("HS256", payload=claims(NOW, sub=name)) for name in "ab")
    verifier.verify(first)
    find = time.find

    def find_while_another_verifies(key_id: str | None, algorithm: str) -> Key | None:
        time.find = find  # type: ignore[method-assign]
        verifier.verify(second)
        return find(key_id, algorithm)

    time.find = find_while_another_verifies  # type: ignore[method-assign]
    verifier.verify(second)
    assert time.found == 3
    verifier.verify(first)
    assert time.found == 3


# Secrets


def test_no_repr_contains_a_secret_or_a_token(time: Time) -> None:
    keys = parse_key_set(ALL_KEYS, secrets=True)
    verifier = Verifier(ISSUER, AUDIENCE, keys)
    text = token("HS256")
    shown = repr([verifier, verifier.verify(text), keys, keys.find("hs", "HS256"), vars(KeySet)])
    for hidden in (text, text.split(".")[2], b64(SECRET), repr(SECRET), SECRET.hex()):
        assert hidden not in shown


def test_secrets_and_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(one))
        return one == other

    monkeypatch.setattr("sltt_core.auth.secret_keys.equal_secrets", compare)
    key = parse_key_set(key_set(secret_jwk()), secrets=True).find("hs", "HS256")
    assert key is not None
    assert key.verify(b"m", hs256(b"m"))
    assert not key.verify(b"m", bytes(32))
    assert compared == [32, 32]
