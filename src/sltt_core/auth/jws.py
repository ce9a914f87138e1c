"""Signed tokens in compact form (RFC 7515, section 7.1): the parts of a token, before anything of it is trusted."""

from __future__ import annotations

from sltt_core.auth.base64url import decode
from sltt_core.base.json_reader import decode_utf8, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_TOKEN_BYTES = 16_384
"""Bytes of a token. Nothing of a longer one is decoded."""
_MAX_SIGNATURE = 1_366  # characters: the signature of an RSA key of 8,192 bits
_TYPES = ("jwt", "at+jwt")


class InvalidToken(ValueError):
    """The token is not accepted. The message is one of a few fixed reasons: it contains nothing of the token."""


class Jws:
    """A token's parts."""

    __slots__ = ("algorithm", "key_id", "payload", "signature", "signed")

    def __init__(self, algorithm: str, key_id: str | None, payload: bytes, signature: bytes, signed: bytes) -> None:
        self.algorithm = algorithm
        self.key_id = key_id
        self.payload = payload
        self.signature = signature
        self.signed = signed
        """The bytes that the signature is for."""


def parse(token: str) -> Jws:
    """Return the parts of a token; raises `InvalidToken`.

    The members `jku`, `jwk`, `x5c`, `x5t` and `x5u` of the header, which name or contain a key, are ignored: only
    configured keys count (RFC 8725, section 3.10). `crit` is refused, because no extension is known (RFC 7515, section
    4.1.11). A `typ` must be `JWT` (RFC 7519) or `at+jwt` (RFC 9068), in any case, with or without `application/`; it
    may be absent (RFC 8725, section 3.11).
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidToken("the token is too long")
    parts = token.split(".", 3)
    if len(parts) != 3 or not all(parts) or len(parts[2]) > _MAX_SIGNATURE:
        raise InvalidToken("the token is not a signed JWT in compact form")
    try:
        header_text, payload, signature = map(decode, parts)
    except ValueError:
        raise InvalidToken("the token is not base64url") from None
    header = json_object(header_text, "the token's header")
    if "crit" in header:
        raise InvalidToken("the token's header has crit, but no extension is supported")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise InvalidToken("the token's typ is neither JWT nor at+jwt")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or not (key_id is None or isinstance(key_id, str)):
        raise InvalidToken("the token's alg or kid is not a string")
    return Jws(algorithm, key_id, payload, signature, token[: token.rindex(".")].encode())


def json_object(data: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object that bytes contain, read strictly: a member that appears twice is refused.

    Raises `InvalidToken`; `name` is what the error calls the bytes.
    """
    try:
        value = read(decode_utf8(data))
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidToken(f"{name} is not a valid JSON object")
    return value
