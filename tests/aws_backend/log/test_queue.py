"""The queue of appends: which appends share a group, who writes it, and what happens when a thread does not go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from threading import Event, Lock, Thread, get_ident
from time import monotonic, sleep
from typing import Any

import pytest

from aws_backend.log import queue as queues
from aws_backend.log.queue import Append, AppendQueue, ProjectQueue
from aws_backend.log.transactions import Member
from sltt_core.base.errors import StorageError
from sltt_core.log.batches import Chunk, StoredChunk
from tests.conftest import MUTATION
from tests.sltt_core.samples import new_change

SECONDS = 3.0 if MUTATION in os.environ else 20.0
"""Longest wait for another thread."""
DONE = StoredChunk(1, 1, "f", None, 0)


def append(
    key: str, changes: int = 1, size: int = 1, number: int = 0, turn: Any = None, owner: str | None = None
) -> Append:
    member = Member(Chunk("p", key, number, 0, "f", (new_change(),) * changes, size, owner), key, 0)
    if turn is None:
        turn = Lock()
        turn.acquire()
    return Append(member, size, 0.0, turn)


def finish(queue: ProjectQueue, group: Sequence[Append]) -> None:
    for member in group:
        member.result = DONE


class Writer:
    """Writes groups: the first when the test allows it, the next at once. It notes them, and the threads that wrote."""

    def __init__(self, max_bytes: int = 1_000) -> None:
        self.groups: list[list[str]] = []
        self.threads: list[int] = []
        self.came = Event()
        self.go_on = Event()
        self.work: list[Callable[[ProjectQueue, Sequence[Append]], None]] = []
        """What to do with the groups, in order, instead of `finish`."""
        self.project: ProjectQueue | None = None
        self.queue = AppendQueue(self.write, max_bytes=max_bytes, new_lock=Lock)

    def write(self, queue: ProjectQueue, group: Sequence[Append]) -> None:
        self.groups.append([f"{member.member.key}{member.member.chunk.number or ''}" for member in group])
        self.threads.append(get_ident())
        self.project = queue
        self.came.set()
        assert self.go_on.wait(SECONDS)
        (self.work.pop(0) if self.work else finish)(queue, group)

    def start(self, given: Append, project_id: str = "p") -> Future[tuple[StoredChunk, int]]:
        """Start the append in a thread; its result comes with the thread's number."""
        started: Future[tuple[StoredChunk, int]] = Future()

        def run() -> None:
            try:
                started.set_result((self.queue.run(project_id, given), get_ident()))
            except BaseException as error:
                started.set_exception(error)

        Thread(target=run, daemon=True).start()
        return started

    def lead(self, given: Append) -> Future[tuple[StoredChunk, int]]:
        """Start the append, and wait until its thread writes."""
        leader = self.start(given)
        assert self.came.wait(SECONDS)
        return leader

    def wait(self, given: Append, place: int) -> Future[tuple[StoredChunk, int]]:
        """Start the append, and wait until it is in the queue at `place`."""
        waiting = self.start(given)
        assert self.project is not None
        until = monotonic() + SECONDS
        while len(self.project.waiting) <= place:
            assert monotonic() < until
            sleep(0.001)
        return waiting


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.go_on.set()


def test_a_lone_append_is_written_by_its_own_thread(writer: Writer) -> None:
    writer.go_on.set()
    assert writer.queue.run("p", append("a")) == DONE
    assert writer.queue.run("p", append("b")) == DONE
    assert (writer.groups, set(writer.threads)) == ([["a"], ["b"]], {get_ident()})


def test_the_error_of_an_append_is_raised(writer: Writer) -> None:
    writer.go_on.set()

    def fail(queue: ProjectQueue, group: Sequence[Append]) -> None:
        group[0].error = StorageError("no")

    writer.work = [fail]
    with pytest.raises(StorageError, match=r"^no$"):
        writer.queue.run("p", append("a"))
    assert writer.queue.run("p", append("b")) == DONE


