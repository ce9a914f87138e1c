"""`verify` on SQLite: a log is read in pages, each from a snapshot of its own, and checked.

A snapshot holds a transaction whole or not at all, so what a snapshot shows is damage, and no write in progress.
`repair` runs the same checks in its own transaction, which is one snapshot for all pages.
"""

from __future__ import annotations

from time import time_ns

from sltt_core.base.errors import StorageBusy
from sltt_core.log.findings import MAX_FINDINGS, Finding
from sltt_core.log.requests import RECENT_SECONDS
from sltt_core.log.verifier import LogChecker, RecordedEnd, joined
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.stored import broken_rule
from sltt_core.sqlite import raw_rows
from sltt_core.sqlite.rows import NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from sqlite3 import Connection

    from sltt_core.base.timestamps import Clock
    from sltt_core.log.findings import Progress
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change

    Snapshot = Callable[[], AbstractContextManager[Connection]]
    """Lends a connection that reads texts of any bytes (`raw_rows.any_text`)."""

PAGE_CHANGES = 1000
"""Changes, or idempotency keys, that are read in one snapshot."""


class Verification:
    """One reading of a log. No snapshot is held while a finding is yielded."""

    __slots__ = ("_clock", "_page", "_progress", "_project_id", "_snapshot", "examined")

    def __init__(
        self,
        snapshot: Snapshot,
        project_id: str,
        progress: Progress,
        page: int = PAGE_CHANGES,
        clock: Clock = time_ns,
    ) -> None:
        self.examined = 0
        """The number of changes examined so far."""
        self._clock = clock
        self._snapshot = snapshot
        self._project_id = project_id
        self._progress = progress
        self._page = page

    def run(self, requests: bool) -> Iterator[Finding]:
        """Yield what is wrong with the log; `requests` looks at the idempotency keys, too."""
        yield from joined(self._check_changes(requests))
        if requests:
            yield from self._check_requests()
        yield from self._check_orphans(requests)

    def _check_changes(self, requests: bool) -> Iterator[Finding]:
        checker = self._checker()
        last: tuple[int, object] | None = None
        lost: int | None = None
        full = True
        while full:
            with self._snapshot() as connection:
                end = raw_rows.find_end(connection, self._project_id)
                if end is None and last is None:
                    lost = find_lost_log(connection, self._project_id)
                    if lost is None:
                        yield from checker.check_members(raw_rows.read_members(connection, self._project_id))
                        return
                if end is None and lost is not None:
                    end = raw_rows.LogRow(lost, None, None, {}, {})
                if end is None:
                    raise self._altered()
                # The last change of the page before is read again: it must still be what its link was taken from.
                changes = raw_rows.find_changes(
                    connection, end.log, self._project_id, checker.seq, self._page + (last is not None)
                )
                if last is not None and _place(next(changes, None)) != last:
                    raise self._altered()
                found: list[Finding] = []
                count = 0
                for change in changes:
                    count += 1
                    found += checker.check(change)
                    named = checker.named
                    if requests and named is not None and not self._is_recorded(connection, end.log, named):
                        found.append(checker.unrecorded(named))
                    last = _place(change)
                full = count == self._page
                if not full:
                    found += check_end(checker, end)
                    found += checker.check_members(raw_rows.read_members(connection, self._project_id))
            for finding in found:
                if finding.kind != "counts" or self.examined == 0 or self._counts_are_wrong():
                    yield finding
            self.examined += count
            if full:
                self._progress(self.examined)

    def _is_recorded(self, connection: Connection, log: int, named: NamedRequest) -> bool:
        """Return whether a complete request that changes name is recorded, or may have expired.

        A row that `repair` deletes records nothing.
        """
        if named.seconds_left(self._clock) < RECENT_SECONDS:
            return True
        found = raw_rows.find_request(connection, log, named.key, named.number)
        return found is not None and (
            found == (named.stored.first_seq, named.stored.count) or raw_rows.wrote_together(connection, log, *found)
        )

    def _counts_are_wrong(self) -> bool:
        """Count again in one snapshot what was counted in several."""
        checker = self._checker()
        with self._snapshot() as connection:
            end = raw_rows.find_end(connection, self._project_id)
            if end is None:
                raise self._altered()
            for change in raw_rows.find_changes(connection, end.log, self._project_id, 0):
                checker.check(change)
            return any(finding.kind == "counts" for finding in check_end(checker, end))

    def _check_requests(self) -> Iterator[Finding]:
        after = ("", -1)
        full = True
        while full:
            with self._snapshot() as connection:
                end = raw_rows.find_end(connection, self._project_id)
                if end is None:
                    return
                found: list[Finding] = []
                if after == ("", -1):
                    found += [
                        self._request(
                            None, None, f"the idempotency key {literal} breaks a rule of this format in {column}", key
                        ).replace(attribute=column)
                        for literal, column, key in raw_rows.find_bad_requests(connection, end.log, MAX_FINDINGS)
                    ]
                page = raw_rows.find_requests(connection, end.log, after, self._page)
                for key, number, first, count in page:
                    if not raw_rows.wrote_together(connection, end.log, first, count):
                        detail = f"chunk {number} of the idempotency key {key} stands for changes that are not there"
                        found.append(self._request(first, first + count - 1, detail, key, number))
            yield from found
            full = len(page) == self._page
            after = page[-1][:2] if full else after

    def _check_orphans(self, requests: bool) -> Iterator[Finding]:
        """Look for rows that belong to no project: nobody knows whether they were this one's."""
        for table, detail in _ORPHANS.items():
            if requests or table != "requests":
                with self._snapshot() as connection:
                    logs = raw_rows.find_orphans(connection, table, MAX_FINDINGS)
                for log in logs:
                    yield Finding("orphan", None, None, detail.format(log=log))

    def _checker(self) -> LogChecker:
        return LogChecker(self._project_id, NAMES)

    def _request(
        self, first: int | None, last: int | None, detail: str, key: str | None, chunk: int | None = None
    ) -> Finding:
        return Finding("request", first, last, detail, self._project_id, key=key, chunk=chunk)

    def _altered(self) -> StorageBusy:
        return StorageBusy(
            f"project {self._project_id} was replaced or edited by hand while it was verified", hint="Verify it again."
        )


