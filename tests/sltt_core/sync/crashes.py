"""Crash points: every statement and every request of a sync, enumerated by running it.

A scenario is prepared once, in two files: the store of a device and the log of a server. Each run works on a copy. A
run stops at one point, by an exception that nothing catches or by SIGKILL, and is then started again until it is done.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

from sltt_core.http_client.responses import HttpResponse
from sltt_core.sqlite import file as sqlite_file
from sltt_core.sync.device import Device
from sltt_core.sync.outcomes import DIVERGED, DONE
from tests.contract.logs import everything, new
from tests.sltt_core.sync.servers import Server, loses_response, stale

STORE, LOG = "tablet.db", "server.db"


class Crash(BaseException):
    """The process ends here."""


class Points:
    """Counts the points of a run, and ends it at one of them."""

    def __init__(self, stop: int | None = None, kill: bool = False) -> None:
        self._stop = stop
        self._kill = kill
        self.count = 0
        self.crashed = False

    def point(self, what: str) -> None:
        """Pass a point, or end the run there. After the end, only a rollback goes on, as SQLite does it by itself."""
        if self.crashed:
            if what.startswith("ROLLBACK"):
                return
            raise Crash
        if self.count == self._stop:
            self.crashed = True
            if self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Crash(what)
        self.count += 1


@contextmanager
def counted(points: Points) -> Iterator[None]:
    """Count every statement that is executed on the store of a device."""

    class Counted(sqlite_file.Connection):
        def execute(self, statement: str, *rest: Any) -> sqlite3.Cursor:
            if statement.startswith("PRAGMA synchronous"):
                statement = "PRAGMA synchronous = OFF"  # the process ends, not the machine: no need to wait for a disk
            elif not statement.startswith("PRAGMA"):
                points.point(statement)
            return super().execute(statement, *rest)

        def executemany(self, statement: str, *rest: Any) -> sqlite3.Cursor:
            points.point(statement)
            return super().executemany(statement, *rest)

    with mock.patch.object(sqlite_file, "Connection", Counted):
        yield


class World:
    """A device and a server in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(self, folder: Path) -> World:
        """Return a copy. Its device has the same id: it is not a copy of a store that is in use elsewhere."""
        folder.mkdir()
        for name in (STORE, LOG):
            shutil.copy(self.folder / name, folder / name)
        found = os.stat(folder / STORE)
        with closing(sqlite3.connect(folder / STORE)) as connection:
            connection.execute("UPDATE device SET made_for = ?", (f"{found.st_dev}:{found.st_ino}",))
            connection.commit()
        return World(folder)

    def run(self, points: Points, hides: bool = True) -> None:
        """Sync until everything is done, or until the point at which the process ends.

        A server whose pages are stale hides from the device what the process before has sent, until it sends again:
        otherwise a pull would settle everything before a key matters.
        """
        server = Server(self.folder, "server")
        server.answer = network(server, points, hides)
        with closing(server):
            device = server.device(self.folder / STORE, ranges=1)
            with counted(points):
                device.open()
            try:
                for _ in range(6):
                    result = device.sync()
                    if result.outcome == DIVERGED:
                        device.resync("p")
                    elif result.outcome == DONE and not device.outbox(states=("waiting", "frozen", "sent")):
                        return
                raise AssertionError(f"the sync does not end: {result}, {device.outbox()}")
            finally:
                with suppress(Crash):
                    device.close()

    def state(self) -> dict[str, Any]:
        """Return what matters of the end state; check that both logs are equal and that nothing is doubled."""
        with Server(self.folder, "server").storage as storage:
            log = everything(storage)
            assert list(storage.verify(project_id="p")) == []
        with Device(self.folder / STORE) as device:
            mine = list(device.project("p").changes())
            assert mine == [change.replace(request_key=None) for change in log]
            assert list(device.log.verify(project_id="p")) == []
            assert device.store.batches("p") == []
            outbox = [(edit.local, edit.state, edit.data_json, edit.problem) for edit in device.outbox()]
            status = device.status().projects["p"]
        cids = [change.cid for change in log if change.cid is not None]
        assert len(cids) == len(set(cids)), "a change is doubled"
        content = [(change.entity_type, change.entity_id, change.data_json, change.cid) for change in log]
        return {"log": content, "outbox": outbox, "state": status.state, "cursor": status.cursor}


def network(server: Server, points: Points, hides: bool) -> Callable[..., HttpResponse | None]:
    """Return the network: a point before and after each request, and stale pages until the first append."""
    left = [2 if hides else 0]  # stale pages

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        points.point(f"before {method} {target}")
        if method == "POST":
            left[0] = 0
        if left[0] and "/p/changes?" in target:
            left[0] -= 1
            found = stale_after(target)
        else:
            found = respond()
        points.point(f"after {method} {target}")
        return found

    return answer


def stale_after(target: str) -> HttpResponse:
    """Return the page of a server whose log seems to end at the cursor."""
    query = dict(pair.split("=") for pair in target.partition("?")[2].split("&"))
    found = stale()
    page = {**json.loads(found.body), "through": int(query["cursor"]), "chain": query["chain"]}
    return found.replace(body=json.dumps(page).encode())


def prepare_sync(folder: Path) -> World:
    """A device that is behind, with units, and with an edit that the server refuses: of an entity type too many."""
    folder.mkdir()
    server = Server(folder, "server")
    with closing(server), server.device(folder / STORE) as device:
        server.storage.create_changes([new(f"e{n}", entity_type=f"t{n}") for n in range(200)])
        device.sync("p")
        server.storage.create_changes([new(f"new{n}", entity_type="t1") for n in range(4)])
        project = device.project("p")
        with project.transaction():
            project.create("t1", "mine", n=1)
            project.update("t1", "mine", n=2)
        project.create("t-too-many", "bad")
        project.create("t1", "good")
        project.update("t-too-many", "bad", n=3)
        with project.transaction():
            for number in range(97):
                project.create("t2", f"many{number}")
    return World(folder)


def prepare_resync(folder: Path) -> World:
    """A device whose server was restored, with a sent edit that the server lost, a frozen one and a new one."""
    folder.mkdir()
    server = Server(folder, "before")
    with closing(server), server.device(folder / STORE) as device:
        server.storage.create_changes([new(f"e{n}", entity_type="t1") for n in range(120)])
        device.sync("p")
        project = device.project("p")
        server.answer = hides_pages
        project.create("t1", "sent")
        assert device.sync().sent == 1
        project.create("t1", "frozen")
        server.answer = loses_response
        device.sync()
        project.create("t1", "waiting")
        restored = Server(folder, "server")
        restored.storage.restore_changes(everything(server.storage)[:20])
        restored.storage.create_changes([new("after", entity_type="t1")])
        restored.close()
    return World(folder)


def hides_pages(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
    """Let the log of the server seem to end at the cursor."""
    return stale_after(target) if "/p/changes?" in target else None


SCENARIOS = {"sync": prepare_sync, "resync": prepare_resync}


def main() -> None:
    """Run until a point, and end there by SIGKILL: `crashes FOLDER POINT`."""
    World(Path(sys.argv[1])).run(Points(int(sys.argv[2]), kill=True))


if __name__ == "__main__":
    main()
