"""`BaseStorageService`: the contract that every storage of the change log keeps, and what all share.

The promises are in the docstrings, and `tests/contract` tests each of them on every storage. A storage fills
in the hooks at the end of the class; checking, chunking, resuming and paging are done here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from sltt_core.base.errors import (
    InvalidBatch,
    InvalidInput,
    NotFound,
    Problem,
)
from sltt_core.base.runtime import SYSTEM
from sltt_core.log.arguments import check_page, check_restored, checked_batch, served_project
from sltt_core.log.batches import (
    CHUNK_BYTES,
    CHUNK_CHANGES,
    Appended,
    BatchAppend,
    Chunk,
    StoredChunk,
    cut,
)
from sltt_core.log.pages import (
    ALL,
    MAX_LIMIT,
    PAGE_BYTES,
    ChangeFilter,
    ChangeStats,
    Head,
    Page,
    ProjectsPage,
    check_limit,
    filtered_page,
    page_of,
)
from sltt_core.model.changes import Change, NewChange, item_size
from sltt_core.model.fields import check_idempotency_key, check_project_id, check_seq, checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from sltt_core.base.runtime import Runtime
    from sltt_core.log.findings import Finding, Progress
    from sltt_core.log.pages import Run


class BaseStorageService(ABC):
    """A storage of change logs, one log for each project. Safe for use by several threads.

    Bound to one project with `project_id=`, the methods need no `project_id` and serve no other project;
    unbound, each change names its project, and the other methods take `project_id=`. A project need not be
    created: it begins with its first change, and before that reads as empty.

    Promises, of every storage:

    - *Density*: a project's sequence numbers are 1, 2, 3, … without a hole, however many threads, processes
      and machines append. Number and change become durable together.
    - *No skipping*: a page is the contiguous run after its cursor. A change that is not visible yet ends the
      page before it; it is never passed over.
    - *Durability*: what a method has returned survives a crash of the process and of the machine.
    - *Isolation*: nothing done to one project shows in another.
    - *Own writes*: who appended reads it.

    Errors, of every method: `InvalidInput` for an argument that breaks a rule, before anything is touched;
    `StorageBusy` when the log cannot be had in time; `LogDamaged` when it contradicts itself; `StorageError`
    for what else goes wrong outside the caller's power.
    """

    storage_type = "none"
    """What `/health` and the statistics call it."""

    def __init__(
        self,
        project_id: str | None = None,
        *,
        runtime: Runtime = SYSTEM,
        chunk_changes: int = CHUNK_CHANGES,
        chunk_bytes: int = CHUNK_BYTES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        """Bind the service to a project, or to none. Nothing is opened before `initialize`."""
        self.project_id = None if project_id is None else checked(check_project_id, project_id, "project_id")
        self._runtime = runtime
        self._chunk_changes = chunk_changes
        self._chunk_bytes = chunk_bytes
        self._page_bytes = page_bytes

    @property
    def place(self) -> str:
        """Where it is, once it is open, as far as its URL does not say: for whoever runs it."""
        return ""

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Writing

    def create_change(self, change: NewChange, idempotency_key: str | None = None) -> Change:
        """Append one change and return it as stored; `create_changes` says the rest."""
        _, chunks = self._append_batch([change], idempotency_key)
        stored = chunks[0].changes
        if stored is None:
            return self.get_change(chunks[0].first_seq, project_id=change.project_id)
        return stored[0]

    def create_changes(self, changes: Sequence[NewChange], idempotency_key: str | None = None) -> Appended:
        """Append a batch, in its order, and return the numbers it got.

        Atomic for each project up to 98 changes and 3.5 MB; a larger part is a sequence of such chunks, each
        of consecutive numbers. Projects are written in the order of their first appearance, each project's
        changes in theirs.

        With an idempotency key (16 to 128 of `A-Z a-z 0-9 . _ : -`, remembered for 400 days in each
        project), the same batch is stored once, however often and from wherever it is sent: later calls
        return the first one's numbers, and a batch that stopped midway goes on where it stopped.

        Raises `InvalidBatch` when a change is wrong, and nothing was stored; `KeyReused` when the key came
        with another batch before; `PartialAppend` when a batch of several chunks or projects stopped midway
        (which the same key resumes).
        """
        return self._append_batch(changes, idempotency_key)[0]

    def restore_changes(self, changes: Iterable[Change]) -> Head:
        """Append the next changes of a log exactly as another log of the project holds them.

        Numbers, times, links and `outdatedBy` are kept. The changes must be of one project, begin with the
        next number, and carry on the chain; otherwise `InvalidBatch` names the first that does not, and
        nothing was stored. Atomic up to a chunk, like `create_changes`; returns the new end of the log. An
        interrupted restoring goes on from `get_head`.
        """
        waiting = list(changes)
        if not waiting:
            raise InvalidBatch([Problem(None, "changes", "there is nothing to restore")])
        project_id = self._project(waiting[0].project_id)
        head = check_restored(waiting, project_id, self._head(project_id))
        for start, (end, _) in cut([*map(item_size, waiting)], self._chunk_changes, self._chunk_bytes).items():
            self._restore(project_id, tuple(waiting[start:end]))
        return head

    def mark_as_outdated(self, seq: int, outdated_by: int, *, project_id: str | None = None) -> Change:
        """Note that a later change made this one obsolete, and return the change as it now is.

        Of several such notes the one with the latest number stays, in whatever order they come. It is the
        only thing about a stored change that ever changes, and no part of its link. Raises `InvalidInput`
        when `outdated_by` is not later than `seq`, `NotFound` when either is not in the log: nothing is
        created.
        """
        project_id = self._project(project_id)
        checked(check_seq, seq, "seq")
        checked(check_seq, outdated_by, "outdated_by")
        if outdated_by <= seq:
            raise InvalidInput(f"outdated_by {outdated_by} is not later than {seq}", field="outdated_by")
        if outdated_by > self._head(project_id).seq and self._get(project_id, outdated_by) is None:
            raise self._no_change(project_id, outdated_by)
        change = self._mark(project_id, seq, outdated_by)
        if change is None:
            raise self._no_change(project_id, seq)
        return change

    # Reading

    def get_change(self, seq: int, *, project_id: str | None = None) -> Change:
        """Return one change; raises `NotFound` when the log does not hold it."""
        project_id = self._project(project_id)
        checked(check_seq, seq, "seq")
        change = self._get(project_id, seq)
        if change is None:
            raise self._no_change(project_id, seq)
        return change

    def get_changes_with_cursor(
        self,
        cursor: int = 0,
        limit: int = MAX_LIMIT,
        *,
        project_id: str | None = None,
        chain: str | None = None,
        filter: ChangeFilter = ALL,
    ) -> Page:
        """Return the run of changes after the cursor, at most `limit` (1 to 1000) and 4 MB as encoded.

        At least one change is returned when there is one, whatever its size. With `chain`, the link that
        the reader knows at its cursor (`chain` of the page before; `sltt_core.model.chain.GENESIS` at 0), raises
        `ChainMismatch` when the log has another there, or does not reach so far. A number that is missing
        before the log's end raises `LogDamaged`, naming it, once the reader stands before it.

        With `narrow`, only the changes of the run that it keeps are returned. At most `MAX_EXAMINED` changes are
        looked at: such a page may be empty and yet have more behind it (`cursor`).
        """
        project_id = self._project(project_id)
        if filter == ALL:
            return self._page(cursor, limit, project_id, chain)
        checked(check_limit, limit, "limit")
        first = self._page(cursor, MAX_LIMIT, project_id, chain)
        following = self._pages_after(first, project_id)
        return filtered_page(first, following, cursor, limit, filter, self._page_bytes)

    def get_changes_not_outdated(
        self,
        cursor: int = 0,
        limit: int = MAX_LIMIT,
        *,
        project_id: str | None = None,
        chain: str | None = None,
    ) -> Page:
        """Return a page like `get_changes_with_cursor`, without the changes that a later one made obsolete."""
        return self.get_changes_with_cursor(
            cursor, limit, project_id=project_id, chain=chain, filter=ChangeFilter(outdated=False)
        )

    def get_changes_since(
        self, cursor: int = 0, *, project_id: str | None = None, chain: str | None = None
    ) -> Iterator[Change]:
        """Return every change after the cursor, one after the other, up to the end as it is when reached.

        One page is in memory at a time, however long the log. Each page is asked for with the link of the one
        before, so a log that is replaced meanwhile raises `ChainMismatch`. Arguments are checked at once.
        """
        project_id = self._project(project_id)
        return self._changes_from(self._page(cursor, MAX_LIMIT, project_id, chain), project_id)

    def wait_for_changes(self, cursor: int, timeout: float, *, project_id: str | None = None) -> bool:
        """Wait until there is a change after the cursor, whoever writes it; `False` after `timeout` seconds.

        Returns at once when there is one already.
        """
        project_id = self._project(project_id)
        checked(lambda value: check_seq(value, 0), cursor, "cursor")
        deadline = self._runtime.steady_clock() + timeout
        while True:
            mark = self.write_mark()
            if self._head(project_id).seq > cursor:
                return True
            left = deadline - self._runtime.steady_clock()
            if left <= 0:
                return False
            self.wait_for_write(mark, left)

    def get_head(self, *, project_id: str | None = None) -> Head:
        """Return the last sequence number and its link."""
        return self._head(self._project(project_id))

    def get_heads(self, project_ids: Iterable[str]) -> dict[str, int]:
        """Return the last sequence number of each of these projects that has changes, in one look."""
        return self._heads([self._project(project_id) for project_id in project_ids])

    def get_change_stats(self, *, project_id: str | None = None) -> ChangeStats:
        """Return exact counts, at a cost that does not grow with the log; zeros for a log without changes."""
        return self._stats(self._project(project_id))[0]

    def get_entity_type_stats(self, *, project_id: str | None = None) -> dict[str, int]:
        """Return how many changes there are of each entity type, in the types' order."""
        return self._stats(self._project(project_id))[1]

    def get_stats(self, *, project_id: str | None = None) -> tuple[ChangeStats, dict[str, int]]:
        """Return `get_change_stats` and `get_entity_type_stats` of one moment: the totals of both are equal."""
        return self._stats(self._project(project_id))

    def get_all_projects(self, cursor: str | None = None, limit: int = MAX_LIMIT) -> ProjectsPage:
        """Return the ids of the projects that have changes, in order, after the cursor (any id).

        Costs what it returns, not what the storage holds. A bound service knows only its own project.
        """
        if cursor is not None:
            checked(check_project_id, cursor, "cursor")
        checked(check_limit, limit, "limit")
        if self.project_id is None:
            found = self._projects(cursor, limit + 1)
            return ProjectsPage(tuple(found[:limit]), found[limit - 1] if len(found) > limit else None)
        mine = (cursor is None or cursor < self.project_id) and self._head(self.project_id).seq > 0
        return ProjectsPage((self.project_id,) if mine else (), None)

    # Verifying

    def verify(
        self, *, project_id: str | None = None, requests: bool = True, progress: Progress = lambda _: None
    ) -> Iterator[Finding]:
        """Read a whole log and yield what is wrong with it; a sound log yields nothing. Nothing is altered.

        Every change is read and its link is computed again. The numbers, the recorded end of the log and the counts
        are compared with the changes; with `requests`, the idempotency keys are, too. `sltt_core.log.findings.KINDS`
        lists what can be found. Other threads and processes may go on writing: a write in progress is no finding.

        The log is read page by page while the findings are taken, so the memory needed does not grow with the log.
        `progress` is called now and then with the number of changes that were examined. Arguments are checked at
        once; all other errors are raised while the findings are taken.
        """
        return self._verify(self._project(project_id), requests, progress)

    # What the public methods share

    def _project(self, project_id: str | None) -> str:
        return served_project(project_id, self.project_id)

    def _no_change(self, project_id: str, seq: int) -> NotFound:
        return NotFound(f"there is no change {seq} in project {project_id}")

    def _append_batch(self, changes: Sequence[NewChange], key: str | None) -> tuple[Appended, list[StoredChunk]]:
        batch = checked_batch(changes, self.project_id)
        if key is not None:
            checked(check_idempotency_key, key, "idempotency_key")
        append = BatchAppend(batch, key, self._append, self._chunk_changes, self._chunk_bytes)
        if append.writes > 1:
            # One atomic write checks this itself; of several, a later one must not fail on it.
            append.check_key(self._stored_chunk)
            append.check_entity_types(lambda project_id: self._stats(project_id)[1])
        return append.run(), append.chunks

    def _page(self, cursor: int, limit: int, project_id: str, chain: str | None) -> Page:
        check_page(cursor, limit, chain)
        return page_of(self._run(project_id, cursor, limit, chain), project_id, cursor, chain)

    def _pages_after(self, page: Page, project_id: str) -> Iterator[Page]:
        while page.cursor is not None:
            page = self._page(page.through, MAX_LIMIT, project_id, page.chain)
            yield page

    def _changes_from(self, page: Page, project_id: str) -> Iterator[Change]:
        yield from page.changes
        for following in self._pages_after(page, project_id):
            yield from following.changes

    # What a storage fills in. Arguments are checked; project ids are given.

    @abstractmethod
    def initialize(self) -> None:
        """Open the storage, making it when it is the storage's to make. Twice does no harm."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything; writes in progress are finished first. Twice does no harm."""

    def check(self) -> None:
        """Raise `StorageError` when the open storage is known to have failed. Costs little: `/health` calls it."""
        return

    def _heads(self, project_ids: Sequence[str]) -> dict[str, int]:
        """Return the numbers that `get_heads` does; a storage that can look at many logs at once does so."""
        heads = {project_id: self._head(project_id).seq for project_id in project_ids}
        return {project_id: seq for project_id, seq in heads.items() if seq}

    @abstractmethod
    def write_mark(self) -> object:
        """Return a mark of this moment, for `wait_for_write`. Take it before you look at the log."""

    @abstractmethod
    def wait_for_write(self, mark: object, seconds: float) -> None:
        """Return soon after something was written since the mark, to any log and by whomever.

        Returns after `seconds` at the latest, and perhaps for nothing.
        """

    @abstractmethod
    def _append(self, chunk: Chunk) -> StoredChunk:
        """Store a chunk atomically, unless its key and number are stored already: then return what they hold.

        Raises `InvalidBatch` (`too_many_entity_types`) before anything is written.
        """

    @abstractmethod
    def _stored_chunk(self, project_id: str, key: str, number: int) -> StoredChunk | None:
        """Return what a chunk of this key and number wrote before; `None` when there is none."""

    @abstractmethod
    def _restore(self, project_id: str, changes: tuple[Change, ...]) -> None:
        """Store the changes as they are, atomically, if they still continue the log; else `StorageBusy`."""

    @abstractmethod
    def _mark(self, project_id: str, seq: int, outdated_by: int) -> Change | None:
        """Set `outdated_by` where it is less or absent, and return the change; `None` when there is none."""

    @abstractmethod
    def _get(self, project_id: str, seq: int) -> Change | None:
        """Return one change, or `None`."""

    @abstractmethod
    def _run(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        """Return the run after the cursor, with how far the log reaches and the link at the cursor.

        `chain` is the link that the reader expects there: where another is found, a storage whose reads may be stale
        looks again before it returns. `contiguous_run` cuts a run.
        """

    @abstractmethod
    def _head(self, project_id: str) -> Head:
        """Return the log's end; `EMPTY_LOG` when nothing was written."""

    @abstractmethod
    def _stats(self, project_id: str) -> tuple[ChangeStats, dict[str, int]]:
        """Return the counts by operation, and those by entity type in the types' order, of one moment."""

    @abstractmethod
    def _verify(self, project_id: str, requests: bool, progress: Progress) -> Iterator[Finding]:
        """Yield what `verify` does; nothing is read before the first finding is asked for."""

    @abstractmethod
    def _projects(self, after: str | None, limit: int) -> list[str]:
        """Return up to `limit` ids of projects with changes, in order, after the given one."""