_ORPHANS = {
    "logs": "the row of log {log} in the table logs has a number or a project id that is not valid",
    "changes": "the changes of log {log} have no row in the table logs, so their project is not known",
    "entity_types": "the table entity_types counts changes of log {log}, which has no row in the table logs",
    "requests": "the table requests has keys of log {log}, which has no row in the table logs",
    "members": "a row of the table members has the project id {log!r}, which is not valid",
}
"""What rows without a log are, by table."""


def check_end(checker: LogChecker, end: raw_rows.LogRow) -> list[Finding]:
    """Compare the row of a log with its changes, after all of them were checked."""
    if end.value is None:  # the column is NOT NULL: there is no row
        return [checker.finding("no-sequence")]
    if not raw_rows.is_value(end.value):
        detail = f"value in the table logs is {end.value!r}, which is no sequence number"
        return [checker.finding("unreadable-end", None, None, detail, attribute="value")]
    return checker.check_end(RecordedEnd(end.value - 1, end.chain, end.operations, end.types))


def find_lost_log(connection: Connection, project_id: str) -> int | None:
    """Return the number of a log that has changes and no row, and whose first change has this project in its link."""
    for log in raw_rows.find_orphans(connection, "changes", -1):
        if type(log) is int and log >= 0:
            first = next(raw_rows.find_changes(connection, log, project_id, 1, 1), None)
            if first is None or first.seq != 1 or broken_rule(first):
                continue
            if link_of(GENESIS, first) == first.chain:
                return log
    return None


def _place(change: Change | None) -> tuple[int, object] | None:
    return None if change is None else (change.seq, change.chain)
