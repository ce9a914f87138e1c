"""What is read: the contiguous run that makes a page, a log's end, the counts."""

from __future__ import annotations

from sltt_core.chain import GENESIS
from sltt_core.changes import Change, wire_size
from sltt_core.errors import ChainMismatch, LogDamaged, SlttError
from sltt_core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LIMIT = 1000
"""Changes or projects on one page."""
PAGE_BYTES = 4_000_000
"""Bytes of a page's changes as encoded: a Lambda answer holds 6 MB with its envelope."""


class Page(Record):
    """A contiguous run of a log."""

    changes: tuple[Change, ...]
    through: int
    """The last sequence number examined: the cursor to go on from, whether or not there is more."""
    chain: str | None
    """The link at `through`; `None` only when the cursor lies beyond the log's end."""
    cursor: int | None
    """`through` when there is more to read now, else `None`."""


class ProjectsPage(Record):
    """A run of the project ids, in order (of their bytes)."""

    projects: tuple[str, ...]
    cursor: str | None
    """The last id of the run when there is more, else `None`."""


class ChangeStats(Record):
    """How many changes a log holds, in all and by operation."""

    total: int
    creates: int
    updates: int
    deletes: int


class Head(Record):
    """The end of a log."""

    seq: int
    """The last sequence number, 0 before the first change."""
    chain: str
    """Its link."""


EMPTY_LOG = Head(0, GENESIS)


def contiguous_run(rows: Iterable[Change], cursor: int, most_bytes: int) -> list[Change]:
    """Take the run from `rows` that begins right after the cursor, up to the first gap or `most_bytes`."""
    run: list[Change] = []
    size = 0
    for change in rows:
        size += wire_size(change)
        if change.seq != cursor + 1 or (size > most_bytes and run):
            break
        run.append(change)
        cursor += 1
    return run


def chain_mismatch(project_id: str, cursor: int, head: Head, chain: str, known: str | None) -> SlttError:
    """Make the error for a reader that knows the link `chain` at its cursor, where the log has `known`."""
    if known is not None:
        return ChainMismatch(f"project {project_id} has the link {known} at {cursor}, not {chain}")
    if cursor > head.seq:
        return ChainMismatch(f"project {project_id} ends at {head.seq}, before {cursor}")
    return LogDamaged(f"change {cursor} of project {project_id} is missing")


def check_limit(value: object) -> int:
    """Check a page's limit: an integer from 1 to `MAX_LIMIT`."""
    if type(value) is not int or not 1 <= value <= MAX_LIMIT:
        raise ValueError(f"is not an integer from 1 to {MAX_LIMIT}")
    return value
