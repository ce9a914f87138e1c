"""`BadCredentials`: who sends many bad credentials gets the responses to them late.

Only the refusals are late. Nobody can delay the requests of another client with the same address, whose credential is
good: behind a proxy, all clients have the address of the proxy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from ipaddress import IPv6Address, ip_address
from time import monotonic

from sltt_core.api.http import Request, Response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sltt_core.server.sending import Receive

FREE = 20
"""Bad credentials of one address that are refused without a delay, in `WINDOW_SECONDS`."""
WINDOW_SECONDS = 60.0
"""How long a bad credential counts."""
MAX_DELAY_SECONDS = 10.0
"""The longest delay: as long as a client may take for its headers (`HEADER_SECONDS`), so no connection is held longer
than it is without credentials."""
MAX_ADDRESSES = 1000
"""Addresses that are remembered; the one that sent a bad credential the longest time ago is forgotten first."""
_CODE_PATH = "/api/invitations/accept"


class BadCredentials:
    """Counts the refused credentials of each address. For the thread of the event loop."""

    def __init__(
        self,
        *,
        steady_clock: Callable[[], float] = monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`steady_clock` returns seconds. `pause` waits for so many seconds."""
        self._clock = steady_clock
        self._pause = pause
        self._times: dict[str, deque[float]] = {}
        self._pauses: set[asyncio.Future[None]] = set()

    def count(self, request: Request, response: Response, peer: str | None) -> float:
        """Return for how many seconds to delay the response: 0 unless it refuses a credential.

        `peer` is the address of the client. From the 21st bad credential in a minute on, the delay is one second
        longer each time, up to `MAX_DELAY_SECONDS`.
        """
        if not is_refusal(request, response):
            return 0.0
        network, now = network_of(peer or ""), self._clock()
        times = self._times.pop(network, None) or deque(maxlen=FREE + int(MAX_DELAY_SECONDS))
        if len(self._times) >= MAX_ADDRESSES:
            del self._times[next(iter(self._times))]
        self._times[network] = times
        while times and now - times[0] >= WINDOW_SECONDS:
            times.popleft()
        times.append(now)
        return float(max(0, len(times) - FREE))

    async def wait(self, seconds: float, receive: Receive) -> bool:
        """Wait for so many seconds, or until `close`; return whether the client is still there.

        `receive` returns what the client does after its request (ASGI). The wait also ends when the client resets the
        connection.
        """
        pause = asyncio.ensure_future(self._pause(seconds))
        gone = asyncio.ensure_future(receive())
        self._pauses.add(pause)
        try:
            await asyncio.wait((pause, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and gone.result()["type"] == "http.disconnect":
                return False
            await asyncio.wait((pause,))  # the client may have ended only its side of the connection
            return True
        finally:
            self._pauses.discard(pause)
            for task in (pause, gone):
                task.cancel()
            await asyncio.gather(pause, gone, return_exceptions=True)

    def close(self) -> None:
        """End all waits, because the server stops."""
        for pause in self._pauses:
            pause.cancel()


def is_refusal(request: Request, response: Response) -> bool:
    """Return whether a response refuses the credential that a request has: a token, or the code of an invitation."""
    if response.status == 401:
        return "authorization" in request.headers
    return response.status == 404 and request.path == _CODE_PATH


def network_of(address: str) -> str:
    """Return the network of one client: an IPv4 address, or the 64 bits of an IPv6 network (RFC 4291, section 2.5.4).

    A client has all addresses of such a network.
    """
    try:
        parsed = ip_address(address)
    except ValueError:  # of a Unix socket
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
