"""Names of SQLite files: recognizes what is meant by a name that other programs accept and this one does not."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sltt_core.base.errors import InvalidInput

IN_MEMORY = ":memory:"
EXAMPLE = "team.db"


def check_path(path: str | Path) -> Path:
    """Return the absolute path of a log's file; raises `InvalidInput` for text that names no file."""
    text = os.fspath(path)
    if not text or text == IN_MEMORY or text.startswith(("sqlite:", "file:")) or "\0" in text:
        raise _invalid("path", text, meant_paths(text), prefix="")
    return Path(text).absolute()  # the program may change its working directory


def check_url_path(path: str) -> str:
    """Return the path in `sqlite:PATH`; raises `InvalidInput` for one that another path is probably meant by."""
    meant = meant_paths(path)
    if meant != [path]:
        raise _invalid("storage", f"sqlite:{path}", meant, prefix="sqlite:")
    return path


def meant_paths(path: str) -> list[str]:
    """Return the paths that are probably meant by the text after `sqlite:`, the likeliest first.

    The list has only the text itself if the text is a path; it is empty if the text names no file at all. The URIs are
    those of SQLite (https://www.sqlite.org/uri.html) and of SQLAlchemy, where a third slash begins a relative path
    (https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#connect-strings).
    """
    path, _, query = path.partition("?") if re.search(r"\?\w+=", path) else (path, "", "")
    while path.startswith(("sqlite:", "file:")):
        scheme, _, path = path.partition(":")
        if scheme == "file":  # an absolute path, after an empty host or this one (RFC 8089)
            path = path.removeprefix("//localhost").removeprefix("//")
    if not path.strip("/ ") or "\0" in path or path.strip("/") == IN_MEMORY or "mode=memory" in query:
        return []
    if path.startswith("~/"):
        path = os.path.expanduser(path)
    slashes = len(path) - len(path.lstrip("/"))
    rest = path.strip("/")
    if path.endswith("/"):
        rest += "/changes.db"
    if slashes == 3:
        return [f"/{rest}", rest]
    return [f"/{rest}" if slashes in (1, 4) else rest]


def _invalid(field: str, text: str, meant: list[str], prefix: str) -> InvalidInput:
    if meant:
        hint = f"Did you mean {' or '.join(prefix + path for path in meant)}?"
    else:
        hint = f"Name a file, for example {prefix}{EXAMPLE}."
    if IN_MEMORY in text or "mode=memory" in text:
        return InvalidInput(f"{field} {text!r} is not valid: a log is not kept in memory", field=field, hint=hint)
    return InvalidInput(f"{field} {text!r} is not valid: it is not the path of a file", field=field, hint=hint)
