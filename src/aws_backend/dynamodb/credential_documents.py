"""What the sources of credentials share: how one says that it has none, and what it reads them from.

No message ever holds a key, a token, a file's content, a command, or what a command or a server answered; nor does an
exception behind it (`__context__`): therefore some errors are raised after the `except` in which they were found.
"""

from __future__ import annotations

import os

from aws_backend.dynamodb.sigv4 import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    class Source(Protocol):
        """A place that credentials may come from."""

        place: str
        """What messages call it."""

        def load(self) -> Credentials:
            """Return credentials as they are now; raises `NothingHere` or `SourceBroken`."""

    ReadText = Callable[[str], str]
    """Returns the text of the file with a path; raises `OSError` or `ValueError` (no UTF-8)."""
    Run = Callable[[str], tuple[int, bytes]]
    """Runs a command line and returns its exit code and what it wrote to stdout; raises `OSError` or `ValueError`."""


class NothingHere(Exception):
    """This place was not asked to have credentials, and has none; says why."""


class SourceBroken(Exception):
    """This place was to have credentials, and gives none; says why."""


def read_text(path: str) -> str:
    """Read a file as UTF-8, with or without a byte order mark."""
    with open(path, encoding="utf-8-sig") as file:
        return file.read()


def variable(environ: Mapping[str, str], name: str) -> str:
    """Return a variable without blanks and line ends around it; empty is the same as not set."""
    return environ.get(name, "").strip()


def expand(path: str, environ: Mapping[str, str]) -> str:
    """Put the home folder in the place of a leading `~`."""
    if path[:2] not in ("~/", "~\\"):
        return path
    home = environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")
    return os.path.join(home, path[2:])


def reason_of(error: OSError) -> str:
    """Say what the system says of an error, without the path."""
    return error.strerror or (str(error) if isinstance(error, TimeoutError) else "") or type(error).__name__


def is_visible(text: str) -> bool:
    """Tell whether a text is all visible ASCII, as keys and tokens are."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def parse_document(text: str | bytes, what: str) -> dict[str, Any]:
    """Read a JSON object; raises `SourceBroken` that calls it `what`."""
    from json import loads

    try:
        document = loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SourceBroken(f"{what} is no JSON object")
    return document


def from_document(document: Mapping[str, Any], token: str, *, temporary: bool) -> Credentials:
    """Read the JSON that credentials come in; `temporary` ones have a token and an end."""
    expiration = document.get("Expiration")
    for name in (token, "Expiration") if temporary else ():
        if not document.get(name):
            raise SourceBroken(f"{name} is missing")
    return checked_credentials(
        {name: document.get(name) for name in ("AccessKeyId", "SecretAccessKey", token)},
        None if expiration is None else parse_instant("Expiration", expiration),
    )


def checked_credentials(fields: Mapping[str, Any], expires: float | None = None) -> Credentials:
    """Make credentials of an access key, a secret key and a token, which may be `None` or empty."""
    for place, (name, value) in enumerate(fields.items()):
        if not value and place < 2:
            raise SourceBroken(f"{name} is missing")
        if value and not (isinstance(value, str) and is_visible(value)):
            raise SourceBroken(f"{name} is not text without blanks, as keys and tokens are")
    access_key, secret_key, token = fields.values()
    return Credentials(access_key, secret_key, token or None, expires)


def parse_instant(name: str, text: object) -> float:
    """Read an ISO 8601 time as seconds since 1970."""
    from datetime import datetime

    from sltt_core.base.timestamps import normalise

    try:
        return datetime.fromisoformat(normalise(str(text))).timestamp()
    except (ValueError, IndexError, OverflowError):
        pass
    raise SourceBroken(f"{name} is no ISO 8601 time")
