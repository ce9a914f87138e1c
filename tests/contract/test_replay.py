"""Idempotency keys: no change is written twice, whatever fails between the first attempt and the last."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import KeyReused, PartialAppend, StorageBusy
from sltt_core.base.runtime import Runtime
from tests.contract.logs import Log, Reachable, batch, everything, new

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService

KEY = "key-0123456789abcdef"


def failing_after(storage: BaseStorageService, chunks: int) -> BaseStorageService:
    """Let a service store this number of chunks, as if it crashed then."""
    append = storage._append
    left = [chunks]

    def guarded(chunk: Any) -> Any:
        if left[0] == 0:
            raise StorageBusy("the power went out")
        left[0] -= 1
        return append(chunk)

    storage._append = guarded  # type: ignore[method-assign]
    return storage


@pytest.mark.parametrize("count", [1, 98, 99, 300])
def test_the_same_key_gets_the_same_numbers(log: Log, count: int) -> None:
    storage = log.reach()
    storage.create_change(new("before"))
    first = storage.create_changes(batch(count), KEY)
    storage.create_change(new("between"))
    again = storage.create_changes(batch(count), KEY)
    assert (first.replayed, again.replayed) == (False, True)
    assert again.seqs == first.seqs == tuple(range(2, count + 2))
    assert log.reach().create_changes(batch(count), KEY).seqs == first.seqs
    assert storage.get_change_stats(project_id="p").total == count + 2


def test_a_single_change_is_replayed_too(storage: Reachable) -> None:
    first = storage.create_change(new("x"), KEY)
    assert storage.create_change(new("x"), KEY) == first
    assert len(everything(storage)) == 1


@pytest.mark.parametrize(
    "other",
    [
        batch(2),
        batch(4),
        batch(3)[::-1],
        batch(3, data='{"a":1}'),
        batch(3, operation="create"),
        batch(3, timestamp="2025-01-01T00:00:00Z"),
        batch(3, client_seq=1),
    ],
    ids=["fewer", "more", "order", "data", "a default said aloud", "time", "own seq"],
)
def test_the_same_key_with_another_batch_is_refused(storage: Reachable, other: list[Any]) -> None:
    storage.create_changes(batch(3), KEY)
    with pytest.raises(KeyReused):
        storage.create_changes(other, KEY)
    assert storage.get_change_stats(project_id="p").total == 3


def test_a_key_is_valid_within_its_project(storage: Reachable) -> None:
    assert storage.create_changes(batch(2, "a"), KEY).seqs == (1, 2)
    assert storage.create_changes(batch(3, "b"), KEY).seqs == (1, 2, 3)
    assert storage.create_changes(batch(2, "a"), KEY).replayed


def test_without_a_key_the_same_batch_is_stored_again(storage: Reachable) -> None:
    assert storage.create_changes(batch(2)).seqs == (1, 2)
    assert storage.create_changes(batch(2)).seqs == (3, 4)


@pytest.mark.parametrize("stored", [1, 2, 3])
def test_a_batch_interrupted_between_chunks_is_resumed(direct: Log, stored: int) -> None:
    with pytest.raises(PartialAppend) as caught:
        failing_after(direct.open(), stored).create_changes(batch(350), KEY)
    assert caught.value.failed_at_index == stored * 98
    other = direct.open()
    other.create_changes(batch(5))
    seqs = other.create_changes(batch(350), KEY).seqs
    assert seqs[: stored * 98] == tuple(range(1, stored * 98 + 1))
    assert seqs[stored * 98 :] == tuple(range(stored * 98 + 6, 356))
    assert other.create_changes(batch(350), KEY).replayed
    changes = everything(other)
    assert [changes[seq - 1].entity_id for seq in seqs] == [f"e{number}" for number in range(350)]


@pytest.mark.parametrize("size", [7, 50, 98])
def test_the_chunk_size_may_change_before_the_retry(direct: Log, size: int) -> None:
    with pytest.raises(PartialAppend):
        failing_after(direct.open(chunk_changes=30), 2).create_changes(batch(100), KEY)
    again = direct.open(chunk_changes=size)
    assert again.create_changes(batch(100), KEY).seqs == tuple(range(1, 101))
    assert direct.open(chunk_changes=3).create_changes(batch(100), KEY).replayed
    assert [change.entity_id for change in everything(again)] == [f"e{number}" for number in range(100)]


def test_another_batch_with_the_key_of_an_interrupted_one_is_refused(direct: Log) -> None:
    with pytest.raises(PartialAppend):
        failing_after(direct.open(), 1).create_changes(batch(200), KEY)
    with pytest.raises(KeyReused):
        direct.open().create_changes(batch(201), KEY)
    assert direct.open().get_change_stats(project_id="p").total == 98


def test_a_batch_interrupted_between_projects_is_resumed(direct: Log) -> None:
    mixed = [new(f"{number}", "abc"[number % 3]) for number in range(30)]
    with pytest.raises(PartialAppend) as caught:
        failing_after(direct.open(), 2).create_changes(mixed, KEY)
    assert caught.value.failed_at_index == 2
    assert caught.value.seqs[:6] == (1, 1, None, 2, 2, None)
    storage = direct.open()
    assert storage.create_changes(mixed, KEY).seqs == tuple(number // 3 + 1 for number in range(30))
    assert [storage.get_change_stats(project_id=project).total for project in "abc"] == [10, 10, 10]


def test_a_batch_with_a_key_used_in_one_project_stores_nothing(storage: Reachable) -> None:
    storage.create_changes(batch(2, "b"), KEY)
    with pytest.raises(KeyReused):
        storage.create_changes([new(project_id="a"), new(project_id="b")], KEY)
    assert storage.get_change_stats(project_id="a").total == 0


def test_concurrent_calls_with_the_same_key_store_the_batch_once(log: Log) -> None:
    services = [log.reach() for _ in range(2)]
    barrier = Barrier(8)

    def call(number: int) -> tuple[tuple[int, ...], bool]:
        barrier.wait()
        appended = services[number % 2].create_changes(batch(250), KEY)
        return appended.seqs, appended.replayed

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(call, range(8)))
    assert {seqs for seqs, _ in results} == {tuple(range(1, 251))}
    assert services[0].get_change_stats(project_id="p").total == 250


def test_a_replay_among_concurrent_appends_is_returned(log: Log) -> None:
    storage = log.reach()
    first = storage.create_changes(batch(3), KEY)
    barrier = Barrier(8)

    def call(number: int) -> tuple[int, ...]:
        barrier.wait()
        return storage.create_changes(batch(3), KEY if number == 4 else f"{number:016}").seqs

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(call, range(8)))
    assert results[4] == first.seqs
    rest = sorted(seq for number, seqs in enumerate(results) if number != 4 for seq in seqs)
    assert rest == list(range(4, 25))


def test_a_key_is_remembered_for_a_year(direct: Log) -> None:
    year = 366 * 86_400 * 1_000_000_000
    now = [1_740_000_000_000_000_000]
    storage = direct.open(runtime=Runtime(clock=lambda: now[0]))
    storage.create_changes(batch(2), KEY)
    now[0] += year
    storage.create_change(new())
    assert storage.create_changes(batch(2), KEY).seqs == (1, 2)
