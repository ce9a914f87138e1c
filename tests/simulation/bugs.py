"""Bugs that are planted in the storage or the model one at a time, to prove that the checker finds them."""

from __future__ import annotations

from typing import Any

from aws_backend.log import appender, items, transactions
from aws_backend.log import table as log_table
from aws_backend.log.appender import Appender, _stored
from aws_backend.log.items import advanced, change_item, change_of, log_end_values, sequence_key
from aws_backend.log.queue import Append, AppendQueue
from aws_backend.log.reader import LogReader, _View
from aws_backend.log.table import LogTable
from aws_backend.storage import DynamoDBStorageService
from aws_backend.upkeep import audit
from aws_backend.upkeep.audit import Audit
from sltt_core.base.errors import SlttError, TooManyWriters
from sltt_core.log import batches
from sltt_core.log import storage as log_storage
from sltt_core.log.arguments import checked_batch
from sltt_core.log.batches import BatchAppend, Chunk, StoredChunk, number_changes
from sltt_core.log.pages import Head, page_of
from tests.dynamodb_model.model import Model
from tests.simulation.planting import Bug, patched, with_model, with_storage
from tests.simulation.team_bugs import TEAM_BUGS


class CounterThenPut(DynamoDBStorageService):
    """The append of the original backend: increase a counter, then put the changes one by one."""

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
    """Each request for statistics counts the changes and sets the counts, without a condition."""

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
    """A database that sometimes carries out only the first three actions of a transaction."""

    def _commit(self, changes: list[Any]) -> None:
        super()._commit(changes[:3] if self.version % 7 == 3 else changes)


class ForgetfulModel(Model):
    """A database that sometimes loses the write that it has just acknowledged."""

    def _commit(self, changes: list[Any]) -> None:
        super()._commit(changes)
        if self.version % 11 == 5:
            for change in changes:
                change.slot.versions.pop()


def _cut_without_gaps(self: Any, page_bytes: int) -> Any:
    return self.end, self.known, items.StoredChanges(self.run[: self.limit]) if self.run else ()


def _plausible_with_gaps(self: Any, seen: int, *chain: str | None) -> bool:
    return bool(self.run) or (self.known is not None and self.cursor >= seen)


def _token_of_the_key(table: str, members: Any, before: Any, now: str, token: str) -> Any:
    return _build(table, members, before, now, f"t-{members[0].key}"[:36])


_append_init = Append.__init__
_build = transactions.build
_cut = batches.cut
_settle = Appender._settle
_advance = transactions.advance
_put_request = transactions.put_request
_apply_refusal = Appender._apply_refusal
_is_plausible = _View.is_plausible
_query = LogReader._query


def _treated_as_failure(self: Any, queue: Any, appends: Any, deadline: float, error: SlttError) -> None:
    queue.end = None
    if self._table.is_late(deadline):
        raise error
    for append in appends:
        if append.member.chunk.key is None:
            append.member = append.member.replace(key=self._table.runtime.new_token())


def _treated_as_success(self: Any, queue: Any, appends: Any, deadline: float, error: SlttError) -> None:
    queue.end = None
    for append in appends:
        changes = next(reversed(append.attempts.values()))
        append.result = _stored(append.member.chunk, changes)


def _run_part_by_own_sizes(self: Any, project_id: str, part: Any) -> None:
    changes = [self.batch.changes[place] for place in part.indexes]
    offset = number = 0
    while offset < len(changes):
        end, size = part.chunk_at(offset)
        stored = self._append(
            Chunk(project_id, self._key, number, offset, self.fingerprint, tuple(changes[offset:end]), size)
        )
        for step in range(end - offset):
            self.seqs[part.indexes[offset + step]] = stored.first_seq + step
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


def _all_replayed(self: Any, queue: Any, appends: Any, refusal: Any, built: Any) -> None:
    _apply_refusal(self, queue, appends, refusal, built)
    if refusal.replays:
        for append, changes in zip(appends, built.changes, strict=True):
            if append.result is None:
                append.result = _stored(append.member.chunk, changes)


def _plausible_when_empty(self: Any, seen: int, *chain: str | None) -> bool:
    return _is_plausible(self, 0, *chain)


def _query_weakly(self: Any, *arguments: Any, strong: bool) -> Any:
    return _query(self, *arguments, strong=False)


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


