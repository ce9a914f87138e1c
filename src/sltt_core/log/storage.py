"""`BaseStorageService`: the contract of every storage of change logs, and the code that all storages share.

The docstrings are the contract. `tests/contract` tests every promise on every storage. The public methods check
arguments, divide batches into chunks, resume interrupted batches and build pages. A storage implements the abstract
methods at the end of the class.
"""

from __future__ import annotations

from abc import abstractmethod

from sltt_core.base.errors import InvalidBatch, InvalidInput, NotFound, Problem
from sltt_core.base.runtime import SYSTEM
from sltt_core.log.arguments import check_page, checked_batch, served_project
from sltt_core.log.batches import (
    CHUNK_BYTES,
    CHUNK_CHANGES,
    OWNED_CHANGES,
    Appended,
    BatchAppend,
    Chunk,
    StoredChunk,
)
from sltt_core.log.credentials import CredentialStorage
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
from sltt_core.log.upkeep import Upkeep
from sltt_core.model.changes import Change, NewChange
from sltt_core.model.fields import check_idempotency_key, check_project_id, check_seq, checked
from sltt_core.model.grants import NONE, check_principal, check_role, new_grant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from sltt_core.base.runtime import Observer, Runtime
    from sltt_core.log.pages import Run
    from sltt_core.log.requests import NamedRequest
    from sltt_core.model.grants import Members, Role


