"""The record of a schedule with devices, which the checker reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from sltt_core.model.changes import Change
    from sltt_core.sync.outcomes import SyncStatus
    from sltt_core.sync.outsyncs import Outsync


class Edit(NamedTuple):
    """An edit that a device has made."""

    number: int
    """It is in the data, and unique."""
    project: str
    unit: tuple[int, ...]
    """The numbers of the edits of its transaction."""


class Store(NamedTuple):
    """What a device has at the end."""

    name: str
    logs: dict[str, tuple[Change, ...]]
    outbox: tuple[Outsync, ...]
    status: SyncStatus


class Record(NamedTuple):
    """The record of a schedule with devices."""

    server: dict[str, tuple[Change, ...]]
    """The logs at the end."""
    stores: list[Store]
    edits: dict[int, Edit]
    """Edits that were durable: the call returned."""
    attempted: set[int]
    """Edits whose device stopped during the call: they may be stored or not."""
    dropped: set[int]
    excused: set[int]
    """Edits that were lost with a store, which was restored to a copy without them."""
    changed: set[int]
    """Edits that a person decided on, so their units may be apart."""
    refused: set[int]
    """Edits that the server refused with a problem document of the API."""
    backwards: list[str]
    """Timestamps of a device that were before an earlier one of it."""
    unreadable: list[str]
    """Logs of devices that cannot be read."""
    failures: list[BaseException]
    stuck: int
    restored: bool
    """Whether the server was restored."""
