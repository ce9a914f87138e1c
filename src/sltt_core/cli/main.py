"""`sltt`, the command (extra `cli`)."""

from __future__ import annotations

import json
import os
import sys
from time import time_ns

from sltt_core.base.errors import InvalidInput
from sltt_core.base.timestamps import now_utc
from sltt_core.base.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sltt_core.api.access import Authenticator

try:
    import click

    from sltt_core.cli import outbox, syncing
    from sltt_core.cli.members import member
    from sltt_core.cli.opening import STORAGE, errors_for_people, make_storage
    from sltt_core.cli.tokens import invite, token
except ModuleNotFoundError as missing:
    sys.exit(
        f"sltt: {missing.name} is not installed. The command needs it: install 'sltt-aws-backend[cli,server]' with pip."
    )


_BROKEN_PIPE = 141
"""128 + SIGPIPE."""


class _Program(click.Group):
    """A group that ends as the shell's other programs do when nobody reads its output: `sltt --help | head -1`."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command. Click replaces an output that nobody reads, and ends with the code 1."""
        output = sys.stdout
        try:
            return super().main(*arguments, **options)
        except SystemExit as end:
            if sys.stdout is not output:
                end.code = _BROKEN_PIPE
            raise


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sltt")
def main() -> None:
    """Sync backend for offline-first apps: a change log behind a REST API.

    \b
    Examples:
      sltt serve                                  serve a log in your data folder on port 8080
      sltt serve --storage sqlite:team.db --port 0    serve team.db on a free port
      sltt member add ada --role owner --project ruth    say who may do what in a project
      sltt init --server http://127.0.0.1:8080 ruth    make this a device that works offline
      sltt sync                                   send its edits, and read those of others
    """


