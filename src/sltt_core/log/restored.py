"""Checks of the changes that `restore_changes` accepts. Only `restore_changes` loads this module."""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, Problem
from sltt_core.log.pages import Head
from sltt_core.model.chain import link_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sltt_core.model.changes import Change


def check_restored(changes: Sequence[Change], project_id: str, head: Head) -> Head:
    """Check that the changes of another log continue this one after `head`. Return the new end of the log.

    Raises `InvalidBatch` with the first change that does not.
    """
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