@pytest.mark.parametrize(
    ("waiting", "groups"),
    [
        ([("a", 1, 1, 0), ("b", 1, 1, 0), ("c", 1, 1, 0)], [["a", "b", "c"]]),
        # 1 action for the sequence item, and 1 + changes for each append: at most 100.
        ([("a", 49, 1, 0), ("b", 48, 1, 0)], [["a", "b"]]),
        ([("a", 49, 1, 0), ("b", 49, 1, 0)], [["a"], ["b"]]),
        ([("a", 30, 1, 0), ("b", 30, 1, 0), ("c", 36, 1, 0)], [["a", "b", "c"]]),
        ([("a", 30, 1, 0), ("b", 30, 1, 0), ("c", 37, 1, 0)], [["a", "b"], ["c"]]),
        # At most 1,000 bytes, unless a single append has more.
        ([("a", 1, 600, 0), ("b", 1, 400, 0)], [["a", "b"]]),
        ([("a", 1, 600, 0), ("b", 1, 401, 0)], [["a"], ["b"]]),
        ([("a", 1, 300, 0), ("b", 1, 300, 0), ("c", 1, 400, 0)], [["a", "b", "c"]]),
        ([("a", 1, 300, 0), ("b", 1, 300, 0), ("c", 1, 401, 0)], [["a", "b"], ["c"]]),
        ([("a", 1, 5_000, 0), ("b", 1, 1, 0)], [["a"], ["b"]]),
        # One transaction cannot write a request item twice.
        ([("a", 1, 1, 0), ("a", 1, 1, 0), ("b", 1, 1, 0)], [["a"], ["a", "b"]]),
        ([("a", 1, 1, 1), ("a", 1, 1, 2)], [["a1", "a2"]]),
        # What does not fit is not overtaken.
        ([("a", 1, 600, 0), ("b", 1, 600, 0), ("c", 1, 1, 0)], [["a"], ["b", "c"]]),
    ],
)
def test_a_group_has_as_many_appends_as_fit_in_order(
    writer: Writer, waiting: list[tuple[str, int, int, int]], groups: list[list[str]]
) -> None:
    started = [writer.lead(append("first"))]
    for place, given in enumerate(waiting):
        started.append(writer.wait(append(*given), place))
    writer.go_on.set()
    assert [future.result(SECONDS)[0] for future in started] == [DONE] * len(started)
    assert writer.groups == [["first"], *groups]
    assert writer.project is not None
    assert (list(writer.project.waiting), writer.project.busy) == ([], False)


@pytest.mark.parametrize(("changes", "groups"), [(45, [["a", "b"]]), (46, [["a"], ["b"]])])
def test_a_grant_to_an_owner_takes_three_actions(writer: Writer, changes: int, groups: list[list[str]]) -> None:
    """1 + (1 + 49) + (1 + 45 + 3) = 100."""
    started = [
        writer.lead(append("first")),
        writer.wait(append("a", 49), 0),
        writer.wait(append("b", changes, owner="ann"), 1),
    ]
    writer.go_on.set()
    for future in started:
        future.result(SECONDS)
    assert writer.groups == [["first"], *groups]


def test_the_child_of_a_fork_does_not_wait_for_a_leader_of_its_parent(writer: Writer) -> None:
    parent = writer.lead(append("parent"))
    writer.queue._lock.acquire()  # another thread of the parent has it
    lock = writer.queue._lock
    writer.queue._after_fork()
    writer.work = [finish]
    child = writer.start(append("child"))
    writer.go_on.set()
    assert child.result(SECONDS)[0] == DONE
    assert [*map(set, writer.groups)] == [{"parent"}, {"child"}]
    lock.release()
    assert parent.result(SECONDS)[0] == DONE


def test_the_first_that_waits_leads_next(writer: Writer) -> None:
    first = writer.lead(append("first"))
    others = [writer.wait(append(key), place) for place, key in enumerate("abc")]
    writer.go_on.set()
    numbers = [future.result(SECONDS)[1] for future in [first, *others]]
    assert writer.groups == [["first"], ["a", "b", "c"]]
    assert writer.threads == numbers[:2]


