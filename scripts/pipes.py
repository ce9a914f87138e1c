"""Runs a program whose output nobody may read to its end: `python examples/demo.py | head -1`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

BROKEN_PIPE = 141
"""The exit code of a program whose output is not read: 128 + SIGPIPE, as a shell reports it for other programs."""


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and end the process with the exit code that it returns, or raises as `SystemExit`.

    If nobody reads the output any more, the process ends with `BROKEN_PIPE` and without a message. A `BrokenPipeError`
    of anything else, such as a socket, is raised.
    """
    code: object
    try:
        try:
            code = main()
        except SystemExit as end:  # of argparse, which has printed its help
            code = end.code
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        broken = [stream for stream in (sys.stdout, sys.stderr) if _is_broken(stream)]
        if not broken:
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in broken:  # the interpreter flushes them once more when it ends
            os.dup2(nowhere, stream.fileno())
        code = BROKEN_PIPE
    sys.exit(code)


def _is_broken(stream: TextIO) -> bool:
    """Return whether nobody can read what is written to a stream (poll(2): `POLLERR` for the write end of a pipe)."""
    import select

    poll = select.poll()
    poll.register(stream.fileno(), select.POLLOUT)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
