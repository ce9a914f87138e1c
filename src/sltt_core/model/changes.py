"""`NewChange`, a change to append, and `Change`, a change in the log.

`sltt_core.model.drafts` checks each new change by the rules of `sltt_core.model.fields`. `docs/changes.md` documents
the rules for users.
"""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, Problem
from sltt_core.base.hashes import sha256
from sltt_core.base.json_reader import JsonProblem, Reader, decode_utf8, quote, whole_number
from sltt_core.base.record import Record
from sltt_core.model.drafts import MAX_PROBLEMS, Draft, TooManyProblems
from sltt_core.model.fields import MAX_ITEM_BYTES, item_bytes, utf8_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Literal


class Change(Record):
    """A change in the log. Its fields have the order of `sltt_core.model.fields.FIELDS`.

    - `project_id`, `entity_type`, `entity_id`, `cid`, `change_by`: the values of the caller.
    - `seq`: the number in the log of the project: 1, 2, 3, … without gaps.
    - `operation`: `create`, `update` or `delete`; `void` for a tombstone, which replaces a missing change.
    - `timestamp`, `cloud_at`: when the change was made, and when the log stored it. ISO 8601, UTC.
    - `data_json`: the JSON object of the caller, verbatim. `data` is the parsed object.
    - `outdated_by`: the number of the later change that made this one obsolete, or `None`.
    - `chain`: the link of the change (`sltt_core.model.chain`).
    - `request_key`: in the first change of a chunk that was stored under an idempotency key, the name of that request
      (`sltt_core.log.requests`). A client that knows a key can repeat its request, so the API does not show it.
    """

    project_id: str
    seq: int
    """1, 2, 3, … in each project, without gaps."""
    entity_type: str
    entity_id: str
    operation: str
    timestamp: str
    """When the change was made: ISO 8601, UTC."""
    cloud_at: str
    """When the log stored the change: ISO 8601, UTC."""
    data_json: str
    """The JSON object of the caller, verbatim."""
    outdated_by: int | None
    """The number of the later change that made this one obsolete."""
    cid: str | None
    change_by: str | None
    chain: str
    """The link: a hash of this change and of the link before it (`sltt_core.model.chain`)."""
    request_key: str | None = None
    """The name of the request that stored this change first in a chunk (`sltt_core.log.requests`)."""

    @property
    def data(self) -> dict[str, Any]:
        """The `data` object. Each access parses it again. Integers of any size are exact."""
        return _parsed(self.data_json)

    def to_json(self, *, data_text: bool = False) -> str:
        """Return the JSON of the change in the API. It contains `data_json` verbatim, with `data_text` as a string."""
        optional = ""
        if self.outdated_by is not None:
            optional = f',"outdatedBy":{self.outdated_by}'
        if self.cid is not None:
            optional += f',"cid":{quote(self.cid)}'
        if self.change_by is not None:
            optional += f',"changeBy":{quote(self.change_by)}'
        return (
            f'{{"projectId":"{self.project_id}","seq":{self.seq},"entityType":"{self.entity_type}"'
            f',"entityId":{quote(self.entity_id)},"operation":"{self.operation}"'
            f',"timestamp":"{self.timestamp}","cloudAt":"{self.cloud_at}"'
            f',"data":{quote(self.data_json) if data_text else self.data_json}'
            f'{optional},"chain":"{self.chain}"}}'
        )


class NewChange(Record, init=False):
    """A change to append. Its fields are checked when it is created: `InvalidBatch` lists all problems.

    - `project_id` is a text of 1 to 128 characters of `A-Z a-z 0-9 . _ ~ @ : + -` that begins with a letter or digit.
      `None` means the project of the service, if the service is bound to one.
    - `entity_type` is a text of 1 to 64 characters of `A-Z a-z 0-9 _ . : -`.
    - `entity_id`, `cid` (the caller's own id for the change) and `change_by` (who made the change) are texts of 1 to
      255 characters without control characters.
    - `data` is a JSON object: a mapping, or JSON text, which is stored verbatim.
    - `operation` is `create`, `update` or `delete`; `None` means `create`.
    - `timestamp` is the time when the change was made, in ISO 8601 (UTC if it has no zone); `None` means the time of
      the append.
    - `client_seq` is the caller's own number for the change, from 0 to 2^63 - 1. The log does not store it.
    """

    project_id: str | None
    entity_type: str
    entity_id: str
    data_json: str
    operation: Literal["create", "update", "delete"] | None
    timestamp: str | None
    cid: str | None
    change_by: str | None
    client_seq: int | None

    def __new__(
        cls,
        *,
        project_id: str | None = None,
        entity_type: str,
        entity_id: str,
        data: Mapping[str, object] | str,
        operation: Literal["create", "update", "delete"] | None = None,
        timestamp: str | None = None,
        cid: str | None = None,
        change_by: str | None = None,
        client_seq: int | None = None,
    ) -> NewChange:
        """Check the parameters; raises `InvalidBatch` with every problem."""
        from sltt_core.model.from_python import check_parameters  # the Lambda function gets JSON

        # In the order of `NEW_FIELDS`.
        given = (project_id, entity_type, entity_id, data, operation, timestamp, cid, change_by, client_seq)
        return cls.of(check_parameters(given))

    @property
    def data(self) -> dict[str, Any]:
        """The `data` object. Each access parses it again. Integers of any size are exact."""
        return _parsed(self.data_json)

    def replace(self, **changes: Any) -> NewChange:
        """Return a copy with other values of the named parameters. They are checked as in a new change."""
        from sltt_core.model.from_python import PARAMETERS

        given = dict(zip(PARAMETERS.values(), self.as_tuple(), strict=True))
        return NewChange(**{**given, **changes})


