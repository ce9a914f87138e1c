"""Requests with secrets to every route: good ones, bad ones, and in places where they do not belong."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from sltt_core.api.device_tokens import code_of
from sltt_core.api.routes import ROUTES
from tests.http.role_matrix import BODIES, DEVICE, INVITATION, PARAMETERS, REVOKED, secret
from tests.sltt_core.api.client import other_secret
from tests.sltt_core.auth.samples import OTHER_RSA, SECRET, SETTINGS, b64, claims, rs256, token
from tests.sltt_core.samples import wire_change

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sltt_core.auth.device_tokens import DeviceToken

SETTINGS_WITH_SECRETS = {**SETTINGS, "ACCESS_CONTROL": "roles", "ADMINS": "admin"}
AWS = {
    "AWS_ACCESS_KEY_ID": "AKIAMARKEDACCESSKEY",
    "AWS_SECRET_ACCESS_KEY": "marked/Secret+Access/Key0123456789abcdef",
    "AWS_SESSION_TOKEN": "marked/Session+Token=/0123456789abcdef==",
    "AWS_REGION": "eu-west-1",
    "DYNAMODB_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

_OWNER = {name: token(name, claims(sub="owner")) for name in ("HS256", "RS256", "ES256")}
_BAD_JWTS = {
    "expired": token(payload=claims(sub="owner", exp=int(time.time()) - 999)),
    "forged": token(sign=lambda message: rs256(message, OTHER_RSA), payload=claims(sub="owner")),
    "not valid": token(payload=claims(sub="owner", aud="somebody else")),
}
_UNKNOWN = secret(99)
_WRONG = other_secret(DEVICE.id)
_PASSWORD = b64encode(b"user:marked-password").decode()
_GARBAGE = "marked-garbage-0123456789"

OWNER = {"authorization": f"Bearer {_OWNER['HS256']}"}
HEADERS: dict[str, dict[str, str]] = {
    "none": {},
    **{f"good {name}": {"authorization": f"Bearer {text}"} for name, text in _OWNER.items()},
    **{name: {"authorization": f"Bearer {text}"} for name, text in _BAD_JWTS.items()},
    "a device": {"authorization": f"bearer {DEVICE.reveal()}"},
    "a revoked device": {"authorization": f"Bearer {REVOKED.reveal()}"},
    "an unknown device": {"authorization": f"Bearer {_UNKNOWN.reveal()}"},
    "a device with another secret": {"authorization": f"Bearer {_WRONG.reveal()}"},
    "an altered token": {"authorization": f"Bearer {DEVICE.reveal()[:-1]}"},
    "two tokens": {"authorization": f"Bearer {DEVICE.reveal()} {_GARBAGE}"},
    "garbage": {"authorization": f"Bearer {_GARBAGE}"},
    "a password": {"authorization": f"Basic {_PASSWORD}"},
    "a token alone": {"authorization": DEVICE.reveal()},
}
"""By what they are."""
CODES = {
    "good": code_of(INVITATION),
    "withdrawn": code_of(REVOKED),
    "unknown": code_of(_UNKNOWN),
    "altered": code_of(INVITATION)[:-1],
    "a token": DEVICE.reveal(),
}


def _hidden(made: DeviceToken) -> list[str]:
    """The secret part of a token or a code, and the hash of it."""
    return [made.reveal().rpartition("_")[2][:43], made.digest().hex()]


def needles_of(text: str) -> list[str]:
    """What must not be seen of a new token or code."""
    return [text.rpartition("_")[2][:43]]


NEEDLES = [
    *(part for text in [*_OWNER.values(), *_BAD_JWTS.values()] for part in text.split(".")[1:]),
    *(part for made in (DEVICE, REVOKED, INVITATION, _UNKNOWN, _WRONG) for part in _hidden(made)),
    b64(SECRET),
    _PASSWORD,
    _GARBAGE,
    AWS["AWS_SECRET_ACCESS_KEY"],
    AWS["AWS_SESSION_TOKEN"],
]
"""What no log line and no response may contain."""


def _bodies(handler: str) -> Iterator[Any]:
    """Good and bad bodies of a route: JSON, or bytes."""
    code = CODES["good"]
    if handler == "accept_invitation":
        yield from ({"code": text} for text in CODES.values())
        yield {"code": [code]}
    elif handler in BODIES:
        good = BODIES[handler]("own")
        yield good
        if isinstance(good, dict):  # the values of a change are stored, and for members to read
            yield from ({**good, name: code} for name in good if name != "name")
    yield {"code": code, "more": code}
    yield [code]
    yield f'{{"code": "{code}", broken'.encode()


def requests() -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    """The method, target, body and headers of each request."""
    for route in ROUTES:
        path = route.path.replace("{projectId}", "own")
        for name, value in PARAMETERS.items():
            path = path.replace(f"{{{name}}}", value)
        bodies = [b""]
        if route.method != "GET" or route.handler in BODIES:
            found = _bodies(route.handler)
            bodies += [body if isinstance(body, bytes) else json.dumps(body).encode() for body in found]
        for headers in HEADERS.values():
            yield route.method, path, bodies[min(1, len(bodies) - 1)], _typed(headers)
        for body in bodies:
            yield route.method, path, body, _typed(OWNER)
        for query in (f"access_token={DEVICE.reveal()}", f"cursor={CODES['good']}", f"limit={_GARBAGE}"):
            yield route.method, f"{path}?{query}", b"", _typed(OWNER)
    yield from _misplaced()


def _misplaced() -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    """Changes with data, and what does not belong into a path or the headers of a trace.

    The parts of a change are for the members of its project, and a path is for its sender: no log has them.
    """
    change = wire_change(projectId="own", entityType="t", entityId=MARKED, data={MARKED: MARKED})
    body = json.dumps([change]).encode()
    keyed = {**_typed(OWNER), "idempotency-key": MARKED, "x-amzn-trace-id": f"Root={MARKED}", "traceparent": MARKED}
    yield "POST", "/api/changes", body, keyed
    yield "POST", "/api/changes", json.dumps([change, {**change, MARKED: 1}]).encode(), keyed
    yield "GET", f"/api/projects/own/changes?entityId={MARKED}", b"", keyed
    yield "GET", f"/{MARKED}", b"", keyed


MARKED = "marked-part-of-a-change-0123456789"
"""Responses contain it, and logs do not."""


def _typed(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "content-type": "application/json"}
