"""A restored log carries its idempotency keys: a batch that is sent to the copy again is not stored twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import InvalidBatch, KeyReused
from sltt_core.base.runtime import Runtime
from sltt_core.log.batches import KEY_DAYS
from sltt_core.model.chain import link_of
from sltt_core.model.fields import MAX_ITEM_BYTES, TOMBSTONE
from tests.contract.logs import DIRECT, Log, Reachable, batch, everything, new
from tests.contract.test_replay import failing_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.changes import Change

    Open = Callable[..., BaseStorageService]

KEY = "key-0123456789abcdef"
OTHER = "other-key-0123456789"
NOW = 1_750_000_000 * 10**9
DAY = 86_400 * 10**9


@pytest.fixture
def copies(direct: Log, tmp_path: Path) -> Iterator[Open]:
    """Open an empty storage of the same kind; each call opens another place."""
    logs: list[Log] = []

    def open_copy(kind: Any = None, **options: Any) -> BaseStorageService:
        folder = tmp_path / f"copy-{len(logs)}"
        folder.mkdir()
        logs.append((kind or type(direct))(folder))
        return logs[-1].open(**options)

    yield open_copy
    for log in logs:
        log.close()


def copy_to(target: BaseStorageService, changes: Sequence[Change], *cuts: int) -> BaseStorageService:
    """Restore changes, in one call or with a new call at each cut."""
    for start, end in zip((0, *cuts), (*cuts, len(changes)), strict=True):
        target.restore_changes(changes[start:end])
    assert everything(target) == list(changes)
    assert list(target.verify(project_id="p")) == []
    return target


def assert_replays(storage: BaseStorageService, seqs: tuple[int, ...], sent: list[Any], key: str = KEY) -> None:
    before = storage.get_head(project_id="p")
    again = storage.create_changes(sent, key)
    assert (again.seqs, again.replayed) == (seqs, True)
    with pytest.raises(KeyReused):
        storage.create_changes([*sent, new("another")], key)
    with pytest.raises(KeyReused):
        storage.create_changes(sent[::-1] if len(sent) > 1 else [new("another")], key)
    assert storage.get_head(project_id="p") == before


@pytest.mark.parametrize("target", DIRECT, ids=lambda made: made.name)
def test_a_copy_in_any_storage_replays(direct: Log, copies: Open, target: Any) -> None:
    source = direct.open()
    source.create_changes(batch(2))
    one = source.create_change(new("one"), OTHER)
    source.create_changes(batch(3, "q"), KEY)
    seqs = source.create_changes(batch(300), KEY).seqs
    source.create_changes(batch(2))
    source.mark_as_outdated(1, 2, project_id="p")
    copy = copy_to(copies(target), everything(source))
    assert_replays(copy, seqs, batch(300))
    assert copy.create_change(new("one"), OTHER) == one
    assert not copy.create_changes(batch(3, "q"), KEY).replayed  # the key of another project


CUTS = [(1,), (2,), (50,), (98,), (99,), (100,), (60, 61, 62), tuple(range(1, 252, 25))]


@pytest.mark.parametrize("cuts", CUTS, ids=str)
def test_a_copy_made_in_parts_replays(direct: Log, copies: Open, cuts: tuple[int, ...]) -> None:
    source = direct.open()
    source.create_change(new("before"))
    seqs = source.create_changes(batch(250), KEY).seqs
    source.create_change(new("after"))
    copy = copy_to(copies(), everything(source), *cuts)
    assert_replays(copy, seqs, batch(250))
    assert_replays(copy_to(copies(), everything(copy)), seqs, batch(250))


@pytest.mark.parametrize("end", [2, 3, 50, 99, 100, 101, 197, 198, 250])
def test_a_retry_on_a_copy_that_ends_in_the_batch_stores_the_rest(direct: Log, copies: Open, end: int) -> None:
    source = direct.open()
    source.create_change(new("before"))
    source.create_changes(batch(250), KEY)
    copy = copy_to(copies(), everything(source)[:end])
    copy.create_changes(batch(5), OTHER)
    seqs = copy.create_changes(batch(250), KEY).seqs
    assert seqs == (*range(2, end + 1), *range(end + 6, 257))
    assert copy.get_change_stats(project_id="p").total == 256
    assert [change.entity_id for change in everything(copy) if change.seq in seqs] == [f"e{n}" for n in range(250)]
    assert_replays(copy, seqs, batch(250))
    assert_replays(copy_to(copies(), everything(copy)), seqs, batch(250))  # a copy of the copy


def test_a_copy_of_a_log_whose_batch_was_interrupted_resumes_it(direct: Log, copies: Open) -> None:
    with pytest.raises(Exception, match="power"):
        failing_after(direct.open(), 1).create_changes(batch(150), KEY)
    source = direct.open()
    source.create_changes(batch(7))
    copy = copy_to(copies(), everything(source))
    assert copy.create_changes(batch(150), KEY).seqs == (*range(1, 99), *range(106, 158))
    assert_replays(copy_to(copies(), everything(copy)), (*range(1, 99), *range(106, 158)), batch(150))


@pytest.mark.parametrize("size", [1, 2, 7, 200])
def test_the_copy_may_have_another_chunk_size(direct: Log, copies: Open, size: int) -> None:
    source = direct.open(chunk_changes=30)
    seqs = source.create_changes(batch(100), KEY).seqs
    if size == 200 and not direct.name.startswith("sqlite"):
        size = 98
    copy = copy_to(copies(chunk_changes=size), everything(source), 13)
    assert_replays(copy, seqs, batch(100))


def test_a_log_of_many_keys_is_copied(direct: Log, copies: Open) -> None:
    source = direct.open()
    for number in range(120):
        source.create_change(new(f"e{number}"), f"{number:016}")
    copy = copy_to(copies(), everything(source))
    for number in range(120):
        assert copy.create_changes([new(f"e{number}")], f"{number:016}").seqs == (number + 1,)
    assert copy.get_head(project_id="p") == source.get_head(project_id="p")


def test_changes_without_a_key_name_no_request(direct_storage: BaseStorageService) -> None:
    direct_storage.create_changes(batch(3))
    direct_storage.create_changes(batch(100), KEY)
    named = [change.seq for change in everything(direct_storage) if change.request_key is not None]
    assert named == [4, 102]


def test_the_api_does_not_show_keys(log: Log, storage: Reachable) -> None:
    made = storage.create_change(new(), KEY)
    assert KEY not in made.to_json()
    (read,) = storage.get_changes_with_cursor(project_id="p").changes
    assert KEY not in read.to_json()
    if log.name.startswith("http-"):
        assert (made.request_key, read.request_key) == (None, None)


@pytest.mark.parametrize(("days", "replayed"), [(0, True), (-3000, True), (KEY_DAYS - 1, True), (KEY_DAYS + 1, False)])
def test_a_key_that_has_expired_is_not_carried(direct: Log, copies: Open, days: int, replayed: bool) -> None:
    source = direct.open(runtime=Runtime(clock=lambda: NOW))
    source.create_changes(batch(3), KEY)
    copy = copies(runtime=Runtime(clock=lambda: NOW + days * DAY))
    copy.restore_changes(everything(source))
    assert copy.create_changes(batch(3), KEY).replayed is replayed
    assert list(copy.verify(project_id="p")) == []


def test_a_request_key_that_is_not_valid_is_refused(direct_storage: BaseStorageService, copies: Open) -> None:
    direct_storage.create_changes(batch(2), KEY)
    first, second = everything(direct_storage)
    target = copies()
    assert first.request_key is not None
    parts = first.request_key.split(" ")
    for name in ("", KEY, " ".join(["short", *parts[1:]]), first.request_key + " 1", " ".join([KEY, "x", *parts[2:]]),
                 " ".join([KEY, "0", "0", "0", parts[4]]), " ".join([*parts[:4], "f"]), "é" * 20):  # fmt: skip
        with pytest.raises(InvalidBatch, match="request_key") as caught:
            target.restore_changes([first, second.replace(request_key=name)])
        assert caught.value.failed_at_index == 1
    assert target.get_head(project_id="p").seq == 0


def test_a_change_without_room_for_the_name_is_stored_without_it(direct_storage: BaseStorageService) -> None:
    room = MAX_ITEM_BYTES - 256 - len('pdocumente{"a":""}')
    large = new(data='{"a":"' + "x" * room + '"}')
    assert direct_storage.create_change(large, KEY).request_key is None
    assert direct_storage.create_change(large, KEY).seq == 1
    almost = new(data='{"a":"' + "x" * (room - 256) + '"}')
    assert direct_storage.create_change(almost, OTHER).request_key is not None


def test_a_tombstone_ends_what_a_key_stands_for(direct_storage: BaseStorageService, copies: Open) -> None:
    direct_storage.create_changes(batch(4), KEY)
    changes = everything(direct_storage)
    lost = changes[2].replace(entity_type="void", entity_id="void", operation=TOMBSTONE, data_json="{}")
    changes[2] = lost.replace(chain=link_of(changes[1].chain, lost))
    changes[3] = changes[3].replace(chain=link_of(changes[2].chain, changes[3]))
    copy = copies()
    copy.restore_changes(changes)
    assert copy.create_changes(batch(4), KEY).seqs == (1, 2, 5, 6)
