"""What is recorded about the members of a project: whether it differs from the grants in its log, and its repair."""

from __future__ import annotations

from aws_backend.log.access_items import access_item, access_key, member_item, members_of
from aws_backend.log.maintenance import delete_action, member_actions
from aws_backend.log.transactions import MAX_ACTIONS
from sltt_core.base.errors import LogDamaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from aws_backend.log.items import Item
    from aws_backend.log.table import LogTable
    from sltt_core.model.grants import Members


def read_recorded(table: LogTable, project_id: str) -> Members | None:
    """Return the recorded members by a strong read; `None` if their item is not what a grant writes."""
    item = table.get(access_key(project_id), table.deadline(), strong=True)
    try:
        members = members_of(item, project_id)
    except LogDamaged:
        return None
    return members if item in (None, access_item(project_id, members)) else None


def wrong_members(table: LogTable, project_id: str, members: Members) -> list[str]:
    """Return the principals whose member items differ from these members."""
    expected = [member_item(project_id, principal, member.role) for principal, member in members.roles.items()]
    keys = [{"pk": item["pk"], "seq": item["seq"]} for item in expected]
    found = {item["pk"]["S"]: item for item in table.batch(keys, table.deadline(), ConsistentRead=True)}
    pairs = zip(members.roles, expected, strict=True)
    return [principal for principal, item in pairs if found.get(item["pk"]["S"]) != item]


def is_orphan(item: Item, project_id: str, members: Members) -> bool:
    """Return whether a member item of a project belongs to nobody who has or had a role in it."""
    principal = item["pk"]["S"].removeprefix(f"MEMBER#{project_id}#")
    return item["seq"] != {"N": "0"} or principal not in members.roles


def repair_some(table: LogTable, project_id: str, items: Sequence[Item]) -> list[Item] | None:
    """Put member items that differ from the access item, which is right, and delete some of `items` that are orphans.

    Returns the orphans that are left, or `None` if nothing was left to do. Raises `TransactionCanceled` if the members
    change meanwhile.
    """
    members = table.read_members(project_id, table.deadline(), strong=True)
    wrong = wrong_members(table, project_id, members)[: MAX_ACTIONS - 1]
    left = [item for item in items if is_orphan(item, project_id, members)]
    now = left[: MAX_ACTIONS - 1 - len(wrong)]
    if not wrong and not now:
        return None
    actions = [
        *member_actions(table.name, project_id, members, wrong),
        *[delete_action(table.name, item) for item in now],
    ]
    table.transact(actions, table.runtime.new_token(), table.deadline())
    return left[len(now) :]
