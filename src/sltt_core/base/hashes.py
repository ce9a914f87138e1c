"""`sha256` of `hashlib`, imported from its C module.

Importing `hashlib` looks up every algorithm in OpenSSL, which slows down a cold start.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _hashlib import openssl_sha256 as sha256
    except ImportError:  # a Python without OpenSSL
        from hashlib import sha256

__all__ = ["sha256"]
