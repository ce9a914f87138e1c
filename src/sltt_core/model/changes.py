"""The model: what a caller gives (`NewChange`), and what the log holds (`Change`).

Everything a caller gives is checked on its way in (`sltt_core.model.drafts`, by the rules of `sltt_core.model.fields`),
whether it comes as JSON or from Python. `docs/changes.md` tells the rules to users.
"""

from __future__ import annotations

from sltt_core.base.errors import InvalidBatch, Problem
from sltt_core.base.hashes import sha256
from sltt_core.base.json_reader import JsonProblem, Reader, decode_utf8, quote, whole_number
from sltt_core.base.record import Record
from sltt_core.model.drafts import FIELDS, MAX_PROBLEMS, Draft, TooManyProblems
from sltt_core.model.fields import item_bytes, utf8_length

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class Change(Record):
    """One change as the log holds it. The fields stand in the order of the table's columns."""

    project_id: str
    seq: int
    """From 1 in each project, without a gap."""
    entity_type: str
    entity_id: str
    operation: str
    timestamp: str
    """When it was made: ISO 8601, UTC."""
    cloud_at: str
    """When the log stored it: ISO 8601, UTC."""
    data_json: str
    """The JSON object the caller gave, as its own text."""
    outdated_by: int | None
    """The later sequence number that made this change obsolete."""
    cid: str | None
    change_by: str | None
    chain: str
    """This change's link of the hash chain (`sltt_core.model.chain`)."""

    @property
    def data(self) -> dict[str, Any]:
        """The `data` object, parsed anew on each use; integers of any size come back equal."""
        from json import loads

        value: dict[str, Any] = loads(self.data_json, parse_int=whole_number)
        return value

    def to_json(self) -> str:
        """Write the change as the API sends it; `data` is spliced in as it was given."""
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
            f',"timestamp":"{self.timestamp}","cloudAt":"{self.cloud_at}","data":{self.data_json}'
            f'{optional},"chain":"{self.chain}"}}'
        )


_WIRE_NAMES = dict(
    zip(
        (
            "project_id",
            "entity_type",
            "entity_id",
            "data",
            "operation",
            "timestamp",
            "cid",
            "change_by",
            "client_seq",
        ),
        FIELDS,
        strict=True,
    )
)


class NewChange(Record):
    """One change as a caller gives it, checked: `InvalidBatch` lists what is wrong with it.

    `data` is a JSON object, as a mapping or as its text, which is kept to the letter. `timestamp` is ISO 8601
    (UTC without a zone). `client_seq` is the caller's own number for the change, which the log only echoes.
    """

    project_id: str | None
    """`None` leaves it to the service that the change is given to, when that is bound to a project."""
    entity_type: str
    entity_id: str
    data_json: str
    operation: str | None
    timestamp: str | None
    cid: str | None
    change_by: str | None
    client_seq: int | None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            project_id: str | None = None,
            entity_type: str,
            entity_id: str,
            data: Mapping[str, object] | str,
            operation: str | None = None,
            timestamp: str | None = None,
            cid: str | None = None,
            change_by: str | None = None,
            client_seq: int | None = None,
        ) -> None: ...

    def __new__(cls, **given: Any) -> NewChange:
        """Check the fields as they come from Python."""
        unknown = given.keys() - _WIRE_NAMES
        if unknown:
            raise TypeError(f"NewChange() has no field {sorted(unknown)[0]!r}")
        wire = {_WIRE_NAMES[name]: value for name, value in given.items() if value is not None}
        problems: list[Problem] = []
        draft = Draft(0, "change", problems)
        data = wire.pop("data", None)
        if data is not None:
            draft.take_data(data)
        for name, value in wire.items():
            draft.take(name, value)
        values = draft.finish()
        if problems:
            raise InvalidBatch(problems)
        return cls.of(values)

    def replace(self, **changes: Any) -> NewChange:
        """Return a copy in which the named fields have other values, checked like those of a new one."""
        given = dict(zip(self.fields, self.as_tuple(), strict=True))
        given["data"] = given.pop("data_json")
        return NewChange(**{**given, **changes})


def parse_changes(body: bytes, project_id: str | None = None) -> tuple[NewChange, ...]:
    """Read a request's body: a JSON array of changes, or one object. All of it is good, or none is taken.

    `project_id` is the one project that is served, when it is only one: a change may leave its own out then,
    and may not name another. Raises `InvalidBatch` with every problem of every change; where the JSON itself
    breaks off, or after `MAX_PROBLEMS`, with those so far and one that says so.
    """
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
        problems.append(Problem(index, "changes", f"after {MAX_PROBLEMS} problems the rest was not read"))
    if not problems and not changes:
        problems.append(Problem(None, "changes", "the array is empty; send at least one change"))
    if problems:
        raise InvalidBatch(problems)
    return tuple(changes)


def _parse_change(reader: Reader, draft: Draft, project_id: str | None) -> NewChange:
    if reader.peek() != "{":
        reader.skip()  # raises when it is no JSON at all, and that is all there is to say
        draft.fault("", "is not a JSON object")
        return NewChange.of(draft.finish())
    for name in reader.members():
        start = reader.at
        try:
            value = reader.value()
        except JsonProblem as error:
            reader.skip()  # raises again when it is no JSON at all: then the rest of the body is lost
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
    """Return what a change takes as a DynamoDB item, in bytes; an upper bound that is close."""
    return item_bytes(
        change.project_id,
        change.entity_type,
        change.entity_id,
        change.data_json,
        change.cid,
        change.change_by,
    )


def wire_size(change: Change) -> int:
    """Return what a change takes in an answer, in bytes, counting each character of an id as escaped."""
    return (
        300
        + len(change.project_id)
        + len(change.entity_type)
        + utf8_length(change.data_json)
        + 2 * (utf8_length(change.entity_id) + utf8_length(change.cid) + utf8_length(change.change_by))
    )


def fingerprint(changes: Sequence[NewChange]) -> str:
    """Return what tells one batch from another: SHA-256 in hex over the changes as given, before defaults."""
    digest = sha256()
    for change in changes:
        for value in change.as_tuple():
            text = b"" if value is None else str(value).encode()
            digest.update(b"%d:" % (-1 if value is None else len(text)))
            digest.update(text)
    return digest.hexdigest()
