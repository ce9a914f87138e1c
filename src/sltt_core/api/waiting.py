"""`Waiting`: how long a request waits for a change. All servers use it; it has no clock and does not sleep."""

from __future__ import annotations

from sltt_core.api.http import MAX_WAIT_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.api.http import Wait


class Waiting:
    """The wait of one request.

    A server passes the request to the API and creates a `Waiting` from the first response. While `seconds_left` is not
    0, it waits that long for a change and passes the request to the API again. It sends the last response. The API
    checks the access of the request each time.
    """

    __slots__ = ("until",)

    def __init__(
        self,
        wait: Wait | None,
        now: float,
        *,
        max_seconds: float = MAX_WAIT_SECONDS,
        deadline: float = float("inf"),
    ) -> None:
        """`wait` is the `Response.wait` of the first response.

        `max_seconds` is the longest wait that the server allows. `deadline` is the time when the response must be
        ready, in seconds on the clock of `now`.
        """
        self.until = now if wait is None else min(deadline, now + min(wait.seconds, max_seconds))

    def seconds_left(self, wait: Wait | None, now: float) -> float:
        """Return how many seconds to wait before the next call of the API; 0 if the response can be sent.

        `wait` is the `Response.wait` of the latest response: `None` if it has content to send.
        """
        return 0.0 if wait is None else max(0.0, self.until - now)
