"""`AllowedHosts`: which `Host` headers a server accepts, and what the refusal says to whom."""

from __future__ import annotations

import re
from ipaddress import ip_address

from sltt_core.base.errors import HostNotAllowed, InvalidInput
from sltt_core.server.hosts import host_of, is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sltt_core.api.http import Request

_NAME = re.compile(r"(\*\.)?([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
_OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


class AllowedHosts:
    """The names of this machine, and names that the operator allows.

    A name below `localhost` is not one of this machine's by itself: RFC 6761 (section 6.3) only recommends that
    resolvers do not ask the network for it, and an answer from the network makes DNS rebinding possible.
    """

    def __init__(self, names: Iterable[str] = (), *, every: bool = False) -> None:
        """`names` are host names and addresses without a port; `*.NAME` allows every name below `NAME`.

        `every` accepts every host, unless there are `names`. Raises `InvalidInput` for a text of another form.
        """
        self._names = frozenset(map(_checked, names))
        self._every = every and not self._names

    def refusal(self, request: Request, peer: str | None) -> HostNotAllowed | None:
        """Return the error for a request with another `Host`, or `None`.

        Clients on the same machine (`peer` is their address) learn from it which option allows the host, all others
        that the operator can; the operator learns it from the log.
        """
        host = host_of(request.headers.get("host", ""))
        if self._every or is_loopback(host) or self._allows(_normal(host)):
            return None
        name = _normal(host) if _NAME.fullmatch(_normal(host)) or _is_address(host) else "NAME"
        how = f"To accept this host, start the server with --allow-host {name} (from Python: allow_hosts)."
        local = is_local(request, peer)
        error = HostNotAllowed(
            "this server accepts only Host headers of the machine it runs on, and those that its operator allows",
            hint=how if local else "The operator of the server can allow this host: the server's log says how.",
        )
        error.operator_hint = how
        return error

    def _allows(self, host: str) -> bool:
        parents = host.split(".")[1:]
        return host in self._names or any(f"*.{'.'.join(parents[at:])}" in self._names for at in range(len(parents)))


def is_local(request: Request, peer: str | None) -> bool:
    """Return whether the client is on this machine. Behind a proxy on this machine, it may be anywhere."""
    return is_loopback(peer or "") and not any(header in request.headers for header in _OF_PROXIES)


def is_of_this_machine(request: Request, peer: str | None) -> bool:
    """Return whether the client is on this machine and has asked for this machine."""
    return is_local(request, peer) and is_loopback(host_of(request.headers.get("host", "")))


def _checked(name: str) -> str:
    normal = _normal(name)
    if not _is_address(name) and not _NAME.fullmatch(normal):
        raise InvalidInput(
            f"{name!r} is not the name of a host",
            field="allow_hosts",
            hint="Write a name or address without scheme and port, for example 10.0.2.2 or *.localhost.",
        )
    return normal


def _normal(host: str) -> str:
    """Return a host for comparison (RFC 9110, section 4.2.3): a name in lower case, an address in its shortest form."""
    text = host.removeprefix("[").removesuffix("]").lower()
    return str(ip_address(text)) if _is_address(host) else text.removesuffix(".")


def _is_address(host: str) -> bool:
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
