"""The requests that changes name, and what a part of a log holds of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltt_core.base.timestamps import format_utc, normalise, seconds_of
from sltt_core.log.batches import KEY_DAYS, Chunk, StoredChunk, number_changes
from sltt_core.log.pages import EMPTY_LOG, Head
from sltt_core.log.requests import NamedRequest, Requests, request_of
from sltt_core.model.changes import Change
from sltt_core.model.fields import MAX_SEQ, TOMBSTONE
from sltt_core.model.stored import check_request_key
from tests.contract.logs import batch

KEY = "key-0123456789abcdef"
HASH = "0f" * 32
NOW = 1_750_000_000 * 10**9

chunks = st.lists(
    st.tuples(st.sampled_from([None, KEY, "other-key-0123456"]), st.integers(1, 5), st.integers(0, 1)), max_size=8
)
"""The key and the number of changes of each chunk, and the milliseconds since the chunk before."""


def written(plan: list[tuple[str | None, int, int]]) -> tuple[list[Change], list[NamedRequest]]:
    """Return a log of these chunks, and the requests in it."""
    changes: list[Change] = []
    expected = []
    head, now = EMPTY_LOG, NOW
    for number, (key, count, milliseconds) in enumerate(plan):
        # Chunks of one process that share a time each name a request, except those without a key.
        now += 10**6 * (milliseconds if key else 1)
        chunk = Chunk("p", key, number, 7 * number, HASH, tuple(batch(count)), 1000)
        added = number_changes(chunk, head, format_utc(now))
        if key is not None:
            stored = StoredChunk(head.seq + 1, count, HASH, None, 7 * number)
            expected.append(NamedRequest(key, number, stored, format_utc(now)))
        changes += added
        head = Head(added[-1].seq, added[-1].chain)
    return changes, expected


def cut(request: NamedRequest, end: int) -> NamedRequest:
    """Return the request as a log that ends at a number holds it."""
    stored = request.stored
    return request.replace(stored=stored.replace(count=min(stored.count, end - stored.first_seq + 1)))


@given(chunks, st.data())
def test_a_part_of_a_log_holds_the_requests_that_begin_in_it(
    plan: list[tuple[str | None, int, int]], data: st.DataObject
) -> None:
    changes, expected = written(plan)
    end = data.draw(st.integers(0, len(changes)))
    requests = Requests()
    ended, complete = [], []
    for change in changes[:end]:
        ended.append(requests.add(change))
        complete.append(requests.complete)
    found = [request for request in (*ended, requests.current) if request is not None]
    held = [
        request.replace(
            stored=request.stored.replace(count=min(request.stored.count, end - request.stored.first_seq + 1))
        )
        for request in expected
        if request.stored.first_seq <= end
    ]
    assert found == held
    assert [request for request in complete if request is not None] == [one for one in held if one in expected]


def test_a_tombstone_ends_a_chunk() -> None:
    changes, (request,) = written([(KEY, 3, 1)])
    requests = Requests()
    requests.add(changes[0])
    ended = requests.add(changes[1].replace(operation=TOMBSTONE))
    assert ended == request.replace(stored=request.stored.replace(count=1))
    assert (requests.current, requests.complete) == (None, None)
    assert requests.add(changes[2]) is None


def test_a_tombstone_names_no_request() -> None:
    changes, _ = written([(KEY, 1, 1)])
    requests = Requests()
    requests.add(changes[0].replace(operation=TOMBSTONE))
    assert (requests.current, requests.complete) == (None, None)


def test_a_forgotten_request_does_not_go_on() -> None:
    changes, _ = written([(KEY, 2, 1)])
    requests = Requests()
    requests.add(changes[0])
    requests.forget()
    assert requests.add(changes[1]) is None
    assert requests.current is None


def test_a_key_is_remembered_from_the_time_of_its_changes() -> None:
    _, (request,) = written([(KEY, 1, 0)])
    assert request.seconds_left(lambda: NOW) == KEY_DAYS * 86_400
    assert request.seconds_left(lambda: NOW + KEY_DAYS * 86_400 * 10**9 + 10**6) < 0
    assert request.expires == NOW / 1e9 + KEY_DAYS * 86_400


VALID = f"{KEY} 0 0 1 {HASH}"
INVALID = [
    "", " ", KEY, f"{VALID} ", f" {VALID}", f"{VALID} 1", f"short 0 0 1 {HASH}", f"{'k' * 129} 0 0 1 {HASH}",
    f"{KEY} -1 0 1 {HASH}", f"{KEY} 0 x 1 {HASH}", f"{KEY} 0 0 0 {HASH}", f"{KEY} 0 0 1.5 {HASH}", f"{KEY} 0  1 {HASH}",
    f"{KEY} ² 0 1 {HASH}", f"{KEY} {'9' * 40} 0 1 {HASH}", f"{KEY} 0 0 1 {HASH}0", f"{KEY} 0 0 1 {HASH[:-1]}-",
    f"é{KEY} 0 0 1 {HASH}", f"{KEY} {MAX_SEQ + 1} 0 1 {HASH}", f"{KEY} 0 {MAX_SEQ + 1} 1 {HASH}", 17, 2.5, b"x",
]  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_a_name_that_is_not_valid_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match=r"is not|is longer|is empty"):
        check_request_key(name)
    change = written([(None, 1, 0)])[0][0]
    with pytest.raises(ValueError, match=r"is not|is longer|is empty"):
        request_of(change.replace(request_key=name))


def test_a_name_is_optional() -> None:
    check_request_key(None)
    check_request_key(VALID)
    assert request_of(written([(None, 1, 0)])[0][0]) is None


def test_a_change_that_names_a_request_needs_a_time() -> None:
    change = written([(KEY, 1, 0)])[0][0]
    with pytest.raises(ValueError, match="ISO 8601"):
        request_of(change.replace(cloud_at="yesterday"))


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))
def test_a_time_is_converted_to_seconds_as_by_datetime(moment: datetime) -> None:
    assert seconds_of(normalise(moment.isoformat())) == pytest.approx(moment.timestamp(), abs=1e-4)
