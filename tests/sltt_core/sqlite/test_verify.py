"""`verify` on SQLite: every damage that somebody can do to the file by hand is found, and what is found is damage."""

from __future__ import annotations

import random
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base.errors import StorageBusy
from sltt_core.log.findings import KINDS, Finding
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.changes import Change
from sltt_core.model.fields import check_project_id
from sltt_core.sqlite import rows
from sltt_core.sqlite.storage import LocalStorageService
from sltt_core.sqlite.verification import Verification
from tests.contract.logs import batch, new

KEY = "key-0123456789abcdef"
LINK = "B" * 22
Place = tuple[str, int | None, int | None]
Damage = str | Callable[[sqlite3.Connection], object]


def write_template(path: Path) -> None:
    """A log of 30 changes, `p`, whose last ten have a key, and another log beside it. Every chunk has its own time."""
    milliseconds = count(1_740_000_000_000)
    with LocalStorageService(path, clock=lambda: next(milliseconds) * 1_000_000) as storage:
        storage.create_changes([new(f"e{place}", cid="c", change_by="Ruth", data='{"a": 1}') for place in range(15)])
        storage.create_changes(batch(5, entity_type="note", operation="update"))
        storage.create_changes(batch(10), KEY)
        storage.create_changes(batch(3, "q"), KEY)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "log.db"
    write_template(path)
    return path


