"""What a client of the REST API sends: the bodies of appends, paths and parameters, checked before anything is sent."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from sltt_core.base.errors import InvalidInput
from sltt_core.http_client.transport import parse_origin
from sltt_core.model.changes import NewChange
from sltt_core.model.fields import NEW_FIELDS, check_free_text, check_project_id, checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sltt_core.http_client.transport import Origin


def parse_server(url: str) -> tuple[Origin, str]:
    """Return the origin of an API's URL, and the path before its routes; raises `InvalidInput`."""
    scheme, found, rest = url.strip().partition("://")
    host, slash, path = rest.partition("/")
    if found and all("!" <= c <= "~" and c not in "?#" for c in path):
        try:
            return parse_origin(f"{scheme}://{host}"), f"/{path}".rstrip("/") if slash else ""
        except ValueError:  # its message has the URL, which may contain a password
            pass
    raise InvalidInput(
        "server is not the URL of an API, such as https://sync.example.org", field="server", hint="Leave out the query."
    )


def batch_body(changes: Iterable[NewChange | Mapping[str, Any]], user: str | None = None) -> bytes:
    """Return the body of a request that appends a batch; `user` is the `changeBy` of changes that name nobody."""
    return f"[{','.join([_written(change, user) for change in changes])}]".encode("utf-8", "surrogatepass")


def _written(change: NewChange | Mapping[str, Any], user: str | None) -> str:
    """Return the JSON of a change as a client sends it, with the text of a `NewChange`'s data verbatim."""
    by = {} if user is None else {"changeBy": user}
    if not isinstance(change, NewChange):
        return _json({**by, **change})
    values = zip((field.wire for field in NEW_FIELDS), change.as_tuple(), strict=True)
    given = {name: value for name, value in values if value is not None}
    data = given.pop("data")
    return f'{json.dumps({**by, **given}, ensure_ascii=False)[:-1]}, "data": {data}}}'


def _json(change: Mapping[str, Any]) -> str:
    try:
        return json.dumps(change, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"a change is not JSON: {error}", field="changes") from None


def project_path(project_id: str) -> str:
    """Return the path of a project's routes; raises `InvalidInput` for an id that no project has."""
    return f"/api/projects/{quote(checked(check_project_id, project_id, 'project_id'), safe='')}"


def member_path(project_id: str, principal: str) -> str:
    """Return the path of a member of a project; raises `InvalidInput`."""
    return f"{project_path(project_id)}/members/{quote(checked(check_free_text, principal, 'principal'), safe='')}"


def at_text(project_id: str, seq: int, link: str | None) -> str:
    """Return the end of a log as the parameter `at` has it: `ruth:41`, or `ruth:41:LINK`."""
    checked(check_project_id, project_id, "project_id")
    return f"{project_id}:{seq}" if link is None else f"{project_id}:{seq}:{link}"


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `InvalidInput` for the first header that cannot be sent as it is (RFC 9110, section 5)."""
    for name, value in headers.items():
        if any(not " " <= character <= "\u00ff" or character == "\x7f" for character in value):
            raise InvalidInput(f"the header {name} contains a character that HTTP does not allow", field=name)
        if not name or name.strip(_TOKEN):
            raise InvalidInput(f"{name!r} is not the name of a header", field="headers")


_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
