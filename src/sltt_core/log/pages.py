"""What is read: the contiguous run that makes a page, a log's end, the counts."""

from __future__ import annotations

from sltt_core.base.errors import ChainMismatch, LogDamaged, SlttError
from sltt_core.base.record import Record
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import Change, wire_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Run = tuple[int, str | None, Sequence[Change]]
    """How far the log reaches, as far as the read saw; the link at the cursor, if the log has it; the run after it."""

MAX_LIMIT = 1000
"""Changes or projects on one page."""
MAX_EXAMINED = 10_000
"""Changes that are read for one narrowed page at most."""
PAGE_BYTES = 4_000_000
"""Bytes of a page's changes as encoded: a Lambda answer holds 6 MB with its envelope."""


class Page(Record):
    """A contiguous run of a log."""

    changes: Sequence[Change]
    """In order. A storage may read them one by one as they are looked at."""
    through: int
    """The last sequence number examined: the cursor to go on from, whether or not there is more."""
    chain: str | None
    """The link at `through`; `None` only when the cursor lies beyond the log's end."""
    cursor: int | None
    """`through` when there is more to read now, else `None`."""

    def changes_json(self) -> str:
        """Write the changes as the API sends them, with commas between."""
        to_json = getattr(self.changes, "to_json", None)
        text: str = ",".join([change.to_json() for change in self.changes]) if to_json is None else to_json()
        return text

    def state(self, cursor: int) -> str:
        """Say in short what this page, asked for after `cursor`, says: another page has another state.

        The link at its end vouches for what its changes say (`sltt_core.model.chain`), but for their being outdated.
        """
        find_marks = getattr(self.changes, "marks", None)
        if find_marks is None:
            marks = [(change.seq, change.outdated_by) for change in self.changes if change.outdated_by is not None]
        else:
            marks = find_marks()
        whole = len(self.changes) == self.through - cursor
        which = "all" if whole else [change.seq for change in self.changes]
        return f"{cursor} {self.through} {self.chain} {self.cursor} {which} {marks}"


class ChangeFilter(Record):
    """Which changes of a run are wanted. Whatever is empty or left as it is lets every change through."""

    entity_types: frozenset[str] = frozenset()
    entity_ids: frozenset[str] = frozenset()
    outdated: bool = True
    """Whether changes are wanted that a later one made obsolete."""

    def matches(self, change: Change) -> bool:
        """Tell whether a change is wanted."""
        return (
            (not self.entity_types or change.entity_type in self.entity_types)
            and (not self.entity_ids or change.entity_id in self.entity_ids)
            and (self.outdated or change.outdated_by is None)
        )


ALL = ChangeFilter()
"""Every change is wanted."""


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


def contiguous_run(rows: Iterable[Change], cursor: int, max_bytes: int) -> list[Change]:
    """Take the run from `rows` that begins right after the cursor, up to the first gap or `max_bytes`."""
    run: list[Change] = []
    size = 0
    for change in rows:
        size += wire_size(change)
        if change.seq != cursor + 1 or (size > max_bytes and run):
            break
        run.append(change)
        cursor += 1
    return run


def filtered_page(
    first: Page, following: Iterator[Page], cursor: int, limit: int, filter: ChangeFilter, max_bytes: int
) -> Page:
    """Take the changes that are wanted from the pages after a cursor, as one page.

    It ends with `limit` changes or `max_bytes`, after `MAX_EXAMINED` changes, where the log ends, or before a gap.
    """
    kept: list[Change] = []
    size = 0
    through, link = cursor, first.chain
    page = first
    while True:
        for change in page.changes:
            if filter.matches(change):
                size += wire_size(change)
                if kept and size > max_bytes:
                    return Page(tuple(kept), through, link, through)
                kept.append(change)
            through, link = change.seq, change.chain
            if len(kept) == limit or through == cursor + MAX_EXAMINED:
                more = through < page.through or page.cursor is not None
                return Page(tuple(kept), through, link, through if more else None)
        if page.cursor is None:
            return Page(tuple(kept), through, link, None)
        try:
            page = next(following)
        except LogDamaged:  # whoever asks from there on is told
            return Page(tuple(kept), through, link, through)


def page_of(found: Run, project_id: str, cursor: int, chain: str | None) -> Page:
    """Make the page of what a storage read after the cursor, for a reader that knows the link `chain` there.

    Raises `ChainMismatch` when the log has another link there or ends before; `LogDamaged` before a missing number.
    """
    end, known, run = found
    if chain is not None and chain != known:
        raise chain_mismatch(project_id, cursor, end, chain, known)
    if not run:
        if cursor < end:
            raise LogDamaged(f"change {cursor + 1} of project {project_id} is missing")
        return Page((), cursor, known, None)
    last = run[-1]
    return Page(run, last.seq, last.chain, last.seq if last.seq < end else None)


def chain_mismatch(project_id: str, cursor: int, end: int, chain: str, known: str | None) -> SlttError:
    """Make the error for a reader that knows the link `chain` at its cursor, where the log has `known`."""
    if known is not None:
        return ChainMismatch(f"project {project_id} has the link {known} at {cursor}, not {chain}")
    if cursor > end:
        return ChainMismatch(f"project {project_id} ends at {end}, before {cursor}")
    return LogDamaged(f"change {cursor} of project {project_id} is missing")


def check_limit(value: object) -> int:
    """Check a page's limit: an integer from 1 to `MAX_LIMIT`."""
    if type(value) is not int or not 1 <= value <= MAX_LIMIT:
        raise ValueError(f"is not an integer from 1 to {MAX_LIMIT}")
    return value
