"""Calls of an `Api` as a client sees them."""

from __future__ import annotations

import json
from typing import Any

from sltt_core.api.app import Api
from sltt_core.api.http import Request, Response
from sltt_core.log.storage import BaseStorageService
from tests.sltt_core.samples import NANOSECONDS

KEY = "a-key-of-16-chars"


def api_on(storage: BaseStorageService, **options: Any) -> Api:
    """An API whose clock stands still."""
    return Api(storage, "here", **{"clock": lambda: NANOSECONDS, "new_id": lambda: "made-here", **options})


def get(api: Api, target: str, method: str = "GET", principal: str | None = None, **headers: str) -> Response:
    path, _, query = target.partition("?")
    return api.handle(Request(method, path, query, named(headers), b"", principal))


def post(
    api: Api, body: object, target: str = "/api/changes", principal: str | None = None, **headers: str
) -> Response:
    """Send a body: bytes as they are, anything else as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    path, _, query = target.partition("?")
    return api.handle(
        Request("POST", path, query, {"content-type": "application/json", **named(headers)}, sent, principal)
    )


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def body_from(response: Response, status: int = 200) -> Any:
    """What an answer says, when it has the status."""
    assert response.status == status, response
    return json.loads(response.body)
