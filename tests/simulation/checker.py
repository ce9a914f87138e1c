"""The promises of the storage, checked in the record of a schedule: `violations(history)` returns what is violated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from math import inf

from sltt_core.base.errors import (
    ChainMismatch,
    InvalidBatch,
    InvalidInput,
    KeyReused,
    LogDamaged,
    NotALog,
    NotFound,
    PartialAppend,
    SlttError,
    StorageBusy,
)
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.changes import Change, item_size
from sltt_core.model.grants import MEMBER
from tests.simulation import permissions
from tests.simulation.devices import checker as devices
from tests.simulation.history import Batch, Call, History

SLACK = 1.0
"""Seconds that a request may exceed its time limit, for the last read of an unknown outcome."""

PARTS_OF = {"verify": 30, "repair": 60, "mark_as_outdated": 2}
"""Methods with several parts, each of which has the time limit of a request: the largest number of parts."""
PARTS_OF_A_REQUEST = 12
"""The same for a request to the API: it reads the members up to five times, and appends up to four changes."""

Check = Callable[[History], Iterator[str]]


def violations(history: History) -> list[str]:
    """Return the violations in a history; each text begins with the name of the promise."""
    if history.devices is not None:
        return devices.violations(history.devices)
    found = []
    for name, check in CHECKS.items():
        if history.restored and name not in AFTER_A_RESTORE:
            continue
        if name not in WITH_MEMBERS if history.sent else name in permissions.CHECKS:
            continue
        found += [f"{name}: {violation}" for violation in check(history)]
    return found


def _calls(history: History, *methods: str) -> Iterator[Call]:
    return (call for call in history.calls if call.method in methods)


def _stored(call: Call) -> tuple[int | None, ...]:
    """Return the sequence numbers in the result of an append; those in the error if only a part was stored."""
    if call.acknowledged:
        return tuple(call.response.seqs)
    return call.error.seqs if isinstance(call.error, PartialAppend) else ()


def _identity(change: Change) -> Change:
    """Return a change without its mark, the only field that may change."""
    return change.replace(outdated_by=None)


def no_unexpected_errors(history: History) -> Iterator[str]:
    """Calls raise only errors of the contract, and never report a correct request as invalid."""
    for failure in history.failures:
        yield f"the simulation failed: {failure!r}"
    for call in history.calls:
        error = call.error
        if isinstance(error, InvalidBatch) and history.batches[call.by].invalid is not None:
            continue
        if error is not None and (not isinstance(error, SlttError) or isinstance(error, InvalidInput)):
            yield repr(call)
    for sent in history.sent:
        wrong = sent.error is not None and not isinstance(sent.error, SlttError)
        if wrong or isinstance(sent.error, (LogDamaged, NotALog)) or sent.status in (400, 405, 422):
            yield repr(sent)


def no_livelock(history: History) -> Iterator[str]:
    """Every request ends by its deadline."""
    if history.stuck:
        yield f"{history.stuck} calls block for ever"
    for call in history.calls:
        if call.ended is None:
            continue
        parts = PARTS_OF.get(call.method, 1)
        if call.method == "create_changes":
            parts = len(history.batches[call.by].cids) + 2
        took = call.ended[1] - call.began - call.slept
        if took > parts * (call.time_limit + SLACK):
            yield f"{took:.1f} s of {call.time_limit}: {call!r}"
    for sent in history.sent:
        if sent.ended is not None:
            took = sent.ended[1] - sent.began - sent.slept
            if took > PARTS_OF_A_REQUEST * (sent.time_limit + SLACK):
                yield f"{took:.1f} s of {sent.time_limit}: {sent!r}"


def dense(history: History) -> Iterator[str]:
    """The log has the numbers 1, 2, 3, … without a gap and can be read to its end."""
    for project, log in history.final.items():
        numbers = [change.seq for change in log.changes]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"{project} has {numbers}"
        if log.error is not None:
            yield f"{project} ends after {len(numbers)}: {log.error!r}"
        if log.stats.total != len(numbers):
            yield f"{project} has {len(numbers)} changes, and should have {log.stats.total}"


def chained(history: History) -> Iterator[str]:
    """The link of each change is the hash of the change and the link before it."""
    for project, log in history.final.items():
        previous = GENESIS
        for change in log.changes:
            if change.chain != link_of(previous, change):
                yield f"{project}, change {change.seq}"
            previous = change.chain


def acknowledged_is_present(history: History) -> Iterator[str]:
    """A change whose append was acknowledged is in the log, under the number in the response."""
    for call in _calls(history, "create_changes"):
        for (project, cid), seq in zip(history.batches[call.by].cids, _stored(call), strict=False):
            log = history.final[project].changes
            if seq is not None and not (seq <= len(log) and log[seq - 1].cid == cid):
                yield f"change {cid} is not number {seq} of {project}"


def stored_once(history: History) -> Iterator[str]:
    """No change is in the logs twice."""
    changes = [change for log in history.final.values() for change in log.changes]
    counts = Counter(change.cid for change in changes if change.entity_type != MEMBER)
    for cid, count in counts.items():
        if count > 1:
            yield f"change {cid} is stored {count} times"


def key_keeps_numbers(history: History) -> Iterator[str]:
    """Every request with the same key gets the same numbers."""
    first_seqs: dict[tuple[int, int], int] = {}
    for call in _calls(history, "create_changes"):
        for place, seq in enumerate(_stored(call)):
            if seq is not None and history.batches[call.by].key and first_seqs.setdefault((call.by, place), seq) != seq:
                yield f"change {place} of batch {call.by} was {first_seqs[call.by, place]}, and is {seq}"


def stored_in_the_end(history: History) -> Iterator[str]:
    """A batch with a key is stored if it is sent again after all faults have stopped."""
    acknowledged = {call.by for call in _calls(history, "create_changes") if call.acknowledged}
    sent = {call.by for call in _calls(history, "create_changes")}
    for number in sorted(sent - acknowledged):
        batch = history.batches[number]
        if batch.key and batch.reuses is None and batch.invalid is None:
            last = [call for call in _calls(history, "create_changes") if call.by == number][-1]
            yield repr(last)


def growing_prefix(history: History) -> Iterator[str]:
    """All changes that a reader has read are a prefix of the log."""
    for call in _calls(history, "get_changes_with_cursor"):
        if not call.acknowledged:
            continue
        page, project, cursor = call.response, call.arguments["project_id"], call.arguments["cursor"]
        log = history.final[project].changes
        seen = [_identity(change) for change in page.changes]
        if seen != [_identity(change) for change in log[cursor : cursor + len(seen)]]:
            yield f"{call.host} read {[change.seq for change in seen]} after {cursor} of {project}"
        elif page.through != cursor + len(seen) or len(seen) > call.arguments["limit"]:
            yield f"{len(seen)} changes after {cursor}, through {page.through}"
        elif page.cursor not in (None, page.through):
            yield f"{call.host} is to continue after {page.cursor}, and has read up to {page.through} of {project}"


def view_is_one_history(history: History) -> Iterator[str]:
    """The pages that a reader has read are consecutive and have correct links, even after a restore."""
    for call in _calls(history, "get_changes_with_cursor"):
        # A request during a restore may return changes of both histories. So may any request to a log with torn
        # transactions until it is repaired; a reader that checks the links notices.
        mixed = call.ended and any(
            call.started < restored.order < call.ended[0] or restored.torn for restored in history.restored
        )
        if call.acknowledged and not mixed:
            previous = call.arguments["chain"]
            for place, change in enumerate(call.response.changes, call.arguments["cursor"] + 1):
                if change.seq != place or (previous and change.chain != link_of(previous, change)):
                    yield f"number {change.seq} does not follow what the reader has read: {call.arguments}"
                    break
                previous = change.chain


def errors_are_true(history: History) -> Iterator[str]:
    """No error reports a correct log as damaged or replaced, or a stored change as missing."""
    for call in history.calls:
        reused = isinstance(call.error, KeyReused) and history.batches[call.by].reuses is None
        if reused or isinstance(call.error, (ChainMismatch, LogDamaged, NotALog)):
            yield repr(call)
        elif isinstance(call.error, NotFound):
            for other in _calls(history, "create_changes"):
                if other.ended and other.ended[0] < call.started and _has(history, other, call.arguments):
                    yield f"{call.arguments} was stored: {call!r}"
                    break


def _has(history: History, append: Call, arguments: dict[str, object]) -> bool:
    cids = history.batches[append.by].cids
    stored = zip(cids, _stored(append), strict=False)
    return any((project, seq) == (arguments["project_id"], arguments["seq"]) for (project, _), seq in stored)


def key_belongs_to_one_batch(history: History) -> Iterator[str]:
    """A request with the key of another stored batch gets an error, and nothing of it is stored."""
    present = {change.cid for log in history.final.values() for change in log.changes}
    for call in _calls(history, "create_changes"):
        batch = history.batches[call.by]
        if batch.reuses is None or call.ended is None:
            continue
        # While faults happen, another error is possible.
        if call.error is None or (call.started > history.settled and not isinstance(call.error, KeyReused)):
            yield repr(call)
        for _, cid in batch.cids:
            if cid in present:
                yield f"change {cid} is stored: {call!r}"


def key_is_remembered(history: History) -> Iterator[str]:
    """After 399 days, a request with the same key gets the result of the first, and nothing is written."""
    for call in _calls(history, "create_changes"):
        batch = history.batches[call.by]
        again = history.late is not None and call.started > history.late and batch.reuses is None
        if again and not (call.acknowledged and call.response.replayed):
            yield repr(call)


def invalid_batches_are_refused(history: History) -> Iterator[str]:
    """A batch with a change that is not valid gets an error that names this change, and nothing of it is stored."""
    present = {change.cid for log in history.final.values() for change in log.changes}
    for call in _calls(history, "create_changes"):
        batch = history.batches[call.by]
        if batch.invalid is None or call.ended is None:
            continue
        error = call.error
        if not isinstance(error, InvalidBatch) or [problem.index for problem in error.problems] != [batch.invalid]:
            yield repr(call)
        for _, cid in batch.cids:
            if cid in present:
                yield f"change {cid} is stored: {call!r}"


def busy_is_not_written(history: History) -> Iterator[str]:
    """A batch without a key that was refused as one too many, or throttled, is not stored; if nothing arrives twice."""
    if history.repeated:
        return
    present = {change.cid for log in history.final.values() for change in log.changes}
    for call in _calls(history, "create_changes"):
        batch = history.batches[call.by]
        if batch.key is None and isinstance(call.error, StorageBusy) and any(cid in present for _, cid in batch.cids):
            yield repr(call)


def stored_as_sent(history: History) -> Iterator[str]:
    """A change is stored with the fields that were sent, and `cloudAt` is a time of one of its requests."""
    calls: dict[int, list[Call]] = {}
    for call in _calls(history, "create_changes"):
        calls.setdefault(call.by, []).append(call)
    sent = {change.cid: (batch, change) for batch in history.batches for change in batch.changes}
    for log in history.final.values():
        for change in log.changes:
            if change.cid not in sent:
                continue
            batch, new = sent[change.cid]
            fields = ("entity_type", "entity_id", "operation", "data_json", "change_by")
            wrong = [name for name in fields if getattr(change, name) != getattr(new, name)]
            if wrong or change.timestamp != (new.timestamp or change.cloud_at):
                yield f"{wrong or ['timestamp']} of change {change.cid}: {change}"
            stored = datetime.fromisoformat(change.cloud_at).timestamp()
            if not any(
                call.began - SLACK <= stored - call.skew <= (call.ended[1] if call.ended else inf) + SLACK
                for call in calls[batch.number]
            ):
                yield f"change {change.cid} was stored at {change.cloud_at}"


def single_reads_are_true(history: History) -> Iterator[str]:
    """A single change is the one with this number. The link of a page or of the log's end is the link at its number."""
    for call in history.calls:
        if not call.acknowledged:
            continue
        links = [GENESIS, *(change.chain for log in (_log(history, call),) for change in log)]
        if call.method in ("get_change", "mark_as_outdated"):
            seq = call.arguments["seq"]
            if seq >= len(links) or _identity(call.response) != _identity(_log(history, call)[seq - 1]):
                yield repr(call)
        elif call.method in ("get_head", "get_changes_with_cursor"):
            at = call.response.seq if call.method == "get_head" else call.response.through
            if at >= len(links) or call.response.chain != links[at]:
                yield repr(call)


