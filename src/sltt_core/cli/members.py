"""`sltt member`: who may do what in a project. It writes to the storage directly, so it needs no server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sltt_core.cli.opening import STORAGE, opened
from sltt_core.model.grants import NONE, ROLES

if TYPE_CHECKING:
    from sltt_core.model.grants import Role

PROJECT = click.option("--project", required=True, metavar="ID", help="The project.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def member() -> None:
    """Add, remove and list the members of a project.

    A member is a principal: what the tokens of its people or devices have as `sub`. A running server notices a change
    within a minute.

    \b
    Examples:
      sltt member add ada --role owner --project ruth
      sltt member list --project ruth
      sltt member remove ada --project ruth
    """


@member.command("add")
@click.argument("principal")
@click.option("--role", required=True, type=click.Choice(ROLES[1:]), help="What the member may do.")
@PROJECT
@STORAGE
@JSON
def add(principal: str, role: Role, project: str, storage_url: str | None, as_json: bool) -> None:
    """Give PRINCIPAL a role in a project, in place of the one it has.

    \b
    Examples:
      sltt member add ada --role owner --project ruth
      sltt member add 'auth0|5f7c8ec7' --role viewer --project ruth --storage sqlite:team.db
    """
    with opened(storage_url) as storage:
        members = storage.set_role(principal, role, project_id=project)
    _show({"principal": principal, "role": role, "since": members.roles[principal].since}, as_json)


@member.command("remove")
@click.argument("principal")
@PROJECT
@STORAGE
@JSON
def remove(principal: str, project: str, storage_url: str | None, as_json: bool) -> None:
    """Take the role of PRINCIPAL in a project away. The last owner cannot be removed.

    \b
    Examples:
      sltt member remove ada --project ruth
    """
    with opened(storage_url) as storage:
        if principal not in storage.get_members(project_id=project).roles:
            raise click.ClickException(f"{principal} is not a member of project {project}")
        members = storage.set_role(principal, NONE, project_id=project)
    _show({"principal": principal, "role": NONE, "since": members.roles[principal].since}, as_json)


@member.command("list")
@PROJECT
@click.option("--all", "with_former", is_flag=True, help="Also list former members.")
@STORAGE
@JSON
def list_members(project: str, with_former: bool, storage_url: str | None, as_json: bool) -> None:
    """List the members of a project, with their roles and the change that granted each.

    \b
    Examples:
      sltt member list --project ruth
      sltt member list --project ruth --all --json
    """
    with opened(storage_url) as storage:
        members = storage.get_members(project_id=project)
    listed = [
        {"principal": principal, "role": found.role, "since": found.since}
        for principal, found in sorted(members.roles.items())
        if with_former or found.role != NONE
    ]
    if as_json:
        click.echo(json.dumps({"members": listed, "count": len(listed)}, ensure_ascii=False))
    elif listed:
        for line in listed:
            _show(line, False)
    else:
        click.echo(f"project {project} has no members")


def _show(member: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(member, ensure_ascii=False))
    else:
        click.echo(f"{member['role']:<8}{member['principal']}  (change {member['since']})")
