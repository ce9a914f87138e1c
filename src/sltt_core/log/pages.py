"""The results of reading: pages of changes or projects, filters, counts, and the end of a log."""

from __future__ import annotations

from sltt_core.base.errors import ChainMismatch, LogDamaged, SlttError
from sltt_core.base.record import Record
from sltt_core.model.chain import GENESIS
from sltt_core.model.changes import Change, wire_size
from sltt_core.model.fields import utf8_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Run = tuple[int, str | None, Sequence[Change]]
    """The last number of the log, the link at the cursor or `None`, and the run of changes after the cursor."""

MAX_LIMIT = 1000
"""The most changes or projects of a page."""
MAX_EXAMINED = 10_000
"""The most changes that are examined for a filtered page."""
PAGE_BYTES = 4_000_000
"""The most bytes of the changes of a page in JSON. A Lambda response has at most 6 MB."""


class Page(Record):
    """A contiguous run of changes."""

    changes: Sequence[Change]
    """In order. A storage may parse each change when it is accessed."""
    through: int
    """The last sequence number examined: the next cursor, whether or not the log has more changes."""
    chain: str | None
    """The link at `through`; `None` only if the cursor is beyond the end of the log."""
    cursor: int | None
    """`through` if the log has more changes now, else `None`."""

    def changes_json(self) -> str:
        """Return the JSON of the changes in the API, separated by commas."""
        to_json = getattr(self.changes, "to_json", None)
        text: str = ",".join([change.to_json() for change in self.changes]) if to_json is None else to_json()
        return text

    def with_texts(self, max_bytes: int) -> tuple[Page, str]:
        """Return a page with as many of these changes as fit in `max_bytes`, at least one, and their JSON.

        Each `data` is a string with the JSON text. Its escapes make the changes larger than in `changes_json`.
        """
        texts = [change.to_json(data_text=True) for change in self.changes]
        if utf8_length(",".join(texts)) <= max_bytes:
            return self, ",".join(texts)
        size = fitting = 0
        for text in texts:
            size += utf8_length(text) + 1
            if size > max_bytes and fitting:
                break
            fitting += 1
        if fitting == len(texts):
            return self, ",".join(texts)
        last = self.changes[fitting - 1]
        return Page(tuple(self.changes)[:fitting], last.seq, last.chain, last.seq), ",".join(texts[:fitting])

    def state(self, cursor: int) -> str:
        """Return a short text that identifies this page after `cursor`. Pages that differ have different texts.

        The link at the end of the page covers all fields of its changes except `outdated_by`.
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
    """A filter for changes. An empty set, and the default of each field, match every change."""

    entity_types: frozenset[str] = frozenset()
    entity_ids: frozenset[str] = frozenset()
    outdated: bool = True
    """Whether to include changes that a later one made obsolete."""

    def matches(self, change: Change) -> bool:
        """Return whether a change matches the filter."""
        return (
            (not self.entity_types or change.entity_type in self.entity_types)
            and (not self.entity_ids or change.entity_id in self.entity_ids)
            and (self.outdated or change.outdated_by is None)
        )


ALL = ChangeFilter()
"""Matches every change."""


class ProjectsPage(Record):
    """A run of the project ids, sorted by their bytes."""

    projects: tuple[str, ...]
    cursor: str | None
    """The last id of the run if there are more, else `None`."""


class ChangeStats(Record):
    """The number of changes of a log, in all and by operation."""

    total: int
    creates: int
    updates: int
    deletes: int


class Head(Record):
    """The end of a log."""

    seq: int
    """The last sequence number; 0 if the log is empty."""
    chain: str
    """The link of that change; `GENESIS` if the log is empty."""


EMPTY_LOG = Head(0, GENESIS)


def contiguous_run(rows: Iterable[Change], cursor: int, max_bytes: int) -> list[Change]:
    """Return the run of `rows` that begins directly after the cursor and ends before a gap or at `max_bytes`."""
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
    """Return a page of the changes after a cursor that match a filter.

    `first` and `following` are the unfiltered pages after the cursor. The page ends at `limit` changes, at `max_bytes`,
    after `MAX_EXAMINED` changes examined, at the end of the log, or before a gap.
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
        except LogDamaged:  # the next read, from there on, raises it again
            return Page(tuple(kept), through, link, through)


def page_of(found: Run, project_id: str, cursor: int, chain: str | None) -> Page:
    """Return the page of a run that a storage read after the cursor. The reader expects the link `chain` there.

    Raises `ChainMismatch` if the log has another link there or ends before the cursor, and `LogDamaged` if the number
    after the cursor is missing.
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
    """Return the error for a reader that expects the link `chain` at its cursor, where the log has `known`."""
    if known is not None:
        return ChainMismatch(f"project {project_id} has the link {known} at {cursor}, not {chain}")
    if cursor > end:
        return ChainMismatch(f"project {project_id} ends at {end}, before {cursor}")
    return LogDamaged(f"change {cursor} of project {project_id} is missing")


def check_limit(value: object) -> int:
    """Check the limit of a page: an integer from 1 to `MAX_LIMIT`."""
    if type(value) is not int or not 1 <= value <= MAX_LIMIT:
        raise ValueError(f"is not an integer from 1 to {MAX_LIMIT}")
    return value
