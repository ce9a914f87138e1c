"""`HttpStorage`: the methods of the contract over the REST API."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from sltt_core import ApiProblem, Client
from sltt_core.base import errors
from sltt_core.log.batches import Appended
from sltt_core.log.pages import Page
from sltt_core.model.fields import WIRE_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sltt_core.log.pages import ChangeStats, ProjectsPage
    from sltt_core.model.changes import Change, NewChange

P = ParamSpec("P")
T = TypeVar("T")

KINDS = {
    kind.kind: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SlttError)
}


PYTHON_NAMES = {wire: name for name, wire in WIRE_NAMES.items() if wire != "data"} | {
    "seq": "seq",
    "Idempotency-Key": "idempotency_key",
    "If-Head": "if_head",
}
"""The Python names of the fields that HTTP errors name."""


def translated(method: Callable[P, T]) -> Callable[P, T]:
    """Raise the error of the storage in place of its problem document."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except ApiProblem as problem:
            raise as_error(problem) from problem

    return call


def as_error(problem: ApiProblem) -> errors.SlttError:
    """Return the error that a problem document describes."""
    kind = KINDS[problem.type]
    more = problem.extensions
    error: errors.SlttError
    if kind is errors.InvalidBatch:
        error = kind([errors.Problem(p["index"], p["field"], p["reason"]) for p in more["errors"]])
    elif kind is errors.PartialAppend:
        error = kind(more["createdSeqs"], errors.StorageError(problem.detail))
    elif kind is errors.HeadMoved:
        error = kind(problem.detail, more["seq"], more["chain"])
    elif issubclass(kind, errors.InvalidInput):
        error = kind(problem.detail, field=more.get("field"))
    else:
        error = kind(problem.detail)
    error.rename(PYTHON_NAMES)
    return error


class HttpStorage:
    """`Client` with the methods and the errors of a storage. It is bound to a project if the server is."""

    def __init__(self, url: str, project_id: str | None = None) -> None:
        self.project_id = project_id
        self._client = Client(url)

    def close(self) -> None:
        self._client.close()

    def create_change(self, change: NewChange, idempotency_key: str | None = None) -> Change:
        seq = self.create_changes([change], idempotency_key).seqs[0]
        return self.get_change(seq, project_id=change.project_id)

    @translated
    def create_changes(
        self, changes: Sequence[NewChange], idempotency_key: str | None = None, *, if_head: int | None = None
    ) -> Appended:
        result = self._client.append(changes, key=idempotency_key, if_head=if_head)
        return Appended(result.seqs, result.replayed)

    @translated
    def get_change(self, seq: int, *, project_id: str | None = None) -> Change:
        return self._client.change(self._project(project_id), seq)

    @translated
    def mark_as_outdated(self, seq: int, outdated_by: int, *, project_id: str | None = None) -> Change:
        return self._client.mark_as_outdated(self._project(project_id), seq, outdated_by)

    @translated
    def get_changes_with_cursor(
        self, cursor: int = 0, limit: int = 1000, *, project_id: str | None = None, chain: str | None = None
    ) -> Page:
        page = self._client.changes_after(self._project(project_id), cursor, limit=limit, chain=chain)
        return Page(page.changes, page.through, page.chain, page.cursor)

    @translated
    def get_change_stats(self, *, project_id: str | None = None) -> ChangeStats:
        return self._client.stats(self._project(project_id)).changes

    @translated
    def get_entity_type_stats(self, *, project_id: str | None = None) -> dict[str, int]:
        return dict(self._client.stats(self._project(project_id)).entity_types)

    @translated
    def get_all_projects(self, cursor: str | None = None, limit: int = 1000) -> ProjectsPage:
        return self._client.projects(cursor, limit)

    def _project(self, project_id: str | None) -> str:
        return str(project_id or self.project_id)
