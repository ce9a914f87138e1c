"""The rules for the claims of a token (RFC 7519, section 4.1; RFC 9068, section 4)."""

from __future__ import annotations

from sltt_core.auth.jws import InvalidToken
from sltt_core.model.fields import check_free_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LEEWAY_SECONDS = 60
"""How far the issuer's clock may be ahead: for `nbf` and `iat`. `exp` has no leeway."""
_MAX_DATE = 253_402_300_799  # 9999-12-31T23:59:59Z


def check_claims(claims: Mapping[str, object], issuer: str, audience: str, now: int) -> tuple[str, int]:
    """Return a token's `sub` and `exp`; raises `InvalidToken`. `now` is in nanoseconds since 1970.

    `iss` must be equal to `issuer`. `aud` must be `audience`, or an array of strings that contains it: a token may be
    meant for several services (RFC 7519, section 4.1.3). `exp` is required; all times are whole numbers of seconds.
    `sub` is required and has the form of a `changeBy`: 1 to 255 characters, no control characters.
    """
    if claims.get("iss") != issuer:
        raise InvalidToken("the token is from another issuer")
    audiences = claims.get("aud")
    several = audiences if isinstance(audiences, list) else [audiences]
    if audience not in several or not all(isinstance(one, str) for one in several):
        raise InvalidToken("the token is for another audience")
    expires = _date(claims, "exp")
    if expires is None:
        raise InvalidToken("the token has no exp")
    if now >= expires * 10**9:
        raise InvalidToken("the token has expired")
    for name in ("nbf", "iat"):
        date = _date(claims, name)
        if date is not None and now < (date - LEEWAY_SECONDS) * 10**9:
            raise InvalidToken("the token is not valid yet")
    try:
        return check_free_text(claims.get("sub")), expires
    except ValueError:
        raise InvalidToken("the token's sub is not a text of 1 to 255 characters without control characters") from None


def _date(claims: Mapping[str, object], name: str) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is not int or not 0 <= value <= _MAX_DATE:
        raise InvalidToken(f"the token's {name} is not a whole number of seconds since 1970")
    return value
