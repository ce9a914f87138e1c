"""Calls of an `Api` as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

from sltt_core.api.access import Access, Principal
from sltt_core.api.app import Api
from sltt_core.api.http import Request, Response
from sltt_core.auth.device_tokens import DeviceToken, new_token
from sltt_core.base.runtime import Runtime
from sltt_core.log.storage import BaseStorageService
from tests.sltt_core.samples import NANOSECONDS

KEY = "a-key-of-16-chars"

Question = tuple[str | None, str, str | None]
"""The principal's id, the action and the project."""


class Asks(Access):
    """Access control by a function that raises or returns. Lists have the projects in `visible`."""

    def __init__(
        self, decide: Callable[[str | None, str, str | None], object], visible: Iterable[str] | None = None
    ) -> None:
        self._decide = decide
        self._visible = visible

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        self._decide(None if principal is None else principal.id, action, project_id)

    def visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None:
        return self._visible


RUNTIME = Runtime(clock=lambda: NANOSECONDS, new_token=lambda: "made-here")
"""A clock that does not advance, and the id of requests without one."""


def api_on(storage: BaseStorageService, **options: Any) -> Api:
    """An API whose clock does not advance."""
    return Api(storage, "here", **{"runtime": RUNTIME, **options})


def get(api: Api, target: str, method: str = "GET", principal: str | None = None, **headers: str) -> Response:
    path, _, query = target.partition("?")
    return api.handle(Request(method, path, query, named(headers), b"", named_principal(principal)))


def post(
    api: Api, body: object, target: str = "/api/changes", principal: str | None = None, **headers: str
) -> Response:
    """Send a body: bytes as they are, anything else as JSON."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    path, _, query = target.partition("?")
    fields = {"content-type": "application/json", **named(headers)}
    return api.handle(Request("POST", path, query, fields, sent, named_principal(principal)))


def named_principal(name: str | None) -> Principal | None:
    if name is None:
        return None
    return Principal(name, {"projectId": "p"} if name.startswith("device:") else {})  # as of a device token of `p`


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def body_from(response: Response, status: int = 200) -> Any:
    """The content of a response, after a check of its status."""
    assert response.status == status, response
    return json.loads(response.content)


def other_secret(credential_id: str) -> DeviceToken:
    """A secret with the same id as another one. Its checksum is right."""
    number = 0
    for digit in credential_id:
        number = number * 62 + f"{digits}{ascii_uppercase}{ascii_lowercase}".index(digit)
    seeds = {16: number.to_bytes(16, "big"), 32: b"another secret".ljust(32)}
    made = new_token(seeds.__getitem__)
    assert made.id == credential_id
    return made
