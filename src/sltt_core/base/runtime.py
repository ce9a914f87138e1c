"""`Runtime`: the clocks, pauses, randomness, locks, transport and observer that a component uses.

Every component takes one `Runtime` with real defaults. A test or the simulation replaces single fields.
"""

from __future__ import annotations

from _thread import allocate_lock
from os import urandom
from time import monotonic, sleep, time_ns

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from sltt_core.base.timestamps import Clock

    class Observer(Protocol):
        """Is notified of every call of a service, whatever its outcome."""

        def on_call(
            self,
            operation: str,
            attempts: int,
            throttled: int,
            seconds: float,
            read_units: float | None,
            write_units: float | None,
        ) -> None:
            """Take note of a call. Threads may call this at the same time.

            `operation` is its name, `attempts` counts the requests that were sent for it, `throttled` those of them
            that the service refused for lack of capacity, `seconds` is its duration with all waiting. `read_units` and
            `write_units` are the capacity it consumed, or `None` when the service did not report it.
            """


def random_fraction() -> float:
    """Return a random number from 0 up to, but not including, 1."""
    return int.from_bytes(urandom(4), "big") / 2**32


def random_token() -> str:
    """Return 32 random hexadecimal characters."""
    return urandom(16).hex()


class Runtime(Record):
    """The clocks, pauses, randomness, locks, transport and observer of a component, each with a real default."""

    clock: Clock = time_ns
    """The time of day: nanoseconds since 1970-01-01T00:00:00Z. It may jump."""
    steady_clock: Callable[[], float] = monotonic
    """Seconds since an arbitrary moment. It never runs backwards. Deadlines are times of this clock."""
    pause: Callable[[float], None] = sleep
    """Waits for a number of seconds."""
    random: Callable[[], float] = random_fraction
    """Returns a number from 0 up to, but not including, 1."""
    new_token: Callable[[], str] = random_token
    """Returns 32 characters, different at each call."""
    new_lock: Callable[[], Any] = allocate_lock
    """Returns a new lock, which blocks threads."""
    transport: Callable[[Any, float], Any] | None = None
    """Creates the HTTP transport to an `Origin`; the number bounds the seconds for a connection and for a response.
    `None` selects the component's default."""
    observer: Observer | None = None
    """Is notified of calls to a service; `None` notifies nothing."""


SYSTEM = Runtime()
"""The runtime with the real clock, randomness, locks and transport."""
