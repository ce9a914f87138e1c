"""A device that syncs: the first sync, draining, no news, edits, memory and bytes, beside other programs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from bench.support.context import PROJECT, BenchError
from bench.support.servers import BenchServer
from bench.support.tables import Row, Table
from bench.sync import programs
from bench.sync.delaying_proxy import Counts, Proxy
from sltt_core.model.changes import NewChange
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.context import BenchContext

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).with_name("peers")
HALF = 0.025
"""Seconds of each direction: a round trip of 50 ms."""
NEAR, FAR = "no delay", "50 ms"
ROUNDS = 3
EDIT = "one durable edit, p50"
Found = dict[str, float]


class _Bench:
    """The servers, the logs and the processes of the programs."""

    def __init__(self, context: BenchContext, stack: ExitStack) -> None:
        self.context = context
        self._stack = stack
        self._servers: dict[int, BenchServer] = {}

    def server(self, length: int) -> BenchServer:
        """Return a server with a log of this length."""
        if length not in self._servers:
            folder = Path(mkdtemp(dir=self.context.folder))
            with LocalStorageService(folder / "log.db", chunk_changes=10_000) as storage:
                for start in range(0, length, 10_000):
                    self.context.progress.step(f"a log of {length:,} changes: {start:,}")
                    storage.create_changes(_changes(start, min(start + 10_000, length)))
            self._servers[length] = self._stack.enter_context(BenchServer(folder, folder / "log.db", "--quiet"))
        return self._servers[length]

    def proxy(self, server: BenchServer, seconds: float) -> Proxy:
        """Return a proxy in front of a server."""
        return self._stack.enter_context(Proxy(server.address, seconds))

    def run(self, name: str, url: str, number: int, folder: Path | None = None) -> Found:
        """Run a program in a folder of its own, or in the given one."""
        place = folder or Path(mkdtemp(dir=self.context.folder))
        try:
            module = [sys.executable, "-m", "bench.sync.programs"]
            return _output([*module, name, url, str(place), str(number)], ROOT)
        finally:
            if folder is None:
                shutil.rmtree(place)


def measure(context: BenchContext) -> list[Table]:
    """Measure the sync of a device."""
    with ExitStack() as stack:
        bench = _Bench(context, stack)
        first, memory = _first(bench)
        return [first, memory, _edits(bench)]


def _first(bench: _Bench) -> tuple[Table, Table]:
    """Measure how fast programs read a whole log, and what they transfer and keep in memory."""
    size = bench.context.size
    number = size.synced[0]
    server = bench.server(number)
    far = bench.proxy(server, HALF)
    programs = {"device": "device", "requests": "plain", "requests, gzip": "plain_gzip"}
    counts: dict[str, Counts] = {}

    def read(name: str, url: str) -> Found:
        far.counts()
        found = bench.run(programs[name], url, number)
        counts[name] = far.counts() if url == far.url else counts[name]
        return found

    cases: dict[str, Callable[[], Found]] = {}
    for name in programs:
        cases[f"{name}, {FAR}"] = partial(read, name, far.url)
        cases[f"{name}, {NEAR}"] = partial(bench.run, programs[name], server.url, number)
    notes: list[str] = []
    for name, command, folder in _peers(notes):
        cases[name] = partial(_output, [*command, str(min(number, size.peers))], folder)
    found = bench.context.rounds(cases, min(ROUNDS, size.rounds))
    rates = []
    for name, values in found.items():
        base = f"requests, {FAR if name.endswith(FAR) else NEAR}"
        read_by = number if name.split(",")[0] in programs else min(number, size.peers)
        rates.append(Row(name, "changes/s", [read_by / one["seconds"] for one in values], base))
    notes += [
        f"{name}: {at.down / number:,.0f} bytes down a change, {at.requests} requests" for name, at in counts.items()
    ]
    notes.append(
        f"{number:,} changes with 300 bytes of data. `requests`: a loop that stores each page in a plain table."
    )
    peaks = {f"device, {length:,}": _peak(bench, length) for length in size.synced}
    base = next(iter(peaks))
    memory = Table(
        "",
        "Peak memory of a device's process in the first sync",
        [Row(name, "MB", [mb], base) for name, mb in peaks.items()],
    )
    return Table("sync", "First sync of a log", rates, notes), memory


def _peak(bench: _Bench, length: int) -> float:
    return bench.run("device", bench.server(length).url, length)["peak"] / 1000


def _peers(notes: list[str]) -> list[tuple[str, list[str], Path]]:
    """Return the programs of others that are installed; `notes` get the names of those that are not."""
    found = []
    for name, folder, package, file in (
        ("RxDB, no network", ROOT, "rxdb", "rxdb.mjs"),
        ("PouchDB from pouchdb-server", PEERS, "express-pouchdb", "pouchdb.cjs"),
    ):
        if shutil.which("node") and (folder / "node_modules" / package).exists():
            found.append((name, ["node", str(PEERS / file)], folder))
        else:
            notes.append(f"{name}: left out, because it is not installed (bench/sync/peers/package.json)")
    return found


def _edits(bench: _Bench) -> Table:
    """Measure edits of a device, their way to the server, and a sync without news."""
    size = bench.context.size
    values: dict[tuple[str, str], list[float]] = {}

    def put(name: str, unit: str, value: float) -> None:
        values.setdefault((name, unit), []).append(value)

    for at in range(min(ROUNDS, size.rounds)):
        for delay, seconds in ((NEAR, 0.0), (FAR, HALF)):
            bench.context.progress.step(f"round {at + 1}: edits, {delay}")
            folder = Path(mkdtemp(dir=bench.context.folder))
            with BenchServer(folder, folder / "log.db", "--quiet") as server, Proxy(server.address, seconds) as proxy:
                edit = bench.run("edits", proxy.url, size.edits, folder)
                drained = bench.run("drain", proxy.url, size.edits, folder)
                sent = proxy.counts()
                bench.run("drain", proxy.url, size.edits, folder)
                news = proxy.counts()
                posted = bench.run("post", proxy.url, size.edits, folder)
            put(f"draining, {delay}", "edits/s", size.edits / drained["seconds"])
            put(f"appends with requests, {delay}", "edits/s", size.edits / posted["seconds"])
            if delay == NEAR:
                continue
            put(EDIT, "ms", edit["p50"])
            put(f"{EDIT}, by hand", "ms", edit["by hand"])
            put("draining: appends", "requests", sent.posts)
            put("draining: all", "requests", sent.requests)
            put("no news", "requests", news.requests)
            put("no news, up", "bytes", news.up)
            put("no news, down", "bytes", news.down)
            shutil.rmtree(folder)
    bases = {f"draining, {delay}": f"appends with requests, {delay}" for delay in (NEAR, FAR)}
    bases[EDIT] = f"{EDIT}, by hand"
    rows = [Row(name, unit, found, bases.get(name, name)) for (name, unit), found in values.items()]
    notes = [
        f"{size.edits:,} edits. The requests of all include what the device reads back.",
        "By hand: an insert into a plain table, committed with the same durability.",
    ]
    return Table("", "Edits of a device, draining, and a sync without news", rows, notes)


def _changes(start: int, end: int) -> list[NewChange]:
    return [
        NewChange(
            project_id=PROJECT,
            entity_type="passage",
            entity_id="ruth-1",
            operation="update",
            data=programs.data(number),
        )
        for number in range(start, end)
    ]


def _output(command: list[str], folder: Path) -> Found:
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(command[1:3])} failed: {done.stderr.strip()[-500:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found
