"""Forged tokens by name, in the manner of Project Wycheproof; sources: RFC 8725, and the attacks that are named."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sltt_core.auth.p256 import N, P
from tests.sltt_core.auth.samples import (
    AUDIENCE,
    EC,
    ISSUER,
    OTHER_EC,
    OTHER_RSA,
    P384,
    RSA,
    SECRET,
    Sign,
    b64,
    claims,
    ec_jwk,
    es256,
    es256_numbers,
    hs256,
    number,
    rs256,
    rsa_jwk,
    token,
)

DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def encoded(message: bytes, size: int) -> bytes:
    """The encoded message of RSASSA-PKCS1-v1_5 (RFC 8017, section 9.2)."""
    end = b"\0" + DIGEST_INFO + hashlib.sha256(message).digest()
    return b"\0\1" + b"\xff" * (size - 2 - len(end)) + end


def raw_rsa(em: bytes) -> bytes:
    """Sign an encoded message as it is, which only the owner of the key can."""
    numbers = RSA.private_numbers()
    size = 256
    return pow(int.from_bytes(em, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")


def bad_padding(change: Callable[[bytes], bytes]) -> Sign:
    """Sign with the right key, but another encoded message: only a lenient check of the padding accepts it."""
    return lambda message: raw_rsa(change(encoded(message, 256)))


def from_numbers(change: Callable[[int, int], tuple[int, int]], size: int = 32) -> Sign:
    """An ES256 signature with other numbers."""

    def sign(message: bytes) -> bytes:
        r, s = change(*es256_numbers(message))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    return sign


def cube_root_forgery(message: bytes) -> bytes:
    """A forged signature for an exponent of 3 whose encoded message ends in garbage (Bleichenbacher, 2006)."""
    end = b"\0" + DIGEST_INFO + hashlib.sha256(message).digest()
    begin = b"\0\1" + b"\xff" * 8 + end
    target = int.from_bytes(begin + b"\xff" * (256 - len(begin)), "big")
    low, high = 0, 1 << 1024
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= target else (low, middle - 1)
    return low.to_bytes(256, "big")


def _unsigned(**header: Any) -> str:
    return token(header={"typ": "JWT", **header}, sign=lambda _: b"").rstrip(".")


def _with_payload(text: str) -> str:
    return token(payload=text.encode())


def _inserted(member: str) -> str:
    """A token whose payload has another member, as text, in front."""
    return _with_payload("{" + member + "," + json.dumps(claims())[1:])


def _headed(text: str, sign: Sign = rs256) -> str:
    return token(header=text.encode(), sign=sign)


def _public_pem() -> bytes:
    return RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public_der() -> bytes:
    return RSA.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _noncanonical(text: str) -> str:
    """The same base64url with an unused bit set, which a lenient decoder ignores."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(text) % 4 in (2, 3)
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]


def _changed(change: Callable[[str, str, str], str], algorithm: str = "RS256", **options: Any) -> str:
    header, payload, signature = token(algorithm, **options).split(".")
    return change(header, payload, signature)


def _self_signed(name: str) -> str:
    """Signed by the attacker's key, which the header offers."""
    offered: dict[str, Any] = {
        "jwk": rsa_jwk(OTHER_RSA),
        "jku": "https://evil.example.org/jwks.json",
        "x5u": "https://evil.example.org/cert.pem",
        "x5c": [b64encode(_public_der()).decode()],
        "x5t": "AAAA",
    }
    return token(sign=lambda message: rs256(message, OTHER_RSA), **{name: offered[name]})


