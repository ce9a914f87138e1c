"""The table of routes. Matching, documentation and tests are generated from it."""

from __future__ import annotations

from sltt_core.api.access import APPEND, GRANT, LIST, MARK, OPEN, READ
from sltt_core.api.http import MAX_WAIT_SECONDS, percent_decode, query_pairs
from sltt_core.base.errors import InvalidInput, MethodNotAllowed, NotFound
from sltt_core.base.record import Record
from sltt_core.log.pages import MAX_LIMIT, check_limit
from sltt_core.model.fields import (
    MAX_SEQ,
    check_credential_id,
    check_entity_type,
    check_free_text,
    check_project_id,
    check_seq,
    checked,
    is_link,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any


class Parameter(Record):
    """A parameter in the path or in the query."""

    name: str
    place: str
    """`path` or `query`."""
    description: str
    parse: Callable[[object], Any]
    """Returns the value of a text, or raises `ValueError` with the reason."""
    schema: Mapping[str, Any]
    """The JSON Schema of one value."""
    repeatable: bool = False
    """Whether it may be given several times. Then its value is a tuple."""
    example: Any = None
    """A value for the documentation."""
    required: bool = False
    """Whether a parameter of the query must be given. One of the path must be in any case."""


class Route(Record):
    """A method and a path, with their handler and the action that is checked."""

    method: str
    path: str
    """The path, with its parameters in braces."""
    handler: str
    """Its name in the tables of `sltt_core.api.handlers`."""
    action: str
    """The action that `sltt_core.api.access` checks before the handler runs: one of `ACTIONS`."""
    description: str
    parameters: tuple[Parameter, ...] = ()
    cache: str = "no-cache"
    """`Cache-Control` of a successful response. Logs grow, and changes get an `outdatedBy`. Therefore a cache may store
    a response, but must check each time whether it is still valid (`ETag`)."""
    with_auth: bool = False
    """Whether it exists only where credentials are verified."""

    @property
    def name(self) -> str:
        """The method and the path, for logs and metrics."""
        return f"{self.method} {self.path}"


def _integer(check: Callable[[object], int]) -> Callable[[object], int]:
    def parse(value: object) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit()) or len(text) > 15:
            raise ValueError("is not an integer in digits")
        return check(int(text))

    return parse


def _check_link(value: object) -> str:
    text = str(value)
    if not is_link(text):
        raise ValueError("is not a link: 22 characters of base64url")
    return text


def parse_end(value: object) -> tuple[str, int, str | None]:
    """Parse the end of a log that a client knows: `PROJECT:SEQ` or `PROJECT:SEQ:LINK`.

    A project id may contain colons, so the text is read from its end: after the last colon is a link if it has 22
    characters, which no number has, else the number.
    """
    rest, _, last = str(value).rpartition(":")
    link = None
    if len(last) == 22:
        link = _check_link(last)
        rest, _, last = rest.rpartition(":")
    if not rest:
        raise ValueError("is not PROJECT:SEQ or PROJECT:SEQ:LINK")
    return check_project_id(rest), CURSOR.parse(last), link


def _seconds(value: object) -> float:
    text = str(value)
    whole, point, fraction = text.partition(".")
    digits = whole + (fraction or "x") if point else whole
    if not (digits.isascii() and digits.isdigit()) or len(text) > 40 or float(text) > MAX_WAIT_SECONDS:
        raise ValueError(f"is not a number of seconds from 0 to {MAX_WAIT_SECONDS}")
    return float(text)


def _include_or_exclude(value: object) -> bool:
    if value not in ("include", "exclude"):
        raise ValueError("is not include or exclude")
    return value == "include"


def _text_or_object(value: object) -> bool:
    if value not in ("object", "text"):
        raise ValueError("is not object or text")
    return value == "text"


MAX_REPEATED = 100
"""How many times a repeatable parameter may be given."""

