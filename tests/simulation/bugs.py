"""Bugs, planted in the storage one at a time, to see that the checker finds them. Each has been somebody's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from aws_backend.log import appender, items, transactions
from aws_backend.log import table as log_table
from aws_backend.log.appender import Appender, _stored
from aws_backend.log.items import advanced, change_item, change_of, log_end_values, sequence_key
from aws_backend.log.queue import AppendQueue
from aws_backend.log.reader import LogReader, _View
from aws_backend.log.table import LogTable
from aws_backend.storage import DynamoDBStorageService
from sltt_core.base.errors import SlttError
from sltt_core.log.batches import BatchAppend, Chunk, StoredChunk, number_changes
from tests.dynamodb_model.model import Model
from tests.simulation.checker import violations
from tests.simulation.process import Parts
from tests.simulation.world import World


class CounterThenPut(DynamoDBStorageService):
    """The original's append: take numbers from a counter, then put the changes one by one."""

    def _append(self, chunk: Any) -> StoredChunk:
        table: Any = self._open.table
        deadline = table.deadline()
        end = table.read_end(chunk.project_id, deadline)
        count = len(chunk.changes)
        response = table.call(
            "UpdateItem",
            {
                "TableName": table.name,
                "Key": sequence_key(chunk.project_id),
                "UpdateExpression": "SET #v = if_not_exists(#v, :one) + :n, chain = if_not_exists(chain, :chain), "
                "#f = :one, creates = :zero, updates = :zero, deletes = :zero",
                "ExpressionAttributeNames": {"#v": "value", "#f": "format"},
                "ExpressionAttributeValues": {
                    ":n": {"N": str(count)},
                    ":one": {"N": "1"},
                    ":zero": {"N": "0"},
                    ":chain": {"S": end.chain},
                },
                "ReturnValues": "UPDATED_NEW",
            },
            deadline,
        )
        first = int(response["Attributes"]["value"]["N"]) - count
        stored = number_changes(chunk, end.head.replace(seq=first - 1), "2023-11-14T22:13:20.000Z")
        for change in stored:
            table.call("PutItem", {"TableName": table.name, "Item": change_item(change)}, deadline)
        return StoredChunk(first, count, chunk.fingerprint, stored, chunk.offset)


class RepairThatScansThenSets(DynamoDBStorageService):
    """Whoever asks for statistics has them counted anew, and set, whatever was written meanwhile."""

    def _stats(self, project_id: str) -> Any:
        table: Any = self._open.table
        deadline = table.deadline()
        end = table.read_end(project_id, deadline)
        run = self._run(project_id, 0, 1000, None)[2]
        if run:
            counted = advanced(items.NO_LOG, [change_of(item) if isinstance(item, dict) else item for item in run])
            values = log_end_values(counted)
            table.call(
                "UpdateItem",
                {
                    "TableName": table.name,
                    "Key": sequence_key(project_id),
                    "UpdateExpression": "SET " + ", ".join(f"#{name} = :{name}" for name in values),
                    "ExpressionAttributeNames": {f"#{name}": name for name in values},
                    "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()},
                },
                deadline,
                repeatable=True,
            )
        return end.stats, dict(end.entity_types)


class HalfTransactions(Model):
    """A database whose transactions are not: what comes after the first few actions may be left out."""

    def _commit(self, changes: list[Any]) -> None:
        super()._commit(changes[:3] if self.version % 7 == 3 else changes)


class ForgetfulModel(Model):
    """A database that forgets what it answered last."""

    def _commit(self, changes: list[Any]) -> None:
        super()._commit(changes)
        if self.version % 11 == 5:
            for change in changes:
                change.slot.versions.pop()


def _storage(cls: Callable[..., DynamoDBStorageService]) -> Callable[[], Any]:
    @contextmanager
    def planted() -> Iterator[Parts]:
        yield Parts(storage=cls)

    return planted


def _model(cls: Callable[..., Model]) -> Callable[[], Any]:
    @contextmanager
    def planted() -> Iterator[Parts]:
        yield Parts(model=cls)

    return planted


def _patched(*patches: tuple[Any, str, Any]) -> Callable[[], Any]:
    @contextmanager
    def planted() -> Iterator[Parts]:
        with ExitStack() as stack:
            for where, name, what in patches:
                stack.enter_context(patch.object(where, name, what))
            yield Parts()

    return planted


