"""The rules of granting: when a grant is needed, and when it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sltt_core.base.errors import InvalidInput, LastOwner
from sltt_core.log.members import MEMBERS_BYTES, has_role, is_needed, members_bytes
from sltt_core.model.grants import NO_MEMBERS, Member, Members, new_grant
from tests.sltt_core.samples import new_change

if TYPE_CHECKING:
    from sltt_core.model.grants import Role

MEMBERS = Members({"ann": Member("owner", 1), "bea": Member("viewer", 2), "cid": Member("none", 4)})
TWO_OWNERS = Members({"ann": Member("owner", 1), "bea": Member("owner", 2)})


@pytest.mark.parametrize(
    ("members", "principal", "role", "needed"),
    [
        (MEMBERS, "ann", "owner", False),
        (MEMBERS, "bea", "viewer", False),
        (MEMBERS, "bea", "editor", True),
        (MEMBERS, "bea", "none", True),
        (MEMBERS, "cid", "none", False),
        (MEMBERS, "cid", "viewer", True),
        (MEMBERS, "dan", "none", False),  # never a member
        (MEMBERS, "dan", "viewer", True),
        (NO_MEMBERS, "ann", "owner", True),
        (TWO_OWNERS, "ann", "editor", True),
        (TWO_OWNERS, "bea", "none", True),
    ],
)
def test_a_grant_is_needed_if_the_principal_has_another_role(
    members: Members, principal: str, role: Role, needed: bool
) -> None:
    assert is_needed(members, new_grant("ruth", principal, role, None)) is needed


@pytest.mark.parametrize("role", ["none", "viewer", "editor"])
def test_the_last_owner_stays(role: Role) -> None:
    with pytest.raises(LastOwner, match=r"^ann is the only owner of the project$"):
        is_needed(MEMBERS, new_grant("ruth", "ann", role, None))


def test_a_member_needs_the_bytes_of_its_name_and_40() -> None:
    assert members_bytes(NO_MEMBERS) == 0
    assert members_bytes(Members({"é": Member("none", 1), "abc": Member("owner", 2)})) == 40 + 2 + 40 + 3


def members_of(size: int) -> Members:
    """Members that take this many bytes: an owner, and others of 100 bytes each."""
    names = [f"{number:060}" for number in range(size // 100 - 1)]
    names.append("x" * (size - 100 * len(names) - 40))
    return Members({name: Member("owner", 1) for name in names})


def test_a_project_has_members_up_to_a_number_of_bytes() -> None:
    """A DynamoDB item holds them all."""
    full = members_of(MEMBERS_BYTES - 42)
    assert members_bytes(full) == MEMBERS_BYTES - 42
    assert is_needed(full, new_grant("ruth", "é", "viewer", None))
    with pytest.raises(InvalidInput) as caught:
        is_needed(full, new_grant("ruth", "éa", "viewer", None))
    assert str(caught.value) == "the project has too many members: 2,999, former ones included"
    assert caught.value.field == "principal"
    assert is_needed(full, new_grant("ruth", f"{1:060}", "viewer", None)), "a member's role can change"


@pytest.mark.parametrize(
    ("principal", "role", "has"),
    [
        ("ann", "owner", True),
        ("ann", "viewer", True),
        ("bea", "viewer", True),
        ("bea", "none", True),
        ("bea", "editor", False),
        ("cid", "none", True),
        ("cid", "viewer", False),
        ("dan", "none", False),
    ],
)
def test_a_greater_role_contains_a_smaller_one(principal: str, role: Role, has: bool) -> None:
    assert has_role(MEMBERS, new_grant("ruth", principal, role, None)) is has


def test_a_change_that_grants_nothing_asks_for_no_role() -> None:
    grant = new_change(entity_id="bea")
    assert has_role(MEMBERS, grant) is True
    assert has_role(NO_MEMBERS, grant) is False
