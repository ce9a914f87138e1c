"""`Notifier`: a waiting thread continues after a write, or at the end of its time."""

from __future__ import annotations

from threading import Thread

from aws_backend.log.notifier import Notifier


def test_a_write_wakes_all_waiting_threads() -> None:
    notifier = Notifier()
    waiting = [Thread(target=notifier.wait, args=(notifier.count, 30)) for _ in range(5)]
    for thread in waiting:
        thread.start()
    while len(notifier._waiting) < 5:
        pass
    notifier.notify()
    for thread in waiting:
        thread.join(30)
        assert not thread.is_alive()
    assert notifier._waiting == []


def test_a_write_before_the_wait_is_not_missed() -> None:
    notifier = Notifier()
    count = notifier.count
    notifier.notify()
    notifier.wait(count, 30)
    assert notifier.count == count + 1


def test_a_wait_that_times_out_leaves_no_lock_behind() -> None:
    notifier = Notifier()
    notifier.wait(notifier.count, 0.001)
    assert notifier._waiting == []
