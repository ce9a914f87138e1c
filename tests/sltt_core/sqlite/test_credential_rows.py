"""Rows of device tokens and invitations that are not valid."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import LogDamaged
from sltt_core.sqlite.storage import LocalStorageService

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
