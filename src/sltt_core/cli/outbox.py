"""`sltt edit`, `outbox`, `rejected` and `purge`: what a device has not sent, and what it keeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sltt_core.cli.device_options import opened_device, print_json, with_store
from sltt_core.model.fields import OPERATIONS
from sltt_core.sync.outsyncs import STATES

if TYPE_CHECKING:
    from sltt_core.sync.outsyncs import Outsync


@click.command()
@click.argument("project")
@click.argument("operation", type=click.Choice(OPERATIONS))
@click.argument("entity_type")
@click.argument("entity_id")
@click.argument("data", default="{}")
@click.option("--user", metavar="NAME", envvar="SLTT_USER", help="Who makes the edit. Default: SLTT_USER.")
@with_store
def edit(
    project: str,
    operation: str,
    entity_type: str,
    entity_id: str,
    data: str,
    user: str | None,
    path: Path | None,
    as_json: bool,
) -> None:
    """Edit an entity of PROJECT. The edit is kept in the outbox until the next sync, so it needs no connection.

    DATA is a JSON object; - reads it from standard input.

    \b
    Examples:
      sltt edit ruth create passage ruth-1 '{"title": "Famine in Bethlehem"}'
      sltt edit ruth delete passage ruth-1
      sltt edit ruth update passage ruth-1 - < passage.json
    """
    with opened_device(path, user=user) as device:
        known = device.project(project)
        made = {"create": known.create, "update": known.update, "delete": known.delete}[operation](
            entity_type, entity_id, _text(data)
        )
    _show([made], as_json)


@click.command()
@click.argument("project", required=False)
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only edits in this state. Repeatable."
)
@with_store
def outbox(project: str | None, states: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """List the edits that did not come back from the server yet, in the order in which they were made.

    \b
    Examples:
      sltt outbox
      sltt outbox ruth --state waiting --json
    """
    with opened_device(path) as device:
        found = device.outbox(project, states or STATES)
    _show(found, as_json, "The outbox is empty.")


@click.group()
def rejected() -> None:
    """Decide on edits that the server refused: edit them, send them again as they are, or drop them.

    Later edits of the same entity are held until then.

    \b
    Examples:
      sltt rejected list
      sltt rejected edit Ab3dEf6hIj9kLm2n.7 '{"title": "Ruth 1"}'
      sltt rejected drop Ab3dEf6hIj9kLm2n.7
    """


@rejected.command("list")
@click.argument("project", required=False)
@with_store
def list_rejected(project: str | None, path: Path | None, as_json: bool) -> None:
    """List the edits that need a decision, and those that wait for one.

    \b
    Examples:
      sltt rejected list
      sltt rejected list ruth --json
    """
    with opened_device(path) as device:
        found = device.rejected(project)
    _show(found, as_json, "No edit needs you.")


@rejected.command("show")
@click.argument("cid")
@with_store
def show(cid: str, path: Path | None, as_json: bool) -> None:
    """Show the edit CID with its data, and why it was refused.

    \b
    Examples:
      sltt rejected show Ab3dEf6hIj9kLm2n.7
    """
    with opened_device(path) as device:
        found = device.store.outsync(cid)
    if as_json:
        print_json(_described(found))
        return
    _show([found], False)
    click.echo(f"  {found.data_json}")
    for problem in (found.problem or {}).get("errors", ()):
        click.echo(f"  {problem['field']}: {problem['reason']}")


@rejected.command("edit")
@click.argument("cid")
@click.argument("data")
@with_store
def correct(cid: str, data: str, path: Path | None, as_json: bool) -> None:
    """Give the edit CID other DATA, a JSON object or - for standard input. The next sync sends it.

    \b
    Examples:
      sltt rejected edit Ab3dEf6hIj9kLm2n.7 '{"title": "Ruth 1"}'
    """
    with opened_device(path) as device:
        _show([device.edit(cid, _text(data))], as_json)


@rejected.command("retry")
@click.argument("cid")
@with_store
def retry(cid: str, path: Path | None, as_json: bool) -> None:
    """Let the next sync send the edit CID again as it is.

    \b
    Examples:
      sltt rejected retry Ab3dEf6hIj9kLm2n.7
    """
    with opened_device(path) as device:
        _show([device.retry(cid)], as_json)


@rejected.command("drop")
@click.argument("cid")
@with_store
def drop(cid: str, path: Path | None, as_json: bool) -> None:
    """Delete the edit CID, and print it. The server never gets it.

    \b
    Examples:
      sltt rejected drop Ab3dEf6hIj9kLm2n.7
    """
    with opened_device(path) as device:
        _show([device.drop(cid)], as_json)


@click.command()
@click.argument("project")
@with_store
def purge(project: str, path: Path | None, as_json: bool) -> None:
    """Delete what came down of PROJECT, and pause it. Edits in the outbox are kept.

    \b
    Examples:
      sltt purge ruth
    """
    with opened_device(path) as device:
        device.purge(project)
        left = len(device.outbox(project))
    if as_json:
        print_json({"projectId": project, "outbox": left})
    else:
        click.echo(f"{project}: what came down is deleted; {left} in the outbox")


def _text(data: str) -> str:
    return sys.stdin.read() if data == "-" else data


def _show(edits: list[Outsync], as_json: bool, nothing: str = "") -> None:
    if as_json:
        print_json({"edits": [_described(edit) for edit in edits], "count": len(edits)})
        return
    for edit in edits:
        reason = f"  {edit.problem['detail']}" if edit.problem else ""
        what = f"{edit.project_id} {edit.operation} {edit.entity_type} {edit.entity_id}"
        click.echo(f"{edit.cid}  {edit.state:<8} {what}{reason}")
    if not edits:
        click.echo(nothing)


def _described(edit: Outsync) -> dict[str, Any]:
    return {
        "cid": edit.cid,
        "state": edit.state,
        "projectId": edit.project_id,
        "entityType": edit.entity_type,
        "entityId": edit.entity_id,
        "operation": edit.operation,
        "timestamp": edit.timestamp,
        "changeBy": edit.change_by,
        "baseSeq": edit.base_seq,
        "seq": edit.seq,
        "data": edit.data,
        "problem": edit.problem,
    }


COMMANDS = (edit, outbox, rejected, purge)
