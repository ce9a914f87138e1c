"""Checks of the arguments of a storage's methods, which run before the storage is accessed."""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, InvalidInput, NotFound, Problem, ReservedType
from sltt_core.log.batches import Batch
from sltt_core.log.pages import check_limit
from sltt_core.model.changes import NewChange, item_size
from sltt_core.model.fields import check_item_size, check_project_id, check_seq, checked, is_link
from sltt_core.model.grants import RESERVED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def served_project(project_id: str | None, bound: str | None) -> str:
    """Return the project of a call. `bound` is the project that the service is bound to, or `None`.

    Raises `InvalidInput` for a project id that is missing or not valid, and `NotFound` if it is not `bound`.
    """
    if project_id is None:
        if bound is None:
            raise InvalidInput("project_id is required: this service is not bound to a project", field="project_id")
        return bound
    checked(check_project_id, project_id, "project_id")
    if bound not in (None, project_id):
        raise NotFound(f"project {project_id} does not exist here")
    return project_id


def checked_batch(changes: Sequence[NewChange], bound: str | None) -> Batch:
    """Check a batch, and set the project of changes that have none to `bound`, the project of a bound service.

    Raises `InvalidBatch` with all problems, `ReservedType` for an entity type that only this program writes, and
    `TypeError` for an element that is not a `NewChange`.
    """
    problems: list[Problem] = []
    batch: list[NewChange] = []
    sizes: list[int] = []
    reserved: str | None = None
    for index, change in enumerate(changes):
        if not isinstance(change, NewChange):
            raise TypeError(f"changes[{index}] is not a NewChange")
        if change.project_id is None:
            if bound is None:
                problems.append(Problem(index, f"changes[{index}].project_id", "is required"))
            change = NewChange.of((bound, *change.as_tuple()[1:]))
        elif bound not in (None, change.project_id):
            reason = f"is not {bound}, the only project of this service"
            problems.append(Problem(index, f"changes[{index}].project_id", reason))
        if change.entity_type.startswith(RESERVED) and reserved is None:
            reserved = f"changes[{index}].entity_type"
        batch.append(change)
        sizes.append(item_size(change))
        try:
            # The change was checked before it got its project id, or the principal's id as its `change_by`.
            check_item_size(sizes[-1])
        except ValueError as error:
            problems.append(Problem(index, f"changes[{index}].data", f"the change {error}", too_large=True))
    if not batch:
        problems.append(Problem(None, "changes", "the batch is empty; pass at least one change"))
    if problems:
        raise InvalidBatch(problems)
    if reserved is not None:
        raise ReservedType(reserved)
    return Batch(tuple(batch), tuple(sizes))


def check_page(cursor: int, limit: int, chain: str | None) -> None:
    """Check the arguments for a page; raises `InvalidInput`."""
    checked(lambda value: check_seq(value, 0), cursor, "cursor")
    checked(check_limit, limit, "limit")
    if chain is not None and not is_link(chain):
        raise InvalidInput("chain is not a link: 22 characters of base64url", field="chain")