def _log(history: History, call: Call) -> tuple[Change, ...]:
    log = history.final.get(call.arguments.get("project_id", ""))
    return () if log is None else log.changes


def transactions_fit(history: History) -> Iterator[str]:
    """A transaction has at most 100 actions, and its items, unless it has one change only, the bytes of a chunk."""
    for sent in history.transactions:
        size = sent.size if sent.members > 1 else sent.change_size if sent.members and sent.changes > 1 else 0
        if sent.actions > 100 or size > sent.limit:
            yield str(sent)


def chunks_contiguous(history: History) -> Iterator[str]:
    """A batch is in the log in its order, in contiguous chunks of the size of some process."""
    for batch in history.batches:
        for project in {project: None for project, _ in batch.cids}:
            cids = [cid for name, cid in batch.cids if name == project]
            places = {change.cid: change.seq for change in history.final[project].changes}
            seqs = [places[cid] for cid in cids if cid in places]
            if [cid for cid in cids if cid in places] != cids[: len(seqs)] or seqs != sorted(seqs):
                yield f"batch {batch.number} is at {seqs} of {project}"
            elif not _is_chunked(seqs, _sizes(batch, project), history.chunk_limits):
                yield f"batch {batch.number} of {len(cids)} is in pieces at {seqs} of {project}"


