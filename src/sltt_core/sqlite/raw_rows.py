"""The SQL of `verify` and `repair`: rows as they are in the file, whatever their types, and rows that belong nowhere.

SQLite keeps a value of any type in any column, so a row that was written by hand may hold anything.
"""

from __future__ import annotations

from contextlib import contextmanager

from sltt_core.base.errors import LogDamaged
from sltt_core.base.record import Record
from sltt_core.model.changes import Change
from sltt_core.model.fields import COLUMNS, MAX_SEQ, OPERATIONS
from sltt_core.sqlite.rows import BAD_PROJECT_ID, CHANGE, find_members
from sltt_core.sqlite.schema import MAX_LOG, SEQ_BITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection
    from typing import Any

    from sltt_core.log.repairs import Rebuilt
    from sltt_core.model.grants import Members

_REQUEST_RULES = {
    "key": "typeof(key) = 'text' AND length(CAST(key AS BLOB)) BETWEEN 16 AND 128 "
    "AND length(key) = length(CAST(key AS BLOB)) AND key NOT GLOB '*[^A-Za-z0-9._:-]*'",
    "number": f"typeof(number) = 'integer' AND number BETWEEN 0 AND {MAX_SEQ}",
    "offset": f"typeof(offset) = 'integer' AND offset BETWEEN 0 AND {MAX_SEQ}",
    "first_seq": f"typeof(first_seq) = 'integer' AND first_seq BETWEEN 1 AND {MAX_SEQ}",
    "count": f"typeof(count) = 'integer' AND count BETWEEN 1 AND {MAX_SEQ}",
    "fingerprint": "typeof(fingerprint) = 'text' AND length(fingerprint) = 64",
    "expires": "typeof(expires) = 'integer'",
}
"""For each column of the table `requests`: the condition that it keeps."""
_BAD_REQUEST = f"(NOT ({' AND '.join(_REQUEST_RULES.values())}))"
_CASES = " ".join(f"WHEN NOT ({rule}) THEN '{name}'" for name, rule in _REQUEST_RULES.items())
_BAD_COLUMN = f"CASE {_CASES} END"

# Jumps from each log's changes to the next log's, without a look at the changes between.
_LOGS_OF_CHANGES = f"""
WITH RECURSIVE found (log) AS (
    SELECT min(id) >> {SEQ_BITS} FROM changes
    UNION ALL
    SELECT (SELECT min(id) >> {SEQ_BITS} FROM changes WHERE id > (found.log << {SEQ_BITS} | {MAX_SEQ}))
    FROM found WHERE found.log IS NOT NULL
)
SELECT log FROM found WHERE log IS NOT NULL"""

_ORPHANS = {
    "changes": f"SELECT log FROM ({_LOGS_OF_CHANGES}) WHERE log NOT IN (SELECT log FROM logs) LIMIT ?",
    "entity_types": "SELECT DISTINCT log FROM entity_types WHERE log NOT IN (SELECT log FROM logs) LIMIT ?",
    "requests": "SELECT DISTINCT log FROM requests WHERE log NOT IN (SELECT log FROM logs) LIMIT ?",
    "logs": f"SELECT log FROM logs WHERE log NOT BETWEEN 0 AND {MAX_LOG} OR {BAD_PROJECT_ID} LIMIT ?",
    "members": f"SELECT DISTINCT project_id FROM members WHERE {BAD_PROJECT_ID} LIMIT ?",
}


@contextmanager
def any_text(connection: Connection) -> Iterator[None]:
    """Read texts that are not UTF-8, too: a byte that is wrong becomes half of a surrogate pair."""
    connection.text_factory = lambda octets: octets.decode(errors="surrogateescape")
    try:
        yield
    finally:
        connection.text_factory = str


class LogRow(Record):
    """What the tables `logs` and `entity_types` hold about a log. The values may be of any type."""

    log: int
    """The log's number in the file."""
    value: Any
    """The next sequence number."""
    chain: Any
    operations: dict[str, Any]
    types: dict[Any, Any]


def is_value(value: object) -> bool:
    """Return whether a value of the column `logs.value` is valid."""
    return type(value) is int and 1 <= value <= MAX_SEQ + 1


def find_end(connection: Connection, project_id: str) -> LogRow | None:
    """Return what is recorded about a project's log; nothing for a number that `changes.id` has no room for."""
    row = connection.execute(
        f"SELECT log, value, chain, creates, updates, deletes FROM logs "
        f"WHERE project_id = ? AND log BETWEEN 0 AND {MAX_LOG}",
        (project_id,),
    ).fetchone()
    if row is None:
        return None
    log, value, chain, *counts = row
    types = connection.execute("SELECT entity_type, total FROM entity_types WHERE log = ?", (log,))
    return LogRow(log, value, chain, dict(zip(OPERATIONS, counts, strict=True)), dict(types.fetchall()))


