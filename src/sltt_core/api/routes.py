"""The routes, as a table: what is matched, documented and tested is generated from it."""

from __future__ import annotations

from sltt_core.api.http import percent_decode, query_pairs
from sltt_core.chain import is_link
from sltt_core.errors import InvalidInput, MethodNotAllowed, NotFound
from sltt_core.fields import MAX_SEQ, check_project_id, check_seq, checked
from sltt_core.pages import MAX_LIMIT, check_limit
from sltt_core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class Parameter(Record):
    """A part of the path or of the query."""

    name: str
    place: str
    """`path` or `query`."""
    description: str
    parse: Callable[[object], Any]
    """Returns the value of the text, or raises `ValueError` with the reason."""
    schema: Mapping[str, Any]
    """Its JSON Schema."""


class Route(Record):
    """A method and a path, and who answers them."""

    method: str
    path: str
    """With the path's parameters in braces."""
    handler: str
    """The name of a function in `sltt_core.api.handlers`."""
    description: str
    parameters: tuple[Parameter, ...] = ()


def _integer(check: Callable[[object], int]) -> Callable[[object], int]:
    def parse(value: object) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit()) or len(text) > 15:
            raise ValueError("is not a whole number in digits")
        return check(int(text))

    return parse


def _check_link(value: object) -> str:
    text = str(value)
    if not is_link(text):
        raise ValueError("is not a link: 22 characters of base64url")
    return text


_PROJECT_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}$"}

PROJECT = Parameter("projectId", "path", "The project", check_project_id, _PROJECT_SCHEMA)
SEQ = Parameter(
    "seq",
    "path",
    "The change's sequence number",
    _integer(check_seq),
    {"type": "integer", "minimum": 1, "maximum": MAX_SEQ},
)
CURSOR = Parameter(
    "cursor",
    "query",
    "Changes after this sequence number; default 0, from the beginning",
    _integer(lambda value: check_seq(value, 0)),
    {"type": "integer", "minimum": 0, "maximum": MAX_SEQ, "default": 0},
)
PROJECT_CURSOR = Parameter("cursor", "query", "Projects after this id", check_project_id, _PROJECT_SCHEMA)
LIMIT = Parameter(
    "limit",
    "query",
    f"At most so many; 1 to {MAX_LIMIT}, default {MAX_LIMIT}",
    _integer(check_limit),
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": MAX_LIMIT},
)
CHAIN = Parameter(
    "chain",
    "query",
    "The link the reader knows at its cursor; 409 when the log has another",
    _check_link,
    {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"},
)

ROUTES = (
    Route("GET", "/health", "health", "Whether the server is up, and on what storage"),
    Route("GET", "/api/help", "help_page", "This list"),
    Route("POST", "/api/changes", "post_changes", "Append changes: an array of them, or one object"),
    Route("GET", "/api/projects", "get_projects", "The projects that have changes, in order", (PROJECT_CURSOR, LIMIT)),
    Route(
        "GET",
        "/api/projects/{projectId}/changes",
        "get_changes",
        "The changes after a cursor, in order",
        (PROJECT, CURSOR, LIMIT, CHAIN),
    ),
    Route("GET", "/api/projects/{projectId}/changes/{seq}", "get_change", "One change", (PROJECT, SEQ)),
    Route("GET", "/api/projects/{projectId}/stats", "get_stats", "Counts by operation and by entity type", (PROJECT,)),
)


def match(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """Find the route for a method and a raw path, and the path's parameters, still encoded.

    `HEAD` is answered where `GET` is. Raises `NotFound` for a path of no route, `MethodNotAllowed` for one of others.
    """
    segments = path.split("/")
    allow: list[str] = []
    for route, pattern in _PATTERNS:
        if len(pattern) != len(segments):
            continue
        found: dict[str, str] = {}
        for part, segment in zip(pattern, segments, strict=True):
            if part.startswith("{"):
                found[part[1:-1]] = segment
            elif part != segment:
                break
        else:
            if method == route.method or (method == "HEAD" and route.method == "GET"):
                return route, found
            allow += ("GET", "HEAD") if route.method == "GET" else (route.method,)
    if allow:
        raise MethodNotAllowed(method, allow)
    raise NotFound(f"there is nothing at {path[:200]}", hint="GET /api/help lists what there is.")


def parse_parameters(route: Route, found: Mapping[str, str], query: str) -> dict[str, Any]:
    """Read the parameters of a request as the route describes them.

    An unknown one, an empty one, or one given twice raises `InvalidInput`, like one that breaks its rule.
    """
    given: dict[str, str] = {name: percent_decode(text, name) for name, text in found.items()}
    for name, text in query_pairs(query):
        if name in given:
            raise InvalidInput(f"{name[:40]} is given more than once", field=name[:40])
        given[name] = text
    values: dict[str, Any] = {}
    for parameter in route.parameters:
        if parameter.name in given:
            text = given.pop(parameter.name)
            if not text:
                raise InvalidInput(f"{parameter.name} is empty", field=parameter.name)
            values[parameter.name] = checked(parameter.parse, text, parameter.name)
    if given:
        name = next(iter(given))[:40]
        known = [p.name for p in route.parameters if p.place == "query"]
        raise InvalidInput(
            f"there is no parameter {name!r} here", field=name, hint=f"Known are: {', '.join(known) or 'none'}."
        )
    return values


_PATTERNS = [(route, route.path.split("/")) for route in ROUTES]
