"""News: who waits is woken by a write, or when the time is up."""

from __future__ import annotations

from threading import Thread

from aws_backend.log.notifier import Notifier


def test_a_write_wakes_everybody_who_waits() -> None:
    news = Notifier()
    waiting = [Thread(target=news.wait, args=(news.count, 30)) for _ in range(5)]
    for thread in waiting:
        thread.start()
    while len(news._waiting) < 5:
        pass
    news.notify()
    for thread in waiting:
        thread.join(30)
        assert not thread.is_alive()
    assert news._waiting == []


def test_a_write_before_the_wait_is_not_missed() -> None:
    news = Notifier()
    count = news.count
    news.notify()
    news.wait(count, 30)
    assert news.count == count + 1


def test_the_time_is_up_and_nobody_is_left_behind() -> None:
    news = Notifier()
    news.wait(news.count, 0.001)
    assert news._waiting == []
