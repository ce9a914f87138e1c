from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base.errors import InvalidBatch, Problem
from sltt_core.base.json_reader import quote
from sltt_core.model.changes import Change, NewChange, fingerprint, item_size, parse_changes, wire_size
from sltt_core.model.drafts import MAX_PROBLEMS
from sltt_core.model.fields import MAX_ITEM_BYTES
from tests.sltt_core.model.test_fields import GOOD_PROJECT_IDS, HOSTILE_PROJECT_IDS
from tests.sltt_core.samples import (
    change,
    free_texts,
    json_objects,
    new_change,
    new_changes,
    stored_changes,
    wire_change,
)


def problems_of(call: Callable[[], object]) -> list[tuple[int | None, str, str]]:
    """The problems, each as index, field and reason."""
    with pytest.raises(InvalidBatch) as caught:
        call()
    return [(problem.index, problem.field, problem.reason) for problem in caught.value.problems]


def parse(*changes: object) -> tuple[NewChange, ...]:
    return parse_changes(json.dumps(changes).encode())


# What a request may hold.


def test_an_array_of_changes_is_read_in_order() -> None:
    body = b"""[
      {"projectId": "ruth", "entityType": "document", "entityId": "e1", "data": {"a": 1}},
      {"seq": 7, "projectId": "esther", "entityType": "note", "entityId": "\\u00e92", "operation": "update",
       "timestamp": "2025-03-01T10:30:00+01:00", "data": {}, "cid": "c-1", "changeBy": "Anna"}
    ]"""
    assert parse_changes(body) == (
        NewChange(project_id="ruth", entity_type="document", entity_id="e1", data='{"a": 1}'),
        NewChange(
            project_id="esther",
            entity_type="note",
            entity_id="é2",
            data={},
            operation="update",
            timestamp="2025-03-01T09:30:00Z",
            cid="c-1",
            change_by="Anna",
            client_seq=7,
        ),
    )


def test_one_object_is_a_batch_of_one() -> None:
    assert parse_changes(json.dumps(wire_change()).encode()) == parse(wire_change()) == (new_change(),)
    assert problems_of(lambda: parse_changes(json.dumps(wire_change(data=...)).encode())) == [
        (0, "changes[0].data", "is required")
    ]


@pytest.mark.parametrize(
    ("body", "index", "field", "reason"),
    [
        (b"[]", None, "changes", "the array is empty; send at least one change"),
        (b" [ ] ", None, "changes", "the array is empty; send at least one change"),
        (b"", None, "body", "expected an array of changes, or one change"),
        (b"  ", None, "body", "expected an array of changes, or one change"),
        (b"null", None, "body", "expected an array of changes, or one change"),
        (b"5", None, "body", "expected an array of changes, or one change"),
        (b'"[]"', None, "body", "expected an array of changes, or one change"),
        (b"\xef\xbb\xbf[]", None, "body", "the text begins with a byte order mark"),
        (b'[{"entityId":"\xe9"}]', None, "body", "byte 14 is not UTF-8"),
        (b"[", 0, "changes[0]", "expected a value at the end of the text"),
        (b"[] []", None, "body", "expected the end of the text at line 1, column 4"),
        (b"[null]", 0, "changes[0]", "is not a JSON object"),
        (b"[[]]", 0, "changes[0]", "is not a JSON object"),
        (b'["{}"]', 0, "changes[0]", "is not a JSON object"),
        (b"[NaN]", 0, "changes[0]", "is not a JSON object"),
        (b"{", 0, "changes[0]", "expected a key in double quotes at the end of the text"),
        (b"{1:2}", 0, "changes[0]", "expected a key in double quotes at line 1, column 2"),
        (b"[" * 100_000, 0, "changes[0]", "nested deeper than 64 levels"),
    ],
)
def test_an_invalid_batch_is_refused(body: bytes, index: int | None, field: str, reason: str) -> None:
    assert problems_of(lambda: parse_changes(body)) == [(index, field, reason)]


