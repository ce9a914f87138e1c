"""The hash chain: each change has a link, which is a hash of the change and of the link before it.

`docs/chain.md` specifies the exact bytes and has a worked example. A reader stores the link at its cursor. If the log
has another link there, it has another history than the one the reader knows.
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
"""The link before the first change: 16 zero bytes."""

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
    """Return the link of a change: the first 16 bytes of a SHA-256 hash, in base64url without padding.

    The hash covers the parameters in order. Each value is its length in bytes (four bytes, big-endian) and its UTF-8
    bytes. `seq` is in decimal digits. `None` is four bytes FF.
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
    """Return the link that a change must have if the link before it is `previous`."""
    values = change.as_tuple()
    return link(previous, *values[:8], *values[9:11])  # without `outdated_by`, `chain` and `request_key`


def check_links(previous: str, changes: Iterable[Change]) -> str:
    """Check the links of consecutive changes that follow the link `previous`, and return the last link.

    Raises `ChainMismatch` at the first change that does not match its link.
    """
    for change in changes:
        expected = link_of(previous, change)
        if change.chain != expected:
            raise ChainMismatch(
                f"change {change.seq} of {change.project_id} has the link {change.chain}, not {expected}"
            )
        previous = expected
    return previous