def _wake_nobody(self: Any, queue: Any, unfinished: Any) -> None:
    with self._lock:
        queue.busy = bool(queue.waiting)


def _count_the_first(end: Any, changes: Any) -> Any:
    after = advanced(end, changes)
    return after.replace(creates=end.creates + (changes[0].operation == "create"))


def _weightless(self: Any, member: Any, size: int, deadline: float, turn: Any) -> None:
    _append_init(self, member, 0, deadline, turn)


def _same_for_all(changes: Any) -> str:
    return "f" * 64


def _look_once(self: Any, seq: int) -> None:
    self._report_missing(seq)


def _two_reads(table: Any, project_id: str, seq: int) -> Any:
    deadline = table.deadline()
    change = table.get_change(project_id, max(seq, 1), deadline, strong=True)
    return change, table.get_sequence(project_id, deadline)


def _cut_by_number(sizes: Any, max_changes: int, max_bytes: int, start: int = 0) -> Any:
    return _cut(sizes, max_changes, 1_000_000_000, start)


def _without_the_bad(changes: Any, bound: Any) -> Any:
    return checked_batch([change for change in changes if change.project_id is not None] or changes, bound)


class _WithData:
    """A change with other data."""

    def __init__(self, change: Any, data_json: str) -> None:
        self._change = change
        self.data_json = data_json

    def __getattr__(self, name: str) -> Any:
        return getattr(self._change, name)


def _first_data(chunk: Any, head: Any, now: str) -> Any:
    data_json = chunk.changes[0].data_json
    return number_changes(
        chunk.replace(changes=tuple(_WithData(change, data_json) for change in chunk.changes)), head, now
    )


def _one_request_item(project_id: str, key: str, number: int) -> dict[str, Any]:
    return {"pk": {"S": f"REQUEST#{project_id}#{key}"}, "seq": {"N": "0"}}


def _head_of_two_reads(self: Any, project_id: str) -> Any:
    return Head(self._read_end(project_id).head.seq, self._read_end(project_id).head.chain)


def _next_but_one(found: Any, project_id: str, cursor: int, chain: str | None) -> Any:
    page = page_of(found, project_id, cursor, chain)
    return page if page.cursor is None else page.replace(cursor=page.cursor + 1)


def _any_history(found: Any, project_id: str, cursor: int, chain: str | None) -> Any:
    return page_of(found, project_id, cursor, None)


def _settle_as_busy(self: Any, queue: Any, appends: Any, deadline: float, error: SlttError) -> None:
    try:
        _settle(self, queue, appends, deadline, error)
    except SlttError:
        raise TooManyWriters("too many writers") from error


def _no_deadline(self: Any) -> float:
    return float(self.runtime.steady_clock() + 3600.0)


