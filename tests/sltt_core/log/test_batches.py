from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base.errors import InvalidBatch, KeyReused, LogDamaged, NotFound, PartialAppend, SlttError, StorageBusy
from sltt_core.log.batches import (
    CHUNK_BYTES,
    CHUNK_CHANGES,
    Appended,
    Batch,
    BatchAppend,
    Chunk,
    StoredChunk,
    chunk_of,
    cut,
    first_excess_type,
    number_changes,
    project_exists,
    too_many_entity_types,
)
from sltt_core.log.pages import EMPTY_LOG, Head
from sltt_core.log.restored import why_not_next
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.model.changes import Change, NewChange, fingerprint, item_size
from sltt_core.model.fields import MAX_ENTITY_TYPES, MAX_ITEM_BYTES
from sltt_core.model.grants import new_grant
from tests.sltt_core.samples import NOW, change, log, new_change

KEY = "a-key-of-16-chars"


class Memory:
    """A storage for chunks that remembers keys, and fails on demand."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Change]] = {}
        self.requests: dict[tuple[str, str, int], StoredChunk] = {}
        self.asked: list[Chunk] = []
        self.errors: list[SlttError | None] = []

    def append(self, chunk: Chunk) -> StoredChunk:
        self.asked.append(chunk)
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        if chunk.key is not None and (known := self.requests.get((chunk.project_id, chunk.key, chunk.number))):
            return known.replace(changes=None)
        whole = self.logs.setdefault(chunk.project_id, [])
        stored = number_changes(chunk, Head(whole[-1].seq, whole[-1].chain) if whole else EMPTY_LOG, NOW)
        whole += stored
        done = StoredChunk(stored[0].seq, len(stored), chunk.fingerprint, stored, chunk.offset)
        if chunk.key is not None:
            self.requests[chunk.project_id, chunk.key, chunk.number] = done
        return done

    def send(self, batch: Sequence[NewChange], key: str | None = None, chunk: int = 3) -> Appended:
        return BatchAppend(ready(batch), key, self.append, chunk).run()


def ready(batch: Sequence[NewChange]) -> Batch:
    return Batch(tuple(batch), tuple(map(item_size, batch)))


def batch_for(projects: str) -> list[NewChange]:
    """Return a change for each letter; the letter is its project."""
    return [new_change(project_id=letter, entity_id=f"e{place}") for place, letter in enumerate(projects)]


def in_logs(memory: Memory) -> dict[str, str]:
    """The indexes in the batch of the changes of each project, in the order of its log."""
    return {name: "".join(item.entity_id[1:] for item in whole) for name, whole in memory.logs.items()}


def test_the_size_of_a_chunk_is_that_of_a_dynamodb_transaction() -> None:
    assert (CHUNK_CHANGES, CHUNK_BYTES) == (98, 3_500_000)


@pytest.mark.parametrize(
    ("projects", "chunk", "seqs", "logs", "chunks"),
    [
        ("a", 3, (1,), {"a": "0"}, [("a", 0, 0, 1)]),
        ("aaa", 3, (1, 2, 3), {"a": "012"}, [("a", 0, 0, 3)]),
        ("aaaa", 3, (1, 2, 3, 4), {"a": "0123"}, [("a", 0, 0, 3), ("a", 1, 3, 1)]),
        ("bab", 3, (1, 1, 2), {"b": "02", "a": "1"}, [("b", 0, 0, 2), ("a", 0, 0, 1)]),
        (
            "abaabba",
            2,
            (1, 1, 2, 3, 2, 3, 4),
            {"a": "0236", "b": "145"},
            [("a", 0, 0, 2), ("a", 1, 2, 2), ("b", 0, 0, 2), ("b", 1, 2, 1)],
        ),
    ],
)
def test_a_batch_is_written_project_by_project_and_chunk_by_chunk(
    projects: str, chunk: int, seqs: tuple[int, ...], logs: dict[str, str], chunks: list[tuple[str, int, int, int]]
) -> None:
    memory = Memory()
    assert memory.send(batch_for(projects), chunk=chunk) == Appended(seqs, False)
    assert in_logs(memory) == logs
    assert [(c.project_id, c.number, c.offset, len(c.changes)) for c in memory.asked] == chunks
    assert {c.fingerprint for c in memory.asked} == {fingerprint(batch_for(projects))}


def test_numbers_continue_at_the_end_of_the_log() -> None:
    memory = Memory()
    memory.send(batch_for("aab"))
    assert memory.send(batch_for("ba")).seqs == (2, 3)


@pytest.mark.parametrize(("projects", "parts"), [("a", 1), ("aaa", 1), ("aaaa", 2), ("ab", 2), ("aba", 2)])
def test_the_number_of_atomic_writes_is_known(projects: str, parts: int) -> None:
    append = BatchAppend(ready(batch_for(projects)), None, Memory().append, 3)
    assert append.writes == parts


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_a_batch_with_the_same_key_is_stored_once_with_any_chunk_size(chunk: int) -> None:
    memory = Memory()
    batch = batch_for("abaabbaaa")
    first = memory.send(batch, KEY)
    stored = in_logs(memory)
    assert memory.send(batch, KEY, chunk) == Appended(first.seqs, True)
    assert in_logs(memory) == stored


def test_without_a_key_a_batch_is_stored_as_often_as_it_is_sent() -> None:
    memory = Memory()
    memory.send(batch_for("aa"))
    assert memory.send(batch_for("aa")) == Appended((3, 4), False)


BATCH = batch_for("abaabbaaa")  # with chunks of two: a a, a a, a a, b b, b


@pytest.mark.parametrize(
    ("fails_at", "seqs", "first"),
    [
        (1, (1, None, 2, None, None, None, None, None, None), 1),
        (2, (1, None, 2, 3, None, None, 4, None, None), 1),
        (3, (1, None, 2, 3, None, None, 4, 5, 6), 1),
        (4, (1, 1, 2, 3, 2, None, 4, 5, 6), 5),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 4, 100])
def test_a_batch_stored_in_part_is_reported_and_resumed(
    fails_at: int, seqs: tuple[int | None, ...], first: int, chunk: int
) -> None:
    memory = Memory()
    cause = StorageBusy("not now")
    memory.errors = [None] * fails_at + [cause]
    with pytest.raises(PartialAppend) as caught:
        memory.send(BATCH, KEY, 2)
    assert (caught.value.seqs, caught.value.failed_at_index, caught.value.cause) == (seqs, first, cause)
    assert caught.value.__cause__ is cause

    whole = memory.send(BATCH, KEY, chunk)
    assert (whole.seqs, whole.replayed) == ((1, 1, 2, 3, 2, 3, 4, 5, 6), False)
    assert in_logs(memory) == {"a": "023678", "b": "145"}
    assert memory.send(BATCH, KEY, chunk) == whole.replace(replayed=True)


def test_a_failure_before_the_first_write_is_raised_unchanged() -> None:
    memory = Memory()
    memory.errors = [StorageBusy("not now")]
    with pytest.raises(StorageBusy):
        memory.send(BATCH, KEY, 2)
    assert memory.logs == {}


def test_an_unexpected_error_is_raised_unchanged() -> None:
    memory = Memory()
    memory.errors = [None, KeyboardInterrupt()]  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        memory.send(BATCH, KEY, 2)


@pytest.mark.parametrize("other", [batch_for("aab"), batch_for("aa"), batch_for("aaaa"), [new_change(project_id="a")]])
def test_a_key_of_another_batch_is_refused(other: list[NewChange]) -> None:
    memory = Memory()
    memory.send(batch_for("aaa"), KEY)
    with pytest.raises(KeyReused, match="project a"):
        memory.send(other, KEY)
    assert in_logs(memory) == {"a": "012"}


class Asked:
    """A storage that notes what the check of a batch asks for."""

    def __init__(self, stored: dict[tuple[str, str, int], str] | None = None, types: int = 0) -> None:
        self.stored = stored or {}
        """The fingerprints of stored chunks."""
        self.types = {f"type-{number}" for number in range(types)}
        self.chunks: list[tuple[str, str, int]] = []
        self.projects: list[str] = []

    def chunk(self, project_id: str, key: str, number: int) -> StoredChunk | None:
        self.chunks.append((project_id, key, number))
        found = self.stored.get((project_id, key, number))
        return None if found is None else StoredChunk(1, 1, found, None, 0)

    def entity_types(self, project_id: str) -> set[str]:
        self.projects.append(project_id)
        return self.types if project_id == "b" else set()

    def check(self, batch: Sequence[NewChange], key: str | None) -> None:
        BatchAppend(ready(batch), key, Memory().append).check(self.chunk, self.entity_types)


@pytest.mark.parametrize(
    ("projects", "key", "chunks"),
    [
        ("ab", KEY, [("a", KEY, 0), ("b", KEY, 0)]),
        ("abc", KEY, [("a", KEY, 0), ("b", KEY, 0), ("c", KEY, 0)]),
        ("aa", KEY, []),
        ("ab", None, []),
    ],
)
def test_the_key_of_several_projects_is_looked_up_in_each(
    projects: str, key: str | None, chunks: list[tuple[str, str, int]]
) -> None:
    asked = Asked()
    asked.check(batch_for(projects), key)
    assert (asked.chunks, asked.projects) == (chunks, sorted(set(projects)))


def test_a_key_that_another_project_has_with_another_batch_is_refused_before_the_first_write() -> None:
    batch = batch_for("ab")
    Asked({("a", KEY, 0): fingerprint(batch), ("b", KEY, 0): fingerprint(batch)}).check(batch, KEY)
    with pytest.raises(KeyReused, match="in project b"):
        Asked({("a", KEY, 0): fingerprint(batch), ("b", KEY, 0): "other"}).check(batch, KEY)


@pytest.mark.parametrize(("types", "place"), [(MAX_ENTITY_TYPES - 1, None), (MAX_ENTITY_TYPES, 1)])
def test_entity_types_are_counted_in_each_project_before_the_first_write(types: int, place: int | None) -> None:
    batch = batch_for("abab")
    if place is None:
        Asked(types=types).check(batch, KEY)
        return
    with pytest.raises(InvalidBatch) as caught:
        Asked(types=types).check(batch, KEY)
    assert [problem.as_tuple()[:3] for problem in caught.value.problems] == [
        (
            place,
            f"changes[{place}].entity_type",
            f"is one entity type too many: a project has at most {MAX_ENTITY_TYPES}",
        )
    ]


@pytest.mark.parametrize(("offset", "count", "damaged"), [(0, 3, False), (1, 2, True), (0, 4, True), (2, 2, True)])
def test_a_stored_chunk_that_does_not_fit_the_batch_is_damage(offset: int, count: int, damaged: bool) -> None:
    batch = ready(batch_for("aaa"))
    stored = StoredChunk(7, count, fingerprint(batch.changes), None, offset)
    append = BatchAppend(batch, KEY, lambda _: stored)
    if not damaged:
        assert append.run() == Appended((7, 8, 9), True)
        return
    with pytest.raises(LogDamaged, match="project a lacks a chunk of the batch") as caught:
        append.run()
    hint = "Send the missing changes with another key. The restore of a table can lose a chunk."
    assert caught.value.hint == hint


def test_a_key_is_remembered_for_each_project_separately() -> None:
    memory = Memory()
    memory.send(batch_for("aa"), KEY)
    assert memory.send(batch_for("bb"), KEY) == Appended((1, 2), False)
    with pytest.raises(PartialAppend) as caught:
        memory.send(batch_for("cab"), KEY)
    assert isinstance(caught.value.cause, KeyReused)
    assert caught.value.seqs == (1, None, None)


@settings(deadline=None, max_examples=60)
@given(
    st.text("abc", min_size=1, max_size=12),
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.lists(st.integers(0, 3), max_size=5),
)
def test_however_often_it_fails_a_batch_is_stored_once_and_in_order(
    projects: str, sizes: list[int], failures: list[int]
) -> None:
    memory = Memory()
    batch = batch_for(projects)
    attempts = [(sizes[n % len(sizes)], after) for n, after in enumerate(failures)]
    for chunk, after in attempts:
        memory.errors = [None] * after + [StorageBusy("not now")]
        try:
            memory.send(batch, KEY, chunk)
        except (PartialAppend, StorageBusy):
            pass
    memory.errors = []
    done = memory.send(batch, KEY, sizes[0])
    for place, item in enumerate(batch):
        seq = done.seqs[place]
        assert memory.logs[str(item.project_id)][seq - 1].entity_id == f"e{place}"
    assert sum(map(len, memory.logs.values())) == len(batch)
    for whole in memory.logs.values():
        check_links(GENESIS, whole)


# What fits in one chunk.


@pytest.mark.parametrize(
    ("sizes", "start", "max_changes", "max_bytes", "length"),
    [
        ([400] * 5, 0, 98, 10_000, 5),
        ([400] * 5, 0, 3, 10_000, 3),
        ([400] * 5, 3, 3, 10_000, 2),
        ([400] * 5, 4, 3, 10_000, 1),
        ([400] * 5, 0, 98, 1200, 3),
        ([400] * 5, 0, 98, 1199, 2),
        ([400] * 5, 2, 98, 800, 2),
        ([5000, 400, 400], 0, 98, 1000, 1),
        ([400, 5000, 400], 0, 98, 1000, 1),
        ([400, 5000, 400], 1, 98, 1000, 1),
        ([400], 0, 1, 1, 1),
    ],
)
def test_a_chunk_is_as_large_as_the_limits_allow_and_has_a_change(
    sizes: list[int], start: int, max_changes: int, max_bytes: int, length: int
) -> None:
    end, size = cut(sizes, max_changes, max_bytes, start)[start]
    assert (end - start, size) == (length, sum(sizes[start:end]))


def sized(size: int) -> NewChange:
    room = size - item_size(new_change(data='{"a":""}'))
    return new_change(data={"a": "x" * room})


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(300, 900), min_size=1, max_size=12), st.integers(1, 5), st.integers(1, 3000))
def test_chunks_cover_a_batch_and_are_as_large_as_possible(sizes: list[int], most: int, max_bytes: int) -> None:
    batch = [sized(size) for size in sizes]
    memory = Memory()
    BatchAppend(ready(batch), None, memory.append, most, max_bytes).run()
    start = 0
    for chunk in memory.asked:
        length = len(chunk.changes)
        end = start + length
        assert (chunk.offset, chunk.changes, chunk.size) == (start, tuple(batch[start:end]), sum(sizes[start:end]))
        assert 1 <= length <= most
        assert length == 1 or chunk.size <= max_bytes
        if end < len(batch) and length < most:
            assert sum(sizes[start : end + 1]) > max_bytes
        start = end
    assert start == len(batch)


@pytest.mark.parametrize("start", [0, 2])
def test_no_changes_have_no_chunks(start: int) -> None:
    assert cut([1] * start, 3, 100, start) == {}


def test_stored_changes_have_the_size_of_new_ones() -> None:
    stored = log(*(sized(400) for _ in range(5)))
    assert cut([*map(item_size, stored)], 98, 1200) == {0: (3, 1200), 3: (5, 800)}


# What the log makes of a change.


def test_changes_are_numbered_linked_and_completed() -> None:
    given_all = new_change(
        operation="delete", timestamp="2025-01-01T00:00:00Z", cid="c", change_by="b", client_seq=9, data='{ "a":1 }'
    )
    chunk = Chunk("ruth", None, 0, 0, "", (new_change(project_id=None), given_all), 0)
    head = Head(41, "h" * 22)
    first, second = number_changes(chunk, head, NOW)
    assert first == change(seq=42, operation="create", timestamp=NOW, cloud_at=NOW, chain=first.chain)
    assert second == change(
        seq=43,
        operation="delete",
        timestamp="2025-01-01T00:00:00Z",
        cloud_at=NOW,
        data_json='{ "a":1 }',
        cid="c",
        change_by="b",
        chain=second.chain,
    )
    assert check_links(head.chain, [first, second]) == second.chain
    assert number_changes(chunk, Head(41, "i" * 22), NOW)[0].chain != first.chain


# What else the log holds: the names of requests, and grants.


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ((MAX_ITEM_BYTES - 256,), True),
        ((MAX_ITEM_BYTES - 255,), False),
        ((MAX_ITEM_BYTES - 256, 300), True),
        ((MAX_ITEM_BYTES - 255, 300), False),
        ((300, MAX_ITEM_BYTES - 255), True),
    ],
)
def test_the_first_change_names_the_request_if_it_has_room(sizes: tuple[int, ...], named: bool) -> None:
    chunk = Chunk("ruth", KEY, 2, 7, "f", tuple(map(sized, sizes)), sum(sizes))
    names = [stored.request_key for stored in number_changes(chunk, EMPTY_LOG, NOW)]
    assert names == [f"{KEY} 2 7 {len(sizes)} f" if named else None, *[None] * (len(sizes) - 1)]
    assert all(item_size(stored) <= MAX_ITEM_BYTES for stored in number_changes(chunk, EMPTY_LOG, NOW))


def test_changes_without_a_key_name_no_request() -> None:
    (stored,) = number_changes(chunk_of("ruth", new_change()), EMPTY_LOG, NOW)
    assert stored.request_key is None


def test_a_chunk_with_an_owner_begins_with_the_grant() -> None:
    changes = (new_change(entity_id="a"), new_change(entity_id="b"))
    chunk = Chunk("ruth", KEY, 0, 0, "f", changes, 600, "ann")
    granted, first, second = number_changes(chunk, EMPTY_LOG, NOW)
    grants = Chunk("ruth", None, 0, 0, "", (new_grant("ruth", "ann", "owner", "ann"),), 300)
    assert granted == number_changes(grants, EMPTY_LOG, NOW)[0]
    assert (first.entity_id, first.request_key) == ("a", f"{KEY} 0 0 2 f")
    assert (second.entity_id, second.request_key) == ("b", None)
    assert check_links(GENESIS, [granted, first, second]) == second.chain


def test_the_first_chunk_of_a_project_names_its_new_owner() -> None:
    asked: list[Chunk] = []

    def append(chunk: Chunk) -> StoredChunk:
        asked.append(chunk)
        return StoredChunk(chunk.offset + 1, len(chunk.changes), chunk.fingerprint, None, chunk.offset)

    BatchAppend(ready(batch_for("aaab")), None, append, 2, owners={"a": "ann", "c": "cid"}).run()
    assert [(chunk.project_id, chunk.owner) for chunk in asked] == [("a", "ann"), ("a", None), ("b", None)]


def test_the_error_for_a_project_that_exists_names_it() -> None:
    assert str(project_exists("ruth")) == "project ruth has changes already"


def test_a_chunk_of_one_change_has_its_size_and_no_key() -> None:
    item = new_change(project_id=None, data={"a": "x" * 100})
    assert chunk_of("ruth", item) == Chunk("ruth", None, 0, 0, "", (item,), item_size(item))


# Entity types.


@pytest.mark.parametrize(
    ("known", "types", "place"),
    [
        (0, ["a"], None),
        (199, ["new"], None),
        (200, ["new"], 0),
        (200, ["0", "199"], None),
        (200, ["0", "new", "newer"], 1),
        (199, ["new", "new", "0", "newer"], 3),
        (198, ["new", "newer"], None),
        (0, [str(number) for number in range(200)], None),
        (0, [str(number) for number in range(201)], 200),
        (250, ["0"], None),
        (250, ["0", "new"], 1),
        (200, ["sltt.member", "0", "new"], 2),
    ],
)
def test_a_project_has_at_most_200_entity_types(known: int, types: list[str], place: int | None) -> None:
    assert MAX_ENTITY_TYPES == 200
    names = {str(number) for number in range(known)}
    assert first_excess_type(names, types) == place
    assert len(names) == known


def test_the_error_for_an_entity_type_too_many_names_its_change() -> None:
    error = too_many_entity_types(3)
    assert (error.failed_at_index, error.field, error.status) == (3, "changes[3].entity_type", 400)


# Restoring.

WHOLE = log(*(new_change(entity_id=f"e{number}") for number in range(3)))


@pytest.mark.parametrize(
    ("item", "head", "reason"),
    [
        (WHOLE[0], EMPTY_LOG, ""),
        (WHOLE[2], Head(2, WHOLE[1].chain), ""),
        (WHOLE[2].replace(outdated_by=9), Head(2, WHOLE[1].chain), ""),
        (WHOLE[0].replace(project_id="esther"), EMPTY_LOG, "belongs to project esther, the first change to ruth"),
        (WHOLE[1], EMPTY_LOG, "has the number 2; the next number of the log is 1"),
        (WHOLE[0], Head(1, WHOLE[0].chain), "has the number 1; the next number of the log is 2"),
        (WHOLE[1], Head(1, GENESIS), "does not continue the hash chain"),
        (WHOLE[1].replace(data_json="{ }"), Head(1, WHOLE[0].chain), "does not continue the hash chain"),
    ],
)
def test_a_restored_change_that_is_not_the_next_is_refused(item: Change, head: Head, reason: str) -> None:
    found = why_not_next(item, "ruth", head)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_a_failed_batch_of_one_change_is_not_a_partial_append() -> None:
    memory = Memory()
    memory.errors = [NotFound("gone")]
    with pytest.raises(NotFound):
        memory.send(batch_for("a"))
