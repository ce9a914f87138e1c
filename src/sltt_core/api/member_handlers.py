"""The handlers of the routes of members. `Api` checks the access first; removing oneself needs no more than a role."""

from __future__ import annotations

from sltt_core.api.access import GRANT
from sltt_core.api.http import json_response
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import NotFound
from sltt_core.model.grants import NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sltt_core.api.context import Context
    from sltt_core.api.http import Request, Response
    from sltt_core.model.grants import Member


def me(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/me`: who the sender is."""
    principal = request.principal
    return _respond(
        context, principal=None if principal is None else principal.id, admin=context.access.is_admin(principal)
    )


def list_members(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/members`: everyone who has a role, sorted by principal."""
    members = context.storage.get_members(project_id=parameters["projectId"])
    listed = [_listed(principal, member) for principal, member in sorted(members.roles.items()) if member.role != NONE]
    return _respond(context, members=listed, count=len(listed), version=members.version)


def put_member(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`PUT /api/projects/{projectId}/members/{principal}`: give a role. Idempotent."""
    return _respond(context, **_set(context, request, parameters, parameters["role"]))


def delete_member(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`DELETE /api/projects/{projectId}/members/{principal}`: take the role away. Idempotent."""
    principal, project_id = parameters["principal"], parameters["projectId"]
    if request.principal is None or request.principal.id != principal:
        context.access.authorize(request.principal, GRANT, project_id)
    if principal not in context.storage.get_members(project_id=project_id).roles:
        raise NotFound(f"project {project_id} has no member of this name")
    return _respond(context, **_set(context, request, parameters, NONE))


def _set(context: Context, request: Request, parameters: Mapping[str, Any], role: Any) -> dict[str, Any]:
    principal, project_id = parameters["principal"], parameters["projectId"]
    granted_by = None if request.principal is None else request.principal.id
    members = context.storage.set_role(principal, role, project_id=project_id, granted_by=granted_by)
    context.access.members_changed(project_id, members)
    return {**_listed(principal, members.roles[principal]), "version": members.version}


def _listed(principal: str, member: Member) -> dict[str, Any]:
    return {"principal": principal, "role": member.role, "since": member.since}


def _respond(context: Context, **members: Any) -> Response:
    return json_response(dumps({**members, "timestamp": context.now()}, ascii_only=False))
