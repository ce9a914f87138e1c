"""The Dockerfile, as far as tests can check it without a build."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sltt_core.cli.main import main
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService

ROOT = Path(__file__).resolve().parents[2]
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
INSTRUCTIONS = [line.split(" ", 1) for line in TEXT.splitlines() if line and not line.startswith("#")]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


def copied() -> list[str]:
    """The sources of the files that are copied from the checkout."""
    return [word for rest in arguments("COPY") if "--from" not in rest for word in rest.split()[:-1]]


def test_the_copied_files_exist_and_are_not_ignored() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert copied()
    for name in copied():
        assert (ROOT / name).exists()
    assert sorted(copied()) == sorted(kept)


def test_the_copied_files_are_those_of_the_wheel() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for name in re.findall(r'^(?:readme = |license-files = \[)"(.+?)"', project, re.MULTILINE):
        assert name in copied()


def test_every_package_is_locked_and_checked_by_its_hash() -> None:
    installs = [command for rest in arguments("RUN") for command in rest.split(" && ") if " install --no" in command]
    with_lock, ours = (command for command in installs if "/bin/pip " in command)
    assert "--require-hashes -r requirements/run.txt" in with_lock
    assert {"--no-deps", "--no-index", "--no-build-isolation"} <= set(ours.split())
    lock = (ROOT / "requirements" / "run.txt").read_text()
    packages = re.findall(r"^[a-z0-9-]+==\S+.*\\$", lock, re.MULTILINE)
    assert {"setuptools", "click", "uvicorn"} <= {line.partition("==")[0] for line in packages}
    assert len(re.findall(r"^\S+==", lock, re.MULTILINE)) == len(packages)


def test_its_command_is_valid_for_sltt() -> None:
    (command,) = map(json.loads, arguments("CMD"))
    context = main.commands[command[0]].make_context(command[0], command[1:])
    assert context.params["host"] == "0.0.0.0"
    assert context.params["open_to_network"]
    folder = Path(context.params["storage_url"].removeprefix("sqlite:")).parent
    assert arguments("VOLUME") == [str(folder)]
    assert arguments("EXPOSE") == [str(context.params["port"])]


def test_it_does_not_run_as_root() -> None:
    (user,) = arguments("USER")
    assert int(user) > 0
    assert any(f"useradd --uid {user} " in rest for rest in arguments("RUN"))


def test_the_python_is_one_that_is_supported() -> None:
    images = {rest.split()[0] for rest in arguments("FROM")}
    assert images == {"python:3.13-slim"}
    assert '"Programming Language :: Python :: 3.13"' in (ROOT / "pyproject.toml").read_text()


@pytest.fixture
def health_check() -> list[str]:
    """The command of the health check, run by this Python; `…:8080` is for the test to replace."""
    (rest,) = arguments("HEALTHCHECK")
    command: list[str] = json.loads(rest.partition("CMD ")[2])
    return [sys.executable, *command[1:]]


def test_the_health_check_fails_only_for_a_broken_server(health_check: list[str], tmp_path: Path) -> None:
    server = RestApiServer(storage=LocalStorageService(tmp_path / "log.db"))
    server.start(port=0)
    here = server.url.removeprefix("http://")
    command = [word.replace("127.0.0.1:8080", here) for word in health_check]
    assert command != health_check
    try:
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    finally:
        server.stop()
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_a_shell_reads_its_commands() -> None:
    shell = shutil.which("sh")
    assert shell
    for command in arguments("RUN"):
        assert subprocess.run([shell, "-n", "-c", command], check=False).returncode == 0