def test_all_problems_are_reported_at_once_with_their_fields() -> None:
    batch = [
        wire_change(),
        wire_change(entityId="", operation="upsert"),
        wire_change(projectId="SEQUENCE#x", data=[], color="red", timestamp="noon"),
        5,
        wire_change(),
        {},
    ]
    found = problems_of(lambda: parse(*batch))
    assert [(index, field) for index, field, _ in found] == [
        (1, "changes[1].entityId"),
        (1, "changes[1].operation"),
        (2, "changes[2].projectId"),
        (2, "changes[2].data"),
        (2, "changes[2].color"),
        (2, "changes[2].timestamp"),
        (3, "changes[3]"),
        (5, "changes[5].projectId"),
        (5, "changes[5].entityType"),
        (5, "changes[5].entityId"),
        (5, "changes[5].data"),
    ]
    reasons = {field: reason for _, field, reason in found}
    assert reasons["changes[1].entityId"] == "is empty"
    assert reasons["changes[1].operation"] == "is not one of create, update, delete"
    assert reasons["changes[2].data"] == "is not a JSON object"
    assert reasons["changes[2].color"] == "is not a field of a change"
    assert reasons["changes[5].projectId"] == "is required"
    with pytest.raises(InvalidBatch) as caught:
        parse(*batch)
    assert (caught.value.status, caught.value.failed_at_index) == (400, 1)


REQUIRED = ["projectId", "entityType", "entityId", "data"]
OPTIONAL = ["operation", "timestamp", "changeAt", "cid", "changeBy", "seq", "cloudAt", "outdatedBy"]


@pytest.mark.parametrize("name", OPTIONAL)
def test_null_in_an_optional_field_equals_an_absent_field(name: str) -> None:
    assert parse(wire_change(**{name: None})) == (new_change(),)


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("value", [None, ...])
def test_a_missing_required_field_is_reported(name: str, value: object) -> None:
    assert problems_of(lambda: parse(wire_change(**{name: value}))) == [(0, f"changes[0].{name}", "is required")]


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL, "color"])
@pytest.mark.parametrize("twin", ["same", "null"])
def test_a_repeated_field_is_reported(name: str, twin: str) -> None:
    good: dict[str, Any] = {"seq": 1, "outdatedBy": 2, "operation": "create"}
    good |= dict.fromkeys(("timestamp", "changeAt", "cloudAt"), "2025-03-01T09:30:00Z")
    given = wire_change(**{name: wire_change(**good).get(name, "x")})
    again = json.dumps(given[name] if twin == "same" else None)
    escaped = f"\\u{ord(name[0]):04x}{name[1:]}"  # the same name, written otherwise
    body = f"[{json.dumps(given)[:-1]}, {quote(name).replace(name, escaped)}: {again}}}]".encode()
    found = problems_of(lambda: parse_changes(body))
    assert (0, f"changes[0].{name}", "is given twice") in found
    worse = f'[{{"{name}": NaN, "{name}": {again}}}]'.encode()
    assert (0, f"changes[0].{name}", "is given twice") in problems_of(lambda: parse_changes(worse))
    assert len(found) == (2 if name == "color" else 1)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("entityid", "entityid"),
        ("project_id", "project_id"),
        ("chain", "chain"),
        ("", '""'),
        (" ", '" "'),
        ("a ", '"a "'),
        ("né", "né"),
        ("a\nb", '"a\\nb"'),
        ("x" * 40, "x" * 40),
        ("x" * 41, f'"{"x" * 40}"'),
        ("\u202ex", '"?x"'),
    ],
)
def test_an_unknown_field_is_reported_by_its_name(name: str, shown: str) -> None:
    found = problems_of(lambda: parse(wire_change(**{name: 1})))
    assert found == [(0, f"changes[0].{shown}", "is not a field of a change")]
    missing = [(0, f"changes[0].{required}", "is required") for required in REQUIRED]
    assert problems_of(lambda: parse({name: 1})) == [*found, *missing]


@pytest.mark.parametrize("value", HOSTILE_PROJECT_IDS)
def test_a_hostile_project_id_is_refused_in_a_change(value: str) -> None:
    [(index, field, _)] = problems_of(lambda: parse(wire_change(projectId=value)))
    assert (index, field) == (0, "changes[0].projectId")
    [(_, field, _)] = problems_of(lambda: new_change(project_id=value))
    assert field == "change.project_id"


@pytest.mark.parametrize("value", GOOD_PROJECT_IDS)
def test_a_valid_project_id_is_accepted_in_a_change(value: str) -> None:
    assert parse(wire_change(projectId=value)) == (new_change(project_id=value),)


OTHER_KINDS = ["5", "-1", "1.5", "true", "[]", '["a"]', '{"a":1}', '""', "NaN", "1e999", '"\\ud800"']
OTHER_KINDS += ["1" * 41, "9" * 10_000]


