"""All SQL of the log. Each function takes a connection that is in a transaction."""

from __future__ import annotations

from collections import Counter

from sltt_core.base.errors import LogDamaged, StorageError
from sltt_core.log.batches import KEY_DAYS, StoredChunk
from sltt_core.log.pages import EMPTY_LOG, ChangeStats, Head, contiguous_run
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import Change
from sltt_core.model.fields import COLUMNS, FIELDS, MAX_SEQ, is_link
from sltt_core.model.grants import MEMBER, ROLES, Member, Members, granted_role
from sltt_core.model.stored import sound
from sltt_core.sqlite.schema import MAX_LOG, SEQ_BITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from sqlite3 import Connection

    from sltt_core.log.batches import Chunk
    from sltt_core.log.pages import Run
    from sltt_core.log.requests import NamedRequest

MAX_TERMS = 500
"""Values in one SQL statement; older versions of SQLite accept 999."""
NAMES = {field.name: field.name for field in FIELDS}
"""The column of each field of a change."""

CHANGE = f"? AS project_id, id & {(1 << SEQ_BITS) - 1}, {', '.join(COLUMNS)}"
"""The columns of a `Change`; the project id is a parameter."""

BAD_PROJECT_ID = """(
    typeof(project_id) <> 'text' OR length(CAST(project_id AS BLOB)) NOT BETWEEN 1 AND 128
    OR length(project_id) <> length(CAST(project_id AS BLOB)) OR project_id GLOB '*[^A-Za-z0-9._~@:+-]*'
    OR project_id NOT GLOB '[A-Za-z0-9]*'
)"""
"""The condition that a row of the table `logs` has a project id that is not valid: somebody edited it."""


# Reading


def find_log(connection: Connection, project_id: str) -> tuple[int, Head] | None:
    """Return the number of a project's log, and the log's end; raises `LogDamaged` when the row is not valid."""
    row = connection.execute("SELECT log, value, chain FROM logs WHERE project_id = ?", (project_id,)).fetchone()
    if row is None:
        return None
    log, value, chain = row
    # A greater number would lead to another project's changes: SQLite drops the bits that have no room.
    if not 0 <= log <= MAX_LOG:
        raise _not_valid(project_id, "logs")
    return log, _head(project_id, value, chain)


def find_change(connection: Connection, project_id: str, seq: int) -> Change | None:
    """Return one change."""
    found = find_log(connection, project_id)
    if found is None:
        return None
    row = connection.execute(
        f"SELECT {CHANGE} FROM changes WHERE id = ?", (project_id, (found[0] << SEQ_BITS) + seq)
    ).fetchone()
    return None if row is None else _change_of(row)


def find_cids(connection: Connection, project_id: str, cids: Sequence[str]) -> set[str]:
    """Return those of these cids that the log of a project has. Reads the whole log."""
    found = find_log(connection, project_id)
    if found is None:
        return set()
    log, head = found
    present: set[str] = set()
    for start in range(0, len(cids), MAX_TERMS):
        some = cids[start : start + MAX_TERMS]
        rows = connection.execute(
            f"SELECT cid FROM changes WHERE id BETWEEN ? AND ? AND cid IN ({','.join('?' * len(some))})",
            ((log << SEQ_BITS) + 1, (log << SEQ_BITS) + head.seq, *some),
        )
        present.update(cid for (cid,) in rows)
    return present


def find_run(
    connection: Connection, log: int, end: int, project_id: str, cursor: int, limit: int, max_bytes: int
) -> Run:
    """Return the run after a cursor that lies before the log's end."""
    base = log << SEQ_BITS
    # The change at the cursor is read with those after it, for its link.
    rows = map(
        _change_of,
        connection.execute(
            f"SELECT {CHANGE} FROM changes WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?",
            (project_id, base + max(cursor, 1), base + end, limit + (cursor > 0)),
        ),
    )
    known: str | None = GENESIS
    first: list[Change] = []
    if cursor > 0:
        first = [change for change in (next(rows, None),) if change is not None]
        known = None
        if first and first[0].seq == cursor:
            known = first.pop().chain
    return end, known, tuple(contiguous_run((*first, *rows), cursor, max_bytes))


