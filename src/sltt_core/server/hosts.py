"""The check of `Host` headers for a server without access control.

A web page can make a browser send requests to a server on the same machine. With a host name of its own that resolves
to 127.0.0.1 (DNS rebinding), the page can also read the responses. The `Host` header contains that name.
"""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Return whether a host name or address, without a port, always means this machine."""
    if host.lower() in ("localhost", "localhost."):
        return True
    try:
        return ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """Return the host of a `Host` header, without its port (RFC 9110, section 7.2)."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]
