"""The rules of a change in a log: the quick check of reads accepts what the full check accepts, and refuses damage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sltt_core.base.errors import LogDamaged
from sltt_core.base.timestamps import is_time, normalise
from sltt_core.model.changes import Change
from sltt_core.model.fields import FIELDS, MAX_SEQ, is_link
from sltt_core.model.stored import broken_rule, is_sound, sound

NAMES = {field.name: field.name for field in FIELDS}
TIME = "2025-03-01T09:30:00Z"
CHANGE = Change("p", 7, "verse", "e", "create", TIME, TIME, "{}", None, None, None, "A" * 22)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"entity_type": "a b"}, "entity_type is not valid: 1 to 64"),
        ({"entity_id": b"e"}, "entity_id is not a string"),
        ({"operation": 1}, "operation is not one of create, update, delete, void"),
        ({"timestamp": "now"}, "timestamp is not an ISO 8601 time"),
        ({"cloud_at": None}, "cloud_at is missing"),
        ({"data_json": "\udcff"}, "data_json is not UTF-8"),
        ({"data_json": "{"}, "data_json is not a JSON object: "),
        ({"data_json": "1"}, "data_json is not a JSON object"),
        ({"entity_id": "a\x00"}, "entity_id contains a control character"),
        ({"entity_id": ""}, "entity_id is empty"),
        ({"data_json": '{"a":NaN}'}, "data_json is not a JSON object: "),
        ({"data_json": '{},"seq":5'}, "data_json is not a JSON object: "),
        ({"timestamp": "2025-03-01T09:30:60Z"}, "timestamp has the second 60"),
        ({"timestamp": "2025-02-30T09:30:00Z"}, "timestamp has the day 30"),
        ({"outdated_by": 0}, "outdated_by is not an integer from 1 to "),
        ({"outdated_by": True}, "outdated_by is not an integer from 1 to "),
        ({"outdated_by": 1.5}, "outdated_by is not an integer"),
        ({"cid": 5}, "cid is not a string"),
        ({"change_by": "\udcff"}, "change_by is not UTF-8"),
        ({"chain": b"A" * 22}, "chain is not a link"),
        ({"request_key": 17}, "request_key is not a key, three numbers"),
        ({"request_key": b"x"}, "request_key is not a key, three numbers"),
        ({"request_key": "x"}, "request_key is not a key, three numbers"),
        ({"request_key": f"{'k' * 16} 0 0 {'f' * 64}"}, "request_key is not a key, three numbers"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(fields: dict[str, object], reason: str) -> None:
    assert broken_rule(CHANGE) is None
    assert sound(CHANGE, NAMES) is CHANGE
    broken = CHANGE.replace(**fields)
    name, why = broken_rule(broken) or ("", "")
    assert f"{name} {why}".startswith(reason)
    with pytest.raises(LogDamaged, match="change 7 of project p is damaged: " + reason[:15]):
        sound(broken, NAMES)


ANY = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5), st.just({"M": {}}))


@given(st.sampled_from([*NAMES]), ANY)
def test_the_quick_check_refuses_what_the_full_check_refuses(name: str, value: object) -> None:
    """Only a repeated key and the like, which are valid JSON, and parts of a name pass the quick check alone."""
    if name in ("project_id", "seq"):
        return
    change = CHANGE.replace(**{name: value})
    if broken_rule(change) is not None:
        assert not is_sound(change)
        with pytest.raises(LogDamaged):
            sound(change, NAMES)
    else:
        assert sound(change, NAMES) is change


def test_a_change_of_rare_values_is_sound() -> None:
    rare = CHANGE.replace(
        entity_id="\u200b",
        cid="a\n",
        operation="void",
        outdated_by=MAX_SEQ,
        timestamp="2025-03-01 09:30+01:00",
        request_key=f"{'k' * 16} {MAX_SEQ} 0 1 {'f' * 64}",
    )
    assert broken_rule(rare) is None
    assert sound(rare, NAMES) is rare


TIMES = st.text("0123456789-:.TZ", max_size=30) | st.datetimes().map(lambda time: time.isoformat() + "Z")


@given(st.lists(TIMES, max_size=5))
def test_a_time_is_one_that_can_be_normalised(texts: list[str]) -> None:
    for text in [*texts, *texts]:
        try:
            normalise(text)
        except ValueError:
            with pytest.raises(ValueError, match=r"is|has"):
                is_time(text)
        else:
            assert is_time(text)


@pytest.mark.parametrize("second", range(100))
def test_each_second_is_checked(second: int) -> None:
    assert is_time("2025-03-01T09:30:00Z")
    text = f"2025-03-01T09:30:{second:02}.5Z"
    if second < 60:
        assert is_time(text)
    else:
        with pytest.raises(ValueError, match="second"):
            is_time(text)


@pytest.mark.parametrize(("text", "right"), [("-" * 22, True), ("A" * 21, False), ("A" * 21 + "=", False)])
def test_a_link_is_22_characters_of_base64url(text: str, right: bool) -> None:
    assert is_link(text) == right
