"""Processes that do something at the same moment."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def run_together(
    program: str, *arguments: str, processes: int = 3, then: Callable[[], object] | None = None
) -> list[str]:
    """Run the program in several processes and return what each printed after `ready`.

    The program prints `ready`, reads a line, and goes on. No process gets the line before all are ready.
    `then` is called as soon as all have got it.
    """
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    if then is not None:
        then()
    printed = []
    for process in started:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        printed.append(output)
    return printed
