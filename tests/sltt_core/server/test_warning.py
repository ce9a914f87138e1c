"""The warning of `sltt serve --open-to-network`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.sltt_core.server.command import SLTT, read_banner, start_sltt

if TYPE_CHECKING:
    from pathlib import Path

WARNING = "can read and write all projects"
OPEN = ["serve", "--port", "0", "--host", "0.0.0.0", "--open-to-network", "--no-auth"]


@pytest.mark.parametrize(
    ("environ", "red"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["colour", "NO_COLOR empty", "NO_COLOR", "dumb"],
)
def test_a_terminal_gets_the_warning_in_red(tmp_path: Path, environ: dict[str, str], red: bool) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    screen, terminal = pty.openpty()
    process = subprocess.Popen(
        [SLTT, *OPEN, "--storage", f"sqlite:{tmp_path / 'log.db'}"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        text=True,
        env={**inherited, "TERM": "xterm", **environ},
    )
    os.close(terminal)
    read_banner(process)
    shown = os.read(screen, 65_536).decode()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    os.close(screen)
    assert WARNING in shown
    assert ("\x1b[31m" in shown) is red
    assert ("\x1b" in shown) is red


def test_another_stream_gets_the_warning_as_json(tmp_path: Path) -> None:
    process = start_sltt(*OPEN, "--storage", f"sqlite:{tmp_path / 'log.db'}")
    read_banner(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    (line,) = map(json.loads, err.splitlines())
    assert line["level"] == "WARNING"
    assert WARNING in line["message"]


def test_without_the_option_there_is_no_warning(tmp_path: Path) -> None:
    process = start_sltt("serve", "--port", "0", "--storage", f"sqlite:{tmp_path / 'log.db'}")
    read_banner(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert err == ""