@pytest.mark.parametrize("name", [*REQUIRED, *OPTIONAL])
@pytest.mark.parametrize("text", OTHER_KINDS)
def test_a_field_of_a_wrong_type_is_reported_and_the_rest_is_checked(name: str, text: str) -> None:
    if (name == "data" and text.startswith("{")) or (name in ("seq", "outdatedBy") and text == "5"):
        return
    rest = json.dumps(wire_change(**{name: ...}))[1:]
    body = f'[{{"{name}": {text}, {rest}, {{"entityId": 5}}]'.encode()
    found = problems_of(lambda: parse_changes(body))
    assert found[0][:2] == (0, f"changes[0].{name}")
    assert {index for index, _, _ in found[1:]} == {1}


@pytest.mark.parametrize("broken", ["[1", "tru", '"\n"', "1 2", "'a'", "{]", "[" * 2000])
@pytest.mark.parametrize("name", ["data", "entityId", "color"])
def test_problems_before_malformed_json_are_reported(broken: str, name: str) -> None:
    body = f'[{{"color": 1}}, {json.dumps(wire_change())}, {{"{name}": {broken}}}, {{"shape": 1}}]'.encode()
    found = problems_of(lambda: parse_changes(body))
    assert found[0] == (0, "changes[0].color", "is not a field of a change")
    assert len(found) >= 6
    assert found[-1][:2] == (2, "changes[2]")
    assert not [field for _, field, _ in found if field.startswith("changes[3]")]


def test_checking_stops_after_1000_problems() -> None:
    found = problems_of(lambda: parse_changes(b"[%s]" % b",".join([b"{}"] * 1000)))
    assert MAX_PROBLEMS == 1000
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == (249, "changes", "has at least 1000 problems; the rest was not checked")
    one = b'{"entityId":1}'
    assert len(problems_of(lambda: parse_changes(b"[%s]" % b",".join([one] * 249 + [b"5"] * 3)))) == 999
    many = b"{%s}" % b",".join(b'"%d":0' % number for number in range(2000))
    assert len(problems_of(lambda: parse_changes(many))) == MAX_PROBLEMS + 1


# The project.


def test_a_bound_project_is_implied_or_named() -> None:
    for project_id in (..., None, "ruth"):
        one = json.dumps(wire_change(projectId=project_id)).encode()
        assert parse_changes(one, "ruth") == parse_changes(b"[%s]" % one, "ruth") == (new_change(),)


def test_another_project_than_the_bound_one_is_refused() -> None:
    body = json.dumps([wire_change(), wire_change(projectId="esther"), wire_change(projectId=5)]).encode()
    assert problems_of(lambda: parse_changes(body, "ruth")) == [
        (1, "changes[1].projectId", "is not ruth, the only project of this service"),
        (2, "changes[2].projectId", "is not a string"),
    ]


# Times.


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, None),
        ({"timestamp": "2025-03-01T09:30:00.120+01:00"}, "2025-03-01T08:30:00.120Z"),
        ({"changeAt": "2025-03-01 09:30"}, "2025-03-01T09:30:00Z"),
        ({"changeAt": "2025-03-01T09:30:00Z", "timestamp": None}, "2025-03-01T09:30:00Z"),
        ({"changeAt": None, "timestamp": "2025-03-01T09:30:00Z"}, "2025-03-01T09:30:00Z"),
        ({"changeAt": "2025-03-01T09:30:00Z", "timestamp": "2025-03-01T10:30:00+01:00"}, "2025-03-01T09:30:00Z"),
        ({"changeAt": "2025-03-01T09:30Z", "timestamp": "2025-03-01T09:30:00.000Z"}, "2025-03-01T09:30:00.000Z"),
    ],
)
def test_change_at_is_another_name_for_timestamp(given: dict[str, Any], kept: str | None) -> None:
    assert parse(wire_change(**given)) == (new_change(timestamp=kept),)


@pytest.mark.parametrize("change_at", ["2025-03-01T09:30:01Z", "2025-03-01T09:30:00.001Z", "2025-03-01T09:30:00+01:00"])
def test_change_at_that_differs_from_timestamp_is_refused(change_at: str) -> None:
    [(_, field, reason)] = problems_of(lambda: parse(wire_change(timestamp="2025-03-01T09:30:00Z", changeAt=change_at)))
    assert (field, reason) == ("changes[0].changeAt", "differs from timestamp; it is another name for the same field")


# What the original's client also sends.


@pytest.mark.parametrize("seq", [0, 1, 17, 2**63 - 1])
def test_the_number_of_the_client_is_kept(seq: int) -> None:
    assert parse(wire_change(seq=seq))[0].client_seq == seq


@pytest.mark.parametrize("name", ["seq", "outdatedBy"])
@pytest.mark.parametrize("value", [-1, 2**63, 1.0, "1", True, [], {}])
def test_an_invalid_number_is_refused(name: str, value: object) -> None:
    [(_, field, reason)] = problems_of(lambda: parse(wire_change(**{name: value})))
    assert (field, reason) == (f"changes[0].{name}", "is not an integer from 0 to 2^63 - 1")


