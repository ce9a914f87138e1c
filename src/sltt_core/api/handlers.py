"""One function for each route: the parameters in, the answer out. Each asks `authorize` first."""

from __future__ import annotations

from json import dumps

from sltt_core.api.http import MAX_BODY_BYTES, Request, Response, json_response
from sltt_core.changes import NewChange, parse_changes
from sltt_core.errors import PayloadTooLarge, UnsupportedMediaType
from sltt_core.pages import MAX_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sltt_core.storage import BaseStorageService

    Authorize = Callable[[str | None, str, str | None], None]
    """Called with principal, action (`read`, `append`, `list`) and project; raises `NotAllowed`, or returns."""


class Context:
    """What handlers work with; one for each server."""

    __slots__ = ("authorize", "now", "server", "storage")

    def __init__(self, storage: BaseStorageService, server: str, authorize: Authorize, now: Callable[[], str]) -> None:
        self.storage = storage
        self.server = server
        self.authorize = authorize
        self.now = now


def health(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /health`."""
    return _answer(
        status="healthy", timestamp=context.now(), server=context.server, storageType=context.storage.storage_type
    )


def help_page(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/help`."""
    from sltt_core.api.openapi import endpoints

    return _answer(server=context.server, endpoints=endpoints())


def post_changes(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`POST /api/changes`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"the body's Content-Type is {media_type[:80] or 'missing'}, not application/json")
    if len(request.body) > MAX_BODY_BYTES:
        raise PayloadTooLarge(f"the body is larger than {MAX_BODY_BYTES:,} bytes")
    changes = parse_changes(request.body, context.storage.project_id)
    for project_id in dict.fromkeys(change.project_id for change in changes):
        context.authorize(request.principal, "append", project_id)
    if request.principal is not None:
        changes = tuple(_signed(change, request.principal) for change in changes)
    appended = context.storage.create_changes(changes, request.headers.get("idempotency-key"))
    return _answer(
        success=True,
        created=len(appended.seqs),
        createdSeqs=appended.seqs,
        seqMap={
            str(seq if change.client_seq is None else change.client_seq): seq
            for change, seq in zip(changes, appended.seqs, strict=True)
        },
        replayed=appended.replayed,
        timestamp=context.now(),
    )


def get_projects(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects`."""
    context.authorize(request.principal, "list", None)
    page = context.storage.get_all_projects(parameters.get("cursor"), parameters.get("limit", MAX_LIMIT))
    more = {} if page.cursor is None else {"cursor": page.cursor}
    return _answer(projects=page.projects, count=len(page.projects), timestamp=context.now(), **more)


def get_changes(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/changes`. The page is spliced from the changes' own texts."""
    project_id = parameters["projectId"]
    context.authorize(request.principal, "read", project_id)
    page = context.storage.get_changes_with_cursor(
        parameters.get("cursor", 0),
        parameters.get("limit", MAX_LIMIT),
        project_id=project_id,
        chain=parameters.get("chain"),
    )
    changes = ",".join([change.to_json() for change in page.changes])
    more = "" if page.cursor is None else f',"cursor":{page.cursor}'
    link = "" if page.chain is None else f',"chain":"{page.chain}"'
    return json_response(
        f'{{"changes":[{changes}],"count":{len(page.changes)},"timestamp":"{context.now()}"{more}'
        f',"through":{page.through}{link}}}'
    )


def get_change(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/changes/{seq}`."""
    project_id = parameters["projectId"]
    context.authorize(request.principal, "read", project_id)
    return json_response(context.storage.get_change(parameters["seq"], project_id=project_id).to_json())


def get_stats(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/stats`."""
    project_id = parameters["projectId"]
    context.authorize(request.principal, "read", project_id)
    stats = context.storage.get_change_stats(project_id=project_id)
    return _answer(
        projectId=project_id,
        changeStats=dict(zip(stats.fields, stats.as_tuple(), strict=True)),
        entityTypeStats=context.storage.get_entity_type_stats(project_id=project_id),
        timestamp=context.now(),
        storageType=context.storage.storage_type,
    )


def _answer(**members: Any) -> Response:
    return json_response(dumps(members, ensure_ascii=False))


def _signed(change: NewChange, principal: str) -> NewChange:
    """Let the change say who sent it, whatever it said."""
    place = NewChange.fields.index("change_by")
    values = change.as_tuple()
    return NewChange.of((*values[:place], principal, *values[place + 1 :]))
