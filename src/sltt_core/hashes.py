"""`sha256` and `blake2b`: those of `hashlib`, from the C modules where it finds them, without what it does besides.

`hashlib` asks OpenSSL for every algorithm it knows of; a cold start feels that.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import blake2b, sha256
else:
    try:
        from _blake2 import blake2b
        from _hashlib import openssl_sha256 as sha256
    except ImportError:  # a Python without OpenSSL, or without Blake2 of its own
        from hashlib import blake2b, sha256

__all__ = ["blake2b", "sha256"]
