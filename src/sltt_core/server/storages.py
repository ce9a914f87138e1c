"""Storages by name: `sqlite:PATH`, and those that other packages add to the entry points `sltt.storages`."""

from __future__ import annotations

from importlib.metadata import entry_points

from sltt_core.base.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService


def open_storage(url: str, project_id: str | None = None) -> BaseStorageService:
    """Return the storage that `url` (`SCHEME:REST`) names, not yet initialized.

    The entry points of the group `sltt.storages` map schemes to functions of rest and project id. Raises `InvalidInput`
    for a URL of another form and for an unknown scheme.
    """
    scheme, colon, rest = url.partition(":")
    found = {entry.name: entry for entry in entry_points(group="sltt.storages")}
    if not colon or not rest or scheme not in found:
        known = ", ".join(f"{name}:…" for name in sorted(found))
        raise InvalidInput(
            f"storage {url!r} is not valid: SCHEME:REST with a known scheme",
            field="storage",
            hint=f"Use one of {known}.",
        )
    storage: BaseStorageService = found[scheme].load()(rest, project_id)
    return storage
