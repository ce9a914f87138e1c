"""`repair` on SQLite: verifies a log and repairs it in one transaction, so it is done whole or not at all."""

from __future__ import annotations

from contextlib import nullcontext

from sltt_core.base.errors import LogDamaged
from sltt_core.base.timestamps import now_utc
from sltt_core.log.findings import Collector, Report
from sltt_core.log.repairs import Plan, Rebuilt, steps
from sltt_core.log.requests import request_of
from sltt_core.model.grants import NO_MEMBERS
from sltt_core.sqlite import raw_rows, rows
from sltt_core.sqlite.verification import PAGE_CHANGES, Verification, find_lost_log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection

    from sltt_core.base.timestamps import Clock
    from sltt_core.log.findings import Finding, Progress
    from sltt_core.model.changes import Change


class Repair:
    """One repair of a log, on the connection that writes."""

    __slots__ = ("_clock", "_connection", "_progress", "_project_id", "_relink_from")

    def __init__(
        self, connection: Connection, project_id: str, clock: Clock, relink_from: int | None, progress: Progress
    ) -> None:
        """`clock` has the time of new tombstones, and tells which idempotency keys have expired."""
        self._clock = clock
        self._connection = connection
        self._project_id = project_id
        self._relink_from = relink_from
        self._progress = progress

    def run(self, *, dry_run: bool) -> Report:
        """Repair what is found and report it; with `dry_run`, only report it.

        Raises `LogDamaged` if something cannot be repaired, before anything is written.
        """
        with raw_rows.any_text(self._connection):
            plan, collector = Plan(self._project_id, self._relink_from), Collector()
            requests: list[Finding] = []
            unrecorded: list[Finding] = []
            verification = Verification(
                lambda: nullcontext(self._connection), self._project_id, self._progress, clock=self._clock
            )
            orphans = True
            for finding in verification.run(requests=True):
                plan.add(finding)
                collector.add(finding)
                orphans = orphans and finding.kind == "orphan"
                if finding.kind == "request" and finding.chunk is not None:
                    requests.append(finding)
                if finding.kind == "no-request":
                    unrecorded.append(finding)
            report = Report(self._project_id, verification.examined, collector.findings())
            if dry_run or orphans:
                return report
            plan.check()
            self._check_row()
            return report.replace(done=self._write(plan.starts, requests, unrecorded))

    def _check_row(self) -> None:
        """Raise `LogDamaged` if the project's row leads to another log than its changes."""
        row = raw_rows.find_end(self._connection, self._project_id)
        lost = find_lost_log(self._connection, self._project_id)
        if row is not None and lost is not None:
            raise LogDamaged(
                f"project {self._project_id} cannot be repaired: its row in the table logs has the log {row.log}, but "
                f"the log {lost} has its changes, too",
                hint=f"Delete the changes of one log. If that is {row.log}, set the column log of the row to {lost}.",
            )

    def _write(self, relink_from: int | None, requests: list[Finding], unrecorded: list[Finding]) -> tuple[str, ...]:
        connection = self._connection
        row = raw_rows.find_end(connection, self._project_id)
        log = find_lost_log(connection, self._project_id) if row is None else row.log
        if log is None:  # only members are recorded
            raw_rows.set_members(connection, self._project_id, NO_MEMBERS)
            return steps(keys=0, recorded=0, tombstones=0, links=0, first=None, members=True, end="the log is empty")
        keys = raw_rows.delete_bad_requests(connection, log)
        keys += sum(raw_rows.delete_request(connection, log, str(f.key), f.chunk or 0) for f in requests)
        recorded = sum(self._record(log, finding.first or 0) for finding in unrecorded)
        end = Rebuilt()
        now = now_utc(self._clock)
        tombstones = links = 0
        last = row.value - 1 if row is not None and raw_rows.is_value(row.value) else 0
        for seq, change in self._numbers(log, last):
            if change is None:
                linked = end.tombstone(self._project_id, now)
                raw_rows.put_change(connection, log, linked)
                tombstones += 1
            else:
                linked = end.linked(change)
                if linked.chain != change.chain:
                    raw_rows.set_link(connection, log, linked)
                    links += 1
            end.add(linked)
            if seq % PAGE_CHANGES == 0:
                self._progress(seq)
        raw_rows.set_end(connection, log, self._project_id, end)
        members = raw_rows.read_members(connection, self._project_id) != end.members
        if members:
            raw_rows.set_members(connection, self._project_id, end.members)
        text = f"set the row of the log to the end {end.seq}, with its link and its counts"
        return steps(
            keys=keys,
            recorded=recorded,
            tombstones=tombstones,
            links=links,
            first=relink_from,
            members=members,
            end=text,
        )

    def _record(self, log: int, seq: int) -> bool:
        """Record the request that a change names; return whether it names one."""
        change = next(raw_rows.find_changes(self._connection, log, self._project_id, seq, 1), None)
        named = None if change is None else request_of(change)
        if named is None:
            return False
        rows.replace_request(self._connection, log, named, named.seconds_left(self._clock))
        return True

    def _numbers(self, log: int, recorded: int) -> Iterator[tuple[int, Change | None]]:
        """Yield each number up to the log's end, with its change, or `None` if it is missing."""
        seq = 0
        full = True
        while full:  # page by page: the rows must not change while a query reads them
            page = list(raw_rows.find_changes(self._connection, log, self._project_id, seq + 1, PAGE_CHANGES))
            full = len(page) == PAGE_CHANGES
            for change in page:
                for missing in range(seq + 1, change.seq):
                    yield missing, None
                yield change.seq, change
                seq = change.seq
        for missing in range(seq + 1, recorded + 1):
            yield missing, None
