"""ES256: ECDSA on the curve P-256 with SHA-256 (RFC 7518, section 3.4; FIPS 186-5, section 6.4.2).

Points are in Jacobian coordinates: (X, Y, Z) stands for x = X/Z² and y = Y/Z³, and Z = 0 for the point at infinity. The
formulas are `dbl-2001-b` and `madd` of https://www.hyperelliptic.org/EFD/g1p/auto-shortw-jacobian-3.html. Both products
of a verification share the doublings, and add odd multiples of a point, which are computed once (wNAF). Nothing here is
secret, so the time may depend on the numbers.
"""

from __future__ import annotations

from sltt_core.base.hashes import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    Affine = tuple[int, int]
    Jacobian = tuple[int, int, int]

# SP 800-186, section 3.2.1.3
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_WIDTH = 6
_INFINITY = (1, 1, 0)


class EcKey:
    """A public key: a point on the curve. The curve has no other subgroup, so each of its points is valid."""

    __slots__ = ("_multiples", "x", "y")
    algorithm = "ES256"

    def __init__(self, x: int, y: int) -> None:
        """Raise `ValueError` if the point is not on the curve."""
        if not (0 <= x < P and 0 <= y < P) or (y * y - x * x * x + 3 * x - B) % P:
            raise ValueError("is not a point on the curve P-256")
        self.x = x
        self.y = y
        self._multiples: list[Affine] = []

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Return whether the signature, r and s with 32 bytes each, is of this message."""
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        if len(signature) != 64 or not (0 < r < N and 0 < s < N):
            return False
        self._multiples = self._multiples or odd_multiples((self.x, self.y))
        digest = int.from_bytes(sha256(message).digest(), "big")
        inverse = pow(s, -1, N)
        x, _, z = sum_of_products(digest * inverse % N, r * inverse % N, self._multiples)
        square = z * z % P
        # x/z² is compared with r modulo N without a division; it may be r + N, which is below P for a small r only.
        return z != 0 and (r * square % P == x or (r + N < P and (r + N) * square % P == x))


def sum_of_products(a: int, b: int, multiples: list[Affine]) -> Jacobian:
    """Return a·G + b·Q for the odd multiples of Q."""
    if not _multiples_of_g:
        _multiples_of_g.extend(odd_multiples(G))
    terms: dict[int, list[Affine]] = {}
    for number, table in ((a, _multiples_of_g), (b, multiples)):
        for place, digit in _digits(number):
            x, y = table[abs(digit) >> 1]
            terms.setdefault(place, []).append((x, y if digit > 0 else P - y))
    point = _INFINITY
    for place in range(max(terms, default=-1), -1, -1):
        point = _double(point)
        for other in terms.get(place, ()):
            point = _add(point, other)
    return point


_multiples_of_g: list[Affine] = []


def odd_multiples(point: Affine) -> list[Affine]:
    """Return 1, 3, 5, … times a point, as many as a digit may have."""
    found = [point]
    twice = _affine(_double((*point, 1)))
    while len(found) < 2 ** (_WIDTH - 2):
        found.append(_affine(_add((*found[-1], 1), twice)))
    return found


def _digits(number: int) -> list[tuple[int, int]]:
    """Return the non-adjacent form of a number: the places of its digits, and the digits, odd and of either sign."""
    found, place = [], 0
    while number:
        zeros = (number & -number).bit_length() - 1
        number >>= zeros
        place += zeros
        digit = number & (2**_WIDTH - 1)
        if digit >= 2 ** (_WIDTH - 1):
            digit -= 2**_WIDTH
        found.append((place, digit))
        number -= digit
    return found


def _affine(point: Jacobian) -> Affine:
    x, y, z = point
    inverse = pow(z, -1, P)
    return x * inverse * inverse % P, y * inverse * inverse * inverse % P


def _double(point: Jacobian) -> Jacobian:
    x, y, z = point
    delta, gamma = z * z % P, y * y % P
    beta = x * gamma % P
    alpha = 3 * (x - delta) * (x + delta) % P
    x3 = (alpha * alpha - 8 * beta) % P
    return x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % P, 2 * y * z % P


def _add(point: Jacobian, other: Affine) -> Jacobian:
    x, y, z = point
    x2, y2 = other
    if z == 0:
        return x2, y2, 1
    square = z * z % P
    h = (x2 * square - x) % P
    r = (y2 * z * square - y) % P
    if h == 0:  # the same x: the same point, or its negative
        return _INFINITY if r else _double(point)
    h2 = h * h % P
    h3, v = h * h2 % P, x * h2 % P
    x3 = (r * r - h3 - 2 * v) % P
    return x3, (r * (v - x3) - y * h3) % P, z * h % P
