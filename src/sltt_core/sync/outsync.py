"""`Outsyncer`: sends the outbox of a project to the server, batch by batch.

A batch is durable, with its key and its bytes, before the first byte is sent. What becomes of it after each response is
in the table of `sltt_core.sync.responses`.
"""

from __future__ import annotations

from sltt_core.base.record import Record
from sltt_core.model.grants import RESERVED
from sltt_core.sync import events, responses
from sltt_core.sync.errors import ApiProblem, ForeignResponse, RemoteError
from sltt_core.sync.outcomes import OFFLINE, PAUSED, STOPPED, OutsyncResult, Trouble
from sltt_core.sync.outsyncs import HELD, MAX_BATCH_BYTES, WAITING, WITHHELD, problem_text
from sltt_core.sync.projects import DIVERGED as DIVERGED_STATE
from sltt_core.sync.projects import PAUSED as PAUSED_STATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sltt_core.sync.events import Notify
    from sltt_core.sync.outcomes import DownsyncResult
    from sltt_core.sync.outsyncs import Batch
    from sltt_core.sync.remote import Remote
    from sltt_core.sync.results import AppendResult
    from sltt_core.sync.store import DeviceStore

MAX_PULLS = 20
"""How often an outsync reads the log again because others were faster, before it ends for now."""


class Login(Record):
    """Under whom a device sends."""

    principal: str
    """What the server calls the sender, or the name of the user if the server verifies nobody."""
    author: str | None
    """The only user whose edits are sent, if the server signs each change with the login of its sender."""


