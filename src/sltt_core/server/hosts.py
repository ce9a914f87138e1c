"""The check of `Host` headers for a server without access control.

A web page can make a browser send requests to a server on the same machine. With a host name of its own that resolves
to 127.0.0.1 (DNS rebinding), the page can also read the responses. The `Host` header contains that name.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{0,5}))?")
"""A name or IPv4 address, or an IPv6 address in brackets; then a port or nothing (RFC 9110, section 7.2)."""


def is_loopback(host: str) -> bool:
    """Return whether a host name or address, without a port, always means this machine."""
    if host.lower() in ("localhost", "localhost."):
        return True
    bracketed = host[:1] == "[" and host[-1:] == "]"
    try:
        address = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return False
    return address.is_loopback and (isinstance(address, IPv6Address) or not bracketed)


def host_of(header: str) -> str:
    """Return the host of a `Host` header, without its port; an empty text if the whole is not a host and a port."""
    found = _HOST.fullmatch(header)
    return found[1] if found and int(found[2] or 0) < 65_536 else ""
