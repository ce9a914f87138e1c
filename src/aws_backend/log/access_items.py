"""The items of the members of a project: their keys, and conversion from and to items.

    item     pk                               seq   content
    access   ACCESS#<projectId>               0     the role of each principal
    member   MEMBER#<projectId>#<principal>   0     in the index: one principal's projects, in order

Both follow from the changes of the type `sltt.member`, and change in the same transaction. A principal may contain `#`:
a project id cannot, so the first two `#` end the project id, and the rest is the principal.
"""

from __future__ import annotations

from sltt_core.base.errors import LogDamaged
from sltt_core.model.grants import NO_MEMBERS, NONE, ROLES, Member, Members

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from aws_backend.log.items import Item


def access_key(project_id: str) -> dict[str, Any]:
    """Return the key of a project's access item."""
    return {"pk": {"S": f"ACCESS#{project_id}"}, "seq": {"N": "0"}}


def member_key(project_id: str, principal: str) -> dict[str, Any]:
    """Return the key of the item of one member of a project."""
    return {"pk": {"S": f"MEMBER#{project_id}#{principal}"}, "seq": {"N": "0"}}


def principal_registry(principal: str) -> str:
    """Return the partition key of a principal's member items in the index."""
    return f"PRINCIPAL#{principal}"


def access_item(project_id: str, members: Members) -> dict[str, Any]:
    """Return the access item of a project."""
    roles = {
        principal: {"M": {"role": {"S": member.role}, "since": {"N": str(member.since)}}}
        for principal, member in members.roles.items()
    }
    return {**access_key(project_id), "members": {"M": roles}, "version": {"N": str(members.version)}}


def member_item(project_id: str, principal: str, role: str) -> dict[str, Any]:
    """Return the item of one member of a project. That of a former member is not in the index."""
    item: dict[str, Any] = {**member_key(project_id, principal), "projectId": {"S": project_id}}
    return item if role == NONE else {**item, "registry": {"S": principal_registry(principal)}}


def members_of(item: Item | None, project_id: str) -> Members:
    """Return the members of an access item; `NO_MEMBERS` for `None`. Raises `LogDamaged` if it is not valid."""
    if item is None:
        return NO_MEMBERS
    try:
        roles = {}
        for principal, attribute in item["members"]["M"].items():
            member = Member(attribute["M"]["role"]["S"], int(attribute["M"]["since"]["N"]))
            if member.role not in ROLES:
                raise ValueError(member.role)
            roles[principal] = member
        return Members(roles)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LogDamaged(f"the access item of project {project_id} is not valid") from None
