"""File descriptors: the limit is raised, connections leave a reserve, and a request without one gets a 503."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from select import select
from uuid import uuid4

import pytest

from scripts.engines import DYNOXIDE
from sltt_core.server.descriptors import RESERVE, room_for_connections
from tests.conftest import engine_url
from tests.hostile.raw import Connection, get, post
from tests.hostile.row import GOOD
from tests.sltt_core.server.command import SLTT, read_banner

resource = pytest.importorskip("resource", reason="this system has no limit of file descriptors")


def serve_with(limits: str, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [str(SLTT), "serve", "--port", "0", "--storage", f"sqlite:{folder / 'log.db'}", *options]
    return subprocess.Popen(
        ["sh", "-c", f'{limits}; exec "$@"', "sh", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="the limits of a process are read from /proc")
def test_sltt_serve_raises_its_soft_limit_to_the_hard_one(tmp_path: Path) -> None:
    process = serve_with("ulimit -Sn 64; ulimit -Hn 1500", tmp_path)
    read_banner(process)
    found = re.search(r"^Max open files +(\d+) +(\d+)", Path(f"/proc/{process.pid}/limits").read_text(), re.MULTILINE)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert found
    assert found.groups() == ("1500", "1500")


def test_waiting_clients_leave_descriptors_for_the_storage(tmp_path: Path) -> None:
    process = serve_with("ulimit -n 150", tmp_path, "--quiet")
    url, _ = read_banner(process)
    with ExitStack() as stack:
        for _ in range(20):  # the storage opens its connections for as many readers
            further = stack.enter_context(Connection(url))
            further.send(get("/api/projects/p/changes"))
        opened = [stack.enter_context(Connection(url)) for _ in range(200)]
        for connection in opened:
            connection.send(get("/api/projects/nobody/changes?wait=50"))
        refused: list[Connection] = []
        while len(refused) < 50:  # it takes a moment until the first are refused
            refused = [connection for connection in opened if select([connection.socket], [], [], 0)[0]]
        for connection in refused:
            response = connection.read()
            assert response is not None
            assert (response.status, response.json["type"]) == (503, "urn:sltt:problem:server-busy")
            assert "connections of the server are in use" in response.json["detail"]
        for request in (get("/api/projects/p/changes"), post(GOOD)):
            with Connection(url) as connection:
                connection.send(request)
                response = connection.read()
                assert response is not None
                assert response.status == 503
    status = 503
    while status == 503:  # until the server has noticed that the others are closed
        with Connection(url) as connection:
            connection.send(post(GOOD))
            response = connection.read()
            assert response is not None
            status = response.status
    assert status == 200
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    [line] = err.splitlines()
    assert "requests are refused with 503: all" in line


@pytest.mark.parametrize(("free", "room"), [(10_000, 10_000 - RESERVE), (1000, 808), (100, 50), (1, 1), (0, 1)])
def test_connections_leave_a_reserve(free: int, room: int) -> None:
    assert room_for_connections(lambda: free) == room


def test_there_may_be_no_limit() -> None:
    assert room_for_connections(lambda: None) is None


def run_without_descriptors(folder: Path, opening: str) -> list[str]:
    """Run requests in a process whose descriptors are used up; return what each printed."""
    program = f"""
import json, os, resource, sys
from concurrent.futures import ThreadPoolExecutor
from sltt_core import Api, LocalStorageService, Request
reported = []
{opening}
api = Api(storage, report=reported.append)
JSON = {{"content-type": "application/json"}}
BODY = b'[{{"projectId":"p","entityType":"t","entityId":"e","data":{{}}}}]'
requests = [
    Request("GET", "/api/projects/p/changes"), Request("GET", "/api/projects"), Request("GET", "/api/projects/p/stats"),
    Request("GET", "/ready"), Request("POST", "/api/changes", "", JSON, BODY),
]
import sltt_core.api.openapi
api.handle(Request("GET", "/nothing"))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
found = []
for spare in range(2):
    for request in requests:
        response = api.handle(request)
        problem = json.loads(response.content)
        found.append(f"{{response.status}} {{problem.get('type', '').rpartition(':')[2]}} {{problem.get('detail')}}")
    os.close(held.pop())
print("\\n".join(found))
print("reported", {{type(error).__name__ for error in reported}})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_sqlite_without_a_descriptor_is_a_503_that_says_so(tmp_path: Path) -> None:
    opening = "storage = LocalStorageService('log.db'); storage.initialize()"
    *found, reported = run_without_descriptors(tmp_path, opening)
    # A reader has no connection yet, and needs descriptors for the file and its log.
    assert all(line.startswith("503 ") and "descriptor" in line for line in found[:4]), found
    assert all((line.startswith("503 ") and "descriptor" in line) or line.startswith("200 ") for line in found), found
    assert "ServerBusy" in reported


def test_dynamodb_without_a_descriptor_is_a_503_that_says_so(tmp_path: Path) -> None:
    opening = f"""
os.environ.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", USE_LOCAL_DYNAMODB="true")
os.environ["DYNAMODB_ENDPOINT"] = {engine_url(DYNOXIDE)!r}
from aws_backend.settings import open_dynamodb
storage = open_dynamodb("{uuid4()}", None)
storage.initialize()
storage._client._transport.close()  # the kept connection
"""
    *found, reported = run_without_descriptors(tmp_path, opening)
    assert all(line.startswith("503 ") and "descriptor" in line for line in found[:5]), found
    assert "StorageUnavailable" in reported or "ServerBusy" in reported
