from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base.errors import InvalidInput
from sltt_core.model.fields import (
    CHECKS,
    MAX_SEQ,
    TOMBSTONE,
    check_entity_type,
    check_free_text,
    check_idempotency_key,
    check_project_id,
    check_seq,
    checked,
    item_bytes,
    utf8_length,
)
from tests.sltt_core.samples import ALNUM, entity_types, free_texts, project_ids

HOSTILE_PROJECT_IDS = [
    "",
    "a" * 129,
    # Other items of the table.
    *("SEQUENCE#x", "REQUEST#x", "REQUEST#x#key", "#", "a#", "#a", "a#b"),
    # Other paths, other projects.
    *("../", "..", ".", ".a", "-a", "~a", "_a", "@a", ":a", "+a", "a/b", "/a", "a/", "a\\b", "a/../b"),
    *("*", "a*", "?", "a?", "a?b=c", "a&b", "a=b", "a,b", "a;b", "(a)", "[a]", "{a}", "a|b", "a^b", "a`b", "$a", "a!"),
    *('"a"', "a'b", "<a>", "%23", "%2F", "%", "a%00"),
    # Blanks and control characters.
    *(" ", " a", "a ", "a b", "a\tb", "a\n", "\na", "a\r\nb", "a\0", "\0", "a\x7f", "a\x85", "a\u00a0b", "a\u2028"),
    # What looks like something else.
    *("😀", "a😀", "é", "e\u0301", "\u0301a", "\u0430", "\uff41", "a\uff0e", "\u0661", "\u00b2", "\u212a", "\u017f"),
    *("ß", "a\u200b", "a\u200db", "\u202ea", "a\u200f", "\u2066a\u2069", "a\ufeff", "\ufeffa", "a\u00ad", "\U000e0061"),
    # What UTF-8 cannot carry.
    *("\ud800", "a\udc00", "\ud83d\ude00"),
]  # fmt: skip

GOOD_PROJECT_IDS = [
    *("a", "Z", "0", "ruth", "Ruth-demo", "a.b", "a..b", "a.", "a-", "a_b", "a~b", "a@b.c", "a:b", "a+b", "1-2-3"),
    *("SEQUENCE", "REQUEST", "x" * 128, "9" + "._~@:+-" * 18, "urn:uuid:7d9f5c2e-0000-4000-8000-000000000000"),
]


@pytest.mark.parametrize("value", HOSTILE_PROJECT_IDS)
def test_a_hostile_project_id_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|contains) "):
        check_project_id(value)


@pytest.mark.parametrize("value", GOOD_PROJECT_IDS)
def test_a_valid_project_id_is_returned_unchanged(value: str) -> None:
    assert check_project_id(value) == value


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=8))
def test_any_other_text_is_refused_as_a_project_id(text: str) -> None:
    good = bool(text) and text[0] in ALNUM and set(text) <= set(ALNUM + "._~@:+-")
    try:
        assert check_project_id(text) == text
        assert good
    except ValueError:
        assert not good


@pytest.mark.parametrize("value", [None, 1, 1.5, True, b"ruth", ["ruth"], {"ruth": 1}, object()])
@pytest.mark.parametrize(
    "check", [check_project_id, check_entity_type, check_free_text, check_idempotency_key, CHECKS["timestamp"]]
)
def test_a_value_that_is_not_a_string_is_refused(check: Callable[[object], str], value: object) -> None:
    with pytest.raises(ValueError, match=r"^is not a string$"):
        check(value)


@pytest.mark.parametrize("value", ["a", "document", "a_b.c:d-e", "-", ".", "0", "x" * 64])
def test_a_valid_entity_type_is_returned_unchanged(value: str) -> None:
    assert check_entity_type(value) == value


@pytest.mark.parametrize(
    "value", ["", "x" * 65, "a b", "a/b", "a#b", "a@b", "a~b", "a+b", "é", "a\n", " a", "\0", "\uff41", '"', "\ud800"]
)
def test_an_invalid_entity_type_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|contains) "):
        check_entity_type(value)


@pytest.mark.parametrize(
    "value",
    [
        "a",
        " ",
        "x" * 255,
        "😀" * 255,
        'a"b\\c/d',
        "<script>",
        "\u00a0",
        "\u2028",
        "\u202e",
        "\u200d",
        "\ue000",
        "\ufeff",
        "e\u0301",
        "\U0010ffff",
    ],
)
def test_any_text_without_control_characters_is_a_free_text(value: str) -> None:
    assert check_free_text(value) == value