def test_an_append_that_stays_open_is_written_again_before_the_others(writer: Writer) -> None:
    """So is that of a leader: it writes until its own append is done."""
    writer.work = [lambda queue, group: None, lambda queue, group: finish(queue, group[:1])]
    first = writer.lead(append("first"))
    others = [writer.wait(append(key, size=400), place) for place, key in enumerate("abc")]
    writer.go_on.set()
    assert [future.result(SECONDS)[0] for future in [first, *others]] == [DONE] * 4
    assert writer.groups == [["first"], ["first", "a", "b"], ["a", "b"], ["c"]]
    assert writer.threads[0] == writer.threads[1] == first.result()[1]


class Stop:
    """Writes a group when the test allows it."""

    def __init__(self) -> None:
        self.came = Event()
        self.go_on = Event()

    def __call__(self, queue: ProjectQueue, group: Sequence[Append]) -> None:
        self.came.set()
        assert self.go_on.wait(SECONDS)
        finish(queue, group)


def test_an_append_that_is_done_returns_while_its_leader_goes_on(writer: Writer) -> None:
    stop = Stop()
    writer.work = [lambda queue, group: None, lambda queue, group: finish(queue, group[1:]), stop]
    first = writer.lead(append("first"))
    other = writer.wait(append("a"), 0)
    writer.go_on.set()
    assert stop.came.wait(SECONDS)
    assert other.result(SECONDS)[0] == DONE
    assert not first.done()
    stop.go_on.set()
    assert first.result(SECONDS)[0] == DONE
    assert writer.groups == [["first"], ["first", "a"], ["first"]]


class LateTurn:
    """The turn of a thread that goes on when the test allows it."""

    def __init__(self) -> None:
        self.go_on = Event()

    def acquire(self) -> None:
        assert self.go_on.wait(SECONDS)

    def release(self) -> None:
        pass


def test_an_append_that_another_thread_wrote_does_not_lead(writer: Writer) -> None:
    """If it did, two threads would lead."""
    stop, turn = Stop(), LateTurn()
    writer.work = [finish, finish, stop]
    first = writer.lead(append("first"))
    others = [writer.wait(append("a"), 0), writer.wait(append("b", turn=turn), 1)]
    last = writer.wait(append("c", size=1_000), 2)
    writer.go_on.set()
    assert stop.came.wait(SECONDS)
    turn.go_on.set()
    assert [future.result(SECONDS)[0] for future in [first, *others]] == [DONE] * 3
    late = writer.wait(append("d"), 0)
    assert writer.groups == [["first"], ["a", "b"], ["c"]]
    stop.go_on.set()
    assert last.result(SECONDS)[0] == late.result(SECONDS)[0] == DONE
    assert writer.groups[3:] == [["d"]]


def test_a_new_append_has_no_outcome() -> None:
    new = Append(append("a").member, 7, 12.5, Lock())
    assert (new.size, new.deadline, new.attempts, new.result, new.error) == (7, 12.5, {}, None, None)
    assert new.open
    new.error = StorageError("no")
    assert not new.open


def test_an_interrupted_leader_hands_its_group_over_in_order(writer: Writer) -> None:
    def interrupted(queue: ProjectQueue, group: Sequence[Append]) -> None:
        group[1].result = DONE
        raise KeyboardInterrupt

    writer.work = [finish, interrupted]
    first = writer.lead(append("first"))
    others = [writer.wait(append(key, size=250), place) for place, key in enumerate("abcde")]
    writer.go_on.set()
    first.result(SECONDS)
    with pytest.raises(KeyboardInterrupt):
        others[0].result(SECONDS)
    assert [future.result(SECONDS)[0] for future in others[1:]] == [DONE] * 4
    assert writer.groups == [["first"], ["a", "b", "c", "d"], ["c", "d", "e"]]