def test_fields_that_the_log_sets_are_checked_and_ignored() -> None:
    assert parse(wire_change(cloudAt="2025-03-01T09:30:00Z", outdatedBy=3)) == (new_change(),)
    found = problems_of(lambda: parse(wire_change(cloudAt="soon", outdatedBy="3")))
    assert [field for _, field, _ in found] == ["changes[0].cloudAt", "changes[0].outdatedBy"]


# `data`, verbatim.

DATA = [
    "{}",
    "{ }",
    "{\n\t}",
    '{"b":1,"a":2}',
    '{ "a" : [ 1 , 2 ] }',
    '{"a":1.0,"b":1,"c":1e0,"d":1E+00,"e":-0,"f":-0.0,"g":100e-2}',
    f'{{"a":{"9" * 10_000},"b":-{"1" * 41}}}',
    '{"a":0.1000000000000000055511151231257827}',
    '{"\\u0061":"\\u00e9\\/\\ud83d\\uDE00"}',
    '{"é":"语😀\u2028\x7f"}',
    '{"":"","\\u0000":"\\u0000"}',
    '{"__proto__":{"constructor":null}}',
    '{"a":"]},[{"}',
    '{"a":' * 63 + "{}" + "}" * 63,
]


@pytest.mark.parametrize("text", DATA)
@pytest.mark.parametrize("space", ["", " \n\t\r"])
def test_data_is_kept_verbatim(text: str, space: str) -> None:
    rest = json.dumps(wire_change(data=...))[1:]
    for body in (
        f'{space}[{space}{{{space}"data"{space}:{space}{text}{space},{space}{rest}{space}]{space}',
        f'{{{rest[:-1]},"\\u0064ata":{space}{text}{space}}}',
    ):
        [new] = parse_changes(body.encode())
        assert new.data_json == text
    assert new_change(data=f"{space}{text}{space}").data_json == text
    assert change(data_json=text).data == json.loads(text) if len(text) < 4300 else True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "is not a JSON object"),
        ('"{}"', "is not a JSON object"),
        ("1", "is not a JSON object"),
        ("7" * 50, "is not a JSON object"),
        ("NaN", "NaN is not JSON"),
        ('{"a":NaN}', "NaN is not JSON"),
        ('{"a":-Infinity}', "-Infinity is not JSON"),
        ('{"a":1e999}', "the number 1e999 is too large for a double"),
        ('{"a":{"b":1,"b":2}}', 'the key "b" appears twice in one object'),
        ('{"a":"\\ud800"}', "a string contains half of a surrogate pair, which is not a character"),
        ('{"a":' * 64 + "{}" + "}" * 64, "nested deeper than 64 levels"),
    ],
)
def test_data_that_breaks_a_rule_is_refused(text: str, reason: str) -> None:
    rest = json.dumps(wire_change(data=...))[1:]
    assert problems_of(lambda: parse_changes(f'[{{"data":{text},{rest}]'.encode())) == [(0, "changes[0].data", reason)]
    assert problems_of(lambda: new_change(data=text)) == [(0, "change.data", reason)]


@settings(deadline=None, max_examples=100)
@given(json_objects)
def test_any_object_is_parsed_back_from_data(value: dict[str, Any]) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        rest = json.dumps(wire_change(data=...))[1:]
        [new] = parse_changes(f'[{{"data": {text}, {rest}]'.encode())
        assert new.data_json == text
    assert repr(json.loads(new_change(data=value).data_json)) == repr(value)


# Sizes.


def sized(size: int, **given: Any) -> dict[str, Any]:
    """A change whose item has this number of bytes."""
    rest = 256 + len("ruth" + "document" + "e1" + '{"a": ""}') + sum(len(str(text).encode()) for text in given.values())
    return wire_change(data={"a": "x" * (size - rest)}, **given)


def test_a_change_may_be_as_large_as_a_dynamodb_item() -> None:
    assert MAX_ITEM_BYTES == 400 * 1024
    for texts in ({}, {"cid": "c" * 255, "changeBy": "b" * 255}):
        [new] = parse(sized(MAX_ITEM_BYTES, **texts))
        assert item_size(new) == MAX_ITEM_BYTES
        assert new.replace() == new


