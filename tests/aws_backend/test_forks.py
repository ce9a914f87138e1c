"""After a fork, parent and child each use connections, locks and queues of their own, on a real DynamoDB."""

from __future__ import annotations

import ast
import gc
import multiprocessing
import os
import subprocess
import sys
from _thread import LockType, allocate_lock
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.credentials import CredentialChain
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.storage import DynamoDBStorageService
from scripts.engines import DYNOXIDE
from tests.aws_backend.logs import KEY, new_table
from tests.conftest import engine_url
from tests.contract.logs import batch, everything, new
from tests.forks import NEEDS_FORK, in_child
from tests.test_layers import SRC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = NEEDS_FORK

ROOT = Path(__file__).resolve().parents[2]
PROJECTS = ["alice", "ben", "chloe", "dora"]
LENGTH = 30

LOCKS = {
    "AppendQueue._lock",
    "CredentialChain._lock",
    "DynamoDBStorageService._opening",
    "KnownHeads._lock",
    "Notifier._lock",
    "RetryQuota._lock",
}
"""Every lock that an open storage holds. The child of a fork must replace each: see `sltt_core.base.forks`."""

MAKERS = {
    "aws_backend.dynamodb.credentials": {"allocate_lock"},
    "aws_backend.dynamodb.retry": {"allocate_lock"},
    "aws_backend.log.appender": {"new_lock"},  # of one append; the queue forgets it
    "aws_backend.log.notifier": {"allocate_lock", "new_lock"},
    "aws_backend.log.queue": {"new_lock"},
    "aws_backend.log.table": {"allocate_lock"},
    "aws_backend.storage": {"new_lock"},
    "sltt_core.base.runtime": {"allocate_lock", "new_lock"},
    "sltt_core.http_client.cancellation": {"Thread"},  # of one attempt to connect, in clients only
}
"""The modules below the storage that make locks or threads, and the names they use for it."""

DAEMON = """
import os, sys
from aws_backend import DynamoDBStorageService
from sltt_core import NewChange
storage = DynamoDBStorageService(sys.argv[1], "p", use_local_dynamodb=True, local_endpoint=sys.argv[2])
storage.initialize()
storage.create_change(NewChange(entity_type="t", entity_id="before", data={}))
if os.fork():
    sys.exit()  # a clean end, which deallocates everything
os.setsid()
if os.fork():
    sys.exit()
storage.create_change(NewChange(entity_type="t", entity_id="daemon", data={}))
storage.close()
print("done", flush=True)
"""


class Source:
    """Credentials, and how often they were loaded."""

    place = "test"

    def __init__(self) -> None:
        self.loads = 0

    def load(self) -> Credentials:
        self.loads += 1
        return Credentials("local", "local")


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def client(source: Source) -> Iterator[DynamoDBClient]:
    made = DynamoDBClient("us-east-1", CredentialChain([source]).get, endpoint=engine_url(DYNOXIDE))
    yield made
    made.close()


@pytest.fixture
def storage(client: DynamoDBClient) -> Iterator[DynamoDBStorageService]:
    """A storage with a log of each of `PROJECTS`, and with connections that were used."""
    name = new_table(engine_url(DYNOXIDE))
    with DynamoDBStorageService(name, use_local_dynamodb=True, client=client) as opened:
        for project in PROJECTS:
            opened.create_changes([new(f"{project}-{number}", project) for number in range(LENGTH)])
        threads = [Thread(target=everything, args=(opened, project)) for project in PROJECTS]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield opened


def locks_of(root: object) -> dict[str, Any]:
    """Return every lock that can be reached from an object, by the class and the attribute that hold it."""
    found: dict[str, Any] = {}
    seen: set[int] = set()
    left: list[tuple[str, object]] = [("", root)]
    while left:
        name, value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        kind = type(value)
        if kind is LockType:
            found[name] = value
        elif kind is FunctionType:
            left += [(name, cell.cell_contents) for cell in value.__closure__ or ()]  # type: ignore[attr-defined]
        elif kind is MethodType or kind in (dict, list, tuple, set):
            left += [(name, referent) for referent in gc.get_referents(value)]
        elif kind.__module__.partition(".")[0] in ("aws_backend", "sltt_core"):
            names = {name for base in kind.__mro__ for name in base.__dict__.get("__slots__", ())}
            names |= getattr(value, "__dict__", {}).keys() | set(getattr(kind, "fields", ()))
            left += [(f"{kind.__name__}.{name}", getattr(value, name, None)) for name in names - {"__weakref__"}]
    return found


# The list of locks and threads


def test_every_lock_of_an_open_storage_is_listed(storage: DynamoDBStorageService) -> None:
    assert set(locks_of(storage)) == LOCKS


def test_every_module_that_makes_locks_or_threads_is_listed() -> None:
    makers = {"allocate_lock", "new_lock", "Lock", "RLock", "Condition", "Semaphore", "Thread", "start_new_thread"}
    makers |= {"Timer", "Barrier", "ThreadPoolExecutor", "lru_cache"}
    found: dict[str, set[str]] = {}
    for folder in ("aws_backend", "sltt_core/http_client", "sltt_core/base", "sltt_core/log", "sltt_core/model"):
        for path in sorted((SRC / folder).rglob("*.py")):
            names = set()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names |= {node.id} if isinstance(node, ast.Name) else set()
                names |= {node.attr} if isinstance(node, ast.Attribute) else set()
            if names & makers:
                found[".".join(path.relative_to(SRC).with_suffix("").parts)] = names & makers
    assert found == MAKERS


