"""A call of each method of the storage contract, for tests that make every one of them fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sltt_core.model.credentials import Token
from tests.contract.logs import batch, new

if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.changes import Change

KEY = "key-0123456789abcdef"

OLD_TOKEN = Token(
    "A" * 16, "0" * 64, "p", "editor", None, "2025-03-01T09:30:00.000Z", 0, f"device:{'A' * 16}", "tablet"
)

QUIET = {"page_bytes", "observe", "gauges", "check", "close", "place", "storage_type", "project_id"}
"""Public names that touch neither the network nor the file."""


def methods_of(restored: list[Change]) -> dict[str, Callable[[BaseStorageService], Any]]:
    """Return the calls by the method's name, and what sets a second call apart after a space.

    `restored` are the changes that `restore_changes` gets; a fixture may fill the list later.
    """
    return {
        "create_change": lambda storage: storage.create_change(new()),
        "create_changes": lambda storage: storage.create_changes(batch(2), KEY),
        "create_changes of several chunks": lambda storage: storage.create_changes(batch(200), KEY),
        "restore_changes": lambda storage: storage.restore_changes(restored),
        "mark_as_outdated": lambda storage: storage.mark_as_outdated(1, 2),
        "get_change": lambda storage: storage.get_change(1),
        "get_changes_with_cursor": lambda storage: storage.get_changes_with_cursor(),
        "get_changes_not_outdated": lambda storage: storage.get_changes_not_outdated(),
        "get_changes_since": lambda storage: list(storage.get_changes_since()),
        "wait_for_changes": lambda storage: storage.wait_for_changes(99, 0.0),
        "wait_for_any": lambda storage: storage.wait_for_any({"p": 99}, 0.0),
        "get_head": lambda storage: storage.get_head(),
        "get_heads": lambda storage: storage.get_heads(["p"]),
        "get_ends": lambda storage: storage.get_ends(["p"]),
        "get_change_stats": lambda storage: storage.get_change_stats(),
        "get_entity_type_stats": lambda storage: storage.get_entity_type_stats(),
        "get_stats": lambda storage: storage.get_stats(),
        "get_stats_with_head": lambda storage: storage.get_stats_with_head(),
        "get_all_projects": lambda storage: storage.get_all_projects(),
        "set_role": lambda storage: storage.set_role("ada", "owner"),
        "get_members": lambda storage: storage.get_members(),
        "get_projects_of": lambda storage: storage.get_projects_of("ada"),
        "create_token": lambda storage: storage.create_token("A" * 16, bytes(32), "editor", "tablet"),
        "get_token": lambda storage: storage.get_token("A" * 16),
        "get_tokens": lambda storage: storage.get_tokens(),
        "extend_token": lambda storage: storage.extend_token(OLD_TOKEN),
        "revoke_token": lambda storage: storage.revoke_token("A" * 16),
        "create_invitation": lambda storage: storage.create_invitation("A" * 16, bytes(32), "editor"),
        "get_invitation": lambda storage: storage.get_invitation("A" * 16),
        "get_invitations": lambda storage: storage.get_invitations(),
        "accept_invitation": lambda storage: storage.accept_invitation("A" * 16, "bob"),
        "withdraw_invitation": lambda storage: storage.withdraw_invitation("A" * 16),
        "verify": lambda storage: list(storage.verify()),
        "repair": lambda storage: storage.repair(dry_run=False),
    }


def public_methods(kind: type[BaseStorageService]) -> set[str]:
    """Return the public names of a storage, without `QUIET`."""
    return {name for name in dir(kind) if not name.startswith("_")} - QUIET


def named(methods: dict[str, Callable[[BaseStorageService], Any]]) -> set[str]:
    """Return the names of the methods that a table calls."""
    return {name.split()[0] for name in methods}
