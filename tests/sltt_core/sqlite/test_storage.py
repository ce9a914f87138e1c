"""What SQLite adds to the contract: the file, durability, group commit, several processes."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from pathlib import Path
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import LogDamaged, NotALog, StorageBusy, StorageError
from sltt_core.base.runtime import Runtime
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.sqlite.schema import APPLICATION_ID, FORMAT
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def storage(path: Path) -> Iterator[LocalStorageService]:
    with LocalStorageService(path) as opened:
        yield opened


def ask(path: Path, sql: str) -> object:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchone()[0]


# The file


def test_the_file_says_what_it_is(storage: LocalStorageService, path: Path) -> None:
    storage.create_change(new())
    assert ask(path, "PRAGMA application_id") == APPLICATION_ID
    assert ask(path, "PRAGMA user_version") == FORMAT
    assert ask(path, "PRAGMA journal_mode") == "wal"
    assert ask(path, "PRAGMA integrity_check") == "ok"


def test_commits_wait_for_the_disk(storage: LocalStorageService) -> None:
    assert storage._writer.connection is not None
    assert storage._writer.connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_people_can_read_the_log_with_sqlite(storage: LocalStorageService, path: Path) -> None:
    storage.create_changes([*batch(3), *batch(2, "q")])
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT projectId, seq, entityId FROM change_log ORDER BY 1, 2").fetchall()
    assert rows == [("p", 1, "e0"), ("p", 2, "e1"), ("p", 3, "e2"), ("q", 1, "e0"), ("q", 2, "e1")]


def foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE precious (x)")
        connection.commit()


def newer_log(path: Path) -> None:
    with LocalStorageService(path) as storage:
        storage.create_change(new())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text("Dear diary, " * 50), "not an SQLite database"),
        (lambda path: path.write_bytes(b""), "not an SQLite database"),
        (lambda path: path.write_bytes(b"SQLite format 3\x00"), "not an SQLite database"),
        (foreign_database, "another program"),
        (newer_log, f"format {FORMAT + 1}"),
    ],
    ids=["text", "empty", "header only", "foreign", "newer"],
)
def test_a_foreign_or_newer_file_is_refused_and_not_altered(path: Path, make: object, reason: str) -> None:
    make(path)  # type: ignore[operator]
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(NotALog, match=reason) as caught:
        LocalStorageService(path).initialize()
    assert "altered" in caught.value.hint
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no folder .*nowhere"):
        LocalStorageService(tmp_path / "nowhere" / "log.db").initialize()


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot open"):
        LocalStorageService(tmp_path).initialize()


def test_services_that_make_the_file_at_the_same_moment_share_it(path: Path) -> None:
    services = [LocalStorageService(path) for _ in range(8)]
    barrier = Barrier(8)

    def begin(number: int) -> None:
        barrier.wait()
        services[number].initialize()
        services[number].create_changes(batch(3))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(begin, range(8)))
    assert [change.seq for change in everything(services[0])] == list(range(1, 25))
    for service in services:
        service.close()
    assert [file.name for file in path.parent.iterdir()] == ["log.db"]


def test_a_damaged_file_is_called_damaged(path: Path) -> None:
    with LocalStorageService(path) as storage:
        storage.create_changes(batch(200, data='{"text":"' + "x" * 300 + '"}'))
    octets = bytearray(path.read_bytes())
    start = len(octets) // 2  # the schema is before this
    octets[start:] = b"\xff" * (len(octets) - start)
    path.write_bytes(octets)
    with LocalStorageService(path) as storage, pytest.raises(LogDamaged):
        everything(storage)


def test_a_full_disk_is_said_and_nothing_is_half_written(storage: LocalStorageService) -> None:
    storage.create_changes(batch(3))
    assert storage._writer.connection is not None
    pages = storage._writer.connection.execute("PRAGMA page_count").fetchone()[0]
    storage._writer.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageError, match="disk is full"):
        storage.create_changes(batch(50, data='{"text":"' + "x" * 1000 + '"}'))
    storage._writer.connection.execute("PRAGMA max_page_count = 1000000")
    assert storage.create_changes(batch(1)).seqs == (4,)
    assert storage.get_change_stats(project_id="p").total == 4


# Several at once


def test_a_busy_database_waits_and_then_says_so(path: Path) -> None:
    with LocalStorageService(path, busy_seconds=0.05) as storage, closing(sqlite3.connect(path)) as other:
        storage.create_change(new())
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageBusy, match="another process") as caught:
            storage.create_change(new())
        assert caught.value.retryable
        assert len(everything(storage)) == 1
        other.rollback()
        assert storage.create_change(new()).seq == 2


def test_threads_that_write_together_share_a_commit(storage: LocalStorageService) -> None:
    storage.create_change(new())
    statements: list[str] = []
    assert storage._writer.connection is not None
    storage._writer.connection.set_trace_callback(statements.append)
    storage._writer.lock.acquire()
    threads = [Thread(target=storage.create_change, args=(new(f"e{number}"),)) for number in range(20)]
    for thread in threads:
        thread.start()
    while len(storage._writer.jobs) < 20:
        pass
    storage._writer.lock.release()
    for thread in threads:
        thread.join()
    storage._writer.connection.set_trace_callback(None)
    assert statements.count("COMMIT") == 1
    assert len(everything(storage)) == 21


def test_a_write_that_is_refused_leaves_the_others_of_its_group(storage: LocalStorageService) -> None:
    storage.create_changes([new(entity_type=f"t{number}") for number in range(200)])
    storage._writer.lock.acquire()
    outcomes: list[object] = []

    def write(entity_type: str) -> None:
        try:
            outcomes.append(storage.create_change(new(entity_type=entity_type)).entity_type)
        except Exception as error:
            outcomes.append(type(error).__name__)

    threads = [Thread(target=write, args=(name,)) for name in ("t0", "one-too-many", "t1")]
    for thread in threads:
        thread.start()
    while len(storage._writer.jobs) < 3:
        pass
    storage._writer.lock.release()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["InvalidBatch", "t0", "t1"]
    assert storage.get_change_stats(project_id="p").total == 202


def test_readers_do_not_wait_for_a_writer(storage: LocalStorageService, path: Path) -> None:
    storage.create_changes(batch(3))
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM changes")
        assert len(everything(storage)) == 3
        other.rollback()


def test_an_interrupted_write_is_not_taken_for_done(storage: LocalStorageService) -> None:
    """Whichever thread leads the group meets the interruption; the other is told that its write is in doubt."""

    def interrupted(connection: sqlite3.Connection) -> None:
        raise KeyboardInterrupt

    outcomes: list[str] = []

    def attempt(work: Callable[[], object]) -> None:
        try:
            work()
            outcomes.append("done")
        except BaseException as error:
            outcomes.append(type(error).__name__)

    storage._writer.lock.acquire()
    threads = [
        Thread(target=attempt, args=(lambda: storage._writer.write(interrupted),)),
        Thread(target=attempt, args=(lambda: storage.create_change(new()),)),
    ]
    for count, thread in enumerate(threads, 1):
        thread.start()
        while len(storage._writer.jobs) < count:
            pass
    storage._writer.lock.release()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["KeyboardInterrupt", "StorageError"]
    assert storage.create_change(new()).seq == 1


def test_a_copy_that_lost_its_mode_gets_it_back(storage: LocalStorageService, tmp_path: Path) -> None:
    storage.create_changes(batch(3))
    assert storage._writer.connection is not None
    storage._writer.connection.execute(f"VACUUM INTO '{tmp_path / 'copy.db'}'")
    with LocalStorageService(tmp_path / "copy.db") as copy:
        assert ask(copy.path, "PRAGMA journal_mode") == "wal"
        assert len(everything(copy)) == 3


DAY = 86_400 * 10**9
KEY = "key-0123456789abcdef"


def test_expired_keys_are_forgotten(path: Path) -> None:
    now = [1_740_000_000 * 10**9]
    with LocalStorageService(path, runtime=Runtime(clock=lambda: now[0])) as storage:
        storage.create_changes(batch(200), KEY)
        for _ in range(400):
            now[0] += DAY
            storage.create_change(new())
        assert ask(path, "SELECT count(*) FROM requests") == 3
        assert storage.create_changes(batch(200), KEY).replayed
        now[0] += DAY
        storage.create_change(new())
        assert ask(path, "SELECT count(*) FROM requests") == 0


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_jumps_forgets_no_key(path: Path, restart: bool) -> None:
    """From 1970 at the start of a device, two years and a thousand years ahead, and back, again and again."""
    true = 1_740_000_000 * 10**9
    now = [0]
    storage = LocalStorageService(path, runtime=Runtime(clock=lambda: now[0]))
    storage.initialize()
    for number, jump in enumerate([0, true, true + 730 * DAY, true, true + 365_000 * DAY, 0, true] * 100):
        now[0] = jump
        if number == 0:
            storage.create_changes(batch(2), KEY)
        elif number == 1:
            storage.create_changes(batch(2), KEY + "-true")
        else:
            storage.create_change(new())
        if restart and number % 50 == 0:
            storage.close()
            storage.initialize()
    assert storage.create_changes(batch(2), KEY).replayed
    assert storage.create_changes(batch(2), KEY + "-true").replayed
    storage.close()


# Cost


def test_statistics_and_first_page_cost_the_same_however_long_the_log(storage: LocalStorageService) -> None:
    """Counted in steps of SQLite's virtual machine, which repeat."""

    def steps() -> tuple[int, int]:
        counted = []
        for read in (
            lambda: (storage.get_change_stats(project_id="p"), storage.get_entity_type_stats(project_id="p")),
            lambda: storage.get_changes_with_cursor(0, 50, project_id="p"),
        ):
            read()
            connection = storage._readers.idle[-1]
            count = [0]

            def step(count: list[int] = count) -> None:
                count[0] += 1

            connection.set_progress_handler(step, 1)
            read()
            connection.set_progress_handler(None, 1)
            counted.append(count[0])
        return counted[0], counted[1]

    storage.create_changes(batch(100))
    short = steps()
    storage.create_changes(batch(5000))
    assert steps() == short


