"""Rows of device tokens and invitations: those that are not valid, and those that have expired."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import LogDamaged
from sltt_core.base.runtime import Runtime
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import new

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = bytes(range(32))
DAMAGES = {
    "role": ["none", "admin", "", b"editor"],
    "hash": ["", "ab", "x" * 64, DIGEST],
    "project_id": [b"p"],
    "expires": ["soon", 1.5e300, b"1", -1, 2**62],
    "created_at": [b"1"],
    "created_by": [b"ada"],
}
TOKEN_DAMAGES = {**DAMAGES, "revoked_at": [b"x"], "name": [b"x"], "principal": [b"x"]}
INVITATION_DAMAGES = {**DAMAGES, "uses": ["many", 0.5, b""]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.mark.parametrize(("table", "damages"), [("tokens", TOKEN_DAMAGES), ("invitations", INVITATION_DAMAGES)])
def test_a_row_that_is_not_valid_is_damage(path: Path, table: str, damages: dict[str, list[object]]) -> None:
    for column, values in damages.items():
        for number, value in enumerate(values):
            credential_id = f"{column.replace('_', '')}{number}".ljust(16, "0")
            with LocalStorageService(path, "p") as storage:
                storage.create_token(credential_id, DIGEST, "editor", "tablet")
                storage.create_invitation(credential_id, DIGEST, "editor")
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE id = ?", (value, credential_id))
            with LocalStorageService(path, "p") as storage:
                with pytest.raises(LogDamaged, match=f"a row of the table {table} is not valid") as caught:
                    storage.get_token(credential_id) if table == "tokens" else storage.get_invitation(credential_id)
                assert DIGEST.hex() not in caught.value.message
                with pytest.raises(LogDamaged):
                    storage.revoke_token(credential_id) if table == "tokens" else storage.get_invitations()


def test_a_long_list_uses_the_index(path: Path) -> None:
    with LocalStorageService(path) as storage:
        storage.create_token("A" * 16, DIGEST, "editor", "x", project_id="p")
    with closing(sqlite3.connect(path)) as connection:
        for table in ("tokens", "invitations"):
            plan = connection.execute(
                f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE project_id = ? AND id > ? ORDER BY id LIMIT ?",
                ("p", "", 5),
            ).fetchall()
            text = " ".join(str(row[3]) for row in plan)
            assert f"{table}_by_project (project_id=? AND id>?)" in text
            assert "TEMP B-TREE" not in text


DAY = 86_400 * 10**9
TRUE = 1_740_000_000 * 10**9
IDS = ["A" * 16, "B" * 16]


def rows(path: Path) -> list[str]:
    """The ids of the tokens and of the invitations in the file."""
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM tokens UNION ALL SELECT id FROM invitations")]


def test_expired_rows_are_deleted(path: Path) -> None:
    now = [TRUE]
    with LocalStorageService(path, "p", runtime=Runtime(clock=lambda: now[0])) as storage:
        storage.create_token("A" * 16, DIGEST, "editor", "tablet")
        storage.create_token("C" * 16, DIGEST, "editor", "used")
        storage.create_token("D" * 16, DIGEST, "editor", "revoked")
        storage.revoke_token("D" * 16)
        storage.create_invitation("B" * 16, DIGEST, "editor", days=30)
        for day in range(1, 403):
            now[0] += DAY
            storage.create_change(new())
            if day == 200:
                used = storage.get_token("C" * 16)
                assert used is not None
                assert storage.extend_token(used)
                assert len(rows(path)) == 3
            assert ("B" * 16 in rows(path)) == (day <= 30)
            assert ("A" * 16 in rows(path)) == (day <= 400), day
        assert rows(path) == ["C" * 16]
        assert storage.get_token("C" * 16) is not None


def test_a_file_that_is_used_rarely_keeps_its_rows_longer(path: Path) -> None:
    now = [TRUE]
    with LocalStorageService(path, "p", runtime=Runtime(clock=lambda: now[0])) as storage:
        storage.create_token("A" * 16, DIGEST, "editor", "tablet")
        for _ in range(30):
            now[0] += 30 * DAY
            storage.create_change(new())
        assert storage.get_token("A" * 16) is None  # it has expired
        assert rows(path) == ["A" * 16]


@pytest.mark.parametrize("restart", [False, True])
def test_a_clock_that_jumps_deletes_nothing_that_is_valid(path: Path, restart: bool) -> None:
    """From 1970 at the start of a device, two years and a thousand years ahead, and back, again and again."""
    now = [TRUE]
    storage = LocalStorageService(path, "p", runtime=Runtime(clock=lambda: now[0]))
    storage.initialize()
    storage.create_token("A" * 16, DIGEST, "editor", "tablet")
    storage.create_invitation("B" * 16, DIGEST, "editor", days=30, uses=5)
    for number, jump in enumerate([0, TRUE, TRUE + 730 * DAY, TRUE, TRUE + 365_000 * DAY, 0, TRUE] * 100):
        now[0] = jump + number * DAY // 100
        storage.create_change(new())
        if restart and number % 50 == 0:
            storage.close()
            storage.initialize()
    now[0] = TRUE + 7 * DAY
    assert storage.get_token("A" * 16) is not None
    assert storage.accept_invitation("B" * 16, "bob")[0].uses == 4
    storage.close()


def test_a_write_at_a_wrong_time_does_not_shorten_what_is_kept(path: Path) -> None:
    """A revocation, or the use of an invitation, leaves the time of the row as it is."""
    now = [TRUE]
    with LocalStorageService(path, "p", runtime=Runtime(clock=lambda: now[0])) as storage:
        storage.create_token("A" * 16, DIGEST, "editor", "tablet")
        storage.create_invitation("B" * 16, DIGEST, "editor", days=30, uses=5)
        now[0] = TRUE + 29 * DAY
        storage.accept_invitation("B" * 16, "bob")
        with closing(sqlite3.connect(path)) as connection:
            kept = "SELECT kept - days FROM invitations, calendar"
            assert connection.execute(kept).fetchone() == (29,)
        now[0] = TRUE + 730 * DAY
        storage.revoke_token("A" * 16)
        now[0] = TRUE + 2 * DAY
        for _ in range(20):
            storage.create_change(new())
        assert sorted(rows(path)) == IDS
