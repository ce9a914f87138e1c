"""The fields of a change: one table (`FIELDS`), a check for each field, and the limits that the checks apply.

Parsing, storing, hashing, sending and documenting a change follow from the table. Where hand-written code is faster,
`tests/sltt_core/model/test_table.py` compares it with the table. A check returns the value to store, or raises
`ValueError` with a reason. The reason is a phrase that follows the name of the field: `is empty`.
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
"""The operations of a new change; the default is `create`."""
TOMBSTONE = "void"
"""The operation of a tombstone: a change that `repair` inserts for a missing number. Callers cannot send it."""
STORED_OPERATIONS = frozenset((*OPERATIONS, TOMBSTONE))
"""The operations of a change in a log."""

MAX_ITEM_BYTES = 400 * 1024
"""The most bytes of a DynamoDB item, with names and values (AWS: "Constraints in Amazon DynamoDB")."""
MAX_ENTITY_TYPES = 200
"""The most entity types of a project. One DynamoDB item holds their counts."""
MAX_SEQ = 2**40 - 1
"""The greatest sequence number. A project that appends 1,000 changes a second reaches it in 34 years."""

_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_PROJECT_CHARS = _ALNUM + "._~@:+-"
_TYPE_CHARS = _ALNUM + "_.:-"
_KEY_CHARS = _ALNUM + "._:-"
_LINK_CHARS = _ALNUM + "-_"


def check_project_id(value: object) -> str:
    """Check a project id: `[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,127}`."""
    text = _text(value, 128)
    if text.strip(_PROJECT_CHARS) or text[0] not in _ALNUM:
        raise ValueError("is not valid: 1 to 128 of A-Z a-z 0-9 . _ ~ @ : + -, the first a letter or digit")
    return text


def check_entity_type(value: object) -> str:
    """Check an entity type: `[A-Za-z0-9_.:-]{1,64}`."""
    text = _text(value, 64)
    if text.strip(_TYPE_CHARS):
        raise ValueError("is not valid: 1 to 64 of A-Z a-z 0-9 _ . : -")
    return text


def check_free_text(value: object) -> str:
    """Check an entity id, a `cid` or a `changeBy`: 1 to 255 characters without control characters."""
    text = _text(value, 255)
    if not text.isprintable() and any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
        raise ValueError("contains a control character")
    return text


def check_idempotency_key(value: object) -> str:
    """Check an idempotency key: `[A-Za-z0-9._:-]{16,128}`."""
    text = _text(value, 128)
    if len(text) < 16 or text.strip(_KEY_CHARS):
        raise ValueError("is not valid: 16 to 128 of A-Z a-z 0-9 . _ : -")
    return text


def check_credential_id(value: object) -> str:
    """Check the id of a device token or of an invitation: `[A-Za-z0-9]{16}`."""
    text = _text(value, 16)
    if len(text) < 16 or text.strip(_ALNUM):
        raise ValueError("is not valid: 16 of A-Z a-z 0-9")
    return text


def is_link(text: str) -> bool:
    """Return whether a text has the form of a link: 22 characters of base64url."""
    return len(text) == 22 and not text.strip(_LINK_CHARS)


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
        raise ValueError("contains half of a surrogate pair") from None
    return value


class Field(Record):
    """One field of a change: its names, and its rules."""

    name: str
    """Its name in `Change` and in SQL."""
    wire: str
    """Its name in JSON; empty for a field that the API does not show."""
    attribute: str
    """Its name in DynamoDB."""
    type: str = "text"
    """`text`, `integer` or `json`: a JSON text that is written into JSON verbatim."""
    optional: bool = False
    """Whether a stored change may lack it."""
    hashed: bool = True
    """Whether the link (the hash of the change) covers it. The order of hashing is the order of the table."""
    sized: bool = False
    """Whether the size of an item counts its length. The constant of `item_bytes` covers the other fields."""
    check: Callable[[object], Any] | None = None
    """Checks the value that a client sends; `None` if a client may not send the field."""
    position: int | None = None
    """Its position among the fields of `NewChange`; `None` if the value that a client sends is checked and ignored.

    Fingerprints follow this order, so a position that is in use never changes.
    """
    parameter: str = ""
    """The parameter of `NewChange`, if it differs from `name`."""
    required: bool = False
    """Whether a new change must have it. The project is not: the service may supply it."""
    alias: str = ""
    """Another name in JSON that a client may use."""


FIELDS = (
    Field("project_id", "projectId", "pk", sized=True, check=check_project_id, position=0),
    Field("seq", "seq", "seq", "integer", check=_check_client_seq, position=8, parameter="client_seq"),
    Field("entity_type", "entityType", "entityType", sized=True, check=check_entity_type, position=1, required=True),
    Field("entity_id", "entityId", "entityId", sized=True, check=check_free_text, position=2, required=True),
    Field("operation", "operation", "operation", check=_check_operation, position=4),
    Field("timestamp", "timestamp", "timestamp", check=_check_timestamp, position=5, alias="changeAt"),
    Field("cloud_at", "cloudAt", "cloudAt", check=_check_timestamp),
    Field(
        "data_json",
        "data",
        "dataJson",
        "json",
        sized=True,
        check=_check_data,
        position=3,
        parameter="data",
        required=True,
    ),
    Field("outdated_by", "outdatedBy", "outdatedBy", "integer", optional=True, hashed=False, check=_check_client_seq),
    Field("cid", "cid", "cid", optional=True, sized=True, check=check_free_text, position=6),
    Field("change_by", "changeBy", "changeBy", optional=True, sized=True, check=check_free_text, position=7),
    Field("chain", "chain", "chain", hashed=False),
    Field("request_key", "", "requestKey", optional=True, hashed=False, sized=True),
)
"""The fields of a stored change. `Change`, the columns in SQL and the JSON of the API have this order."""

SHOWN_FIELDS = tuple(field for field in FIELDS if field.wire)
"""The fields that the API shows."""

NEW_FIELDS = tuple(
    sorted((field for field in FIELDS if field.position is not None), key=lambda field: field.position or 0)
)
"""The fields of `NewChange`, in order."""

COLUMNS = tuple(field.name for field in FIELDS[2:])
"""The columns of the SQL table of changes after its key (project and number), in order."""

CHECKS: dict[str, Callable[[object], Any]] = {
    name: field.check for field in FIELDS if field.check for name in (field.wire, field.alias) if name
}
"""The check of each field that a client may send, by its wire name or alias."""

WIRE_NAMES = {name: field.wire for field in SHOWN_FIELDS for name in (field.name, field.parameter) if name}
"""The wire name of each field and parameter of the Python API."""


def check_item_size(size: int) -> int:
    """Check the size in bytes that `item_bytes` returns."""
    if size > MAX_ITEM_BYTES:
        raise ValueError(f"has {size:,} bytes as stored; the limit is {MAX_ITEM_BYTES:,}")
    return size


def checked(check: Callable[[object], T], value: object, field: str) -> T:
    """Apply a check to a single value; raises `InvalidInput` that names the field."""
    try:
        return check(value)
    except ValueError as error:
        raise InvalidInput(f"{field} {error}", field=field) from None


def utf8_length(text: str | None) -> int:
    """Return the length of a text in UTF-8, in bytes; 0 for `None`."""
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode())


def item_bytes(*texts: str | None) -> int:
    """Return the size in bytes of the DynamoDB item of a change with these texts. The size is rounded up.

    DynamoDB counts names and values in UTF-8, and at most 21 bytes for a number (AWS: "DynamoDB item sizes and
    formats"). The constant covers 92 bytes of names, 42 of numbers, 92 of operation, times and link, and a reserve.
    """
    return 256 + sum(map(utf8_length, texts))
