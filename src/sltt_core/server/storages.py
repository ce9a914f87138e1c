"""Storages by name: `sqlite:PATH`, and those that other packages add to the entry points `sltt.storages`."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib.metadata import entry_points

from sltt_core.base.errors import InvalidInput
from sltt_core.sqlite.paths import EXAMPLE, IN_MEMORY, meant_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from sltt_core.log.storage import BaseStorageService

_OTHER_NAMES = {"file": "sqlite", "sqlite3": "sqlite", "db": "sqlite", "arn": "dynamodb", "ddb": "dynamodb"}
"""What other programs call the schemes."""
_LOOKS_LIKE_A_PATH = re.compile(r"[./~\\]|[A-Za-z]:[/\\]|.*[/\\]|.*\.(db|sqlite|sqlite3|db3)$", re.DOTALL)


def open_storage(url: str, project_id: str | None = None) -> BaseStorageService:
    """Return the storage that `url` (`SCHEME:REST`) names, not yet initialized.

    The entry points of the group `sltt.storages` map schemes to functions of rest and project id. Raises `InvalidInput`
    for a URL of another form and for an unknown scheme; the hint says what is probably meant.
    """
    scheme, _, rest = url.partition(":")
    found = {entry.name: entry for entry in entry_points(group="sltt.storages")}
    if not rest or scheme not in found:
        known = " or ".join(f"{name}:…" for name in sorted(found))
        meant = " or ".join(_meant(url.strip(), found))
        raise InvalidInput(
            f"storage {url!r} is not valid: it is not {known}",
            field="storage",
            hint=f"Did you mean {meant}?" if meant else f"Name a file, for example sqlite:{EXAMPLE}.",
        )
    storage: BaseStorageService = found[scheme].load()(rest, project_id)
    return storage


def _meant(url: str, known: Collection[str]) -> list[str]:
    """Return the URLs that are probably meant; none if nothing is likely."""
    scheme, colon, rest = url.partition(":")
    if not url or url == IN_MEMORY:
        return [f"sqlite:{EXAMPLE}"]
    if _LOOKS_LIKE_A_PATH.match(url) and (not colon or "/" in scheme or "\\" in scheme or len(scheme) == 1):
        return [f"sqlite:{path}" for path in meant_paths(url)]
    if not colon and url.lower() not in known:
        return [*(f"{name}:…" for name in _close(url, known)), f"sqlite:{url}.db", f"dynamodb:{url}"]
    for name in _close(scheme, known):
        if name == "sqlite":
            given = f"file:{rest}" if scheme.lower() == "file" else rest
            return [f"sqlite:{path}" for path in meant_paths(given) or [EXAMPLE]]
        table = rest.rstrip("/").rpartition("/")[2]
        return [f"{name}:{table or 'team'}"]
    return []


def _close(scheme: str, known: Collection[str]) -> list[str]:
    name = scheme.lower()
    return [_OTHER_NAMES[name]] if name in _OTHER_NAMES else get_close_matches(name, known, 1)
