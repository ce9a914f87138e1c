"""Bodies: gzip (RFC 1952), decompressed within a limit, and JSON objects, checked member by member."""

from __future__ import annotations

from sltt_core.api.http import MAX_BODY_BYTES, Request
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import InvalidInput, PayloadTooLarge, UnsupportedMediaType
from sltt_core.base.json_reader import JsonProblem, decode_utf8, read
from sltt_core.base.record import Record
from sltt_core.model.fields import checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

WORTH_BYTES = 1_000
"""Shorter responses are not compressed: they fit in one network packet."""
LEVEL = 5
"""The compression level of zlib, 1 to 9. For a page of changes, 9 saves a few per cent more and takes twice as long."""
MAX_MEMBERS = 100
"""The most gzip members of a body. `cat a.gz b.gz` has two."""
_STEP = 16_384
_GZIP = 31  # the `wbits` of zlib for a gzip header


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


def decoded_body(body: bytes, headers: Mapping[str, str], limit: int) -> bytes:
    """Return the body of a request without its Content-Encoding. At most `limit` bytes are decompressed.

    Raises `PayloadTooLarge` for a longer body, `InvalidInput` for a body that is not complete gzip data or has data
    after it, and `UnsupportedMediaType` for another encoding.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding in ("", "identity"):
        inflated = body
    elif coding in ("gzip", "x-gzip"):
        inflated = _inflate(body, limit)
    else:
        raise UnsupportedMediaType(
            f"the body's Content-Encoding {coding[:40]!r} is not gzip", hint="Send gzip, or none."
        )
    if len(inflated) > limit:
        raise PayloadTooLarge(f"the body is larger than {limit:,} bytes")
    return inflated


def _inflate(body: bytes, limit: int) -> bytes:
    from zlib import decompressobj, error

    parts: list[bytes] = []
    room = limit + 1
    at = 0
    try:
        for _ in range(MAX_MEMBERS):
            member = decompressobj(_GZIP)
            while not member.eof:
                # Small steps, because zlib copies the unused rest of the input after each member.
                step = member.unconsumed_tail or body[at : at + _STEP]
                if not step:
                    raise InvalidInput("the gzip body is incomplete", field="body")
                if not member.unconsumed_tail:
                    at += len(step)
                part = member.decompress(step, room)
                room -= len(part)
                parts.append(part)
                if room <= 0:
                    raise PayloadTooLarge(f"the body is larger than {limit:,} bytes when decompressed")
            at -= len(member.unused_data)
            if at == len(body):
                return b"".join(parts)
    except error:
        raise InvalidInput("the body is not gzip, although its Content-Encoding is", field="body") from None
    raise InvalidInput(f"the gzip body has more than {MAX_MEMBERS} members", field="body")


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Return whether the client accepts gzip (RFC 9110, section 12.5.3)."""
    wildcard = False
    for part in headers.get("accept-encoding", "").lower().split(","):
        coding, _, parameter = part.partition(";")
        name, _, quality = parameter.partition("=")
        wanted = name.strip() != "q" or quality.strip().strip("0") not in ("", ".")
        if coding.strip() in ("gzip", "x-gzip"):
            return wanted
        wildcard = wildcard or (coding.strip() == "*" and wanted)
    return wildcard


def gzipped(body: bytes) -> bytes:
    """Compress a response. Equal bodies have equal results."""
    from zlib import compressobj

    compressor = compressobj(LEVEL, wbits=_GZIP)
    return compressor.compress(body) + compressor.flush()
