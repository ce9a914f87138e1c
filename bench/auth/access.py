"""The processor time and instructions of a request with and without access control, and of verifying a device token."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from bench.support.context import PROJECT, BenchError, new_change
from bench.support.tables import Row, Table
from sltt_core.api.app import Api
from sltt_core.api.bearer import BearerAuthenticator
from sltt_core.api.device_tokens import DeviceTokens
from sltt_core.api.http import Request
from sltt_core.api.roles import RoleAccess
from sltt_core.auth.device_tokens import new_token
from sltt_core.base.runtime import Runtime
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.context import BenchContext

ROOT = Path(__file__).resolve().parents[2]
OPEN, ROLES, FRESH = "no access control", "roles and a device token", "roles and a device token, nothing remembered"
SERVERS = (OPEN, ROLES, FRESH)
_CHANGE = {"projectId": PROJECT, "entityType": "passage", "entityId": "ruth-1", "data": {"seconds": 41.5}}
REQUESTS = {
    "count": ("statistics", Request("GET", f"/api/projects/{PROJECT}/stats")),
    "read": ("a page of 100 changes", Request("GET", f"/api/projects/{PROJECT}/changes", "limit=100")),
    "append": (
        "an append of one change",
        Request("POST", "/api/changes", "", {"content-type": "application/json"}, json.dumps([_CHANGE]).encode()),
    ),
}


def measure(context: BenchContext) -> list[Table]:
    """Measure requests to the API of an SQLite file, without HTTP, and then device tokens alone."""
    tables = []
    with tempfile.TemporaryDirectory(dir=context.folder) as folder:
        for name, (title, _) in REQUESTS.items():
            cases = {
                server: prepared(Path(folder) / f"{name}-{number}.db", name, server)
                for number, server in enumerate(SERVERS)
            }
            found = context.rounds(
                {server: partial(_microseconds, case, context.size.seconds) for server, case in cases.items()}
            )
            rows = [Row(server, "µs", values, OPEN) for server, values in found.items()]
            tables.append(Table(f"access-{name}", f"Processor time of a request: {title}", rows))
        tables.append(_device_tokens(context, Path(folder)))
    return [*tables, *_instructions(context)]


def prepared(path: Path, request: str, server: str) -> Callable[[], object]:
    """Return a function that sends a request to the API of a new file with 100 changes."""
    clock = _Clock(1000.0 if server == FRESH else 0.0)
    storage = LocalStorageService(path)
    storage.initialize()
    storage.create_changes([new_change() for _ in range(100)], owners={PROJECT: "ada"})
    secret = new_token(os.urandom)
    storage.create_token(secret.id, secret.digest(), "editor", "tablet", project_id=PROJECT)
    sent = REQUESTS[request][1]
    if server == OPEN:
        api = Api(storage)
    else:
        runtime = Runtime(steady_clock=clock)
        authenticator = BearerAuthenticator(None, None, DeviceTokens(storage, runtime=runtime))
        api = Api(storage, access=RoleAccess(storage, runtime=runtime), authenticator=authenticator)
        sent = sent.replace(headers={**sent.headers, "authorization": f"Bearer {secret.reveal()}"})

    def send() -> None:
        clock.advance()
        response = api.handle(sent)
        if response.status != 200:
            raise BenchError(f"the API responded with {response.status}")

    return send


class _Clock:
    """A steady clock that advances by so many seconds before each request, so that nothing is remembered."""

    def __init__(self, step: float) -> None:
        self._step, self._now = step, 0.0

    def advance(self) -> None:
        self._now += self._step

    def __call__(self) -> float:
        return self._now


def _device_tokens(context: BenchContext, folder: Path) -> Table:
    storage = LocalStorageService(folder / "tokens.db")
    storage.initialize()
    secret = new_token(os.urandom)
    storage.create_token(secret.id, secret.digest(), "editor", "tablet", project_id=PROJECT)
    cases = {}
    for name, step in (("read from SQLite", 1000.0), ("remembered", 0.0)):
        clock = _Clock(step)
        tokens = DeviceTokens(storage, runtime=Runtime(steady_clock=clock))

        def use(clock: _Clock = clock, tokens: DeviceTokens = tokens) -> None:
            clock.advance()
            tokens.use_token(secret.reveal())

        cases[name] = use
    found = context.rounds({name: partial(_microseconds, use, context.size.seconds) for name, use in cases.items()})
    rows = [Row(name, "µs", values, "read from SQLite") for name, values in found.items()]
    storage.close()
    return Table("access-device-token", "Processor time of the verification of a device token", rows)


def _microseconds(send: Callable[[], object], seconds: float) -> float:
    """Return the processor time of a call."""
    for _ in range(5):
        send()
    end, done, begin = perf_counter() + seconds, 0, process_time()
    while True:
        send()
        done += 1
        if perf_counter() >= end:
            return (process_time() - begin) / done * 1e6


def _instructions(context: BenchContext) -> list[Table]:
    """Count the instructions of a request: the difference of two processes that send different numbers of them."""
    valgrind = shutil.which("valgrind")
    if not context.size.instructions or valgrind is None:
        return []
    _run([], "read", FRESH, 1)  # compiles the modules
    tables = []
    for name, (title, _) in REQUESTS.items():
        counts = {server: partial(_thousands, valgrind, name, server) for server in SERVERS}
        found = context.rounds(counts, 1)
        rows = [Row(server, "thousand", values, OPEN) for server, values in found.items()]
        tables.append(Table(f"access-{name}-instructions", f"Instructions of a request: {title}", rows))
    return tables


def _thousands(valgrind: str, request: str, server: str) -> float:
    few, many = (_count(valgrind, request, server, times) for times in (20, 120))
    return (many - few) / 100 / 1000


def _count(valgrind: str, request: str, server: str, times: int) -> int:
    command = [valgrind, "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    output = _run(command, request, server, times)
    found = re.search(r"I +refs: +([\d,]+)", output)
    if found is None:
        raise BenchError(f"valgrind counted nothing: {output.strip()[-300:]}")
    return int(found[1].replace(",", ""))


def _run(command: list[str], request: str, server: str, times: int) -> str:
    """Send requests in a process of its own, and return what it writes to stderr."""
    with tempfile.TemporaryDirectory() as folder:
        program = (
            "from pathlib import Path\nfrom bench.auth.access import prepared\n"
            f"send = prepared(Path({folder!r}) / 'log.db', {request!r}, {server!r})\n"
            f"for _ in range({times}): send()"
        )
        run = subprocess.run(
            [*command, sys.executable, "-c", program],
            capture_output=True,
            encoding="utf-8",
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0"},
            check=False,
        )
    if run.returncode != 0:
        raise BenchError(f"the requests failed: {run.stderr.strip()[-300:]}")
    return run.stderr
