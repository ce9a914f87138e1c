"""Device tokens and invitations: a credential and the grant that belongs to it are written together, or not at all."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.auth.device_tokens import DeviceToken, new_token
from sltt_core.base.errors import CredentialExists, InvalidInput, LastOwner, NotFound, SlttError
from sltt_core.base.runtime import Runtime
from sltt_core.log import members as rules
from sltt_core.log.issuing import TokensPage
from sltt_core.model.credentials import EXTEND_SECONDS, MAX_USES, TOKEN_SECONDS, Invitation, Token
from sltt_core.model.grants import MEMBER, NO_MEMBERS, Member
from tests.contract.logs import DynamoDBLog, Log, SqliteLog, everything, new
from tests.contract.test_members import check_derived, roles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.grants import Members, Role

NOW = 1_740_821_400
"""Seconds."""
DAY = 86_400


class Clock:
    """The time of day, in nanoseconds. It advances only when it is told to."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> int:
        return self.seconds * 10**9


def secret(number: int) -> DeviceToken:
    """The same secret for the same number."""
    return new_token(Random(number).randbytes)


def create_token(
    storage: BaseStorageService, number: int, project_id: str = "p", role: Role = "editor", **options: Any
) -> Token:
    made = secret(number)
    return storage.create_token(
        made.id, made.digest(), role, f"tablet {number}", project_id=project_id, created_by="ada", **options
    )[0]


