"""`DeviceLog`: what a device has of the logs of its projects, as a storage that is only read."""

from __future__ import annotations

from sltt_core.base.errors import NotAllowed, StorageError
from sltt_core.sqlite.storage import LocalStorageService
from sltt_core.sync.device_file import DEVICE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection
    from typing import Any, NoReturn

    from sltt_core.sqlite.readers import Readers
    from sltt_core.sqlite.writer import Writer


class DeviceLog(LocalStorageService):
    """The logs of a device's projects, each as far as it was read from the server.

    It has the methods of every storage. Those that write raise `NotAllowed`: a change that only the device has would
    fork the log. It can be open beside the device, also in another process, for example to serve it in a local network.
    """

    storage_type = "device"
    _file_kind = DEVICE

    def initialize(self) -> None:
        """Open the store; raises `StorageError` if there is none: only a device creates one."""
        if not self.path.exists():
            raise StorageError(f"there is no store of a device at {self.path}", hint="Name the file of a device.")
        self.open()

    def open(self) -> None:
        """Open the store, and create it if there is none. It is for the store itself."""
        super().initialize()

    @property
    def readers(self) -> Readers:
        """The snapshots, for the store."""
        return self._readers

    @property
    def writer(self) -> Writer:
        """The writing connection, for the store."""
        return self._writer

    def _count_day(self, connection: Connection) -> None:
        """A device keeps no idempotency keys of others that could expire."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotAllowed(
            "the log of a device is read-only: only the server adds changes to it",
            hint="Edit through the device; its next sync sends the edit to the server.",
        )

    if not TYPE_CHECKING:
        _append = _grant = _restore = _mark = _repair = _replace_credential = _change_credential = _refuse
        create_changes = create_change = restore_changes = mark_as_outdated = _refuse


def open_device_log(path: str, project_id: str | None = None) -> DeviceLog:
    """Return the storage that `device:PATH` names, not yet initialized; raises `InvalidInput` for a bad path."""
    return DeviceLog(path, project_id)