@pytest.mark.parametrize("given", [{}, {"cid": "c" * 255}, {"cid": "é" * 255, "changeBy": "b"}])
def test_one_byte_more_is_refused(given: dict[str, str]) -> None:
    large = sized(MAX_ITEM_BYTES + 1, **given)
    body = json.dumps([wire_change(), large, large], ensure_ascii=False).encode()
    with pytest.raises(InvalidBatch) as caught:
        parse_changes(body)
    reason = "the change has 409,601 bytes as stored; the limit is 409,600"
    assert caught.value.problems == tuple(Problem(i, f"changes[{i}].data", reason, too_large=True) for i in (1, 2))
    assert (caught.value.status, caught.value.failed_at_index) == (413, 1)


def test_a_too_large_change_with_another_problem_is_a_400() -> None:
    with pytest.raises(InvalidBatch) as caught:
        parse(sized(MAX_ITEM_BYTES + 1), wire_change(cid=""))
    assert caught.value.status == 400
    assert len(caught.value.problems) == 2
    # One that is wrong in another way is not weighed.
    with pytest.raises(InvalidBatch) as caught:
        parse({**sized(MAX_ITEM_BYTES + 1), "cid": ""})
    assert [problem.field for problem in caught.value.problems] == ["changes[0].cid"]


def test_the_size_of_a_change_from_python_is_checked() -> None:
    data = {"a": "x" * MAX_ITEM_BYTES}
    with pytest.raises(InvalidBatch) as caught:
        new_change(data=data)
    assert caught.value.status == 413
    assert caught.value.problems[0].field == "change.data"