def _sizes(batch: Batch, project: str) -> list[int]:
    """Return the size in bytes of each change of a batch for a project."""
    sizes = map(item_size, batch.changes) if batch.changes else [1] * len(batch.cids)
    return [size for (name, _), size in zip(batch.cids, sizes, strict=True) if name == project]


def _is_chunked(seqs: list[int], sizes: list[int], limits: frozenset[tuple[int, int]]) -> bool:
    """Return whether the numbers are contiguous chunks, each the largest within the limits of some process."""
    starts = [0]
    for start in starts:
        for most, most_bytes in limits:
            end, total = start, 0
            while end < min(len(sizes), start + most) and (end == start or total + sizes[end] <= most_bytes):
                total += sizes[end]
                end += 1
            contiguous = end <= len(seqs) and start < end and seqs[end - 1] - seqs[start] == end - 1 - start
            if contiguous and end not in starts:
                starts.append(end)
    return len(seqs) in starts


def statistics_equal_the_log(history: History) -> Iterator[str]:
    """Statistics match the log at some moment of the call."""
    for project, log in history.final.items():
        if _counts(log.changes) != tuple(log.stats.as_tuple()) or Counter(log.entity_types) != Counter(
            change.entity_type for change in log.changes
        ):
            yield f"{project} at the end: {log.stats}, {log.entity_types}"
    for call in _calls(history, "get_change_stats", "get_entity_type_stats"):
        if not call.acknowledged:
            continue
        changes = history.final[call.arguments["project_id"]].changes
        if call.method == "get_change_stats":
            right = _counts(changes[: call.response.total]) == tuple(call.response.as_tuple())
        else:
            total = sum(call.response.values())
            right = Counter(change.entity_type for change in changes[:total]) == Counter(call.response)
        if not right:
            yield repr(call)


