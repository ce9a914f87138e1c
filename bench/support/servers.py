"""`sltt serve` in its own process, the system's figures of the process, and the processes of its clients."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from bench.support.context import DATA, PROJECT, BenchError
from examples.support.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = Path(__file__).with_name("clients.py")
CHANGE = json.dumps(
    {"projectId": PROJECT, "entityType": "passage", "entityId": "ruth-1", "operation": "update", "data": DATA}
)
KEY = "Idempotency-Key: @@@@@@@@@@@@@@@@\r\n"
"""A client replaces the signs with another number for each request."""
CHANGES = f"/api/projects/{PROJECT}/changes"


class BenchServer(Server):
    """A server on a log, with options of `sltt serve`."""

    def __init__(self, folder: Path, log: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, f"sqlite:{log}")
        self._command += options

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        url = urlsplit(self.url)
        assert url.hostname is not None
        assert url.port is not None
        return url.hostname, url.port

    @property
    def process(self) -> Path:
        """The folder of the process in /proc, which exists on Linux."""
        return Path(f"/proc/{self._process.pid}")


def status(process: Path, name: str) -> int:
    """Return a figure of a process: `VmRSS` and `VmHWM` (current and peak memory, in kB), `Threads`."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise BenchError(f"the system does not report {name} of a process")


def cpu_ms(process: Path) -> float:
    """Return the milliseconds of processor time of a process's threads; 0 when the system does not report it."""
    return sum(int(thread.read_text().split()[0]) for thread in process.glob("task/*/schedstat")) / 1e6


def forget_peak(process: Path) -> None:
    """Reset `VmHWM` to the current memory."""
    (process / "clear_refs").write_text("5")


def get(path: str) -> str:
    """Return a GET request as text."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(changes: int, headers: str = "") -> str:
    """Return a request that appends `changes` changes."""
    body = "[" + ",".join([CHANGE] * changes) + "]"
    head = f"POST /api/changes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}"


class Load(NamedTuple):
    """The figures of clients that send requests."""

    rate: float
    """Responses per second."""
    taken: list[float]
    """Milliseconds of each response."""
    cpu: float
    """Milliseconds of processor time of the server for each."""


def load(server: BenchServer, request: str, clients: int, seconds: float) -> Load:
    """Let clients in their own process repeat a request for `seconds`."""
    with _clients(server) as (say, heard):
        _write(say, {"do": "connect", "clients": clients, "request": request})
        _read(heard)
        before = cpu_ms(server.process)
        _write(say, {"do": "load", "request": request, "seconds": seconds})
        found = _read(heard)
        used = cpu_ms(server.process) - before
    return Load(found["rate"], found["taken"], used / len(found["taken"]))


class Waiters:
    """Clients in their own process that wait for a change."""

    def __init__(self, say: IO[str], heard: IO[str]) -> None:
        self._say, self._heard = say, heard

    def wait(self, paths: list[str]) -> None:
        """Let one client request each path; return when all requests are sent."""
        _write(self._say, {"do": "wait", "requests": [get(path) for path in paths]})
        _read(self._heard)

    def expect(self) -> None:
        """Start to record the times of the responses."""
        _write(self._say, {"do": "collect"})
        _read(self._heard)

    def response_times(self) -> list[float]:
        """Return the times of the responses, of the clock `time.monotonic`, which all processes share."""
        times: list[float] = _read(self._heard)
        return times


@contextmanager
def waiters(server: BenchServer) -> Iterator[Waiters]:
    """Run a process of waiting clients until the end of the block."""
    with _clients(server) as (say, heard):
        yield Waiters(say, heard)


@contextmanager
def _clients(server: BenchServer) -> Iterator[tuple[IO[str], IO[str]]]:
    command = [sys.executable, "-I", "-S", str(CLIENTS), *map(str, server.address)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C reaches only this process, which ends it
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with process.stdin, process.stdout:
            yield process.stdin, process.stdout
    finally:
        process.kill()
        process.wait()


def _write(to: IO[str], order: dict[str, Any]) -> None:
    to.write(json.dumps(order) + "\n")
    to.flush()


def _read(heard: IO[str]) -> Any:
    line = heard.readline()
    if not line:
        raise BenchError("a process of clients ended early; its output is above")
    response = json.loads(line)
    if isinstance(response, dict) and "error" in response:
        raise BenchError(f"a client failed: {response['error']!r}")
    return response
