"""One function for each route: the parameters in, the answer out. Each asks `authorize` first."""

from __future__ import annotations

from json import dumps

from sltt_core.api.coding import decoded_body
from sltt_core.api.http import MAX_BODY_BYTES, Request, Response, Wait, json_response
from sltt_core.api.problems import API_NAMES
from sltt_core.base.errors import SlttError, UnsupportedMediaType
from sltt_core.log.pages import MAX_LIMIT, ChangeFilter
from sltt_core.model.changes import NewChange, parse_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from sltt_core.log.storage import BaseStorageService

    Authorize = Callable[[str | None, str, str | None], None]
    """Called with principal, action (`read`, `append`, `list`) and project; raises `NotAllowed`, or returns."""

PAGE_FORM = 1
"""Goes into the entity tag of a page, which does not cover how it is written: raise it when that changes."""


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
    return json_response(
        dumps(
            {
                "status": "healthy",
                "timestamp": context.now(),
                "server": context.server,
                "storageType": context.storage.storage_type,
            }
        )
    )


def help_page(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/help`."""
    from sltt_core.api.openapi import endpoints

    return _respond(server=context.server, endpoints=endpoints())


def openapi(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /openapi.json`."""
    from sltt_core.api.openapi import document

    return _respond(**document(context.server, context.storage.project_id))


def post_changes(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`POST /api/changes`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"the body's Content-Type is {media_type[:80] or 'missing'}, not application/json")
    body = decoded_body(request.body, request.headers, MAX_BODY_BYTES)
    changes = parse_changes(body, context.storage.project_id)
    for project_id in dict.fromkeys(change.project_id for change in changes):
        context.authorize(request.principal, "append", project_id)
    if request.principal is not None:
        changes = tuple(_signed(change, request.principal) for change in changes)
    try:
        appended = context.storage.create_changes(changes, request.headers.get("idempotency-key"))
    except SlttError as error:
        error.rename(API_NAMES)
        raise
    return json_response(
        dumps(
            {
                "success": True,
                "created": len(appended.seqs),
                "createdSeqs": appended.seqs,
                "seqMap": _seq_map(changes, appended.seqs),
                "replayed": appended.replayed,
                "timestamp": context.now(),
            }
        )
    )


def get_projects(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects`."""
    context.authorize(request.principal, "list", None)
    page = context.storage.get_all_projects(parameters.get("cursor"), parameters.get("limit", MAX_LIMIT))
    more = {} if page.cursor is None else {"cursor": page.cursor}
    return _respond(context.now(), projects=page.projects, count=len(page.projects), **more)


def get_changes(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/changes`. The page is spliced from the changes' own texts."""
    project_id = parameters["projectId"]
    context.authorize(request.principal, "read", project_id)
    cursor = parameters.get("cursor", 0)
    page = context.storage.get_changes_with_cursor(
        cursor,
        parameters.get("limit", MAX_LIMIT),
        project_id=project_id,
        chain=parameters.get("chain"),
        filter=ChangeFilter(
            frozenset(parameters.get("entityType", ())),
            frozenset(parameters.get("entityId", ())),
            parameters.get("outdated", True),
        ),
    )
    more = "" if page.cursor is None else f',"cursor":{page.cursor}'
    link = "" if page.chain is None else f',"chain":"{page.chain}"'
    text = (
        f'{{"changes":[{page.changes_json()}],"count":{len(page.changes)}{more},"through":{page.through}{link}'
        f',"timestamp":"{context.now()}"}}'
    )
    seconds = parameters.get("wait", 0)
    wait = Wait(project_id, cursor, seconds) if seconds and page.through == cursor else None
    # Not of the text: to hash a long page would cost as much as to write it.
    return json_response(text, same=f"{PAGE_FORM} {project_id} {page.state(cursor)}", wait=wait)


def get_change(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/changes/{seq}`."""
    project_id = parameters["projectId"]
    context.authorize(request.principal, "read", project_id)
    text = context.storage.get_change(parameters["seq"], project_id=project_id).to_json()
    return json_response(text, same=text)


def get_stats(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/stats`."""
    project_id = parameters["projectId"]
    context.authorize(request.principal, "read", project_id)
    stats = context.storage.get_change_stats(project_id=project_id)
    return _respond(
        context.now(),
        projectId=project_id,
        changeStats=dict(zip(stats.fields, stats.as_tuple(), strict=True)),
        entityTypeStats=context.storage.get_entity_type_stats(project_id=project_id),
        storageType=context.storage.storage_type,
    )


def _respond(timestamp: str | None = None, **members: Any) -> Response:
    """Make an answer whose entity tag covers everything but the timestamp."""
    same = dumps(members, ensure_ascii=False)
    return json_response(same if timestamp is None else f'{same[:-1]}, "timestamp": "{timestamp}"}}', same=same)


def _seq_map(changes: Sequence[NewChange], seqs: Sequence[int]) -> dict[str, int]:
    """Map the callers' own numbers, as text, to the assigned ones; a change without one maps its number to itself."""
    pairs = list(zip(changes, seqs, strict=True))
    # The caller's own come last, so that they win where both kinds meet.
    return {str(seq): seq for change, seq in pairs if change.client_seq is None} | {
        str(change.client_seq): seq for change, seq in pairs if change.client_seq is not None
    }


def _signed(change: NewChange, principal: str) -> NewChange:
    """Let the change say who sent it, whatever it said."""
    place = NewChange.fields.index("change_by")
    values = change.as_tuple()
    return NewChange.of((*values[:place], principal, *values[place + 1 :]))