class BaseStorageService(Upkeep, CredentialStorage):
    """A storage of change logs: one append-only log for each project. Several threads may use one object.

    A service is bound to one project if it is created with `project_id=`. It serves only that project, and its methods
    need no `project_id`. With an unbound service, each change names its project, and the other methods need
    `project_id=`. Projects are not created: a project without changes reads as an empty log.

    Each change has a *sequence number* and a *link*. The link is a hash of the change and of the link before it, so it
    identifies the whole history up to the change. A *cursor* is the sequence number of the last change that a reader
    has; 0 is the beginning.

    Every storage promises:

    - *No gaps*: the sequence numbers of a project are 1, 2, 3, … This holds for any number of threads, processes and
      machines that append. A number and its change become durable together.
    - *No skipping*: a page is the contiguous run of changes after its cursor. It ends before a change that is not
      visible yet.
    - *Durability*: once a method has returned, its effect survives a crash of the process or of the machine.
    - *Isolation*: an operation on one project has no effect on another.
    - *Read your writes*: after an append has returned, reads of the same service include its changes.

    Every method may raise these errors:

    - `InvalidInput`: an argument breaks a rule. The storage was not accessed.
    - `NotFound`: the service is bound to another project.
    - `StorageBusy`: the storage was in use or overloaded for too long. Nothing was written.
    - `StorageUnavailable`: the storage failed or did not respond. A write may have succeeded.
    - `LogDamaged`: the log contradicts itself.
    - `StorageError`: any other failure of the storage. The three errors above are subclasses of it.
    """

    storage_type = "none"
    """The kind of storage, as `/health` and the statistics report it."""

    def __init__(
        self,
        project_id: str | None = None,
        *,
        runtime: Runtime = SYSTEM,
        chunk_changes: int = CHUNK_CHANGES,
        chunk_bytes: int = CHUNK_BYTES,
        page_bytes: int = PAGE_BYTES,
    ) -> None:
        """Create a service that is bound to `project_id`, or to no project. Only `initialize` opens the storage.

        An atomic write has at most `chunk_changes` changes and `chunk_bytes` bytes. A page has at most `page_bytes`
        bytes of JSON. Raises `InvalidInput` for a `project_id` that is not valid.
        """
        self.project_id = None if project_id is None else checked(check_project_id, project_id, "project_id")
        self._runtime = runtime
        self._chunk_changes = chunk_changes
        self._chunk_bytes = chunk_bytes
        self._page_bytes = page_bytes

    @property
    def page_bytes(self) -> int:
        """The most bytes of the JSON of the changes of a page with several changes."""
        return self._page_bytes

    @property
    def place(self) -> str:
        """Where an open storage is, as a text for operators. Empty if its URL contains everything."""
        return ""

    def observe(self, observer: Observer) -> None:
        """Notify an observer of each call of the storage to its database service, instead of the one before."""

    def gauges(self) -> dict[str, float]:
        """Return what the storage measures of itself, for operators, by the name of the measure.

        `commit_queue_length` is the number of writes that wait for a transaction, `commit_groups` that of transactions
        since the start, `commit_grouped` that of the writes in them. `wal_bytes` is the size of a write-ahead log.
        """
        return {}

    def __enter__(self) -> Self:
        self.initialize()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Writing

    def create_change(self, change: NewChange, idempotency_key: str | None = None) -> Change:
        """Append one change and return it as stored. Otherwise like `create_changes`."""
        _, chunks = self._append_batch([change], idempotency_key)
        stored = chunks[0].changes
        if stored is None:
            return self.get_change(chunks[0].first_seq, project_id=change.project_id)
        return stored[0]

    def create_changes(
        self,
        changes: Sequence[NewChange],
        idempotency_key: str | None = None,
        *,
        owners: Mapping[str, str] = {},
        if_head: int | None = None,
    ) -> Appended:
        """Append a batch in order, and return the sequence numbers of its changes.

        The changes of one project are written atomically, up to 98 changes and 3.5 MB. More changes are divided into
        chunks, and each chunk is written atomically with consecutive numbers. Projects are written in the order in
        which they first appear in the batch.

        An idempotency key makes it safe to send a batch again: 16 to 128 of `A-Z a-z 0-9 . _ : -`, remembered for 400
        days in each project. The same batch with the same key is stored once, whichever process or machine sends it.
        Later calls return the numbers of the first. If a batch was stored in part, the call stores the rest.

        Raises `InvalidBatch` if a change is not valid (nothing was stored), `KeyReused` if the key was used before
        with another batch, and `PartialAppend` if a batch of several chunks or projects was stored in part. To store
        the rest, call again with the same batch and key.

        `owners` has the projects that the call creates, and the principal who becomes the owner of each: the first
        change of such a log is the grant, in the same atomic write as the first changes of the batch. Raises
        `ProjectExists` if such a project has changes already, unless they are those of the same batch and key.

        With `if_head`, the batch is appended only if the log ends at this sequence number; 0 is an empty log. Raises
        `HeadMoved`, with the end of the log, if it does not, unless the batch is stored already with this key. The
        condition is not a part of what the key identifies. The batch must be one atomic write.
        """
        for principal in owners.values():
            checked(check_principal, principal, "owners")
        return self._append_batch(changes, idempotency_key, owners, if_head)[0]

    def restore_changes(self, changes: Iterable[Change]) -> Head:
        """Append changes of another log of the same project without modification, and return the new end of the log.

        Numbers, times, links and `outdated_by` are kept. The changes must belong to one project, have the next
        numbers, and continue the hash chain. Otherwise `InvalidBatch` names the first change that does not, and
        nothing is stored. Chunks are written atomically, as in `create_changes`. To continue an interrupted restore,
        pass the changes after `get_head`.

        The log gets the idempotency keys of the changes, too, unless they were stored more than 400 days ago: a batch
        that is sent again with its key is not stored twice. If the log ends in the middle of the batch, the rest is
        stored.
        """
        from sltt_core.log.restored import Restore  # a Lambda function does not restore

        given = list(changes)
        if not given:
            raise InvalidBatch([Problem(None, "changes", "the batch is empty; pass at least one change")])
        project_id = self._project(given[0].project_id)
        restore = Restore(self._get, self._run, self._restore, self._chunk_changes, self._chunk_bytes)
        return restore.append(given, project_id, self._head(project_id))

    def mark_as_outdated(self, seq: int, outdated_by: int, *, project_id: str | None = None) -> Change:
        """Record that the later change `outdated_by` made the change `seq` obsolete, and return the updated change.

        If a change is marked several times, in any order, the greatest number remains. `outdated_by` is the only field
        of a stored change that can change, and the link does not cover it. Raises `InvalidInput` if `outdated_by` is
        not greater than `seq`, and `NotFound` if either change is not in the log.
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

    # Members

    def set_role(
        self, principal: str, role: Role, *, project_id: str | None = None, granted_by: str | None = None
    ) -> Members:
        """Give a principal a role in a project, and return the members afterwards.

        The grant is a change of the log: of the entity type `sltt.member`, with the principal as its entity id. The
        members change in the same atomic write. A principal that has the role already gets no further grant. The role
        `none` removes a member. Raises `LastOwner` if the project would lose its last owner.
        """
        project_id = self._project(project_id)
        checked(check_principal, principal, "principal")
        checked(check_role, role, "role")
        if granted_by is not None:
            checked(check_principal, granted_by, "granted_by")
        return self._grant(project_id, new_grant(project_id, principal, role, granted_by))

    def get_members(self, *, project_id: str | None = None) -> Members:
        """Return everyone who has or had a role in a project. The cost does not grow with the log."""
        return self._members(self._project(project_id))

    def get_projects_of(self, principal: str, cursor: str | None = None, limit: int = MAX_LIMIT) -> ProjectsPage:
        """Return the sorted ids of the projects in which a principal has a role, after `cursor`, at most `limit`.

        The cost grows with the ids returned. A bound service returns at most its own project.
        """
        checked(check_principal, principal, "principal")
        if cursor is not None:
            checked(check_project_id, cursor, "cursor")
        checked(check_limit, limit, "limit")
        if self.project_id is not None:
            # Its permissions may end at its project, so it does not read the list of all projects of the principal.
            member = self._members(self.project_id).roles.get(principal)
            mine = member is not None and member.role != NONE and (cursor is None or cursor < self.project_id)
            return ProjectsPage((self.project_id,) if mine else (), None)
        found = self._projects_of(principal, cursor, limit + 1)
        return ProjectsPage(tuple(found[:limit]), found[limit - 1] if len(found) > limit else None)

    # Reading

    def get_change(self, seq: int, *, project_id: str | None = None) -> Change:
        """Return one change; raises `NotFound` if it is not in the log."""
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
        """Return the contiguous run of changes after the cursor: at most `limit` (1 to 1000) changes and 4 MB of JSON.

        If the log has a change after the cursor, the page has at least one change, whatever its size.

        `chain` is the link that the reader has at its cursor: `Page.chain` of the page before, or
        `sltt_core.model.chain.GENESIS` at cursor 0. If the log has another link there, or ends before the cursor, the
        method raises `ChainMismatch`: the reader has another history. If the number after the cursor is missing, it
        raises `LogDamaged` with that number.

        With `filter`, the page has only the changes that match. It examines at most `MAX_EXAMINED` changes, so it can
        be empty although `Page.cursor` points to more.
        """
        project_id = self._project(project_id)
        if filter == ALL:
            return self._page(cursor, limit, project_id, chain)
        checked(check_limit, limit, "limit")
        first = self._page(cursor, MAX_LIMIT, project_id, chain)
        following = self._pages_after(first, project_id)
        return filtered_page(first, following, cursor, limit, filter, self._page_bytes)

    def get_changes_not_outdated(
        self, cursor: int = 0, limit: int = MAX_LIMIT, *, project_id: str | None = None, chain: str | None = None
    ) -> Page:
        """Return a page like `get_changes_with_cursor`, without changes that a later change made obsolete."""
        return self.get_changes_with_cursor(
            cursor, limit, project_id=project_id, chain=chain, filter=ChangeFilter(outdated=False)
        )

    def get_changes_since(
        self, cursor: int = 0, *, project_id: str | None = None, chain: str | None = None
    ) -> Iterator[Change]:
        """Return an iterator over all changes after the cursor, including those appended while it runs.

        One page is in memory at a time. Each page is read with the link of the page before, so `ChainMismatch` is
        raised if the log is replaced meanwhile. Arguments are checked before the method returns.
        """
        project_id = self._project(project_id)
        return self._changes_from(self._page(cursor, MAX_LIMIT, project_id, chain), project_id)

    def wait_for_changes(self, cursor: int, timeout: float, *, project_id: str | None = None) -> bool:
        """Block until the log has a change after the cursor, and return `True`; return `False` after `timeout` seconds.

        The change may come from any process. If the log has one already, the method returns immediately.
        """
        project_id = self._project(project_id)
        checked(lambda value: check_seq(value, 0), cursor, "cursor")
        return self._wait_until(lambda: self._head(project_id).seq > cursor, timeout)

    def wait_for_any(self, cursors: Mapping[str, int], timeout: float) -> bool:
        """Block until one of these projects has a change after its cursor. Otherwise like `wait_for_changes`."""
        if len(cursors) == 1:
            ((project_id, cursor),) = cursors.items()
            return self.wait_for_changes(cursor, timeout, project_id=project_id)
        for cursor in cursors.values():
            checked(lambda value: check_seq(value, 0), cursor, "cursors")
        return self._wait_until(
            lambda: any(seq > cursors[project_id] for project_id, seq in self.get_heads(cursors).items()), timeout
        )

    def _wait_until(self, changed: Callable[[], bool], timeout: float) -> bool:
        deadline = self._runtime.steady_clock() + timeout
        while True:
            mark = self.write_mark()
            if changed():
                return True
            left = deadline - self._runtime.steady_clock()
            if left <= 0:
                return False
            self.wait_for_write(mark, left)

    def get_head(self, *, project_id: str | None = None) -> Head:
        """Return the last sequence number and its link; 0 and `GENESIS` for an empty log."""
        return self._head(self._project(project_id))

    def get_heads(self, project_ids: Iterable[str]) -> dict[str, int]:
        """Return the last sequence number of each of these projects. Projects without changes are left out."""
        return {project_id: end.seq for project_id, end in self.get_ends(project_ids).items()}

    def get_ends(self, project_ids: Iterable[str]) -> dict[str, Head]:
        """Return the last sequence number and its link of each of these projects. Empty logs are left out."""
        return self._ends([self._project(project_id) for project_id in project_ids])

    def get_change_stats(self, *, project_id: str | None = None) -> ChangeStats:
        """Return the exact numbers of changes, in all and by operation. The cost does not grow with the log."""
        return self._stats(self._project(project_id))[0]

    def get_entity_type_stats(self, *, project_id: str | None = None) -> dict[str, int]:
        """Return the exact number of changes of each entity type, sorted by type."""
        return self._stats(self._project(project_id))[1]

    def get_stats(self, *, project_id: str | None = None) -> tuple[ChangeStats, dict[str, int]]:
        """Return `get_change_stats` and `get_entity_type_stats` of one moment: the totals of both are equal."""
        return self.get_stats_with_head(project_id=project_id)[:2]

    def get_stats_with_head(self, *, project_id: str | None = None) -> tuple[ChangeStats, dict[str, int], Head]:
        """Return `get_stats` and the end of the log, all of one moment."""
        return self._stats(self._project(project_id))

    def get_all_projects(self, cursor: str | None = None, limit: int = MAX_LIMIT) -> ProjectsPage:
        """Return the sorted ids of the projects that have changes, after `cursor` (any project id), at most `limit`.

        The cost grows with the ids returned, not with the size of the storage. A bound service returns at most its own
        project.
        """
        if cursor is not None:
            checked(check_project_id, cursor, "cursor")
        checked(check_limit, limit, "limit")
        if self.project_id is None:
            found = self._projects(cursor, limit + 1)
            return ProjectsPage(tuple(found[:limit]), found[limit - 1] if len(found) > limit else None)
        mine = (cursor is None or cursor < self.project_id) and self._head(self.project_id).seq > 0
        return ProjectsPage((self.project_id,) if mine else (), None)

    # Helpers of the public methods

    def _project(self, project_id: str | None) -> str:
        return served_project(project_id, self.project_id)

    def _no_change(self, project_id: str, seq: int) -> NotFound:
        return NotFound(f"project {project_id} has no change {seq}")

    def _append_batch(
        self,
        changes: Sequence[NewChange],
        key: str | None,
        owners: Mapping[str, str] = {},
        if_head: int | None = None,
    ) -> tuple[Appended, list[StoredChunk]]:
        batch = checked_batch(changes, self.project_id)
        if key is not None:
            checked(check_idempotency_key, key, "idempotency_key")
        limit = min(self._chunk_changes, OWNED_CHANGES) if owners else self._chunk_changes
        append = BatchAppend(batch, key, self._append, limit, self._chunk_bytes, owners, if_head)
        if if_head is not None:
            checked(lambda value: check_seq(value, 0), if_head, "if_head")
            if append.writes > 1:
                raise InvalidInput(
                    "if_head needs a batch that is one atomic write",
                    field="if_head",
                    hint=f"Send at most {limit} changes of one project.",
                )
        if append.writes > 1:
            # A single write checks this itself. With several, the check comes before the first.
            append.check(self._stored_chunk, lambda project_id: self._stats(project_id)[1])
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

    # Implemented by each storage. The arguments are checked, and `project_id` is never `None`.

    @abstractmethod
    def initialize(self) -> None:
        """Open the storage; create it if it is a kind of storage that is created on demand. Idempotent."""

    @abstractmethod
    def close(self) -> None:
        """Finish the writes in progress and release all resources. Idempotent."""

    def check(self) -> None:
        """Raise `StorageError` when the open storage is known to have failed. Costs little: `/health` calls it."""

    def _ends(self, project_ids: Sequence[str]) -> dict[str, Head]:
        """Return what `get_ends` returns. A storage that can read many logs at once overrides this."""
        ends = {project_id: self._head(project_id) for project_id in project_ids}
        return {project_id: end for project_id, end in ends.items() if end.seq}

    @abstractmethod
    def write_mark(self) -> object:
        """Return a mark of the current state for `wait_for_write`. Call this before you read the log."""

    @abstractmethod
    def wait_for_write(self, mark: object, seconds: float) -> None:
        """Block until any process has written to any log since the mark, at most for `seconds`, or for less."""

    @abstractmethod
    def _append(self, chunk: Chunk) -> StoredChunk:
        """Store a chunk atomically. If its key and number are stored already, return that chunk and store nothing.

        With `Chunk.owner`, store a grant before it; raise `ProjectExists` if the log has changes then. With
        `Chunk.if_head`, raise `HeadMoved` (`head_moved`) if the log does not end there, but after a `ProjectExists`:
        the caller may not read the log. Raise `InvalidBatch` (`too_many_entity_types`). All that comes before anything
        is written.
        """

    @abstractmethod
    def _stored_chunk(self, project_id: str, key: str, number: int) -> StoredChunk | None:
        """Return the stored chunk with this key and number, or `None`."""

    @abstractmethod
    def _grant(self, project_id: str, grant: NewChange) -> Members:
        """Append a grant if it is needed (`members.is_needed`), atomically; return the members afterwards."""

    @abstractmethod
    def _members(self, project_id: str) -> Members:
        """Return the members; `NO_MEMBERS` for a project without a grant."""

    @abstractmethod
    def _projects_of(self, principal: str, after: str | None, limit: int) -> list[str]:
        """Return at most `limit` sorted ids of the projects of a principal, after the id `after`."""

    @abstractmethod
    def _restore(self, project_id: str, changes: tuple[Change, ...], requests: tuple[NamedRequest, ...]) -> None:
        """Store changes without modification, and remember requests in place of what is known about them, atomically.

        A request that has expired is left out. Raises `StorageBusy` if the log has advanced.
        """

    @abstractmethod
    def _mark(self, project_id: str, seq: int, outdated_by: int) -> Change | None:
        """Set `outdated_by` of a change unless it is greater, and return the change; `None` if it does not exist."""

    @abstractmethod
    def _get(self, project_id: str, seq: int) -> Change | None:
        """Return one change, or `None`."""

    @abstractmethod
    def _run(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        """Return the last number of the log, the link at the cursor, and the run of changes after the cursor.

        `chain` is the link that the reader expects at the cursor. If the log has another, a storage whose reads can be
        stale reads again before it returns. `contiguous_run` helps to build a run.
        """

    @abstractmethod
    def _head(self, project_id: str) -> Head:
        """Return the end of the log; `EMPTY_LOG` if it has no changes."""

    @abstractmethod
    def _stats(self, project_id: str) -> tuple[ChangeStats, dict[str, int], Head]:
        """Return the numbers of changes by operation and by entity type (sorted), and the head, of one moment."""

    @abstractmethod
    def _projects(self, after: str | None, limit: int) -> list[str]:
        """Return at most `limit` sorted ids of projects that have changes, after the id `after`."""
