"""The arithmetic of P-256; `test_agreement.py` compares signatures with OpenSSL's."""

from __future__ import annotations

import hashlib
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


def key_for(kind: type[EcKey], point: tuple[int, int], r: int, s: int) -> EcKey:
    """The key for which (r, s) is a signature of `m`, if `point` is the point that r stands for."""
    digest = int.from_bytes(hashlib.sha256(b"m").digest(), "big")
    inverse = pow(r, -1, N)
    found = affine(sum_of_products(-digest * inverse % N, s * inverse % N, odd_multiples(point)))
    assert found is not None
    return kind(*found)


def point_from(x: int) -> tuple[int, int]:
    """The first point of the curve whose x is not smaller."""
    while True:
        square = (x * x * x - 3 * x + B) % P
        y = pow(square, (P + 1) // 4, P)
        if y * y % P == square:
            return x, y
        x += 1


def signature(r: int, s: int, size: int = 32) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(size, "big")


@pytest.mark.parametrize("kind", [EcKey, OpenSslEcKey])
def test_r_may_stand_for_an_x_that_is_not_below_n(kind: type[EcKey]) -> None:
    """About one of 2¹²⁸ random signatures has such an x, so that no random test finds it."""
    point = point_from(N)
    assert N <= point[0] < P
    r = point[0] - N
    assert key_for(kind, point, r, 5).verify(b"m", signature(r, 5))


@pytest.mark.parametrize("kind", [EcKey, OpenSslEcKey])
def test_r_stands_for_no_x_beyond_p(kind: type[EcKey]) -> None:
    point = point_from(1)
    r = point[0] + P - N  # r + N is x modulo p, but not x
    assert not key_for(kind, point, r, 5).verify(b"m", signature(r, 5))


@pytest.mark.parametrize("kind", [EcKey, OpenSslEcKey])
def test_both_numbers_have_32_bytes(kind: type[EcKey]) -> None:
    """A small s fits into fewer bytes, and then another text would be the same signature."""
    point = point_from(2**200)
    key = key_for(kind, point, point[0], 5)
    assert key.verify(b"m", signature(point[0], 5))
    for size in (1, 31, 33):
        assert not key.verify(b"m", signature(point[0], 5, size))


def test_a_verification_takes_few_operations() -> None:
    """About 260 doublings, and an addition for every seventh bit of each of two numbers."""
    public = EC.public_key().public_numbers()
    key = EcKey(public.x, public.y)
    signed = es256(b"m")
    assert key.verify(b"m", signed)  # computes the multiples
    calls: dict[str, int] = {}

    def count(frame: object, event: str, arg: object) -> None:
        if event == "call":
            name = frame.f_code.co_name  # type: ignore[attr-defined]
            calls[name] = calls.get(name, 0) + 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        assert key.verify(b"m", signed)
    finally:
        sys.setprofile(before)
    assert calls["_double"] <= 258
    assert calls["_add"] <= 2 * 45
