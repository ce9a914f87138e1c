"""`restore`: writes changes from another log of the same project verbatim, with their numbers, links and keys."""

from __future__ import annotations

from aws_backend.dynamodb.errors import TransactionCanceled
from aws_backend.log.transactions import build_verbatim, check_verbatim
from sltt_core.base.errors import StorageBusy
from sltt_core.model.grants import MEMBER, NO_MEMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aws_backend.log.table import LogTable
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change


def restore(table: LogTable, project_id: str, changes: tuple[Change, ...], requests: tuple[NamedRequest, ...]) -> None:
    """Append changes (at most a chunk), with their requests that have not expired, in one transaction.

    Raises `StorageBusy` if they do not follow the end of the log (any more), and `LogDamaged` if it contradicts itself.
    """
    deadline = table.deadline()
    end = table.read_end(project_id, deadline)
    if end.value != changes[0].seq:
        raise _overtaken(project_id)
    kept = [request for request in requests if request.seconds_left(table.runtime.clock) >= 0]
    grants = any(change.entity_type == MEMBER for change in changes)
    members = table.read_members(project_id, deadline, strong=True) if grants else NO_MEMBERS
    built = build_verbatim(table.name, changes, kept, end, members, table.runtime.new_token())
    try:
        table.transact(built.actions, built.token, deadline)
    except TransactionCanceled as error:
        if not error.is_transient:
            raise
        check_verbatim(error, built)
        raise _overtaken(project_id) from error
    table.known_heads.note(project_id, changes[-1].seq)


def _overtaken(project_id: str) -> StorageBusy:
    return StorageBusy(f"another process wrote to project {project_id} during the restore")
