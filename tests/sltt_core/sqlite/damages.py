"""What somebody can do to the file by hand, and what `verify` has to find: `DAMAGES`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from sltt_core.base.runtime import Runtime
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.changes import Change
from sltt_core.sqlite import rows
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import batch, new

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sltt_core.log.findings import Finding

KEY = "key-0123456789abcdef"
LINK = "B" * 22
Place = tuple[str, int | None, int | None]
Damage = str | Callable[[sqlite3.Connection], object]


def write_template(path: Path) -> None:
    """A log of 30 changes, `p`, whose last ten have a key, and another log beside it. Every chunk has its own time."""
    milliseconds = count(1_740_000_000_000)
    with LocalStorageService(path, runtime=Runtime(clock=lambda: next(milliseconds) * 1_000_000)) as storage:
        storage.create_changes([new(f"e{place}", cid="c", change_by="Ruth", data='{"a": 1}') for place in range(15)])
        storage.create_changes(batch(5, entity_type="note", operation="update"))
        storage.create_changes(batch(10), KEY)
        storage.create_changes(batch(3, "q"), KEY)


def edit(path: Path, damage: Damage) -> None:
    """Do what somebody does by hand; the log `p` has the number 1, so that its changes' ids begin with 1 << 40."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if isinstance(damage, str):
            connection.executescript(damage.replace(":P", f"{1 << 40}"))
        else:
            damage(connection)


def soon_after() -> int:
    """A time at which no key of the template has expired."""
    return 1_740_100_000 * 10**9


def places(findings: Iterator[Finding]) -> list[Place]:
    return [(finding.kind, finding.first, finding.last) for finding in findings]


def verified(path: Path, project_id: str = "p") -> list[Place]:
    with LocalStorageService(path, runtime=Runtime(clock=soon_after)) as storage:
        return places(storage.verify(project_id=project_id))


def set_change(column: str, value: str, seq: int = 5) -> str:
    return f"UPDATE changes SET {column} = {value} WHERE id = :P + {seq}"


def with_right_links(column: str, value: object) -> Damage:
    """Alter change 5 and make all links again, the recorded one of the end with them."""

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
UNKNOWN_KEY: list[Place] = [("no-request", 21, 30), ("request", None, None)]
ORPHANS: list[Place] = [("orphan", None, None)]
END: list[Place] = [("unreadable-end", None, None)]

DAMAGES: dict[str, tuple[Damage, list[Place]]] = {
    # Numbers
    "a hole": ("DELETE FROM changes WHERE id = :P + 5", [("hole", 5, 5)]),
    "a hole at the beginning": ("DELETE FROM changes WHERE id <= :P + 3", [("hole", 1, 3)]),
    "a hole at the end": ("DELETE FROM changes WHERE id = :P + 30", [("hole", 30, 30), ("request", 21, 30)]),
    "two holes": ("DELETE FROM changes WHERE id IN (:P + 5, :P + 6, :P + 9)", [("hole", 5, 6), ("hole", 9, 9)]),
    "no changes": ("DELETE FROM changes WHERE id >> 40 = 1", [("hole", 1, 30), ("request", 21, 30)]),
    "number 0": (copy_change(":P"), [("foreign", 0, 0)]),
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
    # The names of requests
    "a request that is not recorded": ("DELETE FROM requests WHERE log = 1", [("no-request", 21, 30)]),
    "a request that no change names": ("UPDATE changes SET request_key = NULL", []),
    "a name that is not valid": (set_change("request_key", "'x'"), UNREADABLE),
    "bytes for a name": (set_change("request_key", "x'00ff'"), UNREADABLE),
    "a number for a name": (set_change("request_key", "17"), UNREADABLE),
    # The recorded end
    "value ahead": ("UPDATE logs SET value = value + 3 WHERE log = 1", [("hole", 31, 33)]),
    "value behind": ("UPDATE logs SET value = 26 WHERE log = 1", [("value-behind", 26, 30)]),
    "value before the first": ("UPDATE logs SET value = 1 WHERE log = 1", [("value-behind", 1, 30)]),
    "value is 0": ("UPDATE logs SET value = 0 WHERE log = 1", END),
    "value is beyond all numbers": ("UPDATE logs SET value = 1 << 50 WHERE log = 1", END),
    "value is a text": ("UPDATE logs SET value = 'x' WHERE log = 1", END),
    "value is bytes": ("UPDATE logs SET value = x'00' WHERE log = 1", END),
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
    "a key beyond the end": (
        "UPDATE requests SET first_seq = 100 WHERE log = 1",
        [("no-request", 21, 30), ("request", 100, 109)],
    ),
    "a key of more changes than there are": (
        "UPDATE requests SET count = 11 WHERE log = 1",
        [("no-request", 21, 30), ("request", 21, 31)],
    ),
    "a key of others' changes": (
        "UPDATE requests SET first_seq = 12 WHERE log = 1",
        [("no-request", 21, 30), ("request", 12, 21)],
    ),
    "a key beyond all numbers": (
        f"UPDATE requests SET count = {2**62} WHERE log = 1",
        UNKNOWN_KEY,
    ),
    "a key of changes that are gone": (
        "DELETE FROM changes WHERE id = :P + 25",
        [("hole", 25, 25), ("request", 21, 30)],
    ),
    "a key that is none": ("UPDATE requests SET key = 'short'", UNKNOWN_KEY),
    "bytes for a key": ("UPDATE requests SET key = CAST(key AS BLOB)", UNKNOWN_KEY),
    "a key that is no UTF-8": (
        "UPDATE requests SET key = CAST(x'ff' || key AS TEXT) WHERE log = 1",
        UNKNOWN_KEY,
    ),
    "a key with a NUL": ("UPDATE requests SET key = key || char(0) || 'x'", UNKNOWN_KEY),
    "a key that never expires": ("UPDATE requests SET expires = 'never'", UNKNOWN_KEY),
    # Rows that belong to no project
    "no log row": (
        "DELETE FROM logs WHERE log = 1",
        [("no-sequence", None, None), *ORPHANS * 3],
    ),
    "another number in the log row": (
        "UPDATE logs SET log = 7 WHERE log = 1",
        [("hole", 1, 30), *ORPHANS * 3],
    ),
    "a change of no log": (copy_change("(99 << 40) + 1"), ORPHANS),
    "a change of the last log there can be": (copy_change(f"{2**63 - 1}"), ORPHANS),
    "a change of a negative log": (copy_change("-1"), ORPHANS),
    "a count of no log": ("INSERT INTO entity_types VALUES (99, 'note', 1)", ORPHANS),
    "a project id that is none": ("UPDATE logs SET project_id = 'q/' WHERE log = 2", ORPHANS),
    "bytes for a project id": ("UPDATE logs SET project_id = x'71' WHERE log = 2", ORPHANS),
    "a log number that is too large": (
        f"UPDATE logs SET log = {2**23} WHERE log = 2",
        ORPHANS * 4,
    ),
}
