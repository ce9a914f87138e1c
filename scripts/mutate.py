"""`python -m scripts.mutate` (`make mutate`): changes the code in one place at a time, and counts what tests notice.

mutmut makes the mutants of a module: in each, one operator, constant, argument or assignment differs. It runs the tests
that execute the changed function, in one process, and stops at the first that fails: the mutant is killed. A mutant
that no test kills shows behaviour that no test holds. `[tool.mutation.modules]` in pyproject.toml lists the modules and
the tests that judge each of them. docs/mutation.md explains the survivors.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "mutation"
COPIED = ("src", "tests", "scripts", "examples", "bench")
"""What the tests import."""
NOT_LOADED = ("cacheprovider", "unraisableexception", "threadexception")
"""Plugins of pytest. A mutant may leave sockets and threads behind, which must not end mutmut's own process."""
ENVIRON = {"SLTT_MUTATION": "1", "PYTHONPATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
"""Other plugins would double the time that a mutant takes."""
MEMORY = Path("/dev/shm")
"""Where the tests keep their files: on a disk, SQLite's waits for it would run into the time limit. Linux has it."""
KILLED = (1, 2, 3)
"""pytest's exit codes for a mutant that was noticed: a test failed, an interruption came through, pytest failed."""
TIMED_OUT = (-24, 24, 36, 152, 255)
"""Those for a mutant whose tests did not end. It is killed, too: it blocks, or repeats something for ever."""
EXAMPLES = """examples:
  make mutate                                   all modules
  make mutate ARGS='sigv4 json_reader'          some of them
  make mutate ARGS='sigv4 --survivors'          only what survived the last time, after you have added tests
"""


class Score(NamedTuple):
    """The result for one module."""

    killed: int
    timed_out: int
    """How many of the killed ones: their tests did not end."""
    total: int
    survivors: dict[str, str]
    """The difference that each survivor makes, by the survivor's name."""

    @property
    def percent(self) -> float:
        return 100.0 * self.killed / self.total if self.total else 0.0


class Settings(NamedTuple):
    """The table `[tool.mutation]` of pyproject.toml."""

    modules: dict[str, list[str]]
    """The tests that judge the mutants of each module, by the module's path below src."""
    deselect: list[str]
    """Tests of these that mutmut's changes to the code break."""


def settings() -> Settings:
    """Read the settings."""
    return Settings(**tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutation"])


def prepare(module: str, tests: list[str]) -> Path:
    """Copy the code and the tests to a folder of the module, with a configuration for mutmut; return the folder."""
    folder = WORK / module.removesuffix(".py").replace("/", ".")
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.copytree(
            ROOT / name, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "results")
        )
    deselected = [f"--deselect={test}" for test in settings().deselect]
    configuration = {
        "source_paths": ["src"],
        "only_mutate": [f"src/{module}"],
        "also_copy": list(COPIED[1:]),
        "pytest_add_cli_args": [*(f"-pno:{name}" for name in NOT_LOADED), *deselected],
        "pytest_add_cli_args_test_selection": tests,
        "timeout_multiplier": 3.0,
        "timeout_constant": 4.0,
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in configuration.items()]
    text = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text("\n".join([text, "[tool.mutmut]", *lines, ""]))
    return folder


def mutmut(folder: Path, *arguments: str) -> str:
    """Run a program of mutmut in a folder; return its output. Ends this program if that fails."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as scratch:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **ENVIRON, "TMPDIR": scratch},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    if done.returncode:
        sys.exit(f"mutmut failed:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}")
    return done.stdout


def outcomes(folder: Path, module: str) -> dict[str, int | None]:
    """Return mutmut's exit code for each mutant."""
    notes = folder / "mutants" / "src" / f"{module}.meta"
    codes: dict[str, int | None] = json.loads(notes.read_text())["exit_code_by_key"]
    return codes


def run(module: str, tests: list[str], *, survivors_only: bool) -> Score:
    """Run the mutants of a module, or only those that survived the last time."""
    folder = WORK / module.removesuffix(".py").replace("/", ".")
    again: list[str] = []
    if survivors_only:
        again = [name for name, code in outcomes(folder, module).items() if code not in (*KILLED, *TIMED_OUT)]
    else:
        shutil.rmtree(folder, ignore_errors=True)
    prepare(module, tests)
    if again or not survivors_only:
        mutmut(folder, "-m", "mutmut", "run", "--max-children", "1", *again)
    codes = outcomes(folder, module)
    left = [name for name, code in codes.items() if code not in (*KILLED, *TIMED_OUT)]
    timed_out = sum(code in TIMED_OUT for code in codes.values())
    return Score(len(codes) - len(left), timed_out, len(codes), shown(folder, left))


SHOW = """
import json, sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
print(json.dumps({name: get_diff_for_mutant(name) for name in sys.argv[1:]}))
"""
"""What `mutmut show` does, for many mutants at once."""


def shown(folder: Path, names: list[str]) -> dict[str, str]:
    """Return the lines that each mutant changes."""
    differences: dict[str, str] = json.loads(mutmut(folder, "-c", SHOW, *names))
    return {
        name: "\n".join(line for line in text.splitlines() if re.match(r"[-+](?![-+]{2})", line))
        for name, text in differences.items()
    }


def main() -> int:
    """Run the command line; return the exit code."""
    known = settings().modules
    parser = argparse.ArgumentParser(
        prog="python -m scripts.mutate",
        description=(__doc__ or "").partition("\n\n")[2],
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="its name, such as sigv4 (default: all modules)")
    parser.add_argument("--survivors", action="store_true", help="run only the mutants that survived the last time")
    given = parser.parse_args()
    names = {Path(module).stem: module for module in known}
    for name in given.modules:
        if name not in names:
            parser.error(f"there is no module {name!r}; the modules are {', '.join(names)}")
    chosen = [names[name] for name in given.modules] or list(known)
    for module in chosen:
        score = run(module, known[module], survivors_only=given.survivors)
        for name, difference in score.survivors.items():
            print(f"{name.rpartition('.')[2]}\n{difference}")
        print(
            f"{module}: {score.killed} of {score.total} mutants killed ({score.percent:.1f} %), "
            f"{score.timed_out} of them by the time limit",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