PROJECT_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}$"}
ENTITY_TYPE_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}
FREE_TEXT_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$",
}
LINK_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9_-]{22}$"}
CREDENTIAL_ID_SCHEMA = {"type": "string", "pattern": "^[A-Za-z0-9]{16}$"}
SEQ_SCHEMA = {"type": "integer", "minimum": 1, "maximum": MAX_SEQ}

PROJECT = Parameter("projectId", "path", "The project", check_project_id, PROJECT_SCHEMA, example="ruth")
PRINCIPAL = Parameter(
    "principal", "path", "The id of the principal, percent-encoded", check_free_text, FREE_TEXT_SCHEMA, example="ada"
)
TOKEN = Parameter(
    "tokenId", "path", "The device token", check_credential_id, CREDENTIAL_ID_SCHEMA, example="0123456789abcdef"
)
INVITATION = Parameter(
    "invitationId", "path", "The invitation", check_credential_id, CREDENTIAL_ID_SCHEMA, example="0123456789abcdef"
)
ID_CURSOR = Parameter("cursor", "query", "Returns those after this id", check_credential_id, CREDENTIAL_ID_SCHEMA)
SEQ = Parameter("seq", "path", "The change's sequence number", _integer(check_seq), SEQ_SCHEMA, example=1)
CURSOR = Parameter(
    "cursor",
    "query",
    "Returns changes after this sequence number; default 0, the beginning",
    _integer(lambda value: check_seq(value, 0)),
    {"type": "integer", "minimum": 0, "maximum": MAX_SEQ, "default": 0},
)
PROJECT_CURSOR = Parameter("cursor", "query", "Returns projects after this id", check_project_id, PROJECT_SCHEMA)
LIMIT = Parameter(
    "limit",
    "query",
    f"Maximum number of results, 1 to {MAX_LIMIT}; default {MAX_LIMIT}",
    _integer(check_limit),
    {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": MAX_LIMIT},
)
CHAIN = Parameter(
    "chain",
    "query",
    "The link (chain hash) that the reader knows at its cursor; 409 if the log has another",
    _check_link,
    LINK_SCHEMA,
)

WAIT = Parameter(
    "wait",
    "query",
    f"Seconds to wait for a change, 0 to {MAX_WAIT_SECONDS}; default 0",
    _seconds,
    {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS, "default": 0},
)
ENTITY_TYPE = Parameter(
    "entityType",
    "query",
    "Returns only changes of this entity type; repeatable",
    check_entity_type,
    ENTITY_TYPE_SCHEMA,
    repeatable=True,
)
ENTITY_ID = Parameter(
    "entityId",
    "query",
    "Returns only changes of this entity; repeatable",
    check_free_text,
    FREE_TEXT_SCHEMA,
    repeatable=True,
)
OUTDATED = Parameter(
    "outdated",
    "query",
    "`exclude` omits changes that a later one made obsolete; default `include`",
    _include_or_exclude,
    {"type": "string", "enum": ["include", "exclude"], "default": "include"},
)
DATA = Parameter(
    "data",
    "query",
    "`text` returns each `data` as a string that holds its JSON text verbatim; default `object`",
    _text_or_object,
    {"type": "string", "enum": ["object", "text"], "default": "object"},
)
END = Parameter(
    "at",
    "query",
    "The end of a log that the reader knows: `PROJECT:SEQ`, or `PROJECT:SEQ:LINK` with the link there; repeatable",
    parse_end,
    {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}:[0-9]{1,12}(:[A-Za-z0-9_-]{22})?$"},
    repeatable=True,
    example=["ruth:41"],
    required=True,
)

ROUTES = (
    Route(
        "GET", "/health", "health", OPEN, "Returns whether the server is up, and its kind of storage", cache="no-store"
    ),
    Route(
        "GET",
        "/ready",
        "ready",
        OPEN,
        "Returns whether the storage responds; 503 with the reason when it does not",
        cache="no-store",
    ),
    Route("GET", "/api/help", "help_page", OPEN, "Lists the routes", cache="public, max-age=300"),
    Route("GET", "/openapi.json", "openapi", OPEN, "Returns this API as OpenAPI 3.1", cache="public, max-age=300"),
    Route("POST", "/api/changes", "post_changes", APPEND, "Appends changes: an array, or one object", cache="no-store"),
    Route(
        "GET",
        "/api/projects",
        "get_projects",
        LIST,
        "Lists the projects that have changes, in order",
        (PROJECT_CURSOR, LIMIT),
    ),
    Route(
        "GET",
        "/api/projects/{projectId}/changes",
        "get_changes",
        READ,
        "Returns the changes after a cursor, in order",
        (PROJECT, CURSOR, LIMIT, CHAIN, WAIT, DATA, ENTITY_TYPE, ENTITY_ID, OUTDATED),
    ),
    Route("GET", "/api/projects/{projectId}/changes/{seq}", "get_change", READ, "Returns one change", (PROJECT, SEQ)),
    Route(
        "GET",
        "/api/projects/{projectId}/stats",
        "get_stats",
        READ,
        "Returns counts by operation and by entity type",
        (PROJECT,),
    ),
    Route(
        "GET",
        "/api/heads",
        "get_heads",
        LIST,
        "Returns the ends of the logs that have more changes than the reader knows; can wait for some",
        (END, WAIT),
        cache="no-store",
    ),
    Route("GET", "/api/me", "me", LIST, "Returns who the sender of the request is", cache="no-store"),
    Route(
        "GET",
        "/api/projects/{projectId}/members",
        "list_members",
        READ,
        "Lists the members of the project and their roles",
        (PROJECT,),
        cache="no-store",
    ),
    Route(
        "PUT",
        "/api/projects/{projectId}/members/{principal}",
        "put_member",
        GRANT,
        "Gives a principal a role in the project",
        (PROJECT, PRINCIPAL),
        cache="no-store",
    ),
    Route(
        "DELETE",
        "/api/projects/{projectId}/members/{principal}",
        "delete_member",
        READ,
        "Takes the role of a principal away; an owner may remove everyone, a member itself",
        (PROJECT, PRINCIPAL),
        cache="no-store",
    ),
    Route(
        "GET",
        "/api/projects/{projectId}/tokens",
        "list_tokens",
        GRANT,
        "Lists the device tokens of the project, without their secrets",
        (PROJECT, ID_CURSOR, LIMIT),
        cache="no-store",
    ),
    Route(
        "POST",
        "/api/projects/{projectId}/tokens",
        "create_token",
        GRANT,
        "Creates a device token; the response is the only one that contains it",
        (PROJECT,),
        cache="no-store",
    ),
    Route(
        "DELETE",
        "/api/projects/{projectId}/tokens/{tokenId}",
        "revoke_token",
        GRANT,
        "Revokes a device token",
        (PROJECT, TOKEN),
        cache="no-store",
    ),
    Route(
        "GET",
        "/api/projects/{projectId}/invitations",
        "list_invitations",
        GRANT,
        "Lists the invitations to the project, without their codes",
        (PROJECT, ID_CURSOR, LIMIT),
        cache="no-store",
    ),
    Route(
        "POST",
        "/api/projects/{projectId}/invitations",
        "create_invitation",
        GRANT,
        "Creates an invitation; the response is the only one that contains its code",
        (PROJECT,),
        cache="no-store",
    ),
    Route(
        "DELETE",
        "/api/projects/{projectId}/invitations/{invitationId}",
        "withdraw_invitation",
        GRANT,
        "Withdraws an invitation",
        (PROJECT, INVITATION),
        cache="no-store",
    ),
    Route(
        "POST",
        "/api/invitations/accept",
        "accept_invitation",
        LIST,
        "Gives the sender of the request the role of an invitation",
        cache="no-store",
    ),
    Route(
        "POST",
        "/api/projects/{projectId}/changes/{seq}/outdated",
        "mark_as_outdated",
        MARK,
        "Records that a later change made this one obsolete; returns the change",
        (PROJECT, SEQ),
        cache="no-store",
    ),
    Route(
        "GET",
        "/.well-known/oauth-protected-resource",
        "resource_metadata",
        OPEN,
        "Returns which issuer's tokens this API accepts; only where it verifies tokens",
        cache="no-store",
        with_auth=True,
    ),
)


def routes(*, with_auth: bool) -> tuple[Route, ...]:
    """Return the routes of an API that verifies credentials, or of one that does not."""
    return ROUTES if with_auth else tuple(route for route in ROUTES if not route.with_auth)


def match(method: str, path: str, *, with_auth: bool = True) -> tuple[Route, dict[str, str]]:
    """Return the route for a method and a path, and the parameters in the path, percent-encoded.

    `with_auth` tells whether the API verifies credentials. `HEAD` matches the routes of `GET`. Raises `NotFound` if no
    route has the path, and `MethodNotAllowed` if none of its routes has the method.
    """
    found_routes = _routes_at(path, with_auth)
    for route, found in found_routes:
        if method == route.method or (method == "HEAD" and route.method == "GET"):
            return route, found
    raise MethodNotAllowed(method, allowed([route for route, _ in found_routes]))


def allowed_at(path: str, *, with_auth: bool = True) -> tuple[str, ...]:
    """Return the methods of a path; raises `NotFound` when no route has the path."""
    return allowed([route for route, _ in _routes_at(path, with_auth)])


def allowed(of_routes: Sequence[Route]) -> tuple[str, ...]:
    """Return the methods of some routes, with `OPTIONS`, and with `HEAD` if there is a `GET`."""
    methods = {route.method for route in of_routes} | {"OPTIONS"}
    return tuple(sorted(methods | {"HEAD"} if "GET" in methods else methods))


def _routes_at(path: str, with_auth: bool) -> list[tuple[Route, dict[str, str]]]:
    segments = path.split("/")
    found_routes = []
    for route, fixed, named in _PATTERNS.get(len(segments), ()):
        if all(segments[place] == part for place, part in fixed) and (with_auth or not route.with_auth):
            found_routes.append((route, {name: segments[place] for place, name in named}))
    if not found_routes:
        raise NotFound(f"no route has the path {path[:200]}", hint="GET /api/help lists the routes.")
    return found_routes


def parse_parameters(route: Route, found: Mapping[str, str], query: str) -> dict[str, Any]:
    """Return the parsed parameters of a request to a route, by name.

    Raises `InvalidInput` for a parameter that is unknown, empty or not valid, or that is repeated and not repeatable.
    """
    given: dict[str, list[str]] = {name: [percent_decode(text, name)] for name, text in found.items()}
    for name, text in query_pairs(query):
        given.setdefault(name, []).append(text)
    values: dict[str, Any] = {}
    for parameter in route.parameters:
        name = parameter.name
        if name not in given:
            if parameter.required:
                raise InvalidInput(f"{name} is required", field=name, hint=f"{parameter.description}.")
            continue
        texts = given.pop(name)
        if "" in texts:
            raise InvalidInput(f"{name} is empty", field=name)
        if len(texts) > (MAX_REPEATED if parameter.repeatable else 1):
            raise InvalidInput(f"{name} is given {len(texts)} times", field=name)
        parsed = tuple(checked(parameter.parse, text, name) for text in texts)
        values[name] = parsed if parameter.repeatable else parsed[0]
    if given:
        name = next(iter(given))[:40]
        known = [parameter.name for parameter in route.parameters if parameter.place == "query"]
        raise InvalidInput(
            f"the parameter {name!r} is unknown", field=name, hint=f"This route has: {', '.join(known) or 'none'}."
        )
    return values


_PATTERNS: dict[int, list[tuple[Route, list[tuple[int, str]], list[tuple[int, str]]]]] = {}
"""By the number of segments: each route, and the places of its fixed segments and of its parameters, last first."""
for _route in ROUTES:
    _parts = list(enumerate(_route.path.split("/")))[::-1]
    _PATTERNS.setdefault(len(_parts), []).append(
        (
            _route,
            [(place, part) for place, part in _parts if not part.startswith("{")],
            [(place, part[1:-1]) for place, part in _parts if part.startswith("{")],
        )
    )
