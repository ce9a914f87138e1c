"""`sltt token` and `sltt invite`: device tokens and invitations. They write to the storage directly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from sltt_core.api.device_tokens import code_of, new_secret
from sltt_core.base.timestamps import format_utc
from sltt_core.cli.members import JSON, PROJECT
from sltt_core.cli.opening import STORAGE, opened
from sltt_core.model.credentials import MAX_DAYS, MAX_USES
from sltt_core.model.grants import ROLES

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.credentials import Token
    from sltt_core.model.grants import Role

ROLE = click.option("--role", required=True, type=click.Choice(ROLES[1:]), help="What its holder may do.")


@click.group()
def token() -> None:
    """Create, list and revoke the device tokens of a project.

    A device token is a principal of its own. It is shown once, and stays valid for 400 days after its last use. Send
    it as `Authorization: Bearer TOKEN`.

    \b
    Examples:
      sltt token create --name "tablet 7" --role editor --project ruth
      sltt token list --project ruth
      sltt token revoke 4fJ9sK2mQx8LbN3v --project ruth
    """


@token.command("create")
@click.option("--name", required=True, help="What people call the device.")
@ROLE
@PROJECT
@STORAGE
@JSON
def create(name: str, role: Role, project: str, storage_url: str | None, as_json: bool) -> None:
    """Create a device token, and print it. It cannot be shown again.

    \b
    Examples:
      sltt token create --name "tablet 7" --role editor --project ruth
      sltt token create --name ci --role viewer --project ruth --json
    """
    with opened(storage_url) as storage:
        secret = new_secret("token", project, None)
        made, _ = storage.create_token(secret.id, secret.digest(), role, name, project_id=project)
    if as_json:
        click.echo(json.dumps({**_described(made), "token": secret.reveal()}, ensure_ascii=False))
    else:
        click.echo(secret.reveal())
        click.echo(f"This is the token of {name!r}, {role} of project {project}. It is not shown again.", err=True)


@token.command("list")
@PROJECT
@STORAGE
@JSON
def list_tokens(project: str, storage_url: str | None, as_json: bool) -> None:
    """List the device tokens of a project, revoked ones included.

    \b
    Examples:
      sltt token list --project ruth
    """
    with opened(storage_url) as storage:
        found = _all_tokens(storage, project)
    if as_json:
        click.echo(json.dumps({"tokens": [_described(one) for one in found], "count": len(found)}, ensure_ascii=False))
        return
    for one in found:
        state = f"revoked {one.revoked_at[:10]}" if one.revoked_at else f"until {_day(one.expires)}"
        click.echo(f"{one.id}  {one.role:<7} {state:<19} {one.name}")
    if not found:
        click.echo(f"project {project} has no device tokens")


@token.command("revoke")
@click.argument("token_id")
@PROJECT
@STORAGE
@JSON
def revoke(token_id: str, project: str, storage_url: str | None, as_json: bool) -> None:
    """Revoke the device token TOKEN_ID: the part of the token between the first two underscores.

    A running server notices it within five minutes.

    \b
    Examples:
      sltt token revoke 4fJ9sK2mQx8LbN3v --project ruth
    """
    with opened(storage_url) as storage:
        revoked, _ = storage.revoke_token(token_id, project_id=project)
    if as_json:
        click.echo(json.dumps(_described(revoked), ensure_ascii=False))
    else:
        click.echo(f"{revoked.id}  revoked  {revoked.name}")


@click.command()
@ROLE
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, MAX_DAYS), help="How long it is valid.")
@click.option("--uses", default=1, show_default=True, type=click.IntRange(1, MAX_USES), help="How many may accept it.")
@PROJECT
@STORAGE
@JSON
def invite(role: Role, days: int, uses: int, project: str, storage_url: str | None, as_json: bool) -> None:
    """Create an invitation to a project, and print its code. It cannot be shown again.

    A person who sends the code to POST /api/invitations/accept, with a token of the server's issuer, gets the role.

    \b
    Examples:
      sltt invite --role editor --project ruth
      sltt invite --role viewer --uses 20 --days 1 --project ruth
    """
    with opened(storage_url) as storage:
        secret = new_secret("invitation", project, None)
        made = storage.create_invitation(secret.id, secret.digest(), role, days=days, uses=uses, project_id=project)
    if as_json:
        described = {"id": made.id, "role": role, "uses": uses, "expires": format_utc(made.expires * 10**9)}
        click.echo(json.dumps({**described, "code": code_of(secret)}))
    else:
        click.echo(code_of(secret))
        click.echo(f"Who accepts it becomes {role} of project {project}, until {_day(made.expires)}.", err=True)


def _all_tokens(storage: BaseStorageService, project: str) -> list[Token]:
    found: list[Token] = []
    cursor = None
    while True:
        page = storage.get_tokens(cursor, project_id=project)
        found += page.tokens
        cursor = page.cursor
        if cursor is None:
            return found


def _described(token: Token) -> dict[str, str | None]:
    return {
        "id": token.id,
        "principal": token.principal,
        "role": token.role,
        "name": token.name,
        "createdAt": token.created_at,
        "expires": format_utc(token.expires * 10**9),
        "revokedAt": token.revoked_at,
    }


def _day(seconds: int) -> str:
    return format_utc(seconds * 10**9)[:10]
