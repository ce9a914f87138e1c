"""`Restore`: the checks and the writes of `restore_changes`. Only `restore_changes` loads this module."""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, LogDamaged, Problem
from sltt_core.log.batches import CHUNK_CHANGES
from sltt_core.log.pages import Head
from sltt_core.log.requests import Requests
from sltt_core.model.chain import link_of
from sltt_core.model.changes import item_size
from sltt_core.model.grants import MEMBER
from sltt_core.model.stored import broken_rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sltt_core.log.pages import Run
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change

    Write = Callable[[str, tuple[Change, ...], tuple[NamedRequest, ...]], None]


class Restore:
    """The restore of changes to the end of a log."""

    __slots__ = ("_get", "_max_bytes", "_max_changes", "_run", "_write")

    def __init__(
        self,
        get: Callable[[str, int], Change | None],
        run: Callable[[str, int, int, str | None], Run],
        write: Write,
        max_changes: int,
        max_bytes: int,
    ) -> None:
        """`get`, `run` and `write` are the methods of a storage (`BaseStorageService._restore` is `write`).

        At most `max_changes` changes and `max_bytes` bytes are written at once.
        """
        self._get = get
        self._run = run
        self._write = write
        self._max_changes = max_changes
        self._max_bytes = max_bytes

    def append(self, changes: Sequence[Change], project_id: str, head: Head) -> Head:
        """Append the changes of another log after `head`, the end of the log, and return its new end.

        Raises `InvalidBatch` with the first change that is not the next.
        """
        end = _check(changes, project_id, head)
        requests = Requests()
        for change in self._before(changes[0], project_id, head.seq):
            requests.add(change)
        for part in self._parts(changes):
            # A key counts the changes of its chunk that the log has, so that a retry continues there.
            found = [requests.add(change) for change in part]
            named = {(one.key, one.number): one for one in (*found, requests.current) if one is not None}
            self._write(project_id, part, tuple(named.values()))
        return end

    def _before(self, first: Change, project_id: str, seq: int) -> Iterator[Change]:
        """Yield the last changes of the log, up to `seq`, if `first` may continue their chunk."""
        if seq == 0 or first.request_key is not None:
            return
        last = self._get(project_id, seq)
        if last is None or last.cloud_at != first.cloud_at:
            return
        at = max(0, seq - max(CHUNK_CHANGES, self._max_changes))
        while at < seq:
            _, _, changes = self._run(project_id, at, seq - at, None)
            yield from changes
            if not changes:
                raise LogDamaged(f"change {at + 1} of project {project_id} is missing")
            at = changes[-1].seq

    def _parts(self, changes: Sequence[Change]) -> Iterator[tuple[Change, ...]]:
        """Divide the changes. One that names a request counts twice, because the request is written with it.

        A grant counts twice more: for its member, and for all members.
        """
        start = count = size = 0
        for index, change in enumerate(changes):
            writes = 1 + (change.request_key is not None) + 2 * (change.entity_type == MEMBER)
            octets = item_size(change)
            if index > start and (count + writes > self._max_changes or size + octets > self._max_bytes):
                yield tuple(changes[start:index])
                start, count, size = index, 0, 0
            count += writes
            size += octets
        yield tuple(changes[start:])


def _check(changes: Sequence[Change], project_id: str, head: Head) -> Head:
    """Check that the changes follow `head`, and return the last one's end of the log."""
    for index, change in enumerate(changes):
        broken = broken_rule(change)  # a read would report it as damage
        name, reason = ("", why_not_next(change, project_id, head)) if broken is None else (f".{broken[0]}", broken[1])
        if reason:
            raise InvalidBatch([Problem(index, f"changes[{index}]{name}", reason)])
        head = Head(change.seq, change.chain)
    return head


def why_not_next(change: Change, project_id: str, head: Head) -> str:
    """Return why a change that breaks no rule cannot come next after `head`: words that follow its name.

    Empty if it can.
    """
    if change.project_id != project_id:
        return f"belongs to project {change.project_id}, the first change to {project_id}"
    if type(change.seq) is not int or change.seq != head.seq + 1:
        return f"has the number {change.seq}; the next number of the log is {head.seq + 1}"
    if change.chain != link_of(head.chain, change):
        return "does not continue the hash chain: it was altered, or belongs to another history"
    return ""
