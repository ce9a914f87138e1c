"""Shared by the sources of credentials: their exceptions, and functions that parse what a source reads.

An error never contains a key, a token, the content of a file, a command, or the output of a command or a server. This
also holds for the exceptions behind it (`__context__`). Therefore some errors are raised after the `except` block that
found them, not in it.
"""

from __future__ import annotations

import os

from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.base.errors import SlttError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Protocol

    class Source(Protocol):
        """A place that may have credentials."""

        place: str
        """Its name in messages."""

        def load(self) -> Credentials:
            """Return the current credentials; raises `SourceEmpty` or `SourceFailed`."""

    ReadText = Callable[[str], str]
    """Returns the text of the file at a path; raises `OSError`, or `ValueError` if it is not UTF-8."""
    RunCommand = Callable[[str], tuple[int, bytes]]
    """Runs a command line and returns its exit code and its stdout; raises `OSError` or `ValueError`."""


class CredentialError(SlttError):
    """No usable credentials were found. `tried` holds each place that was tried, with the reason why it failed."""

    kind = "no-credentials"
    title = "No AWS credentials"
    hint = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached."

    def __init__(self, message: str, tried: Iterable[tuple[str, str]] = ()) -> None:
        self.tried = tuple(tried)
        places = "; ".join(f"{place}: {reason}" for place, reason in self.tried)
        super().__init__(message, hint=f"Places tried: {places}." if places else None)


class SourceEmpty(Exception):
    """The source is not configured, and has no credentials. The message is the reason."""


class SourceFailed(Exception):
    """The source is configured, but its credentials cannot be used. The message is the reason."""


def read_text(path: str) -> str:
    """Read a file as UTF-8, with or without a byte order mark."""
    with open(path, encoding="utf-8-sig") as file:
        return file.read()


def variable(environ: Mapping[str, str], name: str) -> str:
    """Return an environment variable without surrounding white space; empty if it is not set."""
    return environ.get(name, "").strip()


def on_lambda(environ: Mapping[str, str]) -> bool:
    """Return whether this is a Lambda function: it has a role, and no shared files (AWS: "Defined runtime variables").

    The package for Lambda does not contain the modules that read those files.
    """
    return "AWS_LAMBDA_FUNCTION_NAME" in environ or "AWS_LAMBDA_RUNTIME_API" in environ


def expand(path: str, environ: Mapping[str, str]) -> str:
    """Replace a leading `~` by the home directory."""
    if path[:2] not in ("~/", "~\\"):
        return path
    home = environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")
    return os.path.join(home, path[2:])


def reason_of(error: OSError) -> str:
    """Return the system's description of an error, without the path."""
    return error.strerror or (str(error) if isinstance(error, TimeoutError) else "") or type(error).__name__


def is_visible(text: str) -> bool:
    """Return whether a text is visible ASCII without spaces, as keys and tokens are. An empty text is not."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def parse_document(text: str | bytes, what: str) -> dict[str, Any]:
    """Parse a JSON object; raises `SourceFailed`, with the name `what` in the message."""
    from json import loads

    try:
        document = loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SourceFailed(f"{what} is not a JSON object")
    return document


def credentials_from_document(document: Mapping[str, Any], token: str, *, temporary: bool) -> Credentials:
    """Return the credentials in a JSON object that AWS defines; raises `SourceFailed`.

    `token` is the object's name for the session token. `temporary` credentials must have a token and an expiration.
    """
    expiration = document.get("Expiration")
    for name in (token, "Expiration") if temporary else ():
        if not document.get(name):
            raise SourceFailed(f"{name} is missing")
    return checked_credentials(
        {name: document.get(name) for name in ("AccessKeyId", "SecretAccessKey", token)},
        None if expiration is None else parse_instant("Expiration", expiration),
    )


def checked_credentials(fields: Mapping[str, Any], expires: float | None = None) -> Credentials:
    """Return credentials; raises `SourceFailed` for a value that is missing or not valid.

    `fields` holds the access key, the secret key and the token, in this order, by the names to use in messages. The
    token may be `None` or empty. `expires` is in seconds since 1970.
    """
    for place, (name, value) in enumerate(fields.items()):
        if not value and place < 2:
            raise SourceFailed(f"{name} is missing")
        if value and not (isinstance(value, str) and is_visible(value)):
            raise SourceFailed(f"{name} is not valid: keys and tokens are visible ASCII without spaces")
    access_key, secret_key, token = fields.values()
    return Credentials(access_key, secret_key, token or None, expires)


def parse_instant(name: str, text: object) -> float:
    """Parse an ISO 8601 time as seconds since 1970; raises `SourceFailed`, with `name` in the message."""
    from datetime import datetime

    from sltt_core.base.timestamps import normalise

    try:
        return datetime.fromisoformat(normalise(str(text))).timestamp()
    except (ValueError, IndexError, OverflowError):
        pass
    raise SourceFailed(f"{name} is not an ISO 8601 time")