def test_no_lock_that_is_held_at_the_fork_stays_held_in_the_child(
    storage: DynamoDBStorageService, source: Source
) -> None:
    def child() -> None:
        assert set(locks_of(storage)) == LOCKS
        assert [name for name, lock in locks_of(storage).items() if lock.locked()] == []
        storage.initialize()
        mark = storage.write_mark()
        storage.create_changes(batch(2, "alice"), KEY)
        assert storage.write_mark() != mark
        storage.wait_for_write(storage.write_mark(), 0.01)
        storage._client._quota.refund(1)  # type: ignore[union-attr]
        storage._client._chain.replace_expired(Credentials("local", "local"))  # type: ignore[union-attr]
        assert source.loads == 2
        storage.close()

    held = locks_of(storage)
    for lock in held.values():
        lock.acquire()
    wait = in_child(child)
    for lock in held.values():
        lock.release()
    wait()
    assert len(everything(storage, "alice")) == LENGTH + 2


# Reading and writing


def read_own(storage: DynamoDBStorageService, project: str, times: int) -> None:
    expected = [f"{project}-{number}" for number in range(LENGTH)]
    for number in range(times):
        changes = storage.get_changes_with_cursor(project_id=project).changes
        assert [change.entity_id for change in changes] == expected
        assert storage.get_change(number % LENGTH + 1, project_id=project).entity_id == expected[number % LENGTH]


def test_parent_and_children_read_different_projects_at_the_same_time(storage: DynamoDBStorageService) -> None:
    waits = [in_child(lambda project=project: read_own(storage, project, 100)) for project in PROJECTS[1:]]  # type: ignore[misc]
    read_own(storage, PROJECTS[0], 100)
    for wait in waits:
        wait()


def test_a_child_that_only_ends_or_closes_leaves_the_connections_of_the_parent_alone(
    storage: DynamoDBStorageService, client: DynamoDBClient
) -> None:
    kept = [connection for connection, _ in client._transport._idle]
    assert kept
    in_child(lambda: None)()
    in_child(storage.close)()
    in_child(client.close)()
    in_child(lambda: read_own(storage, PROJECTS[1], 1))()
    read_own(storage, PROJECTS[0], 5)
    assert [connection for connection, _ in client._transport._idle if connection in kept]


def test_the_credentials_stay_valid(storage: DynamoDBStorageService, source: Source) -> None:
    def child() -> None:
        read_own(storage, PROJECTS[0], 1)
        assert source.loads == 1

    in_child(child)()


def test_a_child_of_a_fork_during_a_group_commit_appends(
    storage: DynamoDBStorageService, client: DynamoDBClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One thread leads and is in the middle of its request, others wait in its queue."""
    sent, go_on = Event(), Event()
    parent = os.getpid()
    send = client._transport.send

    def slowly(*arguments: Any, **options: Any) -> Any:
        if os.getpid() == parent:
            sent.set()
            go_on.wait(60)
        return send(*arguments, **options)

    monkeypatch.setattr(client._transport, "send", slowly)
    threads = [Thread(target=storage.create_changes, args=(batch(1, "alice"),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert sent.wait(60)
    queue = storage._open.appender._queue._queues["alice"]
    late = monotonic() + 60
    while len(queue.waiting) < 2:
        assert monotonic() < late

    def child() -> None:
        assert storage.create_changes(batch(2, "alice")).seqs == (LENGTH + 1, LENGTH + 2)
        assert storage.wait_for_changes(0, 10, project_id="alice")

    in_child(child)()
    go_on.set()
    for thread in threads:
        thread.join()
    changes = everything(storage, "alice")
    assert [change.seq for change in changes] == list(range(1, LENGTH + 6))


def test_a_fork_while_threads_read_write_and_wait(storage: DynamoDBStorageService) -> None:
    stop = Event()
    errors: list[BaseException] = []

    def use(work: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                work()
        except BaseException as error:
            errors.append(error)

    works: list[Callable[[], object]] = [
        lambda: storage.create_changes(batch(2, "written")),
        lambda: read_own(storage, PROJECTS[0], 1),
        lambda: storage.wait_for_changes(10**6, 0.01, project_id="written"),
    ]
    threads = [Thread(target=use, args=(work,)) for work in works * 2]
    for thread in threads:
        thread.start()

    def child() -> None:
        read_own(storage, PROJECTS[1], 3)
        assert len(storage.create_changes(batch(2, "written")).seqs) == 2

    for _ in range(10):
        in_child(child)()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(storage.verify(project_id="written")) == []


inherited: DynamoDBStorageService


def read_inherited(project: str) -> None:
    read_own(inherited, project, 20)


def test_multiprocessing_with_fork(storage: DynamoDBStorageService) -> None:
    global inherited
    inherited = storage
    with multiprocessing.get_context("fork").Pool(3) as pool:
        reading = pool.map_async(read_inherited, PROJECTS * 3, chunksize=1)
        read_own(storage, PROJECTS[0], 20)
        reading.get(60)
        pool.close()
        pool.join()


def test_a_daemon_writes_after_both_forks() -> None:
    url = engine_url(DYNOXIDE)
    table = new_table(url)
    run = subprocess.run(
        [sys.executable, "-c", DAEMON, table, url],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (run.stdout, run.stderr) == ("done\n", "")
    with DynamoDBStorageService(table, "p", use_local_dynamodb=True, local_endpoint=url) as storage:
        assert [change.entity_id for change in everything(storage)] == ["before", "daemon"]


def test_the_inspection_finds_locks_in_nested_objects() -> None:
    lock = allocate_lock()
    assert list(locks_of([{"a": (lambda: lock,)}]).values()) == [lock]
