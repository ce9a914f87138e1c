from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltt_core.auth import openssl
from sltt_core.auth.jwks import KEY_TYPES, MAX_KEYS, MAX_SET_BYTES, parse_key_set
from sltt_core.auth.p256 import P
from tests.sltt_core.auth.samples import (
    EC,
    OTHER_RSA,
    P384,
    RSA,
    ec_jwk,
    key_set,
    number,
    rs256,
    rsa_jwk,
    secret_jwk,
)

if TYPE_CHECKING:
    from sltt_core.auth.jwks import KeyTypes


GOOD = {
    "RSA": rsa_jwk(),
    "RSA with all optional members": rsa_jwk(use="sig", alg="RS256", key_ops=["verify"], x5c=["AAAA"], x5t="AAAA"),
    "RSA with a zero byte in front of n": rsa_jwk(n=number(RSA.public_key().public_numbers().n, 257)),
    "EC": ec_jwk(),
    "EC with use and alg": ec_jwk(use="sig", alg="ES256"),
    "a secret": secret_jwk(),
    "a secret with alg": secret_jwk(alg="HS256"),
    "without kid": {name: value for name, value in rsa_jwk().items() if name != "kid"},
}

NUMBERS = EC.public_key().public_numbers()
BAD: dict[str, object] = {
    "not an object": "RSA",
    "null": None,
    "empty": {},
    "without kty": {"n": rsa_jwk()["n"], "e": "AQAB"},
    "kty is a list": rsa_jwk(kty=["RSA"]),
    "kty in lower case": rsa_jwk(kty="rsa"),
    "an unknown kty": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
    "for encryption": rsa_jwk(use="enc"),
    "use is a list": rsa_jwk(use=["sig"]),
    "use is null": rsa_jwk(use=None),
    "key_ops without verify": rsa_jwk(key_ops=["sign"]),
    "key_ops is a text that contains verify": rsa_jwk(key_ops="verify"),
    "for RS512": rsa_jwk(alg="RS512"),
    "for PS256": rsa_jwk(alg="PS256"),
    "for RSA-OAEP": rsa_jwk(alg="RSA-OAEP"),
    "an RSA key for HS256": rsa_jwk(alg="HS256"),
    "alg is null": rsa_jwk(alg=None),
    "a private RSA key": rsa_jwk(d=number(RSA.private_numbers().d)),
    "a prime of an RSA key": rsa_jwk(p=number(RSA.private_numbers().p)),
    "a private EC key": ec_jwk(d=number(EC.private_numbers().private_value, 32)),
    "kid is a number": rsa_jwk(kid=1),
    "without n": {"kty": "RSA", "kid": "rsa", "e": "AQAB"},
    "n is a number": rsa_jwk(n=12345),
    "n in the alphabet of base64": rsa_jwk(n=rsa_jwk()["n"].replace("-", "+").replace("_", "/") + "+"),
    "n with padding": rsa_jwk(n=rsa_jwk()["n"] + "=="),
    "n is empty": rsa_jwk(n=""),
    "n of 1,024 bits": rsa_jwk(n=number(2**1023 + 1)),
    "n is even": rsa_jwk(n=number(RSA.public_key().public_numbers().n + 1)),
    "n of 16,384 bits": rsa_jwk(n=number(2**16383 + 1)),
    "e is 1": rsa_jwk(e="AQ"),
    "e is 3": rsa_jwk(e="Aw"),
    "e is even": rsa_jwk(e=number(65_538)),
    "e is huge": rsa_jwk(e=rsa_jwk()["n"]),
    "a curve that is not supported": ec_jwk(crv="P-384"),
    "secp256k1": ec_jwk(crv="secp256k1"),
    "a point of P-384 as one of P-256": ec_jwk(x=number(P384.public_key().public_numbers().x, 48)),
    "without y": {name: value for name, value in ec_jwk().items() if name != "y"},
    "a point off the curve": ec_jwk(y=number(NUMBERS.y ^ 1, 32)),
    "the point (0, 0)": ec_jwk(x=number(0, 32), y=number(0, 32)),
    "x is short": ec_jwk(x=ec_jwk()["x"][:-2]),
    "x is longer": ec_jwk(x=number(NUMBERS.x, 33)),
    "x is not below p": ec_jwk(x=number(2**256 - 1, 32)),
    "y is p": ec_jwk(y=number(P, 32)),
    "a short secret": secret_jwk(b"x" * 31),
    "an empty secret": secret_jwk(b""),
    "a secret without k": {"kty": "oct", "kid": "hs"},
    "a secret for HS512": secret_jwk(alg="HS512"),
}  # fmt: skip


