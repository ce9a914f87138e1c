"""`sltt serve` as a process of its own, what the system says of it, and the processes that are its clients."""

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
"""A client puts another number in the place of the signs each time."""
CHANGES = f"/api/projects/{PROJECT}/changes"


class BenchServer(Server):
    """A server on a log, with options of `sltt serve`."""

    def __init__(self, folder: Path, log: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder, f"sqlite:{log}")
        self._command += options

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        url = urlsplit(self.url)
        assert url.hostname is not None
        assert url.port is not None
        return url.hostname, url.port

    @property
    def process(self) -> Path:
        """Where the system tells about the process, if it does (Linux)."""
        return Path(f"/proc/{self._process.pid}")


def status(process: Path, name: str) -> int:
    """A number of the system's on a process: `VmRSS` and `VmHWM` (now and at most, in kB), `Threads`."""
    for line in (process / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise BenchError(f"the system does not tell {name} of a process")


def cpu_ms(process: Path) -> float:
    """How many milliseconds of processor time the threads of a process have taken; 0 where the system does not tell."""
    return sum(int(thread.read_text().split()[0]) for thread in process.glob("task/*/schedstat")) / 1e6


def forget_peak(process: Path) -> None:
    """Let `VmHWM` begin anew at what is in memory now."""
    (process / "clear_refs").write_text("5")


def get(path: str) -> str:
    """A request, as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(changes: int, headers: str = "") -> str:
    """A request that appends so many changes."""
    body = "[" + ",".join([CHANGE] * changes) + "]"
    head = f"POST /api/changes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}"


class Load(NamedTuple):
    """What clients that send requests got."""

    rate: float
    """Answers a second."""
    taken: list[float]
    """How long each took, in milliseconds."""
    cpu: float
    """Milliseconds of processor time that the server took for each."""


def load(server: BenchServer, request: str, clients: int, seconds: float) -> Load:
    """Let clients in one process of their own send a request over and over for so long."""
    with _clients(server) as (say, heard):
        _write(say, {"do": "connect", "clients": clients, "request": request})
        _read(heard)
        before = cpu_ms(server.process)
        _write(say, {"do": "load", "request": request, "seconds": seconds})
        found = _read(heard)
        used = cpu_ms(server.process) - before
    return Load(found["rate"], found["taken"], used / len(found["taken"]))


class Waiters:
    """Clients in one process of their own, that wait for a change."""

    def __init__(self, say: IO[str], heard: IO[str]) -> None:
        self._say, self._heard = say, heard

    def wait(self, paths: list[str]) -> None:
        """Let a client ask for each path; returns when they have."""
        _write(self._say, {"do": "wait", "requests": [get(path) for path in paths]})
        _read(self._heard)

    def expect(self) -> None:
        """Note from here on when each is answered."""
        _write(self._say, {"do": "collect"})
        _read(self._heard)

    def answered(self) -> list[float]:
        """When each was answered, by the clock `time.monotonic`, which all processes share."""
        times: list[float] = _read(self._heard)
        return times


@contextmanager
def waiters(server: BenchServer) -> Iterator[Waiters]:
    """Clients that wait, until the end of the block."""
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
        start_new_session=True,  # Ctrl-C reaches us alone, and we end it
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
        raise BenchError("a process of clients ended early; what it said stands above")
    response = json.loads(line)
    if isinstance(response, dict) and "error" in response:
        raise BenchError(f"a client was answered {response['error']!r}")
    return response
