"""The modules and instructions of importing the Lambda path, compared with modules that it avoids."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.support.context import BenchError
from bench.support.tables import Row, Table

if TYPE_CHECKING:
    from bench.support.context import BenchContext

SRC = Path(__file__).resolve().parents[2] / "src"
BARE = "bare interpreter"
PATHS: dict[str, tuple[str, ...]] = {
    BARE: (),
    "json": ("json",),
    "http.client": ("http.client",),
    "asyncio": ("asyncio",),
    "Lambda path": ("sltt_core.api.app", "sltt_core.log.storage"),
    "Lambda path + tokens": ("sltt_core.api.app", "sltt_core.log.storage", "sltt_core.api.bearer"),
    "Lambda path + SQLite": ("sltt_core.api.app", "sltt_core.sqlite.storage"),
}
ROUNDS = 2


def measure(context: BenchContext) -> list[Table]:
    """Count modules and, when valgrind is installed, instructions; a busy machine does not change them."""
    times = min(ROUNDS, context.size.rounds)
    modules = context.rounds({name: partial(_modules, path) for name, path in PATHS.items()}, times)
    tables = [
        Table(
            "imports-modules",
            "Modules that are loaded",
            [Row(name, "modules", values, BARE) for name, values in modules.items()],
            ["Lambda path: sltt_core.api.app and sltt_core.log.storage, all modules of a request except DynamoDB."],
        )
    ]
    if not context.size.instructions:
        return tables
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        context.progress.begin("imports: instructions are not counted, because valgrind is not installed")
        return tables
    counted = context.rounds({name: partial(_instructions, valgrind, path) for name, path in PATHS.items()}, times)
    rows = [Row(name, "million", values, BARE) for name, values in counted.items()]
    notes = ["Counted by valgrind's cachegrind from start to end of the process, with PYTHONHASHSEED=0."]
    return [*tables, Table("imports-instructions", "Instructions of an import", rows, notes)]


def _program(path: tuple[str, ...]) -> str:
    imports = "".join(f"import {name}\n" for name in path)
    return f"import sys\nsys.path.insert(0, {str(SRC)!r})\n{imports}"


def _modules(path: tuple[str, ...]) -> float:
    return float(_run([], _program(path) + "print(len(sys.modules))").stdout)


def _instructions(valgrind: str, path: tuple[str, ...]) -> float:
    command = [valgrind, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    output = _run(command, _program(path)).stderr
    found = re.search(r"I +refs: +([\d,]+)", output)
    if found is None:
        raise BenchError(f"valgrind counted nothing: {output[-300:]}")
    return int(found[1].replace(",", "")) / 1e6


def _run(command: list[str], program: str) -> subprocess.CompletedProcess[str]:
    # -S and -P: no site-packages and no current folder. The first count of modules has compiled them.
    run = subprocess.run(
        [*command, sys.executable, "-S", "-P", "-c", program],
        capture_output=True,
        encoding="utf-8",
        env={"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0"},
        check=False,
    )
    if run.returncode != 0:
        raise BenchError(f"an import failed: {run.stderr.strip()[-500:]}")
    return run
