"""Grants: the changes that say who may do what in a project, and the members that follow from them.

A grant is a change of the entity type `sltt.member`. Its entity id is the principal, and its `data` has the role. The
log alone decides: the last grant of a principal counts.
"""

from __future__ import annotations

from sltt_core.base.c_json import dumps
from sltt_core.base.record import Record
from sltt_core.model.changes import NewChange
from sltt_core.model.fields import check_free_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from sltt_core.model.changes import Change

    Role = Literal["none", "viewer", "editor", "owner"]

RESERVED = "sltt."
"""The beginning of entity types that only this program writes."""
DEVICE = "device:"
"""The beginning of the principals of device tokens. No issuer of tokens names such a principal."""
MEMBER = "sltt.member"
"""The entity type of grants."""
NONE: Role = "none"
VIEWER: Role = "viewer"
EDITOR: Role = "editor"
OWNER: Role = "owner"
ROLES = (NONE, VIEWER, EDITOR, OWNER)
"""In ascending order: each role may do what the one before it may. `none` is the role of a former member."""


class Member(Record):
    """The role of a principal in a project."""

    role: str
    """One of `ROLES`."""
    since: int
    """The number of the change that granted it."""


class Members(Record):
    """Everyone who has or had a role in a project."""

    roles: Mapping[str, Member]
    """By principal. Former members have the role `none`."""

    @property
    def version(self) -> int:
        """The number of the last grant; 0 for a project without one."""
        return max((member.since for member in self.roles.values()), default=0)

    @property
    def owners(self) -> int:
        """How many owners the project has."""
        return sum(member.role == OWNER for member in self.roles.values())

    def after(self, changes: Iterable[Change]) -> Members:
        """Return the members after these changes of the log."""
        roles = dict(self.roles)
        for change in changes:
            role = granted_role(change)
            if role is not None:
                roles[change.entity_id] = Member(role, change.seq)
        return Members(roles)


NO_MEMBERS = Members({})


def check_role(value: object) -> Role:
    """Check a role; raises `ValueError` with the reason."""
    if value not in ROLES:
        raise ValueError(f"is not one of {', '.join(ROLES)}")
    return value


def check_granted_role(value: object) -> Role:
    """Check a role that a member has; `none` is not one."""
    if value not in ROLES[1:]:
        raise ValueError(f"is not one of {', '.join(ROLES[1:])}")
    return value


def check_principal(value: object) -> str:
    """Check the id of a principal: what an identity provider puts into `sub`, with the rule of `changeBy`."""
    return check_free_text(value)


def check_issued_principal(value: object) -> str:
    """Check a principal that an issuer of tokens or a gateway names: it cannot be that of a device token."""
    principal = check_principal(value)
    if principal.startswith(DEVICE):
        raise ValueError(f"begins with {DEVICE}, which is reserved for device tokens")
    return principal


def new_grant(project_id: str | None, principal: str, role: Role, granted_by: str | None) -> NewChange:
    """Return the change that gives a principal a role. The arguments are checked already."""
    operation = "delete" if role == NONE else "update"
    data = dumps({"role": role})
    return NewChange.of((project_id, MEMBER, principal, data, operation, None, None, granted_by, None))


def granted_role(change: Change | NewChange) -> str | None:
    """Return the role that a change grants; `None` if it grants none."""
    if change.entity_type != MEMBER:
        return None
    role = change.data.get("role")
    return role if isinstance(role, str) and role in ROLES else None
