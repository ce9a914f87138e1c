"""The projects on a device: what it has of their logs, their state, and the ends that a server lost."""

from __future__ import annotations

from json import loads

from sltt_core.base.timestamps import now_utc
from sltt_core.log.pages import EMPTY_LOG, Head
from sltt_core.model.fields import check_project_id, checked
from sltt_core.sqlite import rows
from sltt_core.sync import forks, outbox
from sltt_core.sync.outcomes import ProjectStatus
from sltt_core.sync.outsyncs import problem_text
from sltt_core.sync.view import DeviceLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from sqlite3 import Connection
    from typing import Any, TypeVar

    from sltt_core.base.runtime import Runtime

    T = TypeVar("T")

FOLLOWING = "following"
PAUSED = "paused"
DIVERGED = "diverged"
BY_USER = "by-user"
"""The `type` of the problem of a project that a person paused. A sync tries every other paused project again."""


class ProjectStore:
    """The part of the store of a device that is about its projects. Each method is one transaction."""

    def __init__(self, path: str | Path, *, runtime: Runtime, busy_seconds: float) -> None:
        """`path` is the file. Raises `InvalidInput` for what names no file."""
        self.log = DeviceLog(path, runtime=runtime, busy_seconds=busy_seconds)
        """What the device has of the logs, read-only."""
        self.path = self.log.path
        self._runtime = runtime

    def head(self, project_id: str) -> Head:
        """Return the end of what the device has of a log: the cursor, and the link there."""
        with self.log.readers.snapshot() as connection:
            return head_of(connection, project_id)

    def note_heads(self, heads: Mapping[str, int]) -> None:
        """Note the last numbers of the server's logs, as heard now."""
        now = now_utc(self._runtime.clock)
        noted = [(seq, now, project_id) for project_id, seq in heads.items()]
        statement = "UPDATE projects SET head = ?, heard_at = ? WHERE project_id = ?"
        self._write(lambda connection: connection.executemany(statement, noted))

    def note_synced(self, project_ids: Sequence[str]) -> None:
        """Note that a sync of projects ended well, now. They are followed from now on, if they were not known."""
        now = now_utc(self._runtime.clock)

        def note(connection: Connection) -> None:
            for project_id in project_ids:
                begin_following(connection, project_id)  # an empty log has no page that would do it
                connection.execute("UPDATE projects SET synced_at = ? WHERE project_id = ?", (now, project_id))

        self._write(note)

    def follow(self, project_id: str) -> None:
        """Let a project be synced, from now on or again. A project that has diverged needs `resync`."""
        checked(check_project_id, project_id, "project_id")

        def follow(connection: Connection) -> None:
            begin_following(connection, project_id)
            connection.execute(
                "UPDATE projects SET state = ?, problem = NULL WHERE project_id = ? AND state = ?",
                (FOLLOWING, project_id, PAUSED),
            )

        self._write(follow)

    def stop(self, project_id: str, state: str, kind: str, detail: str) -> None:
        """Pause a project, or note that it has diverged, and why. The outbox is kept.

        `kind` is `BY_USER` for a pause that only `follow` ends. Another pause does not replace it.
        """

        def stop(connection: Connection) -> None:
            begin_following(connection, project_id)
            if state == PAUSED and kind != BY_USER and _is_paused_by_user(connection, project_id):
                return
            connection.execute(
                "UPDATE projects SET state = ?, problem = ? WHERE project_id = ?",
                (state, problem_text(kind, detail), project_id),
            )

        self._write(stop)

    def purge(self, project_id: str) -> None:
        """Delete what came down of a project, and pause it. The outbox is kept."""

        def purge(connection: Connection) -> None:
            forks.delete_logs(connection, project_id)
            outbox.rebase(connection, project_id, 0)
            begin_following(connection, project_id)
            connection.execute(
                f"UPDATE projects SET state = '{PAUSED}', problem = ?, head = 0 WHERE project_id = ?",
                (problem_text(BY_USER, "what came down of the project was deleted on this device"), project_id),
            )

        self._write(purge)

    def fork(self, project_id: str, seq: int) -> int | None:
        """Set aside what the device has after `seq`, the last number that it shares with the server's history.

        Returns the number of the fork, or `None` if there is nothing after `seq`.
        """

        def fork(connection: Connection) -> int | None:
            number = forks.set_aside(connection, project_id, seq)
            outbox.rebase(connection, project_id, seq)
            return number

        return self._write(fork)

    def lost(self, project_id: str) -> list[forks.Fork]:
        """Return the ends of a log that were set aside, and that the server may lack."""
        with self.log.readers.snapshot() as connection:
            return forks.unsettled(connection, project_id)

    def lost_chunks(self, fork: forks.Fork) -> list[forks.Chunk]:
        """Return what the server lacks of a lost end, in chunks that are the same on every device."""
        with self.log.readers.snapshot() as connection:
            return forks.missing_chunks(connection, fork)

    def rejoin(self, project_id: str) -> None:
        """End a resync: the server has everything again. Sent edits that did not come back wait again."""

        def rejoin(connection: Connection) -> None:
            connection.execute("UPDATE forks SET settled = 1 WHERE project_id = ?", (project_id,))
            outbox.unconfirmed(connection, project_id, outbox.UNKNOWN)
            connection.execute(
                f"UPDATE projects SET state = '{FOLLOWING}', problem = NULL WHERE project_id = ?", (project_id,)
            )

        self._write(rejoin)

    def is_paused_by_user(self, project_id: str) -> bool:
        """Return whether only `follow` ends the pause of a project."""
        with self.log.readers.snapshot() as connection:
            return _is_paused_by_user(connection, project_id)

    def state_of(self, project_id: str) -> str:
        """Return the state of a project; a project that the device does not know is followed when it is edited."""
        with self.log.readers.snapshot() as connection:
            row = connection.execute("SELECT state FROM projects WHERE project_id = ?", (project_id,)).fetchone()
        return FOLLOWING if row is None else str(row[0])

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self.log.writer.write(work)


def begin_following(connection: Connection, project_id: str) -> None:
    """Let a project be synced that the device does not know yet."""
    connection.execute(
        f"INSERT INTO projects (project_id, state, head) VALUES (?, '{FOLLOWING}', 0) ON CONFLICT DO NOTHING",
        (project_id,),
    )


def statuses_of(connection: Connection) -> dict[str, ProjectStatus]:
    """Return what the device knows about each of its projects, in the order of their ids."""
    counts = outbox.counts(connection)
    found = connection.execute("SELECT * FROM projects ORDER BY project_id").fetchall()
    projects = {}
    for project_id, state, problem, head, heard_at, synced_at in found:
        states = {name: count for (owner, name), count in counts.items() if owner == project_id}
        cursor = head_of(connection, project_id).seq
        projects[project_id] = ProjectStatus(
            project_id, state, cursor, head, heard_at, synced_at, states, _parsed(problem)
        )
    return projects


def _is_paused_by_user(connection: Connection, project_id: str) -> bool:
    row = connection.execute("SELECT state, problem FROM projects WHERE project_id = ?", (project_id,)).fetchone()
    return row is not None and row[0] == PAUSED and (_parsed(row[1]) or {}).get("type") == BY_USER


def head_of(connection: Connection, project_id: str) -> Head:
    """Return the end of what the device has of a log."""
    found = rows.find_log(connection, project_id)
    return EMPTY_LOG if found is None else found[1]


def _parsed(problem: str | None) -> dict[str, Any] | None:
    return None if problem is None else loads(problem)
