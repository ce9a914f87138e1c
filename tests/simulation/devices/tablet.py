"""`Tablet`: a simulated device: its clocks, its store in a file, its crashes, copies and restores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sltt_core.base.runtime import Runtime
from sltt_core.sync.device import Device
from sltt_core.sync.remote import Remote
from sltt_core.sync.view import DeviceLog
from tests.simulation.devices.wire import Wire
from tests.simulation.scheduler import EPOCH, Host, Lock

if TYPE_CHECKING:
    from pathlib import Path

    from tests.simulation.devices.world import DeviceWorld

SUFFIXES = ("", "-wal")
_template: list[bytes] = []


class Crash(BaseException):
    """The device stops here."""


class Backup(NamedTuple):
    """A copy of a store."""

    files: tuple[bytes, ...]
    """The database and its write-ahead log."""
    made: int
    """How many edits had been made on the device."""


class CrashingConnection:
    """A writing connection that stops the device before one of the next statements."""

    def __init__(self, connection: Any, tablet: Tablet) -> None:
        self._connection = connection
        self._tablet = tablet

    def _count(self) -> None:
        self._tablet.statements_left -= 1
        if self._tablet.statements_left == 0:
            raise Crash

    def execute(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.executemany(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


class Tablet:
    """A device of a schedule. A copy of its store is another."""

    def __init__(self, world: DeviceWorld, name: str, user: str, path: Path, made: list[int]) -> None:
        self._world = world
        self.name = name
        self.user = user
        self.path = path
        self.host = Host(name)
        self.device: Device | None = None
        self.made = made
        """The numbers of the edits that its store got, in order."""
        self.last_time = ""
        """The timestamp of its last edit."""
        self.backup: Backup | None = None
        self.syncs_left = 0
        self.edits_left = 0
        self.statements_left = 0
        """It stops before the last of so many statements; not at all if it is not greater than 0."""

    def clock(self) -> int:
        return int((self._world.scheduler.now + self.host.skew) * 1e9)

    def steady_clock(self) -> float:
        return self._world.scheduler.now - EPOCH

    def open(self) -> Device:
        """Open the store, in a new process."""
        world = self._world
        runtime = Runtime(
            clock=self.clock,
            steady_clock=self.steady_clock,
            random=world.random.random,
            new_token=lambda: f"{world.random.getrandbits(128):032x}",
            new_lock=lambda: Lock(world.scheduler),
            transport=lambda origin, seconds: Wire(world, self, self.user),
        )
        self.device = Device(
            self.path, client=Remote("http://server", runtime=runtime), user=self.user, runtime=runtime, ranges=1
        )
        self.device.open()
        return self.device

    def stop_later(self, statements: int) -> None:
        """Stop before one of the next statements that write."""
        assert self.device is not None
        self.statements_left = statements
        writer = self.device.store.log.writer
        if not isinstance(writer.connection, CrashingConnection):
            writer.connection = CrashingConnection(writer.connection, self)  # type: ignore[assignment]

    def stop(self) -> None:
        """End the process, however far it is. Its tasks are not resumed."""
        self.host.alive = False
        if self.device is not None:
            self.device.store.close()
            self.device = None

    def save(self) -> Backup:
        """Return a copy of the store as it is on the disk."""
        files = [self.path.with_name(self.path.name + suffix) for suffix in SUFFIXES]
        return Backup(tuple(file.read_bytes() if file.exists() else b"" for file in files), len(self.made))

    def put_back(self, backup: Backup, *, new_file: bool) -> list[int]:
        """Replace the store, which is closed; return the edits that were made since the backup."""
        for suffix, content in zip(SUFFIXES, backup.files, strict=True):
            file = self.path.with_name(self.path.name + suffix)
            if new_file or not content:
                file.unlink(missing_ok=True)
            if content:
                with file.open("r+b" if file.exists() else "wb") as stream:
                    stream.truncate()
                    stream.write(content)
        self.path.with_name(self.path.name + "-shm").unlink(missing_ok=True)
        lost = self.made[backup.made :]
        del self.made[backup.made :]
        self.last_time = ""
        return lost


def empty_store(path: Path) -> bytes:
    """Return the bytes of a store that no device has opened yet; `path` names a file for it."""
    if not _template:
        log = DeviceLog(path)
        log.open()
        log.close()
        _template.append(path.read_bytes())
        path.unlink()
    return _template[0]
