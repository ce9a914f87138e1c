"""Programs whose output nobody reads to its end stop without a message, with the code that shells report for others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from scripts.engines import DYNOXIDE, free_port
from scripts.pipes import BROKEN_PIPE
from tests.conftest import engine_url

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
SLTT = str(Path(PYTHON).with_name("sltt"))


def run_unread(command: Sequence[str], tmp_path: Path, lines: int = 0) -> tuple[int, str]:
    """Run a program and close its output after some lines; return its exit code and its errors."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for _ in range(lines):
        assert process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    return process.wait(60), errors


PROGRAMS = {
    "demo": ["examples/demo.py"],
    "demo, JSON": ["examples/demo.py", "--json"],
    "git history": ["examples/data/git_history.py", "."],
    "ruth": ["examples/data/ruth.py"],
    "engines, help": ["-m", "scripts.engines", "--help"],
    "engines": ["-m", "scripts.engines", DYNOXIDE, "--port", "{port}"],
    "interpreters": ["-m", "scripts.interpreters", "{version}"],
    "package, help": ["-m", "scripts.package", "--help"],
    "bench, help": ["-m", "bench", "--help"],
    "design model": ["-m", "tests.design_model", "--help"],
    "simulation": ["-m", "tests.simulation", "--seed", "1"],
    "model of DynamoDB": ["-m", "tests.dynamodb_model.serve", "--port", "0"],
}


@pytest.mark.parametrize("arguments", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_ends_quietly_when_nobody_reads_its_output(arguments: list[str], tmp_path: Path) -> None:
    values = {"port": free_port(), "version": f"{sys.version_info.major}.{sys.version_info.minor}"}
    command = [PYTHON, *(argument.format(**values) for argument in arguments)]
    assert run_unread(command, tmp_path) == (BROKEN_PIPE, "")
    assert not list(tmp_path.glob("sltt-demo-*"))


@pytest.mark.parametrize("lines", [1, 5])
def test_both_demonstrations_end_quietly_in_the_middle(lines: int, tmp_path: Path) -> None:
    assert run_unread([PYTHON, "examples/demo.py"], tmp_path, lines) == (BROKEN_PIPE, "")
    assert not list(tmp_path.glob("sltt-demo-*"))
    on_dynamodb = ["-m", "examples.dynamodb_demo", "--endpoint", engine_url(DYNOXIDE), "--table", f"demo-{uuid4().hex}"]
    assert run_unread([PYTHON, *on_dynamodb], tmp_path, lines) == (BROKEN_PIPE, "")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["serve", "--help"]], ids=" ".join)
def test_the_command_ends_quietly_when_nobody_reads_its_output(arguments: list[str], tmp_path: Path) -> None:
    assert run_unread([SLTT, *arguments], tmp_path) == (BROKEN_PIPE, "")


def test_a_broken_connection_is_no_broken_output(tmp_path: Path) -> None:
    code = "from scripts.pipes import run_program\ndef main(): raise BrokenPipeError('of a socket')\nrun_program(main)"
    done = subprocess.run([PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "BrokenPipeError: of a socket" in done.stderr


@pytest.mark.parametrize(("end", "code"), [("return 3", 3), ("return None", 0), ("raise SystemExit(4)", 4)])
def test_the_exit_code_is_that_of_the_program(end: str, code: int) -> None:
    text = f"from scripts.pipes import run_program\ndef main():\n    print('x')\n    {end}\nrun_program(main)"
    done = subprocess.run([PYTHON, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "x\n", "")
