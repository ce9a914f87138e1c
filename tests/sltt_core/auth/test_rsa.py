"""RS256 with keys that a key set may not contain; `test_agreement.py` compares it with OpenSSL."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from sltt_core.auth.openssl import OpenSslRsaKey
from sltt_core.auth.rsa import RsaKey, is_signature
from tests.sltt_core.auth.forgeries import cube_root_forgery, encoded
from tests.sltt_core.auth.samples import rs256

N = 2**2048 - 1


def test_a_cube_root_is_no_signature() -> None:
    """With an exponent of 3, a parser that ignores what follows the hash accepts it."""
    key = rsa.generate_private_key(3, 2048)
    modulus = key.public_key().public_numbers().n
    assert is_signature(b"m", rs256(b"m", key), modulus, 3)
    forged = cube_root_forgery(b"m")
    begin = pow(int.from_bytes(forged, "big"), 3).to_bytes(256, "big")
    assert begin.startswith(encoded(b"m", 64)[:10])  # so it is what such a parser looks for
    assert encoded(b"m", 64)[-51:] in begin
    assert not is_signature(b"m", forged, modulus, 3)


@pytest.mark.parametrize("kind", [RsaKey, OpenSslRsaKey])
@pytest.mark.parametrize(
    ("modulus", "exponent"),
    [
        (N, 1),
        (N, 0),
        (N, 3),
        (N, 65_535),
        (N, 65_536),
        (N, 65_538),
        (N, 2**64 + 1),
        (N, N),
        (N + 1, 65_537),
        (0, 65_537),
        (2**2046 + 1, 65_537),
        (2**1023 + 1, 65_537),
        (2**8192 + 1, 65_537),
    ],
)
def test_a_weak_or_huge_key_is_refused(kind: type[RsaKey], modulus: int, exponent: int) -> None:
    with pytest.raises(ValueError, match=r"has a modulus|has an exponent"):
        kind(modulus, exponent)


@pytest.mark.parametrize("bits", [2048, 2049, 2055, 3072])
def test_a_modulus_may_have_any_number_of_bits_in_the_range(bits: int) -> None:
    key = rsa.generate_private_key(65_537, bits)
    ours = RsaKey(key.public_key().public_numbers().n, 65_537)
    assert ours.verify(b"m", rs256(b"m", key))
    assert not ours.verify(b"n", rs256(b"m", key))


@pytest.mark.parametrize("kind", [RsaKey, OpenSslRsaKey])
def test_a_signature_has_one_number_only(kind: type[RsaKey]) -> None:
    """The signature plus the modulus, in as many bytes, has the same power (RFC 8017, section 5.2.2, step 1)."""
    private = rsa.generate_private_key(65_537, 2050)
    modulus = private.public_key().public_numbers().n
    key = kind(modulus, 65_537)
    signature = rs256(b"m", private)
    more = (int.from_bytes(signature, "big") + modulus).to_bytes(len(signature), "big")
    assert key.verify(b"m", signature)
    assert not key.verify(b"m", more)