def test_the_project_list_costs_what_it_returns(storage: LocalStorageService) -> None:
    plan = "EXPLAIN QUERY PLAN SELECT project_id FROM logs WHERE project_id > 'a' ORDER BY project_id LIMIT 10"
    assert storage._writer.connection is not None
    detail = storage._writer.connection.execute(plan).fetchone()[3]
    assert "SEARCH" in detail
    assert "INDEX" in detail


# Crashes


def test_a_checkpoint_that_was_killed_after_any_page_loses_nothing(path: Path, tmp_path: Path) -> None:
    """A checkpoint copies pages from the WAL to the file, in order; page 1 holds the size that the file will have."""
    wal = path.with_name("log.db-wal")
    with LocalStorageService(path) as storage:
        before = path.read_bytes()
        for number in range(20):
            storage.create_changes(batch(5, data={"text": "x" * 500, "number": number}))
        log, given = wal.read_bytes(), everything(storage)
    after, page = path.read_bytes(), ask(path, "PRAGMA page_size")
    assert isinstance(page, int)
    assert len(after) > len(before)
    for copied in range(0, len(after), page):
        torn = tmp_path / f"{copied}.db"
        torn.write_bytes(after[:copied] + before[copied:])
        torn.with_name(f"{copied}.db-wal").write_bytes(log)
        with LocalStorageService(torn) as storage:
            assert everything(storage) == given
            storage.create_change(new())