def find_request(connection: Connection, log: int, key: str, number: int) -> StoredChunk | None:
    """Return what a chunk of this key and number wrote."""
    row = connection.execute(
        "SELECT first_seq, count, fingerprint, NULL, offset FROM requests WHERE log = ? AND key = ? AND number = ?",
        (log, key, number),
    ).fetchone()
    if row is None:
        return None
    first, count, fingerprint, _, offset = row
    if not (
        type(first) is type(count) is type(offset) is int
        and 1 <= first <= MAX_SEQ
        and 1 <= count <= MAX_SEQ
        and 0 <= offset <= MAX_SEQ
        and type(fingerprint) is str
        and len(fingerprint) == 64
    ):
        raise LogDamaged(f"chunk {number} of the idempotency key {key} is not valid in the table requests")
    return StoredChunk.of(row)


def find_members(connection: Connection, project_id: str) -> Members:
    """Return the members of a project; raises `LogDamaged` when a row is not valid."""
    rows = connection.execute("SELECT principal, role, since FROM members WHERE project_id = ?", (project_id,))
    roles = {}
    for principal, role, since in rows:
        if role not in ROLES or type(principal) is not str or type(since) is not int:
            raise LogDamaged(f"a row of project {project_id} in the table members is not valid")
        roles[principal] = Member(role, since)
    return Members(roles)


def find_projects_of(connection: Connection, principal: str, after: str | None, limit: int) -> list[str]:
    """Return the projects in which a principal has a role, in order, after the given one."""
    rows = connection.execute(
        "SELECT project_id FROM members WHERE principal = ? AND project_id > ? AND role <> 'none' "
        "ORDER BY project_id LIMIT ?",
        (principal, after or "", limit),
    )
    return [project_id for (project_id,) in rows]


def find_ends(connection: Connection, project_ids: Sequence[str]) -> dict[str, Head]:
    """Return the end of the log of each of these projects that has changes."""
    ends: dict[str, Head] = {}
    for start in range(0, len(project_ids), MAX_TERMS):
        some = project_ids[start : start + MAX_TERMS]
        marks = ",".join("?" * len(some))
        found = connection.execute(f"SELECT project_id, value, chain FROM logs WHERE project_id IN ({marks})", some)
        ends.update((project_id, _head(project_id, value, chain)) for project_id, value, chain in found)
    return ends


def find_projects(connection: Connection, after: str | None, limit: int) -> list[str]:
    """Return ids of projects with changes, in order, after the given one."""
    rows = connection.execute(
        f"SELECT project_id FROM logs WHERE project_id > ? AND NOT {BAD_PROJECT_ID} ORDER BY project_id LIMIT ?",
        (after or "", limit),
    )
    return [project_id for (project_id,) in rows]


def count_operations(connection: Connection, project_id: str) -> tuple[ChangeStats, Head]:
    """Return the counts by operation, and the end of the log."""
    row = connection.execute(
        "SELECT value, chain, creates, updates, deletes FROM logs WHERE project_id = ?", (project_id,)
    ).fetchone()
    if row is None:
        return ChangeStats(0, 0, 0, 0), EMPTY_LOG
    value, chain, *counts = row
    if not all(map(_is_count, counts)):
        raise _not_valid(project_id, "logs")
    head = _head(project_id, value, chain)
    return ChangeStats(head.seq, *counts), head


def count_types(connection: Connection, project_id: str) -> dict[str, int]:
    """Return the counts by entity type, in the types' order."""
    rows = connection.execute(
        "SELECT entity_type, total FROM entity_types WHERE log = "
        "(SELECT log FROM logs WHERE project_id = ?) ORDER BY entity_type",
        (project_id,),
    )
    types = dict(rows.fetchall())
    if not all(type(name) is str and _is_count(total) for name, total in types.items()):
        raise _not_valid(project_id, "entity_types")
    return types


def _change_of(row: tuple[object, ...]) -> Change:
    return sound(Change.of(row), NAMES)


def _head(project_id: str, value: object, chain: object) -> Head:
    """Return the end of a log from its columns `value` and `chain`."""
    if type(value) is not int or not 1 <= value <= MAX_SEQ + 1 or type(chain) is not str or not is_link(chain):
        raise _not_valid(project_id, "logs")
    return Head(value - 1, chain)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _not_valid(project_id: str, table: str) -> LogDamaged:
    return LogDamaged(f"the row of project {project_id} in the table {table} is not valid")


def known_types(connection: Connection, log: int | None, types: Iterable[str]) -> set[str]:
    """Return those of these entity types that a log has already."""
    wanted = list(types)
    rows = connection.execute(
        f"SELECT entity_type FROM entity_types WHERE log = ? AND entity_type IN ({','.join('?' * len(wanted))})",
        (log, *wanted),
    )
    return {entity_type for (entity_type,) in rows}


