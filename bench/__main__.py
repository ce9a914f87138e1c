"""`python -m bench` (or `make bench`): runs the benches, prints their tables, draws their plots."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api import request_lines
from bench.auth import access, tokens
from bench.cold_start import first_change, imports
from bench.dynamodb import calls, contention, costs, pages
from bench.log import appends, growth, memory
from bench.server import waiting
from bench.support import plots
from bench.support.context import SIZES, BenchContext, BenchError, Progress
from bench.sync import devices
from examples.support.server import ServerError
from scripts.pipes import run_program

if TYPE_CHECKING:
    from types import FrameType

    from bench.support.tables import Table

BENCHES = {
    "appends": appends,
    "growth": growth,
    "memory": memory,
    "waiting": waiting,
    "imports": imports,
    "logging": request_lines,
    "tokens": tokens,
    "access": access,
    "dynamodb": calls,
    "contention": contention,
    "pages": pages,
    "costs": costs,
    "sync": devices,
    "cold_start": first_change,
}
RESULTS = Path(__file__).resolve().parent / "results"
EXAMPLES = """examples:
  make bench                                    everything; takes some minutes
  make bench ARGS=--quick                       a first look; logs of 100,000 changes at most
  make bench ARGS="appends waiting"             two of them
  make bench ARGS="imports --json" > out.json   figures for programs
  make bench ARGS="--folder /mnt/disk"          the logs on another disk

exit code: 0, 1 when something could not be measured, 130 after Ctrl-C
"""


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    what = [f"  {name:<10} {(module.__doc__ or '').splitlines()[0]}" for name, module in BENCHES.items()]
    parser = argparse.ArgumentParser(
        prog="bench",
        description="\n".join(["Measure, as ratios to baselines of the same run.", "", "benches:", *what]),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benches", nargs="*", metavar="BENCH", help="what to run; everything by default")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", dest="size", action="store_const", const="full", help="all of it (the default)")
    size.add_argument("--quick", dest="size", action="store_const", const="quick", help="less of everything")
    size.add_argument("--tiny", dest="size", action="store_const", const="tiny", help="only to check that it runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--folder", type=Path, help="where logs are created and removed; default: the temporary folder")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the plots go; default: bench/results")
    parser.set_defaults(size="full")
    return parser


def about_machine() -> dict[str, object]:
    """Return the system and the versions of the run."""
    return {
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
    }


def load() -> float:
    """Return the load average of the last minute, including the bench."""
    return round(os.getloadavg()[0], 2)


def run(names: list[str], size: str, folder: Path, progress: Progress) -> list[Table]:
    """Run benches on logs in a folder."""
    context = BenchContext(folder, SIZES[size], progress)
    tables: list[Table] = []
    for name in names:
        progress.begin(f"{name}: {(BENCHES[name].__doc__ or '').splitlines()[0]}")
        tables += BENCHES[name].measure(context)
    progress.end()
    return tables


def report(tables: list[Table], about: dict[str, object], *, as_json: bool) -> str:
    """Return all tables as text or as JSON."""
    if as_json:
        return json.dumps({**about, "tables": [table.as_json() for table in tables]}, indent=2, ensure_ascii=False)
    head = "\n".join(f"{name}: {value}" for name, value in about.items())
    return "\n\n".join([head, *(table.text() for table in tables)])


def main() -> int:
    """Run the command line; return the exit code."""
    parser = arguments()
    options = parser.parse_args()
    unknown = [name for name in options.benches if name not in BENCHES]
    if unknown:
        parser.error(f"bench {unknown[0]!r} is not valid: one of {', '.join(BENCHES)}")
    signal.signal(signal.SIGTERM, _end)
    progress = Progress()
    about = {**about_machine(), "size": options.size, "load before": load()}
    begin = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="sltt-bench-", dir=options.folder) as folder:
            tables = run(options.benches or list(BENCHES), options.size, Path(folder), progress)
    except (BenchError, ServerError, OSError) as error:
        progress.end()
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.end()
        print("bench: stopped", file=sys.stderr)
        return 130
    about |= {"load after": load(), "seconds": round(time.monotonic() - begin)}
    print(report(tables, about, as_json=options.json))
    if find_spec("matplotlib") is None:
        print("bench: no plots, because matplotlib is not installed; `make bench` installs it", file=sys.stderr)
    else:
        for path in plots.draw(tables, options.results):
            print(f"bench: drew {path}", file=sys.stderr)
    return 0


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # so that SIGTERM stops the servers as Ctrl-C does


if __name__ == "__main__":
    run_program(main)
