"""Reads that are stale, see half a transaction or arrive in pieces: changes are delayed, never skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.log.items import change_key, sequence_key
from aws_backend.log.reader import GAP_PAUSE, GAP_SECONDS
from sltt_core.base.errors import ChainMismatch, LogDamaged, NotFound, StorageThrottled
from sltt_core.base.runtime import Runtime
from sltt_core.log.pages import Page
from tests.aws_backend.faults import Faults, canceled, not_sent
from tests.contract.logs import DynoxideLog, HurriedClock, batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.log.storage import BaseStorageService

    HttpResponse = dict[str, Any]


@pytest.fixture
def storage(log: DynoxideLog) -> BaseStorageService:
    """A storage that wrote ten changes."""
    opened = log.open("p")
    opened.create_changes(batch(10))
    return opened


@pytest.fixture
def stranger(log: DynoxideLog, storage: BaseStorageService) -> BaseStorageService:
    """A storage of another process, which has not read anything yet."""
    return log.open("p")


def seqs(page: Page) -> list[int]:
    return [change.seq for change in page.changes]


def hide(faults: Faults, *numbers: int, strong: bool = False, times: int = 10**9) -> None:
    """Hide changes from eventually consistent reads, with `strong` from strong ones too, for so many reads."""
    left = [times]

    def stale(call: Callable[[], HttpResponse]) -> HttpResponse:
        response = call()
        if (strong or not faults.payloads[-1]["ConsistentRead"]) and left[0]:
            left[0] -= 1
            if "Items" in response:
                response["Items"] = [item for item in response["Items"] if int(item["seq"]["N"]) not in numbers]
            elif int(response.get("Item", {}).get("seq", {}).get("N", 0)) in numbers:
                del response["Item"]
        return response

    faults.always |= {"Query": stale, "GetItem": stale}


def test_a_stale_read_delays_the_changes_of_other_processes(stranger: BaseStorageService) -> None:
    faults = Faults(stranger)
    hide(faults, 8, 9, 10)
    assert seqs(stranger.get_changes_with_cursor(0)) == [1, 2, 3, 4, 5, 6, 7]
    assert seqs(stranger.get_changes_with_cursor(7)) == []
    assert faults.calls == ["Query", "Query"]
    faults.always.clear()
    assert seqs(stranger.get_changes_with_cursor(7)) == [8, 9, 10]


def test_a_process_reads_its_own_changes_despite_a_stale_read(storage: BaseStorageService) -> None:
    faults = Faults(storage)
    hide(faults, 8, 9, 10)
    assert seqs(storage.get_changes_with_cursor(7)) == [8, 9, 10]
    assert faults.calls == ["Query", "Query"]
    assert [payload["ConsistentRead"] for payload in faults.payloads] == [False, True]
    assert storage.get_change(9).entity_id == "e8"
    assert faults.calls[2:] == ["GetItem", "GetItem"]
    with pytest.raises(NotFound):
        storage.get_change(11)


def test_a_process_that_has_read_a_change_reads_it_again_despite_a_stale_read(stranger: BaseStorageService) -> None:
    everything(stranger)
    hide(Faults(stranger), *range(1, 11))
    assert seqs(stranger.get_changes_with_cursor(4)) == [5, 6, 7, 8, 9, 10]
    assert stranger.get_head().seq == 10


def test_stale_statistics_are_read_again(log: DynoxideLog, storage: BaseStorageService) -> None:
    before = log.call("GetItem", Key=sequence_key("p"))
    storage.create_change(new())
    faults = Faults(storage)
    faults.plan("GetItem", lambda call: before)
    assert storage.get_change_stats().total == 11
    assert faults.calls == ["GetItem", "GetItem"]


@pytest.mark.parametrize("hidden", [(3,), (3, 4), (1,), (1, 5, 9)])
def test_a_page_ends_at_the_first_gap_and_the_next_waits_until_it_closes(
    stranger: BaseStorageService, hidden: tuple[int, ...]
) -> None:
    faults = Faults(stranger)
    hide(faults, *hidden, strong=True, times=5)
    found: list[int] = []
    while len(found) < 10:
        found += seqs(stranger.get_changes_with_cursor(len(found)))
    assert found == list(range(1, 11))


def test_a_gap_that_stays_is_reported_after_two_seconds_of_strong_reads(
    log: DynoxideLog, storage: BaseStorageService
) -> None:
    clock, pauses = HurriedClock(), []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.pause(seconds)

    log.lose("p", 5)
    reader = log.open("p", runtime=Runtime(steady_clock=clock, pause=pause))
    faults = Faults(reader)
    page = reader.get_changes_with_cursor(0)
    assert (seqs(page), page.through, page.cursor) == ([1, 2, 3, 4], 4, 4)
    assert pauses == []
    with pytest.raises(LogDamaged, match="change 5 of project p is missing") as caught:
        reader.get_changes_with_cursor(4)
    assert "repair" in caught.value.hint
    assert GAP_SECONDS - 0.2 <= sum(pauses) <= GAP_SECONDS
    assert faults.calls.count("TransactGetItems") == 1
    assert faults.calls[-1] == "TransactGetItems"


def test_a_gap_is_reported_within_a_short_time_limit_too(log: DynoxideLog, storage: BaseStorageService) -> None:
    clock = HurriedClock()
    log.lose("p", 5)
    reader = log.open("p", runtime=Runtime(steady_clock=clock, pause=clock.pause), time_limit=lambda: 1.0)
    faults = Faults(reader)
    with pytest.raises(LogDamaged, match="change 5"):
        reader.get_changes_with_cursor(4)
    assert faults.calls.count("Query") == pytest.approx(0.5 / GAP_PAUSE, abs=3)


def test_a_change_that_only_a_transactional_read_finds_is_not_damage(stranger: BaseStorageService) -> None:
    """The queries do not return the change in time, but it exists."""
    faults = Faults(stranger)
    hide(faults, 3, strong=True)
    read = faults.always["Query"]

    def settle(call: Callable[[], HttpResponse]) -> HttpResponse:
        faults.always["Query"] = lambda call: call()
        return call()

    faults.always["TransactGetItems"] = settle
    assert seqs(stranger.get_changes_with_cursor(2)) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert read is not faults.always["Query"]


def test_damage_is_reported_only_after_transactions_in_flight_have_ended(
    log: DynoxideLog, storage: BaseStorageService
) -> None:
    log.lose("p", 5)
    faults = Faults(storage)
    faults.plan("TransactGetItems", *[not_sent(canceled("TransactionConflict", None))] * 3)
    with pytest.raises(LogDamaged, match="change 5"):
        storage.get_changes_with_cursor(4)
    assert faults.calls.count("TransactGetItems") == 4


def test_a_stale_read_does_not_cause_a_chain_mismatch(log: DynoxideLog, storage: BaseStorageService) -> None:
    link = storage.get_change(10).chain
    faults = Faults(storage)
    hide(faults, 9, 10)
    assert storage.get_changes_with_cursor(10, chain=link) == Page((), 10, link, None)
    assert faults.calls == ["Query", "Query"]
    storage.create_change(new())
    with pytest.raises(ChainMismatch, match="has the link"):
        storage.get_changes_with_cursor(10, chain="x" * 22)


def test_a_stale_read_of_a_repaired_link_does_not_cause_a_chain_mismatch(
    log: DynoxideLog, storage: BaseStorageService
) -> None:
    old = log.call("GetItem", Key=change_key("p", 10))["Item"]
    log.call(
        "UpdateItem",
        Key=change_key("p", 10),
        UpdateExpression="SET chain = :c",
        ExpressionAttributeValues={":c": {"S": "n" * 22}},
    )
    faults = Faults(storage)

    def stale(call: Callable[[], HttpResponse]) -> HttpResponse:
        return call() if faults.payloads[-1]["ConsistentRead"] else {"Items": [old]}

    faults.always["Query"] = stale
    assert storage.get_changes_with_cursor(10, chain="n" * 22).chain == "n" * 22


def test_a_log_that_was_replaced_by_a_shorter_one_is_accepted(log: DynoxideLog, storage: BaseStorageService) -> None:
    log.forget_project("p")
    other = log.open("p")
    other.create_changes(batch(4))
    assert seqs(storage.get_changes_with_cursor(4)) == []
    assert storage.get_head().seq == 4
    with pytest.raises(ChainMismatch, match="ends at 4, before 10"):
        storage.get_changes_with_cursor(10, chain="x" * 22)
    faults = Faults(storage)
    storage.get_changes_with_cursor(4)
    assert faults.calls == ["Query"], "it is not read twice any more"


@pytest.mark.parametrize("step", [1, 2, 3, 7])
def test_a_response_may_end_anywhere(log: DynoxideLog, storage: BaseStorageService, step: int) -> None:
    """DynamoDB may end a response after any item; more may follow even after an empty response."""
    reader = log.open("p")
    faults = Faults(reader)
    call = faults._call

    def cut(_: Callable[[], HttpResponse]) -> HttpResponse:
        payload = faults.payloads[-1]
        if len(faults.calls) % 2 == 0:
            return {"Items": [], "LastEvaluatedKey": payload.get("ExclusiveStartKey") or change_key("p", 0)}
        response: HttpResponse = call("Query", {**payload, "Limit": min(step, payload["Limit"])})
        return response

    faults.always["Query"] = cut
    for limit in (1, 3, 10, 1000):
        for cursor in range(11):
            page = reader.get_changes_with_cursor(cursor, limit)
            assert seqs(page) == list(range(cursor + 1, min(cursor + limit, 10) + 1))
            assert page.cursor == (page.through if page.through < 10 else None)


def test_an_item_with_a_fractional_number_is_reported_as_damage(log: DynoxideLog, storage: BaseStorageService) -> None:
    """It ends the page before it; the next page reports it."""
    item = log.call("GetItem", Key=change_key("p", 5))["Item"]
    log.call("PutItem", Item={**item, "seq": {"N": "5.5"}})
    reader = log.open("p")
    assert seqs(reader.get_changes_with_cursor(0)) == [1, 2, 3, 4, 5]
    with pytest.raises(LogDamaged):
        reader.get_changes_with_cursor(5)


def test_a_page_reads_no_more_than_it_needs(log: DynoxideLog) -> None:
    storage = log.open("p")
    large = '{"text":"' + "é" * 190_000 + '"}'
    for _ in range(3):
        storage.create_changes(batch(9, data=large))
    faults = Faults(storage)
    page = storage.get_changes_with_cursor(0)
    assert seqs(page) == list(range(1, 11))
    assert len(faults.calls) <= 6, "a response has 1 MB: two of these changes"


def test_a_change_can_be_outdated_by_one_that_a_stale_read_misses(
    storage: BaseStorageService, stranger: BaseStorageService, log: DynoxideLog
) -> None:
    before = log.call("GetItem", Key=sequence_key("p"))
    storage.create_change(new())
    faults = Faults(stranger)
    faults.plan("GetItem", lambda call: before)
    assert stranger.mark_as_outdated(1, 11).outdated_by == 11
    with pytest.raises(NotFound):
        stranger.mark_as_outdated(1, 12)


def test_waits_for_a_throttled_table_grow_exponentially(log: DynoxideLog) -> None:
    clock, pauses = HurriedClock(), []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.pause(seconds)

    storage = log.open(runtime=Runtime(steady_clock=clock, pause=pause, random=lambda: 1.0))
    faults = Faults(storage)
    faults.always["BatchGetItem"] = lambda call: {
        "Responses": {},
        "UnprocessedKeys": faults.payloads[-1]["RequestItems"],
    }
    with pytest.raises(StorageThrottled):
        storage.get_heads(["p"])
    assert pauses == [0.1 * 2**number for number in range(len(pauses))]
    assert len(pauses) == 6
