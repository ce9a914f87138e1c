"""The demonstration. It checks what it shows, so most of these tests only require that it succeeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.support.comparison import Difference, compare
from tests.examples.demos import check_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
DEMO = [sys.executable, str(ROOT / "examples" / "demo.py")]

with_server = pytest.mark.skipif(not Path(sys.executable).with_name("sltt").exists(), reason="needs the command sltt")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"}


@with_server
def test_the_report_is_one_screenful_and_leaves_nothing_behind(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(DEMO, capture_output=True, env=environment, timeout=120, check=False)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    lines = done.stdout.decode().splitlines()
    assert len(lines) <= 55
    assert "\x1b" not in done.stdout.decode()
    assert lines[-1].startswith("  ✓ every promise held")
    assert list(tmp_path.iterdir()) == []


@with_server
def test_the_figures_as_json_and_the_log_that_is_kept(environment: dict[str, str]) -> None:
    command = [*DEMO, "--json", "--keep"]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    figures = json.loads(done.stdout)
    assert figures["ruth"]["changes"] == figures["stats"]["ruth-demo"]["changes"]["total"]
    assert Path(figures["log"]).is_file()


@with_server
def test_ctrl_c_stops_the_server_too(environment: dict[str, str], tmp_path: Path) -> None:
    check_ctrl_c(DEMO, environment, tmp_path)


SENT = {"projectId": "p", "entityId": "e", "timestamp": "2025-03-10T08:30:00Z", "data": {"n": 1, "on": True}}
STORED = {**SENT, "seq": 1, "cloudAt": "2025-03-10T09:00:00.000Z", "chain": "x"}


def test_the_comparison_counts_equal_fields() -> None:
    assert compare([SENT], [{**STORED, "timestamp": "2025-03-10T08:30:00.000Z"}]) == 4


@pytest.mark.parametrize(
    "other",
    [
        {"seq": 2},
        {"entityId": "f"},
        {"timestamp": "2025-03-10T08:30:00.001Z"},
        {"timestamp": None},
        {"data": {"n": 1.0, "on": True}},
        {"data": {"n": True, "on": True}},
        {"cloudAt": None},
        {"extra": "not sent"},
    ],
)
def test_the_comparison_sees_every_difference(other: dict[str, object]) -> None:
    with pytest.raises(Difference):
        compare([SENT], [{**STORED, **other}])


def test_the_comparison_reports_missing_changes() -> None:
    with pytest.raises(Difference, match="1 changes were sent, 0 came back"):
        compare([SENT], [])
