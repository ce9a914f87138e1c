"""`RemoteResponse`: a response as the client got it, and whether it is of this API.

A success is of this API when it is JSON and has every member that the route promises in OpenAPI, with the right type.
An error is of this API when it is a problem document (RFC 9457) with a `type` of this project and the right status.
Everything else may be of a proxy, a gateway or the login page of a network, and says nothing about the request.
"""

from __future__ import annotations

import json
import re
from typing import Any

from sltt_core.api.http import JSON, PROBLEM_JSON
from sltt_core.api.openapi import RESPONSES
from sltt_core.api.routes import match
from sltt_core.api.schemas import METADATA_SCHEMA, SCHEMAS
from sltt_core.base import errors
from sltt_core.base.errors import SlttError
from sltt_core.base.json_reader import LongInteger, has_lone_surrogate
from sltt_core.base.record import Record
from sltt_core.sync.errors import ApiProblem, ForeignResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PROBLEM_TYPES = frozenset(
    kind.kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SlttError)
)
"""The last part of the `type` of every problem document of this API."""
_URN = "urn:sltt:problem:"
_PROBLEM_MEMBERS = ("type", "title", "status", "detail")


class RemoteResponse(Record):
    """A response."""

    method: str
    path: str
    """The path of the request, without the query and without the prefix of the server's URL."""
    status: int
    headers: Mapping[str, str]
    """Values by names in lower case."""
    body: bytes
    """The body without its Content-Encoding."""

    @property
    def ours(self) -> bool:
        """Whether the response is of this API."""
        try:
            self.document()
        except ApiProblem:
            return True
        except ForeignResponse:
            return False
        return True

    def document(self) -> dict[str, Any]:
        """Return the JSON object of a success.

        Raises `ApiProblem` for an error of this API, and `ForeignResponse` for a response that is not of this API.
        """
        if 300 <= self.status < 400:
            location = self.headers.get("location")
            raise ForeignResponse(
                f"the server redirects to {location or 'nowhere'} (status {self.status}); redirects are not followed",
                status=self.status,
                location=location,
            )
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (JSON, PROBLEM_JSON):
            raise self._foreign(f"its Content-Type is {kind[:40]!r}")
        found = self._json()
        if self.status >= 400:
            raise self._problem(kind, found)
        if self.status != 200 or kind != JSON:
            raise self._foreign("no route responds so")
        try:
            handler = match(self.method, self.path)[0].handler
        except SlttError:
            raise self._foreign("this API has no such route") from None
        schema = {**SCHEMAS, **METADATA_SCHEMA}[RESPONSES[handler]]
        wrong = misfit(found, schema)
        if wrong is not None:
            raise self._foreign(f"{wrong or 'it'} is not as the route promises")
        return found

    def _json(self) -> dict[str, Any]:
        try:
            text = self.body.decode()
            found = json.loads(text, parse_constant=_refuse, parse_int=_digits)
        except (ValueError, RecursionError):
            raise self._foreign("its body is not JSON") from None
        if type(found) is not dict or ("\\ud" in text.lower() and has_lone_surrogate(found)):
            raise self._foreign("its body is not a JSON object of whole characters")
        return found

    def _problem(self, kind: str, found: dict[str, Any]) -> ApiProblem | ForeignResponse:
        problem_type, title, status, detail = (found.get(name) for name in _PROBLEM_MEMBERS)
        name = problem_type.removeprefix(_URN) if isinstance(problem_type, str) else ""
        known = name in PROBLEM_TYPES and problem_type == _URN + name
        if kind != PROBLEM_JSON or not known or status != self.status or misfit(found, SCHEMAS["Problem"]) is not None:
            return self._foreign("it is not a problem document of this API")
        rest = {key: value for key, value in found.items() if key not in _PROBLEM_MEMBERS}
        problem = ApiProblem(self.status, name, str(title), str(detail), rest)
        seconds = self.headers.get("retry-after", "")
        problem.retry_after = float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < 9 else None
        return problem

    def _foreign(self, reason: str) -> ForeignResponse:
        text = f"the response to {self.method} {self.path[:80]} is not of this API: status {self.status}, {reason}"
        return ForeignResponse(text, status=self.status)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _digits(text: str) -> int | LongInteger:
    return int(text) if len(text) <= 40 else LongInteger(text)  # only `data` may have one; `int` takes 4,300 digits


_TYPES: dict[str, Callable[[object], bool]] = {
    "object": lambda value: type(value) is dict,
    "array": lambda value: type(value) is list,
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in (int, float),
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
}


def misfit(value: Any, schema: Mapping[str, Any], path: str = "") -> str | None:
    """Return the path of the first part of a value that does not fit a JSON Schema, `""` for the whole; else `None`.

    It knows the keywords that say what a member is: types, required members, `const`, `enum`, `anyOf`, `pattern`,
    limits. It does not follow a `$ref`, and allows members that the schema does not name, as a newer server has.
    """
    if "anyOf" in schema and all(misfit(value, one) is not None for one in schema["anyOf"]):
        return path
    kinds = schema.get("type", [])
    if kinds and not any(_TYPES[kind](value) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return path
    if ("const" in schema and value is not schema["const"] and value != schema["const"]) or (
        "enum" in schema and value not in schema["enum"]
    ):
        return path
    if type(value) is str and "pattern" in schema and not re.search(schema["pattern"], value):
        return path
    if type(value) in (int, float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return path
    parts: list[tuple[str, Any, Mapping[str, Any]]] = []
    if type(value) is dict:
        properties = schema.get("properties", {})
        more = schema.get("additionalProperties", {})
        for name in schema.get("required", ()):
            if name not in value:
                return f"{path}.{name}".lstrip(".")
        parts = [(name, part, properties.get(name, more)) for name, part in value.items()]
    elif type(value) is list and "type" in schema.get("items", {}):  # not the changes of a page
        parts = [(str(index), part, schema.get("items", {})) for index, part in enumerate(value)]
    for name, part, rule in parts:
        wrong = misfit(part, rule, f"{path}.{name}".lstrip(".")) if isinstance(rule, dict) and rule else None
        if wrong is not None:
            return wrong
    return None
