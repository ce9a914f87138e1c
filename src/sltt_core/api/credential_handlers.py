"""The handlers of the routes of device tokens and invitations. `Api` checks the access first."""

from __future__ import annotations

from sltt_core.api.bodies import Member, read_object
from sltt_core.api.device_tokens import code_of, new_secret, parse_code
from sltt_core.api.http import json_response
from sltt_core.api.problems import API_NAMES
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import NotAllowed
from sltt_core.base.timestamps import format_utc
from sltt_core.log.issuing import no_invitation
from sltt_core.log.pages import MAX_LIMIT
from sltt_core.model.credentials import check_days, check_name, check_uses
from sltt_core.model.fields import check_free_text, check_idempotency_key, checked
from sltt_core.model.grants import DEVICE, check_granted_role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sltt_core.api.context import Context
    from sltt_core.api.http import Request, Response
    from sltt_core.auth.device_tokens import DeviceToken
    from sltt_core.model.credentials import Invitation, Token

_MEMBERS = {
    "id": "id",
    "principal": "principal",
    "role": "role",
    "name": "name",
    "uses": "uses",
    "created_by": "createdBy",
    "created_at": "createdAt",
    "revoked_at": "revokedAt",
}
"""What a response calls the fields of a credential. The hash is not in any response."""


_ROLE = Member(check_granted_role, "editor")
_TOKEN = {"name": Member(check_name, "tablet 7"), "role": _ROLE}
_INVITATION = {
    "role": _ROLE,
    "expiresInDays": Member(check_days, 7, required=False),
    "uses": Member(check_uses, 1, required=False),
}
_CODE = {"code": Member(check_free_text, "sltti_…")}


def read_token(_: Context, request: Request) -> dict[str, Any]:
    """Read the body `{"name": name, "role": role}`; raises what `read_object` raises."""
    return read_object(request, _TOKEN)


def read_invitation(_: Context, request: Request) -> dict[str, Any]:
    """Read the body `{"role": role, "expiresInDays": days, "uses": uses}`; raises what `read_object` raises."""
    return read_object(request, _INVITATION)


def read_code(_: Context, request: Request) -> dict[str, Any]:
    """Read the body `{"code": code}`; raises what `read_object` raises."""
    return read_object(request, _CODE)


def list_tokens(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/tokens`: also revoked ones, sorted by id."""
    page = context.storage.get_tokens(*_page(parameters), project_id=parameters["projectId"])
    return _respond_list(context, "tokens", page.tokens, page.cursor)


def create_token(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`POST /api/projects/{projectId}/tokens`. A key is used once; the response of the first time has the token."""
    project_id = parameters["projectId"]
    secret = _new_secret("token", request, project_id)
    token, members = context.storage.create_token(
        secret.id,
        secret.digest(),
        parameters["role"],
        parameters["name"],
        project_id=project_id,
        created_by=_sender(request),
    )
    context.access.members_changed(project_id, members)
    return _respond(context, **_listed(token), token=secret.reveal())


def revoke_token(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`DELETE /api/projects/{projectId}/tokens/{tokenId}`. Idempotent."""
    project_id = parameters["projectId"]
    token, members = context.storage.revoke_token(
        parameters["tokenId"], project_id=project_id, revoked_by=_sender(request)
    )
    context.access.members_changed(project_id, members)
    return _respond(context, **_listed(token))


def list_invitations(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`GET /api/projects/{projectId}/invitations`: also used up ones, sorted by id."""
    page = context.storage.get_invitations(*_page(parameters), project_id=parameters["projectId"])
    return _respond_list(context, "invitations", page.invitations, page.cursor)


def create_invitation(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`POST /api/projects/{projectId}/invitations`. A key is used once; the response of the first time has the code."""
    project_id = parameters["projectId"]
    secret = _new_secret("invitation", request, project_id)
    invitation = context.storage.create_invitation(
        secret.id,
        secret.digest(),
        parameters["role"],
        days=parameters.get("expiresInDays", 7),
        uses=parameters.get("uses", 1),
        project_id=project_id,
        created_by=_sender(request),
    )
    return _respond(context, **_listed(invitation), code=code_of(secret))


def withdraw_invitation(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`DELETE /api/projects/{projectId}/invitations/{invitationId}`. Idempotent."""
    invitation = context.storage.withdraw_invitation(parameters["invitationId"], project_id=parameters["projectId"])
    return _respond(context, **_listed(invitation))


def accept_invitation(context: Context, request: Request, parameters: Mapping[str, Any]) -> Response:
    """`POST /api/invitations/accept`: the sender gets the role. Idempotent for who has it already."""
    principal = _sender(request)
    if principal is None:
        raise NotAllowed("this server does not verify who sends a request, so nobody can accept an invitation")
    if principal.startswith(DEVICE):
        raise NotAllowed("a device token is of one project, and cannot accept an invitation")
    try:
        secret = parse_code(parameters["code"])
    except ValueError:
        raise no_invitation() from None
    found = context.storage.get_invitation(secret.id)
    if found is None or not secret.matches(bytes.fromhex(found.hash)):
        raise no_invitation()
    invitation, members = context.storage.accept_invitation(secret.id, principal)
    project_id = invitation.project_id
    context.access.members_changed(project_id, members)
    member = members.roles[principal]
    return _respond(
        context,
        projectId=project_id,
        principal=principal,
        role=member.role,
        since=member.since,
        version=members.version,
    )


def _new_secret(kind: str, request: Request, project_id: str) -> DeviceToken:
    key = request.headers.get("idempotency-key")
    if key is not None:
        checked(check_idempotency_key, key, API_NAMES["idempotency_key"])
    return new_secret(kind, project_id, key)


def _sender(request: Request) -> str | None:
    return None if request.principal is None else request.principal.id


def _page(parameters: Mapping[str, Any]) -> tuple[str | None, int]:
    return parameters.get("cursor"), parameters.get("limit", MAX_LIMIT)


def _listed(credential: Token | Invitation) -> dict[str, Any]:
    values = dict(zip(credential.fields, credential.as_tuple(), strict=True))
    members = {_MEMBERS[name]: value for name, value in values.items() if name in _MEMBERS and value is not None}
    return {**members, "expires": format_utc(credential.expires * 10**9)}


def _respond_list(
    context: Context, name: str, credentials: Sequence[Token | Invitation], cursor: str | None
) -> Response:
    more = {} if cursor is None else {"cursor": cursor}
    return _respond(context, **{name: [_listed(one) for one in credentials]}, count=len(credentials), **more)


def _respond(context: Context, **members: Any) -> Response:
    return json_response(dumps({**members, "timestamp": context.now()}, ascii_only=False))