class BrokenTurn:
    """The turn of a thread that is interrupted while it waits: when the test allows it."""

    def __init__(self) -> None:
        self.go_on = Event()
        self.released = 0

    def acquire(self) -> None:
        assert self.go_on.wait(SECONDS)
        raise KeyboardInterrupt

    def release(self) -> None:
        self.released += 1


def test_the_append_of_an_interrupted_thread_is_not_written(writer: Writer) -> None:
    first = writer.lead(append("first"))
    turn = BrokenTurn()
    broken, other = writer.wait(append("broken", turn=turn), 0), writer.wait(append("a"), 1)
    turn.go_on.set()
    with pytest.raises(KeyboardInterrupt):
        broken.result(SECONDS)
    writer.go_on.set()
    assert first.result(SECONDS)[0] == other.result(SECONDS)[0] == DONE
    assert writer.groups == [["first"], ["a"]]


def test_an_interrupted_thread_that_was_to_lead_lets_the_next_lead(writer: Writer) -> None:
    first = writer.lead(append("first"))
    turn = BrokenTurn()
    broken, other = writer.wait(append("broken", turn=turn), 0), writer.wait(append("a"), 1)
    writer.go_on.set()
    first.result(SECONDS)
    turn.go_on.set()
    with pytest.raises(KeyboardInterrupt):
        broken.result(SECONDS)
    assert other.result(SECONDS)[0] == DONE
    assert (writer.groups, turn.released) == ([["first"], ["a"]], 1)


def test_an_append_interrupted_in_flight_is_not_put_back(writer: Writer) -> None:
    turn = BrokenTurn()
    stuck = Event()

    def leave_open(queue: ProjectQueue, group: Sequence[Append]) -> None:
        turn.go_on.set()
        assert stuck.wait(SECONDS)
        group[0].result = DONE

    writer.work = [lambda queue, group: None, leave_open]
    first = writer.lead(append("first"))
    broken, other = writer.wait(append("broken", turn=turn), 0), writer.wait(append("a"), 1)
    writer.go_on.set()
    with pytest.raises(KeyboardInterrupt):
        broken.result(SECONDS)
    stuck.set()
    assert first.result(SECONDS)[0] == other.result(SECONDS)[0] == DONE
    assert writer.groups == [["first"], ["first", "broken", "a"], ["a"]]


def test_each_project_has_its_own_queue(writer: Writer) -> None:
    writer.lead(append("first"))
    writer.came.clear()
    writer.start(append("other"), "q")
    assert writer.came.wait(SECONDS)
    assert writer.groups == [["first"], ["other"]]


def test_a_project_is_forgotten(writer: Writer) -> None:
    ends: list[Any] = []

    def note(queue: ProjectQueue, group: Sequence[Append]) -> None:
        ends.append(queue.end)
        queue.end = "the end"  # type: ignore[assignment]
        finish(queue, group)

    writer.go_on.set()
    writer.work = [note] * 4
    writer.queue.run("p", append("a"))
    writer.queue.run("p", append("b"))
    writer.queue.forget("q")
    writer.queue.forget("p")
    writer.queue.run("p", append("c"))
    assert ends == [None, "the end", None]


def test_only_an_idle_project_makes_room_for_another(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "MAX_PROJECTS", 2)
    first = writer.lead(append("first"))
    writer.go_on.set()
    first.result(SECONDS)
    for project in ("p", "q", "r", "s"):
        writer.queue.run(project, append("a"))
    assert list(writer.queue._queues) == ["r", "s"]
    writer.go_on.clear()
    busy = []
    for project in ("r", "s", "t"):
        writer.came.clear()
        busy.append(writer.start(append("b"), project))
        assert writer.came.wait(SECONDS)
    assert sorted(writer.queue._queues) == ["r", "s", "t"]  # no project is idle: the bound is exceeded
    writer.go_on.set()
    assert [future.result(SECONDS)[0] for future in busy] == [DONE] * 3
