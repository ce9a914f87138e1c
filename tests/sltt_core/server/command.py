"""The command `sltt` as a process, and its banner."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SLTT = Path(sys.executable).with_name("sltt")


def start_sltt(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SLTT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def read_banner(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    """Read up to the banner's empty last line; return the server's URL and the lines."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(8)]
    found = re.search(r"^on (http://\S+) ", "".join(lines), re.MULTILINE)
    assert found, (lines, process.stderr and process.stderr.read())
    return found[1], lines


def try_the_curls(banner: list[str]) -> None:
    """Run the banner's three commands on an empty log, and check their output."""
    curls = [line.strip() for line in banner if line.strip().startswith("curl ")]
    assert len(curls) == 3
    outputs = [subprocess.run(["sh", "-c", f"{curl} -sS"], capture_output=True, text=True) for curl in curls]
    assert [output.returncode for output in outputs] == [0, 0, 0]
    assert '"createdSeqs": [1]' in outputs[0].stdout
    assert "Famine in Bethlehem" in outputs[1].stdout
    assert '"total": 1' in outputs[2].stdout
