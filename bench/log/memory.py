"""The memory for reading a whole log, which must be the same for a short and a long log."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from bench.support.context import PROJECT, BenchError
from bench.support.servers import CHANGES, BenchServer, forget_peak, status
from bench.support.tables import Row, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.context import BenchContext

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = Path("/proc")
ROUNDS = 3
WARM_PAGES = 10
"""Pages of the log that warm up a server, repeatedly."""
READER = f"""
import sys
from pathlib import Path
from bench.support.servers import forget_peak, status
from sltt_core.sqlite.storage import LocalStorageService

_, path, length, method = sys.argv
me = Path("/proc/self")
with LocalStorageService(path, "{PROJECT}") as storage:
    storage.get_changes_with_cursor()
    forget_peak(me)
    before = status(me, "VmRSS")
    changes = storage.get_changes_since()
    count = len(list(changes)) if method == "list" else sum(1 for _ in changes)
    assert count >= int(length), count
    print(status(me, "VmHWM") - before)
"""


def measure(context: BenchContext) -> list[Table]:
    """Measure by how much the peak memory of a process exceeds its memory after warming up."""
    if not (PROCESSES / "self" / "clear_refs").exists():
        context.progress.begin("memory: left out, because it needs Linux's /proc")
        return []
    lengths = context.size.memory
    cases: dict[str, Callable[[], float]] = {}
    for length in lengths:
        context.log(length)
        cases[f"get_changes_since, {length:,}"] = partial(_reader, context, length, "iterate")
        cases[f"sltt serve, {length:,}"] = partial(_server, context, length)
    listed = f"all in a list, {lengths[1]:,}"
    cases[listed] = partial(_reader, context, lengths[1], "list")
    values = context.rounds(cases, min(ROUNDS, context.size.rounds))
    rows = [
        Row(f"{name}, {length:,}", "kB", values[f"{name}, {length:,}"], f"{name}, {lengths[0]:,}", name, length)
        for name in ("get_changes_since", "sltt serve")
        for length in lengths
    ]
    rows.append(Row(listed, "kB", values[listed], f"get_changes_since, {lengths[1]:,}"))
    notes = [
        "Growth of the peak (VmHWM) over the memory of the warm process, while it reads the whole log.",
        "sltt serve: while a client reads all pages of 1,000. All in a list: for comparison.",
    ]
    return [Table("memory", "Memory to read a whole log, by its length", rows, notes)]


def _reader(context: BenchContext, length: int, method: str) -> float:
    command = [sys.executable, "-c", READER, str(context.log(length)), str(length), method]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=ROOT)
    if run.returncode != 0:
        raise BenchError(f"the process that reads the log failed: {run.stderr.strip()[-500:]}")
    return float(run.stdout)


def _server(context: BenchContext, length: int) -> float:
    with BenchServer(context.folder / "memory", context.log(length), "--quiet") as server:
        connection = HTTPConnection(*server.address)
        for page in range(context.size.warm):
            _page(connection, page % WARM_PAGES * 1000)
        forget_peak(server.process)
        before = status(server.process, "VmRSS")
        cursor: int | None = 0
        while cursor is not None:
            cursor = _page(connection, cursor)
        connection.close()
        return status(server.process, "VmHWM") - before


def _page(connection: HTTPConnection, cursor: int) -> int | None:
    connection.request("GET", f"{CHANGES}?cursor={cursor}")
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        raise BenchError(f"the response to a page was {response.status}: {body[:300].decode('utf-8', 'replace')}")
    _, found, rest = body[-300:].rpartition(b'"cursor":')
    return int(rest.partition(b",")[0]) if found else None