def invite(
    storage: BaseStorageService, number: int, role: Role = "editor", project_id: str = "p", **options: Any
) -> Invitation:
    made = secret(number)
    return storage.create_invitation(made.id, made.digest(), role, project_id=project_id, created_by="ada", **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def storage(direct: Log, clock: Clock) -> BaseStorageService:
    return direct.open(runtime=Runtime(clock=clock))


# Device tokens


def test_a_token_is_stored_with_the_grant_of_its_role(storage: BaseStorageService) -> None:
    storage.create_change(new())
    made = secret(1)
    token, members = storage.create_token(
        made.id, made.digest(), "editor", "tablet 7", project_id="p", created_by="ada"
    )
    assert token == storage.get_token(made.id)
    assert token == Token(
        id=made.id,
        hash=made.digest().hex(),
        project_id="p",
        role="editor",
        created_by="ada",
        created_at="2025-03-01T09:30:00.000Z",
        expires=NOW + TOKEN_SECONDS,
        principal=f"device:{made.id}",
        name="tablet 7",
        revoked_at=None,
    )
    assert members.roles == {f"device:{made.id}": Member("editor", 2)}
    grant = everything(storage)[-1]
    assert (grant.entity_type, grant.entity_id, json.loads(grant.data_json), grant.change_by) == (
        MEMBER,
        f"device:{made.id}",
        {"role": "editor"},
        "ada",
    )
    assert not list(storage.verify(project_id="p"))
    check_derived(storage)


def test_a_token_may_be_the_first_change_of_a_log(storage: BaseStorageService) -> None:
    create_token(storage, 1, role="owner")
    assert storage.get_head(project_id="p").seq == 1
    check_derived(storage)


def test_a_token_exists_once(storage: BaseStorageService) -> None:
    token = create_token(storage, 1)
    for project_id in ("p", "q"):
        with pytest.raises(CredentialExists, match=f"the device token {token.id} was created before") as caught:
            create_token(storage, 1, project_id, "owner")
        assert caught.value.credential_id == token.id
    assert storage.get_head(project_id="p").seq == 1
    assert storage.get_members(project_id="q") == NO_MEMBERS
    assert storage.get_token(token.id) == token


def test_one_of_many_who_create_the_same_token_at_once_succeeds(direct: Log) -> None:
    storages = direct.open(), direct.open()
    assert at_once([partial(create_token, storages[n % 2], 1) for n in range(4)]) == 1
    assert storages[0].get_head(project_id="p").seq == 1


def test_a_token_whose_grant_is_refused_is_not_stored(
    storage: BaseStorageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_token(storage, 1)
    monkeypatch.setattr(rules, "MEMBERS_BYTES", 100)
    with pytest.raises(InvalidInput, match="too many members"):
        create_token(storage, 2)
    assert storage.get_token(secret(2).id) is None
    assert len(storage.get_tokens(project_id="p").tokens) == 1
    check_derived(storage)


def test_secrets_are_not_stored(direct: Log, storage: BaseStorageService) -> None:
    create_token(storage, 1)
    invite(storage, 2)
    storage.accept_invitation(secret(2).id, "bob")
    if isinstance(direct, DynamoDBLog):
        stored = json.dumps(direct.items()).encode()
    else:
        assert isinstance(direct, SqliteLog)
        storage.close()
        stored = direct.path.read_bytes()
    assert secret(1).id.encode() in stored  # or this would prove nothing
    for number in (1, 2):
        hidden = secret(number).reveal().partition("_")[2].partition("_")[2]
        assert hidden[:43].encode() not in stored


def test_the_repr_has_no_hash(storage: BaseStorageService) -> None:
    for made in (create_token(storage, 1), invite(storage, 2)):
        assert made.id in repr(made)
        assert made.hash not in repr(made)


def test_tokens_are_listed_in_pages(storage: BaseStorageService, clock: Clock) -> None:
    old = create_token(storage, 1000)
    clock.seconds += DAY
    mine = [create_token(storage, number) for number in range(1, 6)]
    for number in range(6, 9):
        create_token(storage, number, "q")
    mine[2] = storage.revoke_token(mine[2].id, project_id="p")[0]
    mine.sort(key=lambda token: token.id)
    found: list[Token] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        page = storage.get_tokens(cursor, 2, project_id="p")
        assert len(page.tokens) <= 2
        found += page.tokens
        cursor = page.cursor
        pages += 1
    assert pages == 3
    assert found == sorted([*mine, old], key=lambda token: token.id)
    assert storage.get_tokens(project_id="none") == TokensPage((), None)
    clock.seconds += TOKEN_SECONDS - DAY
    assert storage.get_tokens(project_id="p").tokens == tuple(mine)  # the old one has expired


def test_a_token_that_has_expired_is_unknown(storage: BaseStorageService, clock: Clock) -> None:
    token = create_token(storage, 1)
    clock.seconds = token.expires - 1
    assert storage.get_token(token.id) == token
    clock.seconds = token.expires
    assert storage.get_token(token.id) is None
    assert storage.get_tokens(project_id="p").tokens == ()


def test_a_token_is_extended_once_a_day(storage: BaseStorageService, clock: Clock) -> None:
    token = create_token(storage, 1)
    clock.seconds += EXTEND_SECONDS - 1
    assert not storage.extend_token(token)
    clock.seconds += 1
    assert storage.extend_token(token)
    longer = token.replace(expires=clock.seconds + TOKEN_SECONDS)
    assert storage.get_token(token.id) == longer
    assert not storage.extend_token(longer)
    clock.seconds += EXTEND_SECONDS
    assert not storage.extend_token(token)  # it is not the stored one any more
    assert storage.get_token(token.id) == longer


def test_one_of_many_who_extend_a_token_at_once_writes(direct: Log, clock: Clock) -> None:
    storages = [direct.open(runtime=Runtime(clock=clock)) for _ in range(2)]
    token = create_token(storages[0], 1)
    clock.seconds += EXTEND_SECONDS
    with ThreadPoolExecutor(4) as threads:
        extended = list(threads.map(lambda place: storages[place % 2].extend_token(token), range(4)))
    assert sorted(extended) == [False, False, False, True]


def test_a_revoked_token_loses_its_role_in_the_same_write(storage: BaseStorageService, clock: Clock) -> None:
    token = create_token(storage, 1)
    clock.seconds += 60
    revoked, members = storage.revoke_token(token.id, project_id="p", revoked_by="ada")
    assert revoked == token.replace(revoked_at="2025-03-01T09:31:00.000Z") == storage.get_token(token.id)
    assert roles(members) == {token.principal: "none"}
    change = storage.get_change(2, project_id="p")
    assert (change.entity_id, change.operation, change.change_by) == (token.principal, "delete", "ada")
    clock.seconds += DAY
    assert storage.revoke_token(token.id, project_id="p") == (revoked, members)
    assert storage.get_head(project_id="p").seq == 2
    assert not storage.extend_token(revoked)
    assert not storage.extend_token(token)  # as it was read before
    check_derived(storage)


def test_a_revocation_takes_a_role_that_was_granted_again(storage: BaseStorageService) -> None:
    token = create_token(storage, 1)
    storage.revoke_token(token.id, project_id="p")
    storage.set_role(token.principal, "viewer", project_id="p")
    assert roles(storage.revoke_token(token.id, project_id="p")[1]) == {token.principal: "none"}


def test_a_token_without_a_role_can_be_revoked(storage: BaseStorageService) -> None:
    token = create_token(storage, 1)
    storage.set_role(token.principal, "none", project_id="p")
    assert storage.revoke_token(token.id, project_id="p")[0].revoked_at is not None
    assert storage.get_head(project_id="p").seq == 2


def test_a_token_that_is_the_only_owner_is_not_revoked(storage: BaseStorageService) -> None:
    token = create_token(storage, 1, role="owner")
    with pytest.raises(LastOwner):
        storage.revoke_token(token.id, project_id="p")
    assert storage.get_token(token.id) == token
    assert roles(storage.get_members(project_id="p")) == {token.principal: "owner"}


def test_a_token_that_is_used_while_it_is_revoked_stays_revoked(direct: Log, clock: Clock) -> None:
    storages = [direct.open(runtime=Runtime(clock=clock)) for _ in range(2)]
    for number in range(5):
        token = create_token(storages[0], number)
        clock.seconds += EXTEND_SECONDS
        with ThreadPoolExecutor(2) as threads:
            extended = threads.submit(attempt, partial(storages[0].extend_token, token))
            revoked = threads.submit(storages[1].revoke_token, token.id, project_id="p")
        stored = storages[0].get_token(token.id)
        assert stored is not None
        assert stored == revoked.result()[0]
        assert stored.revoked_at is not None
        assert stored.expires == (clock.seconds + TOKEN_SECONDS if extended.result() is True else token.expires)
        assert roles(storages[0].get_members(project_id="p"))[token.principal] == "none"
    check_derived(storages[0])


# Invitations


def test_an_invitation_grants_its_role(storage: BaseStorageService) -> None:
    storage.set_role("ada", "owner", project_id="p")
    invitation = invite(storage, 1, uses=2)
    made = secret(1)
    assert invitation == storage.get_invitation(made.id)
    assert invitation == Invitation(
        id=made.id,
        hash=made.digest().hex(),
        project_id="p",
        role="editor",
        created_by="ada",
        created_at="2025-03-01T09:30:00.000Z",
        expires=NOW + 7 * DAY,
        uses=2,
    )
    after, members = storage.accept_invitation(made.id, "bob")
    assert after == invitation.replace(uses=1) == storage.get_invitation(made.id)
    assert roles(members) == {"ada": "owner", "bob": "editor"}
    change = storage.get_change(2, project_id="p")
    assert (change.entity_type, change.entity_id, change.change_by) == (MEMBER, "bob", "bob")
    assert not list(storage.verify(project_id="p"))
    check_derived(storage)


@pytest.mark.parametrize("role", ["editor", "owner"])
def test_who_has_the_role_or_a_greater_one_uses_nothing_up(storage: BaseStorageService, role: Role) -> None:
    storage.set_role("ada", "owner", project_id="p")
    storage.set_role("bob", role, project_id="p")
    invitation = invite(storage, 1)
    for _ in range(2):
        after, members = storage.accept_invitation(invitation.id, "bob")
        assert (after, roles(members)["bob"]) == (invitation, role)
    assert storage.get_head(project_id="p").seq == 2


@pytest.mark.parametrize("role", ["viewer", "none"])
def test_viewers_and_former_members_accept_an_invitation(storage: BaseStorageService, role: Role) -> None:
    storage.set_role("bob", "editor", project_id="p")
    storage.set_role("bob", role, project_id="p")
    after, members = storage.accept_invitation(invite(storage, 1).id, "bob")
    assert (after.uses, roles(members)) == (0, {"bob": "editor"})


def test_an_invitation_that_is_used_up_is_refused_but_for_who_used_it(storage: BaseStorageService) -> None:
    invitation = invite(storage, 1)
    storage.accept_invitation(invitation.id, "bob")
    refused(storage, invitation.id)
    assert storage.accept_invitation(invitation.id, "bob")[0].uses == 0
    assert roles(storage.get_members(project_id="p")) == {"bob": "editor"}


def test_an_invitation_that_has_expired_is_refused(storage: BaseStorageService, clock: Clock) -> None:
    invitation = invite(storage, 1, days=2)
    assert invitation.expires == NOW + 2 * DAY
    clock.seconds = invitation.expires
    assert storage.get_invitation(invitation.id) is None
    assert storage.get_invitations(project_id="p").invitations == ()
    refused(storage, invitation.id)
    clock.seconds -= 1
    storage.accept_invitation(invitation.id, "cleo")


def test_an_invitation_that_is_withdrawn_is_refused(storage: BaseStorageService) -> None:
    invitation = invite(storage, 1, uses=5)
    for _ in range(2):
        assert storage.withdraw_invitation(invitation.id, project_id="p") == invitation.replace(uses=0)
    refused(storage, invitation.id)


def test_an_invitation_that_does_not_exist_is_refused(storage: BaseStorageService) -> None:
    refused(storage, "A" * 16)


def test_invitations_are_listed_in_pages(storage: BaseStorageService) -> None:
    mine = sorted((invite(storage, number) for number in range(3)), key=lambda one: one.id)
    invite(storage, 3, project_id="q")
    create_token(storage, 4)
    first = storage.get_invitations(None, 2, project_id="p")
    assert first.invitations == tuple(mine[:2])
    second = storage.get_invitations(first.cursor, 2, project_id="p")
    assert (second.invitations, second.cursor) == (tuple(mine[2:]), None)


def test_an_invitation_exists_once(storage: BaseStorageService) -> None:
    invitation = invite(storage, 1)
    with pytest.raises(CredentialExists, match=f"the invitation {invitation.id} was created before"):
        invite(storage, 1, "owner", "q")
    assert storage.get_invitation(invitation.id) == invitation


def test_an_invitation_that_is_used_at_once_is_used_as_often_as_it_says(direct: Log) -> None:
    storages = direct.open(), direct.open()
    for uses in (1, 2):
        project_id = f"p{uses}"
        invitation = invite(storages[0], uses, project_id=project_id, uses=uses)
        calls = [partial(storages[n % 2].accept_invitation, invitation.id, f"m{n}") for n in range(4)]
        assert at_once(calls) == uses
        assert len(roles(storages[0].get_members(project_id=project_id))) == uses
        left = storages[0].get_invitation(invitation.id)
        assert left is not None
        assert left.uses == 0
        check_derived(storages[0], project_id)


def test_one_principal_who_accepts_at_once_uses_one_up(direct: Log) -> None:
    storages = direct.open(), direct.open()
    invitation = invite(storages[0], 1, uses=3)
    calls = [partial(storages[n % 2].accept_invitation, invitation.id, "bob") for n in range(4)]
    assert at_once(calls) == 4
    left = storages[0].get_invitation(invitation.id)
    assert left is not None
    assert left.uses == 2
    assert storages[0].get_head(project_id="p").seq == 1


# Ids and projects


HOSTILE = [
    "",
    "A",
    "A" * 15,
    "A" * 17,
    "TOKEN#" + "A" * 10,
    "AAAAAAAAAAAAAAA#",
    "../" + "A" * 13,
    "A" * 15 + "'",
    "٣" * 16,
]


@pytest.mark.parametrize("credential_id", HOSTILE)
def test_ids_that_are_not_valid_are_refused(storage: BaseStorageService, credential_id: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: storage.create_token(credential_id, bytes(32), "editor", "x", project_id="p"),
        lambda: storage.get_token(credential_id),
        lambda: storage.revoke_token(credential_id, project_id="p"),
        lambda: storage.create_invitation(credential_id, bytes(32), "editor", project_id="p"),
        lambda: storage.get_invitation(credential_id),
        lambda: storage.accept_invitation(credential_id, "bob"),
        lambda: storage.withdraw_invitation(credential_id, project_id="p"),
        lambda: storage.get_tokens(credential_id, project_id="p"),
        lambda: storage.get_invitations(credential_id, project_id="p"),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match=r"^(token_id|invitation_id|cursor) "):
            call()


def test_other_arguments_that_are_not_valid_are_refused(storage: BaseStorageService) -> None:
    def token(**options: Any) -> object:
        values = {"digest": bytes(32), "role": "editor", "name": "x", "project_id": "p", **options}
        return storage.create_token("A" * 16, **values)

    def invitation(**options: Any) -> object:
        return storage.create_invitation(
            "A" * 16, **{"digest": bytes(32), "role": "editor", "project_id": "p", **options}
        )

    wrong: dict[str, list[object]] = {
        "digest": [b"", bytes(31), "0" * 32],
        "role": ["none", "admin", None],
        "name": ["", "x" * 256, "a\nb", "\ud800", None],
        "created_by": ["", "a\x00"],
        "project_id": ["a#b", None],
    }
    for field, values in wrong.items():
        for value in values:
            with pytest.raises(InvalidInput, match=f"^{field} "):
                token(**{field: value})
            if field != "name":
                with pytest.raises(InvalidInput, match=f"^{field} "):
                    invitation(**{field: value})
    for field, most in {"days": 365, "uses": MAX_USES}.items():
        for number in (0, -1, most + 1, 1.0, True, "1", None):
            with pytest.raises(InvalidInput, match=f"^{field} is not an integer from 1 to {most}"):
                invitation(**{field: number})
    with pytest.raises(InvalidInput, match=r"^principal "):
        storage.accept_invitation("A" * 16, "a\nb")
    with pytest.raises(InvalidInput, match=r"^revoked_by "):
        storage.revoke_token("A" * 16, project_id="p", revoked_by="")
    assert storage.get_head(project_id="p").seq == 0


def test_no_credential_is_reached_through_another_project(storage: BaseStorageService) -> None:
    token, invitation = create_token(storage, 1), invite(storage, 2)
    create_token(storage, 3, "q")
    for wrong in (token.id, invitation.id):
        with pytest.raises(NotFound, match="project q has no device token"):
            storage.revoke_token(wrong, project_id="q")
        with pytest.raises(NotFound, match="project q has no invitation"):
            storage.withdraw_invitation(wrong, project_id="q")
    # An id is that of one kind only.
    assert (storage.get_token(invitation.id), storage.get_invitation(token.id)) == (None, None)
    assert (storage.get_token(token.id), storage.get_invitation(invitation.id)) == (token, invitation)
    assert storage.get_head(project_id="q").seq == 1


def test_a_bound_service_knows_only_what_is_of_its_project(direct: Log) -> None:
    unbound, bound = direct.open(), direct.open("q")
    token, invitation = create_token(unbound, 1), invite(unbound, 2)
    assert (bound.get_token(token.id), bound.get_invitation(invitation.id)) == (None, None)
    refused(bound, invitation.id)
    with pytest.raises(NotFound):
        bound.revoke_token(token.id)
    mine = bound.create_token(secret(3).id, secret(3).digest(), "viewer", "x")[0]
    assert bound.get_token(mine.id) == unbound.get_token(mine.id) == mine
    assert bound.get_tokens().tokens == (mine,)


# Helpers


def attempt(call: Callable[[], object]) -> object:
    """The result of a call, or the error that it raised."""
    try:
        return call()
    except SlttError as error:
        return error


def at_once(calls: Sequence[Callable[[], object]]) -> int:
    """Run calls on a thread each. Returns how many succeeded; the others must be refused."""
    with ThreadPoolExecutor(len(calls)) as threads:
        results = list(threads.map(attempt, calls))
    errors = [result for result in results if isinstance(result, SlttError)]
    assert all(isinstance(error, (CredentialExists, NotFound)) for error in errors), errors
    return len(results) - len(errors)


def refused(storage: BaseStorageService, invitation_id: str, principal: str = "cleo") -> None:
    """Nobody can accept this invitation, and the error is the same for every reason."""
    with pytest.raises(NotFound, match=r"^there is no such invitation: .* or withdrawn$"):
        storage.accept_invitation(invitation_id, principal)
    project = storage.project_id or "p"
    members: Members = storage.get_members(project_id=project)
    assert principal not in members.roles
