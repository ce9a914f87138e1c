"""`Resync`: the way out when the server has another history than the device, for example after a restore.

The device finds the last change that both histories share, sets aside what it has after it, reads the server's history,
and sends what the server lost: once for the whole team, because every device makes the same requests of it.
"""

from __future__ import annotations

from sltt_core.log.pages import Head
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import NewChange
from sltt_core.sync import responses
from sltt_core.sync.errors import ApiProblem, RemoteError
from sltt_core.sync.outcomes import OFFLINE, Trouble
from sltt_core.sync.projects import PAUSED as PAUSED_STATE
from sltt_core.sync.requests import batch_body

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.sync.forks import Chunk
    from sltt_core.sync.outcomes import DownsyncResult
    from sltt_core.sync.remote import Remote
    from sltt_core.sync.store import DeviceStore

MAX_ROUNDS = 50
"""How often the log is read again because others were faster, before the resync ends for now."""


class Resync:
    """Brings the store of a device and a server's log together again."""

    def __init__(self, store: DeviceStore, remote: Remote, downsync: Callable[[str], DownsyncResult]) -> None:
        """`downsync` reads the log of a project."""
        self._store = store
        self._remote = remote
        self._downsync = downsync
        self.restored = 0
        """How many lost changes this device has sent to the server again."""

    def run(self, project_id: str) -> Trouble | None:
        """Bring a project together; return why that did not succeed. It may be called again at any time."""
        try:
            self._store.fork(project_id, self._last_shared(project_id))
            trouble = self._downsync(project_id).trouble
            if trouble is None:
                trouble = self._send_lost(project_id)
        except RemoteError as error:
            trouble = responses.trouble_of(error)
            if responses.action_of(error) == responses.PAUSE:
                self._store.stop(project_id, PAUSED_STATE, trouble.kind, trouble.detail)
        if trouble is None:
            self._store.rejoin(project_id)
        return trouble

    def _last_shared(self, project_id: str) -> int:
        """Return the last number at which both histories have the same link, by binary search."""
        head = self._store.head(project_id)
        if self._shares(project_id, head):
            return head.seq
        shared, differs = 0, head.seq
        while differs - shared > 1:
            middle = (shared + differs) // 2
            link = self._store.log.get_change(middle, project_id=project_id).chain
            if self._shares(project_id, Head(middle, link)):
                shared = middle
            else:
                differs = middle
        return shared

    def _shares(self, project_id: str, head: Head) -> bool:
        if head.seq == 0:
            return head.chain == GENESIS
        try:
            self._remote.changes_after(project_id, head.seq, limit=1, chain=head.chain)
        except ApiProblem as problem:
            if responses.action_of(problem) == responses.DIVERGE:
                return False
            raise
        return True

    def _send_lost(self, project_id: str) -> Trouble | None:
        """Send what the server lacks, and read it back, until nothing is missing.

        Each lost end is sent by itself: after two restores, another one may have the same changes.
        """
        for _ in range(MAX_ROUNDS):
            ends = (self._store.lost_chunks(fork) for fork in self._store.lost(project_id))
            chunks = next((missing for missing in ends if missing), None)
            if chunks is None:
                return None
            self._send(project_id, chunks)
            trouble = self._downsync(project_id).trouble
            if trouble is not None:
                return trouble
        return Trouble(OFFLINE, "head-moved", f"others were faster {MAX_ROUNDS} times")

    def _send(self, project_id: str, chunks: list[Chunk]) -> None:
        """Send chunks one after the other, until another device was faster."""
        head = self._store.head(project_id).seq
        for chunk in chunks:
            body = batch_body(
                NewChange(
                    project_id=project_id,
                    entity_type=change.entity_type,
                    entity_id=change.entity_id,
                    operation=change.operation,  # type: ignore[arg-type]
                    timestamp=change.timestamp,
                    data=change.data_json,
                    cid=change.cid,
                    change_by=change.change_by,
                )
                for change in chunk.changes
            )
            try:
                result = self._remote.append_body(body, key=chunk.key, if_head=head)
            except ApiProblem as problem:
                if responses.action_of(problem) in (responses.PULL, responses.SETTLE):
                    return
                raise
            head = max(result.seqs)
            self.restored += 0 if result.replayed else len(result.seqs)
