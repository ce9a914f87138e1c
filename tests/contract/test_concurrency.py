"""Concurrent writers and readers: no gaps, no lost or repeated changes, contiguous chunks, nothing skipped."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import TYPE_CHECKING

from sltt_core.model.chain import GENESIS, check_links
from tests.contract.logs import Log, batch, everything, new
from tests.contract.workers import start_writer

if TYPE_CHECKING:
    from sltt_core.model.changes import Change


def check_log(changes: list[Change], acknowledged: dict[str, list[int]], size: int, chunk: int = 98) -> None:
    """Compare a log with the numbers that its writers got, by the label of the batch."""
    assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
    check_links(GENESIS, changes)
    assert len({change.entity_id for change in changes}) == len(changes)
    assert len(changes) == sum(map(len, acknowledged.values()))
    for label, seqs in acknowledged.items():
        assert [changes[seq - 1].entity_id for seq in seqs] == [f"{label}-{place}" for place in range(size)]
        for start in range(0, size, chunk):
            part = seqs[start : start + chunk]
            assert part == list(range(part[0], part[0] + len(part)))


def test_threads_on_two_services_write_one_log(log: Log) -> None:
    services = [log.reach(), log.reach()]
    acknowledged: dict[str, list[int]] = {}

    def write(writer: int) -> None:
        for number in range(10):
            label = f"{writer}-{number}"
            given = [new(f"{label}-{place}") for place in range(4)]
            acknowledged[label] = list(services[writer % 2].create_changes(given).seqs)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    check_log(everything(services[0]), acknowledged, 4)
    assert services[1].get_change_stats(project_id="p").total == 320


def test_large_batches_keep_their_chunks_together(direct: Log) -> None:
    services = [direct.open(), direct.open()]
    acknowledged: dict[str, list[int]] = {}

    def write(writer: int) -> None:
        for number in range(3):
            label = f"{writer}-{number}"
            given = [new(f"{label}-{place}") for place in range(250)]
            acknowledged[label] = list(services[writer % 2].create_changes(given).seqs)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))
    check_log(everything(services[0]), acknowledged, 250)


def test_processes_write_one_log(direct: Log) -> None:
    storage = direct.open("p")
    acknowledged: dict[str, list[int]] = {}
    writers = [start_writer(direct, "p", batches=25, size=3, name=f"w{number}") for number in range(3)]
    for number in range(25):
        label = f"here-{number}"
        given = [new(f"{label}-{place}") for place in range(3)]
        acknowledged[label] = list(storage.create_changes(given).seqs)
    for writer in writers:
        output, _ = writer.communicate(timeout=60)
        assert writer.returncode == 0
        for line in output.splitlines():
            label, seqs = json.loads(line)
            acknowledged[label] = seqs
    assert len(acknowledged) == 100
    check_log(everything(storage), acknowledged, 3)


def test_a_polling_reader_sees_every_change_once_and_in_order(log: Log) -> None:
    services = [log.reach(), log.reach(), log.reach()]
    seen: list[Change] = []
    done = Event()

    def poll() -> None:
        cursor, chain, last = 0, GENESIS, False
        while True:
            last = done.is_set()
            page = services[2].get_changes_with_cursor(cursor, 7, project_id="p", chain=chain)
            seen.extend(page.changes)
            assert page.chain is not None
            cursor, chain = page.through, page.chain
            if last and not page.changes:
                return

    reader = Thread(target=poll)
    reader.start()

    def write(writer: int) -> None:
        for number in range(15):
            services[writer % 2].create_changes(batch(1 + number % 3))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, range(6)))
    done.set()
    reader.join(60)
    assert [change.seq for change in seen] == list(range(1, 181))
    check_links(GENESIS, seen)


def test_an_append_is_visible_to_its_writer(log: Log) -> None:
    storage = log.reach()

    def write(writer: int) -> bool:
        for number in range(10):
            seq = storage.create_changes([new(f"{writer}-{number}")]).seqs[0]
            page = storage.get_changes_with_cursor(seq - 1, 1, project_id="p")
            if page.changes[0].entity_id != f"{writer}-{number}":
                return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(write, range(6)))


def test_statistics_are_of_one_moment(direct: Log) -> None:
    storage = direct.open("p")
    storage.create_changes(batch(2))
    stop = Event()

    def write() -> None:
        while not stop.is_set():
            storage.create_changes(batch(3))

    writer = Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            stats, types = storage.get_stats()
            assert stats.total == stats.creates + stats.updates + stats.deletes == sum(types.values())
    finally:
        stop.set()
        writer.join()
    assert storage.get_stats() == (storage.get_change_stats(), storage.get_entity_type_stats())
