"""The demonstration of offline work: three devices, two projects, one server, and what goes wrong on the way.

Run `make demo`, or `python -m examples.dynamodb_demo --hybrid` for a server with a table on a local DynamoDB. The
devices and the log of the server are deleted at the end unless `--keep` is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

if not __package__:  # as a script, Python puts this folder on the path, not the one above it
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples.support.promises import Broken, require
from examples.support.proxy import Proxy
from examples.support.report import Report, for_standard_output
from examples.support.server import Server, ServerError
from scripts.pipes import run_program
from sltt_core import Client, Device, SlttError
from sltt_core.server.storages import open_storage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from sltt_core import Change, SyncResult

USERS = ("Noémie", "Kofi", "Wanjirũ")
NAMES = ("tablet", "phone", "laptop")


class Team:
    """Three devices, and the server that they sync with."""

    def __init__(self, folder: Path, storage: str | None, environ: Mapping[str, str], stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self._log = folder / "server.db"
        self._storage = storage
        self._environ = environ
        run = "" if storage is None else f"-{token_hex(3)}"  # a table is used again; an SQLite log is new
        self.ruth, self.esther = f"ruth{run}", f"esther{run}"
        self._start(storage or f"sqlite:{self._log}")
        self.proxy = stack.enter_context(Proxy(self.server.url))
        self.tablet = self._device("tablet", self.proxy.url)
        self.phone = self._device("phone", self.server.url)
        self.laptop = self._device("laptop", self.server.url)
        self.devices = (self.tablet, self.phone, self.laptop)

    def _start(self, storage: str) -> None:
        self.server = self._stack.enter_context(Server(self.folder, storage, self._environ))
        self.client = self._stack.enter_context(Client(self.server.url))

    def _device(self, name: str, url: str) -> Device:
        user = USERS[NAMES.index(name)]
        device = Device(self.folder / f"{name}.db", url, user=user)
        self._stack.callback(device.close)
        device.open()
        device.follow(self.ruth, self.esther)
        return device

    def on_server(self, project: str) -> list[Change]:
        """Return the log of a project, as the server has it."""
        found: list[Change] = []
        while True:
            page = self.client.changes_after(project, len(found))
            found += page.changes
            if page.cursor is None:
                return found

    def back_up(self) -> Path:
        """Copy the log of the server while it runs, as SQLite's backup does."""
        copy = self.folder / "yesterday.db"
        if self._storage is None:
            with closing(sqlite3.connect(self._log)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        else:
            with open_storage(f"sqlite:{copy}") as target_log:
                for project in (self.ruth, self.esther):
                    target_log.restore_changes(self.on_server(project))
        return copy

    def restore(self, copy: Path) -> None:
        """Replace the server by one that has the log of a backup."""
        self.server.stop()
        self._start(f"sqlite:{copy}")
        for device, name in zip(self.devices, NAMES, strict=True):
            device.close()
            moved = Device(self.folder / f"{name}.db", self.server.url, user=device.user)
            self._stack.callback(moved.close)
            moved.open()
            setattr(self, name, moved)
        self.devices = (self.tablet, self.phone, self.laptop)

    def sync_all(self) -> None:
        """Sync every device, twice, so that each has what the others sent."""
        for _ in range(2):
            for device in self.devices:
                result = device.sync()
                require(result.ok, f"a device with a server syncs: {result}")

    def converged(self) -> tuple[int, int]:
        """Return the numbers of changes in the two projects, after a check that all have the same logs."""
        sizes = []
        for project in (self.ruth, self.esther):
            server = [(change.seq, change.chain, change.cid) for change in self.on_server(project)]
            for device in self.devices:
                own = [(change.seq, change.chain, change.cid) for change in device.project(project).changes()]
                require(own == server, "every device has the log of the server, with the same links")
            cids = Counter(cid for _, _, cid in server)
            require(max(cids.values(), default=1) == 1, "no edit is in a log twice")
            require([seq for seq, _, _ in server] == list(range(1, len(server) + 1)), "the numbers have no gap")
            sizes.append(len(server))
        return sizes[0], sizes[1]


def demonstrate(
    folder: Path, report: Report, storage: str | None = None, environ: Mapping[str, str] = {}
) -> dict[str, Any]:
    """Tell the story with a log in `folder`, or in a `storage`; return the figures. Raises `Broken`."""
    started = time.perf_counter()
    with ExitStack() as stack:
        team = Team(folder, storage, environ, stack)
        where = "an SQLite log" if storage is None else storage
        report.title("sltt", f"three devices, two projects, and {where} behind {team.server.url}")
        figures: dict[str, Any] = {}
        for number, (heading, step) in enumerate(STEPS, 1):
            report.heading(number, heading)
            figures |= step(team, report)
        figures["exitCode"] = team.server.stop()
    figures["seconds"] = round(time.perf_counter() - started, 2)
    return figures


def work_offline(team: Team, report: Report) -> dict[str, Any]:
    """Edit on every device, without a connection."""
    ruth = team.tablet.project(team.ruth)
    with ruth.transaction():
        ruth.create("passage", "ruth-1", title="Famine in Bethlehem")
        ruth.create("video", "take-1", passage="ruth-1", seconds=41.5)
    ruth.update("passage", "ruth-1", title="From Bethlehem to Moab and back")
    team.phone.project(team.ruth).create("passage", "ruth-2", title="Gleaning")
    team.phone.project(team.esther).create("passage", "esther-1", title="A feast in Susa")
    team.laptop.project(team.ruth).create("gloss", "goel", word="redeemer")
    team.laptop.project(team.esther).create("note", "n-1", text="Check the names")
    counts = [len(device.outbox()) for device in team.devices]
    for name, user, count in zip(NAMES, USERS, counts, strict=True):
        report.row(name, f"{user}: {count} edits, each on the disk before the call returns")
    require(not team.on_server(team.ruth), "nothing reaches the server before a sync")
    return {"offlineEdits": sum(counts)}


def sync_and_converge(team: Team, report: Report) -> dict[str, Any]:
    """Let the devices sync one after the other."""
    for name, device in zip(NAMES, team.devices, strict=True):
        report.row(name, str(device.sync()))
    team.sync_all()
    ruth, esther = team.converged()
    report.proof(f"three devices and the server have the same logs, {ruth} and {esther} changes, with the same links")
    return {"converged": [ruth, esther]}


def lose_a_response(team: Team, report: Report) -> dict[str, Any]:
    """Cut the connection after the server has stored a batch, and before its response arrives."""
    before = len(team.on_server(team.ruth))
    team.tablet.project(team.ruth).update("passage", "ruth-1", verses=22)
    team.proxy.break_after("POST")
    result = team.tablet.sync()
    stored = len(team.on_server(team.ruth)) - before
    require(result.outcome == "offline" and len(team.tablet.outbox()) == 1, "a lost response is no error of the edit")
    require(team.proxy.lost.endswith(b"200 OK") and stored == 1, "the server had stored the edit")
    report.refusal(f"the response `{team.proxy.lost.decode()}` is lost; tablet: {result}")
    team.proxy.repair()
    again = team.tablet.sync()
    one = again.projects[team.ruth]
    done = one.downsync.own + len(one.outsync.replayed)
    require(again.ok and done == 1, "a device recognizes its own edit, from the log or from the repeated request")
    team.sync_all()
    team.converged()
    now = len(team.on_server(team.ruth))
    require(now == before + 1, "an edit is stored once")
    how = "finds it in the log" if one.downsync.own else "sends the same bytes again, and gets the first response"
    report.proof(f"with a connection again, the tablet {how}; the log has {now} changes: nothing is doubled")
    return {"lostResponses": 1}


def correct_a_bad_edit(team: Team, report: Report) -> dict[str, Any]:
    """Let an old version of the app put an edit into the outbox that the server refuses."""
    phone = team.phone.project(team.ruth)
    bad = phone.update("passage", "ruth-2", title="Gleaning in the field")
    held = phone.update("passage", "ruth-2", verses=23)
    good = phone.create("note", "n-2", text="Ask about barley")
    with closing(sqlite3.connect(team.phone.store.path)) as connection, connection:
        connection.execute("UPDATE outsyncs SET timestamp = 'yesterday' WHERE cid = ?", (bad.cid,))
    result = team.phone.sync()
    require(result.rejected == (bad.cid,), "only the bad edit is rejected")
    states = {edit.cid: edit.state for edit in team.phone.rejected()}
    require(states == {bad.cid: "rejected", held.cid: "held"}, "later edits of the same entity wait")
    require(good.cid in {change.cid for change in team.on_server(team.ruth)}, "a bad edit never blocks a good one")
    problem = team.phone.store.outsync(bad.cid).problem or {}
    report.refusal(f"edit {bad.local}: {str(problem['detail']).partition(',')[0]}")
    report.row("phone", f"{result}; the edit after it is held, the others went on")
    team.phone.drop(bad.cid)
    phone.update("passage", "ruth-2", title="Gleaning in the field")
    require(team.phone.store.outsync(held.cid).state == "waiting", "a decision lets the edits that waited for it go on")
    team.sync_all()
    team.converged()
    require(not team.phone.outbox(), "nothing is left in the outbox")
    report.proof("the edit is dropped and made again; everything arrived, and nothing vanished")
    return {"rejected": 1}


def restore_a_backup(team: Team, report: Report) -> dict[str, Any]:
    """Replace the server by yesterday's backup; the team brings back what it lost."""
    yesterday = team.back_up()
    kept = team.converged()
    team.laptop.project(team.ruth).create("passage", "ruth-3", title="The threshing floor")
    team.phone.project(team.esther).update("passage", "esther-1", verses=22)
    team.sync_all()
    full = team.converged()
    lost = sum(full) - sum(kept)
    team.phone.project(team.ruth).update("note", "n-2", text="Barley: done")
    team.restore(yesterday)
    report.row("server", f"restored from a backup: {sum(kept)} of {sum(full)} changes")
    for name, device in zip(NAMES, team.devices, strict=True):
        result: SyncResult = device.sync()
        require(result.outcome == "diverged", "a device notices that the server has another history")
        projects = [device.resync(project) for project in (team.ruth, team.esther)]
        require(all(one.outcome == "done" for one in projects), "a resync ends well")
        report.row(name, f"{result.outcome}; resync: now at {', '.join(str(one.downsync.through) for one in projects)}")
    team.sync_all()
    found = team.converged()
    require(sum(found) == sum(full) + 1, "everything is back, once, and the edit that was not sent yet is there")
    report.proof(f"the {lost} lost changes are back, once for the whole team; the outbox was kept")
    return {"lost": lost, "restored": list(found)}


STEPS = (
    ("Three people edit without a connection", work_offline),
    ("They sync, and converge", sync_and_converge),
    ("The connection breaks after the server has stored, and before it responds", lose_a_response),
    ("A bad edit is set aside and corrected", correct_a_bad_edit),
    ("The server is restored from yesterday's backup", restore_a_backup),
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Let three devices work offline, sync with a real server, and check that they converge.",
        epilog="Exit code: 0 when every promise held, 1 when one did not, 130 after Ctrl-C, 141 when nobody reads the "
        "output. Example: python -m examples.hybrid_demo --json --keep",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of the report")
    parser.add_argument("--keep", action="store_true", help="keep the devices and the log, and print their folder")
    return parser.parse_args()


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that SIGTERM stops the server as Ctrl-C does


def run(
    report: Report,
    storage: str | None = None,
    environ: Mapping[str, str] = {},
    *,
    as_json: bool = False,
    keep: bool = False,
) -> int:
    """Run the demonstration and return its exit code. `environ` is added to the environment of the server."""
    folder = Path(tempfile.mkdtemp(prefix="sltt-demo-"))
    try:
        figures = demonstrate(folder, report, storage, environ)
    except Broken as error:
        print(f"demo: this promise does not hold: {error}", file=sys.stderr)
        return 1
    except (ServerError, SlttError) as error:
        hint = f"\nHint: {error.hint}" if isinstance(error, SlttError) and error.hint else ""
        print(f"demo: {error}{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    finally:
        if keep:
            print(f"demo: the devices and the log are in {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print(json.dumps(figures, indent=2, ensure_ascii=False))
        return 0
    print()
    report.proof(f"every promise held; {figures['seconds']:.1f} s in all")
    return 0


def main() -> int:
    """Run the command line; return the exit code."""
    options = _arguments()
    signal.signal(signal.SIGTERM, _end)
    report = Report(None) if options.json else for_standard_output()
    return run(report, as_json=options.json, keep=options.keep)


if __name__ == "__main__":
    run_program(main)
