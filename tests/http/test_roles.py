"""The matrix of roles on every way into the API, and over both storages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.api.routes import ROUTES
from tests.contract.logs import DynoxideLog, SqliteLog
from tests.http.entry_points import (
    JSON,
    AppEntryPoint,
    EntryPoint,
    EventEntryPoint,
    Http1EntryPoint,
    Http2EntryPoint,
    ProcessEntryPoint,
    RestEntryPoint,
    ServerEntryPoint,
    on,
)
from tests.http.role_matrix import DEVICE, EVERYONE, EXPECTED, PROJECTS, ROLES, Cell, cells, prepare
from tests.sltt_core.auth.samples import SETTINGS, claims, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService

GATEWAYS: list[Any] = [RestEntryPoint, Http1EntryPoint, Http2EntryPoint, EventEntryPoint]
STORAGES = (SqliteLog, DynoxideLog)
WAYS_OF_EVENTS: list[Any] = [
    *(on(way, storage) for way in GATEWAYS for storage in STORAGES),
    ProcessEntryPoint,  # which has no SQLite
]
WAYS: list[Any] = [
    *(on(way, storage) for way in (AppEntryPoint, ServerEntryPoint) for storage in STORAGES),
    *WAYS_OF_EVENTS,
]
SETTINGS_OF_ROLES = {**SETTINGS, "ACCESS_CONTROL": "roles", "ADMINS": "admin", "PROJECT_CREATION": "anyone"}
AS_BEARER = {role: {"authorization": f"Bearer {token('HS256', claims(sub=role))}"} for role in ROLES}
AS_BEARER |= {"anonymous": {}, "device": {"authorization": f"Bearer {DEVICE.reveal()}"}}


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def way_in(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EntryPoint]:
    entry_point: EntryPoint = request.param(tmp_path, settings=SETTINGS_OF_ROLES)
    prepare(entry_point.storage)
    yield entry_point
    entry_point.close()


def test_every_route_is_in_the_matrix() -> None:
    handlers = [route.handler for route in ROUTES]
    assert sorted([*EXPECTED, *EVERYONE]) == sorted(handlers)
    assert {cell.role for cell in cells()} == set(ROLES)
    assert {(cell.route.handler, cell.project) for cell in cells()} >= {(h, p) for h in EXPECTED for p in PROJECTS}


def ask_as_bearer(way_in: EntryPoint, cell: Cell, project_id: str) -> Any:
    body = cell.body(project_id)
    headers = AS_BEARER[cell.role] | ({} if body is None else JSON)
    return way_in.ask(cell.method, cell.target(project_id), body or b"", headers)


def ask_as_authorized(way_in: EntryPoint, cell: Cell, project_id: str) -> Any:
    """Send the request as the gateway does whose own authorizer has verified the principal."""
    if cell.role in ("anonymous", "device"):
        return ask_as_bearer(way_in, cell, project_id)
    assert isinstance(way_in, EventEntryPoint)
    body = cell.body(project_id)
    return way_in.ask(
        cell.method, cell.target(project_id), body or b"", {} if body is None else JSON, principal=cell.role
    )


def stored(storage: BaseStorageService) -> list[Any]:
    """What a refused request must not change."""
    return [
        storage.get_all_projects().projects,
        *(storage.get_head(project_id=name).seq for name in ("own", "foreign", "invited")),
        *(storage.get_tokens(project_id=name).tokens for name in ("own", "foreign")),
        *(storage.get_invitations(project_id=name).invitations for name in ("own", "foreign", "invited")),
    ]


def wrong_cells(way_in: EntryPoint, asked: list[Cell], ask: Callable[..., Any]) -> list[str]:
    """Send the requests; return those whose response is not the one of the matrix."""
    wrong = []
    for number, cell in enumerate(asked):
        project_id = f"absent-{cell.role}-{number}" if cell.project == "absent" else cell.project
        response = ask(way_in, cell, project_id)
        kind = json.loads(response.body)["type"].rpartition(":")[2] if response.body and response.status > 299 else None
        if response.status != cell.status or (cell.method != "HEAD" and kind != cell.kind):
            expected = f"{cell.status} {cell.kind}"
            wrong.append(
                f"{cell.role}: {cell.method} {cell.target(project_id)}: {response.status} {kind}, not {expected}"
            )
    return wrong


def check_cells(way_in: EntryPoint, asked: Sequence[Cell], ask: Callable[..., Any]) -> None:
    """Send the requests that are refused, which must change nothing, and then the others."""
    before = stored(way_in.storage)
    assert not wrong_cells(way_in, [cell for cell in asked if cell.status > 299], ask)
    assert stored(way_in.storage) == before
    assert not wrong_cells(way_in, [cell for cell in asked if cell.status < 300], ask)


def test_a_role_may_do_what_the_matrix_says(way_in: EntryPoint) -> None:
    check_cells(way_in, cells(), ask_as_bearer)


@pytest.mark.parametrize("way_in", WAYS_OF_EVENTS, ids=lambda way: way.name, indirect=True)
def test_whom_a_gateway_has_verified_may_do_the_same(way_in: EntryPoint) -> None:
    handled = [cell for cell in cells() if cell.status not in (204, 405)]  # the others need no principal
    check_cells(way_in, handled, ask_as_authorized)
