"""The local DynamoDBs: started once in a run, by the first worker that needs one, and stopped at the end of the run."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from scripts import engines

FOLDER = "SLTT_ENGINES_FOLDER"
MUTATION = "SLTT_MUTATION"
"""Set by `make mutate`: all tests run in one process, on the model, and the quick ones first."""


def pytest_configure(config: pytest.Config) -> None:
    if FOLDER not in os.environ:  # a worker of a parallel run inherits it from the main process
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="sltt-engines-")
        config.stash[_OWNED] = Path(os.environ[FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(_OWNED, None)
    if folder is not None:
        for note in folder.glob("*.pid"):
            with suppress(ProcessLookupError):
                os.killpg(int(note.read_text()), signal.SIGKILL)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        os.environ.pop(FOLDER, None)


_OWNED = pytest.StashKey[Path]()

TRACED = ("tests/test_front_door.py", "tests/sltt_core/", "tests/aws_backend/", "tests/contract/")
"""The tests that exercise src directly. Others measure time, memory or calls of a server, which the tracer changes."""
UNTRACED = ("tests/sltt_core/sqlite/test_interruptions.py",)
"""Interrupts a thread anywhere: also inside the tracer, whose lock would stay held."""
SLOW_ENGINE = re.compile("dynamodb-?local", re.IGNORECASE)
"""Covers the same code as the other engines."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid
        if name.startswith(TRACED) and not name.startswith(UNTRACED) and not SLOW_ENGINE.search(name):
            item.add_marker("traced")
    if MUTATION in os.environ:
        from tests.mutation import quickest_first

        quickest_first(items)


MODEL = "model"
"""The model of DynamoDB in tests/dynamodb_model, served like the engines."""


def start_model() -> engines.Engine:
    port = engines.free_port()
    return engines.launch(MODEL, [sys.executable, "-m", "tests.dynamodb_model.serve", "--port", str(port)], port)


def engine_url(name: str) -> str:
    """Return the URL of an engine; start it if no worker has. If it cannot run, skip the test, or fail under CI."""
    if MUTATION in os.environ:
        from tests.mutation import model_url

        return model_url()
    folder = Path(os.environ[FOLDER])
    note = folder / f"{name}.url"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not note.exists():
            try:
                engine = start_model() if name == MODEL else engines.start(name)
            except engines.CannotRun as error:
                note.write_text(f"! {error}")
            else:
                if engine.process is not None:
                    (folder / f"{name}.pid").write_text(str(engine.process.pid))
                    engine.process.returncode = 0  # it outlives this worker and is stopped at the end of the run
                note.write_text(engine.url)
    url = note.read_text()
    if url.startswith("!"):
        if os.environ.get("CI"):
            pytest.fail(f"{url[2:]}; under CI every engine must run")
        pytest.skip(url[2:])
    return url


@pytest.fixture(params=engines.NAMES)
def dynamodb_url(request: pytest.FixtureRequest) -> str:
    """The URL of each local DynamoDB in turn."""
    return engine_url(request.param)
