"""The keys of RS256 and ES256 with the library `cryptography`, where it is installed: the same results, faster.

Its import takes longer than a cold start on Lambda, so only a server uses it.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from sltt_core.auth.p256 import EcKey
from sltt_core.auth.rsa import RsaKey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.auth.jwks import KeyTypes


class OpenSslRsaKey(RsaKey):
    """An `RsaKey` whose signatures OpenSSL verifies."""

    __slots__ = ("_key",)

    def __init__(self, modulus: int, exponent: int) -> None:
        super().__init__(modulus, exponent)
        self._key = RSAPublicNumbers(exponent, modulus).public_key()

    def verify(self, message: bytes, signature: bytes) -> bool:
        try:
            self._key.verify(signature, message, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True


class OpenSslEcKey(EcKey):
    """An `EcKey` whose signatures OpenSSL verifies."""

    __slots__ = ("_key",)

    def __init__(self, x: int, y: int) -> None:
        super().__init__(x, y)
        self._key = EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()

    def verify(self, message: bytes, signature: bytes) -> bool:
        if len(signature) != 64:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self._key.verify(encode_dss_signature(r, s), message, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


KEY_TYPES: KeyTypes = {"RSA": OpenSslRsaKey, "EC": OpenSslEcKey}
"""Replaces `sltt_core.auth.jwks.KEY_TYPES`."""
