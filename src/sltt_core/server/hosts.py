"""Which values of `Host` a server without access control accepts.

A page from the web may make a browser send requests to a server on the same machine; with a name of its own that it
points at 127.0.0.1 (DNS rebinding) it may even read the responses. The `Host` header shows it.
"""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address, without a port, can only mean this machine."""
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