def forged_tokens() -> dict[str, str]:
    """Tokens that must be refused, by name. Each differs from a good one in the point that its name says."""
    now = int(time.time())
    good = token()
    signed, _, signature = good.rpartition(".")

    def es(sign: Sign) -> str:
        return token("ES256", sign=sign)

    def rs(change: Callable[[bytes], bytes]) -> str:
        return token(sign=bad_padding(change))

    def aud(value: Any) -> str:
        return token(payload=claims(aud=value))

    def exp(value: Any) -> str:
        return token(payload=claims(exp=value))

    info = DIGEST_INFO
    other_header = b'{"alg":"RS256","kid":"rsa"}'
    return {
        # No signature
        **{f"alg {name}": _unsigned(alg=name) + "." for name in ("none", "None", "NONE", "nOnE", "")},
        "alg none with a good signature": f"{_unsigned(alg='none')}.{signature}",
        "alg none with a kid": _unsigned(alg="none", kid="rsa") + ".AA",
        "an empty signature": signed + ".",
        "no signature part": signed,
        "a signature of zeros": f"{signed}.{b64(bytes(256))}",
        "only dots": "..",
        "empty parts": f"..{signature}",
        "an empty payload": _changed(lambda header, payload, signature: f"{header}..{signature}"),
        # Another key, or another algorithm than the key's
        "signed by another RSA key": token(sign=lambda message: rs256(message, OTHER_RSA)),
        "signed by another EC key": token("ES256", sign=lambda message: es256(message, OTHER_EC)),
        "signed with another secret": token("HS256", sign=lambda message: hs256(message, b"x" * 32)),
        "signed with an empty secret": token("HS256", sign=lambda message: hs256(message, b"")),
        "HS256 with the PEM of the RSA key": token("HS256", sign=lambda m: hs256(m, _public_pem()), kid="rsa"),
        "HS256 with the PEM without its last line end": token(
            "HS256", sign=lambda m: hs256(m, _public_pem().rstrip()), kid="rsa"
        ),
        "HS256 with the DER of the RSA key": token("HS256", sign=lambda m: hs256(m, _public_der()), kid="rsa"),
        "HS256 with the modulus": token("HS256", sign=lambda m: hs256(m, rsa_jwk()["n"].encode()), kid="rsa"),
        "HS256 with the JWK": token("HS256", sign=lambda m: hs256(m, json.dumps(rsa_jwk()).encode()), kid="rsa"),
        "HS256 with the point of the EC key": token("HS256", sign=lambda m: hs256(m, ec_jwk()["x"].encode()), kid="ec"),
        "RS256 with the kid of the EC key": token(kid="ec"),
        "ES256 with the kid of the RSA key": token("ES256", kid="rsa"),
        "RS256 with the kid of the secret": token(kid="hs"),
        "RS256 whose signature is an HMAC": token(sign=hs256),
        "RS512": token(
            header={"alg": "RS512", "kid": "rsa"},
            sign=lambda m: RSA.sign(m, padding.PKCS1v15(), hashes.SHA512()),
        ),
        "PS256": token(
            header={"alg": "PS256", "kid": "rsa"},
            sign=lambda m: RSA.sign(m, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
        ),
        "RS256 with a PSS signature": token(
            sign=lambda m: RSA.sign(m, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
        ),
        "RS256 with a SHA-512 signature": token(sign=lambda m: RSA.sign(m, padding.PKCS1v15(), hashes.SHA512())),
        "RS256 with a SHA-1 signature": token(sign=lambda m: RSA.sign(m, padding.PKCS1v15(), hashes.SHA1())),
        "HS512": token(header={"alg": "HS512", "kid": "hs"}, sign=lambda m: hmac.digest(SECRET, m, "sha512")),
        "alg rs256": token(header={"alg": "rs256", "kid": "rsa"}),
        "alg with a space": token(header={"alg": "RS256 ", "kid": "rsa"}),
        "alg with a zero byte": token(header={"alg": "RS256\0", "kid": "rsa"}),
        "alg is a list": token(header={"alg": ["RS256"], "kid": "rsa"}),
        "alg is null": token(header={"alg": None, "kid": "rsa"}),
        "alg is missing": token(header={"kid": "rsa"}),
        "alg twice": _headed('{"alg":"none","alg":"RS256","kid":"rsa"}'),
        "alg twice, the other order": _headed('{"alg":"RS256","alg":"none","kid":"rsa"}'),
        "alg twice, once escaped": _headed('{"alg":"RS256","\\u0061lg":"HS256","kid":"rsa"}'),
        # The header offers a key
        **{f"a key in {name}": _self_signed(name) for name in ("jwk", "jku", "x5u", "x5c", "x5t")},
        "kid is a path": token("HS256", sign=lambda m: hs256(m, b""), kid="../../../../dev/null"),
        "kid is an SQL string": token("HS256", sign=lambda m: hs256(m, b"key"), kid="x' UNION SELECT 'key"),
        "kid is a command": token(kid="rsa|whoami"),
        "kid is a URL": token(kid="https://evil.example.org/jwks.json", sign=lambda m: rs256(m, OTHER_RSA)),
        "kid with a zero byte": token(kid="rsa\0"),
        "kid in other case": token(kid="RSA"),
        "kid is a list": token(kid=["rsa"]),
        "kid is an object": token(kid={"kid": "rsa"}),
        "kid is a number": token(kid=0),
        "kid is empty": token(kid=""),
        "kid is missing from a set of several keys": token(kid=...),
        "kid is long": token(kid="rsa" * 1_000),
        # typ and crit
        **{
            f"typ {kind!r}": token(typ=kind) for kind in ("JWE", "JOSE", "dpop+jwt", "logout+jwt", "", None, 1, ["JWT"])
        },
        "crit of an unknown extension": token(crit=["exp"], exp=now + 60),
        "crit is empty": token(crit=[]),
        "crit is null": token(crit=None),
        "an unencoded payload (RFC 7797)": token(b64=False, crit=["b64"]),
        # RSA signatures
        "RSA: a changed bit": f"{signed}.{b64(bytes([rs256(signed.encode())[0] ^ 1]) + rs256(signed.encode())[1:])}",
        "RSA: without its last byte": f"{signed}.{b64(rs256(signed.encode())[:-1])}",
        "RSA: a zero byte in front": f"{signed}.{b64(bytes(1) + rs256(signed.encode()))}",
        "RSA: a zero byte behind": f"{signed}.{b64(rs256(signed.encode()) + bytes(1))}",
        "RSA: the signature plus the modulus": token(
            sign=lambda m: (int.from_bytes(rs256(m), "big") + RSA.public_key().public_numbers().n).to_bytes(257, "big")
        ),
        "RSA: one": f"{signed}.{b64(bytes(255) + bytes([1]))}",
        "RSA: the modulus minus one": f"{signed}.{number(RSA.public_key().public_numbers().n - 1)}",
        "RSA: the signature is the encoded message": token(sign=lambda m: encoded(m, 256)),
        "RSA: padding without zero": rs(lambda em: em.replace(b"\0" + info, b"\xff" + info)),
        "RSA: padding of type 2": rs(lambda em: b"\0\2" + em[2:]),
        "RSA: padding of type 0": rs(lambda em: b"\0\0" + em[2:]),
        "RSA: another byte in the padding": rs(lambda em: b"\0\1\xfe" + em[3:]),
        "RSA: garbage in the padding": rs(lambda em: em[:40] + b"\0" + em[41:]),
        "RSA: garbage behind the hash": rs(
            lambda em: b"\0\1" + b"\xff" * 8 + em[em.index(b"\0" + info) :] + b"\xaa" * 194
        ),
        "RSA: no NULL in the algorithm": rs(
            lambda em: b"\0\1" + b"\xff" * 204 + b"\0" + bytes.fromhex("302f300b0609608648016503040201") + em[-34:]
        ),
        "RSA: a long form of a length": rs(
            lambda em: b"\0\1" + b"\xff" * 201 + b"\0" + bytes.fromhex("308131") + info[2:] + em[-32:]
        ),
        "RSA: the hash without its algorithm": rs(lambda em: b"\0\1" + b"\xff" * 221 + b"\0" + em[-32:]),
        "RSA: the digest of SHA-1's identifier": rs(
            lambda em: b"\0\1" + b"\xff" * 206 + b"\0" + bytes.fromhex("3021300906052b0e03021a05000414") + em[-32:]
        ),
        "RSA: a cube root (Bleichenbacher 2006)": token(sign=cube_root_forgery),
        # ECDSA signatures
        "ES256: r is 0": es(from_numbers(lambda r, s: (0, s))),
        "ES256: s is 0": es(from_numbers(lambda r, s: (r, 0))),
        "ES256: r and s are 0 (CVE-2022-21449)": es(from_numbers(lambda r, s: (0, 0))),
        "ES256: r is n": es(from_numbers(lambda r, s: (N, s))),
        "ES256: s is n": es(from_numbers(lambda r, s: (r, N))),
        "ES256: r and s are n": es(from_numbers(lambda r, s: (N, N))),
        "ES256: r is n + 1": es(from_numbers(lambda r, s: (N + 1, s))),
        "ES256: r is p": es(from_numbers(lambda r, s: (P, s))),
        "ES256: r is 1": es(from_numbers(lambda r, s: (1, s))),
        "ES256: r and s are 1": es(from_numbers(lambda r, s: (1, 1))),
        "ES256: r is n - 1": es(from_numbers(lambda r, s: (N - 1, s))),
        "ES256: r and s are the largest numbers": es(lambda _: b"\xff" * 64),
        "ES256: r and s swapped": es(from_numbers(lambda r, s: (s, r))),
        "ES256: r and s plus n": es(from_numbers(lambda r, s: (r + N, s + N), 33)),
        "ES256: r is negative": es(from_numbers(lambda r, s: (N - r, s))),
        "ES256: 33 bytes each": es(from_numbers(lambda r, s: (r, s), 33)),
        "ES256: huge numbers": es(lambda _: b"\xff" * 512),
        "ES256: in DER": es(lambda m: EC.sign(m, ec.ECDSA(hashes.SHA256()))),
        "ES256: r only": es(lambda m: es256(m)[:32]),
        "ES256: a zero byte behind": es(lambda m: es256(m) + bytes(1)),
        "ES256: of SHA-384": es(
            lambda m: b"".join(
                part.to_bytes(32, "big") for part in decode_dss_signature(EC.sign(m, ec.ECDSA(hashes.SHA384())))
            )
        ),
        "ES256: of the curve P-384": es(
            lambda m: b"".join(
                part.to_bytes(48, "big") for part in decode_dss_signature(P384.sign(m, ec.ECDSA(hashes.SHA256())))
            )
        ),
        "ES384": token(header={"alg": "ES384", "kid": "ec"}, sign=es256),
        "ES256K": token(header={"alg": "ES256K", "kid": "ec"}, sign=es256),
        # HMAC
        "HS256: a part of the HMAC": token("HS256", sign=lambda m: hs256(m)[:16]),
        "HS256: with a byte behind": token("HS256", sign=lambda m: hs256(m) + b"\0"),
        "HS256: in hexadecimal": token("HS256", sign=lambda m: hs256(m).hex().encode()),
        # Claims
        "iss of another issuer": token(payload=claims(iss="https://evil.example.org/")),
        "iss without its slash": token(payload=claims(iss=ISSUER.rstrip("/"))),
        "iss in other case": token(payload=claims(iss=ISSUER.upper())),
        "iss is a list": token(payload=claims(iss=[ISSUER])),
        "iss is missing": token(payload=claims(iss=...)),
        "aud of another API": aud("https://other.example.org"),
        "aud is a part": aud(AUDIENCE[:-1]),
        "aud is longer": aud(AUDIENCE + "/"),
        "aud in a list of others": aud(["https://other.example.org"]),
        "aud is an empty list": aud([]),
        "aud in a list with a number": aud([AUDIENCE, 1]),
        "aud in a list in a list": aud([[AUDIENCE]]),
        "aud is an object": aud({AUDIENCE: True}),
        "aud is true": aud(True),
        "aud is null": aud(None),
        "aud is missing": aud(...),
        "exp is missing": exp(...),
        "exp is null": exp(None),
        "exp is over": exp(now - 1),
        "exp is zero": exp(0),
        "exp is negative": exp(-now),
        "exp is text": exp(str(now + 3_600)),
        "exp is a float": exp(now + 3_600.5),
        "exp is true": exp(True),
        "exp is a list": exp([now + 3_600]),
        "exp is huge": exp(10**18),
        "exp has 5,000 digits": _with_payload(json.dumps(claims(exp=1)).replace('"exp": 1', '"exp": 1' + "0" * 5_000)),
        "exp is infinite": _with_payload(json.dumps(claims(exp=float("inf")))),
        "exp overflows a double": _with_payload(json.dumps(claims(exp=1)).replace('"exp": 1', '"exp": 1e999')),
        "exp is NaN": _with_payload(json.dumps(claims(exp=float("nan")))),
        "exp twice": _inserted(f'"exp":{now - 5}'),
        "nbf is in the future": token(payload=claims(nbf=now + 3_000)),
        "nbf is text": token(payload=claims(nbf=str(now))),
        "iat is in the future": token(payload=claims(iat=now + 3_000)),
        "iat is a float": token(payload=claims(iat=now - 0.5)),
        "sub is missing": token(payload=claims(sub=...)),
        "sub is empty": token(payload=claims(sub="")),
        "sub is a number": token(payload=claims(sub=7)),
        "sub has 256 characters": token(payload=claims(sub="a" * 256)),
        "sub has a zero byte": token(payload=claims(sub="anna\0")),
        "sub has a line end": token(payload=claims(sub="anna\nadmin")),
        "sub twice": _inserted('"sub":"admin"'),
        # The form of the parts
        "the payload was changed": _changed(lambda h, p, s: f"{h}.{b64(json.dumps(claims(sub='admin')).encode())}.{s}"),
        "the header was changed": _changed(lambda h, p, s: f"{b64(other_header)}.{p}.{s}"),
        "the payload is a list": token(payload=b"[]"),
        "the payload is text": token(payload=b'"anna"'),
        "the payload is not JSON": token(payload=b"anna"),
        "the payload is not UTF-8": token(payload=json.dumps(claims()).encode()[:-1] + b',"x":"\xff"}'),
        "the payload begins with a byte order mark": token(payload=b"\xef\xbb\xbf" + json.dumps(claims()).encode()),
        "the payload has a lone surrogate": token(payload=claims(name="\ud800")),
        "the payload is nested deeply": _inserted('"x":' + "[" * 5_000 + "]" * 5_000),
        "the payload has text behind it": token(payload=json.dumps(claims()).encode() + b"{}"),
        "the header is a list": token(header=b'["RS256"]'),
        "the header is not JSON": token(header=b"RS256"),
        "the header is nested deeply": _headed('{"alg":"RS256","kid":"rsa","x":' + "[" * 3_000 + "]" * 3_000 + "}"),
        "the header has text behind it": _headed('{"alg":"RS256","kid":"rsa"}{}'),
        "padding behind the signature": good + "==",
        "padding behind the payload": _changed(lambda h, p, s: f"{h}.{p}==.{s}"),
        "the alphabet of base64": _changed(lambda h, p, s: f"{h}.{p}.{s.replace('-', '+').replace('_', '/')}"),
        "unused bits in the signature": _changed(lambda h, p, s: f"{h}.{p}.{_noncanonical(s)}"),
        "unused bits in an HMAC": _changed(lambda h, p, s: f"{h}.{p}.{_noncanonical(s)}", "HS256"),
        "a fourth part": good + ".AAAA",
        "a fourth part that is empty": good + ".",
        "a dot in front": "." + good,
        "five parts, as a JWE": good + ".AAAA.AAAA",
        "a part of one character": _changed(lambda h, p, s: f"{h}.{p}.A"),
        "only the first half": good[: len(good) // 2],
        "twice": good + good,
        "a JSON serialization": b64(json.dumps({"payload": "e30", "signatures": []}).encode()),
        "too long": token(payload=claims(filler="x" * 16_000)),
        "a device token": "sltt_0123456789abcdef_" + "a" * 49,
    }
