from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sltt_core.base.errors import ChainMismatch
from sltt_core.model.chain import GENESIS, check_links, link, link_of
from sltt_core.model.changes import Change
from sltt_core.model.fields import is_link
from tests.sltt_core.samples import change, log, new_change, stored_changes


def link_by_the_book(*parts: str | None) -> str:
    """The link as docs/chain.md specifies it, computed without code of the project."""
    octets = b""
    for part in parts:
        octets += b"\xff\xff\xff\xff" if part is None else struct.pack(">I", len(part.encode())) + part.encode()
    return base64.urlsafe_b64encode(hashlib.sha256(octets).digest()[:16]).decode().rstrip("=")


# The example of docs/chain.md.
FIRST = change(
    entity_type="passage",
    entity_id="ruth-1",
    timestamp="2025-03-01T09:30:00.000Z",
    cloud_at="2025-03-01T09:30:02.123Z",
    data_json='{"title":"Famine in Bethlehem","seconds":41.50}',
    change_by="Noémie",
    chain="2MLm8HNFhoeZc4ReGW-Mlw",
)
SECOND = change(
    seq=2,
    entity_type="passage",
    entity_id="ruth-1",
    operation="update",
    timestamp="2025-03-01T09:31:00.5Z",
    cloud_at="2025-03-01T09:31:04.007Z",
    data_json='{ "title" : "Famine \\u2013 and a move to Moab \U0001d800" }',
    cid="tablet-7:42",
    chain="WWw2RuVb0G37ue8BeCfdgQ",
)
FIRST_BYTES = bytes.fromhex(
    "000000164141414141414141414141414141414141414141414100000004727574680000000131000000077061737361"
    "676500000006727574682d310000000663726561746500000018323032352d30332d30315430393a33303a30302e3030"
    "305a00000018323032352d30332d30315430393a33303a30322e3132335a0000002f7b227469746c65223a2246616d69"
    "6e6520696e20426574686c6568656d222c227365636f6e6473223a34312e35307dffffffff000000074e6fc3a96d6965"
)


def test_the_worked_example() -> None:
    digest = hashlib.sha256(FIRST_BYTES).digest()
    assert base64.urlsafe_b64encode(digest[:16]) == b"2MLm8HNFhoeZc4ReGW-Mlw=="
    assert link_of(GENESIS, FIRST) == "2MLm8HNFhoeZc4ReGW-Mlw"
    assert link_of(FIRST.chain, SECOND) == "WWw2RuVb0G37ue8BeCfdgQ"
    assert check_links(GENESIS, [FIRST, SECOND]) == SECOND.chain


def test_the_chain_begins_with_sixteen_zero_bytes() -> None:
    assert base64.urlsafe_b64decode(GENESIS + "==") == bytes(16)


@settings(deadline=None, max_examples=100)
@given(stored_changes)
def test_a_link_is_computed_as_documented(item: Change) -> None:
    expected = link_by_the_book(
        FIRST.chain,
        item.project_id,
        str(item.seq),
        item.entity_type,
        item.entity_id,
        item.operation,
        item.timestamp,
        item.cloud_at,
        item.data_json,
        item.cid,
        item.change_by,
    )
    assert link_of(FIRST.chain, item) == expected
    assert is_link(expected)


HASHED: dict[str, Any] = {
    "project_id": "esther",
    "seq": 2,
    "entity_type": "note",
    "entity_id": "e2",
    "operation": "update",
    "timestamp": "2025-03-01T09:30:00.124Z",
    "cloud_at": "2025-03-01T09:30:00.1230Z",
    "data_json": "{ }",
    "cid": "c",
    "change_by": "b",
}


@pytest.mark.parametrize("name", HASHED)
def test_the_link_covers_every_hashed_field(name: str) -> None:
    assert link_of(GENESIS, change(**{name: HASHED[name]})) != link_of(GENESIS, change())


def test_the_link_covers_the_link_before() -> None:
    assert link_of(GENESIS, change()) != link_of("A" * 21 + "Q", change())


