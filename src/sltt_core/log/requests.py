"""Requests that changes name: the first change of a chunk names the idempotency key under which the chunk was stored.

So a copy of a log carries its keys. The name is a text of five parts, separated by spaces: the key, the number of the
chunk, the number of the batch's changes before the chunk, the number of changes in the chunk, and the fingerprint of
the batch (`sltt_core.log.batches.number_changes` writes it). The other changes of the chunk follow; they have the time
of the first, and no name. No request of the API needs this module.
"""

from __future__ import annotations

from sltt_core.base.record import Record
from sltt_core.base.timestamps import seconds_of
from sltt_core.log.batches import KEY_DAYS, StoredChunk
from sltt_core.model.fields import TOMBSTONE
from sltt_core.model.stored import request_parts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.base.timestamps import Clock
    from sltt_core.model.changes import Change


RECENT_SECONDS = 2 * 86_400
"""A key that expires sooner may be forgotten already: two clocks differ, and days are counted as a whole."""


class NamedRequest(Record):
    """What one chunk of a batch stored under an idempotency key."""

    key: str
    number: int
    """The position of the chunk among those of the project in the batch, from 0."""
    stored: StoredChunk
    stored_at: str
    """When the chunk was stored: ISO 8601, UTC."""

    @property
    def expires(self) -> float:
        """Until when the key is remembered, in seconds since 1970."""
        return seconds_of(self.stored_at) + KEY_DAYS * 86_400

    def seconds_left(self, clock: Clock) -> float:
        """Return how long the key is still remembered, in seconds; a negative number if it has expired."""
        return self.expires - clock() / 1e9


def request_of(change: Change) -> NamedRequest | None:
    """Return the request that a change names, or `None`; raises `ValueError` for a name or a time that is not valid."""
    if change.request_key is None:
        return None
    key, number, offset, count, fingerprint = request_parts(change.request_key)
    seconds_of(change.cloud_at)
    return NamedRequest(key, number, StoredChunk(change.seq, count, fingerprint, None, offset), change.cloud_at)


class Requests:
    """Finds the requests that consecutive changes name, and how many of its changes each has.

    A copy may end in the middle of a chunk, and go on with other changes.
    """

    __slots__ = ("_count", "_wanted")

    def __init__(self) -> None:
        self._wanted: NamedRequest | None = None
        self._count = 0

    @property
    def current(self) -> NamedRequest | None:
        """The request whose chunk may go on with the next change, with the number of changes so far."""
        if self._wanted is None:
            return None
        return self._wanted.replace(stored=self._wanted.stored.replace(count=self._count))

    def add(self, change: Change) -> NamedRequest | None:
        """Add the next change; return the request whose chunk ended before it.

        A tombstone names none. Raises `ValueError` if the change names a request that is not valid.
        """
        wanted = self._wanted
        goes_on = (
            wanted is not None
            and change.request_key is None
            and self._count < wanted.stored.count
            and change.cloud_at == wanted.stored_at
            and change.operation != TOMBSTONE
        )
        if goes_on:
            self._count += 1
            return None
        ended = self.current
        self._wanted, self._count = None if change.operation == TOMBSTONE else request_of(change), 1
        return ended

    @property
    def complete(self) -> NamedRequest | None:
        """The request whose chunk ended with the last change, if all its changes were there."""
        return self._wanted if self._wanted is not None and self._count == self._wanted.stored.count else None

    def forget(self) -> None:
        """Forget the current request, because changes are missing."""
        self._wanted = None
