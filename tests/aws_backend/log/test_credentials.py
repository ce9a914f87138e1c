"""Device tokens and invitations in DynamoDB: lost responses, lost races, deleted and damaged items, and costs."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb.errors import TransactionConflict
from aws_backend.log.credential_items import credential_item, credential_key, credential_of
from sltt_core.auth.device_tokens import DeviceToken, new_token
from sltt_core.base.errors import CredentialExists, LogDamaged, NotFound, StorageBusy, StorageUnavailable
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import OutcomeUnknown
from sltt_core.model.credentials import EXTEND_SECONDS, Invitation, Token
from tests.aws_backend.faults import Faults, canceled, not_sent, response_lost
from tests.aws_backend.meter import Meter
from tests.contract.logs import DynoxideLog

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService
    from tests.aws_backend.faults import Call

WRITE = "TransactWriteItems"
TOKEN = Token("A" * 16, "ab" * 32, "p", "editor", None, "2025-03-01T09:30:00.000Z", 2, f"device:{'A' * 16}", "🤟")
INVITATION = Invitation("B" * 16, "cd" * 32, "p", "viewer", "ada", "2025-03-01T09:30:00.000Z", 3, 1000)


@pytest.fixture
def storage(log: DynoxideLog) -> BaseStorageService:
    return log.open("p")


def secret(number: int = 1) -> DeviceToken:
    return new_token(Random(number).randbytes)


def create_token(storage: BaseStorageService, number: int = 1) -> Token:
    made = secret(number)
    return storage.create_token(made.id, made.digest(), "editor", "tablet")[0]


def invite(storage: BaseStorageService, number: int = 1, uses: int = 1) -> Invitation:
    made = secret(number)
    return storage.create_invitation(made.id, made.digest(), "editor", uses=uses)


# Items


@pytest.mark.parametrize("credential", [TOKEN, TOKEN.replace(revoked_at="2025"), INVITATION], ids=str)
def test_an_item_is_read_as_it_was_written(credential: Token | Invitation) -> None:
    item = credential_item(credential)
    read: Token | Invitation = (
        credential_of(item, Token) if isinstance(credential, Token) else credential_of(item, Invitation)
    )
    assert read == credential
    assert item["expires"] == {"N": str(credential.expires)}  # the time-to-live attribute of the table


def test_the_items_are_as_documented() -> None:
    assert credential_item(TOKEN) == {
        "pk": {"S": "TOKEN#AAAAAAAAAAAAAAAA"},
        "seq": {"N": "0"},
        "registry": {"S": "TOKENS#p"},
        "projectId": {"S": "A" * 16},
        "hash": {"S": "ab" * 32},
        "project": {"S": "p"},
        "role": {"S": "editor"},
        "createdAt": {"S": "2025-03-01T09:30:00.000Z"},
        "expires": {"N": "2"},
        "principal": {"S": "device:AAAAAAAAAAAAAAAA"},
        "name": {"S": "🤟"},
    }
    assert credential_item(INVITATION) == {
        "pk": {"S": "INVITE#BBBBBBBBBBBBBBBB"},
        "seq": {"N": "0"},
        "registry": {"S": "INVITES#p"},
        "projectId": {"S": "B" * 16},
        "hash": {"S": "cd" * 32},
        "project": {"S": "p"},
        "role": {"S": "viewer"},
        "createdBy": {"S": "ada"},
        "createdAt": {"S": "2025-03-01T09:30:00.000Z"},
        "expires": {"N": "3"},
        "uses": {"N": "1000"},
    }


DAMAGES: list[tuple[str, Any]] = [
    *((name, None) for name in ("hash", "project", "role", "createdAt", "expires", "principal", "name")),
    ("hash", {"S": "ab"}),
    ("hash", {"S": "x" * 64}),
    ("role", {"S": "none"}),
    ("role", {"S": "admin"}),
    ("expires", {"S": "2"}),
    ("expires", {"N": "2.5"}),
    ("expires", {"N": "9" * 30}),
    ("name", {"N": "2"}),
    ("revokedAt", {"N": "2"}),
    ("principal", {"M": {}}),
]


@pytest.mark.parametrize(("name", "value"), DAMAGES, ids=str)
def test_an_item_that_is_not_valid_is_damage(
    log: DynoxideLog, storage: BaseStorageService, name: str, value: Any
) -> None:
    item = credential_item(create_token(storage))
    hidden = item["hash"]["S"]
    if value is None:
        del item[name]
    else:
        item[name] = value
    log.call("PutItem", Item=item)
    for read in (lambda: storage.get_token(secret().id), storage.get_tokens):
        with pytest.raises(LogDamaged) as caught:
            read()
        assert hidden not in caught.value.message
        assert caught.value.__cause__ is None


def test_a_token_that_dynamodb_has_deleted_is_unknown(log: DynoxideLog, storage: BaseStorageService) -> None:
    tokens = sorted((create_token(storage, number) for number in range(5)), key=lambda token: token.id)
    for gone in tokens[:2]:
        log.call("DeleteItem", Key=credential_key(Token, gone.id))
    assert storage.get_token(tokens[0].id) is None
    with pytest.raises(NotFound):
        storage.revoke_token(tokens[0].id)
    assert storage.get_tokens().tokens == tuple(tokens[2:])


def test_a_page_whose_items_are_deleted_meanwhile_leads_to_the_next(
    log: DynoxideLog, storage: BaseStorageService
) -> None:
    tokens = sorted((create_token(storage, number) for number in range(5)), key=lambda token: token.id)

    def delete_first(call: Call) -> dict[str, Any]:
        found = call()
        for gone in tokens[:2]:
            log.call("DeleteItem", Key=credential_key(Token, gone.id))
        return found

    Faults(storage).plan("Query", delete_first)
    page = storage.get_tokens(limit=2)
    assert (page.tokens, page.cursor) == ((), tokens[1].id)
    assert storage.get_tokens(page.cursor).tokens == tuple(tokens[2:])


# Writes


def test_a_token_whose_response_is_lost_exists(storage: BaseStorageService) -> None:
    Faults(storage).plan(WRITE, response_lost(OutcomeUnknown("cut")))
    with pytest.raises(StorageUnavailable):
        create_token(storage)
    with pytest.raises(CredentialExists):
        create_token(storage)
    assert storage.get_members().roles[f"device:{secret().id}"].role == "editor"


def test_an_invitation_whose_acceptance_is_lost_is_accepted_again(storage: BaseStorageService) -> None:
    invitation = invite(storage, uses=2)
    Faults(storage).plan(WRITE, response_lost(OutcomeUnknown("cut")))
    with pytest.raises(StorageUnavailable):
        storage.accept_invitation(invitation.id, "bob")
    assert storage.accept_invitation(invitation.id, "bob")[0].uses == 1
    assert storage.get_head().seq == 1


def test_an_acceptance_that_loses_the_race_for_the_last_use_is_refused(
    log: DynoxideLog, storage: BaseStorageService
) -> None:
    other = log.open("p")
    invitation = invite(storage)

    def overtaken(call: Call) -> dict[str, Any]:
        other.accept_invitation(invitation.id, "cleo")
        return call()

    Faults(storage).plan(WRITE, overtaken)
    with pytest.raises(NotFound):
        storage.accept_invitation(invitation.id, "bob")
    assert set(storage.get_members().roles) == {"cleo"}


def test_an_acceptance_that_loses_the_race_for_another_use_is_tried_again(
    log: DynoxideLog, storage: BaseStorageService
) -> None:
    other = log.open("p")
    invitation = invite(storage, uses=2)

    def overtaken(call: Call) -> dict[str, Any]:
        other.accept_invitation(invitation.id, "cleo")
        return call()

    Faults(storage).plan(WRITE, overtaken)
    after, members = storage.accept_invitation(invitation.id, "bob")
    assert after.uses == 0
    assert members == other.get_members()
    assert set(members.roles) == {"bob", "cleo"}


def test_a_withdrawal_that_loses_a_race_is_tried_again(log: DynoxideLog, storage: BaseStorageService) -> None:
    other = log.open("p")
    invitation = invite(storage, uses=2)

    def overtaken(call: Call) -> dict[str, Any]:
        other.accept_invitation(invitation.id, "cleo")
        return call()

    Faults(storage).plan(WRITE, overtaken)
    storage.withdraw_invitation(invitation.id)
    found = other.get_invitation(invitation.id)
    assert found is not None
    assert found.uses == 0


def test_a_revocation_that_loses_a_race_against_a_use_is_tried_again(log: DynoxideLog) -> None:
    now = [1_740_821_400]
    runtime = Runtime(clock=lambda: now[0] * 10**9)
    storage, other = log.open("p", runtime=runtime), log.open("p", runtime=runtime)
    token = create_token(storage)
    now[0] += EXTEND_SECONDS

    def overtaken(call: Call) -> dict[str, Any]:
        assert other.extend_token(token)
        return call()

    Faults(storage).plan(WRITE, overtaken)
    revoked, members = storage.revoke_token(token.id)
    assert other.get_token(token.id) == revoked
    assert revoked.revoked_at is not None
    assert revoked.expires == token.expires + EXTEND_SECONDS
    assert members.roles[token.principal].role == "none"


def test_a_creation_is_repeated_after_a_conflict_until_the_deadline(log: DynoxideLog) -> None:
    paused = [0.0]  # time passes only in pauses
    runtime = Runtime(steady_clock=lambda: sum(paused), pause=paused.append, random=lambda: 1.0)
    storage = log.open("p", time_limit=lambda: 1.0, runtime=runtime)
    faults = Faults(storage)
    faults.plan(WRITE, not_sent(canceled("TransactionConflict")))
    create_token(storage)
    faults.always[WRITE] = not_sent(canceled("TransactionConflict"))
    with pytest.raises(StorageBusy):
        create_token(storage, 2)
    assert storage.get_token(secret(2).id) is None


def test_an_extension_during_a_transaction_is_busy(storage: BaseStorageService) -> None:
    token = create_token(storage)
    Faults(storage).plan("UpdateItem", not_sent(TransactionConflict("busy")))
    with pytest.raises(StorageBusy):
        storage.extend_token(token.replace(expires=0))


# Costs


def test_what_credentials_cost(log: DynoxideLog) -> None:
    meter = Meter()
    storage = log.open("p", runtime=Runtime(observer=meter))
    storage.set_role("ada", "owner")
    meter.read()
    token = create_token(storage)
    # The end of the log, the members and the token; then the sequence item, the change, the members, the member with
    # its entry in the index, and the token with its own.
    assert meter.read()[0] == ("GetItem", "GetItem", "GetItem", WRITE)
    storage.get_token(token.id)
    assert meter.read() == (("GetItem",), 1)
    storage.get_token("Z" * 16)
    assert meter.read() == (("GetItem",), 1)
    storage.extend_token(token)
    assert meter.read() == ((), 0)
    storage.extend_token(token.replace(expires=0))
    assert meter.read()[0] == ("UpdateItem",)
    storage.get_tokens()
    assert meter.read()[0] == ("Query", "BatchGetItem")
    storage.revoke_token(token.id)
    assert meter.read()[0] == ("GetItem", "GetItem", "GetItem", WRITE)
    storage.revoke_token(token.id)
    assert meter.read()[0] == ("GetItem", "GetItem", "GetItem")
    invitation = invite(storage, 2)
    assert meter.read()[0] == ("PutItem",)
    storage.accept_invitation(invitation.id, "bob")
    assert meter.read()[0] == ("GetItem", "GetItem", "GetItem", "GetItem", WRITE)
    storage.get_tokens()
    assert meter.read()[0] == ("Query", "BatchGetItem")
