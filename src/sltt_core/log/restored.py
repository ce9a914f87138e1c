"""`restore`: the checks and the writes of `restore_changes`. Only `restore_changes` loads this module."""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, Problem
from sltt_core.log.batches import cut
from sltt_core.log.pages import Head
from sltt_core.model.chain import link_of
from sltt_core.model.changes import item_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sltt_core.model.changes import Change


def restore(
    changes: Sequence[Change],
    served_project: Callable[[str], str],
    head_of: Callable[[str], Head],
    write: Callable[[str, tuple[Change, ...]], None],
    max_changes: int,
    max_bytes: int,
) -> Head:
    """Append the changes of another log to a project, and return the new end of the log.

    `served_project` checks a project id, `head_of` returns the end of a log, and `write` stores a chunk of at most
    `max_changes` changes and `max_bytes` bytes. Raises `InvalidBatch` with the first change that is not the next.
    """
    if not changes:
        raise InvalidBatch([Problem(None, "changes", "the batch is empty; pass at least one change")])
    project_id = served_project(changes[0].project_id)
    head = _check(changes, project_id, head_of(project_id))
    for start, (end, _) in cut([*map(item_size, changes)], max_changes, max_bytes).items():
        write(project_id, tuple(changes[start:end]))
    return head


def _check(changes: Sequence[Change], project_id: str, head: Head) -> Head:
    """Check that the changes follow `head`, and return the last one's end of the log."""
    for index, change in enumerate(changes):
        reason = why_not_next(change, project_id, head)
        if reason:
            raise InvalidBatch([Problem(index, f"changes[{index}]", reason)])
        head = Head(change.seq, change.chain)
    return head


def why_not_next(change: Change, project_id: str, head: Head) -> str:
    """Return why a change cannot come next after `head`: words that follow its name. Empty if it can."""
    if change.project_id != project_id:
        return f"belongs to project {change.project_id}, the first change to {project_id}"
    if change.seq != head.seq + 1:
        return f"has the number {change.seq}; the next number of the log is {head.seq + 1}"
    if change.chain != link_of(head.chain, change):
        return "does not continue the hash chain: it was altered, or belongs to another history"
    return ""
