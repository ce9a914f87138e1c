"""One function for each route, from the parameters to the response. `Api` checks the access first."""

from __future__ import annotations

from sltt_core.api.access import APPEND, READ, check_access
from sltt_core.api.bodies import Member as BodyMember
from sltt_core.api.bodies import json_body, read_object
from sltt_core.api.http import Request, Response, Wait, json_response
from sltt_core.api.problems import API_NAMES
from sltt_core.api.routes import CURSOR
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import InvalidInput, NotAllowed, NotFound, ProjectExists, SlttError, StorageUnavailable
from sltt_core.log.arguments import served_project
from sltt_core.log.pages import EMPTY_LOG, MAX_LIMIT, ChangeFilter, ProjectsPage
from sltt_core.model.changes import NewChange, parse_changes
from sltt_core.model.fields import check_seq, checked
from sltt_core.model.grants import check_granted_role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from sltt_core.api.context import Context, Handler
    from sltt_core.log.pages import Head

PAGE_FORM = 2
"""A part of the entity tag of a page; negative for a page with `data=text`.

Increase it when the JSON of pages changes, which the tag does not cover."""


def health(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /health`: whether the process responds; raises what `BaseStorageService.check` does. Reads no storage."""
    context.storage.check()
    return _status(context, "healthy")


def ready(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /ready`: whether the storage responds. Raises `StorageUnavailable` with the reason when it does not."""
    try:
        context.storage.get_all_projects(None, 1)
    except SlttError as error:
        raise StorageUnavailable(f"the storage is not ready: {error.message}", hint=error.hint) from error
    for check in context.checks:
        reason = check()
        if reason is not None:
            raise StorageUnavailable(f"the server is not ready: {reason}")
    return _status(context, "ready")


def help_page(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/help`."""
    from sltt_core.api.openapi import endpoints

    return _respond(server=context.server, endpoints=endpoints(with_auth=context.authenticator is not None))


def openapi(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /openapi.json`."""
    from sltt_core.api.openapi import document

    with_auth = context.authenticator is not None
    return _respond(**document(context.server, context.storage.project_id, with_auth=with_auth))


def resource_metadata(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /.well-known/oauth-protected-resource`. The route exists only with an authenticator."""
    if context.authenticator is None:
        raise NotFound("this API does not verify tokens")
    return json_response(dumps(context.authenticator.metadata(request.headers)))


def read_changes(context: Context, request: Request) -> dict[str, Any]:
    """Read the body of `POST /api/changes`; raises `UnsupportedMediaType`, `PayloadTooLarge`, `InvalidBatch`."""
    return {"changes": parse_changes(json_body(request), context.storage.project_id)}


def read_mark(context: Context, request: Request) -> dict[str, Any]:
    """Read the body `{"outdatedBy": seq}`; raises what `read_object` raises."""
    return read_object(request, _MARK)


def read_role(context: Context, request: Request) -> dict[str, Any]:
    """Read the body `{"role": role}`; raises what `read_object` raises."""
    return read_object(request, _ROLE)


def post_changes(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`POST /api/changes`."""
    changes = parameters["changes"]
    if request.principal is not None:
        changes = tuple(_signed(change, request.principal.id) for change in changes)
    project_ids = dict.fromkeys(str(change.project_id) for change in changes)
    key, facts = _key(request), request.facts
    end = request.headers.get("if-head")
    if_head = None if end is None else checked(CURSOR.parse, end, API_NAMES["if_head"])
    if facts is not None:
        facts.appended = 0
    try:
        owners = context.access.owners(request.principal, project_ids)
        try:
            appended = context.storage.create_changes(changes, key, owners=owners, if_head=if_head)
        except ProjectExists:
            # Another request was faster. Its sender decides now who may append.
            for project_id in owners:
                context.access.project_exists(project_id)
            check_access(context.access, request.principal, APPEND, parameters)
            appended = context.storage.create_changes(changes, key, if_head=if_head)
        for project_id in owners:
            context.access.project_exists(project_id)
    except SlttError as error:
        error.rename(API_NAMES)
        raise
    if facts is not None and not appended.replayed:
        facts.appended = len(appended.seqs)
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


def mark_as_outdated(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`POST /api/projects/{projectId}/changes/{seq}/outdated`. Idempotent: the greatest number remains."""
    try:
        change = context.storage.mark_as_outdated(
            parameters["seq"], parameters["outdatedBy"], project_id=parameters["projectId"]
        )
    except SlttError as error:
        error.rename(API_NAMES)
        raise
    return json_response(change.to_json())


def _key(request: Request) -> str | None:
    """Return the idempotency key. A string in quotes (RFC 8941, section 3.3.3) is the same key as one without.

    The draft draft-ietf-httpapi-idempotency-key-header defines the header as such a string. A valid key contains no
    character that such a string escapes.
    """
    key = request.headers.get("idempotency-key")
    return key[1:-1] if key is not None and len(key) > 1 and key[0] == key[-1] == '"' else key


def get_projects(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects`."""
    cursor, limit = parameters.get("cursor"), parameters.get("limit", MAX_LIMIT)
    visible = context.access.visible(request.principal, cursor)
    if visible is None:
        page = context.storage.get_all_projects(cursor, limit)
    else:
        page = _page_of(visible, cursor, limit, context.storage.project_id)
    more = {} if page.cursor is None else {"cursor": page.cursor}
    return _respond(context.now(), projects=page.projects, count=len(page.projects), **more)


def get_changes(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/changes`. The page contains the JSON texts of the changes verbatim."""
    project_id = parameters["projectId"]
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
    form = PAGE_FORM
    if parameters.get("data"):
        page, listed = page.with_texts(context.storage.page_bytes)
        form = -PAGE_FORM
    else:
        listed = page.changes_json()
    more = "" if page.cursor is None else f',"cursor":{page.cursor}'
    link = "" if page.chain is None else f',"chain":"{page.chain}"'
    text = (
        f'{{"changes":[{listed}],"count":{len(page.changes)}{more},"through":{page.through}{link}'
        f',"waited":{request.waited:g},"maxWait":{request.max_wait:g},"timestamp":"{context.now()}"}}'
    )
    seconds = parameters.get("wait", 0)
    wait = Wait({project_id: cursor}, seconds) if seconds and page.through == cursor else None
    # The tag is not a hash of the text, which would cost as much as writing the page.
    return json_response(text, same=f"{form} {project_id} {page.state(cursor)}", wait=wait)


def get_change(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/changes/{seq}`."""
    project_id = parameters["projectId"]
    text = context.storage.get_change(parameters["seq"], project_id=project_id).to_json()
    return json_response(text, same=text)


def get_stats(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/stats`."""
    project_id = parameters["projectId"]
    stats, types, head = context.storage.get_stats_with_head(project_id=project_id)
    return _respond(
        context.now(),
        projectId=project_id,
        changeStats=dict(zip(stats.fields, stats.as_tuple(), strict=True)),
        entityTypeStats=types,
        head=_head(head),
        storageType=context.storage.storage_type,
    )


def get_heads(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/heads`. It reads all heads at once, and no change: a link is compared only at the end of a log."""
    known = {project_id: (seq, link) for project_id, seq, link in parameters["at"]}
    if len(known) < len(parameters["at"]):
        raise InvalidInput("at names a project twice", field="at")
    refused = []
    for project_id in known:
        try:
            context.access.authorize(request.principal, READ, project_id)
            served_project(project_id, context.storage.project_id)
        except (NotAllowed, NotFound):
            refused.append(project_id)
    cursors = {project_id: seq for project_id, (seq, _) in known.items() if project_id not in refused}
    ends = context.storage.get_ends(cursors)
    heads, diverged = {}, []
    for project_id, seq in cursors.items():
        end = ends.get(project_id, EMPTY_LOG)
        if end.seq > seq:
            heads[project_id] = _head(end)
        elif end.seq < seq or known[project_id][1] not in (None, end.chain):
            diverged.append(project_id)
    seconds = parameters.get("wait", 0)
    text = dumps(
        {
            "heads": heads,
            "diverged": diverged,
            "refused": refused,
            "waited": request.waited,
            "maxWait": request.max_wait,
            "timestamp": context.now(),
        }
    )
    quiet = seconds and cursors and not (heads or diverged or refused)
    return json_response(text, wait=Wait(cursors, seconds) if quiet else None)


def _member_handler(name: str) -> Handler:
    """Return a handler of `member_handlers`, which few requests need."""

    def handle(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
        from sltt_core.api import member_handlers

        handler: Handler = getattr(member_handlers, name)
        return handler(context, request, parameters)

    return handle


def _credential(name: str) -> Any:
    """Return a function of `credential_handlers`, which few requests need."""

    def call(*arguments: Any) -> Any:
        from sltt_core.api import credential_handlers

        return getattr(credential_handlers, name)(*arguments)

    return call


HANDLERS: dict[str, Handler] = {
    "health": health,
    "ready": ready,
    "help_page": help_page,
    "openapi": openapi,
    "post_changes": post_changes,
    "get_projects": get_projects,
    "get_changes": get_changes,
    "get_change": get_change,
    "get_stats": get_stats,
    "get_heads": get_heads,
    "mark_as_outdated": mark_as_outdated,
    "me": _member_handler("me"),
    "list_members": _member_handler("list_members"),
    "put_member": _member_handler("put_member"),
    "delete_member": _member_handler("delete_member"),
    "resource_metadata": resource_metadata,
    "list_tokens": _credential("list_tokens"),
    "create_token": _credential("create_token"),
    "revoke_token": _credential("revoke_token"),
    "list_invitations": _credential("list_invitations"),
    "create_invitation": _credential("create_invitation"),
    "withdraw_invitation": _credential("withdraw_invitation"),
    "accept_invitation": _credential("accept_invitation"),
}
"""The handlers by their names in the routes."""

BODIES: dict[str, Callable[[Context, Request], dict[str, Any]]] = {
    "post_changes": read_changes,
    "mark_as_outdated": read_mark,
    "put_member": read_role,
    "create_token": _credential("read_token"),
    "create_invitation": _credential("read_invitation"),
    "accept_invitation": _credential("read_code"),
}
"""Functions that read the request body of a handler into parameters. They run before the access is checked, because the
body may name the projects. Therefore they must not access the storage."""


_MARK = {"outdatedBy": BodyMember(check_seq, 5)}
_ROLE = {"role": BodyMember(check_granted_role, "editor")}


def _page_of(visible: Iterable[str], cursor: str | None, limit: int, bound_to: str | None) -> ProjectsPage:
    """Return a page of the projects that a principal may see. A service bound to a project lists only that one."""
    found: list[str] = []
    for project_id in visible:
        if (cursor is None or project_id > cursor) and bound_to in (None, project_id):
            found.append(project_id)
            if len(found) > limit:
                break
    return ProjectsPage(tuple(found[:limit]), found[limit - 1] if len(found) > limit else None)


def _head(head: Head) -> dict[str, Any]:
    return {"seq": head.seq, "chain": head.chain}


def _status(context: Context, status: str) -> Response:
    return json_response(
        dumps(
            {
                "status": status,
                "timestamp": context.now(),
                "server": context.server,
                "storageType": context.storage.storage_type,
            }
        )
    )


def _respond(timestamp: str | None = None, **members: Any) -> Response:
    """Return a response whose entity tag covers everything except the timestamp."""
    same = dumps(members, ascii_only=False)
    return json_response(same if timestamp is None else f'{same[:-1]}, "timestamp": "{timestamp}"}}', same=same)


def _seq_map(changes: Sequence[NewChange], seqs: Sequence[int]) -> dict[str, int]:
    """Map the client's numbers, as text, to the assigned numbers. A change without one maps its number to itself."""
    pairs = list(zip(changes, seqs, strict=True))
    # The client's numbers come last, so that they take precedence.
    return {str(seq): seq for change, seq in pairs if change.client_seq is None} | {
        str(change.client_seq): seq for change, seq in pairs if change.client_seq is not None
    }


def _signed(change: NewChange, principal_id: str) -> NewChange:
    """Return the change with the principal's id as its `change_by`."""
    index = NewChange.fields.index("change_by")
    values = change.as_tuple()
    return NewChange.of((*values[:index], principal_id, *values[index + 1 :]))
