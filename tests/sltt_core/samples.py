"""Changes to test with, and strategies for whatever a client may send."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sltt_core.log.batches import Chunk, number_changes
from sltt_core.log.pages import EMPTY_LOG, Head
from sltt_core.model.changes import Change, NewChange

NOW = "2025-03-01T09:30:00.123Z"
NANOSECONDS = 1_740_821_400_123_456_789
"""The same instant, as a clock gives it."""

ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def new_change(**given: Any) -> NewChange:
    return NewChange(**{"project_id": "ruth", "entity_type": "document", "entity_id": "e1", "data": {}, **given})


def wire_change(**given: Any) -> dict[str, Any]:
    """A change as a client sends it; a field given as `...` is left out."""
    change = {"projectId": "ruth", "entityType": "document", "entityId": "e1", "data": {}, **given}
    return {name: value for name, value in change.items() if value is not ...}


def change(**given: Any) -> Change:
    """A change as the log holds it; its link is whatever is given."""
    values: dict[str, Any] = {
        "project_id": "ruth",
        "seq": 1,
        "entity_type": "document",
        "entity_id": "e1",
        "operation": "create",
        "timestamp": NOW,
        "cloud_at": NOW,
        "data_json": "{}",
        "outdated_by": None,
        "cid": None,
        "change_by": None,
        "chain": "x" * 22,
    }
    return Change(**{**values, **given})


def log(*changes: NewChange, after: Head = EMPTY_LOG, project_id: str = "ruth") -> tuple[Change, ...]:
    """Changes as a log holds them, with their numbers and links."""
    return number_changes(Chunk(project_id, None, 0, 0, "", changes, 0), after, NOW)


project_ids = st.builds(str.__add__, st.sampled_from(ALNUM), st.text(st.sampled_from(ALNUM + "._~@:+-"), max_size=127))
entity_types = st.text(st.sampled_from(ALNUM + "_.:-"), min_size=1, max_size=64)
# Any text without control characters; the hostile ones more often than chance would have them.
free_texts = st.text(
    st.sampled_from('"\\/<\u2028\u202e\u0301é語😀') | st.characters(exclude_categories=["Cs", "Cc"]),
    min_size=1,
    max_size=255,
)
texts = st.text(st.sampled_from('"\\/\x00\n\x7f\ud7ff\ue000\u2028é😀[{]}') | st.characters(exclude_categories=["Cs"]))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**38), 10**38)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
    max_leaves=12,
)
json_objects: st.SearchStrategy[dict[str, Any]] = st.dictionaries(texts, json_values, max_size=4)
timestamps = st.datetimes().map(lambda moment: f"{moment.isoformat()}Z")

new_changes = st.builds(
    NewChange,
    project_id=project_ids,
    entity_type=entity_types,
    entity_id=free_texts,
    data=json_objects,
    operation=st.sampled_from([None, "create", "update", "delete"]),
    timestamp=st.none() | timestamps,
    cid=st.none() | free_texts,
    change_by=st.none() | free_texts,
    client_seq=st.none() | st.integers(0, 2**63 - 1),
)
stored_changes = st.builds(
    lambda new, seq, outdated_by, request_key: log(new, after=Head(seq, "A" * 22), project_id=str(new.project_id))[
        0
    ].replace(outdated_by=outdated_by, request_key=request_key),
    new_changes,
    st.integers(0, 2**40 - 2),
    st.none() | st.integers(1, 2**40 - 1),
    st.none() | st.integers(0, 10**6).map(lambda number: f"{'k' * 36} {number} 0 98 {'f' * 64}"),
)
