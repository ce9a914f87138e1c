"""The credentials that owners of a project issue: device tokens and invitations, as they are stored.

A device token is a principal of its own, `device:<id>`. Its role is granted in the log, like that of any principal. An
invitation grants a role to the principal who accepts it. Only the SHA-256 of a secret is stored.
"""

from __future__ import annotations

from sltt_core.base.record import Record
from sltt_core.model.fields import check_free_text
from sltt_core.model.grants import ROLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOKEN_SECONDS = 400 * 86_400
"""How long a device token is valid after its last use, in seconds."""
EXTEND_SECONDS = 86_400
"""The least number of seconds between two extensions of a device token."""
MAX_DAYS = 365
"""The most days for which an invitation is valid."""
MAX_USES = 1000
"""The most principals that can accept an invitation."""


_LATEST = 253_402_300_799
"""9999-12-31T23:59:59Z, in seconds since 1970."""


class Token(Record):
    """A device token."""

    id: str
    """16 characters of `A-Z a-z 0-9`."""
    hash: str
    """The SHA-256 of the secret, in hexadecimal digits. It is not in the `repr`."""
    project_id: str
    role: str
    """The role that was granted when the token was created. The members of the project have the current one."""
    created_by: str | None
    """The principal who created it, or `None` if that is unknown."""
    created_at: str
    """ISO 8601, UTC."""
    expires: int
    """Seconds since 1970. The token is not valid from then on."""
    principal: str
    """`device:<id>`."""
    name: str
    revoked_at: str | None = None
    """When it was revoked: ISO 8601, UTC."""

    def __repr__(self) -> str:
        return f"Token({self.id!r}, {self.project_id!r})"


class Invitation(Record):
    """An invitation to a project."""

    id: str
    """16 characters of `A-Z a-z 0-9`."""
    hash: str
    """The SHA-256 of the secret, in hexadecimal digits. It is not in the `repr`."""
    project_id: str
    role: str
    """The role of the principal who accepts it."""
    created_by: str | None
    """The principal who created it, or `None` if that is unknown."""
    created_at: str
    """ISO 8601, UTC."""
    expires: int
    """Seconds since 1970. The invitation is not valid from then on."""
    uses: int
    """How many principals can still accept it."""

    def __repr__(self) -> str:
        return f"Invitation({self.id!r}, {self.project_id!r})"


def device_principal(token_id: str) -> str:
    """Return the principal of a device token."""
    return f"device:{token_id}"


def check_name(value: object) -> str:
    """Check the name of a device token: 1 to 255 characters without control characters."""
    return check_free_text(value)


def check_digest(value: object) -> bytes:
    """Check a SHA-256; raises `ValueError` with the reason."""
    if type(value) is not bytes or len(value) != 32:
        raise ValueError("is not a SHA-256: 32 bytes")
    return value


def check_days(value: object) -> int:
    """Check for how many days an invitation is valid: 1 to `MAX_DAYS`."""
    return _check_range(value, MAX_DAYS)


def check_uses(value: object) -> int:
    """Check how often an invitation can be accepted: 1 to `MAX_USES`."""
    return _check_range(value, MAX_USES)


def _check_range(value: object, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"is not an integer from 1 to {most}")
    return value


def check_stored(credential: Token | Invitation) -> None:
    """Raise `ValueError`, which contains no value, if a stored credential is not valid."""
    values: dict[str, Any] = dict(zip(credential.fields, credential.as_tuple(), strict=True))
    for name, value in values.items():
        if type(value) is not (int if name in ("expires", "uses") else str) and (
            value is not None or name not in ("created_by", "revoked_at")
        ):
            raise ValueError(f"{name} has the wrong type")
    if credential.role not in ROLES[1:] or len(bytes.fromhex(credential.hash)) != 32:
        raise ValueError("role or hash is not valid")
    if not 0 <= credential.expires <= _LATEST:
        raise ValueError("expires is not a time")
