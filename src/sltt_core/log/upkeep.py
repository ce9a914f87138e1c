"""`Upkeep`: the part of the storage contract that finds damage in a log and repairs it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sltt_core.model.fields import check_seq, checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sltt_core.log.findings import Finding, Progress, Report


class Upkeep(ABC):
    """A storage whose logs can be verified and repaired."""

    def verify(
        self, *, project_id: str | None = None, requests: bool = True, progress: Progress = lambda _: None
    ) -> Iterator[Finding]:
        """Return an iterator that reads a whole log and yields what is wrong with it. It writes nothing.

        It reads every change and computes its link again. It compares the numbers, the recorded end of the log and the
        counts with the changes, and with `requests` also the idempotency keys. `sltt_core.log.findings.KINDS` lists
        the kinds of findings. Other threads and processes may write meanwhile: a write in progress is not reported.

        The iterator reads the log page by page, so the memory it needs does not grow with the log. It calls `progress`
        at intervals with the number of changes examined so far. Arguments are checked before the method returns; the
        iterator raises all other errors.
        """
        return self._verify(self._project(project_id), requests, progress)

    def repair(
        self,
        *,
        project_id: str | None = None,
        dry_run: bool = True,
        relink_from: int | None = None,
        progress: Progress = lambda _: None,
    ) -> Report:
        """Repair what `verify` finds, and report what was done; with `dry_run`, only report what is wrong.

        The content of stored changes is not altered. A missing number gets a tombstone (a change with the operation
        `void`). Wrong links after it, the recorded end and the counts are computed again. An idempotency key whose
        changes are missing is deleted. Other threads and processes may write meanwhile, and a repair that was
        interrupted is resumed by the next one.

        Raises `LogDamaged` before anything is written if something cannot be repaired: a change that breaks a rule, or
        one that does not match its link, unless its number is `relink_from` or higher: those changes are accepted as
        they are.
        """
        project_id = self._project(project_id)
        if relink_from is not None:
            checked(check_seq, relink_from, "relink_from")
        return self._repair(project_id, dry_run, relink_from, progress)

    @abstractmethod
    def _project(self, project_id: str | None) -> str:
        """Return the project that a method is called for; raises `InvalidInput` or `NotFound`."""

    @abstractmethod
    def _verify(self, project_id: str, requests: bool, progress: Progress) -> Iterator[Finding]:
        """Yield the findings of `verify`. Reading starts with the first `next`."""

    @abstractmethod
    def _repair(self, project_id: str, dry_run: bool, relink_from: int | None, progress: Progress) -> Report:
        """Do what `repair` does."""
