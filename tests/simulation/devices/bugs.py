"""Bugs of a sync, planted one at a time; the schedules with devices find each."""

from __future__ import annotations

from functools import partial
from typing import Any

from sltt_core.sqlite import rows
from sltt_core.sync import forks, outbox, store
from sltt_core.sync.errors import ForeignResponse, RemoteError
from sltt_core.sync.outcomes import DownsyncResult
from sltt_core.sync.outsync import Outsyncer
from sltt_core.sync.outsyncs import problem_text
from sltt_core.sync.remote import Remote
from sltt_core.sync.results import AppendResult
from sltt_core.sync.store import DeviceStore
from sltt_core.sync.syncer import Syncer
from tests.simulation.devices.world import DeviceWorld
from tests.simulation.planting import Bug, patched

_send = Outsyncer._send
_put_page = DeviceStore.put_page
_refused = Outsyncer._refused
_rename = DeviceStore._rename
_pull = Syncer._pull
_changes_after = Remote.changes_after
_append_body = Remote.append_body


def _fresh_key(self: Outsyncer, batch: Any, end: int) -> AppendResult:
    return _send(self, batch.replace(key=f"{batch.key}:{batch.tries}"), end)


def _cursor_before_page(self: DeviceStore, project_id: str, after: Any, changes: Any, heard: int = 0) -> Any:
    """Store the cursor in one transaction, and the page in the next."""
    if changes:

        def move(connection: Any, head: Any) -> None:
            log = rows.insert_log(connection, project_id)
            found = rows.find_log(connection, project_id)
            if found is not None and found[1] in (after, reached):
                connection.execute(
                    "UPDATE logs SET value = ?, chain = ? WHERE log = ?", (head.seq + 1, head.chain, log)
                )

        reached = after.replace(seq=changes[-1].seq, chain=changes[-1].chain)
        if self.head(project_id) == after:
            self._write(lambda connection: move(connection, reached))
            self._write(lambda connection: move(connection, after))
    return _put_page(self, project_id, after, changes, heard)


def _clear_on_200(self: Outsyncer, batch: Any, end: int) -> AppendResult:
    """Take each 200 for the server's."""
    try:
        return _send(self, batch, end)
    except ForeignResponse as error:
        if error.status != 200:
            raise
        self._store._write(
            lambda connection: connection.execute("DELETE FROM outsyncs WHERE batch = ?", (batch.batch,))
        )
        return AppendResult((), False, "")


def _refuse_on_400(self: Outsyncer, batch: Any, action: str, error: RemoteError) -> dict[int, str]:
    if isinstance(error, ForeignResponse) and error.status == 400:
        return dict.fromkeys(range(len(self._store.in_batch(batch))), problem_text("bad-request", "400"))
    return _refused(self, batch, action, error)


def _each_alone(edits: Any) -> Any:
    return ([edit] for edit in edits)


def _unguarded(self: Remote, body: bytes, *, key: str, if_head: int | None = None) -> AppendResult:
    """Append to whatever end the log has, however old the page that was read."""
    return _append_body(self, body, key=key)


def _no_chain(self: Remote, project_id: str, cursor: int = 0, **options: Any) -> Any:
    return _changes_after(self, project_id, cursor, **{**options, "chain": None})


def _one_cursor(self: Syncer, project_id: str, heard: int | None) -> DownsyncResult:
    """Take the greatest cursor of all projects for that of this one."""
    cursor = max((known.cursor for known in self._store.status().projects.values()), default=0)
    if heard is not None and heard <= cursor:
        return DownsyncResult(0, 0, cursor)
    return _pull(self, project_id, heard)


def _send_whole(self: Outsyncer, batch: Any, end: int) -> AppendResult:
    """Append a batch even if a part of it came back under another key."""
    return self._remote.append_body(batch.body, key=batch.key, if_head=end)


def _block(self: Outsyncer, batch: Any, action: str, error: RemoteError) -> dict[int, str]:
    """Let a refused edit stay where it is, and all others behind it."""
    return {}


def _keep_id(self: DeviceStore, connection: Any) -> None:
    """Make an id for a new store only."""
    if not self._device:
        _rename(self, connection)


def _keep_cids(self: DeviceStore, connection: Any, strangers: Any) -> None:
    """Send an edit under the cid that another copy of the store has used for another edit."""


def _forget(connection: Any, project_id: str) -> list[Any]:
    return []


_bug = partial(Bug, world=DeviceWorld)

DEVICE_BUGS = (
    _bug(
        "fresh key per retry",
        "Each try of a batch has a key of its own, and is appended to whatever end the log has.",
        patched((Outsyncer, "_send", _fresh_key), (Remote, "append_body", _unguarded)),
    ),
    _bug(
        "cursor before page",
        "The cursor is stored in one transaction, and the page in the next.",
        patched((DeviceStore, "put_page", _cursor_before_page)),
    ),
    _bug(
        "outbox cleared on 200",
        "The 200 of a captive portal counts as that of the server.",
        patched((Outsyncer, "_send", _clear_on_200)),
    ),
    _bug(
        "rejected on a proxy's 400",
        "A 400 without a problem document of the API rejects the batch.",
        patched((Outsyncer, "_refused", _refuse_on_400)),
    ),
    _bug(
        "unit split",
        "A transaction is sent in parts.",
        patched((outbox, "_units", _each_alone), (outbox, "MAX_UNIT", 2)),
    ),
    _bug(
        "stale page accepted",
        "What a stale page does not show counts as not stored.",
        patched((Remote, "append_body", _unguarded)),
    ),
    _bug(
        "chain unchecked",
        "Neither the server nor the device compares the links.",
        patched((store, "check_links", lambda previous, changes: previous), (Remote, "changes_after", _no_chain)),
    ),
    _bug(
        "one cursor over all projects",
        "A project is up to date if another is.",
        patched((Syncer, "_pull", _one_cursor)),
    ),
    _bug("bad change blocks", "A refused edit stops those behind it.", patched((Outsyncer, "_refused", _block))),
    _bug(
        "copies keep the id",
        "A copied store goes on as the same device.",
        patched((DeviceStore, "_rename", _keep_id), (DeviceStore, "_name_again", _keep_cids)),
    ),
    _bug(
        "part of a batch twice",
        "A batch is sent whole, although a part of it came back under another key.",
        patched((Outsyncer, "_send", _send_whole)),
    ),
    _bug(
        "lost end forgotten", "A resync sends nothing of what the server lost.", patched((forks, "unsettled", _forget))
    ),
)
