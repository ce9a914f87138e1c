"""10,000 random signatures, good and altered: this project, OpenSSL through `cryptography`, and PyJWT agree."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from sltt_core.auth.base64url import decode
from sltt_core.auth.openssl import OpenSslEcKey, OpenSslRsaKey
from sltt_core.auth.p256 import EcKey, N
from sltt_core.auth.rsa import RsaKey
from sltt_core.auth.secret_keys import SecretKey
from sltt_core.auth.verifier import Verifier
from tests.sltt_core.auth.samples import (
    AUDIENCE,
    EC,
    ISSUER,
    OTHER_EC,
    RSA,
    SECRET,
    SIGNERS,
    es256,
    hs256,
    rs256,
    token,
)
from tests.sltt_core.auth.samples import claims as good_claims

if TYPE_CHECKING:
    from sltt_core.auth.jwks import Key

ROUNDS = {"RS256": 2_000, "ES256": 1_500, "HS256": 6_500}


def keys(algorithm: str) -> tuple[list[Key], object]:
    """Our keys, and the one for PyJWT."""
    if algorithm == "RS256":
        of_rsa = RSA.public_key().public_numbers()
        return [RsaKey(of_rsa.n, of_rsa.e), OpenSslRsaKey(of_rsa.n, of_rsa.e)], RSA.public_key()
    if algorithm == "ES256":
        of_ec = EC.public_key().public_numbers()
        return [EcKey(of_ec.x, of_ec.y), OpenSslEcKey(of_ec.x, of_ec.y)], EC.public_key()
    return [SecretKey(SECRET)], SECRET


def altered(chance: random.Random, signature: bytes) -> bytes:
    """A signature that was changed in one of several ways, or not at all."""
    ways: list[Callable[[bytes], bytes]] = [
        lambda s: s,
        lambda s: s,
        lambda s: _flipped(chance, s),
        lambda s: s[: chance.randrange(len(s))],
        lambda s: s + chance.randbytes(chance.randrange(1, 4)),
        lambda s: bytes(1) + s,
        lambda s: chance.randbytes(len(s)),
        lambda s: s[len(s) // 2 :] + s[: len(s) // 2],
        lambda s: s[: len(s) // 2] + bytes(len(s) - len(s) // 2),
        lambda s: bytes(len(s) // 2) + s[len(s) // 2 :],
        _with_other_s,
        _with_more_r,
    ]
    return chance.choice(ways)(signature)


def _flipped(chance: random.Random, signature: bytes) -> bytes:
    bit = chance.randrange(8 * len(signature))
    return (int.from_bytes(signature, "big") ^ 1 << bit).to_bytes(len(signature), "big")


def _with_other_s(signature: bytes) -> bytes:
    """Of the two values that s may have, the other one: ECDSA accepts both."""
    s = int.from_bytes(signature[32:64], "big")
    return signature[:32] + ((N - s) % 2**256).to_bytes(32, "big") + signature[64:]


def _with_more_r(signature: bytes) -> bytes:
    r = int.from_bytes(signature[:32], "big")
    return ((r + N) % 2**256).to_bytes(32, "big") + signature[32:]


@pytest.mark.parametrize("algorithm", ROUNDS)
def test_signatures_are_valid_for_all_or_for_none(algorithm: str) -> None:
    chance = random.Random(algorithm)
    ours, theirs = keys(algorithm)
    sign = SIGNERS[algorithm][1]
    oracle = jwt.get_algorithm_by_name(algorithm)
    found = {True: 0, False: 0}
    for _ in range(ROUNDS[algorithm]):
        message = chance.randbytes(chance.randrange(200))
        signature = altered(chance, sign(message))
        if chance.random() < 0.1:
            message += b"x"
        expected = oracle.verify(message, theirs, signature)
        for key in ours:
            assert key.verify(message, signature) == expected, (message.hex(), signature.hex())
        found[expected] += 1
    assert min(found.values()) > ROUNDS[algorithm] / 20


@pytest.mark.parametrize("e", [65_537, 2**32 + 15, 2**63 + 29])
@pytest.mark.parametrize("bits", [2048, 2049, 4096])
def test_random_numbers_as_rsa_keys_agree(bits: int, e: int) -> None:
    """Whatever a modulus is, both say the same of what is no signature."""
    chance = random.Random(bits * e)
    for _ in range(20):
        modulus = chance.getrandbits(bits) | 1 << bits - 1 | 1
        signature = chance.randbytes((bits + 7) // 8)
        ours, theirs = RsaKey(modulus, e), OpenSslRsaKey(modulus, e)
        assert not ours.verify(b"m", signature)
        assert not theirs.verify(b"m", signature)


def test_random_keys_agree() -> None:
    for bits in (2048, 3072):
        private = rsa.generate_private_key(65_537, bits)
        public: RSAPublicNumbers = private.public_key().public_numbers()
        assert RsaKey(public.n, public.e).verify(b"m", rs256(b"m", private))
    for _ in range(50):
        curve = ec.generate_private_key(ec.SECP256R1())
        point = curve.public_key().public_numbers()
        assert EcKey(point.x, point.y).verify(b"m", es256(b"m", curve))
        assert not EcKey(point.x, point.y).verify(b"m", es256(b"m", OTHER_EC))
    assert SecretKey(bytes(32)).verify(b"m", hs256(b"m", bytes(32)))


@pytest.mark.parametrize("algorithm", SIGNERS)
def test_tokens_of_pyjwt_are_accepted_and_ours_by_it(algorithm: str) -> None:
    private: object = {"RS256": RSA, "ES256": EC, "HS256": SECRET}[algorithm]
    ours, theirs = keys(algorithm)

    class OneKey:
        def find(self, key_id: str | None, algorithm: str) -> Key:
            return ours[0]

    made = jwt.encode(good_claims(), private, algorithm)  # type: ignore[arg-type]
    assert Verifier(ISSUER, AUDIENCE, OneKey()).verify(made).subject == "anna"
    decoded = jwt.decode(token(algorithm), theirs, [algorithm], issuer=ISSUER, audience=AUDIENCE)  # type: ignore[arg-type]
    assert decoded["sub"] == "anna"


# RFC 7515, appendix A: other people's tokens and keys.

PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
HS_KEY = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
HS_SIGNATURE = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
EC_X, EC_Y = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
EC_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"


def test_the_examples_of_rfc_7515_are_valid() -> None:
    def point(text: str) -> int:
        return int.from_bytes(decode(text), "big")

    hs = f"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.{PAYLOAD}".encode()
    assert SecretKey(decode(HS_KEY)).verify(hs, decode(HS_SIGNATURE))
    es = f"eyJhbGciOiJFUzI1NiJ9.{PAYLOAD}".encode()
    assert EcKey(point(EC_X), point(EC_Y)).verify(es, decode(EC_SIGNATURE))
    assert not EcKey(point(EC_X), point(EC_Y)).verify(hs, decode(EC_SIGNATURE))
