"""`Syncer`: one sync of a device: which projects moved, then for each pull, push, and pull what came of it."""

from __future__ import annotations

from contextlib import contextmanager

from sltt_core.base.errors import NotFound
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.timestamps import seconds_of
from sltt_core.sync import events, responses
from sltt_core.sync.downsync import RANGES, Downsync
from sltt_core.sync.errors import ApiProblem, RemoteError
from sltt_core.sync.outcomes import (
    CANCELLED,
    DIVERGED,
    DONE,
    OFFLINE,
    DownsyncResult,
    OutsyncResult,
    ProjectResult,
    SyncResult,
    Trouble,
)
from sltt_core.sync.outsync import Login, Outsyncer
from sltt_core.sync.outsyncs import FROZEN, SENT, WAITING
from sltt_core.sync.projects import DIVERGED as DIVERGED_STATE
from sltt_core.sync.projects import PAUSED as PAUSED_STATE
from sltt_core.sync.resync import Resync

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sltt_core.base.record import Record
    from sltt_core.base.runtime import Runtime
    from sltt_core.sync.events import Notify
    from sltt_core.sync.remote import Remote
    from sltt_core.sync.results import Heads
    from sltt_core.sync.store import DeviceStore

MAX_ENDS = 100
"""The most projects of a request for the ends of their logs."""
CLOCK_STEP = 1000
"""How much the difference of the clocks must change to be noted again, in milliseconds."""


