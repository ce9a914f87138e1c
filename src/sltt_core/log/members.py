"""The rules of granting: whether a grant is needed, and whether it is allowed."""

from __future__ import annotations

from sltt_core.base.errors import InvalidInput, LastOwner
from sltt_core.model.fields import utf8_length
from sltt_core.model.grants import NONE, OWNER, ROLES, granted_role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.model.changes import NewChange
    from sltt_core.model.grants import Members

MEMBERS_BYTES = 300_000
"""The most bytes of all principals that a project ever had a grant for. One DynamoDB item holds them, with their roles
(AWS: an item has at most 400 KB)."""
_ROLE_BYTES = 40


def is_needed(members: Members, grant: NewChange) -> bool:
    """Return whether the principal of a grant has another role now.

    Raises `LastOwner` if the project would lose its last owner, and `InvalidInput` if it has too many members.
    """
    principal, role = grant.entity_id, granted_role(grant)
    now = members.roles.get(principal)
    if (NONE if now is None else now.role) == role:
        return False
    if now is not None and now.role == OWNER and members.owners == 1:
        raise LastOwner(f"{principal} is the only owner of the project")
    if now is None and members_bytes(members) + utf8_length(principal) + _ROLE_BYTES > MEMBERS_BYTES:
        raise InvalidInput(
            f"the project has too many members: {len(members.roles):,}, former ones included", field="principal"
        )
    return True


def has_role(members: Members, grant: NewChange) -> bool:
    """Return whether the principal of a grant has the granted role now, or a greater one."""
    now = members.roles.get(grant.entity_id)
    return now is not None and ROLES.index(now.role) >= ROLES.index(granted_role(grant) or NONE)


def members_bytes(members: Members) -> int:
    """Return about how many bytes the members take in a DynamoDB item."""
    return sum(utf8_length(principal) + _ROLE_BYTES for principal in members.roles)
