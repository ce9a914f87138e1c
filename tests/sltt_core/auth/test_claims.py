"""The claims of a token: what is accepted, and the reason for which each other one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sltt_core.auth.claims import LEEWAY_SECONDS, check_claims
from sltt_core.auth.jws import InvalidToken

SECONDS = 1_800_000_000
NOW = SECONDS * 10**9
ISSUER, AUDIENCE = "https://id.example.org/", "https://sync.example.org"
SUB = "the token's sub is not a text of 1 to 255 characters without control characters"


def check(now: int = NOW, **changes: Any) -> tuple[str, int]:
    """Check good claims with some changes; `...` leaves a claim out."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": SECONDS + 1, **changes}
    return check_claims({name: value for name, value in claims.items() if value is not ...}, ISSUER, AUDIENCE, now)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": ["https://other.example.org", AUDIENCE]},
        {"aud": [AUDIENCE]},
        {"nbf": 0, "iat": 0},
        {"nbf": SECONDS + LEEWAY_SECONDS, "iat": SECONDS + LEEWAY_SECONDS},
        {"other": object()},
    ],
)
def test_good_claims_name_the_subject_and_the_end(changes: dict[str, Any]) -> None:
    assert check(**changes) == ("anna", SECONDS + 1)


def test_a_token_is_valid_until_the_last_nanosecond_before_its_exp() -> None:
    assert check(exp=253_402_300_799) == ("anna", 253_402_300_799)
    assert check(NOW + 10**9 - 1)[0] == "anna"
    with pytest.raises(InvalidToken, match=r"^the token has expired$"):
        check(NOW + 10**9)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": ...}, "the token is from another issuer"),
        ({"iss": ISSUER.upper()}, "the token is from another issuer"),
        ({"iss": [ISSUER]}, "the token is from another issuer"),
        ({"aud": ...}, "the token is for another audience"),
        ({"aud": "https://other.example.org"}, "the token is for another audience"),
        ({"aud": []}, "the token is for another audience"),
        ({"aud": [AUDIENCE, 7]}, "the token is for another audience"),
        ({"aud": [[AUDIENCE]]}, "the token is for another audience"),
        ({"exp": ...}, "the token has no exp"),
        ({"exp": 0}, "the token has expired"),
        ({"exp": SECONDS}, "the token has expired"),
        ({"exp": None}, "the token's exp is not a whole number of seconds since 1970"),
        ({"exp": True}, "the token's exp is not a whole number of seconds since 1970"),
        ({"exp": SECONDS + 0.5}, "the token's exp is not a whole number of seconds since 1970"),
        ({"exp": str(SECONDS + 1)}, "the token's exp is not a whole number of seconds since 1970"),
        ({"exp": 253_402_300_800}, "the token's exp is not a whole number of seconds since 1970"),
        ({"nbf": -1}, "the token's nbf is not a whole number of seconds since 1970"),
        ({"iat": "now"}, "the token's iat is not a whole number of seconds since 1970"),
        ({"nbf": SECONDS + LEEWAY_SECONDS + 1}, "the token is not valid yet"),
        ({"iat": SECONDS + LEEWAY_SECONDS + 1}, "the token is not valid yet"),
        ({"sub": ...}, SUB),
        ({"sub": ""}, SUB),
        ({"sub": "a\nb"}, SUB),
        ({"sub": 7}, SUB),
    ],
)
def test_a_claim_that_is_not_accepted_has_a_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidToken) as caught:
        check(**changes)
    assert str(caught.value) == reason
