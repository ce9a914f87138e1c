"""The hash chain: each change's link says which change it is and which history came before it.

`docs/chain.md` gives the exact bytes and a worked example. A reader keeps the link at its cursor; a log that
does not have that link there is not the log it read.
"""

from __future__ import annotations

from binascii import b2a_base64

from sltt_core.base.errors import ChainMismatch
from sltt_core.base.hashes import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sltt_core.model.changes import Change

GENESIS = "A" * 22
"""The link before the first change: sixteen zero bytes."""

_ABSENT = b"\xff\xff\xff\xff"


def link(
    previous: str,
    project_id: str,
    seq: int,
    entity_type: str,
    entity_id: str,
    operation: str,
    timestamp: str,
    cloud_at: str,
    data_json: str,
    cid: str | None,
    change_by: str | None,
) -> str:
    """Return a change's link: base64url, unpadded, of the first 16 bytes of a SHA-256.

    Hashed are, in the order of the parameters, each value's UTF-8 bytes behind their length as four bytes,
    big-endian; `seq` in decimal digits; for an absent `cid` or `changeBy`, the four bytes FF alone.
    """
    parts = []
    for text in (
        previous,
        project_id,
        str(seq),
        entity_type,
        entity_id,
        operation,
        timestamp,
        cloud_at,
        data_json,
        cid,
        change_by,
    ):
        if text is None:
            parts.append(_ABSENT)
        else:
            octets = text.encode()
            parts.append(len(octets).to_bytes(4, "big"))
            parts.append(octets)
    encoded = b2a_base64(sha256(b"".join(parts)).digest()[:16])[:22]
    return encoded.replace(b"+", b"-").replace(b"/", b"_").decode()


def link_of(previous: str, change: Change) -> str:
    """Return the link that a change must have after the given one."""
    values = change.as_tuple()
    return link(previous, *values[:8], *values[9:11])  # without `outdated_by` and `chain`


def check_links(previous: str, changes: Iterable[Change]) -> str:
    """Check the links of consecutive changes after one whose link is known; return the last link.

    Raises `ChainMismatch` at the first change that is not what its link says.
    """
    for change in changes:
        expected = link_of(previous, change)
        if change.chain != expected:
            raise ChainMismatch(
                f"change {change.seq} of {change.project_id} has the link {change.chain}, not {expected}"
            )
        previous = expected
    return previous


def is_link(text: str) -> bool:
    """Tell whether a text has the form of a link."""
    return len(text) == 22 and text.isascii() and text.replace("-", "").replace("_", "").isalnum()
