"""Reads and writes device tokens and invitations. Only requests that concern them load this module."""

from __future__ import annotations

from aws_backend.dynamodb.errors import ConditionFailed
from aws_backend.log.credential_items import (
    credential_item,
    credential_key,
    credential_of,
    credential_registry,
    credential_values,
)
from aws_backend.log.grants import write_grant
from aws_backend.log.transactions import put_item, update_item

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aws_backend.log.credential_items import C
    from aws_backend.log.table import LogTable
    from aws_backend.log.transactions import Action
    from sltt_core.log.issuing import Decision
    from sltt_core.model.changes import NewChange
    from sltt_core.model.grants import Members

_CHANGING = ("expires", "revokedAt", "uses")
"""The attributes that are not the same for ever."""


def read_credential(table: LogTable, kind: type[C], credential_id: str, deadline: float) -> C | None:
    """Return a credential by a strong read, or `None`."""
    item = table.get(credential_key(kind, credential_id), deadline, strong=True)
    return None if item is None else credential_of(item, kind)


def list_credentials(
    table: LogTable, kind: type[C], project_id: str, after: str | None, limit: int
) -> tuple[list[C], str | None]:
    """Return credentials of a project in the order of their ids, and the last id if there are more."""
    deadline = table.deadline()
    registry, key = credential_registry(kind, project_id), lambda credential_id: credential_key(kind, credential_id)
    ids = table.registered(registry, key, after, limit + 1, deadline)
    keys = [credential_key(kind, credential_id) for credential_id in ids[:limit]]
    found = [credential_of(item, kind) for item in table.batch(keys, deadline, ConsistentRead=True)]
    return sorted(found, key=lambda one: one.id), ids[limit - 1] if len(ids) > limit else None


def replace_credential(table: LogTable, before: C | None, after: C) -> bool:
    """Store `after` if the stored credential is `before` (`None`: if there is none); return whether it was."""
    ((operation, payload),) = _written(table.name, before, after).items()
    try:
        # A second creation would be refused because of the first, whose response was lost.
        table.call(f"{operation}Item", payload, table.deadline(), repeatable=before is not None)
    except ConditionFailed:
        return False
    return True


def change_credential(
    table: LogTable, kind: type[C], project_id: str, credential_id: str, decide: Decision[C]
) -> tuple[C, Members]:
    """Store what `decide` returns, and append its grant, in one transaction. Otherwise like `append_grant`."""
    result: list[C] = []

    def prepare(members: Members, deadline: float) -> tuple[NewChange | None, list[Action]]:
        before = read_credential(table, kind, credential_id, deadline)
        after, grant = decide(before, members)
        result[:] = [after]
        return grant, [] if after == before else [_written(table.name, before, after)]

    members = write_grant(table, project_id, prepare)
    return result[0], members


def _written(table: str, before: C | None, after: C) -> Action:
    """Return the action that stores a credential if the stored one is `before`."""
    if before is None:
        return put_item(table, credential_item(after))
    was, values = credential_values(before), credential_values(after)
    expected = {name: was.get(name) for name in ("hash", *_CHANGING)}
    changed = {name: value for name, value in values.items() if was.get(name) != value}
    return update_item(table, credential_key(type(after), after.id), changed, expected)
