"""All SQL of the outbox. Each function takes a connection that is in a transaction."""

from __future__ import annotations

from sltt_core.base.errors import NotFound
from sltt_core.sync.outsyncs import (
    BLOCKING,
    FROZEN,
    HELD,
    MAX_UNIT,
    REJECTED,
    SENT,
    WAITING,
    WITHHELD,
    Batch,
    Outsync,
    problem_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from sqlite3 import Connection

    from sltt_core.model.changes import Change

_COLUMNS = ", ".join("problem" if name == "problem_json" else name for name in Outsync.fields)
_SELECT = f"SELECT {_COLUMNS} FROM outsyncs"
_MARKS = ", ".join("?" * len(Outsync.fields))
_TERMS = 500
"""Values in one SQL statement; older versions of SQLite accept 999."""
UNKNOWN = 2**62
"""In place of the number of a sent edit, while the log is read again after a fork: it may have another number now."""


# Reading


def last_local(connection: Connection) -> int:
    """Return the last local number that was ever given out and committed."""
    return _last_number(connection, "outsyncs")


def find(connection: Connection, cid: str) -> Outsync:
    """Return the edit with a cid; raises `NotFound`."""
    row = connection.execute(f"{_SELECT} WHERE cid = ?", (cid,)).fetchone()
    if row is None:
        raise NotFound(f"the outbox has no edit {cid}")
    return Outsync.of(row)


def listed(
    connection: Connection, project_id: str | None, states: Collection[str], after: int = 0, limit: int = -1
) -> list[Outsync]:
    """Return the edits of a project, or of all, in these states, in the order in which they were made."""
    where = f"state IN ({', '.join('?' * len(states))}) AND local > ?"
    parameters: tuple[object, ...] = (*states, after)
    if project_id is not None:
        where, parameters = f"project_id = ? AND {where}", (project_id, *parameters)
    rows = connection.execute(f"{_SELECT} WHERE {where} ORDER BY unit, local LIMIT ?", (*parameters, limit))
    return [Outsync.of(row) for row in rows]


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the number of edits by project and state."""
    rows = connection.execute("SELECT project_id, state, count(*) FROM outsyncs GROUP BY 1, 2")
    return {(project_id, state): count for project_id, state, count in rows}


def last_sent(connection: Connection, project_id: str) -> int | None:
    """Return the highest number of the edits that were sent and did not come back yet; `None` if there are none."""
    (seq,) = connection.execute(
        f"SELECT max(seq) FROM outsyncs WHERE project_id = ? AND state = '{SENT}' AND seq < {UNKNOWN}", (project_id,)
    ).fetchone()
    return None if seq is None else int(seq)


def in_batch(connection: Connection, batch: int) -> list[Outsync]:
    """Return the edits of a batch, in the order of its body."""
    return [Outsync.of(row) for row in connection.execute(f"{_SELECT} WHERE batch = ? ORDER BY unit, local", (batch,))]


def batches(connection: Connection, project_id: str) -> list[Batch]:
    """Return the batches of a project, in the order in which they were frozen."""
    rows = connection.execute(
        f"SELECT {', '.join(Batch.fields)} FROM batches WHERE project_id = ? ORDER BY batch", (project_id,)
    )
    return [Batch.of(row) for row in rows]


# Writing


def insert_unit(connection: Connection, unit: Sequence[Outsync]) -> None:
    """Store the edits of a unit. They are held if an edit of the same entity is, or is to be decided on by a person."""
    blocker = _blocker_of(connection, unit)
    if blocker is not None:
        state, problem = _held_by(blocker)
        unit = [edit.replace(state=state, problem_json=problem) for edit in unit]
    connection.executemany(
        f"INSERT INTO outsyncs ({_COLUMNS}) VALUES ({_MARKS})", [outsync.as_tuple() for outsync in unit]
    )


def freeze(connection: Connection, project_id: str, principal: str, max_bytes: int, author: str | None) -> Batch | None:
    """Freeze the first waiting units of a project into a batch, whole, and return it; `None` if none can be sent.

    It has at most `MAX_UNIT` edits and `max_bytes` bytes, but at least one unit. `author` limits it to the edits of one
    user, for a server that signs each change with the login of its sender.
    """
    # Read as far as needed. A limit could cut a unit.
    rows = connection.execute(
        f"{_SELECT} WHERE project_id = ? AND state = ? ORDER BY unit, local", (project_id, WAITING)
    )
    chosen: list[Outsync] = []
    size = 2
    # A later edit of an entity does not overtake one in a batch of another login.
    others = {_entity(edit) for edit in listed(connection, project_id, (FROZEN,))}
    for unit in _units(Outsync.of(row) for row in rows):
        entities = {_entity(edit) for edit in unit}
        if entities & others or (author is not None and any(edit.change_by not in (None, author) for edit in unit)):
            others |= entities
            continue
        length = sum(len(edit.to_json().encode()) + 1 for edit in unit)
        if chosen and (len(chosen) + len(unit) > MAX_UNIT or size + length > max_bytes):
            break
        chosen += unit
        size += length
    if not chosen:
        return None
    body = f"[{','.join(edit.to_json() for edit in chosen)}]".encode()
    # A copied store makes the same key of the same edits, so they are not stored twice. With other edits it is refused.
    number = 1 + _last_number(connection, "batches")
    key = f"{chosen[0].cid}:{number}"
    connection.execute(
        "INSERT INTO batches (batch, project_id, key, principal, body) VALUES (?, ?, ?, ?, ?)",
        (number, project_id, key, principal, body),
    )
    _set(connection, [edit.local for edit in chosen], f"state = '{FROZEN}', batch = {number}")
    return Batch(number, project_id, key, principal, body, 0)


def count_try(connection: Connection, batch: int) -> None:
    """Note that a batch is about to be sent."""
    connection.execute("UPDATE batches SET tries = tries + 1 WHERE batch = ?", (batch,))


def accept(connection: Connection, batch: int, seqs: Sequence[int]) -> list[Outsync]:
    """Note the numbers that the server gave to the edits of a batch, and delete the batch.

    They stay in the outbox until a page brings them back, except for those that a page brought before the response.
    """
    edits = in_batch(connection, batch)
    connection.executemany(
        f"UPDATE outsyncs SET state = '{SENT}', batch = NULL, seq = ? WHERE local = ?",
        [(seq, edit.local) for seq, edit in zip(seqs, edits, strict=True)],
    )
    _drop(connection, [edit.local for seq, edit in zip(seqs, edits, strict=True) if edit.seq == seq])
    _delete_batch(connection, batch)
    return edits


def thaw(connection: Connection, batch: int) -> None:
    """Let the edits of a batch wait again, and delete the batch. The server must have refused all of it.

    Edits that a page brought back are done: another copy of the store has sent them, or another device after a restore.
    """
    connection.execute("DELETE FROM outsyncs WHERE batch = ? AND seq IS NOT NULL", (batch,))
    connection.execute(f"UPDATE outsyncs SET state = '{WAITING}', batch = NULL WHERE batch = ?", (batch,))
    _delete_batch(connection, batch)


def refuse(connection: Connection, batch: int, problems: Mapping[int, str]) -> list[Outsync]:
    """Note that the server refused edits of a batch, by their index in it; return them.

    The rest of their units, and later edits of the same entities, are held. All others wait again.
    """
    edits = in_batch(connection, batch)
    thaw(connection, batch)
    refused = [index for index in sorted(problems) if edits[index].seq is None]
    connection.executemany(
        f"UPDATE outsyncs SET state = '{REJECTED}', problem = ? WHERE local = ?",
        [(problems[index], edits[index].local) for index in refused],
    )
    if edits:
        hold(connection, edits[0].project_id)
    return [edits[index] for index in refused]


def hold(connection: Connection, project_id: str) -> None:
    """Hold the waiting edits that must not overtake one that a person decides on, and free those that need not wait."""
    blocked = connection.execute(
        f"SELECT 1 FROM outsyncs WHERE project_id = ? AND state IN ('{REJECTED}', '{WITHHELD}', '{HELD}') LIMIT 1",
        (project_id,),
    ).fetchone()
    if blocked is None:
        return
    blocker: dict[tuple[str, str], str] = {}
    held: list[tuple[str | None, str | None, int]] = []
    undecided = listed(connection, project_id, (WAITING, HELD, *BLOCKING))
    for unit in _units(undecided):
        cause = next((edit.cid for edit in unit if edit.state in BLOCKING), None)
        if cause is None:
            cause = next((found for edit in unit if (found := blocker.get(_entity(edit))) is not None), None)
        for edit in unit:
            if cause is not None:
                blocker.setdefault(_entity(edit), cause)
            if edit.state not in BLOCKING:
                held.append((*_held_by(cause), edit.local))
    connection.executemany("UPDATE outsyncs SET state = ?, problem = ? WHERE local = ?", held)


def replace(connection: Connection, edit: Outsync) -> None:
    """Write the data, the timestamp, the cid and the state of an edit."""
    connection.execute(
        "UPDATE outsyncs SET data_json = ?, timestamp = ?, cid = ?, state = ?, problem = ? WHERE local = ?",
        (edit.data_json, edit.timestamp, edit.cid, edit.state, edit.problem_json, edit.local),
    )


def drop(connection: Connection, edit: Outsync) -> None:
    """Delete an edit, and free those that wait for it."""
    _drop(connection, [edit.local])
    hold(connection, edit.project_id)


def confirm(connection: Connection, project_id: str, changes: Sequence[Change]) -> tuple[list[Outsync], list[Outsync]]:
    """Delete the edits that a page brought back. Return them, and those whose cid came back with another content."""
    by_cid = {change.cid: change for change in changes if change.cid is not None}
    found: list[Outsync] = []
    cids = list(by_cid)
    for start in range(0, len(cids), _TERMS):
        some = cids[start : start + _TERMS]
        rows = connection.execute(
            f"{_SELECT} WHERE project_id = ? AND cid IN ({', '.join('?' * len(some))})", (project_id, *some)
        )
        found += map(Outsync.of, rows)
    confirmed = [edit for edit in found if edit.is_stored_as(by_cid[edit.cid])]
    strangers = [edit for edit in found if not edit.is_stored_as(by_cid[edit.cid])]
    _drop(connection, [edit.local for edit in confirmed if edit.batch is None])
    frozen = [edit for edit in confirmed if edit.batch is not None]
    connection.executemany(
        "UPDATE outsyncs SET seq = ? WHERE local = ?", [(by_cid[edit.cid].seq, edit.local) for edit in frozen]
    )
    for batch in {edit.batch for edit in frozen if edit.batch is not None}:
        _end_if_stored(connection, batch)
    if any(edit.state in (HELD, *BLOCKING) for edit in confirmed):
        hold(connection, project_id)
    return confirmed, strangers


def unconfirmed(connection: Connection, project_id: str, through: int) -> list[Outsync]:
    """Let edits wait again that were sent, but are not in the log up to `through`, which has their numbers."""
    rows = connection.execute(
        f"{_SELECT} WHERE project_id = ? AND state = '{SENT}' AND seq <= ?", (project_id, through)
    )
    lost = [Outsync.of(row) for row in rows]
    _set(connection, [edit.local for edit in lost], f"state = '{WAITING}', seq = NULL")
    return lost


def send_again(connection: Connection, project_id: str, end: int) -> None:
    """Let edits wait again that were sent, and whose numbers are after the end of the server's log."""
    connection.execute(
        f"UPDATE outsyncs SET state = '{WAITING}', seq = NULL WHERE project_id = ? AND state = '{SENT}' AND seq > ?",
        (project_id, end),
    )


def rebase(connection: Connection, project_id: str, seq: int) -> None:
    """Note that the log and the device share no later change than `seq`."""
    connection.execute("UPDATE outsyncs SET base_seq = min(base_seq, ?) WHERE project_id = ?", (seq, project_id))
    connection.execute(
        f"UPDATE outsyncs SET seq = CASE state WHEN '{SENT}' THEN {UNKNOWN} END WHERE project_id = ? AND seq > ?",
        (project_id, seq),
    )


def _end_if_stored(connection: Connection, batch: int) -> None:
    """Delete a batch and its edits if all of them came back: its response is not needed any more.

    If some did not, the server stored a part, and stores the rest when it gets the same bytes again.
    """
    (missing,) = connection.execute(
        "SELECT count(*) FROM outsyncs WHERE batch = ? AND seq IS NULL", (batch,)
    ).fetchone()
    if missing == 0:
        connection.execute("DELETE FROM outsyncs WHERE batch = ?", (batch,))
        _delete_batch(connection, batch)


def _blocker_of(connection: Connection, unit: Sequence[Outsync]) -> str | None:
    """Return the cid of the edit that a new unit has to wait for, or `None`."""
    entities = {_entity(edit) for edit in unit}
    rows = connection.execute(
        f"{_SELECT} WHERE project_id = ? AND state IN ('{REJECTED}', '{WITHHELD}', '{HELD}') ORDER BY unit, local",
        (unit[0].project_id,),
    )
    for edit in map(Outsync.of, rows):
        if _entity(edit) in entities:
            return str(edit.cid if edit.state in BLOCKING else (edit.problem or {}).get("cid"))
    return None


def _last_number(connection: Connection, table: str) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return 0 if row is None else int(row[0])


def _drop(connection: Connection, locals: Iterable[int]) -> None:
    connection.executemany("DELETE FROM outsyncs WHERE local = ?", [(local,) for local in locals])


def _delete_batch(connection: Connection, batch: int) -> None:
    connection.execute("DELETE FROM batches WHERE batch = ?", (batch,))


def _set(connection: Connection, locals: Sequence[int], values: str) -> None:
    connection.executemany(f"UPDATE outsyncs SET {values} WHERE local = ?", [(local,) for local in locals])


def _units(edits: Iterable[Outsync]) -> Iterable[list[Outsync]]:
    unit: list[Outsync] = []
    for edit in edits:
        if unit and edit.unit != unit[0].unit:
            yield unit
            unit = []
        unit.append(edit)
    if unit:
        yield unit


def _entity(edit: Outsync) -> tuple[str, str]:
    return edit.entity_type, edit.entity_id


def _held_by(cid: str | None) -> tuple[str, str | None]:
    if cid is None:
        return WAITING, None
    return HELD, problem_text("held", f"waits for the decision on {cid}", cid=cid)
