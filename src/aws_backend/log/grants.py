"""Appends grants to a log. Only the routes of members, tokens and invitations, and the command, load this module."""

from __future__ import annotations

from aws_backend.dynamodb.errors import TransactionCanceled
from aws_backend.log.transactions import build_verbatim, check_verbatim
from sltt_core.base.errors import StorageBusy
from sltt_core.base.timestamps import now_utc
from sltt_core.log.batches import chunk_of, number_changes
from sltt_core.log.members import is_needed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aws_backend.log.table import LogTable
    from aws_backend.log.transactions import Action
    from sltt_core.model.changes import Change, NewChange
    from sltt_core.model.grants import Members

    Prepare = Callable[[Members, float], tuple[NewChange | None, Sequence[Action]]]
    """Given the members and the deadline: returns the grant to append, or `None`, and further actions of the same
    transaction."""

PAUSE = 0.05
"""The longest wait, in seconds, after other writers were faster. The wait is a random part of it."""


def append_grant(table: LogTable, project_id: str, change: NewChange) -> Members:
    """Append a grant if it is needed, and return the members afterwards.

    It needs no idempotency key: if the outcome of a transaction is unknown, the members are read again. Raises what
    `is_needed` and `write_grant` raise.
    """
    return write_grant(table, project_id, lambda members, _: (change if is_needed(members, change) else None, ()))


def write_grant(table: LogTable, project_id: str, prepare: Prepare) -> Members:
    """Write what `prepare` returns in one transaction, and return the members afterwards.

    `prepare` is called again if other writers were faster. Raises what it raises, `StorageBusy` if other writers were
    faster until the deadline, and `LogDamaged` if the log contradicts itself.
    """
    deadline = table.deadline()
    while True:
        # In this order: the transaction requires that no change was appended since the end was read, and so no grant.
        end = table.read_end(project_id, deadline)
        members = table.read_members(project_id, deadline, strong=True)
        change, actions = prepare(members, deadline)
        numbered: tuple[Change, ...] = ()
        built = None
        if change is not None:
            numbered = number_changes(chunk_of(project_id, change), end.head, now_utc(table.runtime.clock))
            built = build_verbatim(table.name, numbered, (), end, members, "")
            actions = [*built.actions, *actions]
        if not actions:
            return members
        try:
            table.transact(actions, table.runtime.new_token(), deadline)
        except TransactionCanceled as error:
            if not error.is_transient:
                raise
            if built is not None:
                check_verbatim(error, built)
            wait = PAUSE * table.runtime.random()
            if table.is_late(deadline, wait):
                raise StorageBusy(f"other processes write to project {project_id} without a pause") from error
            table.runtime.pause(wait)
            continue
        if numbered:
            table.known_heads.note(project_id, numbered[-1].seq)
        return members.after(numbered)
