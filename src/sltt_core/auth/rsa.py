"""RS256: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3; RFC 8017, section 8.2.2)."""

from __future__ import annotations

from sltt_core.base.hashes import sha256

_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017, section 9.2, note 1


class RsaKey:
    """A public key. A modulus has 2,048 to 8,192 bits. An exponent is odd, above 2¹⁶ and below 2⁶⁴.

    NIST FIPS 186-5, section 5.1, requires an exponent above 2¹⁶ and allows one below 2²⁵⁶; OpenSSL allows 64 bits.
    """

    __slots__ = ("exponent", "modulus")
    algorithm = "RS256"

    def __init__(self, modulus: int, exponent: int) -> None:
        """Raise `ValueError` for a number that is out of range."""
        if not 2_048 <= modulus.bit_length() <= 8_192 or not modulus & 1:
            raise ValueError("has a modulus that is even, or that has not 2,048 to 8,192 bits")
        if not 2**16 < exponent < 2**64 or not exponent & 1:
            raise ValueError("has an exponent that is even, or not between 2**16 and 2**64")
        self.modulus = modulus
        self.exponent = exponent

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Return whether the signature is of this message."""
        return is_signature(message, signature, self.modulus, self.exponent)


def is_signature(message: bytes, signature: bytes, modulus: int, exponent: int) -> bool:
    """Return whether a signature is of a message.

    The expected encoded message is built and compared as a whole. A parser of what the signature contains could be
    made to skip bytes, with which signatures for small exponents are forged (Bleichenbacher, 2006).
    """
    size = (modulus.bit_length() + 7) // 8
    number = int.from_bytes(signature, "big")
    if len(signature) != size or number >= modulus:
        return False
    end = b"\0" + _SHA256_INFO + sha256(message).digest()
    expected = b"\0\1" + b"\xff" * (size - 2 - len(end)) + end
    return pow(number, exponent, modulus) == int.from_bytes(expected, "big")
