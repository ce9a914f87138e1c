"""How long a request waits."""

from __future__ import annotations

import pytest

from sltt_core.api.http import MAX_WAIT_SECONDS, Wait
from sltt_core.api.waiting import Waiting

INFINITY = float("inf")


def asked(seconds: float) -> Wait:
    return Wait({"ruth": 7}, seconds)


@pytest.mark.parametrize(
    ("seconds", "max_seconds", "deadline", "expected"),
    [
        (5.0, 60.0, INFINITY, 5.0),
        (60.0, 20.0, INFINITY, 20.0),
        (60.0, 60.0, 1010.0, 10.0),
        (60.0, 20.0, 1010.0, 10.0),
        (5.0, 20.0, 1010.0, 5.0),
        (60.0, 0.0, INFINITY, 0.0),
        (60.0, 60.0, 1000.0, 0.0),
        (60.0, 60.0, 999.0, 0.0),
    ],
)
def test_a_wait_is_the_shortest_of_requested_allowed_and_remaining_time(
    seconds: float, max_seconds: float, deadline: float, expected: float
) -> None:
    waiting = Waiting(asked(seconds), 1000.0, max_seconds=max_seconds, deadline=deadline)
    assert waiting.seconds_left(asked(seconds), 1000.0) == expected


def test_by_default_a_server_allows_the_longest_wait() -> None:
    assert Waiting(asked(MAX_WAIT_SECONDS), 0.0).seconds_left(asked(1), 0.0) == MAX_WAIT_SECONDS
    assert Waiting(asked(3600), 0.0).seconds_left(asked(1), 0.0) == MAX_WAIT_SECONDS


def test_all_waits_of_a_request_share_its_time() -> None:
    waiting = Waiting(asked(10), 1000.0)
    left = [waiting.seconds_left(asked(10), now) for now in (1000.0, 1004.0, 1009.5, 1010.0, 1011.0)]
    assert left == [10.0, 6.0, 0.5, 0.0, 0.0]


def test_a_response_with_content_ends_the_wait() -> None:
    waiting = Waiting(asked(10), 1000.0)
    assert waiting.seconds_left(None, 1001.0) == 0.0


def test_a_request_without_wait_never_waits() -> None:
    waiting = Waiting(None, 1000.0)
    assert waiting.seconds_left(None, 1000.0) == 0.0
    assert waiting.seconds_left(asked(10), 1000.0) == 0.0
