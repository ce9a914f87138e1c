"""Run ``sltt serve`` in its own process, on a free port, and stop it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

BANNER = re.compile(r"^on (http://\S+)", re.MULTILINE)
START_LIMIT = 30.0  # seconds
STOP_LIMIT = 15.0
CLEAN_EXITS = {0, 128 + signal.SIGINT, -signal.SIGINT}  # the exit codes of an end by Ctrl-C


class ServerError(Exception):
    """The server did not start, or did not stop cleanly."""


class Server:
    """``with Server(folder, "sqlite:…") as server``: runs until the end of the block.

    The output goes to files in ``folder``: a pipe that is not read would block the server.
    """

    def __init__(self, folder: Path, storage: str, environ: Mapping[str, str] = {}) -> None:
        self._environ = environ
        self._output = folder / "server.out"
        self._errors = folder / "server.err"
        self._command = [_executable(), "serve", "--port", "0", "--storage", storage]
        self._stopped = False
        self.url = ""

    def __enter__(self) -> Self:
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environ},
                start_new_session=True,  # Ctrl-C reaches only this process, which stops the server later
            )
        try:
            self.url = self._wait_for_url()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._stopped:
            return
        if self._process.poll() is not None:  # the cause of any error in the block
            raise ServerError(f"the server died (exit code {self._process.returncode}){self._last_errors()}")
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._kill()

    def stop(self) -> int:
        """Stop the server as Ctrl-C does, and return its exit code.

        Raises:
            ServerError: it did not stop, or not cleanly.
        """
        self._stopped = True
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._kill()
            raise ServerError(f"the server still ran {STOP_LIMIT:.0f} s after SIGINT") from None
        if code not in CLEAN_EXITS or "Traceback" in self._errors.read_text(errors="replace"):
            raise ServerError(f"the server did not stop cleanly (exit code {code}){self._last_errors()}")
        return code

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None  # before reading, so that the last output is read
            if banner := BANNER.search(self._output.read_text(errors="replace")):
                return banner[1]
            if ended:
                raise ServerError(f"the server ended at once{self._last_errors()}")
            time.sleep(0.01)
        raise ServerError(f"the server printed no address within {START_LIMIT:.0f} s{self._last_errors()}")

    def _last_errors(self) -> str:
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return ": " + "\n  ".join(lines[-5:]) if lines else ""

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _executable() -> str:
    """Return the command ``sltt`` of this Python environment, or else the one on the PATH."""
    beside = Path(sys.executable).with_name("sltt")
    found = str(beside) if beside.exists() else shutil.which("sltt")
    if not found:
        raise ServerError(
            "the command sltt is not installed; `make demo` installs it, or: pip install -e '.[server,cli]'"
        )
    return found
