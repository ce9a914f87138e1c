"""The demonstration of offline work. It checks what it shows, so these tests only require that it succeeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import engine_url
from tests.examples.demos import check_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, str(ROOT / "examples" / "hybrid_demo.py")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"}


def test_the_story_is_one_screenful_and_leaves_nothing_behind(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(DEMO, capture_output=True, env=environment, timeout=120, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    lines = done.stdout.decode().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 160
    assert lines[-1].startswith("  ✓ every promise held")
    assert list(tmp_path.iterdir()) == []


def test_the_figures_as_json(environment: dict[str, str]) -> None:
    done = subprocess.run([*DEMO, "--json"], capture_output=True, env=environment, timeout=120, check=True)
    figures = json.loads(done.stdout)
    assert (figures["offlineEdits"], figures["lostResponses"], figures["rejected"], figures["lost"]) == (7, 1, 1, 2)


def test_it_runs_on_a_local_dynamodb(environment: dict[str, str]) -> None:
    arguments = ["--hybrid", "--endpoint", engine_url("dynoxide"), "--table", f"demo-{uuid4().hex}"]
    command = [sys.executable, "-m", "examples.dynamodb_demo", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment, timeout=120, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert "every promise held" in done.stdout.decode()


def test_ctrl_c_stops_the_server_too(environment: dict[str, str], tmp_path: Path) -> None:
    check_ctrl_c(DEMO, environment, tmp_path)