def _cut_without_gaps(self: Any, page_bytes: int) -> Any:
    return self.end, self.known, items.StoredChanges(self.run[: self.limit]) if self.run else ()


def _sound_with_gaps(self: Any, seen: int, *chain: str | None) -> bool:
    return bool(self.run) or (self.known is not None and self.cursor >= seen)


def _token_of_the_key(table: str, members: Any, before: Any, now: str, token: str) -> Any:
    return _build(table, members, before, now, f"t-{members[0].key}"[:36])


_build = transactions.build
_advance = transactions.advance
_put_request = transactions.put_request
_apply_refusal = Appender._apply_refusal
_is_sound = _View.is_sound
_look = LogReader._look


def _taken_for_failure(self: Any, lane: Any, jobs: Any, deadline: float, error: SlttError) -> None:
    lane.end = None
    if self._table.is_late(deadline):
        raise error
    for job in jobs:  # "it failed, so it can be done anew"
        if job.member.chunk.key is None:
            job.member = job.member.replace(key=self._table.runtime.new_token())


def _taken_for_success(self: Any, lane: Any, jobs: Any, deadline: float, error: SlttError) -> None:
    lane.end = None
    for job in jobs:
        changes = next(reversed(job.attempts.values()))
        job.result = _stored(job.member.chunk, changes)


def _run_part_by_own_sizes(self: Any, project_id: str, part: Any) -> None:
    changes = [self.batch.changes[place] for place in part.places]
    offset = number = 0
    while offset < len(changes):
        end, size = part.piece_at(offset)
        stored = self._append(
            Chunk(project_id, self._key, number, offset, self.fingerprint, tuple(changes[offset:end]), size)
        )
        for step in range(end - offset):
            self.seqs[part.places[offset + step]] = stored.first_seq + step
        self.chunks.append(stored)
        offset = end
        number += 1


def _without_condition(table: str, project_id: str, before: Any, after: Any) -> dict[str, Any]:
    action = _advance(table, project_id, before, after)
    update = action["Update"]
    expected = [name for name in update["ExpressionAttributeValues"] if name.startswith(":was_")]
    for name in expected:
        del update["ExpressionAttributeValues"][name]
    del update["ConditionExpression"]
    for name in ("#pk", "#repairs", *(["#format"] if before.exists else [])):
        update["ExpressionAttributeNames"].pop(name, None)
    return action


def _put_over(table: str, *arguments: Any) -> dict[str, Any]:
    put = _put_request(table, *arguments)["Put"]
    return {"Put": {"TableName": table, "Item": put["Item"]}}


def _all_replayed(self: Any, lane: Any, jobs: Any, refusal: Any, built: Any) -> None:
    _apply_refusal(self, lane, jobs, refusal, built)
    if refusal.replays:
        for job, changes in zip(jobs, built.changes, strict=True):
            if job.result is None:
                job.result = _stored(job.member.chunk, changes)


def _sound_when_empty(self: Any, seen: int, *chain: str | None) -> bool:
    return _is_sound(self, 0, *chain)


def _look_weakly(self: Any, *arguments: Any, strong: bool) -> Any:
    return _look(self, *arguments, strong=False)


def _read_end_weakly(self: Any, project_id: str, deadline: float, *, strong: bool = True) -> Any:
    end = items.log_end_of(self.get_sequence(project_id, deadline, strong=False), project_id)
    self.known_heads.note(project_id, end.head.seq)
    return end


def _get_once(self: Any, project_id: str, seq: int) -> Any:
    item = self._open.table.get_change(project_id, seq, self._open.table.deadline(), strong=False)
    return None if item is None else change_of(item)


def _mark_without_condition(self: Any, project_id: str, seq: int, outdated_by: int) -> Any:
    table = self._open.table
    response = table.call(
        "UpdateItem",
        {
            "TableName": table.name,
            "Key": items.change_key(project_id, seq),
            "UpdateExpression": "SET outdatedBy = :by",
            "ConditionExpression": "attribute_exists(pk)",
            "ExpressionAttributeValues": {":by": {"N": str(outdated_by)}},
            "ReturnValues": "ALL_NEW",
        },
        table.deadline(),
        repeatable=True,
    )
    return change_of(response["Attributes"])


def _key_of_all_projects(project_id: str, key: str, number: int) -> dict[str, Any]:
    return {"pk": {"S": f"REQUEST#{key}"}, "seq": {"N": str(number)}}


def _leave_the_others(self: Any, lane: Any, unfinished: Any) -> None:
    with self._lock:
        lane.busy = bool(lane.waiting)


