"""Where the log lines go: a stream that blocks, fails or is missing holds up and breaks no request."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
from threading import Event
from typing import TYPE_CHECKING, NoReturn

import httpx
import pytest

from sltt_core.api.http import Request
from sltt_core.server.access_log import AccessEntry, AccessLog
from sltt_core.server.log_lines import BackgroundWriter, ServerReports, line_writer
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.sltt_core.server.command import SLTT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

ENTRY = AccessEntry(Request("GET", "/health"), 200, 1, 0.001, "id")


class Failing(io.StringIO):
    """Fails for as long as `error` is set."""

    error: BaseException | None = OSError(28, "No space left on device")

    def isatty(self) -> bool:
        if self.error is not None:
            raise self.error
        return False

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


@pytest.fixture
def full_pipe() -> Iterator[TextIO]:
    """A pipe that is full and that nobody reads."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    try:
        while True:
            os.write(write_end, b"x" * 65_536)
    except BlockingIOError:
        pass
    os.set_blocking(write_end, True)
    stream = os.fdopen(write_end, "w", closefd=False)
    yield stream
    os.close(read_end)  # lets the writer thread go


def closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


def broken_pipe() -> TextIO:
    read_end, write_end = os.pipe()
    os.close(read_end)
    return os.fdopen(write_end, "w")


def full_disk() -> TextIO:
    return open("/dev/full", "w")


@pytest.mark.parametrize("make", [Failing, closed, broken_pipe, full_disk])
def test_a_stream_that_fails_breaks_no_kept_connection(tmp_path: Path, make: Callable[[], TextIO]) -> None:
    stream = make()
    log = AccessLog(stream)
    storage = LocalStorageService(tmp_path / "log.db")
    with RestApiServer(storage=storage, access_log=log, port=0) as server, httpx.Client(base_url=server.url) as client:
        assert [client.get("/health").status_code for _ in range(3)] == [200, 200, 200]
    assert log._lines.dropped == 3
    stream.close()


def test_a_pipe_nobody_reads_holds_up_neither_requests_nor_the_stop(tmp_path: Path, full_pipe: TextIO) -> None:
    storage = LocalStorageService(tmp_path / "log.db")
    server = RestApiServer(storage=storage, access_log=AccessLog(full_pipe), port=0)
    with server, httpx.Client(base_url=server.url, timeout=5) as client:
        assert [client.get("/health").status_code for _ in range(3)] == [200, 200, 200]


def test_a_missing_stream_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdout", None)
    storage = LocalStorageService(tmp_path / "log.db")
    with RestApiServer(storage=storage, access_log=AccessLog(), port=0) as server:
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_dropped_lines_are_counted_in_a_later_line() -> None:
    stream = Failing()
    log = AccessLog(stream)
    for _ in range(3):
        log.write(ENTRY)
    assert log.flush(30)
    stream.error = None
    log.write(ENTRY)
    assert log.flush(30)
    line, report = map(json.loads, stream.getvalue().splitlines())
    assert line["route"] == "GET /health"
    assert report["droppedLines"] == 3


def test_the_queue_is_bounded() -> None:
    entered, released = Event(), Event()
    batches = list[tuple[list[int], int]]()

    def write(items: Sequence[int], dropped: int) -> None:
        batches.append((list(items), dropped))
        entered.set()
        assert released.wait(30)

    writer = BackgroundWriter[int](write, max_lines=10)
    writer.put(0)
    assert entered.wait(30)
    for number in range(1, 1_001):
        writer.put(number)
    assert writer.dropped == 990
    released.set()
    assert writer.flush(30)
    assert batches == [([0], 0), (list(range(1, 11)), 990)]


def test_lines_come_in_order_and_whole() -> None:
    stream = io.StringIO()
    lines = line_writer(stream, str)
    for number in range(1_000):
        lines.put(f"line {number}")
    assert lines.flush(30)
    assert stream.getvalue().splitlines() == [f"line {number}" for number in range(1_000)]


def test_a_writer_survives_whatever_is_raised() -> None:
    def fail(items: object, dropped: int) -> NoReturn:
        raise RecursionError

    writer = BackgroundWriter[int](fail)
    for number in range(3):
        writer.put(number)
        assert writer.flush(30)
    assert writer.dropped == 3


def test_error_reports_are_handled_on_another_thread(caplog: pytest.LogCaptureFixture) -> None:
    reports = ServerReports(), ServerReports()  # as of two servers in one process
    for report in reports:
        report.attach()
    logging.getLogger("sltt.server").error("it failed")
    for report in reports:
        report.detach()
    assert caplog.messages == ["it failed"]


PROGRAM = """
import sys
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService

server = RestApiServer(storage=LocalStorageService(sys.argv[1]), port=0)
{body}
"""


def run_program(path: Path, body: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(body=body)
    return subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_program_that_ends_without_stop_ends_the_server_too(tmp_path: Path) -> None:
    run = run_program(
        tmp_path / "log.db",
        "server.start()\nimport urllib.request as u\nprint(u.urlopen(server.url + '/health').status)",
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "200\n", "")
    assert not (tmp_path / "log.db-wal").exists()  # the storage was closed


def test_a_server_serves_while_another_thread_of_an_ended_main_thread_runs(tmp_path: Path) -> None:
    body = """
from threading import Thread, main_thread
import urllib.request as u
def late():
    main_thread().join()
    url = server.url
    request = u.Request(url + "/api/projects/p/stats")
    print(u.urlopen(request).status)
server.start()
Thread(target=late).start()
"""
    run = run_program(tmp_path / "log.db", body)
    assert (run.returncode, run.stdout, run.stderr) == (0, "200\n", "")


def test_a_clean_up_error_does_not_hide_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorageService(tmp_path / "log.db")
    close = storage.close

    def fail() -> None:
        close()
        raise OSError("cannot close")

    monkeypatch.setattr(storage, "close", fail)
    with pytest.raises(KeyError, match="mistake") as caught, RestApiServer(storage=storage, port=0):
        raise KeyError("mistake")
    assert "cannot close" in str(caught.value.__notes__)
    server = RestApiServer(storage=storage)
    server.bind(port=0)
    before = signal.getsignal(signal.SIGTERM)

    def not_ready(url: str) -> None:
        raise KeyError("mistake")

    with pytest.raises(KeyError, match="mistake"):
        server.serve_forever(not_ready)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("stdout", ["closed", "full"])
def test_sltt_serve_starts_and_stops_whatever_its_streams_are(tmp_path: Path, full_pipe: TextIO, stdout: str) -> None:
    port = str(free_port())
    arguments = [str(SLTT), "serve", "--port", port, "--storage", f"sqlite:{tmp_path / 'x.db'}"]
    if stdout == "closed":
        process = subprocess.Popen(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *arguments])
    else:
        process = subprocess.Popen(arguments, stdout=full_pipe, stderr=full_pipe)
    transport = httpx.HTTPTransport(retries=12)  # until it listens: 0.5 s, 1 s, …
    try:
        with httpx.Client(transport=transport, timeout=10) as client:
            assert [client.get(f"http://127.0.0.1:{port}/health").status_code for _ in range(3)] == [200] * 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port
