"""Base64url as JOSE uses it (RFC 7515, section 2, and RFC 4648, section 5): without padding, and in one form only."""

from __future__ import annotations

from binascii import Error, a2b_base64, b2a_base64


def decode(text: str) -> bytes:
    """Decode base64url; raises `ValueError` for padding, other characters, white space and unused bits that are set.

    Only the text that `encode` returns is accepted, so that no two texts stand for the same bytes.
    """
    try:
        data = a2b_base64(text.translate(_TO_BASE64) + "=" * (-len(text) % 4))
    except (Error, ValueError):
        data = b""
    if encode(data) != text:
        raise ValueError("is not base64url")
    return data


def encode(data: bytes) -> str:
    """Encode bytes without padding."""
    return b2a_base64(data, newline=False).decode().rstrip("=").translate(_FROM_BASE64)


_TO_BASE64 = str.maketrans("-_", "+/")
_FROM_BASE64 = str.maketrans("+/", "-_")
