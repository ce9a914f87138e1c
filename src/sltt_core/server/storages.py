"""Storages by name: `sqlite:PATH`, and whatever else is installed under the entry point `sltt.storages`."""

from __future__ import annotations

from importlib.metadata import entry_points

from sltt_core.base.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService


def open_storage(url: str, project_id: str | None = None) -> BaseStorageService:
    """Make the storage that `SCHEME:REST` names, not yet initialized.

    An entry point of the group `sltt.storages` maps the scheme to a function of rest and project id.
    Raises `InvalidInput` for a scheme that nobody knows.
    """
    scheme, colon, rest = url.partition(":")
    found = {entry.name: entry for entry in entry_points(group="sltt.storages")}
    if not colon or not rest or scheme not in found:
        known = ", ".join(f"{name}:…" for name in sorted(found))
        raise InvalidInput(f"no storage is called {url!r}", field="storage", hint=f"Storages here: {known}.")
    storage: BaseStorageService = found[scheme].load()(rest, project_id)
    return storage
