"""`make install`: an unsuitable Python is reported in one line, and no environment remains."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def install(python: str, venv: Path) -> list[str]:
    """Run `make install`, which must fail. Return its lines without those of make itself."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(
        ["make", "install", f"PYTHON={python}", f"VENV={venv}"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        env={**environ, "LC_ALL": "C"},
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert not venv.exists()
    lines = (run.stdout + run.stderr).splitlines()
    return [line for line in lines if not line.startswith("make")]


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def installed(version: str) -> str:
    """A Python of an old version, by its path."""
    found = sorted(PYENV.glob(f"{version}.*/bin/python{version}")) or [Path(shutil.which(f"python{version}") or "")]
    works = found[0].is_file() and not subprocess.run([found[0], "-c", ""], capture_output=True, check=False).returncode
    if not works:
        pytest.skip(f"there is no Python {version} here")
    return str(found[0])


@pytest.mark.parametrize("version", ["2.7", "3.8", "3.10"])
def test_an_old_python_is_refused_in_one_line(version: str, tmp_path: Path) -> None:
    python = installed(version)
    (line,) = install(python, tmp_path / "venv")
    pattern = rf"sltt needs Python 3\.11 or newer; '{re.escape(python)}' is {version}\.\d+\. Use PYTHON=python3\.11"
    assert re.fullmatch(pattern, line)


@pytest.mark.parametrize("version", ["2.7.18", "3.9.1", "3.10.13"])
def test_the_version_is_that_of_the_python(version: str, tmp_path: Path) -> None:
    python = script(tmp_path / "python", f"echo {version}")
    (line,) = install(python, tmp_path / "venv")
    assert line == f"sltt needs Python 3.11 or newer; '{python}' is {version}. Use PYTHON=python3.11"


def test_a_missing_python_is_reported(tmp_path: Path) -> None:
    assert install("no-such-python", tmp_path / "venv") == [
        "sltt needs Python 3.11 or newer; 'no-such-python' does not run. Use PYTHON=python3.11"
    ]


def test_a_python_without_venv_is_reported(tmp_path: Path) -> None:
    python = script(tmp_path / "python", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.11.2;; esac')
    (line,) = install(python, tmp_path / "venv")
    assert line.startswith(f"'{python}' (3.11.2) has no module venv or ensurepip; ")


def test_an_incomplete_environment_is_removed(tmp_path: Path) -> None:
    python = script(
        tmp_path / "python", 'case "$1 $2" in "-m venv") mkdir "$3"; exit 1;; *platform*) echo 3.11.2;; esac'
    )
    (line,) = install(python, tmp_path / "venv")
    assert line == f"'{python}' (3.11.2) could not make the environment {tmp_path / 'venv'}"


def test_the_version_that_is_asked_for_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert 'needs="sltt needs Python 3.11 or newer"' in (ROOT / "scripts" / "new_venv.sh").read_text()
