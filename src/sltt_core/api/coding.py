"""Gzip (RFC 1952) both ways: what comes in is bounded as it grows, what goes out is worth it."""

from __future__ import annotations

from sltt_core.base.errors import InvalidInput, PayloadTooLarge, UnsupportedMediaType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

WORTH_BYTES = 1_000
"""A shorter response is not compressed: it fits in one network packet as it is."""
LEVEL = 5
"""Of zlib's 1 to 9: within a few per cent of the best for a page of changes, at half the time."""
MAX_MEMBERS = 100
"""Gzip members in one body; `cat a.gz b.gz` makes two."""
_STEP = 16_384
_GZIP = 31  # zlib's way of asking for a gzip header


def decoded_body(body: bytes, headers: Mapping[str, str], limit: int) -> bytes:
    """Undo a request's content coding, never holding more than `limit` bytes of what comes out.

    Raises `PayloadTooLarge` beyond the limit, `InvalidInput` for what is no gzip, whole and with nothing after
    it, and `UnsupportedMediaType` for another coding.
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
                # Small steps: what a member leaves unused is copied, and thousands of members would copy it as often.
                step = member.unconsumed_tail or body[at : at + _STEP]
                if not step:
                    raise InvalidInput("the gzip body breaks off", field="body")
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
        raise InvalidInput("the body is not gzip, though its Content-Encoding says so", field="body") from None
    raise InvalidInput(f"the gzip body has more than {MAX_MEMBERS} members", field="body")


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Tell whether the client takes gzip (RFC 9110, section 12.5.3)."""
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
    """Compress a response; the same body gives the same bytes."""
    from zlib import compressobj

    compressor = compressobj(LEVEL, wbits=_GZIP)
    return compressor.compress(body) + compressor.flush()