@pytest.fixture
def path(template: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "log.db"
    copy.write_bytes(template.read_bytes())
    return copy


def edit(path: Path, damage: Damage) -> None:
    """Do what somebody does by hand; the log `p` has the number 1, so that its changes' ids begin with 1 << 40."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if isinstance(damage, str):
            connection.executescript(damage.replace(":P", f"{1 << 40}"))
        else:
            damage(connection)


def places(findings: Iterator[Finding]) -> list[Place]:
    return [(finding.kind, finding.first, finding.last) for finding in findings]


def verified(path: Path, project_id: str = "p") -> list[Place]:
    with LocalStorageService(path) as storage:
        return places(storage.verify(project_id=project_id))


def set_change(column: str, value: str, seq: int = 5) -> str:
    return f"UPDATE changes SET {column} = {value} WHERE id = :P + {seq}"


def with_right_links(column: str, value: object) -> Damage:
    """Alter change 5 and make all links anew, the recorded one of the end with them."""

    def damage(connection: sqlite3.Connection) -> None:
        connection.execute(f"UPDATE changes SET {column} = ? WHERE id = ?", (value, (1 << 40) + 5))
        link = GENESIS
        for row in connection.execute(f"SELECT {rows.CHANGE} FROM changes WHERE id >> 40 = 1", ("p",)).fetchall():
            change = Change.of(row)
            link = link_of(link, change)
            connection.execute("UPDATE changes SET chain = ? WHERE id = ?", (link, (1 << 40) + change.seq))
        connection.execute("UPDATE logs SET chain = ? WHERE log = 1", (link,))

    return damage


def copy_change(new_id: str) -> str:
    columns = "entity_type, entity_id, operation, timestamp, cloud_at, data_json, outdated_by, cid, change_by, chain"
    return f"INSERT INTO changes (id, {columns}) SELECT {new_id}, {columns} FROM changes WHERE id = :P + 5"


BROKEN: list[Place] = [("broken-link", 5, 5)]
COUNTS: list[Place] = [("counts", None, None)]
UNREADABLE: list[Place] = [("unreadable", 5, 5)]
ORPHANS: list[Place] = [("no-sequence", None, None)]

DAMAGES: dict[str, tuple[Damage, list[Place]]] = {
    # Numbers
    "a hole": ("DELETE FROM changes WHERE id = :P + 5", [("hole", 5, 5)]),
    "a hole at the beginning": ("DELETE FROM changes WHERE id <= :P + 3", [("hole", 1, 3)]),
    "a hole at the end": ("DELETE FROM changes WHERE id = :P + 30", [("hole", 30, 30), ("request", 21, 30)]),
    "two holes": ("DELETE FROM changes WHERE id IN (:P + 5, :P + 6, :P + 9)", [("hole", 5, 6), ("hole", 9, 9)]),
    "no changes": ("DELETE FROM changes WHERE id >> 40 = 1", [("hole", 1, 30), ("request", 21, 30)]),
    "number 0": (copy_change(":P"), [("unreadable", 0, 0)]),
    "a change with another number": (
        "UPDATE changes SET id = :P + 50 WHERE id = :P + 5",
        [("hole", 5, 5), ("hole", 31, 49), ("value-behind", 31, 50)],
    ),
    "a change in another log": (
        "UPDATE changes SET id = (2 << 40) + 4 WHERE id = :P + 5",
        [("hole", 5, 5)],
    ),
    "two changes swapped": (
        "UPDATE changes SET id = 7 WHERE id = :P + 7; UPDATE changes SET id = :P + 7 WHERE id = :P + 8;"
        "UPDATE changes SET id = :P + 8 WHERE id = 7",
        [("broken-link", 7, 9)],
    ),
    # The recorded end
    "value ahead": ("UPDATE logs SET value = value + 3 WHERE log = 1", [("hole", 31, 33)]),
    "value behind": ("UPDATE logs SET value = 26 WHERE log = 1", [("value-behind", 26, 30)]),
    "value before the first": ("UPDATE logs SET value = 1 WHERE log = 1", [("value-behind", 1, 30)]),
    "value is 0": ("UPDATE logs SET value = 0 WHERE log = 1", [("unreadable", None, None)]),
    "value is beyond all numbers": ("UPDATE logs SET value = 1 << 50 WHERE log = 1", [("unreadable", None, None)]),
    "value is a text": ("UPDATE logs SET value = 'x' WHERE log = 1", [("unreadable", None, None)]),
    "value is bytes": ("UPDATE logs SET value = x'00' WHERE log = 1", [("unreadable", None, None)]),
    "another link at the end": (f"UPDATE logs SET chain = '{LINK}' WHERE log = 1", [("end-link", 30, 30)]),
    "bytes for the link at the end": ("UPDATE logs SET chain = CAST(chain AS BLOB)", [("end-link", 30, 30)]),
    # Counts
    "wrong count of creates": ("UPDATE logs SET creates = creates + 1", COUNTS),
    "wrong count of updates": ("UPDATE logs SET updates = 0", COUNTS),
    "wrong count of deletes": ("UPDATE logs SET deletes = 'x'", COUNTS),
    "wrong count of a type": ("UPDATE entity_types SET total = total - 1", COUNTS),
    "a type without a count": ("DELETE FROM entity_types WHERE entity_type = 'note'", COUNTS),
    "a type without changes": ("INSERT INTO entity_types VALUES (1, 'other', 0)", COUNTS),
    "bytes for a type": ("INSERT INTO entity_types VALUES (1, x'ff', 1)", COUNTS),
    "a type that is no UTF-8": ("INSERT INTO entity_types VALUES (1, CAST(x'ff' AS TEXT), 1)", COUNTS),
    # Altered changes
    "altered entity_type": (set_change("entity_type", "'note'"), BROKEN + COUNTS),
    "altered entity_id": (set_change("entity_id", "'e9'"), BROKEN),
    "altered operation": (set_change("operation", "'delete'"), BROKEN + COUNTS),
    "altered timestamp": (set_change("timestamp", "'2025-03-01T09:30:00Z'"), BROKEN),
    "altered cloud_at": (set_change("cloud_at", "'2025-03-01T09:30:00Z'"), BROKEN),
    "altered data": (set_change("data_json", "'{\"a\":1}'"), BROKEN),
    "altered cid": (set_change("cid", "'d'"), BROKEN),
    "no cid": (set_change("cid", "NULL"), BROKEN),
    "altered change_by": (set_change("change_by", "'Naomi'"), BROKEN),
    "no change_by": (set_change("change_by", "NULL"), BROKEN),
    "altered first change": (set_change("entity_id", "'x'", 1), [("broken-link", 1, 1)]),
    "altered last change": (set_change("entity_id", "'x'", 30), [("broken-link", 30, 30)]),
    "every link altered": (
        f"UPDATE changes SET chain = '{LINK}'",
        [("broken-link", 1, 30), ("end-link", 30, 30)],
    ),
    "altered link": (set_change("chain", f"'{LINK}'"), [("broken-link", 5, 6)]),
    "altered last link": (set_change("chain", f"'{LINK}'", 30), [("broken-link", 30, 30), ("end-link", 30, 30)]),
    "another project's log": ("UPDATE logs SET project_id = iif(log = 1, 'r', 'p')", [("broken-link", 1, 3)]),
    # Unreadable changes
    "bytes for a text": (set_change("entity_id", "x'6531'"), UNREADABLE),
    "bytes for data": (set_change("data_json", "CAST(data_json AS BLOB)"), UNREADABLE),
    "bytes for an optional text": (set_change("cid", "x'00'"), UNREADABLE),
    "bytes for a link": (set_change("chain", "CAST(chain AS BLOB)"), UNREADABLE),
    "a text that is no link": (set_change("chain", "'short'"), UNREADABLE),
    "a text that is no UTF-8": (set_change("entity_id", "CAST(x'65ff' AS TEXT)"), UNREADABLE),
    "data that are no UTF-8": (set_change("data_json", "CAST(x'7b2261223a22ff227d' AS TEXT)"), UNREADABLE),
    "an operation that is none": (set_change("operation", "'replace'"), UNREADABLE),
    "no time": (set_change("timestamp", "'yesterday'"), UNREADABLE),
    "a number for a time": (set_change("cloud_at", "1740000000"), UNREADABLE),
    "a text for outdated_by": (set_change("outdated_by", "'soon'"), UNREADABLE),
    "data that are no JSON": (with_right_links("data_json", "{"), UNREADABLE),
    "data that are no object": (with_right_links("data_json", "[1]"), UNREADABLE),
    "data with NaN": (with_right_links("data_json", '{"a": NaN}'), UNREADABLE),
    "an entity type with a character too many": (with_right_links("entity_type", "Doc ument"), UNREADABLE),
    "an empty entity id": (with_right_links("entity_id", ""), UNREADABLE),
    # Keys
    "a key beyond the end": ("UPDATE requests SET first_seq = 100 WHERE log = 1", [("request", 100, 109)]),
    "a key of more changes than there are": (
        "UPDATE requests SET count = 11 WHERE log = 1",
        [("request", 21, 31)],
    ),
    "a key of others' changes": ("UPDATE requests SET first_seq = 12 WHERE log = 1", [("request", 12, 21)]),
    "a key beyond all numbers": (
        f"UPDATE requests SET count = {2**62} WHERE log = 1",
        [("request", 21, 2**62 + 20)],
    ),
    "a key of changes that are gone": (
        "DELETE FROM changes WHERE id = :P + 25",
        [("hole", 25, 25), ("request", 21, 30)],
    ),
    "a key that is none": ("UPDATE requests SET key = 'short'", [("request", None, None)]),
    "bytes for a key": ("UPDATE requests SET key = CAST(key AS BLOB)", [("request", None, None)]),
    "a key that is no UTF-8": (
        "UPDATE requests SET key = CAST(x'ff' || key AS TEXT) WHERE log = 1",
        [("request", None, None)],
    ),
    "a key with a NUL": ("UPDATE requests SET key = key || char(0) || 'x'", [("request", None, None)]),
    "a key that never expires": ("UPDATE requests SET expires = 'never'", [("request", None, None)]),
    # Rows that belong to no project
    "no log row": (
        "DELETE FROM logs WHERE log = 1",
        [*ORPHANS, ("counts", None, None), ("request", None, None)],
    ),
    "another number in the log row": (
        "UPDATE logs SET log = 7 WHERE log = 1",
        [("hole", 1, 30), *ORPHANS, ("counts", None, None), ("request", None, None)],
    ),
    "a change of no log": (copy_change("(99 << 40) + 1"), ORPHANS),
    "a change of the last log there can be": (copy_change(f"{2**63 - 1}"), ORPHANS),
    "a change of a negative log": (copy_change("-1"), ORPHANS),
    "a count of no log": ("INSERT INTO entity_types VALUES (99, 'note', 1)", COUNTS),
    "a project id that is none": ("UPDATE logs SET project_id = 'q/' WHERE log = 2", [("unreadable", None, None)]),
    "bytes for a project id": ("UPDATE logs SET project_id = x'71' WHERE log = 2", [("unreadable", None, None)]),
    "a log number that is too large": (
        f"UPDATE logs SET log = {2**23} WHERE log = 2",
        [("unreadable", None, None), *ORPHANS, ("counts", None, None), ("request", None, None)],
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_found(path: Path, name: str) -> None:
    damage, expected = DAMAGES[name]
    edit(path, damage)
    assert verified(path) == expected


@pytest.mark.parametrize("page", [1, 3, 15, 30])
def test_the_size_of_a_page_makes_no_difference(path: Path, page: int) -> None:
    template = path.read_bytes()
    for name, (damage, expected) in DAMAGES.items():
        path.write_bytes(template)
        edit(path, damage)
        with LocalStorageService(path) as storage:
            found = places(Verification(storage._readers, "p", lambda _: None, page).run(requests=True))
        assert found == expected, name


def test_every_kind_of_fault_of_this_storage_is_planted() -> None:
    planted = {kind for _, expected in DAMAGES.values() for kind, _, _ in expected}
    assert planted == set(KINDS) - {"original", "not-a-change", "unlinked", "relinking"}  # those are DynamoDB's


def test_a_finding_says_what_is_wrong(path: Path) -> None:
    edit(path, set_change("data_json", "'[1]'"))
    edit(path, "UPDATE requests SET first_seq = 100; UPDATE logs SET chain = 'x'")
    with LocalStorageService(path, "p") as storage:
        assert list(map(str, storage.verify())) == [
            "unreadable 5: data_json is not a JSON object",
            "end-link 30: the recorded end of the log has another link than the last change",
            f"request 100 to 109: chunk 0 of the idempotency key {KEY} stands for changes that are not there",
        ]


def test_a_sound_file_yields_nothing(path: Path) -> None:
    assert verified(path) == verified(path, "q") == verified(path, "nobody") == []


def test_rows_of_no_project_are_found_from_every_project(path: Path) -> None:
    edit(path, "DELETE FROM logs WHERE log = 1")
    assert verified(path) == verified(path, "q") == verified(path, "nobody") != []


def test_keys_are_left_out_on_demand(path: Path) -> None:
    edit(
        path,
        "UPDATE requests SET first_seq = 100;"
        "INSERT INTO requests SELECT 99, key, 0, 0, 1, 1, '', 1 FROM requests WHERE log = 1",
    )
    with LocalStorageService(path, "p") as storage:
        assert places(storage.verify(requests=False)) == []
        assert places(storage.verify()) == [("request", 100, 109), ("request", None, None)]


def test_keys_are_examined_page_after_page(path: Path) -> None:
    with LocalStorageService(path, "p") as storage:
        for number in range(20):
            storage.create_changes(batch(3), f"{KEY}-{number:02}")
        assert list(verification(storage, lambda _: None)) == []
        edit(path, f"UPDATE requests SET count = 4 WHERE key IN ('{KEY}-03', '{KEY}-19')")
        assert places(verification(storage, lambda _: None)) == [("request", 40, 43), ("request", 88, 91)]


# While others write


def verification(storage: LocalStorageService, progress: Callable[[int], None]) -> Iterator[Finding]:
    return Verification(storage._readers, "p", progress, 7).run(requests=True)


def test_what_is_written_between_two_pages_is_no_finding(path: Path) -> None:
    with LocalStorageService(path, "p") as storage:

        def write(examined: int) -> None:
            if examined < 28:
                storage.create_changes(batch(3, entity_type=f"new{examined}"), f"{KEY}-{examined}")
                storage.mark_as_outdated(examined, examined + 1)

        assert list(verification(storage, write)) == []
        assert storage.get_head().seq == 39


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM changes WHERE id >> 40 = 1; DELETE FROM logs WHERE log = 1",
        "DELETE FROM changes WHERE id = :P + 7",
        set_change("chain", f"'{LINK}'", 7),
    ],
    ids=["gone", "cut", "altered"],
)
def test_a_log_that_is_replaced_between_two_pages_is_busy(path: Path, damage: str) -> None:
    with LocalStorageService(path, "p") as storage, pytest.raises(StorageBusy, match="while it was verified"):
        list(verification(storage, lambda _: edit(path, damage)))


def test_counts_are_counted_again_in_one_snapshot(path: Path) -> None:
    """Somebody alters a change that was examined, and the counts with it: only its link is wrong, and was passed."""
    with LocalStorageService(path, "p") as storage:

        def alter(examined: int) -> None:
            if examined == 7:
                edit(path, set_change("operation", "'update'", 3))
                edit(path, "UPDATE logs SET creates = creates - 1, updates = updates + 1 WHERE log = 1")

        assert list(verification(storage, alter)) == []
        assert places(storage.verify()) == [("broken-link", 3, 3)]


def test_no_snapshot_is_held_between_two_findings(path: Path) -> None:
    edit(path, "DELETE FROM changes WHERE id IN (:P + 5, :P + 9)")
    with LocalStorageService(path, "p") as storage:
        findings = verification(storage, lambda _: None)
        assert next(findings).first == 5
        storage.create_change(new())
        with closing(sqlite3.connect(path)) as other:
            busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not busy
        assert [finding.first for finding in findings] == [9]


def test_reads_after_it_are_as_ever(path: Path) -> None:
    edit(path, set_change("entity_id", "CAST(x'65ff' AS TEXT)"))
    with LocalStorageService(path, "p") as storage:
        assert places(storage.verify()) == UNREADABLE
        assert [connection.text_factory for connection in storage._readers.idle] == [str]


def test_the_log_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    with LocalStorageService(tmp_path / "large.db", "p") as storage:
        text = '{"text":"' + "x" * 300_000 + '"}'
        for _ in range(4):
            storage.create_changes(batch(20, data=text))
        tracemalloc.start()
        try:
            assert list(storage.verify()) == []
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 10 * len(text)  # the log is 80 times that


# Random edits

COLUMNS = {
    "changes": "id entity_type entity_id operation timestamp cloud_at data_json outdated_by cid change_by chain",
    "logs": "log project_id value chain creates updates deletes",
    "entity_types": "log entity_type total",
    "requests": "log key number offset first_seq count fingerprint expires",
}
KEYS = {"changes": "id", "logs": "log", "entity_types": "log, entity_type", "requests": "log, key, number"}
HASHED = ["entity_type", "entity_id", "operation", "timestamp", "cloud_at", "data_json", "cid", "change_by", "chain"]

INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 50) | st.sampled_from([1 << 40, (1 << 40) + 5, 2 << 40])
VALUES = st.one_of(
    st.none(),
    INTEGERS,
    st.floats(allow_nan=True),
    st.text(max_size=30).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text)),
    st.binary(max_size=30),
    st.sampled_from(["p", "q", "void", "{}", "[]", LINK, GENESIS, KEY, "2025-03-01T09:30:00Z", "update"]),
)
"""A value of each of SQLite's types; bytes may be stored as a text that is no UTF-8."""


@st.composite
def edits(draw: st.DrawFn) -> tuple[str, tuple[object, ...]]:
    """An SQL statement that alters or deletes a row, whichever it is."""
    table = draw(st.sampled_from(list(COLUMNS)))
    keys = KEYS[table]
    row = f"({keys}) = (SELECT {keys} FROM {table} ORDER BY {keys} LIMIT 1 OFFSET ?)"
    place = draw(st.integers(0, 35 if table == "changes" else 3))
    if draw(st.integers(0, 4)) == 0:
        return f"DELETE FROM {table} WHERE {row}", (place,)
    column = draw(st.sampled_from(COLUMNS[table].split()))
    value = draw(VALUES)
    target = "CAST(? AS TEXT)" if isinstance(value, bytes) and draw(st.booleans()) else "?"
    return f"UPDATE OR IGNORE {table} SET {column} = {target} WHERE {row}", (value, place)


def what_is_hashed(connection: sqlite3.Connection) -> dict[int, str]:
    """The hashed columns of each change, in a form that tells all values apart."""
    columns = " || ',' || ".join(f"typeof({name}) || hex(ifnull({name}, ''))" for name in HASHED)
    return dict(connection.execute(f"SELECT id, {columns} FROM changes"))


def project_ids(connection: sqlite3.Connection) -> set[str]:
    """The ids that can be verified, those of logs that are gone among them."""
    found = {"p", "q"}
    connection.text_factory = bytes
    for (project_id,) in connection.execute("SELECT project_id FROM logs WHERE typeof(project_id) = 'text'"):
        try:
            found.add(check_project_id(project_id.decode()))
        except ValueError:
            pass
    connection.text_factory = str
    return found


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "log.db"


@settings(max_examples=100, deadline=None)
@given(st.lists(edits(), min_size=1, max_size=6))
def test_random_edits_never_crash_it_and_altered_history_is_found(
    template: Path, scratch: Path, statements: list[tuple[str, tuple[object, ...]]]
) -> None:
    scratch.write_bytes(template.read_bytes())
    with closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
        before = what_is_hashed(connection)
        for sql, values in statements:
            try:
                connection.execute(sql, values)
            except sqlite3.IntegrityError:
                pass  # a column that takes no such value
        altered = what_is_hashed(connection) != before
        projects = project_ids(connection)
    with LocalStorageService(scratch) as storage:
        found = [finding for project_id in projects for finding in storage.verify(project_id=project_id)]
    assert all(str(finding) for finding in found)
    assert found or not altered


@settings(max_examples=100, deadline=None)
@given(column=st.sampled_from(HASHED), seq=st.integers(1, 30), value=VALUES, as_text=st.booleans())
def test_an_altered_field_is_found_with_its_number(
    template: Path, scratch: Path, column: str, seq: int, value: object, as_text: bool
) -> None:
    scratch.write_bytes(template.read_bytes())
    target = "CAST(? AS TEXT)" if isinstance(value, bytes) and as_text else "?"
    with closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
        before = what_is_hashed(connection)
        connection.execute(f"UPDATE OR IGNORE changes SET {column} = {target} WHERE id = ?", (value, (1 << 40) + seq))
        altered = what_is_hashed(connection) != before
    found = verified(scratch)
    at_fault = [place for place in found if place[0] in ("broken-link", "unreadable") and place[1] == seq]
    assert len(at_fault) == altered
    assert altered or found == []


def test_random_damage_does_not_look_like_a_finding_elsewhere(path: Path) -> None:
    """The other project's log stays sound, whatever is altered in the fields of this one's changes."""
    choose = random.Random(20250301)
    for _ in range(20):
        edit(path, set_change(choose.choice(HASHED), f"'{choose.random()}'", choose.randint(1, 30)))
    assert verified(path) != []
    assert verified(path, "q") == []
