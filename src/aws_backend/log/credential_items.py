"""The items of device tokens and invitations: their keys, and conversion from and to items.

    item         pk            seq   in the index
    token        TOKEN#<id>    0     the tokens of a project, in the order of their ids
    invitation   INVITE#<id>   0     the invitations to a project, in the order of their ids

DynamoDB deletes an item some days after `expires`, the time-to-live attribute of the table (AWS: "Using time to live
(TTL) in DynamoDB"), so readers compare it with their clock.
"""

from __future__ import annotations

from sltt_core.base.errors import LogDamaged
from sltt_core.model.credentials import Invitation, Token, check_stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from aws_backend.log.items import Item

    C = TypeVar("C", Token, Invitation)

_NAMES: dict[type, str] = {Token: "TOKEN", Invitation: "INVITE"}
_ATTRIBUTES = {
    "hash": "hash",
    "project_id": "project",
    "role": "role",
    "created_by": "createdBy",
    "created_at": "createdAt",
    "expires": "expires",
    "principal": "principal",
    "name": "name",
    "revoked_at": "revokedAt",
    "uses": "uses",
}
"""The attributes of the fields. A field that is `None` has no attribute."""


def credential_key(kind: type, credential_id: str) -> dict[str, Any]:
    """Return the key of a credential's item."""
    return {"pk": {"S": f"{_NAMES[kind]}#{credential_id}"}, "seq": {"N": "0"}}


def credential_registry(kind: type, project_id: str) -> str:
    """Return the partition key of a project's credentials in the index. Their sort key there is their id."""
    return f"{_NAMES[kind]}S#{project_id}"


def credential_values(credential: Token | Invitation) -> dict[str, Any]:
    """Return the attributes of a credential's item, without its keys."""
    return {
        _ATTRIBUTES[name]: {"N": str(value)} if type(value) is int else {"S": value}
        for name, value in zip(credential.fields[1:], credential.as_tuple()[1:], strict=True)
        if value is not None
    }


def credential_item(credential: Token | Invitation) -> dict[str, Any]:
    """Return the item of a credential."""
    kind = type(credential)
    return {
        **credential_key(kind, credential.id),
        **credential_values(credential),
        "registry": {"S": credential_registry(kind, credential.project_id)},
        "projectId": {"S": credential.id},
    }


def credential_of(item: Item, kind: type[C]) -> C:
    """Return the credential of an item; raises `LogDamaged` if it is not valid."""
    try:
        values: list[Any] = [item["pk"]["S"].partition("#")[2]]
        for name in kind.fields[1:]:
            attribute = item.get(_ATTRIBUTES[name])
            if attribute is None:
                values.append(None)
            else:
                values.append(int(attribute["N"]) if "N" in attribute else attribute["S"])
        credential = kind.of(values)
        check_stored(credential)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LogDamaged(f"an item of the kind {_NAMES[kind]} is not valid") from None
    return credential