def _parsed(data_json: str) -> dict[str, Any]:
    from json import loads

    value: dict[str, Any] = loads(data_json, parse_int=whole_number)
    return value


LARGE_BODY = 100_000
"""From this number of bytes on, a body is parsed without Python's collector of cyclic garbage."""


def parse_changes(body: bytes, project_id: str | None = None) -> tuple[NewChange, ...]:
    """Parse the body of a request: a JSON array of changes, or one change.

    `project_id` is the project of a service that serves only one: changes may omit it, and may not name another.
    Raises `InvalidBatch` with the problems of all changes. Parsing stops where the JSON is malformed, or after
    `MAX_PROBLEMS` problems; then the last problem says so.
    """
    if len(body) < LARGE_BODY:
        return _parse_changes(body, project_id)
    import gc

    # The collector would look at all parsed values again and again. They have no cycles.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _parse_changes(body, project_id)
    finally:
        if was_enabled:
            gc.enable()


def _parse_changes(body: bytes, project_id: str | None) -> tuple[NewChange, ...]:
    problems: list[Problem] = []
    changes: list[NewChange] = []
    index: int | None = None
    try:
        reader = Reader(decode_utf8(body))
        if reader.peek() == "{":
            index = 0
            changes.append(_parse_change(reader, Draft(0, "changes[0]", problems), project_id))
        elif reader.peek() == "[":
            for index in reader.elements():
                draft = Draft(index, f"changes[{index}]", problems)
                changes.append(_parse_change(reader, draft, project_id))
            index = None
        else:
            raise JsonProblem("expected an array of changes, or one change")
        reader.finish()
    except JsonProblem as error:
        problems.append(Problem(index, "body" if index is None else f"changes[{index}]", str(error)))
    except TooManyProblems:
        problems.append(Problem(index, "changes", f"has at least {MAX_PROBLEMS} problems; the rest was not checked"))
    if not problems and not changes:
        problems.append(Problem(None, "changes", "the array is empty; send at least one change"))
    if problems:
        raise InvalidBatch(problems)
    return tuple(changes)


def _parse_change(reader: Reader, draft: Draft, project_id: str | None) -> NewChange:
    if reader.peek() != "{":
        reader.skip()  # raises if this is not JSON; then nothing else is reported
        draft.fault(None, "is not a JSON object")
        return NewChange.of(draft.finish())
    for name in reader.members():
        start = reader.at
        try:
            # The size comes first: the stricter rules cost more.
            if name == "data" and (text := reader.skip_longer(MAX_ITEM_BYTES)) is not None:
                draft.take_too_large(text)
                continue
            value = reader.value()
        except JsonProblem as error:
            reader.skip()  # raises again if this is not JSON; then the rest of the body cannot be parsed
            draft.seen.add(name)
            draft.fault(name, str(error))
            continue
        if name == "data" and type(value) is dict and name not in draft.seen:
            draft.seen.add(name)
            draft.data_json = reader.text[start : reader.at]
        else:
            draft.take(name, value)
    draft.imply_project(project_id)
    return NewChange.of(draft.finish())


def item_size(change: NewChange | Change) -> int:
    """Return the size of the DynamoDB item of a change in bytes: a close upper bound."""
    return item_bytes(
        change.project_id,
        change.entity_type,
        change.entity_id,
        change.data_json,
        change.cid,
        change.change_by,
        change.request_key if type(change) is Change else None,
    )


def wire_size(change: Change) -> int:
    """Return the size of a change in a response in bytes: an upper bound that allows for escapes in ids."""
    return (
        300
        + len(change.project_id)
        + len(change.entity_type)
        + utf8_length(change.data_json)
        + 2 * (utf8_length(change.entity_id) + utf8_length(change.cid) + utf8_length(change.change_by))
    )


def fingerprint(changes: Sequence[NewChange]) -> str:
    """Return the identity of a batch: a SHA-256 in hex of its changes, before defaults are applied."""
    digest = sha256()
    for change in changes:
        for value in change.as_tuple():
            text = b"" if value is None else str(value).encode()
            digest.update(b"%d:" % (-1 if value is None else len(text)))
            digest.update(text)
    return digest.hexdigest()
