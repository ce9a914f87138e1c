"""Keys of an issuer, and tokens of it."""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://id.example.org/"
AUDIENCE = "https://sync.example.org"
SECRET = bytes(range(7, 55))

RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER_EC = ec.generate_private_key(ec.SECP256R1())
P384 = ec.generate_private_key(ec.SECP384R1())


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def rsa_jwk(key: rsa.RSAPrivateKey = RSA, **members: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": "rsa", "n": number(numbers.n), "e": number(numbers.e), **members}


def ec_jwk(key: ec.EllipticCurvePrivateKey = EC, **members: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {
        "kty": "EC",
        "kid": "ec",
        "crv": "P-256",
        "x": number(numbers.x, 32),
        "y": number(numbers.y, 32),
        **members,
    }


def secret_jwk(secret: bytes = SECRET, **members: Any) -> dict[str, Any]:
    return {"kty": "oct", "kid": "hs", "k": b64(secret), **members}


def key_set(*keys: Mapping[str, Any]) -> str:
    return json.dumps({"keys": keys})


ALL_KEYS = key_set(rsa_jwk(), ec_jwk(), secret_jwk())
SETTINGS = {"AUTH_ISSUER": ISSUER, "AUTH_AUDIENCE": AUDIENCE, "AUTH_JWKS": ALL_KEYS}


# Signatures


def rs256(message: bytes, key: rsa.RSAPrivateKey = RSA) -> bytes:
    return key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def es256_numbers(message: bytes, key: ec.EllipticCurvePrivateKey = EC) -> tuple[int, int]:
    return decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))


def es256(message: bytes, key: ec.EllipticCurvePrivateKey = EC) -> bytes:
    r, s = es256_numbers(message, key)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def hs256(message: bytes, secret: bytes = SECRET) -> bytes:
    return hmac.digest(secret, message, "sha256")


Sign = Callable[[bytes], bytes]
SIGNERS: dict[str, tuple[str, Sign]] = {"RS256": ("rsa", rs256), "ES256": ("ec", es256), "HS256": ("hs", hs256)}
"""By algorithm: the id of its key and the function that signs."""


# Tokens


def claims(now: float | None = None, **changes: Any) -> dict[str, Any]:
    """Good claims; a change to `...` leaves a claim out."""
    seconds = int(time.time() if now is None else now)
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "iat": seconds, "exp": seconds + 3_600, **changes}
    return {name: value for name, value in made.items() if value is not ...}


def token(
    algorithm: str = "RS256",
    payload: Mapping[str, Any] | bytes | None = None,
    sign: Sign | None = None,
    *,
    header: Mapping[str, Any] | bytes | None = None,
    **members: Any,
) -> str:
    """A token that is good unless the arguments say otherwise; `members` are members of its header."""
    key_id, signer = SIGNERS.get(algorithm, ("rsa", rs256))
    if header is None:
        header = {"alg": algorithm, "kid": key_id, "typ": "JWT", **members}
        header = {name: value for name, value in header.items() if value is not ...}
    parts = [
        b64(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, claims() if payload is None else payload)
    ]
    signed = ".".join(parts)
    return f"{signed}.{b64((sign or signer)(signed.encode()))}"


def good_tokens() -> dict[str, str]:
    """Tokens that are accepted, by name: what the forged ones differ from."""
    now = int(time.time())
    return {
        **{algorithm: token(algorithm) for algorithm in SIGNERS},
        "an audience in a list": token(payload=claims(aud=["https://other.example.org", AUDIENCE])),
        "without typ": token(typ=...),
        "typ at+jwt": token("ES256", typ="at+jwt"),
        "typ application/at+jwt": token(typ="application/at+jwt"),
        "typ in lower case": token(typ="jwt"),
        "a jku, which is ignored": token(jku="https://evil.example.org/jwks.json"),
        "an unknown member of the header": token("HS256", new="member"),
        "a clock that is ahead within the leeway": token(payload=claims(iat=now + 50, nbf=now + 50)),
        "a long sub": token(payload=claims(sub="é" * 255)),
    }
