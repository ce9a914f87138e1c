"""Every attribute of every item, absent or with any value of any type: `verify` names it, and no call breaks.

The cases are generated from the items that a storage writes, so a new attribute is covered when it exists.
"""

from __future__ import annotations

import json
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb.errors import InvalidRequest
from aws_backend.log.items import change_key, request_key, sequence_key
from aws_backend.log.rules import END_RULES, REQUEST_RULES
from sltt_core.api.app import Api
from sltt_core.api.http import Request
from sltt_core.base.errors import LogDamaged, NotALog, NotFound
from sltt_core.model.fields import FIELDS
from tests.aws_backend.logs import KEY
from tests.contract.logs import batch, everything, new

if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.log.storage import BaseStorageService
    from tests.contract.logs import DynoxideLog

Value = dict[str, Any] | None
NUMBERS = ("0", "-1", "2.5", "1" + "0" * 40, "1" + "0" * 18, "-2.5E-100")
TEXTS = (
    "",
    "x",
    "A" * 300,
    "\x00",
    '"',
    "{",
    "[]",
    "{}x",
    '{"a":NaN}',
    '{"a":1,"a":2}',
    "2025-02-30T00:00:00Z",
    "é\u2028",
)
VALUES: tuple[Value, ...] = (
    None,
    *({"N": number} for number in NUMBERS),
    *({"S": text} for text in TEXTS),
    {"M": {}},
    {"M": {"a": {"N": "1.5"}}},
    {"M": {"a b": {"N": "1"}}},
    {"M": {"note": {"S": "1"}}},
    {"L": [{"S": "x"}]},
    {"NULL": True},
    {"BOOL": True},
    {"B": "AAAA"},
    {"SS": ["a", "b"]},
    {"NS": ["1"]},
)
"""What may stand in an attribute: every type of DynamoDB, and values outside of every range. `None`: absent."""
ITEMS: dict[str, tuple[Callable[[str], dict[str, Any]], tuple[str, ...]]] = {
    "change": (lambda project_id: change_key(project_id, 3), tuple(field.attribute for field in FIELDS)),
    "sequence": (
        sequence_key,
        tuple(f"pk seq {' '.join(END_RULES)} projectId registry relinking".split()),
    ),
    "request": (
        lambda project_id: request_key(project_id, KEY, 0),
        ("pk", "seq", *REQUEST_RULES),
    ),
}
"""For each kind of item its key in a project and its attributes."""
CASES = [(item, attribute) for item, (_, attributes) in ITEMS.items() for attribute in attributes]
KEYS = ("pk", "seq")
ANOTHER_KEY = "another-key-0123456789"
INDEXED = ("registry", "projectId")


def write(storage: BaseStorageService, project_id: str) -> None:
    """A log of six changes; the third has every optional attribute, and the last three have a key."""
    storage.create_changes([new(f"e{place}", project_id) for place in range(2)])
    storage.create_changes([new("e2", project_id, cid="c", change_by="Ruth")], ANOTHER_KEY)
    storage.create_changes(batch(3, project_id, entity_type="note", operation="update"), KEY)
    storage.mark_as_outdated(3, 5, project_id=project_id)


def get(log: DynoxideLog, key: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = log.call("GetItem", Key=key, ConsistentRead=True)["Item"]
    return item


def damage(log: DynoxideLog, kind: str, attribute: str, value: Value, project_id: str) -> bool:
    """Put a damaged item in place of the sound one; return whether the engine takes it, and it is another one."""
    key = ITEMS[kind][0](project_id)
    before = get(log, key)
    after = {name: old for name, old in before.items() if name != attribute}
    if value is not None:
        after[attribute] = value
    if after == before:
        return False
    try:
        log.call("PutItem", Item=after)
    except InvalidRequest:
        assert attribute in (*KEYS, *INDEXED), f"{attribute} may have any value"
        return False
    if attribute in KEYS:
        log.call("DeleteItem", Key=key)
    return True


def calls(storage: BaseStorageService, project_id: str) -> dict[str, Callable[[], Any]]:
    """A call of every kind of read and write of one project."""
    at: Any = {"project_id": project_id}
    return {
        "page": lambda: json.loads(f"[{storage.get_changes_with_cursor(0, **at).changes_json()}]"),
        "page from 2": lambda: list(storage.get_changes_with_cursor(2, **at).changes),
        "page from 3": lambda: list(storage.get_changes_with_cursor(3, **at).changes),
        "filtered": lambda: storage.get_changes_not_outdated(0, **at),
        "since": lambda: list(storage.get_changes_since(0, **at)),
        "one": lambda: storage.get_change(3, **at),
        "another": lambda: storage.get_change(1, **at),
        "head": lambda: storage.get_head(**at),
        "heads": lambda: storage.get_heads([project_id]),
        "stats": lambda: storage.get_stats(**at),
        "wait": lambda: storage.wait_for_changes(1, 0.0, **at),
        "mark": lambda: storage.mark_as_outdated(3, 6, **at),
        "append": lambda: storage.create_change(new("after", project_id)),
        "replay": lambda: storage.create_changes(batch(3, project_id, entity_type="note", operation="update"), KEY),
    }


def check_api(storage: BaseStorageService, project_id: str) -> None:
    """The REST API responds with what is asked for, or with `log-damaged`."""
    api = Api(storage)
    change = json.dumps([{"projectId": project_id, "entityType": "note", "entityId": "e", "data": {}}]).encode()
    for method, path, body in (
        ("GET", f"/api/projects/{project_id}/changes", b""),
        ("GET", f"/api/projects/{project_id}/changes/3", b""),
        ("GET", f"/api/projects/{project_id}/stats", b""),
        ("GET", "/api/projects", b""),
        ("POST", "/api/changes", change),
    ):
        response = api.handle(Request(method, path, "", {"content-type": "application/json"}, body))
        content = json.loads(response.content)
        if response.status not in (200, 404):
            assert content["type"] == "urn:sltt:problem:log-damaged", (path, content)
            assert path != "/api/projects"


def check_damage(storage: BaseStorageService, project_id: str, attribute: str) -> None:
    """Check every promise for a project that is damaged in one attribute."""
    findings = list(storage.verify(project_id=project_id))
    assert findings, "verify finds nothing"
    assert all(finding.project_id == project_id for finding in findings)
    named = [finding for finding in findings if finding.attribute == attribute]
    # A value that its rule allows is found by what it contradicts.
    assert named or {finding.kind for finding in findings} & CONTRADICTIONS, findings
    check_api(storage, project_id)
    for name, call in calls(storage, project_id).items():
        try:
            call()
        except LogDamaged:
            pass
        except NotFound:
            assert attribute in KEYS, "only an item with another key is not there"
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}") from error
    left = [finding for finding in storage.verify(project_id=project_id) if not finding.repairable]
    try:
        storage.repair(project_id=project_id, dry_run=False)
    except LogDamaged:
        assert left, "a repair is refused although everything can be repaired"
        assert list(storage.verify(project_id=project_id))
    else:
        assert list(storage.verify(project_id=project_id)) == []
        stored = storage.create_change(new("later", project_id))
        assert everything(storage, project_id)[-1] == stored