def test_the_link_covers_neither_outdated_by_nor_the_request_key() -> None:
    assert set(Change.fields) - set(HASHED) == {"outdated_by", "chain", "request_key"}
    assert link_of(GENESIS, change(outdated_by=5, chain="y" * 22)) == link_of(GENESIS, change())


def test_absent_and_empty_fields_have_different_links() -> None:
    assert len({link_of(GENESIS, change(cid=cid)) for cid in (None, "", "\xff")}) == 3
    assert link_of(GENESIS, change(cid="x")) != link_of(GENESIS, change(change_by="x"))


TEXTS = ["previous", "project_id", "entity_type", "entity_id", "operation", "timestamp", "cloud_at", "data_json"]
TEXTS += ["cid", "change_by"]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text("ab\0\x01é", max_size=3), min_size=10, max_size=10), st.integers(0, 8), st.booleans())
def test_the_boundaries_of_fields_change_the_link(texts: list[str], place: int, forward: bool) -> None:
    values = dict(zip(TEXTS, texts, strict=True))
    one, next_one = TEXTS[place], TEXTS[place + 1]
    moved = dict(values)
    if forward and values[one]:
        moved[one], moved[next_one] = values[one][:-1], values[one][-1] + values[next_one]
    elif values[next_one]:
        moved[one], moved[next_one] = values[one] + values[next_one][0], values[next_one][1:]
    else:
        return
    assert link(**values, seq=1) != link(**moved, seq=1)


LOG = log(*(new_change(entity_id=f"e{number}") for number in range(1, 6)))


def test_an_unaltered_log_passes_from_any_cursor() -> None:
    assert check_links(GENESIS, LOG) == LOG[-1].chain
    assert check_links(LOG[1].chain, LOG[2:]) == LOG[-1].chain
    assert check_links(GENESIS, []) == GENESIS
    assert check_links(GENESIS, [LOG[0].replace(outdated_by=3), *LOG[1:]]) == LOG[-1].chain


ALTERED = LOG[2].replace(data_json='{"forged":true}')
RELINKED = ALTERED.replace(chain=link_of(LOG[1].chain, ALTERED))


@pytest.mark.parametrize(
    ("forged", "first"),
    [
        ([*LOG[:2], ALTERED, *LOG[3:]], 3),
        ([*LOG[:2], RELINKED, *LOG[3:]], 4),  # after a new link, all later links must be new
        ([*LOG[:2], *LOG[3:]], 4),
        (LOG[1:], 2),
        ([LOG[1], LOG[0], *LOG[2:]], 2),
        ([*LOG[:3], LOG[2], *LOG[3:]], 3),
        ([*LOG[:4], LOG[4].replace(seq=6)], 6),
        (log(*(new_change() for _ in range(5)), project_id="esther")[1:], 2),
    ],
)
def test_an_alteration_of_a_log_is_found(forged: list[Change], first: int) -> None:
    with pytest.raises(ChainMismatch, match=rf"^change {first} of "):
        check_links(GENESIS, forged)


def test_another_history_with_equal_changes_is_found() -> None:
    other = log(new_change(entity_id="e0"), new_change())
    same = log(new_change(entity_id="e1"), new_change())
    assert other[1].replace(chain="") == same[1].replace(chain="")
    with pytest.raises(ChainMismatch):
        check_links(other[0].chain, [same[1]])


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (GENESIS, True),
        ("2MLm8HNFhoeZc4ReGW-Mlw", True),
        ("_" * 21 + "w", True),
        ("", False),
        ("A" * 21, False),
        ("A" * 23, False),
        ("A" * 21 + "=", False),
        ("A" * 20 + "==", False),
        ("A" * 21 + "+", False),
        ("A" * 21 + "/", False),
        ("A" * 21 + " ", False),
        ("A" * 21 + "\n", False),
        ("A" * 21 + "é", False),
        ("\uff21" * 22, False),
        ("\u0661" * 22, False),
    ],
)
def test_the_form_of_a_link(text: str, good: bool) -> None:
    assert is_link(text) is good