def _counts(changes: tuple[Change, ...]) -> tuple[int, ...]:
    counts = Counter(change.operation for change in changes)
    return len(changes), counts["create"], counts["update"], counts["delete"]


def own_writes_are_read(history: History) -> Iterator[str]:
    """A process reads its own writes at once."""
    written: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for call in _calls(history, "create_changes"):
        if call.ended is None:
            continue
        for (project, _), seq in zip(history.batches[call.by].cids, _stored(call), strict=False):
            if seq is not None:
                written.setdefault((call.host, project), []).append((call.ended[0], seq))
    for call in history.calls:
        if not call.acknowledged or "project_id" not in call.arguments:
            continue
        own = written.get((call.host, call.arguments["project_id"]), ())
        reach = max((seq for ended, seq in own if ended < call.started), default=0)
        if call.method == "get_changes_with_cursor":
            page = call.response
            short = page.cursor is None and len(page.changes) < call.arguments["limit"] and page.through < reach
            if short or (not page.changes and page.through < reach):
                yield f"{call.host} wrote up to {reach} and read up to {page.through}"
        elif call.method == "get_head" and call.response.seq < reach:
            yield f"{call.host} wrote up to {reach}, and get_head returned {call.response.seq}"
        elif call.method == "get_change_stats" and call.response.total < reach:
            yield f"{call.host} wrote up to {reach}, and get_change_stats returned {call.response.total}"