@main.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; :: is all of IPv6 and IPv4."
)
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@STORAGE
@click.option("--project", metavar="ID", help="Serve only this project; requests may then omit its id.")
@click.option("--name", default="sltt", show_default=True, help="Server name in responses.")
@click.option(
    "--cors",
    metavar="ORIGIN",
    multiple=True,
    help="Allow web pages of this origin to use the API, e.g. https://app.example.org; * allows all. Repeatable.",
)
@click.option(
    "--allow-host",
    "allow_hosts",
    metavar="HOST",
    multiple=True,
    help="Accept this name or address in Host headers, too, e.g. 10.0.2.2 for Android's emulator; *.NAME accepts "
    "every name below NAME. Repeatable.",
)
@click.option(
    "--keep-alive",
    "keep_alive_seconds",
    metavar="SECONDS",
    default=75,
    show_default=True,
    type=click.IntRange(1, 3600),
    help="Keep a connection so long for a further request; longer than a proxy in front of this server does.",
)
@click.option(
    "--max-connections",
    metavar="N",
    type=click.IntRange(1),
    help="Connections at the same time; further clients get a 503. Default: 1000, or fewer if the limit of file "
    "descriptors (ulimit -n) is lower.",
)
@click.option("--quiet", "-q", is_flag=True, help="The same as --log-requests none.")
@click.option(
    "--log-requests",
    envvar="LOG_REQUESTS",
    show_envvar=True,
    default="all",
    show_default=True,
    type=click.Choice(["all", "errors", "none"]),
    help="The requests to log. Those that failed because of an error in the server always are.",
)
@click.option(
    "--log-sample",
    envvar="LOG_SAMPLE",
    show_envvar=True,
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="The part of the requests without an error to log.",
)
@click.option(
    "--open-to-network",
    is_flag=True,
    help="Allow a --host that other machines can reach. It needs access control, or --no-auth.",
)
@click.option(
    "--no-auth",
    is_flag=True,
    help="Open to the network without access control: everyone who can reach the port can read and write everything.",
)
def serve(
    host: str,
    port: int,
    storage_url: str | None,
    project: str | None,
    name: str,
    cors: tuple[str, ...],
    allow_hosts: tuple[str, ...],
    keep_alive_seconds: int,
    max_connections: int | None,
    quiet: bool,
    log_requests: str,
    log_sample: float,
    open_to_network: bool,
    no_auth: bool,
) -> None:
    """Serve a change log over the REST API until Ctrl-C.

    \b
    Examples:
      sltt serve
      sltt serve --storage sqlite:team.db --port 9000
      sltt serve --project ruth --storage sqlite:ruth.db
      USE_LOCAL_DYNAMODB=true sltt serve --storage dynamodb:team    a table on localhost:8000
      DYNAMODB_REGION=eu-west-1 sltt serve --storage dynamodb:team  a table on AWS

    ACCESS_CONTROL=roles makes the server accept only members of a project, who have a device token (`sltt token`);
    AUTH_ISSUER, AUTH_AUDIENCE and AUTH_JWKS accept the tokens of an issuer, too (docs/access.md).
    """
    try:
        from sltt_core.api.bearer import authenticator_from_environment
        from sltt_core.api.roles import access_from_environment
        from sltt_core.server.access_log import AccessLog
        from sltt_core.server.descriptors import raise_limit
        from sltt_core.server.log_lines import line_writer
        from sltt_core.server.rest_api_server import RestApiServer
    except ModuleNotFoundError as missing:
        raise click.ClickException(
            f"{missing.name} is not installed. `sltt serve` needs it: install 'sltt-aws-backend[cli,server]' with pip."
        ) from None
    with errors_for_people(storage_url):
        storage_url, storage = make_storage(storage_url, project)
        access_log = AccessLog(errors_only=quiet, requests=log_requests, sample=log_sample)
        authenticator = authenticator_from_environment(storage=storage, fast=True)
        access = access_from_environment(storage, os.environ, verifies=authenticator is not None)
        if open_to_network and authenticator is None and not no_auth:
            raise InvalidInput(
                "--open-to-network needs access control",
                field="open_to_network",
                hint="Set ACCESS_CONTROL=roles for device tokens, or AUTH_ISSUER, AUTH_AUDIENCE and AUTH_JWKS "
                "(docs/access.md). Or add --no-auth: then everyone who can reach the port can do everything.",
            )
        raise_limit()
        server = RestApiServer(
            storage=storage,
            server_name=name,
            authenticator=authenticator,
            access=access,
            cors=cors,
            allow_hosts=allow_hosts,
            access_log=access_log,
            keep_alive_seconds=keep_alive_seconds,
            max_connections=max_connections,
        )
        server.bind(port, host, open_to_network=open_to_network)
    if open_to_network and authenticator is None:
        _warn(f"everyone who can reach {server.url} can read and write all projects: there is no access control")
    # A terminal or a pipe that nobody reads holds up neither the start nor the end.
    console = line_writer(sys.stdout, lambda count: f"{count} lines were dropped")
    log = f"{storage_url} {storage.place}".strip()
    server.serve_forever(lambda url: console.put(_banner(url, log, project, authenticator)))
    console.put("stopped")
    console.flush()


def _warn(text: str) -> None:
    """Write a warning to standard error: in red on a terminal (https://no-color.org), as JSON otherwise."""
    from sltt_core.server.log_lines import is_terminal, line_writer

    if is_terminal(sys.stderr):
        coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        line = click.style(f"Warning: {text}", fg="red", bold=True) if coloured else f"Warning: {text}"
    else:
        line = json.dumps({"time": now_utc(time_ns), "level": "WARNING", "message": text})
    lines = line_writer(sys.stderr, lambda count: f"{count} lines were dropped")
    lines.put(line)
    lines.flush()


def _banner(url: str, log: str, project: str | None, authenticator: Authenticator | None) -> str:
    example = project or "ruth"
    named = "" if project else f'"projectId":"{example}",'
    change = f'{named}"entityType":"passage","entityId":"ruth-1","data":{{"title":"Famine in Bethlehem"}}'
    token = "" if authenticator is None else " -H 'Authorization: Bearer TOKEN'"
    return "\n".join(
        [
            f"sltt {__version__} serves {log}" + (f", project {project}" if project else ""),
            f"on {url} (press Ctrl-C to stop)",
            "\nTry:",
            f"  curl {url}/api/changes -H 'Content-Type: application/json' -d '[{{{change}}}]'{token}",
            f"  curl {url}/api/projects/{example}/changes{token}",
            f"  curl {url}/api/projects/{example}/stats{token}\n",
        ]
    )


for command in (member, token, invite, *syncing.COMMANDS, *outbox.COMMANDS):
    main.add_command(command)
