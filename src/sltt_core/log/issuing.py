"""Device tokens and invitations: what the methods of `CredentialStorage` do on every storage."""

from __future__ import annotations

from sltt_core.base.errors import CredentialExists, NotFound
from sltt_core.base.record import Record
from sltt_core.base.timestamps import format_utc
from sltt_core.log.arguments import served_project
from sltt_core.log.members import has_role, is_needed
from sltt_core.log.pages import check_limit
from sltt_core.model.credentials import (
    EXTEND_SECONDS,
    TOKEN_SECONDS,
    Invitation,
    Token,
    check_days,
    check_digest,
    check_name,
    check_uses,
    device_principal,
)
from sltt_core.model.fields import check_credential_id, checked
from sltt_core.model.grants import check_granted_role, check_principal, new_grant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    from sltt_core.base.runtime import Runtime
    from sltt_core.model.changes import NewChange
    from sltt_core.model.grants import Members, Role

    C = TypeVar("C", Token, Invitation)
    Decision = Callable[[C | None, Members], tuple[C, NewChange | None]]
    """Given a credential, or `None` if it does not exist, and the members of its project: returns the credential
    afterwards and the grant to append, or `None`. Raises an error if nothing must be written."""

    class Storage(Protocol):
        """The part of `CredentialStorage` that storages implement."""

        project_id: str | None
        _runtime: Runtime

        def _credential(self, kind: type[C], credential_id: str) -> C | None: ...
        def _credentials(
            self, kind: type[C], project_id: str, after: str | None, limit: int
        ) -> tuple[list[C], str | None]: ...
        def _replace_credential(self, before: C | None, after: C) -> bool: ...
        def _change_credential(
            self, kind: type[C], project_id: str, credential_id: str, decide: Decision[C]
        ) -> tuple[C, Members]: ...


_SECOND = 10**9
"""Nanoseconds."""
_DAY = 86_400
"""Seconds."""


class TokensPage(Record):
    """Some device tokens of a project, sorted by their ids."""

    tokens: tuple[Token, ...]
    cursor: str | None
    """The cursor of the next page if there may be more, else `None`."""


class InvitationsPage(Record):
    """Some invitations to a project, sorted by their ids."""

    invitations: tuple[Invitation, ...]
    cursor: str | None
    """The cursor of the next page if there may be more, else `None`."""


def create_token(
    storage: Storage,
    token_id: str,
    digest: bytes,
    role: Role,
    name: str,
    project_id: str | None,
    created_by: str | None,
) -> tuple[Token, Members]:
    """Do what `CredentialStorage.create_token` says."""
    project_id = served_project(project_id, storage.project_id)
    checked(check_credential_id, token_id, "token_id")
    values = _checked(storage, token_id, digest, role, project_id, created_by)
    checked(check_name, name, "name")
    token = Token(*values, _seconds(storage) + TOKEN_SECONDS, device_principal(token_id), name)
    grant = new_grant(project_id, token.principal, role, created_by)

    def decide(found: Token | None, members: Members) -> tuple[Token, NewChange | None]:
        if found is not None:
            raise CredentialExists("device token", token_id)
        return token, grant if is_needed(members, grant) else None

    return storage._change_credential(Token, project_id, token_id, decide)


def get_token(storage: Storage, token_id: str) -> Token | None:
    """Do what `CredentialStorage.get_token` says."""
    checked(check_credential_id, token_id, "token_id")
    return _valid(storage, Token, token_id)


def get_tokens(storage: Storage, cursor: str | None, limit: int, project_id: str | None) -> TokensPage:
    """Do what `CredentialStorage.get_tokens` says."""
    return TokensPage(*_page_of_credentials(storage, Token, cursor, limit, project_id))


def extend_token(storage: Storage, token: Token) -> bool:
    """Do what `CredentialStorage.extend_token` says."""
    expires = _seconds(storage) + TOKEN_SECONDS
    if token.revoked_at is not None or expires - token.expires < EXTEND_SECONDS:
        return False
    return storage._replace_credential(token, token.replace(expires=expires))


def revoke_token(
    storage: Storage, token_id: str, project_id: str | None, revoked_by: str | None
) -> tuple[Token, Members]:
    """Do what `CredentialStorage.revoke_token` says."""
    project_id = served_project(project_id, storage.project_id)
    checked(check_credential_id, token_id, "token_id")
    if revoked_by is not None:
        checked(check_principal, revoked_by, "revoked_by")
    grant = new_grant(project_id, device_principal(token_id), "none", revoked_by)

    def decide(found: Token | None, members: Members) -> tuple[Token, NewChange | None]:
        if found is None or found.project_id != project_id:
            raise NotFound(f"project {project_id} has no device token {token_id}")
        needed = is_needed(members, grant)
        revoked_at = found.revoked_at or format_utc(storage._runtime.clock())
        return found.replace(revoked_at=revoked_at), grant if needed else None

    return storage._change_credential(Token, project_id, token_id, decide)