def test_the_size_counts_bytes_not_characters() -> None:
    room = MAX_ITEM_BYTES - item_size(new_change(data='{"a":""}'))
    assert item_size(new_change(data={"a": "é" * (room // 2)})) <= MAX_ITEM_BYTES
    with pytest.raises(InvalidBatch):
        new_change(data={"a": "é" * (room // 2 + 1)})


def dynamodb_size(item: Change) -> int:
    """The size by AWS's formula: names and texts in UTF-8; a number has one byte for two digits, and one more."""
    attributes = {
        "pk": item.project_id,
        "seq": item.seq,
        "entityType": item.entity_type,
        "entityId": item.entity_id,
        "operation": item.operation,
        "timestamp": item.timestamp,
        "cloudAt": item.cloud_at,
        "dataJson": item.data_json,
        "outdatedBy": item.outdated_by,
        "cid": item.cid,
        "changeBy": item.change_by,
        "chain": item.chain,
        "requestKey": item.request_key,
    }
    return sum(
        len(name) + (len(value.encode()) if isinstance(value, str) else (len(str(value)) + 1) // 2 + 1)
        for name, value in attributes.items()
        if value is not None
    )


@settings(deadline=None, max_examples=100)
@given(stored_changes)
def test_the_size_of_an_item_is_a_close_upper_bound(item: Change) -> None:
    assert dynamodb_size(item) <= item_size(item) <= dynamodb_size(item) + 125


LARGEST = change(
    project_id="p" * 128,
    seq=2**40 - 1,
    entity_type="t" * 64,
    entity_id='"' * 255,
    timestamp="2025-03-01T09:30:00.123456789Z",
    outdated_by=2**40 - 1,
    cid="\\" * 255,
    change_by='"' * 255,
)


@pytest.mark.parametrize("item", [LARGEST, change()])
def test_the_bounds_of_the_size_hold_for_extreme_values(item: Change) -> None:
    assert dynamodb_size(item) <= item_size(item)
    assert len(item.to_json().encode()) + 1 <= wire_size(item)


@settings(deadline=None, max_examples=100)
@given(stored_changes)
def test_the_size_on_the_wire_is_an_upper_bound(item: Change) -> None:
    assert len(item.to_json().encode()) + 1 <= wire_size(item)  # and a comma


# From Python.


def test_a_mapping_is_written_compactly() -> None:
    assert new_change(data={"b": [1, 1.0, None, True], "a": "é\n"}).data_json == '{"b":[1,1.0,null,true],"a":"é\\n"}'
    assert new_change(data=MappingProxyType({"a": MappingProxyType({"b": ()})})).data_json == '{"a":{"b":[]}}'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("NaN", "NaN is not JSON"),
        ({"a": "\ud800"}, "contains half of a surrogate pair"),
        ({"\udfff": 1}, "contains half of a surrogate pair"),
        ('{"a":"\ud800"}', "contains half of a surrogate pair"),
        ([1], "is not a JSON object"),
        ([("a", 1)], "is not a JSON object"),
        (5, "is not a JSON object"),
        ("", "expected a value at the end of the text"),
        ("{", "expecting property name enclosed in double quotes at the end of the text"),
        (b"{}", "a bytes is not a JSON value; decode() or base64.b64encode().decode() makes it a text"),
        ({(1, 2): 3}, "the key (1, 2) is not a string but a tuple; str() makes it one"),
        ({1: "a", "1": "b"}, "the key 1 is not a string but an int; str() makes it one"),
        (None, "is required"),
    ],
)
def test_data_that_is_not_json_is_refused_with_a_reason(data: object, reason: str) -> None:
    [(index, field, found)] = problems_of(lambda: new_change(data=data))
    assert (index, field) == (0, "change.data")
    assert found.lower().replace(" at ", " ") == reason.lower().replace(" at ", " ")


TEXT = "makes it a text"


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        ({"verses": [1, 2, {"at": Decimal("1.50")}]}, ".verses[2].at", "a Decimal is not a JSON value; str() keeps"),
        ({"a": datetime(2025, 3, 1)}, ".a", f"a datetime is not a JSON value; isoformat() {TEXT}"),
        ({"a": date(2025, 3, 1)}, ".a", f"a date is not a JSON value; isoformat() {TEXT}"),
        ({"a": {"b": UUID(int=1)}}, ".a.b", f"a UUID is not a JSON value; str() {TEXT}"),
        ({"a": {1, 2}}, ".a", "a set is not a JSON value; sorted() makes it a list"),
        ({"a": (b"x",)}, ".a[0]", "a bytes is not a JSON value; decode()"),
        ({"a": object()}, ".a", "an object is not a JSON value"),
        ({"a b": object()}, '["a b"]', "an object is not a JSON value"),
        ({"a\n": {"": object()}}, '["a\\n"][""]', "an object is not a JSON value"),
        ({"\ud800": object()}, '["?"]', "an object is not a JSON value"),
        ({"x" * 41: object()}, f'["{"x" * 40}"]', "an object is not a JSON value"),
        (MappingProxyType({"a": MappingProxyType({"b": object()})}), ".a.b", "an object is not a JSON value"),
        ({"a": float("nan")}, ".a", "NaN is not JSON"),
        ({"a": [0.5, float("inf")]}, ".a[1]", "Infinity is not JSON"),
        ({"a": {"b": -float("inf")}}, ".a.b", "-Infinity is not JSON"),
        ({"a": [{1: 2}]}, ".a[0]", "the key 1 is not a string but an int; str() makes it one"),
        ({"a": {None: 2}}, ".a", "the key None is not a string but a NoneType; str() makes it one"),
        ({"a": {True: 2}}, ".a", "the key True is not a string but a bool; str() makes it one"),
        ({"a": {1.5: 2}}, ".a", "the key 1.5 is not a string but a float; str() makes it one"),
    ],
)
def test_a_value_without_json_form_is_refused_with_its_path(data: object, path: str, reason: str) -> None:
    [(index, field, found)] = problems_of(lambda: new_change(data=data))
    assert (index, field) == (0, f"change.data{path}")
    assert found.startswith(reason)


def test_a_long_path_is_reported_by_its_end() -> None:
    data: Any = {"last": object()}
    for _ in range(40):
        data = {"abcdefghij": data}
    [(_, field, _)] = problems_of(lambda: new_change(data=data))
    assert field.startswith("change.data...")
    assert field.endswith(".abcdefghij.last")
    assert len(field) < 250


def test_a_shared_value_is_written_twice() -> None:
    shared = {"b": [1]}
    assert new_change(data={"a": shared, "c": [shared, shared]}).data_json == (
        '{"a":{"b":[1]},"c":[{"b":[1]},{"b":[1]}]}'
    )


def test_the_data_is_read_back_from_a_new_change() -> None:
    assert new_change(data='{"a": [1, 2.5, null]}').data == {"a": [1, 2.5, None]}
    assert new_change(data={"n": 10**4000}).data == {"n": 10**4000}


def test_circular_deep_or_huge_data_is_refused() -> None:
    circular: dict[str, object] = {}
    circular["a"] = circular
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for data in (circular, deep, {"a": 10**5000}):
        [(_, field, reason)] = problems_of(lambda data=data: new_change(data=data))  # type: ignore[misc]
        assert field == "change.data"
        assert reason.startswith("cannot be written as JSON: ")
    while deep:  # or its end would be a recursion too
        deep = deep.pop("a")  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"project_id": "a/b"}, "projectId"),
        ({"project_id": 5}, "projectId"),
        ({"entity_type": "a b"}, "entityType"),
        ({"entity_type": None}, "entityType"),
        ({"entity_id": ""}, "entityId"),
        ({"entity_id": "a\0"}, "entityId"),
        ({"entity_id": None}, "entityId"),
        ({"operation": "void"}, "operation"),
        ({"timestamp": "noon"}, "timestamp"),
        ({"timestamp": 5}, "timestamp"),
        ({"cid": "x" * 256}, "cid"),
        ({"change_by": "\x7f"}, "changeBy"),
        ({"client_seq": -1}, "seq"),
        ({"client_seq": "1"}, "seq"),
        ({"client_seq": True}, "seq"),
    ],
)
def test_the_rules_are_the_same_from_python(given: dict[str, Any], field: str) -> None:
    [(index, found, reason)] = problems_of(lambda: new_change(**given))
    [(name, value)] = given.items()
    assert (index, found) == (0, f"change.{name}")
    assert problems_of(lambda: parse(wire_change(**{field: value}))) == [(0, f"changes[0].{field}", reason)]


