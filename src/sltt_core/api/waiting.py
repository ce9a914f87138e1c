"""How long a request waits for a change: the one policy of every server, without a clock or a sleep of its own."""

from __future__ import annotations

from sltt_core.api.http import MAX_WAIT_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.api.http import Wait


class Waiting:
    """The wait of one request.

    A server gives the request to the API and makes a `Waiting` of the first response. While `seconds_left` is not 0, it
    waits that long for a change, and then gives the request to the API again: the new response is the one to send.
    The API checks the request's access again each time.
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
        """`wait` is that of the first response.

        `max_seconds` is the longest that this server lets a request wait. `deadline` is the time at which the response
        has to be ready, on the clock of `now`, in seconds.
        """
        self.until = now if wait is None else min(deadline, now + min(wait.seconds, max_seconds))

    def seconds_left(self, wait: Wait | None, now: float) -> float:
        """Return for how many seconds to wait before asking again; 0 when the response is to be sent.

        `wait` is that of the latest response: `None` when it has something to say.
        """
        return 0.0 if wait is None else max(0.0, self.until - now)
