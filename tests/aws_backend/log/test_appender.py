"""Appends under faults (refused, lost, late and conflicting transactions), and threads that share a transaction."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb.errors import (
    AccessDenied,
    InvalidRequest,
    ServerFault,
    TableNotFound,
    Throttled,
    TokenReused,
    TransactionInProgress,
)
from aws_backend.log import queue
from aws_backend.log.appender import CONFLICT_SECONDS
from aws_backend.log.items import request_key
from aws_backend.log.queue import Append
from aws_backend.log.table import REQUEST_SECONDS
from aws_backend.log.transactions import Member
from sltt_core.api.app import Api
from sltt_core.api.http import Request
from sltt_core.base.errors import (
    HeadMoved,
    InvalidBatch,
    LogDamaged,
    StorageError,
    StorageThrottled,
    StorageUnavailable,
    TooManyWriters,
)
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.responses import BadResponse, ConnectFailed, OutcomeUnknown
from sltt_core.log.batches import Chunk
from tests.aws_backend.faults import Faults, Gate, canceled, late, not_sent, response_lost
from tests.contract.logs import DynoxideLog, HurriedClock, batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sltt_core.base.errors import SlttError
    from sltt_core.log.storage import BaseStorageService
    from tests.aws_backend.faults import Fault

WRITE = "TransactWriteItems"
KEY = "key-0123456789abcdef"
SECONDS = 30.0
"""Longest wait for another thread."""
UNKNOWN = [OutcomeUnknown("gone"), BadResponse("garbled"), ServerFault("500"), TransactionInProgress("busy")]


@pytest.fixture
def faults(storage: BaseStorageService) -> Faults:
    return Faults(storage)


def entities(log: DynoxideLog) -> list[str]:
    return [change.entity_id for change in everything(log.open("p"))]


# Unknown outcomes


@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("error", UNKNOWN, ids=lambda error: type(error).__name__)
def test_a_write_whose_response_was_lost_is_found_and_not_repeated(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults, error: SlttError, key: str | None
) -> None:
    faults.plan(WRITE, response_lost(error))
    appended = storage.create_changes([new("a"), new("b")], key)
    assert (appended.seqs, appended.replayed) == ((3, 4), False)
    assert faults.calls == [WRITE, "GetItem"]
    assert entities(log)[2:] == ["a", "b"]
    assert storage.create_change(new("c")).seq == 5


def test_the_change_is_returned_although_the_response_was_lost(storage: BaseStorageService, faults: Faults) -> None:
    faults.plan(WRITE, response_lost(OutcomeUnknown("gone")))
    stored = storage.create_change(new("a"))
    assert faults.calls == [WRITE, "GetItem"], "no further read is needed"
    assert storage.get_change(3) == stored


@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("error", [*UNKNOWN, TokenReused("mismatch")], ids=lambda error: type(error).__name__)
def test_a_write_that_was_not_carried_out_is_sent_again(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults, error: SlttError, key: str | None
) -> None:
    faults.plan(WRITE, not_sent(error))
    assert storage.create_changes([new("a")], key).seqs == (3,)
    assert faults.calls == [WRITE, "GetItem", "GetItem", WRITE]
    tokens = [payload["ClientRequestToken"] for payload in faults.payloads if "ClientRequestToken" in payload]
    assert len(set(tokens)) == 2, "a transaction that is built again has a new token"
    assert entities(log)[2:] == ["a"]


def test_a_late_transaction_and_its_successor_exclude_each_other(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    """The first transaction is slow: it is carried out just before the second, which is then refused."""
    arrives: list[Callable[[], Any]] = []
    faults.plan(WRITE, late(OutcomeUnknown("gone"), arrives), lambda call: (arrives.pop()(), call())[1])
    appended = storage.create_changes([new("a"), new("b")], KEY)
    assert (appended.seqs, appended.replayed) == ((3, 4), False)
    assert entities(log)[2:] == ["a", "b"]


def test_a_transaction_that_arrives_after_its_successor_is_refused(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    arrives: list[Callable[[], Any]] = []
    faults.plan(WRITE, late(OutcomeUnknown("gone"), arrives))
    assert storage.create_changes([new("a"), new("b")], KEY).seqs == (3, 4)
    with pytest.raises(Exception, match="TransactionCanceled"):
        arrives.pop()()
    assert entities(log)[2:] == ["a", "b"]


def test_an_outcome_that_stays_unknown_is_reported_and_the_key_settles_it(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    faults.plan(WRITE, response_lost(OutcomeUnknown("gone")))
    faults.plan("GetItem", not_sent(ConnectFailed("no network")))
    with pytest.raises(StorageUnavailable):
        storage.create_changes([new("a")], KEY)
    again = storage.create_changes([new("a")], KEY)
    assert (again.seqs, again.replayed) == ((3,), True)
    assert entities(log)[2:] == ["a"]


def test_an_error_after_a_success_with_a_lost_response_does_not_hide_it(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    """The client repeats a request by itself; the error of its last attempt may differ from that of the first."""
    for error in (ConnectFailed("refused"), Throttled("slow down"), AccessDenied("expired")):
        faults.plan(WRITE, response_lost(error))
        appended = storage.create_changes([new(type(error).__name__)])
        assert not appended.replayed
    assert entities(log)[2:] == ["ConnectFailed", "Throttled", "AccessDenied"]


def test_an_unknown_outcome_after_a_lost_race_is_reported_as_unknown(log: DynoxideLog) -> None:
    clock = HurriedClock()
    storage = log.open("p", runtime=Runtime(steady_clock=clock, pause=clock.pause))
    storage.create_changes(batch(2))
    faults = Faults(storage)

    def silence(call: Callable[[], Any]) -> Any:
        call()
        clock.pause(REQUEST_SECONDS)
        raise OutcomeUnknown("no response in time")

    faults.plan(WRITE, lambda call: call(), silence)
    faults.always["GetItem"] = not_sent(ConnectFailed("no time left"))
    log.open("p").create_change(new("faster"))
    with pytest.raises(StorageUnavailable):
        storage.create_change(new("mine"))
    assert entities(log)[2:] == ["faster", "mine"]


def test_an_append_returns_its_result_if_the_storage_is_closed_meanwhile(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    gate = Gate()
    faults.plan(WRITE, gate)
    with ThreadPoolExecutor(1) as threads:
        stored = threads.submit(storage.create_change, new("mine"))
        assert gate.came.wait(30)
        storage.close()
        gate.open.set()
        assert stored.result(30).seq == 3
    assert entities(log)[2:] == ["mine"]


# Conflicts, throttling, refusals


def test_after_a_conflict_an_append_waits_and_reads_the_end_of_the_log_again(log: DynoxideLog) -> None:
    clock, pauses = HurriedClock(), []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock.pause(seconds)

    storage = log.open("p", runtime=Runtime(steady_clock=clock, pause=pause, random=lambda: 0.5))
    storage.create_changes(batch(2))
    faults = Faults(storage)
    faults.plan(WRITE, *[not_sent(canceled("TransactionConflict", None, None))] * 2)
    assert storage.create_change(new()).seq == 3
    assert faults.calls == [WRITE, "GetItem", WRITE, "GetItem", WRITE]
    assert pauses == [CONFLICT_SECONDS / 2] * 2


def test_an_append_that_lost_a_race_is_sent_again_at_once(log: DynoxideLog, storage: BaseStorageService) -> None:
    pauses: list[float] = []
    another = log.open("p", runtime=Runtime(pause=pauses.append))
    another.create_change(new())
    storage.create_change(new())
    assert another.create_change(new()).seq == 5
    assert pauses == []


def response(storage: BaseStorageService, key: str | None = None) -> tuple[int, str | None]:
    """The status and the Retry-After of an append over HTTP."""
    body = json.dumps([{"projectId": "p", "entityType": "t", "entityId": "e", "data": {}}]).encode()
    headers = {"content-type": "application/json", **({"idempotency-key": key} if key else {})}
    returned = Api(storage).handle(Request("POST", "/api/changes", "", headers, body))
    return returned.status, returned.header("retry-after")


def test_an_append_that_always_conflicts_gets_429_at_its_deadline(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    faults.always[WRITE] = not_sent(canceled("TransactionConflict", None, None))
    with pytest.raises(TooManyWriters, match="too many concurrent writers to project p"):
        storage.create_change(new())
    assert response(storage) == (429, "1")
    del faults.always[WRITE]
    assert storage.create_change(new()).seq == 3


@pytest.mark.parametrize(
    "error",
    [canceled("ThrottlingError", None), canceled(None, "ProvisionedThroughputExceeded"), Throttled("slow down")],
    ids=["in a transaction", "on an item", "at once"],
)
def test_throttling_is_reported_as_429_with_retry_after(
    storage: BaseStorageService, faults: Faults, error: SlttError
) -> None:
    faults.always[WRITE] = not_sent(error)
    with pytest.raises(StorageThrottled):
        storage.create_change(new())
    assert response(storage) == (429, "1")


def test_an_append_waits_while_the_table_is_throttled(storage: BaseStorageService, faults: Faults) -> None:
    faults.plan(WRITE, *[not_sent(canceled("ThrottlingError", None, None))] * 4)
    assert storage.create_change(new()).seq == 3


def test_a_network_failure_is_reported_as_503_with_retry_after(storage: BaseStorageService, faults: Faults) -> None:
    for operation in (WRITE, "GetItem"):
        faults.always[operation] = not_sent(ConnectFailed("cannot reach dynamodb"))
    assert response(storage) == (503, "1")


def test_errors_of_the_server_do_not_reveal_the_account(storage: BaseStorageService, faults: Faults) -> None:
    denied = AccessDenied("User: arn:aws:sts::123456789012:assumed-role/secret is not authorized")
    denied.code = "AccessDeniedException"
    for error in (denied, TableNotFound("Requested resource not found: Table: secret")):
        for operation in (WRITE, "GetItem", "Query"):
            faults.always[operation] = not_sent(error)
        for call in (lambda: storage.create_change(new()), storage.get_change_stats, storage.get_changes_with_cursor):
            with pytest.raises(StorageError) as caught:
                call()
            assert type(caught.value) is StorageError
            assert "secret" not in f"{caught.value} {caught.value.hint}"
            assert caught.value.hint
            assert caught.value.__cause__ is error


# Group commit


def together(
    storage: BaseStorageService,
    faults: Faults,
    appends: Sequence[Callable[[], Any]],
    *,
    then: Fault | None = None,
    following: Sequence[Fault] = (),
) -> list[Any]:
    """Start all appends while the first one is in flight; return the result or the error of each.

    The first transaction meets the fault `then`, the next ones meet those in `following`.
    """
    first = Gate(then)
    faults.plan(WRITE, first, *following)
    queues: Any = storage._open.appender._queue._queues  # type: ignore[attr-defined]

    def guarded(append: Callable[[], Any]) -> Any:
        try:
            return append()
        except BaseException as error:
            return error

    with ThreadPoolExecutor(len(appends)) as threads:
        futures = [threads.submit(guarded, appends[0])]
        assert first.came.wait(SECONDS)
        for number, append in enumerate(appends[1:], start=1):
            futures.append(threads.submit(guarded, append))
            until = monotonic() + SECONDS
            while len(queues["p"].waiting) < number:
                assert monotonic() < until, "the append did not come to the queue"
                sleep(0.001)
        first.open.set()
        return [future.result(SECONDS) for future in futures]


def append_each(storage: BaseStorageService, names: Iterable[str]) -> list[Callable[[], Any]]:
    """Return a function for each of these entities, which appends a change of it."""
    return [partial(storage.create_change, new(name)) for name in names]


def writes(faults: Faults) -> list[int]:
    """Return the number of changes in each transaction that was sent."""
    return [
        sum("Put" in action and action["Put"]["Item"]["pk"] == {"S": "p"} for action in payload["TransactItems"])
        for payload in faults.payloads
        if "TransactItems" in payload
    ]


def test_concurrent_appends_share_a_transaction(log: DynoxideLog, storage: BaseStorageService, faults: Faults) -> None:
    pairs = [[new(f"{n}a"), new(f"{n}b")] for n in range(9)]
    results = together(storage, faults, [partial(storage.create_changes, pair) for pair in pairs])
    assert writes(faults) == [2, 16]
    assert [result.seqs for result in results] == [(3 + 2 * n, 4 + 2 * n) for n in range(9)]
    assert entities(log)[2:] == [f"{n}{letter}" for n in range(9) for letter in "ab"]


def test_a_transaction_has_at_most_100_actions(log: DynoxideLog, storage: BaseStorageService, faults: Faults) -> None:
    results = together(storage, faults, [lambda: storage.create_changes(batch(24)) for _ in range(6)])
    assert writes(faults) == [24, 72, 48], "1 + 3 x (1 + 24) actions, and one more would be 101"
    assert sorted(seq for result in results for seq in result.seqs) == list(range(3, 147))


def test_a_transaction_has_at_most_3_5_megabytes(log: DynoxideLog, storage: BaseStorageService, faults: Faults) -> None:
    large = '{"text":"' + "x" * 390_000 + '"}'
    together(storage, faults, [lambda: storage.create_changes(batch(4, data=large)) for _ in range(4)])
    assert writes(faults) == [4, 8, 4]


def test_a_replay_in_a_group_gets_its_result_and_the_others_are_sent_again(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    stored = storage.create_changes(batch(3), KEY)
    appends = [partial(storage.create_changes, batch(3), KEY if n == 2 else None) for n in range(4)]
    results = together(storage, faults, appends)
    assert (results[2].seqs, results[2].replayed) == (stored.seqs, True)
    assert [result.seqs for result in results if result is not results[2]] == [(6, 7, 8), (9, 10, 11), (12, 13, 14)]
    assert writes(faults)[1:] == [3, 9, 6]


def test_concurrent_appends_with_one_key_are_stored_once(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    results = together(storage, faults, [lambda: storage.create_changes(batch(3), KEY) for _ in range(4)])
    assert {result.seqs for result in results} == {(3, 4, 5)}
    assert sorted(result.replayed for result in results) == [False, True, True, True]


def test_a_refused_group_is_sent_one_by_one_to_find_the_invalid_append(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    # The name is not hexadecimal: a random token in the payload must not contain it.
    def refuse_unwanted(call: Callable[[], Any]) -> Any:
        if "unwanted" in json.dumps(faults.payloads[-1]):
            raise InvalidRequest("an item is not valid")
        return call()

    faults.always[WRITE] = refuse_unwanted
    results = together(storage, faults, append_each(storage, ["a", "b", "unwanted", "c"]))
    assert isinstance(results[2], StorageError)
    assert entities(log)[2:] == ["a", "b", "c"]


def test_in_a_group_only_the_append_with_a_damaged_key_fails(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    storage.create_changes(batch(1), KEY)
    log.call("UpdateItem", Key=request_key("p", KEY, 0), UpdateExpression="REMOVE firstSeq")
    appends = append_each(storage, ["a", "b", "damaged", "c"])
    appends[2] = partial(storage.create_changes, batch(1), KEY)
    results = together(storage, faults, appends)
    assert isinstance(results[2], LogDamaged)
    assert "firstSeq is missing or not valid" in results[2].message
    assert entities(log)[3:] == ["a", "b", "c"]


def test_in_a_group_only_the_append_with_one_entity_type_too_many_fails(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    storage.create_changes([new(entity_type=f"t{number}") for number in range(198)])
    types = ["t0", "new", "t1", "newer", "t2"]
    results = together(storage, faults, [partial(storage.create_change, new(t, entity_type=t)) for t in types])
    assert isinstance(results[3], InvalidBatch)
    assert results[3].failed_at_index == 0
    assert entities(log)[200:] == ["t0", "new", "t1", "t2"]


def test_the_other_appends_continue_if_the_leader_is_interrupted(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    def interrupt(call: Callable[[], Any]) -> Any:
        raise KeyboardInterrupt

    results = together(storage, faults, append_each(storage, "0123"), following=[interrupt])
    assert isinstance(results[1], KeyboardInterrupt)
    assert [change.seq for change in (results[0], *results[2:])] == [3, 4, 5]
    assert storage.create_change(new()).seq == 6


def test_a_finished_append_returns_if_the_leader_is_interrupted(
    log: DynoxideLog, storage: BaseStorageService, faults: Faults
) -> None:
    def interrupt(call: Callable[[], Any]) -> Any:
        raise KeyboardInterrupt

    stored = storage.create_changes(batch(3), KEY)
    appends = [partial(storage.create_changes, batch(3), KEY if n == 2 else None) for n in range(4)]
    results = together(storage, faults, appends, following=[lambda call: call(), interrupt])
    assert isinstance(results[1], KeyboardInterrupt)
    assert (results[2].seqs, results[2].replayed) == (stored.seqs, True)
    assert [result.seqs for result in (results[0], results[3])] == [(6, 7, 8), (9, 10, 11)]


def test_an_append_interrupted_in_flight_is_not_sent_again_and_does_not_lead(log: DynoxideLog) -> None:
    clock = HurriedClock()
    time_limit = iter([REQUEST_SECONDS, 1.0, 30.0, 30.0, 30.0])
    storage = log.open(
        "p",
        runtime=Runtime(steady_clock=clock, pause=clock.pause, random=lambda: 1.0),
        time_limit=lambda: next(time_limit),
    )
    storage.create_changes(batch(2))
    faults = Faults(storage)
    appends: Any = storage._open.appender._queue  # type: ignore[attr-defined]
    project_queue = appends._queues["p"]
    until = clock() + 2.0
    conflict = not_sent(canceled("TransactionConflict"))
    faults.always[WRITE] = lambda call: conflict(call) if clock() < until else call()
    member = Member(Chunk("p", None, 0, 0, "", (new("gone"),), 300), "k" * 32, 0)
    turn = Lock()
    turn.acquire()
    gone = Append(member, 1_100, clock() + 30.0, turn)

    def leave(call: Callable[[], Any]) -> Any:
        """Interrupt the thread of a follower while the transaction that contains it is in flight."""
        appends._leave(project_queue, gone)
        raise canceled("TransactionConflict")

    def add_follower(project_queue: Any) -> Any:
        if not gone.gone:
            project_queue.waiting.append(gone)
        return next_group(project_queue)

    faults.plan(WRITE, leave)
    next_group, appends._next_group = appends._next_group, add_follower
    with pytest.raises(TooManyWriters):
        storage.create_change(new("late"))
    assert not project_queue.busy
    assert storage.create_change(new("next")).entity_id == "next"
    assert entities(log)[2:] == ["next"]


def test_the_other_appends_continue_if_a_waiting_one_is_interrupted(log: DynoxideLog) -> None:
    waited: list[object] = []

    class Turn:
        """A lock. The first thread that waits for one is interrupted when it acquires it."""

        def __init__(self) -> None:
            self._lock = Lock()
            self._held = 0

        def acquire(self, *arguments: Any) -> bool:
            self._held += 1
            if self._held == 2 and not waited:
                waited.append(self)
                self._lock.acquire()
                raise KeyboardInterrupt
            return self._lock.acquire(*arguments)

        def release(self) -> None:
            self._held -= 1
            self._lock.release()

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    storage = log.open("p", runtime=Runtime(new_lock=Turn))
    storage.create_changes(batch(2))
    results = together(storage, Faults(storage), append_each(storage, "0123"))
    assert isinstance(results[1], KeyboardInterrupt)
    assert [change.seq for change in (results[0], *results[2:])] == [3, 4, 5]
    assert storage.create_change(new()).seq == 6


def test_a_leader_past_its_deadline_does_not_fail_the_other_appends(log: DynoxideLog) -> None:
    clock = HurriedClock()
    time_limit = iter([REQUEST_SECONDS, 1.0, 30.0])
    storage = log.open(
        "p",
        runtime=Runtime(steady_clock=clock, pause=clock.pause, random=lambda: 1.0),
        time_limit=lambda: next(time_limit),
    )
    storage.create_changes(batch(2))
    faults = Faults(storage)
    until = clock() + 2.0
    conflict = not_sent(canceled("TransactionConflict"))
    faults.always[WRITE] = lambda call: conflict(call) if clock() < until else call()
    results = together(storage, faults, append_each(storage, "01"), then=conflict)
    assert isinstance(results[0], TooManyWriters)
    assert results[1].entity_id == "1"
    assert entities(log)[2:] == ["1"]


def test_the_number_of_cached_projects_is_bounded(log: DynoxideLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_PROJECTS", 3)
    storage = log.open()
    for _ in range(2):
        for number in range(6):
            storage.create_change(new(project_id=f"p{number}"))
    queues: Any = storage._open.appender._queue._queues  # type: ignore[attr-defined]
    assert len(queues) == 3
    assert [len(everything(storage, f"p{number}")) for number in range(6)] == [2] * 6


def test_nothing_is_written_after_the_deadline(log: DynoxideLog) -> None:
    storage = log.open("p", time_limit=lambda: 0.0)
    with suppress(StorageUnavailable):
        storage.create_change(new())
    assert entities(log) == []


@pytest.mark.parametrize("fresh", [True, False])
def test_of_two_in_a_group_that_expect_the_same_end_the_first_is_written(log: DynoxideLog, fresh: bool) -> None:
    """The other is refused with the end that the first made, and not with one that is not written yet."""
    storage: Any = log.open("p")
    storage.create_changes(batch(2))
    appender = storage._open.appender
    queue = appender._queue._queues["p"]
    if not fresh:  # another process has appended
        log.open("p").create_changes(batch(1))
    expected = 2 if fresh else 3
    group = []
    for name in ("first", "second"):
        chunk = Chunk("p", None, 0, 0, "", (new(name),), 300, None, expected)
        turn = Lock()
        turn.acquire()
        group.append(Append(Member(chunk, f"{name:k<32}", 0), 1_100, monotonic() + 30, turn))
    appender._store(queue, group)
    first, second = group
    assert first.result is not None
    assert first.result.first_seq == expected + 1
    assert isinstance(second.error, HeadMoved)
    assert second.error.seq == expected + 1
    assert second.error.chain == storage.get_head().chain
    assert entities(log)[-1] == "first"