def find_changes(connection: Connection, log: int, project_id: str, seq: int, limit: int = -1) -> Iterator[Change]:
    """Read the changes of a log from a number on, in order, one at a time; -1 means all."""
    base = log << SEQ_BITS
    rows = connection.execute(
        f"SELECT {CHANGE} FROM changes WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
        (project_id, base + seq, base + MAX_SEQ, limit),
    )
    return map(Change.of, rows)


def find_requests(
    connection: Connection, log: int, after: tuple[str, int], limit: int
) -> list[tuple[str, int, int, int]]:
    """Return key, number, first sequence number and count of the requests after a key and number, in order."""
    return connection.execute(
        "SELECT key, number, first_seq, count FROM requests "
        f"WHERE log = ? AND (key, number) > (?, ?) AND NOT {_BAD_REQUEST} ORDER BY key, number LIMIT ?",
        (log, *after, limit),
    ).fetchall()


def find_request(connection: Connection, log: int, key: str, number: int) -> tuple[int, int] | None:
    """Return first sequence number and count of a request; `None` if there is none, or if it breaks a rule."""
    found: tuple[int, int] | None = connection.execute(
        f"SELECT first_seq, count FROM requests WHERE log = ? AND key = ? AND number = ? AND NOT {_BAD_REQUEST}",
        (log, key, number),
    ).fetchone()
    return found


def find_bad_requests(connection: Connection, log: int, limit: int) -> list[tuple[str, str, str | None]]:
    """Return the requests that break a rule of the format: the key as an SQL literal, the column, and a valid key."""
    return connection.execute(
        f"SELECT quote(key), {_BAD_COLUMN}, CASE WHEN {_REQUEST_RULES['key']} THEN key END FROM requests "
        f"WHERE log = ? AND {_BAD_REQUEST} LIMIT ?",
        (log, limit),
    ).fetchall()


def delete_bad_requests(connection: Connection, log: int) -> int:
    """Delete the requests that break a rule of the format; return how many."""
    return connection.execute(f"DELETE FROM requests WHERE log = ? AND {_BAD_REQUEST}", (log,)).rowcount


def delete_request(connection: Connection, log: int, key: str, number: int) -> int:
    """Delete a request; return how many were deleted."""
    return connection.execute(
        "DELETE FROM requests WHERE log = ? AND key = ? AND number = ?", (log, key, number)
    ).rowcount


def set_link(connection: Connection, log: int, change: Change) -> None:
    """Replace the link of a change."""
    connection.execute("UPDATE changes SET chain = ? WHERE id = ?", (change.chain, (log << SEQ_BITS) + change.seq))


def put_change(connection: Connection, log: int, change: Change) -> None:
    """Write a change into a hole."""
    connection.execute(
        f"INSERT INTO changes (id, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})",
        ((log << SEQ_BITS) + change.seq, *change.as_tuple()[2:]),
    )


def set_end(connection: Connection, log: int, project_id: str, end: Rebuilt) -> None:
    """Write what the tables `logs` and `entity_types` record about a log."""
    connection.execute(
        "INSERT INTO logs (log, project_id, value, chain, creates, updates, deletes) VALUES (?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (log) DO UPDATE SET value = excluded.value, chain = excluded.chain, creates = excluded.creates, "
        "updates = excluded.updates, deletes = excluded.deletes",
        (log, project_id, end.seq + 1, end.link, *(end.operations[name] for name in OPERATIONS)),
    )
    connection.execute("DELETE FROM entity_types WHERE log = ?", (log,))
    connection.executemany(
        "INSERT INTO entity_types (log, entity_type, total) VALUES (?, ?, ?)",
        ((log, entity_type, total) for entity_type, total in end.types.items()),
    )


def read_members(connection: Connection, project_id: str) -> Members | None:
    """Return the recorded members of a project; `None` if a row is not valid."""
    try:
        return find_members(connection, project_id)
    except LogDamaged:
        return None


def set_members(connection: Connection, project_id: str, members: Members) -> None:
    """Write the members of a project in place of those that are recorded."""
    connection.execute("DELETE FROM members WHERE project_id = ?", (project_id,))
    connection.executemany(
        "INSERT INTO members VALUES (?, ?, ?, ?)",
        ((project_id, principal, member.role, member.since) for principal, member in members.roles.items()),
    )


def wrote_together(connection: Connection, log: int, first: int, count: int) -> bool:
    """Return whether `count` changes exist from a number on, all of them written at the same time."""
    last = first + count - 1
    if last > MAX_SEQ:
        return False
    base = log << SEQ_BITS
    found, at_once = connection.execute(
        "SELECT count(*), min(cloud_at) = max(cloud_at) FROM changes WHERE id BETWEEN ? AND ?",
        (base + first, base + last),
    ).fetchone()
    return found == count and bool(at_once)


def find_orphans(connection: Connection, table: str, limit: int) -> list[object]:
    """Return the logs' numbers in a table's rows that belong to no project; of the table `members`, the project ids."""
    return [log for (log,) in connection.execute(_ORPHANS[table], (limit,))]
