"""Recorded events with each member replaced by other types: an `UnknownEvent` or a response, no other error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.function.function import Function
from aws_backend.function.gateway import UnknownEvent
from sltt_core.api.app import Api
from sltt_core.sqlite.storage import LocalStorageService
from tests.aws_backend.function.gateways import Invocation, received

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = sorted(Path(__file__).with_name("events").glob("*.json"))
WRONG: list[Any] = [None, 0, 1.5, True, False, "", "text", "\ud800", "\udc80", "a\x00b", [], ["a"], [None], [1], {}]
WRONG += [{"a": 1}, {"a": None}, {"a": [1]}, {"a": [None]}, {"\ud800": "\udc80"}, [[["a"]]], {"a": {"b": [{}]}}]
CHANGE = '{"projectId":"p","entityType":"t","entityId":"e","data":{}}'
STATUSES = {200, 204, 400, 403, 404, 405, 415}


def replaced(value: Any) -> Iterator[Any]:
    """Yield copies of a value in which one member, at any depth, is replaced."""
    yield from WRONG
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        for other in replaced(member):
            copy = value.copy()
            copy[key] = other
            yield copy


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("target", ["/my/path", "/api/changes", "/api/projects"])
def test_a_mistyped_member_is_an_unknown_event_or_a_response(path: Path, target: str, tmp_path: Path) -> None:
    recorded = json.loads(path.read_text())
    method = "GET" if target == "/api/projects" else "POST"
    recorded |= {"rawPath": target} if recorded.get("version") == "2.0" else {"path": target, "httpMethod": method}
    recorded["body"] = CHANGE
    if target != "/my/path":
        recorded |= {"headers": {"content-type": "application/json"}, "multiValueHeaders": None}
        recorded |= {"rawQueryString": "", "queryStringParameters": None, "multiValueQueryStringParameters": None}
        del recorded["requestContext"]["authorizer"]  # otherwise nearly every event is a 403
    if "http" in recorded["requestContext"]:
        recorded["requestContext"]["http"]["method"] = method
    unexpected: list[BaseException] = []
    outcomes: set[object] = set()
    with LocalStorageService(tmp_path / "log.db") as storage:
        function = Function(Api(storage, report=unexpected.append), storage)
        for event in replaced(recorded):
            try:
                outcomes.add(received(function(event, Invocation())).status)
            except UnknownEvent as error:
                str(error).encode()  # Lambda reports it
                outcomes.add(UnknownEvent)
    assert unexpected == []
    assert UnknownEvent in outcomes
    assert target == "/my/path" or 200 in outcomes
    assert outcomes - {UnknownEvent} <= STATUSES
