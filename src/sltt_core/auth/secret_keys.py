"""HS256: HMAC with SHA-256 (RFC 7518, section 3.2)."""

from __future__ import annotations

from _operator import _compare_digest as equal_secrets  # that of `hmac`, without the import of `hmac`

from sltt_core.base.hashes import hmac_digest

__all__ = ["SecretKey", "equal_secrets"]


class SecretKey:
    """A secret that the issuer and this server share: at least 32 bytes, as RFC 7518, section 3.2, requires."""

    __slots__ = ("_secret",)
    algorithm = "HS256"

    def __init__(self, secret: bytes) -> None:
        """Raise `ValueError` for a short secret."""
        if len(secret) < 32:
            raise ValueError("is a secret of fewer than 32 bytes")
        self._secret = secret

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Return whether the signature is of this message, in a time that does not depend on where they differ."""
        return equal_secrets(hmac_digest(self._secret, message, "sha256"), signature)
