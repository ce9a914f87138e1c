"""The fields of a change: one table (`FIELDS`), a check for each of them, and the limits that the checks apply.

What is parsed, stored, hashed, sent and documented of a change is derived from the table, or is tested against it
(`tests/sltt_core/model/test_table.py`) where hand-written code is faster. A check returns the value to keep, or raises
`ValueError` with the reason, in words that go after the name.
"""

from __future__ import annotations

from sltt_core.base.errors import InvalidInput
from sltt_core.base.record import Record
from sltt_core.base.timestamps import normalise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TypeVar

    T = TypeVar("T")
    Operation = Literal["create", "update", "delete"]

OPERATIONS: tuple[Operation, ...] = ("create", "update", "delete")
"""What a caller may say it did; `create` when it says nothing."""
TOMBSTONE = "void"
"""The operation of a change that `repair` puts where the log had a hole; no caller may send it."""

MAX_ITEM_BYTES = 400 * 1024
"""DynamoDB's limit of an item, names and values together (AWS: "Constraints in Amazon DynamoDB")."""
MAX_ENTITY_TYPES = 200
"""Different entity types in one project: their counts live on one item."""
MAX_SEQ = 2**40 - 1
"""The greatest sequence number, beyond what a project can reach (a thousand a second for 34 years)."""

_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_PROJECT_CHARS = _ALNUM + "._~@:+-"
_TYPE_CHARS = _ALNUM + "_.:-"
_KEY_CHARS = _ALNUM + "._:-"


def check_project_id(value: object) -> str:
    """Check a project id: `[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}`."""
    text = _text(value, 128)
    if text.strip(_PROJECT_CHARS) or text[0] not in _ALNUM:
        raise ValueError(
            "holds a character that is not allowed; a project id is 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + - "
            "and begins with a letter or digit"
        )
    return text


def check_entity_type(value: object) -> str:
    """Check an entity type: `[A-Za-z0-9_.:-]{1,64}`."""
    text = _text(value, 64)
    if text.strip(_TYPE_CHARS):
        raise ValueError("holds a character that is not allowed; an entity type is 1 to 64 of A-Z a-z 0-9 _ . : -")
    return text


def check_free_text(value: object) -> str:
    """Check an entity id, a `cid` or a `changeBy`: 1 to 255 characters, no control character."""
    text = _text(value, 255)
    if not text.isprintable() and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
        raise ValueError("holds a control character")
    return text


def check_idempotency_key(value: object) -> str:
    """Check an idempotency key: `[A-Za-z0-9._:-]{16,128}`."""
    text = _text(value, 128)
    if len(text) < 16 or text.strip(_KEY_CHARS):
        raise ValueError("is not 16 to 128 of A-Z a-z 0-9 . _ : -")
    return text


def check_seq(value: object, least: int = 1) -> int:
    """Check a sequence number or cursor: an integer from `least` to `MAX_SEQ`."""
    if type(value) is not int:
        raise ValueError("is not an integer")
    if not least <= value <= MAX_SEQ:
        raise ValueError(f"is not from {least} to {MAX_SEQ}")
    return value


def _check_client_seq(value: object) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("is not an integer from 0 to 2^63 - 1")
    return value


def _check_operation(value: object) -> str:
    if value not in OPERATIONS:
        raise ValueError(f"is not one of {', '.join(OPERATIONS)}")
    return str(value)


def _check_timestamp(value: object) -> str:
    return normalise(_text(value, 64))


def _check_data(value: object) -> object:
    raise ValueError("is not a JSON object")


def _text(value: object, most: int) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a string")
    if not value:
        raise ValueError("is empty")
    if len(value) > most:
        raise ValueError(f"is longer than {most} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character") from None
    return value


class Field(Record):
    """One field of a change: what it is called in each place, and what holds of it there."""

    name: str
    """In `Change`, and its column in SQL."""
    wire: str
    """In JSON."""
    attribute: str
    """Of the item in DynamoDB."""
    type: str = "text"
    """`text`, `integer`, or `json`, which is a text that is written into JSON as it is."""
    optional: bool = False
    """Whether a stored change may be without it."""
    hashed: bool = True
    """Whether the link covers it. The order of the hash is the order of the table."""
    sized: bool = False
    """Whether its length is counted in the size of an item; the others are in the constant part (`item_bytes`)."""
    check: Callable[[object], Any] | None = None
    """For what a client sends; `None`: a client may not send it."""
    place: int | None = None
    """Its place among the fields of `NewChange`; `None`: what a client sends is checked, and dropped.

    It is the order of a fingerprint, too: a place that is taken never changes.
    """
    parameter: str = ""
    """Of `NewChange`, when it has another name there."""
    required: bool = False
    """Whether a new change must have it. A project may also come from the service."""
    alias: str = ""
    """Another name for it in JSON that a client may send."""


FIELDS = (
    Field("project_id", "projectId", "pk", sized=True, check=check_project_id, place=0),
    Field("seq", "seq", "seq", "integer", check=_check_client_seq, place=8, parameter="client_seq"),
    Field("entity_type", "entityType", "entityType", sized=True, check=check_entity_type, place=1, required=True),
    Field("entity_id", "entityId", "entityId", sized=True, check=check_free_text, place=2, required=True),
    Field("operation", "operation", "operation", check=_check_operation, place=4),
    Field("timestamp", "timestamp", "timestamp", check=_check_timestamp, place=5, alias="changeAt"),
    Field("cloud_at", "cloudAt", "cloudAt", check=_check_timestamp),
    Field(
        "data_json",
        "data",
        "dataJson",
        "json",
        sized=True,
        check=_check_data,
        place=3,
        parameter="data",
        required=True,
    ),
    Field("outdated_by", "outdatedBy", "outdatedBy", "integer", optional=True, hashed=False, check=_check_client_seq),
    Field("cid", "cid", "cid", optional=True, sized=True, check=check_free_text, place=6),
    Field("change_by", "changeBy", "changeBy", optional=True, sized=True, check=check_free_text, place=7),
    Field("chain", "chain", "chain", hashed=False),
)
"""The fields of a stored change, in the order of `Change`, of SQL's columns and of the API's JSON."""

NEW_FIELDS = tuple(sorted((field for field in FIELDS if field.place is not None), key=lambda field: field.place or 0))
"""The fields of a new change that are kept, in the order of `NewChange`."""

COLUMNS = tuple(field.name for field in FIELDS[2:])
"""The columns of the SQL table of changes, in order; project and number are its key."""

CHECKS: dict[str, Callable[[object], Any]] = {
    name: field.check for field in FIELDS if field.check for name in (field.wire, field.alias) if name
}
"""The check of each field that a client may send, by its wire name or alias."""

WIRE_NAMES = {name: field.wire for field in FIELDS for name in (field.name, field.parameter) if name}
"""What the wire calls each parameter of the Python API."""


def checked(check: Callable[[object], T], value: object, field: str) -> T:
    """Apply one of the checks to a value that stands alone; raises `InvalidInput` naming the field."""
    try:
        return check(value)
    except ValueError as error:
        raise InvalidInput(f"{field} {error}", field=field) from None


def utf8_length(text: str | None) -> int:
    """Return the length of a text in UTF-8; of `None`, 0."""
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def item_bytes(*texts: str | None) -> int:
    """Return what a change with these free texts takes as a DynamoDB item, rounded up a little.

    Attribute names and values in UTF-8, a number at most 21 bytes (AWS: "DynamoDB item sizes and
    formats"): 82 for the names, 42 for two numbers, 92 for operation, times and link, and room to spare.
    """
    return 256 + sum(map(utf8_length, texts))
