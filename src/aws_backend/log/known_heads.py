"""`KnownHeads`: how far each log reaches at least, as this process has written or read it."""

from __future__ import annotations

from _thread import allocate_lock

MAX_PROJECTS = 100_000
"""Projects that are remembered; the one written or read longest ago is forgotten first."""


class KnownHeads:
    """The greatest sequence number that this process has seen of each project. Safe for use by several threads.

    A read that shows less is stale, or the log was replaced.
    """

    __slots__ = ("_heads", "_lock")

    def __init__(self) -> None:
        self._heads: dict[str, int] = {}
        self._lock = allocate_lock()

    def get(self, project_id: str) -> int:
        """Return the greatest number seen, 0 for none."""
        return self._heads.get(project_id, 0)

    def note(self, project_id: str, seq: int) -> None:
        """Remember that the log reaches at least `seq`."""
        with self._lock:
            heads = self._heads
            if seq > heads.get(project_id, 0):
                if len(heads) >= MAX_PROJECTS and project_id not in heads:
                    del heads[next(iter(heads))]
                heads.pop(project_id, None)  # so that those written to last stay longest
                heads[project_id] = seq

    def forget(self, project_id: str) -> None:
        """Forget a log that was replaced."""
        self._heads.pop(project_id, None)
