"""Grants: which changes they are, and which members follow from them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from sltt_core.model.grants import (
    MEMBER,
    NO_MEMBERS,
    Member,
    Members,
    check_granted_role,
    check_issued_principal,
    check_principal,
    check_role,
    granted_role,
    new_grant,
)
from tests.sltt_core.samples import change, new_change

if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.model.changes import Change
    from sltt_core.model.grants import Role

MEMBERS = Members({"ann": Member("owner", 1), "bea": Member("viewer", 7), "cid": Member("none", 4)})


def grant(principal: str, role: str, seq: int) -> Change:
    return change(seq=seq, entity_type=MEMBER, entity_id=principal, data_json=json.dumps({"role": role}))


@pytest.mark.parametrize(("role", "operation"), [("viewer", "update"), ("owner", "update"), ("none", "delete")])
def test_a_grant_is_a_change_that_any_reader_understands(role: Role, operation: str) -> None:
    made = new_grant("ruth", "ann", role, "bea")
    fields = {"project_id": "ruth", "entity_type": "sltt.member", "entity_id": "ann", "operation": operation}
    assert made == new_change(**fields, data=json.dumps({"role": role}), change_by="bea")
    assert granted_role(made) == role


def test_a_grant_may_have_no_project_yet_and_no_granter() -> None:
    made = new_grant(None, "ann", "editor", None)
    assert (made.project_id, made.change_by, made.cid, made.timestamp, made.client_seq) == (None,) * 5


@pytest.mark.parametrize(
    ("entity_type", "data", "role"),
    [
        (MEMBER, '{"role":"editor"}', "editor"),
        (MEMBER, '{"role":"none","other":1}', "none"),
        ("document", '{"role":"editor"}', None),
        (MEMBER, "{}", None),
        (MEMBER, '{"role":"king"}', None),
        (MEMBER, '{"role":["owner"]}', None),
        (MEMBER, '{"role":null}', None),
    ],
)
def test_only_a_change_of_a_member_with_a_known_role_grants(entity_type: str, data: str, role: str | None) -> None:
    assert granted_role(change(entity_type=entity_type, data_json=data)) == role


def test_the_last_grant_of_a_principal_counts() -> None:
    changes = [grant("bea", "editor", 8), change(seq=9), grant("dan", "viewer", 10), grant("bea", "owner", 11)]
    after = MEMBERS.after(changes)
    assert after == Members(
        {"ann": Member("owner", 1), "bea": Member("owner", 11), "cid": Member("none", 4), "dan": Member("viewer", 10)}
    )
    assert MEMBERS.roles["bea"] == Member("viewer", 7), "the members before stay as they were"


def test_the_version_is_the_number_of_the_last_grant() -> None:
    assert (MEMBERS.version, NO_MEMBERS.version) == (7, 0)


def test_the_owners_are_counted() -> None:
    assert (MEMBERS.owners, NO_MEMBERS.owners) == (1, 0)
    assert Members({name: Member("owner", 1) for name in "abc"}).owners == 3


@pytest.mark.parametrize("check", [check_role, check_granted_role])
def test_a_role_is_returned_or_named_as_unknown(check: Callable[[object], str]) -> None:
    for role in ("viewer", "editor", "owner"):
        assert check(role) == role
    for wrong in ("king", "", "Owner", None, 1, ["owner"]):
        with pytest.raises(ValueError, match=r"^is not one of "):
            check(wrong)


def test_none_is_a_role_but_not_of_a_member() -> None:
    assert check_role("none") == "none"
    with pytest.raises(ValueError, match=r"^is not one of none, viewer, editor, owner$"):
        check_role("king")
    with pytest.raises(ValueError, match=r"^is not one of viewer, editor, owner$"):
        check_granted_role("none")


@pytest.mark.parametrize("check", [check_principal, check_issued_principal])
def test_a_principal_is_a_free_text(check: Callable[[object], str]) -> None:
    assert check("auth0|ann") == "auth0|ann"
    for wrong in ("", "a\nb", "x" * 256, None, 7):
        with pytest.raises(ValueError, match=r"^(is|has|contains) "):
            check(wrong)


def test_only_a_device_token_names_a_device() -> None:
    assert check_principal("device:1") == "device:1"
    assert check_issued_principal("my-device:1") == "my-device:1"
    with pytest.raises(ValueError, match=r"^begins with device:, which is reserved for device tokens$"):
        check_issued_principal("device:1")
