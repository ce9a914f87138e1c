"""The scheduler: waits, locks, killed hosts and sleeping hosts, in virtual time."""

from __future__ import annotations

from random import Random

import pytest

from tests.simulation.scheduler import EPOCH, Host, Lock, Scheduler


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(Random(1))


def test_virtual_time_advances_to_the_next_wake_up(scheduler: Scheduler) -> None:
    events: list[tuple[str, float]] = []

    def work(name: str, seconds: float) -> None:
        for _ in range(2):
            scheduler.sleep(seconds)
            events.append((name, scheduler.now - EPOCH))

    host = Host("h")
    scheduler.spawn(host, lambda: work("slow", 1000.0))
    scheduler.spawn(host, lambda: work("quick", 1.0))
    scheduler.run()
    assert events == [("quick", 1.0), ("quick", 2.0), ("slow", 1000.0), ("slow", 2000.0)]
    assert scheduler.stuck == []


def test_a_lock_has_one_holder_and_an_acquire_may_time_out(scheduler: Scheduler) -> None:
    lock, events, host = Lock(scheduler), [], Host("h")

    def hold() -> None:
        with lock:
            scheduler.sleep(5.0)
        events.append("released")

    def want() -> None:
        scheduler.sleep(1.0)
        assert not lock.acquire(False)
        assert not lock.acquire(True, 1.0)
        events.append("timed out")
        assert lock.acquire()
        events.append("acquired")
        scheduler.sleep(10.0)  # an earlier wait's time-out does not wake it
        events.append(str(scheduler.now - EPOCH))

    scheduler.spawn(host, hold)
    scheduler.spawn(host, want)
    scheduler.run()
    assert events == ["timed out", "released", "acquired", "15.0"]
    assert scheduler.failures == []
    assert lock.locked()


def test_a_killed_host_does_nothing_more_and_a_task_that_waits_for_it_is_stuck(scheduler: Scheduler) -> None:
    lock, events = Lock(scheduler), []
    dead, alive = Host("dead"), Host("alive")

    def hold() -> None:
        lock.acquire()
        try:
            scheduler.sleep(5.0)
        finally:
            events.append("finally")
            lock.release()

    scheduler.spawn(dead, hold)
    scheduler.spawn(alive, lock.acquire, 1.0)
    scheduler.later(2.0, lambda: setattr(dead, "alive", False))
    scheduler.run()
    assert events == []
    assert len(scheduler.stuck) == 1
    scheduler.finish()


def test_a_sleeping_host_continues_at_the_end_of_its_sleep(scheduler: Scheduler) -> None:
    host, events = Host("h"), []

    def work() -> None:
        scheduler.sleep(1.0)
        events.append(scheduler.now - EPOCH)

    scheduler.spawn(host, work)
    scheduler.later(0.5, lambda: setattr(host, "asleep_until", EPOCH + 700.0))
    scheduler.run()
    assert events == [700.0]


def test_the_exception_of_a_task_is_recorded(scheduler: Scheduler) -> None:
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
