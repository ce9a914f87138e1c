"""The arithmetic of P-256; `test_agreement.py` compares signatures with OpenSSL's."""

from __future__ import annotations

import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from sltt_core.auth.openssl import OpenSslEcKey
from sltt_core.auth.p256 import B, EcKey, G, N, P, odd_multiples, sum_of_products
from tests.sltt_core.auth.samples import EC, es256

numbers = st.one_of(st.integers(0, N - 1), st.integers(0, 70), st.integers(N - 70, N - 1))


def affine(point: tuple[int, int, int]) -> tuple[int, int] | None:
    x, y, z = point
    if z == 0:
        return None
    inverse = pow(z, -1, P)
    return x * inverse**2 % P, y * inverse**3 % P


def times(number: int) -> tuple[int, int] | None:
    """OpenSSL's multiple of the base point."""
    if number % N == 0:
        return None
    found = ec.derive_private_key(number % N, ec.SECP256R1()).public_key().public_numbers()
    return found.x, found.y


@given(numbers, numbers, st.integers(1, N - 1))
def test_a_sum_of_products_is_that_of_openssl(a: int, b: int, q: int) -> None:
    point = times(q)
    assert point is not None
    assert affine(sum_of_products(a, b, odd_multiples(point))) == times(a + b * q)


@pytest.mark.parametrize("q", [1, 2, 3, N - 1, N - 2])
@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (1, 0), (1, 1), (1, N - 1), (2, 1), (N - 1, 1), (31, 31), (5, 3)])
def test_equal_and_opposite_points_are_added(a: int, b: int, q: int) -> None:
    point = times(q)
    assert point is not None
    assert affine(sum_of_products(a, b, odd_multiples(point))) == times(a + b * q)


@pytest.mark.parametrize("kind", [EcKey, OpenSslEcKey])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (0, 0),
        (G[0], G[1] + 1),
        (G[1], G[0]),
        (G[0] + P, G[1]),
        (G[0], G[1] + P),
        (G[0], -G[1]),
        (P, P),
        (2**256 - 1, 2**256 - 1),
        (2**4096, 1),
        (1, pow(1 - 3 + B - 1, (P + 1) // 4, P)),  # on another curve: y² = x³ - 3x + b - 1
    ],
)
def test_a_point_off_the_curve_is_refused(kind: type[EcKey], x: int, y: int) -> None:
    with pytest.raises(ValueError, match="is not a point on the curve P-256"):
        kind(x, y)


def test_a_verification_takes_few_operations() -> None:
    """About 260 doublings, and an addition for every seventh bit of each of two numbers."""
    public = EC.public_key().public_numbers()
    key = EcKey(public.x, public.y)
    message, signature = b"m", es256(b"m")
    assert key.verify(message, signature)  # computes the multiples
    calls: dict[str, int] = {}

    def count(frame: object, event: str, arg: object) -> None:
        if event == "call":
            name = frame.f_code.co_name  # type: ignore[attr-defined]
            calls[name] = calls.get(name, 0) + 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        assert key.verify(message, signature)
    finally:
        sys.setprofile(before)
    assert calls["_double"] <= 258
    assert calls["_add"] <= 2 * 45