class Outsyncer:
    """Sends edits from the store of a device to a server."""

    def __init__(
        self,
        store: DeviceStore,
        remote: Remote,
        downsync: Callable[[str], DownsyncResult],
        *,
        notify: Notify = events.ignore,
    ) -> None:
        """`downsync` reads the log of a project."""
        self._store = store
        self._remote = remote
        self._downsync = downsync
        self._notify = notify
        self._limits: dict[str, int] = {}
        """The most bytes of a batch, by project, where the server accepts fewer than `MAX_BATCH_BYTES`."""

    def run(self, project_id: str, login: Login) -> OutsyncResult:
        """Send what waits. Edits that the server refuses are set aside, and the others go on.

        A batch is appended only to the end that the device knows. An edit that is in the log already, after a page that
        was stale, or because another copy of the store sent it, would be stored twice otherwise.
        """
        tally = _Tally(self._store.counts(project_id).get(WAITING, 0))
        end = self._store.head(project_id).seq
        trouble = None
        pulls = 0
        while trouble is None:
            limit = self._limits.get(project_id, MAX_BATCH_BYTES)
            batch = self._store.next_batch(project_id, login.principal, max_bytes=limit, author=login.author)
            if batch is None:
                break
            try:
                result = self._send(batch, end)
            except RemoteError as error:
                action = responses.action_of(error)
                if action in (responses.PULL, responses.SETTLE):
                    pulls += 1
                    trouble = self._after_pull(batch, action, error, pulls)
                    end = self._store.head(project_id).seq
                else:
                    trouble = self._after(batch, action, error, tally)
            else:
                if result.seqs and min(result.seqs) == end + 1:
                    end = max(result.seqs)
                tally.accept([edit.cid for edit in self._store.accept(batch, result.seqs)], result.replayed)
                self._notify(events.Progress(project_id, "up", len(tally.sent), tally.total))
        counts = self._store.counts(project_id)
        return OutsyncResult(
            tuple(tally.sent),
            tuple(tally.replayed),
            tuple(tally.rejected),
            counts.get(HELD, 0),
            counts.get(WITHHELD, 0),
            counts.get(WAITING, 0),
            trouble or self._left(project_id, login),
        )

    def _send(self, batch: Batch, end: int) -> AppendResult:
        """Send a batch, to be appended where the log ends as far as the device knows.

        If an edit of it came back, the server has the batch already, or another device was faster with a part of it. In
        the first case, the response is that of a replay. In the second case, nothing may be appended: it is sent for an
        end that the log certainly has not.
        """
        edits = self._store.in_batch(batch)
        before = min([end, *(edit.seq - 1 for edit in edits if edit.seq is not None)])
        result = self._remote.append_body(batch.body, key=batch.key, if_head=before)
        if len(result.seqs) != len(edits):
            raise ForeignResponse(f"the response has {len(result.seqs)} numbers for {len(edits)} changes", status=200)
        return result

    def _after(self, batch: Batch, action: str, error: RemoteError, tally: _Tally) -> Trouble | None:
        """Do what an error means for a batch. Return why the outsync ends, or `None` if it goes on."""
        refused = self._refused(batch, action, error)
        if refused:
            for edit in self._store.refuse(batch, refused):
                tally.rejected.append(edit.cid)
                reason = (edit.problem or {})["detail"]
                self._notify(events.Rejected(batch.project_id, edit.cid, str(reason)))
            return None
        if action == responses.HALVE:
            self._limits[batch.project_id] = len(batch.body) // 2
            self._store.thaw(batch)
            return None
        trouble = responses.trouble_of(error)
        if action == responses.PAUSE:
            self._store.stop(batch.project_id, PAUSED_STATE, trouble.kind, trouble.detail)
        elif action == responses.DIVERGE:
            self._store.stop(batch.project_id, DIVERGED_STATE, trouble.kind, trouble.detail)
        elif action in (responses.REFUSE, responses.REFUSE_RESERVED):
            return trouble.replace(outcome=STOPPED)  # it names no edit of the batch
        return trouble

    def _refused(self, batch: Batch, action: str, error: RemoteError) -> dict[int, str]:
        """Return the problems of the edits of a batch that the server refused, by their index."""
        edits = self._store.in_batch(batch)
        if action == responses.REFUSE and isinstance(error, ApiProblem):
            return {i: _text(error, found) for i, found in responses.refused(error).items() if i < len(edits)}
        if action == responses.REFUSE_RESERVED:
            return {i: _text(error) for i, edit in enumerate(edits) if edit.entity_type.startswith(RESERVED)}
        if action == responses.HALVE and len({edit.unit for edit in edits}) == 1:  # a unit is not divided
            return dict.fromkeys(range(len(edits)), _text(error))
        return {}

    def _after_pull(self, batch: Batch, action: str, error: RemoteError, pulls: int) -> Trouble | None:
        """Read the log, then decide again about a batch that the server did not store under its key."""
        if pulls > MAX_PULLS:
            return Trouble(OFFLINE, error.kind, f"others were faster {MAX_PULLS} times: {error.message}")
        trouble = self._downsync(batch.project_id).trouble
        if trouble is None:
            if action == responses.SETTLE:
                self._store.settle(batch)
            else:
                self._store.thaw(batch)
        return trouble

    def _left(self, project_id: str, login: Login) -> Trouble | None:
        """Return the trouble that batches of another login were left, or edits of another user; `None` if none was."""
        logins = {batch.principal for batch in self._store.batches(project_id)} - {login.principal}
        if logins:
            detail = f"edits were begun to be sent under another login: {', '.join(sorted(logins))}"
            return Trouble(PAUSED, "other-login", f"{detail}. Log in so again, to send them.")
        if login.author is not None and (left := self._store.outsyncs(project_id, (WAITING,))):
            users = sorted({edit.change_by for edit in left if edit.change_by not in (None, login.author)})
            if users:
                detail = f"edits of other users wait until they log in: {', '.join(map(str, users))}"
                return Trouble(PAUSED, "other-user", detail)
        return None


class _Tally:
    """What one outsync has done so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.sent: list[str] = []
        self.replayed: list[str] = []
        self.rejected: list[str] = []

    def accept(self, cids: list[str], replayed: bool) -> None:
        self.sent += cids
        self.replayed += cids if replayed else []


def _text(error: RemoteError, errors: list[dict[str, Any]] | None = None) -> str:
    """Return the problem of a refused edit as the store keeps it."""
    if not errors:
        return problem_text(error.kind, error.message)
    detail = "; ".join(f"{one['field']}: {one['reason']}" for one in errors)
    return problem_text(error.kind, detail, errors=errors)
