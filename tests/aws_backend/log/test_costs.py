"""Costs of each operation in DynamoDB: round trips, and capacity units as AWS bills them.

dynoxide counts the units by AWS's formulas (AWS, "DynamoDB read and write operations"): a write unit for each kilobyte
of an item, twice as much in a transaction; half a read unit for each 4 kB, twice as much for a strong read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import HeadMoved
from sltt_core.base.runtime import Runtime
from tests.aws_backend.meter import Meter
from tests.contract.logs import DynoxideLog, batch, new

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService

WRITE = "TransactWriteItems"
KEY = "key-0123456789abcdef"


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def storage(log: DynoxideLog, meter: Meter) -> BaseStorageService:
    """A storage that has written two changes to the project."""
    opened = metered(log, meter, "p")
    opened.create_changes(batch(2))
    meter.read()
    return opened


def metered(log: DynoxideLog, meter: Meter, project_id: str | None = None) -> BaseStorageService:
    """Open the log with an observer; the calls of opening it are not counted."""
    opened = log.open(project_id, runtime=Runtime(observer=meter))
    meter.read()
    return opened


def test_a_single_change_costs_one_round_trip_and_6_units(storage: BaseStorageService, meter: Meter) -> None:
    storage.create_change(new())
    assert meter.read() == ((WRITE,), 6)
    storage.create_change(new(), KEY)
    assert meter.read() == ((WRITE,), 6)


def test_a_batch_of_98_costs_2_units_a_change_and_4_more(storage: BaseStorageService, meter: Meter) -> None:
    storage.create_changes(batch(98))
    assert meter.read() == ((WRITE,), 200)
    storage.create_changes(batch(98), KEY)
    assert meter.read() == ((WRITE,), 200)


def test_a_large_batch_costs_one_read_and_a_round_trip_for_each_98_changes(
    storage: BaseStorageService, meter: Meter
) -> None:
    storage.create_changes(batch(980))
    assert meter.read() == (("GetItem", *[WRITE] * 10), 0.5 + 2000)


def test_the_first_append_of_a_process_reads_the_end_of_the_log(log: DynoxideLog, storage: BaseStorageService) -> None:
    meter = Meter()
    another = metered(log, meter, "p")
    another.create_change(new())
    assert meter.read() == (("GetItem", WRITE), 1 + 6)


def test_the_first_change_of_a_project_also_writes_to_the_index(log: DynoxideLog) -> None:
    meter = Meter()
    storage = metered(log, meter, "q")
    storage.create_change(new(project_id="q"))
    calls, units = meter.read()
    assert calls == ("GetItem", WRITE)
    assert units in (1 + 6 + 1, 1 + 6 + 2)
    storage.create_change(new(project_id="q"))
    assert meter.read() == ((WRITE,), 6), "the index is written once"


def test_a_replay_costs_one_round_trip(storage: BaseStorageService, meter: Meter) -> None:
    first = storage.create_changes(batch(98), KEY)
    meter.read()
    again = storage.create_changes(batch(98), KEY)
    assert (again.seqs, again.replayed) == (first.seqs, True)
    assert meter.read().calls == (WRITE,)


def test_a_lost_race_costs_one_more_round_trip_and_no_read(
    log: DynoxideLog, storage: BaseStorageService, meter: Meter
) -> None:
    for expected in (4, 6):
        log.open("p").create_change(new())
        assert storage.create_change(new()).seq == expected
        assert meter.read() == ((WRITE, WRITE), 6)


def test_a_page_costs_one_round_trip_and_half_a_unit_for_4_kilobytes(storage: BaseStorageService, meter: Meter) -> None:
    storage.create_changes(batch(998))
    meter.read()
    assert len(storage.get_changes_with_cursor(0, 1000).changes) == 1000
    calls, units = meter.read()
    assert calls == ("Query",)
    assert units == pytest.approx(1000 * 156 / 4096 / 2, abs=1)
    storage.get_changes_with_cursor(990, 5)
    assert meter.read() == (("Query",), 0.5)
    storage.get_changes_with_cursor(1000)
    assert meter.read() == (("Query",), 0.5), "nothing new"


@pytest.mark.parametrize("count", [10, 1000])
def test_statistics_cost_one_read_for_a_log_of_any_length(
    storage: BaseStorageService, meter: Meter, count: int
) -> None:
    storage.create_changes(batch(count))
    meter.read()
    assert storage.get_change_stats().total == count + 2
    assert meter.read() == (("GetItem",), 0.5)
    storage.get_entity_type_stats()
    assert meter.read() == (("GetItem",), 0.5)


def test_the_list_of_projects_costs_one_query_of_the_index(log: DynoxideLog) -> None:
    meter = Meter()
    storage = metered(log, meter)
    for number in range(20):
        storage.create_changes(batch(98, f"p{number:02}"))
    meter.read()
    assert len(storage.get_all_projects().projects) == 20
    assert meter.read() == (("Query",), 0.5)


def test_small_requests_cost_little(log: DynoxideLog, storage: BaseStorageService, meter: Meter) -> None:
    storage.get_change(1)
    assert meter.read() == (("GetItem",), 0.5)
    storage.get_head()
    assert meter.read() == (("GetItem",), 0.5)
    storage.mark_as_outdated(1, 2)
    assert meter.read() == (("GetItem", "UpdateItem"), 1.5)
    unbound = metered(log, meter)
    assert unbound.get_heads(["p", *(f"q{number}" for number in range(99))]) == {"p": 2}
    assert meter.read().calls == ("BatchGetItem",)


def test_an_append_with_if_head_costs_the_same_and_a_refusal_one_read(
    storage: BaseStorageService, meter: Meter
) -> None:
    storage.create_changes([new()], KEY, if_head=2)
    assert meter.read() == ((WRITE,), 6)
    with pytest.raises(HeadMoved):
        storage.create_changes([new()], if_head=2)
    assert meter.read()[0] == ("GetItem",)  # whether the batch is stored already
