"""Finds other Pythons on this machine, on PATH or under pyenv; `python -m scripts.interpreters 3.13` prints one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path


class NoInterpreter(Exception):
    """This Python is not installed; the message lists the places searched."""


def find(version: str) -> str:
    """Return the path of a Python of a version such as `3.13`; raises `NoInterpreter`."""
    name = f"python{version}"
    versions = _pyenv_root() / "versions"
    installed = sorted(versions.glob(f"{version}.*/bin/{name}"), key=_numbers, reverse=True)
    for candidate in (name, *map(str, installed)):
        path = shutil.which(candidate)
        # pyenv has shims on PATH for versions that it does not run
        if (
            path
            and subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0
        ):
            return path
    raise NoInterpreter(f"{name} is not installed, neither on PATH nor in {versions}: run `pyenv install {version}`")


def _pyenv_root() -> Path:
    root = os.environ.get("PYENV_ROOT")
    if not root and shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, encoding="utf-8", check=False).stdout.strip()
    return Path(root or Path.home() / ".pyenv")


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.parts[-3])]


def main() -> None:
    """Print the path of the Python that the command line names."""
    try:
        print(find(sys.argv[1]))
    except NoInterpreter as missing:
        sys.exit(str(missing))


if __name__ == "__main__":
    from scripts.pipes import run_program

    run_program(main)