class Syncer:
    """Syncs the store of a device with a server. One sync runs at a time; others wait for it."""

    def __init__(
        self,
        store: DeviceStore,
        remote: Remote,
        user: str | None = None,
        *,
        runtime: Runtime = SYSTEM,
        notify: Notify = events.ignore,
        ranges: int = RANGES,
    ) -> None:
        self._store = store
        self._remote = remote
        self._user = user
        self._runtime = runtime
        self._notify_all = notify
        self._notify_one: Notify | None = None
        self._downsync = Downsync(store, remote, notify=self._notify, ranges=ranges)
        self._outsyncer = Outsyncer(store, remote, self._downsync.run, notify=self._notify)
        self._running = runtime.new_lock()
        self._current: object = None
        self._cancelled: object = None
        self._login: Login | None = None
        self._offset: int | None = None

    def cancel(self) -> None:
        """Let the sync that runs now end before its next request, if there is one."""
        self._cancelled = self._current

    @property
    def is_cancelled(self) -> bool:
        """Whether the sync that runs now is to end. Its client asks for it."""
        current = self._current
        return current is not None and self._cancelled is current

    @contextmanager
    def _alone(self, notify: Notify | None = None) -> Iterator[None]:
        """Let no other sync run in the block, and call `notify` with each event of it."""
        with self._running:
            self._current = object()
            self._notify_one = notify
            try:
                yield
            finally:
                self._current = self._notify_one = None

    def _notify(self, event: Record) -> None:
        self._notify_all(event)
        if self._notify_one is not None:
            self._notify_one(event)

    def sync(
        self, project_ids: Collection[str] | None = None, *, paused: bool = True, notify: Notify | None = None
    ) -> SyncResult:
        """Sync projects, or all that the device follows; `paused` are tried again, too.

        `notify` is called with each event of this sync. Returns what was done. Only errors of the store itself are
        raised, such as a full disk.
        """
        with self._alone(notify):
            return self._sync(project_ids, paused)

    def resync(self, project_id: str) -> ProjectResult:
        """Bring a project together with a server that has another history, then sync it.

        Nothing of the outbox is lost. What the server lost is sent to it again.
        """
        with self._alone():
            trouble = Resync(self._store, self._remote, self._downsync.run).run(project_id)
            if trouble is None:
                result = self._sync_project(project_id, None)
                self._finish([result])
                return result
            down = DownsyncResult(0, 0, self._store.head(project_id).seq, trouble)
            return ProjectResult(project_id, trouble.outcome, down, OutsyncResult())

    def fetch(self) -> None:
        """Ask the server for the ends of the logs that the device follows, and note them; raises `RemoteError`."""
        names = [name for name, known in self._store.status().projects.items() if known.state != PAUSED_STATE]
        for start in range(0, len(names), MAX_ENDS):
            some = names[start : start + MAX_ENDS]
            found = self.moved(some)
            if found is None:
                heads = {name: self._remote.stats(name).changes.total for name in some}
            else:
                heads = self._ends(some, found)
            self._store.note_heads(heads)

    def moved(self, ends: Sequence[str], wait: float = 0) -> Heads | None:
        """Return which of these projects moved, after waiting up to `wait` seconds; `None` if the server cannot tell.

        Raises `RemoteError` when there is no response of the server.
        """
        heads = {name: self._store.head(name) for name in ends[:MAX_ENDS]}
        try:
            found = self._remote.heads({name: (head.seq, head.chain) for name, head in heads.items()}, wait=wait)
        except ApiProblem as problem:
            if problem.status >= 500 or problem.status in (401, 408, 429):
                raise
            # One of the projects is refused to this login, or the server is older: each project is asked by itself.
            return None
        self._note_time(found.timestamp)
        return found

    def _sync(self, project_ids: Collection[str] | None, paused: bool) -> SyncResult:
        status = self._store.status()
        if project_ids is None:
            project_ids = [
                name
                for name, known in status.projects.items()
                if known.state != PAUSED_STATE or (paused and not self._store.is_paused_by_user(name))
            ]
        results: dict[str, ProjectResult] = {}
        names = [name for name in project_ids if self._store.state_of(name) != DIVERGED_STATE]
        for name in project_ids:
            if name not in names:
                trouble = self._known_trouble(name)
                results[name] = self._without_request(name, trouble)
        heard: dict[str, int | None] = dict.fromkeys(names)
        following = [name for name in names if self._store.state_of(name) != PAUSED_STATE]
        offline: Trouble | None = None
        for start in range(0, len(following), MAX_ENDS):
            some = following[start : start + MAX_ENDS]
            try:
                found = self.moved(some)
            except RemoteError as error:
                if responses.action_of(error) == responses.AGAIN:
                    offline = responses.trouble_of(error)
                    break
                continue
            if found is not None:
                heard |= self._ends(some, found)
        for name in names:
            if offline is not None:
                results[name] = self._without_request(name, offline)
                continue
            result = results[name] = self._sync_project(name, heard[name])
            if result.trouble is not None and responses.is_of_server(result.trouble):
                offline = result.trouble
        self._finish(list(results.values()))
        return SyncResult(results, offline if not results else None)

    def _sync_project(self, project_id: str, heard: int | None) -> ProjectResult:
        """Pull, push, and pull what came of it. `heard` is the last number of the server's log, if it is known."""
        down = self._pull(project_id, heard)
        up = OutsyncResult()
        if down.trouble is None:
            if self._store.state_of(project_id) == PAUSED_STATE and not self._store.is_paused_by_user(project_id):
                self._store.follow(project_id)  # the server accepts it again
            up = self._push(project_id, heard)
            if up.sent:
                more = self._downsync.run(project_id, self._store.last_sent(project_id), after=down.through)
                down = DownsyncResult(
                    down.changes + more.changes, down.own + more.own, more.through, down.trouble or more.trouble
                )
        trouble = down.trouble or up.trouble
        return ProjectResult(project_id, DONE if trouble is None else trouble.outcome, down, up)

    def _ends(self, names: Sequence[str], found: Heads) -> dict[str, int]:
        """Return the last numbers of the logs that the server has said; it says none of one that it refuses.

        A project that is refused and was never read may not exist yet: its first append decides.
        """
        ends: dict[str, int] = {}
        for name in names:
            end = self._store.head(name).seq
            if name not in found.diverged and not (name in found.refused and end):
                ends[name] = found.heads[name].seq if name in found.heads else end
        return ends

    def _pull(self, project_id: str, heard: int | None) -> DownsyncResult:
        head = self._store.head(project_id)
        if heard is not None and heard == head.seq:
            return DownsyncResult(0, 0, head.seq)
        return self._downsync.run(project_id, heard)

    def _push(self, project_id: str, heard: int | None) -> OutsyncResult:
        counts = self._store.counts(project_id)
        if counts.get(SENT):
            # A restored server lost them before a page brought them back. If the page was stale, the server refuses to
            # append them, because its log does not end there.
            self._store.send_again(project_id, max(heard or 0, self._store.head(project_id).seq))
            counts = self._store.counts(project_id)
        if not counts.get(WAITING) and not counts.get(FROZEN):
            return OutsyncResult(held=counts.get("held", 0), withheld=counts.get("withheld", 0))
        try:
            login = self._who()
        except RemoteError as error:
            trouble = responses.trouble_of(error)
            return OutsyncResult(waiting=counts.get(WAITING, 0), trouble=trouble)
        result = self._outsyncer.run(project_id, login)
        if result.trouble is not None:
            self._login = None
        return result

    def _who(self) -> Login:
        """Return under whom the device sends; a server that verifies nobody is asked once."""
        if self._login is None:
            try:
                principal = self._remote.me().principal
            except ApiProblem as problem:
                if problem.type != "not-found":
                    raise
                principal = None
            if principal is None:
                self._login = Login(self._user or "", None)
            else:
                self._login = Login(principal, self._user)
        return self._login

    def _known_trouble(self, project_id: str) -> Trouble:
        known = self._store.status().projects.get(project_id)
        if known is None:
            raise NotFound(f"the device does not follow the project {project_id}")
        problem = known.problem or {}
        return Trouble(DIVERGED, str(problem.get("type")), str(problem.get("detail")))

    def _without_request(self, project_id: str, trouble: Trouble) -> ProjectResult:
        counts = self._store.counts(project_id)
        down = DownsyncResult(0, 0, self._store.head(project_id).seq, trouble)
        up = OutsyncResult((), (), (), counts.get("held", 0), counts.get("withheld", 0), counts.get(WAITING, 0))
        return ProjectResult(project_id, trouble.outcome, down, up)

    def _finish(self, results: Sequence[ProjectResult]) -> None:
        done = [result.project_id for result in results if result.outcome == DONE]
        if done:
            self._store.note_synced(done)
        for result in results:
            if result.trouble is not None and result.outcome == DIVERGED:
                self._notify(events.Diverged(result.project_id, result.trouble.detail))
            elif result.trouble is not None and result.outcome not in (OFFLINE, CANCELLED):
                self._notify(events.Stopped(result.project_id, result.outcome, result.trouble.detail))

    def _note_time(self, timestamp: str) -> None:
        """Note how much the server's clock is ahead, if that changed."""
        try:
            offset = round(seconds_of(timestamp) * 1000 - self._runtime.clock() / 1e6)
        except ValueError:  # the server's clock matters to nobody but a person who reads the status
            return
        if self._offset is None or abs(offset - self._offset) >= CLOCK_STEP:
            self._offset = offset
            self._store.note_time(offset)
