"""What the appender sends for a group, how long it tries, and what each append gets: in one thread, on the model."""

from __future__ import annotations

from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.errors import AccessDenied, InvalidRequest, Throttled, TokenReused, TransactionConflict
from aws_backend.log.appender import CONFLICT_SECONDS, REQUEST_BYTES, Appender
from aws_backend.log.items import change_item, change_of, sequence_key
from aws_backend.log.queue import Append, ProjectQueue
from aws_backend.log.table import REQUEST_SECONDS, THROTTLE_SECONDS, LogTable
from aws_backend.log.transactions import Member
from sltt_core.base.errors import InvalidBatch, LogDamaged, ProjectExists, TooManyWriters
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.responses import ConnectFailed, OutcomeUnknown
from sltt_core.log.batches import KEY_DAYS, Chunk, StoredChunk
from tests.aws_backend.faults import Faults, canceled, not_sent, response_lost
from tests.dynamodb_model.direct import CREDENTIALS, TABLE, DirectTransport, new_model
from tests.sltt_core.samples import NANOSECONDS, NOW, change, new_change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sltt_core.base.errors import SlttError
    from sltt_core.model.changes import Change

WRITE = "TransactWriteItems"
READ = "GetItem"
CONFLICT = not_sent(canceled("TransactionConflict"))
THROTTLED = not_sent(canceled("ThrottlingError"))
GONE = OutcomeUnknown("gone")
BATCH = "f" * 64
"""The fingerprint of every batch here."""
MAX_BYTES = 3_500_000
MOST_CALLS = 50
"""No append needs more. An appender that does not stop gets an error."""
REFUSED = "too many concurrent writers to project ruth: the append reached its deadline"


def carried_out(call: Callable[[], Any]) -> Any:
    """A fault that is none."""
    return call()


class NotedCalls(Faults):
    """Faults that note each call's deadline, too. Only the appender looks at it: the client gets none."""

    def __init__(self, storage: Any) -> None:
        super().__init__(storage)
        self.deadlines: list[float] = []

    def call(self, operation: str, payload: Any, **options: Any) -> dict[str, Any]:
        assert len(self.deadlines) < MOST_CALLS
        self.deadlines.append(options.pop("deadline"))
        return super().call(operation, payload, **options)


