"""`Downsync`: reads the log of a project from the server, page by page, and checks that each joins the one before.

The numbers of a log are dense, so the ranges of a long log are known before they are read: up to `RANGES` are requested
at once, and stored in order.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor

from sltt_core.base.errors import ChainMismatch, LogDamaged
from sltt_core.log.pages import MAX_LIMIT, Head
from sltt_core.sync import events, responses
from sltt_core.sync.errors import Cancelled, RemoteError
from sltt_core.sync.outcomes import DIVERGED, DownsyncResult, Trouble
from sltt_core.sync.projects import DIVERGED as DIVERGED_STATE
from sltt_core.sync.projects import PAUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from sltt_core.model.changes import Change
    from sltt_core.sync.events import Notify
    from sltt_core.sync.remote import Remote
    from sltt_core.sync.store import DeviceStore

RANGES = 4
"""How many ranges of a long log are requested at once."""
LONG = 2 * MAX_LIMIT
"""From this number of missing changes on, ranges are requested at once."""


class Downsync:
    """Reads logs from a server into the store of a device."""

    def __init__(
        self,
        store: DeviceStore,
        remote: Remote,
        *,
        notify: Notify = events.ignore,
        ranges: int = RANGES,
        page: int = MAX_LIMIT,
    ) -> None:
        """`page` is the number of changes of a request; `ranges` how many requests run at once for a long log."""
        self._store = store
        self._remote = remote
        self._notify = notify
        self._ranges = ranges
        self._page = page

    def run(self, project_id: str, heard: int | None = None, after: int = 0) -> DownsyncResult:
        """Read a log to its end. `heard` is the last number of the server's log, if it is known.

        `after` is the last number that the device had before; if it has less now, because somebody deleted what came
        down, the result is `cancelled`.

        A project whose pages do not join, whose links are wrong or whose log has another history is stopped: nothing
        of such a page is stored.
        """
        count = _Count()
        trouble = None
        try:
            self._read(project_id, heard, after, count)
        except RemoteError as error:
            trouble = responses.trouble_of(error)
            action = responses.action_of(error)
            if action == responses.PAUSE:
                self._store.stop(project_id, PAUSED, trouble.kind, trouble.detail)
            elif action == responses.DIVERGE:
                trouble = self._diverged(project_id, error)
        except (ChainMismatch, LogDamaged) as error:
            trouble = self._diverged(project_id, error)
        return DownsyncResult(count.changes, count.own, self._store.head(project_id).seq, trouble)

    def _diverged(self, project_id: str, error: ChainMismatch | LogDamaged | RemoteError) -> Trouble:
        trouble = Trouble(DIVERGED, error.kind, error.message)
        self._store.stop(project_id, DIVERGED_STATE, trouble.kind, trouble.detail)
        return trouble

    def _read(self, project_id: str, heard: int | None, after: int, count: _Count) -> None:
        while True:
            head = self._head(project_id, after)
            after = head.seq
            if heard is not None and heard - head.seq >= LONG and self._ranges > 1:
                if self._read_ranges(project_id, head, heard, count):
                    after = head.seq + 1
                    continue
                head = self._head(project_id, after)
            page = self._remote.changes_after(project_id, head.seq, limit=self._page, chain=head.chain)
            changes = page.changes
            end = changes[-1].chain if changes else head.chain
            if (
                page.through != head.seq + len(changes)
                or page.chain != end
                or (page.cursor is not None and not changes)
            ):
                raise LogDamaged(f"the page after {head.seq} of {project_id} ends at {page.through}, not where it says")
            if self._put(project_id, head, changes, heard if page.cursor is not None else page.through, count):
                after = page.through
            if page.cursor is None:
                return
            if heard is None and len(changes) == self._page:
                stats = self._remote.stats(project_id)
                heard = stats.changes.total if stats.head is None else stats.head.seq

    def _read_ranges(self, project_id: str, head: Head, heard: int, count: _Count) -> bool:
        """Read the ranges up to `heard` at once; return whether something was stored."""
        starts = iter(range(head.seq, heard, self._page))
        waiting: deque[Future[Sequence[Change]]] = deque()
        before = count.changes
        after = head
        pool = ThreadPoolExecutor(self._ranges, thread_name_prefix="sltt-downsync")
        try:
            first = True
            while True:
                while len(waiting) < self._ranges and (start := next(starts, None)) is not None:
                    end = min(start + self._page, heard)
                    waiting.append(pool.submit(self._range, project_id, start, end, head.chain if first else None))
                    first = False
                if not waiting:
                    break
                changes = waiting.popleft().result()
                if not changes or not self._put(project_id, after, changes, heard, count):
                    break
                after = Head(changes[-1].seq, changes[-1].chain)
        finally:
            for future in waiting:
                future.cancel()
            pool.shutdown()
        return count.changes > before

    def _range(self, project_id: str, start: int, end: int, chain: str | None) -> Sequence[Change]:
        """Read the changes after `start` up to `end`. A page may have fewer than were requested."""
        found: list[Change] = []
        while start < end:
            page = self._remote.changes_after(project_id, start, limit=end - start, chain=chain)
            if not page.changes:
                break
            found += page.changes
            start, chain = page.changes[-1].seq, page.changes[-1].chain
        return found

    def _put(self, project_id: str, after: Head, changes: Sequence[Change], heard: int | None, count: _Count) -> bool:
        """Store the changes after `after`; return whether the log of the device still ended there."""
        arrival = self._store.put_page(project_id, after, changes, heard or 0)
        if arrival is None:
            self._head(project_id, after.seq)
            return False
        if changes:
            own = len(arrival.confirmed)
            count.changes += len(changes)
            count.own += own
            total = None if heard is None else heard - after.seq + count.changes - len(changes)
            self._notify(events.Progress(project_id, "down", count.changes, total))
            self._notify(events.Arrived(project_id, changes[0].seq, changes[-1].seq, own))
        return True

    def _head(self, project_id: str, after: int) -> Head:
        """Return where the log of the device ends: at `after` or later, unless it was deleted meanwhile."""
        head = self._store.head(project_id)
        if head.seq < after:  # to read on would undo that
            raise Cancelled(f"the log of {project_id} was deleted on this device meanwhile", sent=True)
        return head


class _Count:
    """What one downsync has done so far."""

    def __init__(self) -> None:
        self.changes = 0
        self.own = 0
