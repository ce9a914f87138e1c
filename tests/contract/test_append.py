"""Appending: numbers without gaps, isolation, order, atomicity, limits."""

from __future__ import annotations

import pytest

from sltt_core.base.errors import InvalidBatch, InvalidInput, NotFound, PartialAppend, StorageBusy
from sltt_core.base.runtime import Runtime
from sltt_core.model.chain import GENESIS, check_links
from tests.contract.logs import Log, Reachable, batch, everything, new


def test_numbers_begin_at_1_without_gaps(storage: Reachable) -> None:
    assert storage.create_change(new()).seq == 1
    assert storage.create_changes(batch(3)).seqs == (2, 3, 4)
    assert storage.create_change(new()).seq == 5
    assert [change.seq for change in everything(storage)] == [1, 2, 3, 4, 5]


def test_each_project_has_its_own_numbers(storage: Reachable) -> None:
    assert storage.create_changes(batch(3, "a")).seqs == (1, 2, 3)
    assert storage.create_changes(batch(2, "b")).seqs == (1, 2)
    assert storage.create_changes(batch(1, "a")).seqs == (4,)
    assert {change.project_id for change in everything(storage, "a")} == {"a"}
    assert len(everything(storage, "b")) == 2


def test_a_mixed_batch_keeps_the_order_of_each_project(storage: Reachable) -> None:
    mixed = [new(f"{number}", "ab"[number % 3 == 0]) for number in range(250)]
    seqs = storage.create_changes(mixed).seqs
    for project in "ab":
        places = [place for place, change in enumerate(mixed) if change.project_id == project]
        assert [seqs[place] for place in places] == list(range(1, len(places) + 1))
        assert [change.entity_id for change in everything(storage, project)] == [str(place) for place in places]


def test_the_given_fields_are_stored_verbatim(storage: Reachable) -> None:
    data = '{ "b": 1.50, "a":[1e2, 123456789012345678901234567890, "\\u00e9\\ud83d\\ude00"],\n\t"b2":{"":null}}'
    given = new(
        'quo"te\\ 🤟 \u2028',
        "Ruth.1~@:+-_x",
        entity_type="gloss.v2:sign-x_1",
        data=data,
        operation="update",
        timestamp="2025-03-01T09:30:00.120+02:00",
        cid="c-1",
        change_by="Noémi Ōta",
        client_seq=77,
    )
    stored = storage.create_change(given)
    assert stored.data_json == data
    assert (stored.project_id, stored.entity_type, stored.entity_id) == given.as_tuple()[:3]
    assert (stored.operation, stored.cid, stored.change_by) == ("update", "c-1", "Noémi Ōta")
    assert stored.timestamp == "2025-03-01T07:30:00.120Z"
    assert stored.outdated_by is None
    assert storage.get_change(1, project_id="Ruth.1~@:+-_x") == stored


def test_absent_fields_get_defaults(direct: Log) -> None:
    storage = direct.open(runtime=Runtime(clock=lambda: 1_740_821_400_123_456_789))
    stored = storage.create_change(new())
    assert stored.operation == "create"
    assert stored.timestamp == stored.cloud_at == "2025-03-01T09:30:00.123Z"
    assert (stored.cid, stored.change_by, stored.outdated_by) == (None, None, None)
    assert stored.chain == check_links(GENESIS, [stored])


def test_an_empty_batch_is_refused(storage: Reachable) -> None:
    with pytest.raises(InvalidBatch, match="empty"):
        storage.create_changes([])


def test_a_change_without_a_project_is_refused_by_an_unbound_service(storage: Reachable) -> None:
    with pytest.raises(InvalidBatch, match=r"changes\[1\].project_id: is required"):
        storage.create_changes([new(), new(project_id=None)])
    assert storage.get_change_stats(project_id="p").total == 0


def test_a_bound_service_implies_its_project_and_serves_no_other(log: Log) -> None:
    bound, unbound = log.reach("p"), log.reach()
    unbound.create_change(new(project_id="q"))
    assert bound.create_changes([new(project_id=None), new()]).seqs == (1, 2)
    assert bound.get_change_stats().total == 2
    assert bound.get_all_projects().projects == ("p",)
    with pytest.raises(InvalidBatch, match=r"changes\[1\].project_id"):
        bound.create_changes([new(), new(project_id="q")])
    for read in (
        lambda: bound.get_changes_with_cursor(project_id="q"),
        lambda: bound.get_change(1, project_id="q"),
        lambda: bound.get_change_stats(project_id="q"),
        lambda: bound.get_entity_type_stats(project_id="q"),
    ):
        with pytest.raises(NotFound):
            read()
    assert len(everything(unbound)) == 2


