"""Bugs in the access control, which the schedules with members find."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Any

from aws_backend.log import grants, transactions
from aws_backend.log.access_items import member_item
from sltt_core.api import app, handlers, roles
from sltt_core.api.access import APPEND, READ, check_access
from sltt_core.api.roles import RoleAccess
from sltt_core.base.errors import LastOwner
from sltt_core.log.members import is_needed
from sltt_core.model.grants import NONE
from tests.simulation.planting import Bug, patched
from tests.simulation.team import TeamWorld

_grant = transactions.grant


def _check_after_the_replay(access: Any, principal: Any, action: str, parameters: Any) -> None:
    if action == APPEND:
        first = parameters["changes"][0]
        if any(change.cid == first.cid for change in access._storage.get_changes_since(project_id=first.project_id)):
            return
    check_access(access, principal, action, parameters)


def _check_a_wait_once(access: Any, principal: Any, action: str, parameters: Any) -> None:
    if action != READ or "wait" not in parameters:
        check_access(access, principal, action, parameters)
        return
    checked = access.__dict__.setdefault("checked", set())
    request = (principal.id, *parameters.items())
    if request not in checked:
        check_access(access, principal, action, parameters)
        checked.add(request)


def _check_the_first_project(access: Any, principal: Any, action: str, parameters: Any) -> None:
    """Check an append only if the process has seen no append of this person."""
    appended = access.__dict__.setdefault("appended", set())
    if action == APPEND and principal.id in appended:
        return
    check_access(access, principal, action, parameters)
    if action == APPEND:
        appended.add(principal.id)


def _grant_without_leavers(table: str, before: Any, changes: Any) -> Any:
    actions = _grant(table, before, changes)
    return [] if any(change.operation == "delete" for change in changes) else actions


def _member_for_ever(project_id: str, principal: str, role: str) -> Any:
    return member_item(project_id, principal, "viewer" if role == NONE else role)


def _learn_nothing(self: Any, project_id: str, members: Any) -> None:
    pass


def _needed_of_the_last_owner(members: Any, grant: Any) -> bool:
    try:
        return is_needed(members, grant)
    except LastOwner:
        return True


def _everything(self: Any, principal: Any, cursor: str | None) -> None:
    return None


_bug = partial(Bug, world=TeamWorld)

TEAM_BUGS = (
    _bug(
        "cache never expires",
        "A process remembers the members of a project for ever.",
        patched((roles, "REMEMBERED_SECONDS", inf)),
    ),
    _bug(
        "replay before the check of access",
        "A batch that is stored already is acknowledged without a look at the roles.",
        patched((app, "check_access", _check_after_the_replay), (handlers, "check_access", _check_after_the_replay)),
    ),
    _bug(
        "wait checked once",
        "A waiting request is not checked again when it wakes.",
        patched((app, "check_access", _check_a_wait_once)),
    ),
    _bug(
        "access item drifts",
        "The item with the members of a project does not change when somebody leaves.",
        patched((transactions, "grant", _grant_without_leavers)),
    ),
    _bug(
        "member item drifts",
        "The item that lists a project for a member does not change when the member leaves.",
        patched((transactions, "member_item", _member_for_ever)),
    ),
    _bug(
        "own grant not noticed",
        "A server goes on with the members that it remembers after it has changed them.",
        patched((RoleAccess, "members_changed", _learn_nothing)),
    ),
    _bug(
        "refusals remembered like permissions",
        "A new member is refused for a minute.",
        patched((roles, "REFUSED_SECONDS", 60.0)),
    ),
    _bug(
        "appends checked once",
        "Who has appended to one project appends to all of them.",
        patched((app, "check_access", _check_the_first_project)),
    ),
    _bug(
        "last owner removed",
        "A project is left without an owner.",
        patched((grants, "is_needed", _needed_of_the_last_owner)),
    ),
    _bug("list of all projects", "Everyone sees every project.", patched((RoleAccess, "visible", _everything))),
)
