"""`Outsync`, an edit on its way to the server, and `Batch`, the edits of one request."""

from __future__ import annotations

from json import dumps, loads

from sltt_core.base.json_reader import quote
from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sltt_core.model.changes import Change

WAITING = "waiting"
"""It was not sent yet."""
FROZEN = "frozen"
"""It is in a batch: it was sent, and the response is not known yet, or it is about to be sent."""
SENT = "sent"
"""The server has stored it. It stays in the outbox until the downsync brings it back."""
HELD = "held"
"""It waits for a rejected edit of the same entity, or of the same unit."""
WITHHELD = "withheld"
"""Somebody else changed the same field later; a person decides."""
REJECTED = "rejected"
"""The server refused it; a person decides."""
STATES = (WAITING, FROZEN, SENT, HELD, WITHHELD, REJECTED)

BLOCKING = (REJECTED, WITHHELD)
"""States of edits that a person decides on: later ones of the same entity wait for them."""

MAX_UNIT = 98
"""The most edits of a unit: an atomic write of the server has no more."""
MAX_BATCH_BYTES = 1_000_000
"""The most bytes of a batch, and of a unit."""


class Outsync(Record):
    """An edit in the outbox of a device."""

    local: int
    """Its number on the device."""
    unit: int
    """The local number of the first edit of its unit. A unit is stored whole or not at all."""
    project_id: str
    entity_type: str
    entity_id: str
    operation: str
    """`create`, `update` or `delete`."""
    timestamp: str
    """When the edit was made: ISO 8601, UTC. It never runs backwards on a device."""
    data_json: str
    change_by: str | None
    cid: str
    """The id of the device, a full stop and the local number. The change in the log has the same `cid`."""
    base_seq: int
    """The last number of the project's log that the device had when the edit was made."""
    state: str
    """One of `STATES`."""
    batch: int | None
    seq: int | None
    """The number in the server's log, while the state is `sent`."""
    problem_json: str | None

    @property
    def data(self) -> dict[str, Any]:
        """The `data` object. Each access parses it again."""
        value: dict[str, Any] = loads(self.data_json)
        return value

    @property
    def problem(self) -> dict[str, Any] | None:
        """Why it is held, withheld or rejected: `type`, `detail`, and `errors` with the `field` and the `reason`."""
        return None if self.problem_json is None else loads(self.problem_json)

    def to_json(self) -> str:
        """Return the JSON of the edit in a request of the API. It contains `data_json` verbatim."""
        by = "" if self.change_by is None else f',"changeBy":{quote(self.change_by)}'
        return (
            f'{{"projectId":"{self.project_id}","entityType":"{self.entity_type}","entityId":{quote(self.entity_id)}'
            f',"operation":"{self.operation}","timestamp":"{self.timestamp}","data":{self.data_json}'
            f',"cid":"{self.cid}"{by}}}'
        )

    def is_stored_as(self, change: Change) -> bool:
        """Return whether a change of the log is this edit. The server may have set who made it."""
        return _content(self) == _content(change)


class Batch(Record):
    """The edits of one request: frozen, with the key and the bytes that every try sends."""

    batch: int
    project_id: str
    key: str
    """The idempotency key."""
    principal: str
    """The login that froze it."""
    body: bytes
    tries: int


def _content(edit: Outsync | Change) -> tuple[str, ...]:
    return (edit.entity_type, edit.entity_id, edit.operation, edit.timestamp, edit.data_json, edit.cid or "")


def problem_text(kind: str, detail: str, **more: object) -> str:
    """Return a problem as the store keeps it: a JSON object with `type` and `detail`."""
    return dumps({"type": kind, "detail": detail, **more}, ensure_ascii=False)
