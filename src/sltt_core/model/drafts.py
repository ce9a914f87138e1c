"""`Draft`: checks the fields of a new change one by one, and collects the problems."""

from __future__ import annotations

from sltt_core.base.errors import Problem
from sltt_core.base.json_reader import quote
from sltt_core.base.timestamps import is_same
from sltt_core.model.fields import CHECKS, NEW_FIELDS, check_item_size, item_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_PROBLEMS = 1000
"""Checking stops after this number of problems in a batch."""

_KEPT = tuple(field.wire for field in NEW_FIELDS)
_REQUIRED = tuple(field.wire for field in NEW_FIELDS if field.required)
_SIZED = tuple(field.wire for field in NEW_FIELDS if field.sized)


class TooManyProblems(Exception):
    """The batch has `MAX_PROBLEMS` problems; the rest is not checked."""


class Draft:
    """A new change whose fields are checked one by one. Problems are added to the list of the batch.

    The methods use the wire names of fields. `names` has the names for problems, where they differ.
    """

    __slots__ = ("data_json", "faulty", "index", "names", "path", "problems", "seen", "values")

    def __init__(self, index: int, path: str, problems: list[Problem], names: Mapping[str, str] = {}) -> None:
        self.index = index
        self.path = path
        self.problems = problems  # of the whole batch
        self.names = names
        self.faulty: set[str | None] = set()
        self.seen: set[str] = set()
        self.values: dict[str, Any] = {}
        self.data_json: str | None = None

    def fault(self, name: str | None, reason: str, *, inside: str = "", too_large: bool = False) -> None:
        """Add a problem of the named field, or of the whole change if the name is `None`. A name may be empty.

        `inside` is the path within the value of the field: `.verses[2].at`.
        """
        self.faulty.add(name)
        field = self.path if name is None else f"{self.path}.{_shown(self.names.get(name, name))}{inside}"
        self.problems.append(Problem(self.index, field, reason, too_large))
        if len(self.problems) >= MAX_PROBLEMS:
            raise TooManyProblems

    def take(self, name: str, value: object) -> None:
        """Check and store the value of a field."""
        if name in self.seen:
            self.fault(name, "is given twice")
            return
        self.seen.add(name)
        if name not in CHECKS:
            self.fault(name, "is not a field of a change")
        elif value is not None:
            try:
                self.values[name] = CHECKS[name](value)
            except ValueError as error:
                self.fault(name, str(error))

    def take_too_large(self, data_json: str) -> None:
        """Refuse the data of a change for its size alone."""
        if "data" in self.seen:
            self.fault("data", "is given twice")
            return
        self.seen.add("data")
        self._check_size(item_bytes(data_json))

    def _check_size(self, size: int) -> None:
        try:
            check_item_size(size)
        except ValueError as error:
            self.fault("data", f"the change {error}", too_large=True)

    def imply_project(self, project_id: str | None) -> None:
        """Set the project of a service that serves only one; otherwise require that the change has a project."""
        if project_id is None:
            self._require("projectId")
        elif self.values.setdefault("projectId", project_id) != project_id:
            self.fault("projectId", f"is not {project_id}, the only project of this service")

    def finish(self) -> tuple[Any, ...]:
        """Check the change as a whole, and return its values in the order of the fields of `NewChange`."""
        values = self.values
        if self.data_json is not None:
            values["data"] = self.data_json
        for name in _REQUIRED:
            self._require(name)
        timestamp, change_at = values.get("timestamp"), values.get("changeAt")
        if timestamp is not None and change_at is not None and not is_same(timestamp, change_at):
            self.fault("changeAt", "differs from timestamp; it is another name for the same field")
        values["timestamp"] = timestamp or change_at
        fields = tuple(map(values.get, _KEPT))
        if not self.faulty:
            self._check_size(item_bytes(*map(values.get, _SIZED)))
        return fields

    def _require(self, name: str) -> None:
        if name not in self.values and not self.faulty & {None, name}:
            self.fault(name, "is required")


def _shown(name: str) -> str:
    return (
        name
        if 0 < len(name.strip()) == len(name) <= 40 and name.isprintable()
        else quote(name[:40]).encode("ascii", "replace").decode()
    )