CONTRADICTIONS = {
    *("broken-link", "hole", "end-link", "counts", "unlinked", "no-sequence", "value-behind", "request", "no-request")
}


@pytest.mark.parametrize(("kind", "attribute"), CASES)
def test_a_damaged_attribute_breaks_nothing(log: DynoxideLog, kind: str, attribute: str) -> None:
    storage = log.open()
    write(storage, "sound")
    sound = everything(storage, "sound")
    done = 0
    for number, value in enumerate(VALUES):
        if attribute in KEYS and value is None:
            continue
        project_id = f"p{number}"
        write(storage, project_id)
        if kind == "sequence" and attribute in ("repairs", "relinking"):
            log.call(
                "UpdateItem",
                Key=sequence_key(project_id),
                UpdateExpression="SET repairs = :n",
                ExpressionAttributeValues={":n": {"N": "1"}},
            )
        if attribute == "format" and value is not None and value.get("N") == NUMBERS[4]:
            continue  # a newer format
        if not damage(log, kind, attribute, value, project_id):
            continue
        if is_harmless(kind, attribute, value):
            assert list(storage.verify(project_id=project_id)) == []
            continue
        try:
            check_damage(storage, project_id, attribute)
        except (AssertionError, NotALog) as error:
            raise AssertionError(f"{value}: {error}") from error
        done += 1
    assert done or attribute in (*KEYS, *INDEXED)
    other = log.open()
    assert everything(other, "sound") == sound
    assert list(other.verify(project_id="sound")) == []
    assert "sound" in other.get_all_projects().projects


def is_harmless(kind: str, attribute: str, value: Value) -> bool:
    """Return whether the attribute may have the value: nothing depends on it."""
    if value is None:
        return attribute in ("outdatedBy", "repairs", "relinking", "requestKey")
    return attribute == "token" and 0 < len(value.get("S", "")) <= 36


def test_the_cases_have_every_attribute_that_is_written(log: DynoxideLog) -> None:
    storage = log.open()
    write(storage, "p")
    log.lose("p", 4)
    storage.repair(project_id="p", dry_run=False)  # writes `repairs`
    storage.create_changes(batch(3, "p"), KEY)
    storage.mark_as_outdated(3, 5, project_id="p")
    for kind, (key, attributes) in ITEMS.items():
        assert set(get(log, key("p"))) | {"relinking"} == set(attributes) | {"relinking"}, kind


@pytest.mark.parametrize("seed", range(3))
def test_several_damages_at_once_break_nothing(log: DynoxideLog, seed: int) -> None:
    chance = Random(seed)
    storage = log.open()
    write(storage, "sound")
    cases = [(kind, attribute) for kind, attribute in CASES if attribute not in (*KEYS, "format")]
    for number in range(12):
        project_id = f"p{number}"
        write(storage, project_id)
        log.lose(project_id, chance.randrange(1, 9))
        done = []
        for kind, attribute in chance.sample(cases, 3):
            value = chance.choice(VALUES)
            try:
                get(log, ITEMS[kind][0](project_id))
            except KeyError:
                continue  # it is the change that is lost
            if damage(log, kind, attribute, value, project_id):
                done.append((kind, attribute, value))
        try:
            list(storage.verify(project_id=project_id))
            for call in calls(storage, project_id).values():
                with suppress(LogDamaged, NotFound):
                    call()
            left = list(storage.verify(project_id=project_id))
            try:
                storage.repair(project_id=project_id, dry_run=False)
            except LogDamaged:
                assert [finding for finding in left if not finding.repairable]
            else:
                assert list(storage.verify(project_id=project_id)) == []
        except Exception as error:
            raise AssertionError(f"{done}: {error!r}") from error
    assert list(storage.verify(project_id="sound")) == []