def projects_are_separate(history: History) -> Iterator[str]:
    """No change appears in another project; the list of projects contains exactly those that were written to."""
    own = {cid: project for batch in history.batches for project, cid in batch.cids}
    for project, log in history.final.items():
        for change in log.changes:
            if own.get(str(change.cid)) != project or change.project_id != project:
                yield f"change {change.cid} is in {project}"
    for call in _calls(history, "get_changes_with_cursor", "get_change", "mark_as_outdated"):
        if call.acknowledged:
            returned = call.response.changes if call.method == "get_changes_with_cursor" else (call.response,)
            if any(change.project_id != call.arguments["project_id"] for change in returned):
                yield repr(call)
    written = tuple(sorted(project for project, log in history.final.items() if log.changes))
    if history.projects != written:
        yield f"the list of projects is {history.projects}, and the projects are {written}"
    for call in _calls(history, "get_all_projects"):
        if call.acknowledged and not set(call.response.projects) <= set(own.values()):
            yield repr(call)


def verify_is_right(history: History) -> Iterator[str]:
    """`verify` finds nothing in a log that is not damaged, or that was repaired."""
    for project, log in history.final.items():
        if log.findings:
            yield f"{project} at the end: {log.findings}"
    for call in _calls(history, "verify", "repair"):
        if call.acknowledged and not history.restored:
            found = call.response if call.method == "verify" else call.response.findings
            if found:
                yield repr(call)


def marks_only_grow(history: History) -> Iterator[str]:
    """The number that a change is marked as outdated by never decreases."""
    for call in _calls(history, "mark_as_outdated"):
        if call.acknowledged:
            log = history.final[call.arguments["project_id"]].changes
            seq = call.arguments["seq"]
            final = log[seq - 1].outdated_by if seq <= len(log) else None
            if final is None or final < call.arguments["outdated_by"]:
                yield f"number {seq} is outdated by {final}: {call!r}"


CHECKS: dict[str, Check] = {
    "no unexpected errors": no_unexpected_errors,
    "no livelock": no_livelock,
    "dense": dense,
    "chain unbroken": chained,
    "acknowledged implies present": acknowledged_is_present,
    "stored once": stored_once,
    "a key's numbers never change": key_keeps_numbers,
    "a key belongs to one batch": key_belongs_to_one_batch,
    "a key is remembered": key_is_remembered,
    "stored in the end": stored_in_the_end,
    "every view is a growing prefix": growing_prefix,
    "a view is one history": view_is_one_history,
    "errors are true": errors_are_true,
    "chunks contiguous": chunks_contiguous,
    "transactions fit": transactions_fit,
    "refused is not written": busy_is_not_written,
    "stored as sent": stored_as_sent,
    "invalid batches are refused": invalid_batches_are_refused,
    "single reads are true": single_reads_are_true,
    "statistics equal the log": statistics_equal_the_log,
    "a caller reads its own writes": own_writes_are_read,
    "projects are separate": projects_are_separate,
    "marks only grow": marks_only_grow,
    "verify is right": verify_is_right,
    **permissions.CHECKS,
}
WITH_MEMBERS = {
    "no unexpected errors",
    "no livelock",
    "dense",
    "chain unbroken",
    "stored once",
    "statistics equal the log",
    "verify is right",
    *permissions.CHECKS,
}
"""Promises that are checked in the schedules with members."""
AFTER_A_RESTORE = {
    "no unexpected errors",
    "no livelock",
    "dense",
    "chain unbroken",
    "a view is one history",
    "transactions fit",
    "invalid batches are refused",
    "verify is right",
}
"""Promises that hold even if the table is restored to an earlier time, which removes the changes stored since."""
