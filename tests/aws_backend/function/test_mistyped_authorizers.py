"""The principal of an event whose authorizer is absent, empty or mistyped, for every gateway: it is never anonymous."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.function.gateway import principal_from
from sltt_core.base.errors import NotAllowed
from tests.aws_backend.function.gateways import Sent, http_1_event, http_2_event, rest_event, url_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GET = Sent("GET", "/health", b"", {})
FORMAT_1 = (rest_event, http_1_event)
FORMAT_2 = (http_2_event, url_event)
NO_AUTHORIZER = {"claims": None, "scopes": None}
WRONG: list[Any] = [None, "", "x", [], {}, 0, 1.5, True, False, ["a", "b"], {"a": {"b": []}}, [{"sub": "u"}]]
WRONG_IDS: list[Any] = [None, "", "a\nb", "\x00", "\ud800", "x" * 256, [], {}, 0, 1, True, ["u"], {"sub": "u"}]
PATHS: list[tuple[str, ...]] = [
    ("jwt", "claims", "sub"),
    ("claims", "sub"),
    ("iam", "userArn"),
    ("lambda", "sub"),
    ("lambda", "principalId"),
    ("sub",),
    ("principalId",),
]


def nested(path: tuple[str, ...], value: object) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def outcome(make: Callable[[Sent], dict[str, Any]], **context: Any) -> str | None:
    """Return the principal's id, `None` for an anonymous client, and `403` for a refusal."""
    event = make(GET)
    event["requestContext"].update(context)
    try:
        principal = principal_from(event, "sub")
    except NotAllowed as error:
        return str(error.status)
    return None if principal is None else principal.id


def refused() -> Iterator[Any]:
    """Every authorizer that does not contain a valid id: each member of each kind is absent or has a wrong value."""
    yield from (wrong for wrong in WRONG if wrong is not None)
    for path in PATHS:
        for length in range(1, len(path) + 1):
            values = WRONG_IDS if length == len(path) else WRONG
            yield from (nested(path[:length], value) for value in values)
    yield from ({"scopes": None}, {"claims": None}, {"claims": None, "scopes": []}, {"jwt": NO_AUTHORIZER})
    yield {"jwt": None, "lambda": None, "iam": None}


@pytest.mark.parametrize("make", [*FORMAT_1, *FORMAT_2])
@pytest.mark.parametrize("authorizer", list(refused()), ids=ascii)
def test_an_authorizer_without_an_id_is_refused(make: Any, authorizer: Any) -> None:
    assert outcome(make, authorizer=authorizer) == "403"


@pytest.mark.parametrize("make", [*FORMAT_1, *FORMAT_2])
@pytest.mark.parametrize("path", PATHS)
def test_an_authorizer_with_an_id_provides_it(make: Any, path: tuple[str, ...]) -> None:
    assert outcome(make, authorizer=nested(path, "u-1")) == "u-1"


@pytest.mark.parametrize("make", FORMAT_1)
@pytest.mark.parametrize("member", ["claims", "jwt", "iam", "lambda"])
def test_the_context_of_a_lambda_authorizer_may_use_any_key(make: Any, member: str) -> None:
    assert outcome(make, authorizer={"principalId": "u-1", member: "text"}) == "u-1"


def test_only_what_a_gateway_sends_without_an_authorizer_is_anonymous() -> None:
    for make in (*FORMAT_1, *FORMAT_2):
        assert outcome(make) is None
        assert outcome(make, authorizer=None) is None
        assert outcome(make, authorizer=NO_AUTHORIZER) == (None if make in FORMAT_1 else "403")


@pytest.mark.parametrize("make", FORMAT_1)
@pytest.mark.parametrize("authorizer", [None, NO_AUTHORIZER])
@pytest.mark.parametrize("wrong", WRONG, ids=ascii)
def test_a_wrong_identity_is_refused(make: Any, authorizer: Any, wrong: Any) -> None:
    absent = wrong is None or (isinstance(wrong, dict) and "userArn" not in wrong)
    assert outcome(make, authorizer=authorizer, identity=wrong) == (None if absent else "403")


@pytest.mark.parametrize("make", FORMAT_1)
@pytest.mark.parametrize("wrong", WRONG_IDS, ids=ascii)
def test_a_wrong_user_arn_is_refused(make: Any, wrong: Any) -> None:
    assert outcome(make, identity={"userArn": wrong}) == (None if wrong is None else "403")
    for name in ("user", "caller", "accessKey", "accountId", "cognitoIdentityId"):
        assert outcome(make, identity={"userArn": wrong, name: "x"}) == "403"