def _count_the_first(end: Any, changes: Any) -> Any:
    after = advanced(end, changes)
    return after.replace(creates=end.creates + (changes[0].operation == "create"))


def _no_deadline(self: Any) -> float:
    return float(self.runtime.steady_clock() + 3600.0)


def find(bug: Bug, seeds: Iterable[int]) -> tuple[int, str] | None:
    """Return the first of the seeds with which the checker finds a bug, and what it says; `None` for none of them."""
    for seed in seeds:
        with bug.planted() as parts:
            outcome = World(seed, parts).run()
        for violation in violations(outcome.history):
            if not violation.startswith("nothing breaks"):  # a bug is not found by an exception that it raises
                return seed, violation
    return None


class Bug(NamedTuple):
    """A bug, and how it is planted."""

    name: str
    breaks: str
    """What goes wrong with it."""
    planted: Callable[[], Any]
    """Gives what a world is made of while it is there."""


BUGS = (
    Bug("counter, then put", "The original's append: number and change are two writes.", _storage(CounterThenPut)),
    Bug(
        "no gap rule",
        "A reader is shown what comes after a gap, and goes on from there.",
        _patched((_View, "cut", _cut_without_gaps), (_View, "is_sound", _sound_with_gaps)),
    ),
    Bug(
        "token reused across rebuilt transactions",
        "The token is made of the key, and a rebuilt transaction is another request under it.",
        _patched((appender, "build", _token_of_the_key)),
    ),
    Bug(
        "unknown outcome taken for failure",
        "What may have been stored is stored again, as something new.",
        _patched((Appender, "_find_out", _taken_for_failure)),
    ),
    Bug(
        "unknown outcome taken for success",
        "What may not have been stored is acknowledged.",
        _patched((Appender, "_find_out", _taken_for_success)),
    ),
    Bug(
        "chunk sizes recomputed on retry",
        "A retry goes on by its own chunk size, not by the stored one.",
        _patched((BatchAppend, "_run_part", _run_part_by_own_sizes)),
    ),
    Bug(
        "stale head trusted",
        "The end of the log is read weakly, and believed.",
        _patched((LogTable, "read_end", _read_end_weakly)),
    ),
    Bug(
        "sequence carried on without a condition",
        "The last writer wins.",
        _patched((transactions, "advance", _without_condition)),
    ),
    Bug(
        "request put without a condition",
        "A key is no obstacle to storing a batch again.",
        _patched((transactions, "put_request", _put_over)),
    ),
    Bug(
        "replay inside a group commit",
        "One member was stored before, and the whole group is taken to be.",
        _patched((Appender, "_apply_refusal", _all_replayed)),
    ),
    Bug(
        "repair that scans, then sets",
        "Counts and end are set to what a scan found, whatever was written since.",
        _storage(RepairThatScansThenSets),
    ),
    Bug(
        "empty page believed",
        "An empty page is not read again, though this process has written more.",
        _patched((_View, "is_sound", _sound_when_empty)),
    ),
    Bug(
        "second look as weak as the first",
        "What cannot be is looked at again, but not strongly.",
        _patched((LogReader, "_look", _look_weakly)),
    ),
    Bug(
        "miss believed",
        "A change that a stale read does not show is not there.",
        _patched((DynamoDBStorageService, "_get", _get_once)),
    ),
    Bug(
        "mark without a condition",
        "An earlier number overwrites a later one.",
        _patched((DynamoDBStorageService, "_mark", _mark_without_condition)),
    ),
    Bug(
        "key shared by all projects",
        "A batch of two projects finds its own key in the other.",
        _patched(
            (transactions, "request_key", _key_of_all_projects),
            (log_table, "request_key", _key_of_all_projects),
        ),
    ),
    Bug(
        "followers forgotten",
        "The leader of a group goes, and wakes nobody.",
        _patched((AppendQueue, "_hand_over", _leave_the_others)),
    ),
    Bug(
        "counts of the first alone",
        "Only the first change of a transaction is counted by its operation.",
        _patched((transactions, "advanced", _count_the_first)),
    ),
    Bug("no deadline", "A request tries for as long as it takes.", _patched((LogTable, "deadline", _no_deadline))),
    Bug("half transactions", "The database leaves out the end of a transaction.", _model(HalfTransactions)),
    Bug("forgotten write", "The database forgets what it has acknowledged.", _model(ForgetfulModel)),
)
