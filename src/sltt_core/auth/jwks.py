"""Key sets (RFC 7517, RFC 7518): the keys of an issuer, from the text of a JWK Set."""

from __future__ import annotations

from sltt_core.auth.base64url import decode
from sltt_core.auth.p256 import EcKey
from sltt_core.auth.rsa import RsaKey
from sltt_core.auth.secret_keys import SecretKey
from sltt_core.base.json_reader import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Key(Protocol):
        """A key for one algorithm. The key decides on the algorithm, never the token (RFC 8725, section 3.1)."""

        algorithm: str

        def verify(self, message: bytes, signature: bytes) -> bool:
            """Return whether the signature is of this message."""

    KeyTypes = Mapping[str, Callable[[int, int], Key]]
    """The classes of the public keys by `kty`."""

MAX_SET_BYTES = 262_144
"""Bytes of a key set."""
MAX_KEYS = 100
"""Keys of a key set."""
KEY_TYPES: KeyTypes = {"RSA": RsaKey, "EC": EcKey}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})


class KeySet:
    """The keys of a set that can verify signatures; the others are left out, each with a reason."""

    __slots__ = ("_keys", "reasons")

    def __init__(self, keys: list[tuple[str | None, Key]], reasons: tuple[str, ...] = ()) -> None:
        self._keys: dict[tuple[str | None, str], Key] = {}
        self.reasons = reasons
        for key_id, key in keys:
            self._keys.setdefault((key_id, key.algorithm), key)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, key_id: str | None, algorithm: str) -> Key | None:
        """Return the key for a token's `kid` and `alg`, or `None` if there is none: a key has one algorithm only.

        A token without a `kid` can use the key of a set that has only one.
        """
        if key_id is None and len(self._keys) == 1:
            (key,) = self._keys.values()
            return key if key.algorithm == algorithm else None
        return self._keys.get((key_id, algorithm)) if key_id is not None else None


def parse_key_set(text: str, types: KeyTypes = KEY_TYPES, *, secrets: bool) -> KeySet:
    """Return the keys of a JWK Set. A key that is not valid or not for signatures does not spoil the others.

    `secrets` allows keys for HS256, which a set that is read from a URL must not contain. Raises `ValueError` for a
    text that is not a JWK Set, or that is too large. Errors contain nothing of a key.
    """
    if len(text) > MAX_SET_BYTES:
        raise ValueError(f"is larger than {MAX_SET_BYTES:,} bytes")
    try:
        document = read(text)
    except ValueError:
        raise ValueError("is not valid JSON") from None
    items = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise ValueError('is not a JWK Set: {"keys": [...]}')
    if len(items) > MAX_KEYS:
        raise ValueError(f"has more than {MAX_KEYS} keys")
    keys: list[tuple[str | None, Key]] = []
    reasons = []
    for index, item in enumerate(items):
        try:
            keys.append(_key(item, types, secrets))
        except ValueError as error:
            reasons.append(f"keys[{index}] {error}")
    return KeySet(keys, tuple(reasons))


def _key(jwk: object, types: KeyTypes, secrets: bool) -> tuple[str | None, Key]:
    if not isinstance(jwk, dict):
        raise ValueError("is not an object")
    if not _PRIVATE.isdisjoint(jwk):
        raise ValueError("contains a private key, which only the issuer may have")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("is not for signatures")
    key_id, kind = jwk.get("kid"), jwk.get("kty")
    if not (key_id is None or isinstance(key_id, str)):
        raise ValueError("has a kid that is not a string")
    key: Key
    if kind == "RSA":
        key = types[kind](_number(jwk, "n"), _number(jwk, "e"))
    elif kind == "EC" and jwk.get("crv") == "P-256":
        key = types[kind](_number(jwk, "x", 32), _number(jwk, "y", 32))
    elif kind == "oct" and secrets:
        key = SecretKey(_bytes(jwk, "k"))
    else:
        raise ValueError("has a type, a curve or a use that is not supported")
    if jwk.get("alg", key.algorithm) != key.algorithm:
        raise ValueError(f"is for another algorithm than {key.algorithm}")
    return key_id, key


def _number(jwk: Mapping[str, Any], name: str, size: int | None = None) -> int:
    data = _bytes(jwk, name)
    if len(data) > 1_025 or (size is not None and len(data) != size):
        raise ValueError(f"has {name} of a wrong length")
    return int.from_bytes(data, "big")


def _bytes(jwk: Mapping[str, Any], name: str) -> bytes:
    text = jwk.get(name)
    if not isinstance(text, str):
        raise ValueError(f"has no {name}")
    try:
        return decode(text)
    except ValueError:
        raise ValueError(f"has {name} that is not base64url") from None