def all_types(connection: Connection, log: int | None) -> set[str]:
    """Return all entity types of a log; a damaged row may hold another kind of value."""
    rows = connection.execute(
        "SELECT entity_type FROM entity_types WHERE log = ? AND typeof(entity_type) = 'text'", (log,)
    )
    return {entity_type for (entity_type,) in rows}


# Writing


def insert_log(connection: Connection, project_id: str) -> int:
    """Begin the log of a project and return its number; raises `StorageError` when the file has no number left."""
    inserted = connection.execute("INSERT INTO logs (project_id, value, chain) VALUES (?, 1, ?)", (project_id, GENESIS))
    log = inserted.lastrowid or 0
    if not 0 < log <= MAX_LOG:
        raise StorageError(
            f"the file has room for {MAX_LOG:,} projects, and holds as many", hint="Use another file for new projects."
        )
    return log


def insert_changes(connection: Connection, log: int, changes: Sequence[Change]) -> None:
    """Write consecutive changes to the end of a log, with the log's end, its counts and its members."""
    if changes[-1].seq > MAX_SEQ:
        raise StorageError(
            f"the log of project {changes[0].project_id} has room for {MAX_SEQ:,} changes, and holds as many",
            hint="Use another project for new changes.",
        )
    base = log << SEQ_BITS
    connection.executemany(
        f"INSERT INTO changes (id, {', '.join(COLUMNS)}) VALUES (?{', ?' * len(COLUMNS)})",
        ((base + change.seq, *change.as_tuple()[2:]) for change in changes),
    )
    operations = Counter(change.operation for change in changes)
    updated = connection.execute(
        "UPDATE logs SET value = ?, chain = ?, creates = creates + ?, updates = updates + ?, deletes = deletes + ? "
        "WHERE log = ? AND typeof(creates) || typeof(updates) || typeof(deletes) = 'integerintegerinteger'",
        (
            changes[-1].seq + 1,
            changes[-1].chain,
            operations["create"],
            operations["update"],
            operations["delete"],
            log,
        ),
    )
    if updated.rowcount != 1:
        raise _not_valid(changes[0].project_id, "logs")
    types = Counter(change.entity_type for change in changes)
    counted = connection.executemany(
        "INSERT INTO entity_types (log, entity_type, total) VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET total = total + excluded.total WHERE typeof(total) = 'integer'",
        ((log, entity_type, count) for entity_type, count in types.items()),
    )
    if counted.rowcount != len(types):
        raise _not_valid(changes[0].project_id, "entity_types")
    if MEMBER in types:
        granted = [(c.project_id, c.entity_id, role, c.seq) for c in changes if (role := granted_role(c)) is not None]
        connection.executemany("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)", granted)


def insert_request(connection: Connection, log: int, chunk: Chunk, first_seq: int) -> None:
    """Remember what an idempotency key wrote, for `KEY_DAYS` days of use (`count_day`)."""
    connection.execute(
        f"INSERT {_REQUEST}",
        (log, chunk.key, chunk.number, chunk.offset, first_seq, len(chunk.changes), chunk.fingerprint, KEY_DAYS),
    )


def replace_request(connection: Connection, log: int, request: NamedRequest, seconds: float) -> None:
    """Remember what an idempotency key wrote, as a change names it, for so many seconds, in whole days of use."""
    stored = request.stored
    days = min(KEY_DAYS, -int(-seconds // _DAY))
    connection.execute(
        f"INSERT OR REPLACE {_REQUEST}",
        (log, request.key, request.number, stored.offset, stored.first_seq, stored.count, stored.fingerprint, days),
    )


_DAY = 86_400
"""Seconds."""
_REQUEST = (
    "INTO requests (log, key, number, offset, first_seq, count, fingerprint, expires) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT days FROM calendar) + ?)"
)


def mark_change(connection: Connection, project_id: str, seq: int, outdated_by: int) -> None:
    """Note that a later change made this one obsolete; the latest of several such notes stays."""
    found = find_log(connection, project_id)
    if found is not None:
        connection.execute(
            "UPDATE changes SET outdated_by = max(coalesce(outdated_by, 0), ?) WHERE id = ?",
            (outdated_by, (found[0] << SEQ_BITS) + seq),
        )


def count_day(connection: Connection, day: int) -> bool:
    """Count a day of use when `day`, in days since 1970, is later than every day before; then forget old keys.

    Return whether it was. However far a clock jumps, and however often it returns, the jump counts as one day.
    """
    counted = connection.execute("UPDATE calendar SET last_day = ?, days = days + 1 WHERE last_day < ?", (day, day))
    if counted.rowcount > 0:
        connection.execute("DELETE FROM requests WHERE expires < (SELECT days FROM calendar)")
    return counted.rowcount > 0