def test_a_killed_writer_loses_nothing_and_tears_nothing(path: Path) -> None:
    """24 times: what was acknowledged is there, and every chunk is there whole or not at all."""
    kills = 24
    moments = random.Random(20250301)
    acknowledged: dict[str, tuple[int, list[int]]] = {}
    for kill in range(kills):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.sltt_core.sqlite.loaded_writer", str(path), f"w{kill}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(moments.randrange(1, 25)):
                label, size, seqs = json.loads(writer.stdout.readline())
                acknowledged[label] = (size, seqs)
            for _ in range(moments.randrange(20_000)):
                pass  # somewhere within the next writes
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout.read().splitlines(keepends=True):
                if line.endswith("\n"):
                    label, size, seqs = json.loads(line)
                    acknowledged[label] = (size, seqs)
        assert writer.returncode == -signal.SIGKILL

    with LocalStorageService(path) as storage:
        changes = list(storage.get_changes_since(project_id="p"))
        stats = storage.get_change_stats(project_id="p")
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    check_links(GENESIS, changes)
    assert stats.total == len(changes) == len({change.entity_id for change in changes})
    assert len(acknowledged) >= kills
    for label, (size, seqs) in acknowledged.items():
        assert len(seqs) == size
        assert [changes[seq - 1].entity_id for seq in seqs] == [f"{label}-{place}" for place in range(size)]
    # A chunk is a run of changes of one batch: each run ends where a chunk ends, also in what nobody was told.
    for cid, run in groupby(changes, key=lambda change: change.cid):
        size = int(str(cid).rpartition("/")[2])
        places = [int(change.entity_id.rpartition("-")[2]) for change in run]
        assert places[0] % 98 == 0
        assert (places[-1] + 1) % 98 == 0 or places[-1] + 1 == size
