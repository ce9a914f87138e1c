"""The limits of the memory that hostile clients make the server use, read from /proc."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sltt_core.api.http import MAX_BODY_BYTES
from sltt_core.server.asgi import HEAVY_WORKERS
from tests.hostile.raw import HEALTH, POST, Connection, change, get, is_healthy, post
from tests.hostile.rows_of_bodies import EMPTY, compressed, zeros
from tests.hostile.rows_of_http import IN_CHUNKS
from tests.hostile.test_requests import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CLEAR = "clear_refs"

pytestmark = pytest.mark.skipif(
    not Path("/proc/self", CLEAR).exists(),
    reason="the peak memory of a process is read from /proc, which only Linux has",
)

MB = 1_000_000


class Watched:
    """A server in its own process, whose memory is measured."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        banner = "".join(process.stdout.readline() for _ in range(2))
        found = re.search(r"http://\S+", banner)
        assert found, banner
        self.url = found.group()
        self._proc = Path("/proc", str(process.pid))

    def resident(self) -> int:
        """Return its resident memory in bytes."""
        return self._status("VmRSS")

    def growth(self, work: Callable[[], object]) -> int:
        """Return by how many bytes its memory grew at most during `work`."""
        before = self.resident()
        (self._proc / CLEAR).write_text("5")  # reset the peak
        work()
        assert is_healthy(self.url)
        return self._status("VmHWM") - before

    def send(self, request: bytes, *endless: bytes) -> int | None:
        """Send a request, then repeat `endless` until the server reacts; return the response's status."""
        with Connection(self.url) as connection:
            going = connection.send(request)
            while endless and going and not connection.has_news(0):
                going = all(connection.send(part) for part in endless)
            response = connection.read()
            return response and response.status

    def send_all(self, requests: Sequence[bytes]) -> list[int | None]:
        """Send requests at the same time, each on its own connection."""
        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(self.send, requests))

    def _status(self, name: str) -> int:
        line = next(line for line in (self._proc / "status").read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024


@contextmanager
def serving(folder: Path, *before: str) -> Iterator[Watched]:
    """Start the command `sltt serve`; `before` holds words before it."""
    command = [*before, str(Path(sys.executable).with_name("sltt")), "serve", "--port", "0", "--quiet"]
    process = subprocess.Popen(
        [*command, "--storage", f"sqlite:{folder / 'log.db'}"], stdout=subprocess.PIPE, text=True
    )
    try:
        found = Watched(process)
        assert is_healthy(found.url)
        yield found
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with serving(tmp_path) as found:
        yield found


def test_bombs_are_decompressed_only_up_to_the_limit(watched: Watched) -> None:
    bombs = [
        compressed(zeros(2**30)),
        compressed(gzip.compress(zeros(2**30))),
        compressed(gzip.compress(zeros(2**30)), b"gzip, gzip"),
        compressed(EMPTY * 200_000),
        compressed(gzip.compress(bytes(100_000)) * 100),
    ]
    statuses: list[int | None] = []
    grown = watched.growth(lambda: statuses.extend(watched.send(bomb) for bomb in bombs))
    assert statuses == [413, 400, 415, 400, 413]
    assert grown < 5 * MAX_BODY_BYTES


ENDLESS = {
    "a header": (HEALTH + b"X-A: ", b"a" * 65_536),
    "headers": (HEALTH, b"X-A: b\r\n" * 8192),
    "blank lines": (b"", b"\r\n" * 32_768),
    "a path": (b"GET /", b"a" * 65_536),
    "trailers": (IN_CHUNKS + b"0\r\n", b"X-A: b\r\n" * 8192),
    "a trailer": (IN_CHUNKS + b"0\r\nX-A: ", b"a" * 65_536),
    "a chunk's extension": (IN_CHUNKS + b"1;", b"a" * 65_536),
}


def test_endless_headers_are_not_kept_in_memory(watched: Watched) -> None:
    statuses: list[int | None] = []

    def send() -> None:
        with ThreadPoolExecutor(8) as threads:
            for _ in range(4):
                statuses.extend(threads.map(lambda parts: watched.send(*parts), ENDLESS.values()))

    assert watched.growth(send) < 10 * MB
    assert set(statuses) <= {431, 400}


def test_endless_bodies_are_not_kept_in_memory(watched: Watched) -> None:
    endless = [
        (POST + b"Content-Length: 18446744073709551615\r\n\r\n", b" " * MB),
        (IN_CHUNKS, b"f4240\r\n" + b" " * MB + b"\r\n"),
        (IN_CHUNKS + b"7fffffffffffffff\r\n", b" " * MB),
        (get("/health", b"Content-Length: 18446744073709551615\r\n"), b" " * MB),
    ]
    statuses: list[int | None] = []

    def send() -> None:
        with ThreadPoolExecutor(8) as threads:
            statuses.extend(threads.map(lambda parts: watched.send(*parts), endless * 2))

    # Eight at the same time, each kept up to the limit, and twice while it is joined.
    assert watched.growth(send) < 8 * 2 * MAX_BODY_BYTES
    assert statuses == [413] * 8


def test_many_bodies_at_the_same_time_take_little_more_than_their_size(watched: Watched) -> None:
    body = change('{"a":"' + "x" * (MAX_BODY_BYTES - 100) + '"}')
    statuses: list[int | None] = []
    grown = watched.growth(lambda: statuses.extend(watched.send_all([post(body)] * 64)))
    assert statuses == [413] * 64
    # All are kept while they arrive; only a few are parsed at the same time.
    assert grown < 64 * MAX_BODY_BYTES * 1.25 + HEAVY_WORKERS * 4 * MAX_BODY_BYTES


def test_few_bodies_are_parsed_at_the_same_time(watched: Watched) -> None:
    size = 600_000
    body = change('{"a":[' + ",".join(["{}"] * (size // 3)) + "]}")
    statuses: list[int | None] = []
    grown = watched.growth(lambda: statuses.extend(watched.send_all([compressed(gzip.compress(body))] * 16)))
    assert statuses == [413] * 16
    # Parsed, a body of empty objects takes 40 times its size.
    assert grown < HEAVY_WORKERS * 40 * size + 30 * MB


def test_bad_requests_leak_no_memory(watched: Watched) -> None:
    rows = [row for table in TABLES.values() for row in table]
    small = [row.request for row in rows if isinstance(row.request, bytes) and len(row.request) < 10_000]
    assert len(small) > 300

    def send() -> None:
        for request in small:
            watched.send(request)

    send()
    before = watched.resident()
    for _ in range(3):
        send()
    assert watched.resident() - before < 2 * MB


def test_deep_json_does_not_overflow_small_stacks(tmp_path: Path) -> None:
    """CPython 3.13 crashes with a segmentation fault when it parses 10,000 brackets on a stack of 1 MB."""
    deep = [b"[" * 100_000, b'{"data":' * 100_000, change('{"a":' * 100_000 + "1" + "}" * 100_000)]
    with serving(tmp_path, "sh", "-c", 'ulimit -s 1024 && exec "$@"', "sh") as watched:
        assert [watched.send(post(body)) for body in deep] == [400] * 3
        assert watched.send_all([post(body) for body in deep * 10]) == [400] * 30
        assert is_healthy(watched.url)
