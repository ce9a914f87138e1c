"""`Verifier`: whether a token is one of the configured issuer, for this API, now. Verified tokens are remembered."""

from __future__ import annotations

from sltt_core.auth.claims import check_claims
from sltt_core.auth.jws import MAX_TOKEN_BYTES, InvalidToken, json_object, parse
from sltt_core.base.hashes import sha256
from sltt_core.base.record import Record
from sltt_core.base.runtime import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from sltt_core.auth.jwks import Key
    from sltt_core.base.runtime import Runtime

    class Keys(Protocol):
        """Where a verifier gets its keys: a `KeySet`, or `RemoteKeys`."""

        def find(self, key_id: str | None, algorithm: str) -> Key | None:
            """Return the key for a token's `kid` and `alg`, or `None`."""


CACHE_SECONDS = 300
"""The longest time that a verified token is remembered; never beyond its `exp`."""
MAX_CACHED = 1_000
"""The number of verified tokens that are remembered."""


class Identity(Record):
    """Who a token was issued for."""

    subject: str
    """The claim `sub`."""
    claims: Mapping[str, object]
    """All claims, as the token has them."""


class Verifier:
    """Verifies tokens of one issuer for one audience. Several threads may call `verify`."""

    __slots__ = ("_cache", "_clock", "_keys", "_lock", "_max_cached", "_steady_clock", "audience", "issuer")

    def __init__(
        self, issuer: str, audience: str, keys: Keys, *, runtime: Runtime = SYSTEM, max_cached: int = MAX_CACHED
    ) -> None:
        """`issuer` and `audience` are the values that `iss` and `aud` must have."""
        self.issuer = issuer
        self.audience = audience
        self._keys = keys
        self._clock = runtime.clock
        self._steady_clock = runtime.steady_clock
        self._lock = runtime.new_lock()
        self._max_cached = max_cached
        self._cache: dict[bytes, tuple[Identity, float, int]] = {}
        # By the SHA-256 of a token: the identity, and until when it is valid, in seconds of the steady clock and in
        # nanoseconds since 1970.

    def verify(self, token: str) -> Identity:
        """Return who a token was issued for. Raises `InvalidToken`, or what `Keys.find` raises."""
        if len(token) > MAX_TOKEN_BYTES or not token.isascii():
            raise InvalidToken("the token is too long or not ASCII")
        digest = sha256(token.encode()).digest()
        known = self._cache.get(digest)
        if known is not None and self._steady_clock() < known[1] and self._clock() < known[2]:
            return known[0]
        jws = parse(token)
        key = self._keys.find(jws.key_id, jws.algorithm)
        if key is None or not key.verify(jws.signed, jws.signature):
            raise InvalidToken("the token's signature is not by a known key")
        claims = json_object(jws.payload, "the token's payload")
        now = self._clock()
        subject, expires = check_claims(claims, self.issuer, self.audience, now)
        identity = Identity(subject, claims)
        self._remember(digest, (identity, self._steady_clock() + CACHE_SECONDS, expires * 10**9))
        return identity

    def _remember(self, digest: bytes, known: tuple[Identity, float, int]) -> None:
        with self._lock:
            self._cache.pop(digest, None)
            if len(self._cache) >= self._max_cached:
                del self._cache[next(iter(self._cache))]
            self._cache[digest] = known
