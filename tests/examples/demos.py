"""What the tests of the demonstrations share."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def check_ctrl_c(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
    """Interrupt a demonstration that has started its server; nothing may be left in its temporary folder."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"http://" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == b"demo: stopped\n"
        assert process.wait(timeout=60) == 130
    assert list(folder.iterdir()) == []
