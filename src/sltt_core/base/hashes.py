"""`sha256`, as `hashlib` has it, from the C module where that finds it.

`hashlib` asks OpenSSL for every algorithm it knows of; a cold start feels that.
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