def test_a_large_batch_is_stored_whole_and_in_order(storage: Reachable) -> None:
    assert storage.create_changes(batch(1000)).seqs == tuple(range(1, 1001))
    assert [change.entity_id for change in everything(storage)] == [f"e{number}" for number in range(1000)]


def test_a_batch_is_atomic_up_to_98_changes(direct: Log) -> None:
    """The division into chunks shows when the third chunk fails: two chunks are stored."""
    storage = direct.open()
    append, asked = storage._append, []

    def fail_at_third(chunk):  # type: ignore[no-untyped-def]
        asked.append(len(chunk.changes))
        if len(asked) == 3:
            raise StorageBusy("not now")
        return append(chunk)

    storage._append = fail_at_third  # type: ignore[method-assign]
    with pytest.raises(PartialAppend) as caught:
        storage.create_changes(batch(250))
    assert asked == [98, 98, 54]
    assert caught.value.failed_at_index == 196
    assert caught.value.seqs == (*range(1, 197), *[None] * 54)
    assert direct.open().get_change_stats(project_id="p").total == 196


def test_a_chunk_has_at_most_3_5_megabytes(direct: Log) -> None:
    storage = direct.open()
    append, sizes = storage._append, []

    def watch(chunk):  # type: ignore[no-untyped-def]
        sizes.append(sum(len(change.data_json) for change in chunk.changes))
        return append(chunk)

    storage._append = watch  # type: ignore[method-assign]
    large = '{"text":"' + "x" * 390_000 + '"}'
    assert storage.create_changes(batch(20, data=large)).seqs == tuple(range(1, 21))
    assert len(sizes) == 3
    assert max(sizes) <= 3_500_000


def test_the_error_of_a_single_chunk_is_raised_unchanged(direct: Log) -> None:
    storage = direct.open()

    def refuse(chunk):  # type: ignore[no-untyped-def]
        raise StorageBusy("not now")

    storage._append = refuse  # type: ignore[method-assign]
    with pytest.raises(StorageBusy):
        storage.create_changes(batch(250))


def test_a_project_has_at_most_200_entity_types(storage: Reachable) -> None:
    storage.create_changes([new(entity_type=f"t{number}") for number in range(199)])
    with pytest.raises(InvalidBatch, match=r"changes\[2\].entity_type.*200"):
        storage.create_changes([new(entity_type="t0"), new(entity_type="t199"), new(entity_type="t200")])
    assert storage.get_change_stats(project_id="p").total == 199
    storage.create_change(new(entity_type="t199"))
    storage.create_changes([new(entity_type=f"t{number}") for number in range(200)])
    with pytest.raises(InvalidBatch):
        storage.create_change(new(entity_type="t200"))
    assert len(storage.get_entity_type_stats(project_id="p")) == 200


def test_an_entity_type_too_many_late_in_a_batch_stores_nothing(storage: Reachable) -> None:
    storage.create_changes([new(entity_type=f"t{number}") for number in range(200)])
    late = [*batch(150, "other"), *batch(150, entity_type="t0"), new(entity_type="new")]
    with pytest.raises(InvalidBatch, match=r"changes\[300\].entity_type"):
        storage.create_changes(late)
    assert storage.get_change_stats(project_id="other").total == 0
    assert storage.get_change_stats(project_id="p").total == 200


def test_a_change_too_large_is_refused_before_anything_is_written(storage: Reachable) -> None:
    largest = '{"text":"' + "x" * (400 * 1024 - 256 - 1 - 8 - 1 - 11) + '"}'
    storage.create_change(new(data=largest))
    with pytest.raises(InvalidBatch, match="the limit is 409,600"):
        new(data=largest.replace("xx", "xxx", 1))


@pytest.mark.parametrize(
    "key", ["", "short", "x" * 129, "with a blank in the middle", "semicolon;0123456789", "#" * 20]
)
def test_an_invalid_key_is_refused_before_anything_is_written(storage: Reachable, key: str) -> None:
    with pytest.raises(InvalidInput, match="idempotency_key") as caught:
        storage.create_changes(batch(1), key)
    assert caught.value.field == "idempotency_key"
    assert storage.get_change_stats(project_id="p").total == 0
