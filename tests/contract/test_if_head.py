"""`if_head`: an append on the condition that the log ends at a number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import HeadMoved, InvalidBatch, InvalidInput, KeyReused, ProjectExists
from sltt_core.model.chain import GENESIS
from tests.contract.logs import batch, new

if TYPE_CHECKING:
    from tests.contract.logs import Log

KEY = "if-head-key-0001"


def test_a_batch_is_appended_at_the_expected_end_only(log: Log) -> None:
    storage = log.reach()
    assert storage.create_changes(batch(3, "p"), if_head=0).seqs == (1, 2, 3)
    for wrong in (0, 2, 4, 2**40 - 1):
        with pytest.raises(HeadMoved) as caught:
            storage.create_changes(batch(1, "p"), if_head=wrong)
        assert (caught.value.seq, caught.value.chain) == (3, storage.get_change(3, project_id="p").chain)
    assert storage.create_changes(batch(98, "p"), if_head=3).seqs[0] == 4
    assert storage.get_change_stats(project_id="p").total == 101
    with pytest.raises(HeadMoved) as caught:
        storage.create_changes(batch(1, "empty"), if_head=1)
    assert (caught.value.seq, caught.value.chain) == (0, GENESIS)
    assert storage.get_all_projects().projects == ("p",)


def test_a_replay_comes_before_the_condition_and_the_condition_is_not_part_of_the_key(log: Log) -> None:
    storage = log.reach()
    changes = batch(2, "p")
    assert storage.create_changes(changes, KEY, if_head=0).replayed is False
    storage.create_changes(batch(1, "p"))
    for other in (0, 1, 3, None):
        replay = storage.create_changes(changes, KEY, if_head=other)
        assert (replay.seqs, replay.replayed) == ((1, 2), True)
    with pytest.raises(KeyReused):
        storage.create_changes(batch(1, "p"), KEY, if_head=0)
    assert storage.get_change_stats(project_id="p").total == 3


def test_a_key_that_failed_the_condition_can_be_used_again(log: Log) -> None:
    storage = log.reach()
    storage.create_changes(batch(1, "p"))
    with pytest.raises(HeadMoved):
        storage.create_changes(batch(2, "p"), KEY, if_head=0)
    assert storage.create_changes(batch(2, "p"), KEY, if_head=1).seqs == (2, 3)


@pytest.mark.parametrize("wrong", [-1, 2**40])
def test_a_number_that_no_log_has_is_refused(direct: Log, wrong: int) -> None:
    with pytest.raises(InvalidInput, match="if_head") as caught:
        direct.open().create_changes(batch(1, "p"), if_head=wrong)
    assert caught.value.field == "if_head"


def test_a_batch_of_several_writes_is_refused_whole(log: Log) -> None:
    storage = log.reach()
    for changes in (batch(99, "p"), [new("a", project_id="p"), new("b", project_id="q")]):
        with pytest.raises(InvalidInput, match="one atomic write") as caught:
            storage.create_changes(changes, if_head=0)
        assert caught.value.field == "if_head"
    assert storage.get_all_projects().projects == ()


def test_another_process_that_appended_is_noticed(direct: Log) -> None:
    """The first service knows an end that is too early, so it must look again before it refuses."""
    mine, other = direct.open(), direct.open()
    mine.create_changes(batch(1, "p"))
    other.create_changes(batch(4, "p"))
    with pytest.raises(HeadMoved) as caught:
        mine.create_changes(batch(1, "p"), if_head=1)
    assert caught.value.seq == 5
    other.create_changes(batch(1, "p"))
    assert mine.create_changes(batch(1, "p"), if_head=6).seqs == (7,)


def test_one_of_many_that_expect_the_same_end_wins(direct: Log) -> None:
    """They share transactions: one that follows another there is not refused with an end that is not written yet."""
    storage = direct.open()
    storage.create_changes(batch(1, "p"))
    ends: list[tuple[int, str]] = []

    def append(number: int) -> int:
        try:
            return storage.create_changes(batch(2, "p"), f"if-head-many-{number:04}", if_head=1).seqs[0]
        except HeadMoved as error:
            ends.append((error.seq, error.chain))
            return 0

    with ThreadPoolExecutor(16) as pool:
        found = sorted(pool.map(append, range(16)))
    assert found == [0] * 15 + [2]
    assert ends == [(3, storage.get_change(3, project_id="p").chain)] * 15
    assert storage.get_change_stats(project_id="p").total == 3


def test_a_chain_of_conditional_appends_is_in_order(direct: Log) -> None:
    """Threads that take turns by the condition alone, each in its own service."""
    services = [direct.open() for _ in range(3)]

    def append(number: int) -> int:
        storage = services[number % 3]
        for _ in range(1_000):  # one of the others was faster
            head = storage.get_head(project_id="p").seq
            try:
                storage.create_changes([new(f"e{number}", project_id="p")], if_head=head)
            except HeadMoved:
                continue
            return head
        raise AssertionError("no end of the log was ever right")

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(append, range(12))) == list(range(12))


def test_who_may_not_create_the_project_learns_nothing_of_its_end(direct: Log) -> None:
    storage = direct.open()
    storage.create_changes(batch(1, "p"))
    for expected in (0, 1, 7):
        with pytest.raises(ProjectExists):
            storage.create_changes(batch(1, "p"), owners={"p": "eve"}, if_head=expected)
    assert storage.create_changes(batch(1, "mine"), owners={"mine": "eve"}, if_head=0).seqs == (2,)


def test_a_batch_that_is_not_valid_is_refused_as_such(log: Log) -> None:
    with pytest.raises(InvalidBatch):
        log.reach().create_changes([], if_head=5)


def test_the_ends_of_logs_have_their_links_and_the_statistics_their_head(direct: Log) -> None:
    storage = direct.open()
    storage.create_changes(batch(3, "p"))
    assert storage.get_ends(["p", "q"]) == {"p": storage.get_head(project_id="p")}
    stats, types, head = storage.get_stats_with_head(project_id="p")
    assert (stats, types) == storage.get_stats(project_id="p")
    assert head == storage.get_head(project_id="p")
    assert storage.get_stats_with_head(project_id="q")[2] == storage.get_head(project_id="q")