BUGS = (
    Bug(
        "counter, then put",
        "The append of the original backend: the number and the change are two writes.",
        with_storage(CounterThenPut),
    ),
    Bug(
        "no gap rule",
        "A reader gets the changes after a gap, and continues after them.",
        patched((_View, "cut", _cut_without_gaps), (_View, "is_plausible", _plausible_with_gaps)),
    ),
    Bug(
        "token reused across rebuilt transactions",
        "The token is derived from the key, so a transaction that is built again has the token of a different request.",
        patched((appender, "build", _token_of_the_key)),
    ),
    Bug(
        "unknown outcome treated as failure",
        "An append that may have succeeded is stored again under a new key.",
        patched((Appender, "_settle", _treated_as_failure)),
    ),
    Bug(
        "unknown outcome treated as success",
        "An append that may have failed is acknowledged.",
        patched((Appender, "_settle", _treated_as_success)),
    ),
    Bug(
        "chunk sizes recomputed on retry",
        "A retry uses its own chunk size instead of the stored one.",
        patched((BatchAppend, "_run_part", _run_part_by_own_sizes)),
    ),
    Bug(
        "stale head trusted",
        "An eventually consistent read of the end of the log is not checked.",
        patched((LogTable, "read_end", _read_end_weakly)),
    ),
    Bug(
        "sequence advanced without a condition",
        "The last writer wins.",
        patched((transactions, "advance", _without_condition)),
    ),
    Bug(
        "request put without a condition",
        "A batch can be stored again under the same key.",
        patched((transactions, "put_request", _put_over)),
    ),
    Bug(
        "replay inside a group commit",
        "If one member of a group was stored before, the whole group is treated as stored.",
        patched((Appender, "_apply_refusal", _all_replayed)),
    ),
    Bug(
        "repair that scans, then sets",
        "Counts and end are set to the result of a scan, although changes may have been appended since.",
        with_storage(RepairThatScansThenSets),
    ),
    Bug(
        "empty page trusted",
        "An empty page is not read again, although this process has written more changes.",
        patched((_View, "is_plausible", _plausible_when_empty)),
    ),
    Bug(
        "second read eventually consistent",
        "An implausible page is read again, but not with strong consistency.",
        patched((LogReader, "_query", _query_weakly)),
    ),
    Bug(
        "missing change trusted",
        "A change that a stale read does not return is reported as missing.",
        patched((DynamoDBStorageService, "_get", _get_once)),
    ),
    Bug(
        "mark without a condition",
        "A lower number overwrites a higher one.",
        patched((DynamoDBStorageService, "_mark", _mark_without_condition)),
    ),
    Bug(
        "key shared by all projects",
        "A batch for two projects finds its key in the other project.",
        patched(
            (transactions, "request_key", _key_of_all_projects),
            (log_table, "request_key", _key_of_all_projects),
        ),
    ),
    Bug(
        "followers forgotten",
        "The leader of a group ends without waking the next thread.",
        patched((AppendQueue, "_hand_over", _wake_nobody)),
    ),
    Bug(
        "only the first change counted",
        "Only the first change of a transaction is counted by its operation.",
        patched((transactions, "advanced", _count_the_first)),
    ),
    Bug(
        "fingerprint ignored",
        "A key that was used with another batch returns the numbers of that batch.",
        patched((batches, "fingerprint", _same_for_all)),
    ),
    Bug("keys expire after a day", "A replay after a year is stored again.", patched((appender, "KEY_DAYS", 1))),
    Bug(
        "one request item for all chunks",
        "The request items of a batch with several chunks have the same key.",
        patched((transactions, "request_key", _one_request_item), (log_table, "request_key", _one_request_item)),
    ),
    Bug(
        "a group weighs nothing",
        "A group of appends is limited by the number of its actions only.",
        patched((Append, "__init__", _weightless)),
    ),
    Bug(
        "a chunk weighs nothing",
        "A chunk is limited by the number of its changes only.",
        patched((batches, "cut", _cut_by_number)),
    ),
    Bug(
        "verify looks once",
        "`verify` reports a gap without looking again.",
        patched((Audit, "_check_gap", _look_once)),
    ),
    Bug(
        "verify reads twice",
        "`verify` compares the end of the log with changes that it read at another moment.",
        patched((audit, "read_with_sequence", _two_reads)),
    ),
    Bug(
        "bad changes left out",
        "A batch is stored without its changes that are not valid.",
        patched((log_storage, "checked_batch", _without_the_bad)),
    ),
    Bug(
        "data of the first change",
        "All changes of a chunk are stored with the data of the first.",
        patched((transactions, "number_changes", _first_data)),
    ),
    Bug(
        "clock read once",
        "Every change is stored with the time of the first.",
        patched((appender, "now_utc", lambda clock: "2023-11-14T22:13:20.000Z")),
    ),
    Bug(
        "head from two reads",
        "The number and the link of the log's end come from two reads.",
        patched((DynamoDBStorageService, "_head", _head_of_two_reads)),
    ),
    Bug(
        "cursor one ahead",
        "The cursor of a page skips a change.",
        patched((log_storage, "page_of", _next_but_one)),
    ),
    Bug(
        "link of the cursor ignored",
        "A reader of a log that was restored gets the changes of the other history.",
        patched((log_storage, "page_of", _any_history)),
    ),
    Bug(
        "unknown outcome reported as busy",
        "An append that may have succeeded gets an error that says that nothing was written.",
        patched((Appender, "_settle", _settle_as_busy)),
    ),
    Bug("no deadline", "A request is repeated without a time limit.", patched((LogTable, "deadline", _no_deadline))),
    Bug(
        "half transactions",
        "The database carries out only the beginning of a transaction.",
        with_model(HalfTransactions),
    ),
    Bug("forgotten write", "The database loses a write that it has acknowledged.", with_model(ForgetfulModel)),
    *TEAM_BUGS,
)
