"""The promises of the sync, as checks of the record of a schedule."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from sltt_core.base.errors import ChainMismatch
from sltt_core.model.chain import GENESIS, check_links
from sltt_core.sync.outsyncs import HELD, REJECTED, WITHHELD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sltt_core.model.changes import Change
    from tests.simulation.devices.record import Record

LISTED = (REJECTED, WITHHELD, HELD)
"""States in which an edit waits for a person."""


def violations(record: Record) -> list[str]:
    """Return the violations in a record; each text begins with the name of the promise."""
    return [f"{name}: {violation}" for name, check in CHECKS.items() for violation in check(record)]


def no_unexpected_errors(record: Record) -> Iterator[str]:
    """No call of a device raises anything."""
    for failure in record.failures:
        yield repr(failure)
    if record.stuck:
        yield f"{record.stuck} calls never end"


def logs_are_equal(record: Record) -> Iterator[str]:
    """Each device has the log of the server, with its links."""
    for store in record.stores:
        for project, changes in store.logs.items():
            server = record.server[project]
            if [_as_stored(change) for change in changes] != [_as_stored(change) for change in server]:
                yield f"{store.name} has {len(changes)} changes of {project}, the server {len(server)}"


def chain_is_unbroken(record: Record) -> Iterator[str]:
    """The numbers of each log are dense, and each link is the hash of its change and of the link before it."""
    yield from record.unreadable
    logs = [("the server", record.server), *((store.name, store.logs) for store in record.stores)]
    for name, found in logs:
        for project, changes in found.items():
            try:
                check_links(GENESIS, changes)
            except ChainMismatch as error:
                yield f"{name}, {project}: {error.message}"
            if [change.seq for change in changes] != [*range(1, len(changes) + 1)]:
                yield f"{name}, {project}: the numbers have a gap"


def stored_once(record: Record) -> Iterator[str]:
    """No edit is in the logs twice, and no log has a `cid` twice.

    Two logs may have the same `cid`: a store that was restored in place gives it again, before it has read every log.
    """
    counts = Counter(_number(change) for changes in record.server.values() for change in changes)
    cids = Counter((project, change.cid) for project, changes in record.server.items() for change in changes)
    for found, count in (*counts.items(), *cids.items()):
        if count > 1:
            yield f"{found} is in the logs {count} times"


def nothing_is_lost(record: Record) -> Iterator[str]:
    """Each durable edit is in the log, or in an outbox and waits for a person; or a person dropped it."""
    stored = {_number(change): project for project, changes in record.server.items() for change in changes}
    listed = {edit.data["n"] for store in record.stores for edit in store.outbox if edit.state in LISTED}
    for number, edit in record.edits.items():
        if stored.get(number, edit.project) != edit.project:
            yield f"{number} is in the log of another project"
        if number not in stored and number not in listed | record.dropped | record.excused:
            yield f"{number} of {edit.project} is lost"
    for number in stored:
        if number not in record.edits and number not in record.attempted:
            yield f"{number} was never made"


def nothing_is_left(record: Record) -> Iterator[str]:
    """When nothing moves any more, an edit in an outbox waits for a person, and every project is synced."""
    for store in record.stores:
        for edit in store.outbox:
            if edit.state not in LISTED:
                yield f"{store.name}: {edit.data['n']} is {edit.state}"
        for project, status in store.status.projects.items():
            if status.state != "following":
                yield f"{store.name}: {project} is {status.state}: {status.problem}"


def only_the_server_refuses(record: Record) -> Iterator[str]:
    """An edit is rejected only if a problem document of the server named it."""
    for store in record.stores:
        for edit in store.outbox:
            if edit.state == REJECTED and edit.data["n"] not in record.refused:
                yield f"{store.name}: {edit.data['n']} is rejected, but the server did not refuse it"


def units_are_whole(record: Record) -> Iterator[str]:
    """The edits of a transaction are in the log one after the other, in their order, or none of them is.

    After a restore of the server, a device may bring back a part of a transaction, of which it had read no more.
    """
    places = {_number(change): change.seq for changes in record.server.values() for change in changes}
    for unit in {edit.unit for edit in record.edits.values()}:
        if record.changed.isdisjoint(unit):
            found = [places.get(number) for number in unit]
            first = found[0] or 0
            whole = found == [*range(first, first + len(unit))]
            if any(found) and not whole and not (record.restored and all(found)):
                yield f"the edits {unit} have the numbers {found}"


def time_runs_forward(record: Record) -> Iterator[str]:
    """The timestamps of a device never run backwards, whatever its clock does."""
    yield from record.backwards


CHECKS: dict[str, Callable[[Record], Iterator[str]]] = {
    "no unexpected errors": no_unexpected_errors,
    "equal logs": logs_are_equal,
    "chain unbroken on devices": chain_is_unbroken,
    "each edit once": stored_once,
    "no edit is lost": nothing_is_lost,
    "nothing is left": nothing_is_left,
    "only the server refuses": only_the_server_refuses,
    "units whole": units_are_whole,
    "time runs forward": time_runs_forward,
}


def _as_stored(change: Change) -> Change:
    return change.replace(request_key=None, outdated_by=None)


def _number(change: Change) -> Any:
    return json.loads(change.data_json)["n"]