class Process:
    """An appender of its own with the queue of one project. Time passes only in its pauses and in faults."""

    def __init__(self, model: Any = None) -> None:
        self.model = new_model() if model is None else model
        self.now = 0.0
        self.pauses: list[float] = []
        tokens = count(id(self) << 32)
        runtime = Runtime(
            clock=lambda: NANOSECONDS,
            steady_clock=lambda: self.now,
            pause=self.pause,
            random=lambda: 0.5,
            new_token=lambda: f"{next(tokens):032x}",
            transport=lambda origin, seconds: DirectTransport(self.model),
        )
        self._client = DynamoDBClient("eu-west-1", lambda: CREDENTIALS, runtime=runtime)
        storage: Any = self
        self.faults = NotedCalls(storage)
        self.appender = Appender(LogTable(TABLE, self._client, runtime=runtime), max_bytes=MAX_BYTES)
        self.queue = ProjectQueue()

    @property
    def calls(self) -> list[str]:
        return self.faults.calls

    @property
    def deadlines(self) -> list[float]:
        return self.faults.deadlines

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def store(self, *group: Append) -> Sequence[Append]:
        """Write a group as its leader does; return it."""
        self.calls.clear()
        self.deadlines.clear()
        self.appender._store(self.queue, group)
        return group

    def takes(self, seconds: float, then: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """A call that takes some time before the fault `then`."""

        def fault(call: Callable[[], Any]) -> Any:
            self.now += seconds
            return then(call)

        return fault

    def items(self) -> list[Any]:
        found: list[Any] = self.model.call("Scan", {"TableName": TABLE})["Items"]
        return found

    def log(self) -> list[Change]:
        """The changes as stored, in order."""
        changes = [change_of(item) for item in self.items() if item["pk"] == {"S": "ruth"}]
        return sorted(changes, key=lambda change: change.seq)

    def entities(self) -> list[str]:
        return [change.entity_id for change in self.log()]

    def put(self, item: Any) -> None:
        self.model.call("PutItem", {"TableName": TABLE, "Item": item})


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def written() -> Process:
    """A process that knows the end of a log with one change."""
    process = Process()
    process.store(append("first"))
    return process


def append(
    *names: str,
    key: str | None = None,
    deadline: float = 10.0,
    types: Sequence[str] = (),
    owner: str | None = None,
    offset: int = 0,
) -> Append:
    """An append of a change of each of these entities."""
    kinds = types or ["document"] * len(names)
    changes = tuple(new_change(entity_id=name, entity_type=kind) for name, kind in zip(names, kinds, strict=True))
    chunk = Chunk("ruth", key, 0, offset, BATCH, changes, 300, owner)
    turn = Lock()
    turn.acquire()
    return Append(Member(chunk, key or f"key-of-{names[0]}", 2_000_000_000), 1_300, deadline, turn)


def seqs(group: Sequence[Append]) -> list[tuple[int, int] | None]:
    """The first number and the count of each append; `None` where it has no result."""
    return [(done.first_seq, done.count) if (done := append.result) else None for append in group]


def outcomes(group: Sequence[Append]) -> list[Any]:
    """The error of each append, as its text; its first number, or `None` if it is open."""
    return [str(append.error) if append.error else append.result and append.result.first_seq for append in group]


# One append


class NotedQueue:
    """A queue that notes what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Append]] = []

    def run(self, project_id: str, append: Append) -> StoredChunk:
        self.got.append((project_id, append))
        return StoredChunk(1, 1, BATCH, None, 0)


@pytest.mark.parametrize(("key", "days"), [("key-0123456789abcdef", KEY_DAYS), (None, 1)])
def test_an_append_has_a_size_a_deadline_a_key_that_expires_and_a_turn(
    process: Process, key: str | None, days: int
) -> None:
    noted: Any = NotedQueue()
    process.appender._queue = noted
    process.now = 7.0
    chunk = append("a", key=key).member.chunk
    process.appender.append(chunk)
    process.appender.append(chunk)
    (name, one), (_, another) = noted.got
    assert (name, one.member.chunk) == ("ruth", chunk)
    assert one.member.expires == NANOSECONDS // 10**9 + days * 24 * 60 * 60
    assert (one.size, one.deadline) == (REQUEST_BYTES + 300, 7.0 + REQUEST_SECONDS)
    assert one.turn.locked()
    assert one.turn is not another.turn
    if key is not None:
        assert one.member.key == another.member.key == key
    else:
        assert len(one.member.key) == len(another.member.key) == 32
        assert one.member.key != another.member.key


def test_an_append_is_stored_with_its_request_and_returned(process: Process) -> None:
    stored = process.appender.append(append("a", "b", key="key-0123456789abcdef").member.chunk)
    log = process.log()
    assert stored == StoredChunk(1, 2, BATCH, tuple(log), 0)
    assert [(change.entity_id, change.cloud_at) for change in log] == [("a", NOW), ("b", NOW)]
    (request,) = [item for item in process.items() if item["pk"]["S"].startswith("REQUEST#")]
    assert request["pk"] == {"S": "REQUEST#ruth#key-0123456789abcdef"}


def test_a_group_has_at_most_the_bytes_that_the_appender_is_given(process: Process) -> None:
    assert process.appender._queue._max_bytes == MAX_BYTES


def test_after_forget_an_append_reads_the_end_of_the_log_again(process: Process) -> None:
    for name, calls in (("a", [READ, WRITE]), ("b", [WRITE])):
        process.calls.clear()
        process.appender.append(append(name).member.chunk)
        assert process.calls == calls
    process.appender.forget("another")
    process.appender.forget("ruth")
    process.calls.clear()
    assert process.appender.append(append("c").member.chunk).first_seq == 3
    assert process.calls == [READ, WRITE]


# Groups


def test_a_group_is_written_in_one_transaction_by_the_deadline_of_its_leader(process: Process) -> None:
    group = process.store(append("a", "b"), append("c", deadline=20.0), append("d", deadline=5.0))
    assert (seqs(group), process.entities()) == ([(1, 2), (3, 1), (4, 1)], ["a", "b", "c", "d"])
    assert (process.calls, process.deadlines) == ([READ, WRITE], [10.0, 10.0])
    assert process.queue.end is not None
    assert process.queue.end.value == 5
    token = process.faults.payloads[-1]["ClientRequestToken"]
    for append_, changes in zip(group, (process.log()[:2], process.log()[2:3], process.log()[3:]), strict=True):
        assert append_.result == StoredChunk(changes[0].seq, len(changes), BATCH, tuple(changes), 0)
        assert append_.attempts == {token: tuple(changes)}
    assert seqs(process.store(append("e"))) == [(5, 1)]
    assert process.calls == [WRITE], "the end of the log is known"


def test_an_append_that_has_its_outcome_is_not_written_again(process: Process) -> None:
    done, late = append("a"), append("b")
    done.result = StoredChunk(9, 1, BATCH, None, 0)
    late.error = TooManyWriters("late")
    group = process.store(done, late, append("c"))
    assert (outcomes(group), process.entities()) == ([9, "late", 1], ["c"])
    process.store(*group)
    assert process.calls == []


def test_a_group_that_lost_a_race_is_sent_again_at_once_with_another_token(written: Process) -> None:
    Process(written.model).store(append("faster"))
    group = written.store(append("a"), append("b"))
    assert (seqs(group), written.entities()) == ([(3, 1), (4, 1)], ["first", "faster", "a", "b"])
    assert (written.calls, written.deadlines, written.pauses) == ([WRITE, WRITE], [10.0, 10.0], [])
    tokens = [payload["ClientRequestToken"] for payload in written.faults.payloads[-2:]]
    assert len(set(tokens)) == 2
    assert [list(append_.attempts) for append_ in group] == [tokens, tokens]


def test_the_waits_after_conflicts_stay_short_and_those_after_throttling_double(written: Process) -> None:
    written.faults.plan(WRITE, CONFLICT, THROTTLED, CONFLICT, THROTTLED, THROTTLED)
    assert seqs(written.store(append("a"))) == [(2, 1)]
    assert written.calls == [WRITE, READ, WRITE, WRITE, READ, WRITE, WRITE, WRITE]
    short, long = CONFLICT_SECONDS / 2, THROTTLE_SECONDS / 2
    assert written.pauses == [short, long, short, 2 * long, 4 * long]


# Deadlines


@pytest.mark.parametrize(
    ("fault", "kind", "text", "attempts", "seconds"),
    [
        (CONFLICT, TooManyWriters, REFUSED, 4, 0.015),
        (THROTTLED, Throttled, "the table was throttled until the deadline of the request", 1, 0.0),
    ],
)
def test_at_the_deadline_of_the_leader_the_appends_with_a_later_one_stay_open(
    written: Process, fault: Any, kind: type[SlttError], text: str, attempts: int, seconds: float
) -> None:
    written.faults.always[WRITE] = fault
    group = written.store(*[append(name, deadline=end) for name, end in (("a", 0.018), ("b", 0.018), ("c", 0.019))])
    assert outcomes(group) == [text, text, None]
    assert {type(append_.error) for append_ in group[:2]} == {kind}
    assert written.calls.count(WRITE) == attempts
    assert written.now == pytest.approx(seconds)
    del written.faults.always[WRITE]
    assert outcomes(written.store(group[2])) == [2]


def test_a_refused_group_is_not_sent_again_after_the_deadline(written: Process) -> None:
    """The read of the log's end took the rest of the time."""
    written.faults.plan(WRITE, CONFLICT)
    written.faults.plan(READ, written.takes(10.0, carried_out))
    group = written.store(append("a"), append("b", deadline=20.0))
    assert (outcomes(group), written.calls) == ([REFUSED, None], [WRITE, READ])


def test_a_first_attempt_is_made_although_the_read_took_all_of_the_time(process: Process) -> None:
    process.faults.plan(READ, process.takes(10.0, carried_out))
    assert outcomes(process.store(append("a"))) == [1]


def test_an_error_before_the_deadline_goes_to_every_append_of_the_group(process: Process) -> None:
    error = ConnectFailed("no network")
    process.faults.plan(READ, process.takes(9.0, not_sent(error)))
    group = process.store(append("a"), append("b", deadline=20.0))
    assert [append_.error for append_ in group] == [error, error]
    assert (process.calls, process.deadlines) == ([READ], [10.0])


def test_an_error_at_the_deadline_goes_to_the_late_appends_only(process: Process) -> None:
    process.faults.plan(READ, process.takes(10.0, not_sent(ConnectFailed("no network"))))
    group = process.store(append("a"), append("b", deadline=20.0), append("c", deadline=9.0))
    assert outcomes(group) == ["no network", None, "no network"]


def test_a_refused_append_that_cannot_read_the_end_in_time_is_only_late(written: Process) -> None:
    written.faults.plan(WRITE, CONFLICT)
    written.faults.plan(READ, written.takes(10.0, not_sent(ConnectFailed("no network"))))
    assert outcomes(written.store(append("a"), append("b", deadline=20.0))) == [REFUSED, None]


def test_an_outcome_that_is_unknown_at_the_deadline_is_reported_as_unknown(written: Process) -> None:
    written.faults.plan(WRITE, CONFLICT, written.takes(10.0, not_sent(GONE)))
    written.faults.plan(READ, carried_out, not_sent(ConnectFailed("no network")))
    assert outcomes(written.store(append("a"), append("b", deadline=20.0))) == ["gone", None]


def test_an_unknown_outcome_after_which_the_end_is_not_read_is_reported_as_it_is(written: Process) -> None:
    written.faults.plan(WRITE, CONFLICT, not_sent(GONE))
    written.faults.plan(READ, carried_out, carried_out, written.takes(10.0, not_sent(ConnectFailed("no network"))))
    assert outcomes(written.store(append("a"))) == ["no network"]


# Errors of one append


def refuse_unwanted(process: Process, error: SlttError) -> None:
    """Refuse each transaction that contains the entity `unwanted`."""

    def refuse(call: Callable[[], Any]) -> Any:
        if "unwanted" in str(process.faults.payloads[-1]):
            raise error
        return call()

    process.faults.always[WRITE] = refuse


@pytest.mark.parametrize("error", [InvalidRequest("not valid"), canceled("ValidationError")], ids=["at once", "later"])
def test_a_group_that_is_refused_is_sent_one_by_one(process: Process, error: SlttError) -> None:
    refuse_unwanted(process, error)
    group = process.store(append("a"), append("unwanted", deadline=20.0), append("b", deadline=30.0))
    assert [append_.error for append_ in group] == [None, error, None]
    assert process.entities() == ["a", "b"]
    writes = [len(payload["TransactItems"]) for payload in process.faults.payloads if "TransactItems" in payload]
    assert writes == [7, 3, 3, 3]
    limits = [end for end, call in zip(process.deadlines, process.calls, strict=True) if call == WRITE]
    assert limits == [10.0, 10.0, 20.0, 30.0], "each alone has its own deadline"


def test_in_a_group_of_two_the_append_that_is_not_refused_is_written(process: Process) -> None:
    refuse_unwanted(process, InvalidRequest("not valid"))
    assert outcomes(process.store(append("a"), append("unwanted"))) == [1, "not valid"]


def test_a_lone_append_that_is_refused_is_not_sent_again(process: Process) -> None:
    error = InvalidRequest("not valid")
    refuse_unwanted(process, error)
    assert process.store(append("unwanted"))[0].error is error
    assert process.calls.count(WRITE) == 1


def test_an_error_that_concerns_all_appends_does_not_send_them_one_by_one(written: Process) -> None:
    error = AccessDenied("denied")
    written.faults.plan(WRITE, not_sent(error))
    group = written.store(append("a"), append("b"))
    assert [append_.error for append_ in group] == [error, error]
    assert written.calls == [WRITE, READ]


def test_a_damaged_log_refuses_each_append_of_a_group(written: Process) -> None:
    written.put(change_item(change(seq=2, entity_id="there")))
    text = (
        "change 2 of project ruth already exists, but the sequence item has 2 as the next number; nothing was written"
    )
    group = written.store(append("a"), append("b", deadline=20.0))
    assert outcomes(group) == [text, text]
    assert {type(append_.error) for append_ in group} == {LogDamaged}
    assert written.queue.end is None, "the next append reads it again"
    assert written.entities() == ["first", "there"]


def test_a_sequence_item_that_fails_a_condition_on_its_own_values_is_damaged(written: Process) -> None:
    key = {"TableName": TABLE, "Key": sequence_key("ruth"), "ConsistentRead": True}
    refusal = canceled("ConditionalCheckFailed")
    refusal.reasons = ({"Code": "ConditionalCheckFailed", "Item": written.model.call(READ, key)["Item"]},)
    written.faults.plan(WRITE, not_sent(refusal))
    text = "the sequence item of project ruth is not valid: it fails a condition on its own values"
    assert outcomes(written.store(append("a"))) == [text]
    assert written.calls == [WRITE]


# Appends that the log does not admit


def full(process: Process, types: int) -> None:
    """Give the log this many entity types."""
    for start in range(0, types, 50):
        end = min(start + 50, types)
        names = [f"t{number}" for number in range(start, end)]
        process.store(append(*names, types=names))


def test_only_the_append_with_an_entity_type_too_many_fails_and_names_its_change(process: Process) -> None:
    full(process, 198)
    group = process.store(
        append("a", types=["new"]),
        append("b", "c", "d", types=["t0", "new", "newer"]),
        append("e", BATCH, types=["t1", "newest"], offset=100),
        append("g", types=["newer"]),
    )
    assert outcomes(group)[:2] == [199, 200]
    assert outcomes(group)[3] == 203
    error = group[2].error
    assert isinstance(error, InvalidBatch)
    assert error.failed_at_index == 101
    assert process.calls == [READ, WRITE], "the request item of the one, then the others"


def test_a_group_that_the_log_does_not_admit_is_not_sent(process: Process) -> None:
    full(process, 200)
    group = process.store(append("a", types=["new"], deadline=20.0), append("b", types=["newer"], deadline=30.0))
    assert [type(append_.error) for append_ in group] == [InvalidBatch, InvalidBatch]
    assert (process.calls, process.deadlines) == ([READ, READ], [20.0, 30.0])


def test_an_owner_is_given_to_a_project_without_changes_only(process: Process) -> None:
    group = process.store(append("a", owner="ann"), append("b"), append("c", owner="bea"))
    assert outcomes(group) == [2, 3, "project ruth has changes already"]
    assert isinstance(group[2].error, ProjectExists)
    assert outcomes(process.store(append("d", owner="ann"))) == ["project ruth has changes already"]
    assert process.entities() == ["ann", "a", "b"]


def test_an_owner_is_not_given_after_another_append_of_the_group(process: Process) -> None:
    assert outcomes(process.store(append("a"), append("b", owner="ann"))) == [1, "project ruth has changes already"]


def test_an_append_that_was_stored_before_is_returned_although_the_log_would_not_admit_it(process: Process) -> None:
    process.store(append("a", owner="ann", key="key-0123456789abcdef"))
    (again,) = process.store(append("a", owner="ann", key="key-0123456789abcdef"))
    assert again.result == StoredChunk(2, 1, BATCH, None, 0)
    assert process.calls == [READ]


# Replays, and outcomes that are unknown


def test_a_replay_gets_what_is_stored_and_the_others_are_sent_again(written: Process) -> None:
    group = written.store(append("a"), append("first"), append("b"))
    assert [append_.result for append_ in group] == [
        StoredChunk(2, 1, BATCH, (written.log()[1],), 0),
        StoredChunk(1, 1, BATCH, None, 0),
        StoredChunk(3, 1, BATCH, (written.log()[2],), 0),
    ]
    assert written.calls == [WRITE, WRITE]


def test_a_replay_does_not_make_the_process_read_the_end_again(written: Process) -> None:
    assert outcomes(written.store(append("first"))) == [1]
    assert outcomes(written.store(append("a"))) == [2]
    assert written.calls == [WRITE]


def test_a_replay_explains_a_number_that_is_taken(written: Process) -> None:
    """The refusal contains both, without the log's end: the replay is enough, and the log is in order."""
    request = next(item for item in written.items() if item["pk"]["S"].startswith("REQUEST#"))
    refusal = canceled(None, "ConditionalCheckFailed", "ConditionalCheckFailed")
    refusal.reasons = (refusal.reasons[0], {**refusal.reasons[1], "Item": request}, refusal.reasons[2])
    written.faults.plan(WRITE, not_sent(refusal))
    assert outcomes(written.store(append("first"))) == [1]
    assert written.queue.end is not None


@pytest.mark.parametrize("error", [GONE, ConnectFailed("refused"), AccessDenied("expired")], ids=lambda e: str(e))
def test_a_group_whose_response_was_lost_is_found_and_not_repeated(written: Process, error: SlttError) -> None:
    written.faults.plan(WRITE, response_lost(error))
    group = written.store(append("a"), append("b", "c", deadline=20.0))
    log = written.log()
    assert [append_.result for append_ in group] == [
        StoredChunk(2, 1, BATCH, (log[1],), 0),
        StoredChunk(3, 2, BATCH, (log[2], log[3]), 0),
    ]
    assert (written.calls, written.deadlines) == ([WRITE, READ, READ], [10.0] * 3)
    assert outcomes(written.store(append("d"))) == [5]
    assert written.calls == [READ, WRITE], "the end of the log is not known after an unknown outcome"


@pytest.mark.parametrize("error", [GONE, TransactionConflict("in use"), TokenReused("another")], ids=lambda e: str(e))
def test_a_group_that_was_not_carried_out_is_sent_again(written: Process, error: SlttError) -> None:
    written.faults.plan(WRITE, not_sent(error))
    assert seqs(written.store(append("a"), append("b"))) == [(2, 1), (3, 1)]
    assert written.calls == [WRITE, READ, READ, WRITE], "the first request item, the end of the log"


def test_an_error_that_another_attempt_does_not_help_is_raised(written: Process) -> None:
    error = ConnectFailed("refused")
    written.faults.plan(WRITE, not_sent(error))
    group = written.store(append("first"), append("b"))
    assert group[0].result == StoredChunk(1, 1, BATCH, None, 0), "stored before"
    assert group[1].error is error
    assert written.calls == [WRITE, READ, READ]
    assert written.queue.end is None


def test_an_outcome_that_cannot_be_read_is_reported_as_unknown(written: Process) -> None:
    written.faults.plan(WRITE, response_lost(GONE))
    written.faults.plan(READ, not_sent(ConnectFailed("no network")))
    group = written.store(append("a"), append("b"))
    assert [append_.error for append_ in group] == [GONE, GONE]
    assert written.calls == [WRITE, READ]


def test_a_late_transaction_that_is_found_by_its_successor_has_its_changes(written: Process) -> None:
    """The first attempt is carried out after the reads, so the refusal of the second contains its request item."""
    arrives: list[Callable[[], Any]] = []

    def lose(call: Callable[[], Any]) -> Any:
        arrives.append(call)
        raise GONE

    written.faults.plan(WRITE, lose, lambda call: (arrives.pop()(), call())[1])
    (stored,) = written.store(append("a"))
    assert stored.result == StoredChunk(2, 1, BATCH, (written.log()[1],), 0)
    assert written.entities() == ["first", "a"]