CONTROLS = [chr(c) for c in (*range(32), *range(127, 160))]


@pytest.mark.parametrize("value", ["", "x" * 256, "😀" * 256, "\ud800", "a\udfff", *CONTROLS])
def test_an_invalid_free_text_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|contains) "):
        check_free_text(value)
    if value in CONTROLS:
        with pytest.raises(ValueError, match="control character"):
            check_free_text(f"é{value}a")


@settings(deadline=None, max_examples=100)
@given(project_ids, entity_types, free_texts)
def test_a_valid_text_is_returned_unchanged(project_id: str, entity_type: str, text: str) -> None:
    assert check_project_id(project_id) == project_id
    assert check_entity_type(entity_type) == entity_type
    assert check_free_text(text) == text


@pytest.mark.parametrize(
    ("value", "good"),
    [
        ("a" * 16, True),
        ("a" * 128, True),
        ("A0._:-" * 3, True),
        ("7d9f5c2e-0000-4000-8000-000000000000", True),
        ("", False),
        ("a" * 15, False),
        ("a" * 129, False),
        ("a" * 16 + " ", False),
        ("a" * 16 + "#", False),
        ("a" * 16 + ", " + "a" * 16, False),
        ("a" * 16 + "\n", False),
        ("é" * 16, False),
        ("\uff41" * 16, False),
    ],
)
def test_an_idempotency_key_is_16_to_128_plain_characters(value: str, good: bool) -> None:
    if good:
        assert check_idempotency_key(value) == value
    else:
        with pytest.raises(ValueError, match=r"^is "):
            check_idempotency_key(value)


@pytest.mark.parametrize(("value", "least"), [(1, 1), (0, 0), (MAX_SEQ, 1), (5, 0)])
def test_a_valid_sequence_number_is_returned(value: int, least: int) -> None:
    assert check_seq(value, least) == value
    assert check_seq(1) == 1


def test_the_greatest_sequence_number_leaves_room_in_a_double_and_in_a_row_id() -> None:
    assert MAX_SEQ == 2**40 - 1


@pytest.mark.parametrize("value", [0, -1, MAX_SEQ + 1, 10**100, True, 1.0, "1", None, [1]])
def test_an_invalid_sequence_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^is not "):
        check_seq(value)
    with pytest.raises(ValueError, match="is not from 0"):
        check_seq(-1, 0)


@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_a_valid_operation_is_accepted(operation: str) -> None:
    assert CHECKS["operation"](operation) == operation


@pytest.mark.parametrize(
    "operation", [TOMBSTONE, "", "Create", "create ", "upsert", 1, None, [], ["create"], {"a": 1}, True]
)
def test_an_invalid_operation_is_refused(operation: object) -> None:
    with pytest.raises(ValueError, match=r"^is not one of create, update, delete$"):
        CHECKS["operation"](operation)


@pytest.mark.parametrize("name", ["seq", "outdatedBy"])
def test_a_callers_own_number_is_checked(name: str) -> None:
    for good in (0, 1, 2**63 - 1):
        assert CHECKS[name](good) == good
    bads: list[object] = [-1, 2**63, True, 1.0, "1", [], {}]
    for bad in bads:
        with pytest.raises(ValueError, match="is not an integer from 0"):
            CHECKS[name](bad)


@pytest.mark.parametrize("name", ["timestamp", "changeAt", "cloudAt"])
def test_a_timestamp_is_converted_to_utc(name: str) -> None:
    assert CHECKS[name]("2025-03-01T09:30:00+01:00") == "2025-03-01T08:30:00Z"
    for bad in ("", "yesterday", "2025-03-01T09:30:00Z" + " " * 50):
        with pytest.raises(ValueError, match=r"^is (empty|longer|not an ISO)|^has "):
            CHECKS[name](bad)


def test_an_invalid_single_value_is_reported_with_its_name() -> None:
    assert checked(check_seq, 5, "seq") == 5
    with pytest.raises(InvalidInput, match=r"^cursor is not an integer$") as caught:
        checked(check_seq, "5", "cursor")
    assert caught.value.field == "cursor"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("text", "length"), [(None, 0), ("", 0), ("a", 1), ("é", 2), ("語", 3), ("😀", 4), ("a😀", 5), ("\x7f", 1)]
)
def test_the_length_in_utf8(text: str | None, length: int) -> None:
    assert utf8_length(text) == length


def test_the_size_of_an_item_grows_with_its_texts_byte_by_byte() -> None:
    assert item_bytes("ab", None, "😀") == item_bytes() + 6
