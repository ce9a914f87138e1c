"""What the commands of a device share: its options, how it is opened, its errors, and the exit codes."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from platformdirs import user_data_path

from sltt_core.base.errors import SlttError, StorageBusy
from sltt_core.cli.opening import click_error
from sltt_core.sync.device import Device
from sltt_core.sync.errors import ApiProblem, ForeignResponse, ServerUnreachable
from sltt_core.sync.outcomes import CANCELLED, DIVERGED, DONE, OFFLINE, PAUSED, STOPPED
from sltt_core.sync.responses import PAUSE, action_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sltt_core.sync.outcomes import Outcome

    Command = TypeVar("Command", bound=Callable[..., object])

NEEDS_YOU = 1
"""Something waits for a person: a rejected edit, a project that has diverged, or any other error."""
OUT_OF_REACH = 3
HELD_BY_ANOTHER = 4
REFUSED = 5
"""The server refuses this login, or a project to it."""
EXIT_CODES: dict[Outcome, int] = {
    DONE: 0,
    DIVERGED: NEEDS_YOU,
    OFFLINE: OUT_OF_REACH,
    PAUSED: REFUSED,
    STOPPED: NEEDS_YOU,
    CANCELLED: 130,
}
TOKEN = "SLTT_TOKEN"


def with_store(command: Command) -> Command:
    """Add the options that every command of a device has."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)
    return click.option(
        "--store",
        "path",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar="SLTT_STORE",
        help="The file of the device. Default: SLTT_STORE, or device.db in your data folder.",
    )(command)


def with_login(command: Command) -> Command:
    """Add the options that say who sends."""
    command = click.option(
        "--token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A file with the token for the server. Default: the token in SLTT_TOKEN, or none.",
    )(command)
    return click.option(
        "--user",
        metavar="NAME",
        envvar="SLTT_USER",
        help="Your name, for a server without access control. Default: SLTT_USER.",
    )(command)


@contextmanager
def opened_device(
    path: Path | None, *, user: str | None = None, token_file: Path | None = None, server: str | None = None
) -> Iterator[Device]:
    """Open the device for a block; only with a `server` is a missing store created. Errors become click's."""
    with errors_of_devices():
        if path is None:
            path = user_data_path("sltt", appauthor=False) / "device.db"
            if server is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        if server is None and not path.exists():
            raise click.ClickException(
                f"there is no device at {path}\nHint: `sltt init --server URL PROJECT` creates one; see also --store."
            )
        token = os.environ.get(TOKEN, "").strip() if token_file is None else token_file.read_text().strip()
        if len(token.split()) > 1 or not token.isascii():
            name = TOKEN if token_file is None else str(token_file)
            raise click.ClickException(f"{name} does not hold a token: one word of ASCII characters")
        with Device(path, server, user=user, token=token or None) as device:
            yield device


@contextmanager
def errors_of_devices() -> Iterator[None]:
    """Turn errors of this project, and those of files, into click's: a message, a hint, and an exit code."""
    try:
        yield
    except SlttError as error:
        raise _Failure(click_error(error).message, _exit_code(error)) from None
    except KeyboardInterrupt:
        click.echo("Interrupted. Nothing is lost: the next sync goes on.", err=True)
        sys.exit(EXIT_CODES[CANCELLED])
    except UnicodeDecodeError:
        raise click.ClickException("the file with the token is not text") from None
    except OSError as error:
        raise click.ClickException(f"cannot open {error.filename}: {error.strerror}") from None


class _Failure(click.ClickException):
    """An error with an exit code of its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = code


def _exit_code(error: SlttError) -> int:
    if isinstance(error, StorageBusy):
        return HELD_BY_ANOTHER
    if isinstance(error, (ServerUnreachable, ForeignResponse)):
        return OUT_OF_REACH
    if isinstance(error, ApiProblem):
        return REFUSED if action_of(error) == PAUSE else OUT_OF_REACH if error.retryable else NEEDS_YOU
    return NEEDS_YOU


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, ensure_ascii=False))