@pytest.mark.parametrize("types", [KEY_TYPES, openssl.KEY_TYPES], ids=["pure", "openssl"])
@pytest.mark.parametrize("name", GOOD)
def test_a_good_key_is_used(name: str, types: KeyTypes) -> None:
    keys = parse_key_set(key_set(GOOD[name]), types, secrets=True)
    assert (len(keys), keys.reasons) == (1, ())


@pytest.mark.parametrize("types", [KEY_TYPES, openssl.KEY_TYPES], ids=["pure", "openssl"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_key_is_left_out_and_spoils_no_other(name: str, types: KeyTypes) -> None:
    text = json.dumps({"keys": [BAD[name], rsa_jwk(OTHER_RSA, kid="good")]})
    keys = parse_key_set(text, types, secrets=True)
    assert len(keys) == len(keys.reasons) == 1
    assert keys.reasons[0].startswith("keys[0] ")
    good = keys.find("good", "RS256")
    assert good is not None
    assert good.verify(b"m", rs256(b"m", OTHER_RSA))
    bad = BAD[name]
    values = [str(value) for value in bad.values()] if isinstance(bad, dict) else []
    assert not any(value in keys.reasons[0] for value in values if len(value) > 9)


def test_a_secret_is_not_read_from_a_url() -> None:
    keys = parse_key_set(key_set(secret_jwk(), ec_jwk()), secrets=False)
    assert keys.find("hs", "HS256") is None
    assert keys.find("ec", "ES256") is not None


def test_a_key_is_found_by_its_id_and_its_own_algorithm() -> None:
    keys = parse_key_set(key_set(rsa_jwk(), ec_jwk(kid="rsa"), secret_jwk()), secrets=True)
    for key_id, algorithm, there in [
        ("rsa", "RS256", True),
        ("rsa", "ES256", True),  # two keys may have the same id if their types differ (RFC 7517, section 4.5)
        ("rsa", "HS256", False),
        ("hs", "HS256", True),
        ("hs", "RS256", False),
        ("other", "RS256", False),
        (None, "RS256", False),
        ("", "RS256", False),
    ]:
        key = keys.find(key_id, algorithm)
        assert (key is not None) == there, (key_id, algorithm)
        assert key is None or key.algorithm == algorithm


def test_the_first_of_two_keys_with_the_same_id_counts() -> None:
    keys = parse_key_set(key_set(rsa_jwk(), rsa_jwk(OTHER_RSA)), secrets=True)
    key = keys.find("rsa", "RS256")
    assert key is not None
    assert key.verify(b"m", rs256(b"m"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not valid JSON"),
        ("https://id.example.org", "is not valid JSON"),
        ("[]", "is not a JWK Set"),
        ("{}", "is not a JWK Set"),
        ('{"keys":{}}', "is not a JWK Set"),
        (json.dumps(rsa_jwk()), "is not a JWK Set"),
        ('{"keys":[],"keys":[]}', "is not valid JSON"),
        ('{"keys":[{"kty":"oct","kty":"RSA"}]}', "is not valid JSON"),
        ('{"keys":' + "[" * 100 + "]" * 100 + "}", "is not valid JSON"),
        (json.dumps({"keys": [{}] * (MAX_KEYS + 1)}), "has more than 100 keys"),
        ('{"keys":[]}' + " " * MAX_SET_BYTES, "is larger than"),
    ],
)
def test_a_text_that_is_not_a_key_set_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_key_set(text, secrets=True)


@given(st.dictionaries(st.sampled_from([*rsa_jwk(), *ec_jwk(), "k", "use", "key_ops", "alg"]), st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.sampled_from(["RSA", "EC", "oct", "P-256", "AQAB", "sig"]),
    st.lists(st.text(max_size=3), max_size=2), st.dictionaries(st.text(max_size=2), st.none(), max_size=1),
)))  # fmt: skip
def test_members_may_be_anything(jwk: dict[str, Any]) -> None:
    keys = parse_key_set(json.dumps({"keys": [jwk, ec_jwk(kid="good")]}), secrets=True)
    assert keys.find("good", "ES256") is not None
