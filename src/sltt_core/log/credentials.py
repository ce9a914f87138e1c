"""`CredentialStorage`: the part of the contract of storages that concerns device tokens and invitations.

`sltt_core.log.issuing` implements the public methods, and is loaded by their first call. A storage implements the
abstract ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from sltt_core.log.pages import MAX_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.base.runtime import Runtime
    from sltt_core.log.issuing import C, Decision, InvitationsPage, TokensPage
    from sltt_core.model.credentials import Invitation, Token
    from sltt_core.model.grants import Members, Role


class CredentialStorage(ABC):
    """Stores device tokens and invitations.

    A storage gets the SHA-256 of a secret, never the secret. `sltt_core.auth.device_tokens` creates secrets, and checks
    them against what is stored. Times are those of the runtime's clock. What has expired does not exist for the methods
    that read; a storage may delete it at any time after that.
    """

    project_id: str | None
    _runtime: Runtime

    # Device tokens

    def create_token(
        self,
        token_id: str,
        digest: bytes,
        role: Role,
        name: str,
        *,
        project_id: str | None = None,
        created_by: str | None = None,
    ) -> tuple[Token, Members]:
        """Create a device token; return it, and the members of the project afterwards.

        `token_id` has 16 characters of `A-Z a-z 0-9`, and `digest` is the SHA-256 of the secret. The same atomic write
        grants the role (not `none`) to the principal `device:<token_id>`. The token is valid for 400 days after its
        last use. Raises `CredentialExists` if a token has this id, in whichever project.
        """
        from sltt_core.log import issuing

        return issuing.create_token(self, token_id, digest, role, name, project_id, created_by)

    def get_token(self, token_id: str) -> Token | None:
        """Return a device token of any project, or `None`. Costs the same whether it exists or not.

        It may be revoked. A bound service returns only tokens of its project.
        """
        from sltt_core.log import issuing

        return issuing.get_token(self, token_id)

    def get_tokens(
        self, cursor: str | None = None, limit: int = MAX_LIMIT, *, project_id: str | None = None
    ) -> TokensPage:
        """Return the device tokens of a project after `cursor` (an id), also revoked ones, at most `limit`.

        A page may have fewer tokens than `limit`, or none, although its cursor leads to more. A new token may appear
        with a delay. The cost grows with the tokens returned.
        """
        from sltt_core.log import issuing

        return issuing.get_tokens(self, cursor, limit, project_id)

    def extend_token(self, token: Token) -> bool:
        """Extend a device token, as `get_token` returned it, to 400 days from now; return whether that was done.

        Nothing is done if it is revoked, was extended in the last day, or has changed since it was read.
        """
        from sltt_core.log import issuing

        return issuing.extend_token(self, token)

    def revoke_token(
        self, token_id: str, *, project_id: str | None = None, revoked_by: str | None = None
    ) -> tuple[Token, Members]:
        """Revoke a device token; return it, and the members of the project afterwards. Idempotent.

        The same atomic write removes its principal from the members. Raises `NotFound` if the project has no such
        token, and `LastOwner` if it is the only owner.
        """
        from sltt_core.log import issuing

        return issuing.revoke_token(self, token_id, project_id, revoked_by)

    # Invitations

    def create_invitation(
        self,
        invitation_id: str,
        digest: bytes,
        role: Role,
        *,
        days: int = 7,
        uses: int = 1,
        project_id: str | None = None,
        created_by: str | None = None,
    ) -> Invitation:
        """Create an invitation that is valid for `days` (1 to 365) and for `uses` (1 to 1000) principals.

        `invitation_id` has 16 characters of `A-Z a-z 0-9`, and `digest` is the SHA-256 of the secret. Raises
        `CredentialExists` if an invitation has this id, in whichever project.
        """
        from sltt_core.log import issuing

        return issuing.create_invitation(self, invitation_id, digest, role, days, uses, project_id, created_by)

    def get_invitation(self, invitation_id: str) -> Invitation | None:
        """Return an invitation to any project, or `None`. Costs the same whether it exists or not.

        It may be used up. A bound service returns only invitations to its project.
        """
        from sltt_core.log import issuing

        return issuing.get_invitation(self, invitation_id)

    def get_invitations(
        self, cursor: str | None = None, limit: int = MAX_LIMIT, *, project_id: str | None = None
    ) -> InvitationsPage:
        """Return the invitations to a project after `cursor` (an id), also used up ones, as `get_tokens` does."""
        from sltt_core.log import issuing

        return issuing.get_invitations(self, cursor, limit, project_id)

    def accept_invitation(self, invitation_id: str, principal: str) -> tuple[Invitation, Members]:
        """Grant the role of an invitation to a principal; return both as they are afterwards.

        The caller has checked the secret. The same atomic write uses up one use of the invitation. A principal who has
        that role or a greater one already keeps it and uses up nothing. Raises `NotFound` if the invitation does not
        exist, has expired, is used up or was withdrawn.
        """
        from sltt_core.log import issuing

        return issuing.accept_invitation(self, invitation_id, principal)

    def withdraw_invitation(self, invitation_id: str, *, project_id: str | None = None) -> Invitation:
        """Set the uses of an invitation to 0, so that nobody can accept it any more, and return it. Idempotent.

        Raises `NotFound` if the project has no such invitation.
        """
        from sltt_core.log import issuing

        return issuing.withdraw_invitation(self, invitation_id, project_id)

    # Implemented by each storage. The arguments are checked. Expired credentials are like others.

    @abstractmethod
    def _credential(self, kind: type[C], credential_id: str) -> C | None:
        """Return a credential as of its last write, or `None`."""

    @abstractmethod
    def _credentials(self, kind: type[C], project_id: str, after: str | None, limit: int) -> tuple[list[C], str | None]:
        """Return at most `limit` credentials of a project, sorted by id, after the id `after`, and the next `after`.

        That is `None` if there are no more.
        """

    @abstractmethod
    def _replace_credential(self, before: C | None, after: C) -> bool:
        """Store `after` if the stored credential is `before` (`None`: if there is none); return whether it was."""

    @abstractmethod
    def _change_credential(
        self, kind: type[C], project_id: str, credential_id: str, decide: Decision[C]
    ) -> tuple[C, Members]:
        """Store what `decide` returns, and append its grant, in one atomic write.

        Return the credential and the members afterwards. `decide` is called again if one of them has changed meanwhile.
        """
