"""The memory that reading a whole log takes: it must be the same for a short log and for a long one."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from bench.servers import CHANGES, BenchServer, forget_peak, status
from bench.setting import PROJECT, BenchError
from bench.tables import Row, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.setting import Setting

PROCESSES = Path("/proc")
ROUNDS = 3
WARM_PAGES = 10
"""Pages of the log that a server is warmed up with, over and over."""
READER = f"""
import sys
from pathlib import Path
from bench.servers import forget_peak, status
from sltt_core.sqlite.storage import LocalStorageService

_, path, length, way = sys.argv
me = Path("/proc/self")
with LocalStorageService(path, "{PROJECT}") as storage:
    storage.get_changes_with_cursor()
    forget_peak(me)
    before = status(me, "VmRSS")
    changes = storage.get_changes_since()
    count = len(list(changes)) if way == "list" else sum(1 for _ in changes)
    assert count >= int(length), count
    print(status(me, "VmHWM") - before)
"""


def measure(setting: Setting) -> list[Table]:
    """Measure by how much the peak of a process rises above what it had when it was warm."""
    if not (PROCESSES / "self" / "clear_refs").exists():
        setting.progress.begin("memory: left out, for this system does not tell (it takes Linux's /proc)")
        return []
    lengths = setting.size.memory
    cases: dict[str, Callable[[], float]] = {}
    for length in lengths:
        setting.log(length)
        cases[f"get_changes_since, {length:,}"] = partial(_reader, setting, length, "iterate")
        cases[f"sltt serve, {length:,}"] = partial(_server, setting, length)
    listed = f"all in a list, {lengths[1]:,}"
    cases[listed] = partial(_reader, setting, lengths[1], "list")
    values = setting.rounds(cases, min(ROUNDS, setting.size.rounds))
    rows = [
        Row(f"{name}, {length:,}", "kB", values[f"{name}, {length:,}"], f"{name}, {lengths[0]:,}", name, length)
        for name in ("get_changes_since", "sltt serve")
        for length in lengths
    ]
    rows.append(Row(listed, "kB", values[listed], f"get_changes_since, {lengths[1]:,}"))
    notes = [
        "Growth of the peak (VmHWM) over what the process had when it was warm, while it reads the whole log.",
        "sltt serve: while a client goes through all pages of 1,000. All in a list: what it would be otherwise.",
    ]
    return [Table("memory", "Memory to read a whole log, by its length", rows, notes)]


def _reader(setting: Setting, length: int, way: str) -> float:
    command = [sys.executable, "-c", READER, str(setting.log(length)), str(length), way]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=Path(__file__).parent.parent)
    if run.returncode != 0:
        raise BenchError(f"the process that reads the log failed: {run.stderr.strip()[-500:]}")
    return float(run.stdout)


def _server(setting: Setting, length: int) -> float:
    with BenchServer(setting.folder / "memory", setting.log(length), "--quiet") as server:
        connection = HTTPConnection(*server.address)
        for page in range(setting.size.warm):
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
        raise BenchError(f"a page was answered with {response.status}: {body[:300].decode('utf-8', 'replace')}")
    _, found, rest = body[-300:].rpartition(b'"cursor":')
    return int(rest.partition(b",")[0]) if found else None
