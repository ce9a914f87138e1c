"""A change on its way in: one field after the other is checked, and what is wrong is collected."""

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
"""Problems of a batch that are looked for."""

_KEPT = tuple(field.wire for field in NEW_FIELDS)
_REQUIRED = tuple(field.wire for field in NEW_FIELDS if field.required)
_SIZED = tuple(field.wire for field in NEW_FIELDS if field.sized)


class TooManyProblems(Exception):
    """So many problems that the rest is not read."""


class Draft:
    """A change on its way in: takes one field after the other and collects what is wrong with them.

    Fields go by their wire names here; the problems call them by `names`, where those have another one.
    """

    __slots__ = ("data_json", "faulty", "index", "names", "path", "problems", "seen", "values")

    def __init__(self, index: int, path: str, problems: list[Problem], names: Mapping[str, str] = {}) -> None:
        self.index = index
        self.path = path
        self.problems = problems  # of the whole batch
        self.names = names
        self.faulty: set[str] = set()
        self.seen: set[str] = set()
        self.values: dict[str, Any] = {}
        self.data_json: str | None = None

    def fault(self, name: str, reason: str, *, inside: str = "", too_large: bool = False) -> None:
        """Note a problem with the named field, or with the change itself when the name is empty.

        `inside` is the path from the field to the place at fault: `.verses[2].at`.
        """
        self.faulty.add(name)
        field = f"{self.path}.{_shown(self.names.get(name, name))}{inside}" if name else self.path
        self.problems.append(Problem(self.index, field, reason, too_large))
        if len(self.problems) >= MAX_PROBLEMS:
            raise TooManyProblems

    def take(self, name: str, value: object) -> None:
        """Check one field's value, under its wire name."""
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

    def imply_project(self, project_id: str | None) -> None:
        """Give the change the project that is served, or see that it names one."""
        if project_id is None:
            self._require("projectId")
        elif self.values.setdefault("projectId", project_id) != project_id:
            self.fault("projectId", f"is not {project_id}, the one project that is served here")

    def finish(self) -> tuple[Any, ...]:
        """Check what needs the whole change; return its values in the order of `NewChange`'s fields."""
        values = self.values
        if self.data_json is not None:
            values["data"] = self.data_json
        for name in _REQUIRED:
            self._require(name)
        timestamp, change_at = values.get("timestamp"), values.get("changeAt")
        if timestamp is not None and change_at is not None and not is_same(timestamp, change_at):
            self.fault("changeAt", "says another time than timestamp, of which it is another name")
        values["timestamp"] = timestamp or change_at
        fields = tuple(map(values.get, _KEPT))
        if not self.faulty:
            try:
                check_item_size(item_bytes(*map(values.get, _SIZED)))
            except ValueError as error:
                self.fault("data", f"the change {error}", too_large=True)
        return fields

    def _require(self, name: str) -> None:
        if name not in self.values and not self.faulty & {"", name}:
            self.fault(name, "is required")


def _shown(name: str) -> str:
    return name if len(name) <= 40 and name.isprintable() else quote(name[:40]).encode("ascii", "replace").decode()
