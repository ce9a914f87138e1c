"""`sltt init`, `sync`, `status` and `resync`: a device and its server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sltt_core.cli.device_options import EXIT_CODES, NEEDS_YOU, opened_device, print_json, with_login, with_store
from sltt_core.sync.events import Progress
from sltt_core.sync.outsyncs import BLOCKING, HELD

if TYPE_CHECKING:
    from sltt_core.base.record import Record
    from sltt_core.sync.device import Device
    from sltt_core.sync.outcomes import ProjectResult, ProjectStatus, SyncResult, SyncStatus

CODES = """Exit code: 0 done, 1 something needs you, 2 wrong usage, 3 the server is out of reach, 4 another process has
the store open, 5 the server refuses."""


@click.command(epilog=CODES)
@click.option("--server", required=True, metavar="URL", help="The server, for example http://127.0.0.1:8080.")
@click.argument("projects", nargs=-1)
@with_store
def init(server: str, projects: tuple[str, ...], path: Path | None, as_json: bool) -> None:
    """Create a device, or give it another server, and let it follow PROJECTS. Needs no connection.

    \b
    Examples:
      sltt init --server http://127.0.0.1:8080 ruth
      sltt init --server https://sync.example.org ruth esther --store tablet.db
    """
    with opened_device(path, server=server) as device:
        device.follow(*projects)
        status = device.status()
        place = device.store.path
    if as_json:
        print_json({**described(status), "store": str(place)})
    else:
        names = ", ".join(status.projects) or "no project yet"
        click.echo(f"device {status.device_id} at {place}")
        click.echo(f"follows {names} on {status.server}")


@click.command(epilog=CODES)
@click.argument("projects", nargs=-1)
@with_login
@with_store
def sync(
    projects: tuple[str, ...], user: str | None, token_file: Path | None, path: Path | None, as_json: bool
) -> None:
    """Read what is new of PROJECTS, or of all, send the outbox, and read what came of it.

    \b
    Examples:
      sltt sync
      sltt sync ruth --user Noémie
      SLTT_TOKEN=sltt_… sltt sync --json
    """
    with opened_device(path, user=user, token_file=token_file) as device, _Shown(not as_json) as shown:
        result = device.sync(*projects, notify=shown.show)
        waits = _waits_for_a_person(device, result)
    code = EXIT_CODES[result.outcome]
    if as_json:
        print_json({**_result(result), "exitCode": code or waits})
    else:
        for one in result.projects.values():
            if one.trouble is not None:
                click.echo(f"{one.project_id}: {one.outcome}: {one.trouble}", err=True)
        if waits:
            click.echo("Some edits need you: `sltt rejected list` shows them.", err=True)
        click.echo(str(result))
    sys.exit(code or waits)


def _waits_for_a_person(device: Device, result: SyncResult) -> int:
    """Return the exit code for edits that need a decision: 0 if none does."""
    waiting = any(device.outbox(name, (HELD, *BLOCKING)) for name in result.projects)
    return NEEDS_YOU if waiting else 0


@click.command(epilog=CODES)
@click.argument("project")
@with_login
@with_store
def resync(project: str, user: str | None, token_file: Path | None, path: Path | None, as_json: bool) -> None:
    """Bring PROJECT together with a server that has another history, for example a restored one.

    The outbox is kept. What the server lost, and this device has, is sent to it again.

    \b
    Examples:
      sltt resync ruth
    """
    with opened_device(path, user=user, token_file=token_file) as device:
        result = device.resync(project)
    if as_json:
        print_json(_project_result(result))
    else:
        click.echo(f"{result.outcome}: {result.trouble}" if result.trouble else f"{project} is together again")
    sys.exit(EXIT_CODES[result.outcome])


@click.command(epilog=CODES)
@click.option("--fetch", is_flag=True, help="Ask the server for the ends of the logs first.")
@with_login
@with_store
def status(fetch: bool, user: str | None, token_file: Path | None, path: Path | None, as_json: bool) -> None:
    """Show the outbox, and how far each project was read. Makes no request without --fetch.

    \b
    Examples:
      sltt status
      sltt status --fetch --json
    """
    with opened_device(path, user=user, token_file=token_file) as device:
        found = device.fetch() if fetch else device.status()
    if as_json:
        print_json(described(found))
        return
    click.echo(f"device {found.device_id}, server {found.server or 'not set'}")
    for project in found.projects.values():
        click.echo(_line(project))
    if not found.projects:
        click.echo("The device follows no project. `sltt init --server URL PROJECT` adds one.")


def _line(project: ProjectStatus) -> str:
    waiting = ", ".join(f"{count} {state}" for state, count in project.outbox.items()) or "empty"
    seen = f"head {project.head}, lag {project.lag}" if project.heard_at else "never heard of"
    synced = f"synced {project.synced_at[:19]}Z" if project.synced_at else "never synced"
    text = f"{project.project_id}: {project.state}, cursor {project.cursor}, {seen}; outbox {waiting}; {synced}"
    return f"{text}\n  {project.problem['detail']}" if project.problem else text


def described(status: SyncStatus) -> dict[str, Any]:
    """Return the state of a device as JSON values."""
    return {
        "device": status.device_id,
        "server": status.server,
        "projects": {
            name: {
                "state": one.state,
                "cursor": one.cursor,
                "head": one.head if one.heard_at else None,
                "lag": one.lag if one.heard_at else None,
                "heardAt": one.heard_at,
                "syncedAt": one.synced_at,
                "outbox": dict(one.outbox),
                "problem": one.problem,
            }
            for name, one in status.projects.items()
        },
    }


def _result(result: SyncResult) -> dict[str, Any]:
    return {
        "outcome": result.outcome,
        "sent": result.sent,
        "received": result.received,
        "rejected": list(result.rejected),
        "detail": None if result.trouble is None else result.trouble.detail,
        "projects": {name: _project_result(one) for name, one in result.projects.items()},
    }


def _project_result(result: ProjectResult) -> dict[str, Any]:
    return {
        "outcome": result.outcome,
        "detail": None if result.trouble is None else result.trouble.detail,
        "type": None if result.trouble is None else result.trouble.kind,
        "received": result.downsync.changes,
        "own": result.downsync.own,
        "through": result.downsync.through,
        "sent": list(result.outsync.sent),
        "replayed": list(result.outsync.replayed),
        "rejected": list(result.outsync.rejected),
        "held": result.outsync.held,
        "withheld": result.outsync.withheld,
        "waiting": result.outsync.waiting,
    }


class _Shown:
    """Shows the progress of a sync on a terminal, in one line that is written again and again."""

    def __init__(self, wanted: bool) -> None:
        self._wanted = wanted and sys.stderr.isatty()
        self._width = 0

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            click.echo("\r" + " " * self._width + "\r", err=True, nl=False)

    def show(self, event: Record) -> None:
        """Show an event, if it is one of progress."""
        if self._wanted and isinstance(event, Progress):
            arrow = {"down": "received", "up": "sent"}[event.direction]
            total = "" if event.total is None else f" of {event.total:,}"
            text = f"{event.project_id}: {arrow} {event.done:,}{total}"
            click.echo("\r" + text.ljust(self._width), err=True, nl=False)
            self._width = max(self._width, len(text))


COMMANDS = (init, sync, status, resync)