def create_invitation(
    storage: Storage,
    invitation_id: str,
    digest: bytes,
    role: Role,
    days: int,
    uses: int,
    project_id: str | None,
    created_by: str | None,
) -> Invitation:
    """Do what `CredentialStorage.create_invitation` says."""
    project_id = served_project(project_id, storage.project_id)
    checked(check_credential_id, invitation_id, "invitation_id")
    values = _checked(storage, invitation_id, digest, role, project_id, created_by)
    checked(check_days, days, "days")
    checked(check_uses, uses, "uses")
    invitation = Invitation(*values, _seconds(storage) + days * _DAY, uses)
    if not storage._replace_credential(None, invitation):
        raise CredentialExists("invitation", invitation_id)
    return invitation


def get_invitation(storage: Storage, invitation_id: str) -> Invitation | None:
    """Do what `CredentialStorage.get_invitation` says."""
    checked(check_credential_id, invitation_id, "invitation_id")
    return _valid(storage, Invitation, invitation_id)


def get_invitations(storage: Storage, cursor: str | None, limit: int, project_id: str | None) -> InvitationsPage:
    """Do what `CredentialStorage.get_invitations` says."""
    return InvitationsPage(*_page_of_credentials(storage, Invitation, cursor, limit, project_id))


def accept_invitation(storage: Storage, invitation_id: str, principal: str) -> tuple[Invitation, Members]:
    """Do what `CredentialStorage.accept_invitation` says."""
    checked(check_credential_id, invitation_id, "invitation_id")
    checked(check_principal, principal, "principal")
    invitation = _valid(storage, Invitation, invitation_id)
    if invitation is None:
        raise no_invitation()
    role = check_granted_role(invitation.role)
    grant = new_grant(invitation.project_id, principal, role, principal)

    def decide(found: Invitation | None, members: Members) -> tuple[Invitation, NewChange | None]:
        if found is None or _has_expired(storage, found):
            raise no_invitation()
        if has_role(members, grant):
            return found, None
        if found.uses < 1:
            raise no_invitation()
        is_needed(members, grant)
        return found.replace(uses=found.uses - 1), grant

    return storage._change_credential(Invitation, invitation.project_id, invitation_id, decide)


def withdraw_invitation(storage: Storage, invitation_id: str, project_id: str | None) -> Invitation:
    """Do what `CredentialStorage.withdraw_invitation` says."""
    project_id = served_project(project_id, storage.project_id)
    checked(check_credential_id, invitation_id, "invitation_id")

    def decide(found: Invitation | None, _: Members) -> tuple[Invitation, None]:
        if found is None or found.project_id != project_id:
            raise NotFound(f"project {project_id} has no invitation {invitation_id}")
        return found.replace(uses=0), None

    return storage._change_credential(Invitation, project_id, invitation_id, decide)[0]


def _seconds(storage: Storage) -> int:
    return storage._runtime.clock() // _SECOND


def _checked(
    storage: Storage, credential_id: str, digest: bytes, role: Role, project_id: str, created_by: str | None
) -> tuple[str, str, str, str, str | None, str]:
    """Return the checked values of the fields that both kinds begin with, except `expires`."""
    checked(check_digest, digest, "digest")
    checked(check_granted_role, role, "role")
    if created_by is not None:
        checked(check_principal, created_by, "created_by")
    return credential_id, digest.hex(), project_id, role, created_by, format_utc(storage._runtime.clock())


def _has_expired(storage: Storage, credential: Token | Invitation) -> bool:
    return credential.expires <= _seconds(storage)


def _valid(storage: Storage, kind: type[C], credential_id: str) -> C | None:
    found = storage._credential(kind, credential_id)
    if found is None or _has_expired(storage, found) or storage.project_id not in (None, found.project_id):
        return None
    return found


def _page_of_credentials(
    storage: Storage, kind: type[C], cursor: str | None, limit: int, project_id: str | None
) -> tuple[tuple[C, ...], str | None]:
    project_id = served_project(project_id, storage.project_id)
    if cursor is not None:
        checked(check_credential_id, cursor, "cursor")
    checked(check_limit, limit, "limit")
    found, more = storage._credentials(kind, project_id, cursor, limit)
    return tuple(one for one in found if not _has_expired(storage, one)), more


def no_invitation() -> NotFound:
    """Return the error for an invitation that cannot be accepted; the same for every reason."""
    return NotFound("there is no such invitation: the code is wrong, or it has expired, was used up or withdrawn")
