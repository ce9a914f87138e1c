"""What several commands share: the storage they use, and their errors for people."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from platformdirs import user_data_path

from sltt_core.base.errors import SlttError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sltt_core.log.storage import BaseStorageService

STORAGE = click.option(
    "--storage",
    "storage_url",
    metavar="URL",
    help="Where the log is: sqlite:PATH or dynamodb:TABLE. Environment variables say where the table is "
    "(docs/table.md lists them). Default: a file in your data folder.",
)


def default_storage() -> str:
    """Return the URL of the file in the user's data folder."""
    return f"sqlite:{user_data_path('sltt', appauthor=False) / 'changes.db'}"


def make_storage(storage_url: str | None, project: str | None) -> tuple[str, BaseStorageService]:
    """Return the URL of a storage, and the storage, not yet initialized; the default one for `None`."""
    from sltt_core.server.storages import open_storage

    if storage_url is None:
        storage_url = default_storage()
        Path(storage_url.removeprefix("sqlite:")).parent.mkdir(parents=True, exist_ok=True)
    return storage_url, open_storage(storage_url, project)


@contextmanager
def opened(storage_url: str | None) -> Iterator[BaseStorageService]:
    """Open a storage for a block. Errors of this project are shown without a traceback."""
    with errors_for_people(storage_url), make_storage(storage_url, None)[1] as storage:
        yield storage


@contextmanager
def errors_for_people(storage_url: str | None) -> Iterator[None]:
    """Turn errors of this project, and those of opening a file, into click's: a message, a hint, exit code 1."""
    try:
        yield
    except SlttError as error:
        raise click_error(error) from None
    except OSError as error:
        raise click.ClickException(f"cannot open {storage_url}: {error.strerror}") from None


def click_error(error: SlttError) -> click.ClickException:
    """Return an error of this project as click's, with its cause and its hint."""
    text = error.message
    cause = error.__cause__
    if isinstance(cause, SlttError) and cause.message not in text:
        own_hint = vars(cause).get("hint")  # the hint of this error; the hint of its class is too general
        text += f"\nCause: {cause.message}" + (f". {own_hint}" if own_hint else "")
    return click.ClickException(f"{text}\nHint: {error.hint}" if error.hint else text)
