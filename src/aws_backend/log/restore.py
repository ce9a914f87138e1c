"""A log's next changes written just as another log of the project holds them."""

from __future__ import annotations

from aws_backend.dynamodb.errors import TransactionCanceled
from aws_backend.log.items import DAMAGED_HINT
from aws_backend.log.transactions import build_restore
from sltt_core.base.errors import LogDamaged, StorageBusy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aws_backend.log.table import LogTable
    from sltt_core.model.changes import Change


def restore(table: LogTable, project_id: str, changes: tuple[Change, ...]) -> None:
    """Store at most a chunk of changes in one transaction; raises `StorageBusy` when they are no longer next."""
    deadline = table.deadline()
    end = table.read_end(project_id, deadline)
    if end.value != changes[0].seq:
        raise _overtaken(project_id)
    built = build_restore(table.name, changes, end, table.runtime.new_token())
    try:
        table.transact(built.actions, built.token, deadline)
    except TransactionCanceled as error:
        if not error.is_transient:
            raise
        if error.reasons[0].get("Code") in (None, "None") and error.codes == {"ConditionalCheckFailed"}:
            raise LogDamaged(
                f"project {project_id} holds a change beyond its end, {end.head.seq}; nothing was written",
                hint=DAMAGED_HINT,
            ) from error
        raise _overtaken(project_id) from error
    table.known_heads.note(project_id, changes[-1].seq)


def _overtaken(project_id: str) -> StorageBusy:
    return StorageBusy(f"somebody else wrote to project {project_id} while it was being restored")
