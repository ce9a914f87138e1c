"""The measured programs, each in its own process: ``python programs.py NAME URL FOLDER NUMBER`` prints JSON."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

PROJECT = "bench"
CHANGES = f"/api/projects/{PROJECT}/changes"
BATCH = 98
"""The most edits of a transaction of a device."""
SINGLE = 500
"""Edits that are timed one by one."""
WORDS = (
    "judges",
    "ruled",
    "there",
    "was",
    "a",
    "famine",
    "in",
    "land",
    "and",
    "man",
    "Bethlehem",
    "went",
    "to",
    "Moab",
)


def data(number: int) -> dict[str, str]:
    """Return the data of a change: 300 bytes of JSON, different for each number."""
    words = " ".join(Random(number).choices(WORDS, k=120))
    return {"gloss": words[:287]}


def peak() -> int:
    """Return the peak memory of this process in kB; 0 when the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def timed(action: Any) -> dict[str, float]:
    """Run an action; return the seconds, the processor's seconds, and the peak memory of the process."""
    begin, cpu = perf_counter(), process_time()
    action()
    return {"seconds": perf_counter() - begin, "cpu": process_time() - cpu, "peak": peak()}


def device(url: str, folder: Path, number: int) -> dict[str, float]:
    """Read a log of `number` changes to a device."""
    from sltt_core.sync.device import Device

    with Device(folder / "device.db", url, user="bench") as device:
        device.follow(PROJECT)
        found = timed(lambda: checked(device.sync()))
        assert device.status().projects[PROJECT].cursor == number
    return found


def edits(url: str, folder: Path, number: int) -> dict[str, float]:
    """Make `number` edits on a device that has no connection; return the median times of one, and of one by hand."""
    from sltt_core.sync.device import Device

    file = plain_file(folder)
    with Device(folder / "device.db", url, user="bench") as device:
        project = device.project(PROJECT)
        taken: list[float] = []
        by_hand: list[float] = []
        single = min(SINGLE, number)
        for count in range(single):
            fields = data(count)
            begin = perf_counter()
            project.update("passage", f"ruth-{count % 50}", fields)
            middle = perf_counter()
            file.execute("INSERT INTO changes VALUES (?, ?)", (count, json.dumps(fields)))
            taken.append((middle - begin) * 1000)
            by_hand.append((perf_counter() - middle) * 1000)
        for start in range(single, number, BATCH):
            with project.transaction():
                for count in range(start, min(start + BATCH, number)):
                    project.update("passage", f"ruth-{count % 50}", data(count))
    file.close()
    return {"p50": sorted(taken)[single // 2], "by hand": sorted(by_hand)[single // 2]}


def drain(url: str, folder: Path, number: int) -> dict[str, float]:
    """Send the edits of a device."""
    from sltt_core.sync.device import Device

    with Device(folder / "device.db", url, user="bench") as device:
        found = timed(lambda: checked(device.sync()))
        assert not device.outbox()
    return found


def post(url: str, folder: Path, number: int) -> dict[str, float]:
    """Append as many changes with `requests`, in batches of the same size, without a store."""
    import requests

    session = requests.Session()
    change = {"projectId": "by-hand", "entityType": "passage", "entityId": "ruth-1", "operation": "update"}
    changes = [{**change, "cid": f"by-hand.{at}", "data": data(at)} for at in range(number)]

    def send() -> None:
        for start in range(0, number, BATCH):
            headers = {"Idempotency-Key": f"by-hand:{start:016}"}
            batch: Any = changes[start : start + BATCH]
            session.post(f"{url}/api/changes", json=batch, headers=headers, timeout=60).raise_for_status()

    return timed(send)


def plain_file(folder: Path) -> sqlite3.Connection:
    """Return a plain SQLite table, with the journal (WAL) and the durability (FULL) of a device."""
    file = sqlite3.connect(folder / "plain.db", isolation_level=None)
    file.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    file.execute("CREATE TABLE changes (seq INTEGER PRIMARY KEY, text TEXT)")
    return file


def checked(result: Any) -> None:
    """Require that a sync did everything."""
    assert all(one.outcome == "done" for one in result.projects.values()), result


def plain(url: str, folder: Path, number: int, coding: str = "identity") -> dict[str, float]:
    """Read the log page after page with `requests` into a plain SQLite table."""
    import requests

    file = plain_file(folder)
    session = requests.Session()
    session.headers["Accept-Encoding"] = coding

    def read() -> None:
        cursor = 0
        while cursor is not None:
            page = session.get(url + CHANGES, params={"cursor": cursor, "limit": 1000}, timeout=60).json()
            file.execute("BEGIN")
            rows = [(one["seq"], json.dumps(one)) for one in page["changes"]]
            file.executemany("INSERT INTO changes VALUES (?, ?)", rows)
            file.execute("COMMIT")
            cursor = page.get("cursor")

    found = timed(read)
    assert file.execute("SELECT COUNT(*) FROM changes").fetchone()[0] == number
    return found


def plain_gzip(url: str, folder: Path, number: int) -> dict[str, float]:
    """Read as `plain` does, with gzip."""
    return plain(url, folder, number, "gzip")


PROGRAMS = {one.__name__: one for one in (device, edits, drain, post, plain, plain_gzip)}

if __name__ == "__main__":
    _, name, url, folder, number = sys.argv
    print(json.dumps(PROGRAMS[name](url, Path(folder), int(number))))
