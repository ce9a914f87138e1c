"""The bodies of requests: JSON, decompressed, and checked member by member."""

from __future__ import annotations

from sltt_core.api.coding import decoded_body
from sltt_core.api.http import MAX_BODY_BYTES, Request
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import InvalidInput, UnsupportedMediaType
from sltt_core.base.json_reader import JsonProblem, decode_utf8, read
from sltt_core.base.record import Record
from sltt_core.model.fields import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class Member(Record):
    """A member of a body that is a JSON object."""

    check: Callable[[object], Any]
    """Returns the value to use, or raises `ValueError` with the reason."""
    example: Any
    required: bool = True


def json_body(request: Request) -> bytes:
    """Return the decompressed body of a request with JSON; raises `UnsupportedMediaType`, `PayloadTooLarge`."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise UnsupportedMediaType(f"the body's Content-Type is {media_type[:80] or 'missing'}, not application/json")
    return decoded_body(request.body, request.headers, MAX_BODY_BYTES)


def read_object(request: Request, members: Mapping[str, Member]) -> dict[str, Any]:
    """Return the checked members of a body that is a JSON object with these members and no others.

    Raises `UnsupportedMediaType`, `PayloadTooLarge`, and `InvalidInput` that names the member.
    """
    hint = f"The body is, for example: {dumps({name: member.example for name, member in members.items()})}."
    body = json_body(request)
    try:
        given = read(decode_utf8(body))
    except JsonProblem as error:
        raise InvalidInput(f"the body is not valid: {error}", field="body", hint=hint) from None
    if not isinstance(given, dict):
        raise InvalidInput("the body is not a JSON object", field="body", hint=hint)
    for name in given:
        if name not in members:
            raise InvalidInput(f"the member {name[:40]!r} is unknown", field=name[:40], hint=hint)
    for name, member in members.items():
        if member.required and name not in given:
            raise InvalidInput(f"{name} is missing", field=name, hint=hint)
    return {name: checked(members[name].check, value, name) for name, value in given.items()}