def test_all_problems_of_one_change_are_reported_at_once() -> None:
    found = problems_of(lambda: NewChange(entity_type="", entity_id="", data="", cid="", timestamp=""))
    assert {field for _, field, _ in found} == {
        f"change.{name}" for name in ("entity_type", "entity_id", "data", "cid", "timestamp")
    }


def test_a_change_from_python_may_omit_its_project() -> None:
    assert new_change(project_id=None).project_id is None


def test_an_unknown_parameter_is_a_type_error() -> None:
    for name in ("seq", "data_json", "entityId"):
        with pytest.raises(TypeError, match=name):
            new_change(**{name: 1})
    with pytest.raises(TypeError):
        NewChange("ruth")  # type: ignore[call-arg]


def test_a_change_cannot_be_altered() -> None:
    new = new_change()
    for name in NewChange.fields:
        with pytest.raises(AttributeError):
            setattr(new, name, "x")
    with pytest.raises(AttributeError):
        new.nonsense = 1  # type: ignore[attr-defined]
    assert hash(new) == hash(new_change())


@settings(deadline=None, max_examples=50)
@given(new_changes)
def test_a_change_survives_copying_and_replacing(new: NewChange) -> None:
    assert copy.deepcopy(new) == pickle.loads(pickle.dumps(new)) == new.replace() == new
    assert new.replace(data={"new": 1}, cid="c").replace(data=new.data_json, cid=new.cid) == new


def test_replacing_is_checked() -> None:
    assert problems_of(lambda: new_change().replace(entity_id="")) == [(0, "change.entity_id", "is empty")]
    assert new_change(data={"a": 1}).replace(operation="delete") == new_change(data={"a": 1}, operation="delete")


@settings(deadline=None, max_examples=100)
@given(new_changes)
def test_json_and_python_give_the_same_change(new: NewChange) -> None:
    given = dict(zip(NewChange.fields, new.as_tuple(), strict=True))
    names = ["projectId", "entityType", "entityId", "data", "operation", "timestamp", "cid", "changeBy", "seq"]
    members = (
        f"{json.dumps(name)}: {value if name == 'data' else json.dumps(value)}"
        for name, value in zip(names, given.values(), strict=True)
    )
    assert parse_changes(f"{{{','.join(members)}}}".encode()) == (new,)


# What the log sends.


def test_a_change_is_sent_with_its_data_verbatim() -> None:
    stored = change(data_json='{ "a":1.0,\n"b":"\\u00e9" }')
    assert stored.to_json() == (
        '{"projectId":"ruth","seq":1,"entityType":"document","entityId":"e1","operation":"create"'
        ',"timestamp":"2025-03-01T09:30:00.123Z","cloudAt":"2025-03-01T09:30:00.123Z"'
        ',"data":{ "a":1.0,\n"b":"\\u00e9" },"chain":"xxxxxxxxxxxxxxxxxxxxxx"}'
    )
    marked = stored.replace(outdated_by=5, cid='c"1', change_by="Zoë\\")
    assert marked.to_json().endswith(
        ',"outdatedBy":5,"cid":"c\\"1","changeBy":"Zoë\\\\","chain":"xxxxxxxxxxxxxxxxxxxxxx"}'
    )


