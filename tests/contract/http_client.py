"""`HttpStorage`: the methods of the contract over the REST API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx

from sltt_core.base import errors
from sltt_core.base.json_reader import Reader
from sltt_core.log.batches import Appended
from sltt_core.log.pages import ChangeStats, Page, ProjectsPage
from sltt_core.model.changes import Change, NewChange
from sltt_core.model.fields import FIELDS, NEW_FIELDS, WIRE_NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = {
    kind.kind: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SlttError)
}


PYTHON_NAMES = {wire: name for name, wire in WIRE_NAMES.items() if wire != "data"} | {
    "seq": "seq",
    "Idempotency-Key": "idempotency_key",
    "If-Head": "if_head",
}
"""The Python names of the fields that HTTP errors name."""


class HttpStorage:
    """A client of a server. It is bound to a project if the server is."""

    def __init__(self, url: str, project_id: str | None = None) -> None:
        self.project_id = project_id
        self._client = httpx.Client(base_url=url, timeout=30)

    def close(self) -> None:
        self._client.close()

    def create_change(self, change: NewChange, idempotency_key: str | None = None) -> Change:
        seq = self.create_changes([change], idempotency_key).seqs[0]
        return self.get_change(seq, project_id=change.project_id)

    def create_changes(
        self, changes: Sequence[NewChange], idempotency_key: str | None = None, *, if_head: int | None = None
    ) -> Appended:
        body = f"[{','.join(map(written, changes))}]"
        headers = {"content-type": "application/json"}
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        if if_head is not None:
            headers["if-head"] = str(if_head)
        response = self._ask("POST", "/api/changes", content=body.encode(), headers=headers).json()
        return Appended(tuple(response["createdSeqs"]), response["replayed"])

    def get_change(self, seq: int, *, project_id: str | None = None) -> Change:
        return read_change(Reader(self._get(project_id, f"/changes/{seq}").text))

    def mark_as_outdated(self, seq: int, outdated_by: int, *, project_id: str | None = None) -> Change:
        path = f"{self._path(project_id)}/changes/{seq}/outdated"
        return read_change(Reader(self._ask("POST", path, json={"outdatedBy": outdated_by}).text))

    def get_changes_with_cursor(
        self, cursor: int = 0, limit: int = 1000, *, project_id: str | None = None, chain: str | None = None
    ) -> Page:
        query = urlencode({"cursor": cursor, "limit": limit, **({} if chain is None else {"chain": chain})})
        reader = Reader(self._get(project_id, f"/changes?{query}").text)
        changes: list[Change] = []
        members: dict[str, Any] = {}
        for name in reader.members():
            if name == "changes":
                changes = [read_change(reader) for _ in reader.elements()]
            else:
                members[name] = reader.value()
        assert members["count"] == len(changes)
        return Page(tuple(changes), members["through"], members.get("chain"), members.get("cursor"))

    def get_change_stats(self, *, project_id: str | None = None) -> ChangeStats:
        return ChangeStats(**self._get(project_id, "/stats").json()["changeStats"])

    def get_entity_type_stats(self, *, project_id: str | None = None) -> dict[str, int]:
        stats: dict[str, int] = self._get(project_id, "/stats").json()["entityTypeStats"]
        return stats

    def get_all_projects(self, cursor: str | None = None, limit: int = 1000) -> ProjectsPage:
        query = urlencode({"limit": limit, **({} if cursor is None else {"cursor": cursor})})
        response = self._ask("GET", f"/api/projects?{query}").json()
        assert response["count"] == len(response["projects"])
        return ProjectsPage(tuple(response["projects"]), response.get("cursor"))

    def _get(self, project_id: str | None, rest: str) -> httpx.Response:
        return self._ask("GET", self._path(project_id) + rest)

    def _path(self, project_id: str | None) -> str:
        return f"/api/projects/{quote(str(project_id or self.project_id), safe='')}"

    def _ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        response = self._client.request(method, path, **arguments)
        if response.status_code != 200:
            raise as_error(response.json())
        return response


def as_error(problem: dict[str, Any]) -> errors.SlttError:
    """Return the error that a problem document describes."""
    kind = KINDS[problem["type"].rpartition(":")[2]]
    error: errors.SlttError
    if kind is errors.InvalidBatch:
        error = kind([errors.Problem(p["index"], p["field"], p["reason"]) for p in problem["errors"]])
    elif kind is errors.PartialAppend:
        error = kind(problem["createdSeqs"], errors.StorageError(problem["detail"]))
    elif kind is errors.HeadMoved:
        error = kind(problem["detail"], problem["seq"], problem["chain"])
    elif issubclass(kind, errors.InvalidInput):
        error = kind(problem["detail"], field=problem.get("field"))
    else:
        error = kind(problem["detail"])
    error.rename(PYTHON_NAMES)
    return error


def written(change: NewChange) -> str:
    """Return the JSON of a change as a client sends it."""
    members = dict(zip((field.wire for field in NEW_FIELDS), change.as_tuple(), strict=True))
    data: str = members.pop("data")
    given = {name: value for name, value in members.items() if value is not None}
    return json.dumps({**given, "data": None})[:-5] + data + "}"


def read_change(reader: Reader) -> Change:
    """Read the change at the reader's position; its data stays text."""
    members: dict[str, Any] = {}
    for name in reader.members():
        start = reader.at
        value = reader.value()
        members[name] = reader.text[start : reader.at] if name == "data" else value
    names = [field.wire for field in FIELDS]
    assert not members.keys() - set(names)
    return Change.of(members.get(name) for name in names)
