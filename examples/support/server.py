"""Run ``sltt serve`` as a process of its own, on a free port, and stop it again."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

BANNER = re.compile(r"(http://(?:127\.0\.0\.1|localhost|\[::1\]):\d+)(?=\D)")
START_LIMIT = 30.0  # seconds
STOP_LIMIT = 15.0
CLEAN_EXITS = {0, 128 + signal.SIGINT, -signal.SIGINT}  # the ways to say "ended by Ctrl-C"


class ServerError(Exception):
    """The server did not start, or did not stop as it should."""


class Server:
    """``with Server(folder, "sqlite:…") as server``: runs from there to the end of the block.

    The output goes to files in ``folder``: a pipe that nobody reads would stop the server sooner or later.
    """

    def __init__(self, folder: Path, storage: str) -> None:
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
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,  # Ctrl-C reaches us alone, and we tell the server when we are ready
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
        if self._process.poll() is not None:  # which explains whatever brought us here
            raise ServerError(f"the server died (exit code {self._process.returncode}){self._last_words()}")
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._kill()

    def stop(self) -> int:
        """Stop the server as Ctrl-C does, and return its exit code.

        Raises:
            ServerError: it did not end, or not cleanly.
        """
        self._stopped = True
        self._process.send_signal(signal.SIGINT)
        try:
            code = self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._kill()
            raise ServerError(f"the server still ran {STOP_LIMIT:.0f} s after SIGINT") from None
        if code not in CLEAN_EXITS or "Traceback" in self._errors.read_text(errors="replace"):
            raise ServerError(f"the server did not stop cleanly (exit code {code}){self._last_words()}")
        return code

    def _wait_for_url(self) -> str:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            ended = self._process.poll() is not None  # asked first: what it wrote before it ended counts
            if banner := BANNER.search(self._output.read_text(errors="replace")):
                return banner[1]
            if ended:
                raise ServerError(f"the server ended at once{self._last_words()}")
            time.sleep(0.01)
        raise ServerError(f"the server said no address within {START_LIMIT:.0f} s{self._last_words()}")

    def _last_words(self) -> str:
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return ": " + "\n  ".join(lines[-5:]) if lines else ""

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _executable() -> str:
    """The command ``sltt`` of the environment that runs this, else the one on the PATH."""
    beside = Path(sys.executable).with_name("sltt")
    found = str(beside) if beside.exists() else shutil.which("sltt")
    if not found:
        raise ServerError("no command sltt; `make demo` installs it, or: pip install -e '.[server,cli]'")
    return found