HOSTILE = [
    '"',
    "\\",
    '\\"',
    "'",
    "</script>",
    "😀",
    "\u2028\u2029",
    "\u202e",
    "\u00a0",
    "é",
    "e\u0301",
    '"},{"seq":9',
    "\\u0041",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_id_is_returned_unchanged(text: str) -> None:
    sent = json.loads(change(entity_id=text, cid=text, change_by=text).to_json())
    assert (sent["entityId"], sent["cid"], sent["changeBy"]) == (text, text, text)
    assert list(sent) == [
        *("projectId", "seq", "entityType", "entityId", "operation", "timestamp", "cloudAt", "data", "cid", "changeBy"),
        "chain",
    ]


@settings(deadline=None, max_examples=100)
@given(stored_changes, free_texts)
def test_any_stored_change_is_sent_as_valid_json(item: Change, text: str) -> None:
    item = item.replace(entity_id=text)
    expected = {
        "projectId": item.project_id,
        "seq": item.seq,
        "entityType": item.entity_type,
        "entityId": text,
        "operation": item.operation,
        "timestamp": item.timestamp,
        "cloudAt": item.cloud_at,
        "data": item.data,
        "outdatedBy": item.outdated_by,
        "cid": item.cid,
        "changeBy": item.change_by,
        "chain": item.chain,
    }
    assert json.loads(item.to_json()) == {name: value for name, value in expected.items() if value is not None}


# The fingerprint of a batch.

PRINTED = new_change(
    data='{"a":1}', operation="create", timestamp="2025-03-01T09:30:00Z", cid="c", change_by="b", client_seq=1
)


def test_equal_batches_have_equal_fingerprints() -> None:
    assert fingerprint([PRINTED, new_change()]) == fingerprint((PRINTED.replace(), new_change()))
    assert len(fingerprint([PRINTED])) == 64


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([], [new_change()]),
        ([new_change()], [new_change(), new_change()]),
        ([new_change(), PRINTED], [PRINTED, new_change()]),
        # Absent is not the default.
        ([new_change()], [new_change(operation="create")]),
        ([new_change()], [new_change(client_seq=0)]),
        ([new_change(project_id=None)], [new_change()]),
        # A value is not the same value in the next field.
        ([new_change(cid="x")], [new_change(change_by="x")]),
        ([new_change(cid="1")], [new_change(client_seq=1)]),
        ([new_change(cid="-1:")], [new_change()]),
        ([new_change(entity_type="a", entity_id="bc")], [new_change(entity_type="ab", entity_id="c")]),
        ([new_change(entity_id="a1:b")], [new_change(entity_id="a")]),
        # Nor can a value pretend to be two.
        ([new_change(cid="a-1:b", change_by="c")], [new_change(cid="a", change_by="b-1:c")]),
        ([new_change(cid="a1:b", change_by="c")], [new_change(cid="a", change_by="b1:c")]),
        # `data` verbatim.
        ([new_change(data='{"a":1}')], [new_change(data='{"a": 1}')]),
        ([new_change(data='{"a":1}')], [new_change(data='{"a":1.0}')]),
        *(
            ([PRINTED], [PRINTED.replace(**{name: value})])
            for name, value in {
                "project_id": "esther",
                "entity_type": "note",
                "entity_id": "e2",
                "data": "{}",
                "operation": "update",
                "timestamp": "2025-03-01T09:30:00.0Z",
                "cid": "d",
                "change_by": "B",
                "client_seq": 2,
            }.items()
        ),
    ],
)
def test_different_batches_have_different_fingerprints(one: list[NewChange], other: list[NewChange]) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_empty_and_absent_fields_have_different_fingerprints() -> None:
    # No check lets an empty text pass, but the fingerprint need not know.
    values = list(PRINTED.as_tuple())
    values[6] = ""
    empty = NewChange.of(values)
    assert fingerprint([empty]) != fingerprint([PRINTED.replace(cid=None)])


@settings(deadline=None, max_examples=60)
@given(st.lists(new_changes, max_size=3), st.lists(new_changes, max_size=3))
def test_fingerprints_are_equal_exactly_when_the_batches_are(one: list[NewChange], other: list[NewChange]) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (one == other)
    assert fingerprint(one) == fingerprint([pickle.loads(pickle.dumps(new)) for new in one])


@pytest.mark.parametrize(
    "digits", ["7", "-7", "9" * 4_300, "-" + "12345678901" * 1_000, "1" + "0" * 9_999, "-1" + "0" * 4_001]
)
def test_an_integer_of_any_size_is_returned_exactly(digits: str) -> None:
    given = NewChange(entity_type="t", entity_id="e", data=f'{{"n":{digits},"list":[{digits}]}}')
    change = Change("p", 1, "t", "e", "create", "t", "c", given.data_json, None, None, None, "x")
    found = change.data["n"]
    sign, ones = (-1, digits[1:]) if digits[0] == "-" else (1, digits)
    value = 0
    for start in range(0, len(ones), 1_000):
        part = ones[start : start + 1_000]
        value = value * 10 ** len(part) + int(part)
    assert found == sign * value == change.data["list"][0]
