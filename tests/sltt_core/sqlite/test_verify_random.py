"""`verify` on SQLite after random edits: it never crashes, and what was altered is found."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.model.chain import GENESIS
from sltt_core.model.fields import check_project_id
from sltt_core.sqlite.storage import LocalStorageService
from tests.sltt_core.sqlite.damages import KEY, LINK, edit, set_change, verified

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


def test_random_damage_does_not_look_like_a_finding_elsewhere(filled: Path) -> None:
    """The other project's log stays sound, whatever is altered in the fields of this one's changes."""
    choose = random.Random(20250301)
    for _ in range(20):
        edit(filled, set_change(choose.choice(HASHED), f"'{choose.random()}'", choose.randint(1, 30)))
    assert verified(filled) != []
    assert verified(filled, "q") == []
