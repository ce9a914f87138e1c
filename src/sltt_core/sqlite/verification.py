"""`verify` on SQLite: a log is read in pages, each from a snapshot of its own, and checked.

A snapshot holds a transaction whole or not at all, so what a snapshot shows is damage, and no write in progress.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import time_ns

from sltt_core.base.errors import StorageBusy
from sltt_core.log.findings import MAX_FINDINGS, Finding
from sltt_core.log.requests import RECENT_SECONDS, Requests
from sltt_core.log.verifier import LogChecker, RecordedEnd, joined
from sltt_core.model.fields import MAX_SEQ
from sltt_core.sqlite import raw_rows, rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection

    from sltt_core.base.timestamps import Clock
    from sltt_core.log.findings import Progress
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.changes import Change
    from sltt_core.sqlite.readers import Readers

PAGE_CHANGES = 1000
"""Changes, or idempotency keys, that are read in one snapshot."""


class Verification:
    """One reading of a log. No snapshot is held while a finding is yielded."""

    __slots__ = ("_clock", "_page", "_progress", "_project_id", "_readers")

    def __init__(
        self, readers: Readers, project_id: str, progress: Progress, page: int = PAGE_CHANGES, clock: Clock = time_ns
    ) -> None:
        self._clock = clock
        self._readers = readers
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
        checker = LogChecker()
        named = Requests()
        last: tuple[int, object] | None = None
        examined, full = 0, True
        while full:
            with self._snapshot() as connection:
                end = raw_rows.find_end(connection, self._project_id)
                if end is None and last is None:
                    return
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
                    problems = checker.check(change)
                    found += problems
                    if problems:
                        named.forget()
                    elif requests:
                        named.add(change)
                        found += self._check_recorded(connection, end.log, named.complete)
                    last = _place(change)
                full = count == self._page
                if not full:
                    found += _check_end(checker, end)
            for finding in found:
                if finding.kind != "counts" or examined == 0 or self._counts_are_wrong():
                    yield finding
            examined += count
            if full:
                self._progress(examined)

    def _check_recorded(self, connection: Connection, log: int, named: NamedRequest | None) -> Iterator[Finding]:
        """Check that a request that changes name is recorded, unless it may have expired."""
        if named is None or named.seconds_left(self._clock) < RECENT_SECONDS:
            return
        if rows.find_request(connection, log, named.key, named.number) is None:
            first, last = named.stored.first_seq, named.stored.first_seq + named.stored.count - 1
            detail = f"chunk {named.number} of the idempotency key {named.key} is not recorded"
            yield Finding("no-request", first, last, detail)

    def _counts_are_wrong(self) -> bool:
        """Count again in one snapshot what was counted in several."""
        checker = LogChecker()
        with self._snapshot() as connection:
            end = raw_rows.find_end(connection, self._project_id)
            if end is None:
                raise self._altered()
            for change in raw_rows.find_changes(connection, end.log, self._project_id, 0):
                checker.check(change)
            return any(finding.kind == "counts" for finding in _check_end(checker, end))

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
                        Finding("request", None, None, f"the idempotency key {key} breaks a rule of this format")
                        for key in raw_rows.find_bad_requests(connection, end.log, MAX_FINDINGS)
                    ]
                page = raw_rows.find_requests(connection, end.log, after, self._page)
                for key, number, first, count in page:
                    if not raw_rows.wrote_together(connection, end.log, first, count):
                        detail = f"chunk {number} of the idempotency key {key} stands for changes that are not there"
                        found.append(Finding("request", first, first + count - 1, detail))
            yield from found
            full = len(page) == self._page
            after = page[-1][:2] if full else after

    def _check_orphans(self, requests: bool) -> Iterator[Finding]:
        """Look for rows that belong to no project: nobody knows whether they were this one's."""
        for table, (kind, detail) in _ORPHANS.items():
            if requests or table != "requests":
                with self._snapshot() as connection:
                    logs = raw_rows.find_orphans(connection, table, MAX_FINDINGS)
                for log in logs:
                    yield Finding(kind, None, None, detail.format(log=log))

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with self._readers.snapshot() as connection, raw_rows.any_text(connection):
            yield connection

    def _altered(self) -> StorageBusy:
        return StorageBusy(
            f"project {self._project_id} was replaced or edited by hand while it was verified", hint="Verify it again."
        )


_ORPHANS = {
    "logs": ("unreadable", "the row of log {log} in the table logs has a number or a project id that is not valid"),
    "changes": ("no-sequence", "the changes of log {log} have no row in the table logs, so their project is not known"),
    "entity_types": (
        "counts",
        "the table entity_types counts changes of log {log}, which has no row in the table logs",
    ),
    "requests": ("request", "the table requests has keys of log {log}, which has no row in the table logs"),
}
"""What rows without a log are, by table."""


def _check_end(checker: LogChecker, end: raw_rows.LogRow) -> list[Finding]:
    if type(end.value) is not int or not 1 <= end.value <= MAX_SEQ + 1:
        return [Finding("unreadable", None, None, f"the end of the log is {end.value!r}, which is no sequence number")]
    return checker.check_end(RecordedEnd(end.value - 1, end.chain, end.operations, end.types))


def _place(change: Change | None) -> tuple[int, object] | None:
    return None if change is None else (change.seq, change.chain)
