"""Threads in virtual time: waits, locks, deaths and naps."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.scheduler import EPOCH, Host, Lock, Scheduler


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(Random(1))


def test_time_passes_only_for_those_who_wait(scheduler: Scheduler) -> None:
    said: list[tuple[str, float]] = []

    def work(name: str, seconds: float) -> None:
        for _ in range(2):
            scheduler.sleep(seconds)
            said.append((name, scheduler.now - EPOCH))

    host = Host("h")
    scheduler.spawn(host, lambda: work("slow", 1000.0))
    scheduler.spawn(host, lambda: work("quick", 1.0))
    scheduler.run()
    assert said == [("quick", 1.0), ("quick", 2.0), ("slow", 1000.0), ("slow", 2000.0)]
    assert scheduler.stuck == []


def test_a_lock_is_had_by_one_at_a_time_or_not_in_time(scheduler: Scheduler) -> None:
    lock, said, host = Lock(scheduler), [], Host("h")

    def hold() -> None:
        with lock:
            scheduler.sleep(5.0)
        said.append("released")

    def want() -> None:
        scheduler.sleep(1.0)
        assert not lock.acquire(False)
        assert not lock.acquire(True, 1.0)
        said.append("gave up")
        assert lock.acquire()
        said.append("has it")
        scheduler.sleep(10.0)  # an earlier wait's time-out does not wake it
        said.append(str(scheduler.now - EPOCH))

    scheduler.spawn(host, hold)
    scheduler.spawn(host, want)
    scheduler.run()
    assert said == ["gave up", "released", "has it", "15.0"]
    assert scheduler.failures == []
    assert lock.locked()


def test_what_dies_does_nothing_any_more_and_what_waits_for_it_is_stuck(scheduler: Scheduler) -> None:
    lock, said = Lock(scheduler), []
    dead, alive = Host("dead"), Host("alive")

    def hold() -> None:
        lock.acquire()
        try:
            scheduler.sleep(5.0)
        finally:
            said.append("on its way out")
            lock.release()

    scheduler.spawn(dead, hold)
    scheduler.spawn(alive, lock.acquire, 1.0)
    scheduler.later(2.0, lambda: setattr(dead, "alive", False))
    scheduler.run()
    assert said == []
    assert len(scheduler.stuck) == 1
    scheduler.finish()


def test_who_sleeps_goes_on_when_the_nap_is_over(scheduler: Scheduler) -> None:
    host, said = Host("h"), []

    def work() -> None:
        scheduler.sleep(1.0)
        said.append(scheduler.now - EPOCH)

    scheduler.spawn(host, work)
    scheduler.later(0.5, lambda: setattr(host, "asleep_until", EPOCH + 700.0))
    scheduler.run()
    assert said == [700.0]


def test_what_a_task_ends_with_is_kept(scheduler: Scheduler) -> None:
    def work() -> None:
        raise KeyError("x")

    scheduler.spawn(Host("h"), work)
    scheduler.run()
    assert [type(error) for error in scheduler.failures] == [KeyError]


def test_ctrl_c_in_a_task_ends_the_run(scheduler: Scheduler) -> None:
    def work() -> None:
        raise KeyboardInterrupt

    scheduler.spawn(Host("h"), work)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run()
    assert scheduler.failures == []
