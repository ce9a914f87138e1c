"""The ends of logs that a server no longer has: how they are set aside, and what of them is sent to it again.

All SQL of this module is given a connection that is in a transaction.
"""

from __future__ import annotations

from collections import Counter

from sltt_core.base.record import Record
from sltt_core.log.batches import CHUNK_CHANGES
from sltt_core.log.pages import EMPTY_LOG, Head
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import Change
from sltt_core.model.fields import COLUMNS, TOMBSTONE
from sltt_core.model.grants import MEMBER, RESERVED, granted_role
from sltt_core.sqlite import rows
from sltt_core.sqlite.schema import SEQ_BITS
from sltt_core.sync.outsyncs import MAX_BATCH_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection


class Fork(Record):
    """A number after which a server went on with another history."""

    fork: int
    """Its number on the device."""
    project_id: str
    seq: int
    """The last number that both histories share."""


class Chunk(Record):
    """Lost changes to send in one request."""

    changes: tuple[Change, ...]
    key: str
    """The idempotency key, the same on every device that lost the same: `resync:` and the link of the last change."""


def set_aside(connection: Connection, project_id: str, seq: int) -> int | None:
    """Move the changes of a project after `seq` out of its log; return the number of the fork; `None` if none is."""
    found = rows.find_log(connection, project_id)
    log, head = (0, EMPTY_LOG) if found is None else found
    if seq >= head.seq:
        return None
    inserted = connection.execute("INSERT INTO forks (project_id, seq, settled) VALUES (?, ?, 0)", (project_id, seq))
    fork = inserted.lastrowid or 0
    part = ((log << SEQ_BITS) + seq + 1, (log << SEQ_BITS) + head.seq)
    columns = ", ".join(COLUMNS)
    connection.execute(
        f"INSERT INTO lost (id, {columns}) SELECT id + ?, {columns} FROM changes WHERE id BETWEEN ? AND ?",
        ((fork - log) << SEQ_BITS, *part),
    )
    connection.execute("DELETE FROM changes WHERE id BETWEEN ? AND ?", part)
    _count_again(connection, log, project_id, seq)
    return fork


def unsettled(connection: Connection, project_id: str) -> list[Fork]:
    """Return the lost ends of a project that the server may lack, the latest first."""
    found = connection.execute(
        "SELECT fork, project_id, seq FROM forks WHERE project_id = ? AND settled = 0 ORDER BY fork DESC",
        (project_id,),
    )
    return [Fork.of(row) for row in found]


def missing_chunks(connection: Connection, fork: Fork) -> list[Chunk]:
    """Return the changes of a lost end that the log of the project lacks, in chunks.

    The chunks begin at the fork, so every device that lost the same sends the same. Grants and tombstones are left out:
    only a server writes them.
    """
    there = {_name(change) for change in _changes(connection, fork.project_id, fork.seq)}
    chunks = []
    for chunk in _cut(_lost(connection, fork)):
        missing = [change for change in chunk if _name(change) not in there and not _is_of_server(change)]
        if missing:
            key = f"resync:{missing[-1].chain}"
            if len(missing) < len(chunk):  # not the whole chunk: its key may be used up
                key += f":{len(missing)}:{missing[0].chain}"
            chunks.append(Chunk(tuple(missing), key))
    return chunks


def delete_logs(connection: Connection, project_id: str) -> None:
    """Delete the log of a project, and all that was set aside of it."""
    for (fork,) in connection.execute("SELECT fork FROM forks WHERE project_id = ?", (project_id,)).fetchall():
        connection.execute("DELETE FROM lost WHERE id BETWEEN ? AND ?", (fork << SEQ_BITS, (fork + 1 << SEQ_BITS) - 1))
    connection.execute("DELETE FROM forks WHERE project_id = ?", (project_id,))
    found = rows.find_log(connection, project_id)
    if found is not None:
        log, head = found
        first = log << SEQ_BITS
        connection.execute("DELETE FROM changes WHERE id BETWEEN ? AND ?", (first, first + head.seq))
        connection.execute("DELETE FROM entity_types WHERE log = ?", (log,))
        connection.execute("DELETE FROM logs WHERE log = ?", (log,))
    connection.execute("DELETE FROM members WHERE project_id = ?", (project_id,))


def _count_again(connection: Connection, log: int, project_id: str, seq: int) -> None:
    """Write the end, the counts and the members of a log that ends at `seq` now."""
    base = log << SEQ_BITS
    part = (base + 1, base + seq)
    row = connection.execute("SELECT chain FROM changes WHERE id = ?", (base + seq,)).fetchone()
    head = Head(seq, GENESIS if row is None else row[0])
    operations = Counter(
        dict(
            connection.execute(
                "SELECT operation, count(*) FROM changes WHERE id BETWEEN ? AND ? GROUP BY operation", part
            ).fetchall()
        )
    )
    connection.execute(
        "UPDATE logs SET value = ?, chain = ?, creates = ?, updates = ?, deletes = ? WHERE log = ?",
        (head.seq + 1, head.chain, operations["create"], operations["update"], operations["delete"], log),
    )
    connection.execute("DELETE FROM entity_types WHERE log = ?", (log,))
    connection.execute(
        "INSERT INTO entity_types SELECT ?, entity_type, count(*) FROM changes WHERE id BETWEEN ? AND ? "
        "GROUP BY entity_type",
        (log, *part),
    )
    connection.execute("DELETE FROM members WHERE project_id = ?", (project_id,))
    grants = (change for change in _changes(connection, project_id, 0) if change.entity_type == MEMBER)
    granted = [(project_id, c.entity_id, role, c.seq) for c in grants if (role := granted_role(c)) is not None]
    connection.executemany("INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?)", granted)


def _changes(connection: Connection, project_id: str, after: int) -> Iterator[Change]:
    found = rows.find_log(connection, project_id)
    if found is None:
        return iter(())
    return _rows(connection, "changes", found[0], project_id, after)


def _lost(connection: Connection, fork: Fork) -> Iterator[Change]:
    return _rows(connection, "lost", fork.fork, fork.project_id, fork.seq)


def _rows(connection: Connection, table: str, number: int, project_id: str, after: int) -> Iterator[Change]:
    base = number << SEQ_BITS
    found = connection.execute(
        f"SELECT {rows.CHANGE} FROM {table} WHERE id BETWEEN ? AND ? ORDER BY id",
        (project_id, base + after + 1, base + (1 << SEQ_BITS) - 1),
    )
    return map(Change.of, found)


def _cut(changes: Iterator[Change]) -> Iterator[list[Change]]:
    chunk: list[Change] = []
    size = 0
    for change in changes:
        length = len(change.to_json().encode())
        if chunk and (len(chunk) == CHUNK_CHANGES or size + length > MAX_BATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(change)
        size += length
    if chunk:
        yield chunk


def _name(change: Change) -> tuple[str | None, ...]:
    """Return what a change is recognized by in another history: its content, without who made it."""
    return (
        change.cid,
        change.entity_type,
        change.entity_id,
        change.operation,
        change.timestamp,
        change.data_json,
    )


def _is_of_server(change: Change) -> bool:
    return change.operation == TOMBSTONE or change.entity_type.startswith(RESERVED)
