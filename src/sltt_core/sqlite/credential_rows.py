"""The SQL of device tokens and invitations. Each function takes a connection that is in a transaction."""

from __future__ import annotations

from sltt_core.base.errors import LogDamaged
from sltt_core.model.credentials import Invitation, Token, check_stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection
    from typing import Any, TypeVar

    C = TypeVar("C", Token, Invitation)

_TABLES: dict[type, str] = {Token: "tokens", Invitation: "invitations"}
"""The table of each kind. Its columns are the fields, and `kept`."""
_DAY = 86_400
"""Seconds."""


def find_credential(connection: Connection, kind: type[C], credential_id: str) -> C | None:
    """Return a credential; raises `LogDamaged` when its row is not valid."""
    found = _select(connection, kind, "id = ?", (credential_id,))
    return found[0] if found else None


def find_credentials(
    connection: Connection, kind: type[C], project_id: str, after: str | None, limit: int
) -> tuple[list[C], str | None]:
    """Return credentials of a project in the order of their ids, and the last id if there are more."""
    found = _select(
        connection, kind, "project_id = ? AND id > ? ORDER BY id LIMIT ?", (project_id, after or "", limit + 1)
    )
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def put_credential(connection: Connection, credential: Token | Invitation, now: int) -> None:
    """Write a credential in the place of the one with its id. `now` is in seconds since 1970.

    The row is kept for the days of use until it expires (`forget_expired`), counted when its time is set.
    """
    fields = credential.fields
    connection.execute(
        f"INSERT INTO {_TABLES[type(credential)]} ({', '.join(fields)}, kept) "
        f"VALUES ({', '.join('?' * len(fields))}, (SELECT days FROM calendar) + ?) ON CONFLICT (id) DO UPDATE SET "
        + "".join(f"{field} = excluded.{field}, " for field in fields[1:])
        + "kept = CASE WHEN expires = excluded.expires THEN kept ELSE excluded.kept END",
        (*credential.as_tuple(), max(0, -((now - credential.expires) // _DAY))),
    )


def forget_expired(connection: Connection, now: int) -> None:
    """Delete the credentials that have expired, in seconds since 1970 and in days of use.

    A clock that jumps, however far and often, deletes none that is valid afterwards.
    """
    for table in _TABLES.values():
        connection.execute(
            f"DELETE FROM {table} WHERE kept < (SELECT days FROM calendar) AND expires < ?",
            (now,),
        )


def _select(connection: Connection, kind: type[C], condition: str, values: Sequence[Any]) -> list[C]:
    rows = connection.execute(f"SELECT {','.join(kind.fields)} FROM {_TABLES[kind]} WHERE {condition}", values)
    found = [kind.of(row) for row in rows]
    for credential in found:
        try:
            check_stored(credential)
        except ValueError as error:
            raise LogDamaged(f"a row of the table {_TABLES[kind]} is not valid: {error}") from None
    return found
