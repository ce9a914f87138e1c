"""The wheel: built from the sdist, installed into an empty environment, and served from there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.sltt_core.server.command import read_banner

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SITE = sysconfig.get_path("purelib")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `make wheel` builds from a copy of the sources."""
    tree, dist = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        copy(ROOT / name, tree)
    (tree / "tests").mkdir()
    copy(__file__, tree / "tests")  # which setuptools would put into the sdist
    copytree(ROOT / "src", tree / "src", ignore=ignore_patterns("*.egg-info", "__pycache__"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, tree)
    return dist


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel. It shares the other packages of this environment."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-index", "--no-deps", wheel)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "others.pth").write_text(f"{SITE}\n")  # whose own .pth files are not read, so our sources stay hidden
    return folder


def test_make_wheel_uses_the_tested_command() -> None:
    shown = run("make", "-n", "wheel", cwd=ROOT)
    assert "-m build --no-isolation" in shown


def test_the_files_of_the_wheel_are_those_of_the_packages(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).namelist()
    metadata = {name for name in files if ".dist-info/" in name}
    packages = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in path.parent.suffix
    }
    assert set(files) - metadata == packages
    assert {"sltt_core/py.typed", "aws_backend/py.typed", "aws_backend/dynamodb/amazon_roots.pem"} <= packages
    assert {name.partition("/")[2] for name in metadata} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
        "top_level.txt",
    }


def test_the_wheel_is_for_every_platform_and_names_its_entry_points(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    entries = ConfigParser()
    entries.read_string(archive.read(name).decode())
    assert set(entries["sltt.storages"]) == {"device", "dynamodb", "sqlite"}
    assert dict(entries["console_scripts"]) == {"sltt": "sltt_core.cli.main:main"}


def test_the_sdist_builds_the_same_wheel(dist: Path, wheel: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        assert not [name for name in archive.getnames() if "/tests/" in name or "/bench/" in name]
        archive.extractall(tmp_path, filter="data")
    (tree,) = tmp_path.iterdir()
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path / "again", tree)
    (again,) = (tmp_path / "again").iterdir()
    assert contents(again) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def server(environment: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command: list[str | Path] = [
        environment / "bin" / "sltt",
        "serve",
        "--port",
        "0",
        "--storage",
        f"sqlite:{tmp_path / 'log.db'}",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.terminate()


def test_an_environment_with_only_the_wheel_serves(
    environment: Path, server: subprocess.Popen[str], tmp_path: Path
) -> None:
    for package in ("sltt_core", "aws_backend"):
        origin = run(environment / "bin" / "python", "-c", f"import {package}; print({package}.__file__)", cwd=tmp_path)
        assert Path(origin.strip()).is_relative_to(environment)
    url, _ = read_banner(server)
    change = {"projectId": "ruth", "entityType": "passage", "entityId": "ruth-1", "data": {"seconds": 41.50}}
    appended = httpx.post(f"{url}/api/changes", json=[change])
    assert appended.json()["createdSeqs"] == [1]
    (stored,) = httpx.get(f"{url}/api/projects/ruth/changes").json()["changes"]
    assert {name: stored[name] for name in change} == change
