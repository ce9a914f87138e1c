"""The limit of file descriptors of this process (RLIMIT_NOFILE, see getrlimit(2)), which counts connections too."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RESERVE = 192
"""Descriptors that connections leave free. A third each is for the storage, for refused connections that are kept until
their client has read why, and for connections that are accepted at once before any of them can be refused."""
UNLIMITED = 10_240
"""Where the system names no limit: the most that macOS accepts (OPEN_MAX of its <sys/syslimits.h>)."""


def raise_limit() -> None:
    """Raise the soft limit of this process to the hard limit. Does nothing where that is not possible.

    The limit belongs to the whole process, and it is inherited by its children. Therefore only a program calls this.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard or soft == resource.RLIM_INFINITY:
        return
    for wanted in (hard, UNLIMITED):
        if wanted == hard or soft < wanted:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            except (ValueError, OSError):  # macOS refuses an unlimited soft limit
                continue
            return


def free() -> int | None:
    """Return how many descriptors this process may still open; `None` where there is no limit."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    try:
        used = len(os.listdir("/dev/fd")) - 1
    except OSError:
        used = 32
    return max(soft - used, 0)


def room_for_connections(free_descriptors: Callable[[], int | None] = free) -> int | None:
    """Return how many connections leave a reserve of descriptors free; `None` where there is no limit."""
    left = free_descriptors()
    return None if left is None else max(left - _reserve(left), 1)


def room_for_refused(free_descriptors: Callable[[], int | None] = free) -> int:
    """Return how many refused connections may be open, and also how many connections may be accepted at once."""
    left = free_descriptors()
    return max((RESERVE if left is None else _reserve(left)) // 3, 1)


def _reserve(left: int) -> int:
    return min(RESERVE, left // 2)
