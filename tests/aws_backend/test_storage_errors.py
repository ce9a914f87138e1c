"""The methods of `DynamoDBStorageService` raise only errors of the contract, whatever error a lower layer raises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aws_backend.dynamodb import errors as dynamodb_errors
from aws_backend.dynamodb.credentials import CredentialError
from aws_backend.dynamodb.errors import ConditionFailed, DynamoDBError, TransactionCanceled
from aws_backend.log.errors import LOWER_ERRORS
from sltt_core import (
    LogDamaged,
    NewChange,
    NotALog,
    PartialAppend,
    Runtime,
    StorageBusy,
    StorageError,
    StorageThrottled,
    StorageUnavailable,
)
from sltt_core.base import errors as contract
from sltt_core.base.errors import CredentialExists
from sltt_core.http_client.transport import BadResponse, ConnectFailed, OutcomeUnknown
from tests.aws_backend.faults import Faults, not_sent
from tests.contract.logs import DynoxideLog, batch
from tests.contract.methods import KEY, methods_of, named, public_methods

if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.base.errors import SlttError
    from sltt_core.log.storage import BaseStorageService
    from sltt_core.model.changes import Change


def canceled(code: str) -> TransactionCanceled:
    error = TransactionCanceled("canceled")
    error.reasons = ({"Code": code},)
    return error


def all_below(kind: type[DynamoDBError]) -> list[type[DynamoDBError]]:
    return [kind, *(lower for child in kind.__subclasses__() for lower in all_below(child))]


LOWER: list[SlttError] = [
    *(kind("SENTINEL words of DynamoDB") for kind in all_below(DynamoDBError)),
    *(
        canceled(code)
        for code in ("TransactionConflict", "ThrottlingError", "ConditionalCheckFailed", "ValidationError")
    ),
    *(kind("SENTINEL words of the network") for kind in (ConnectFailed, OutcomeUnknown, BadResponse)),
    CredentialError("SENTINEL words of the credentials"),
]
"""An error of each class that a call may raise."""

RESTORED: list[Change] = []

METHODS: dict[str, Callable[[BaseStorageService], Any]] = {
    **methods_of(RESTORED),
    "initialize": lambda storage: storage.initialize(),
    "warm": lambda storage: storage.warm(),  # type: ignore[attr-defined]
}
"""A call of each public method."""

QUIET = {"write_mark", "wait_for_write"}
"""They send no request: they notice only the writes of their own process."""


SINGLE_WRITES = {"extend_token": False, "create_invitation": CredentialExists}
"""Methods whose only call is a conditional write, and their outcome if its condition fails."""


def attempt(method: Callable[[BaseStorageService], Any], storage: BaseStorageService) -> object:
    try:
        return method(storage)
    except CredentialExists as error:
        return type(error)


@pytest.fixture
def storage(log: DynoxideLog) -> BaseStorageService:
    opened = log.open("p", time_limit=lambda: 1.0, runtime=Runtime(random=lambda: 1.0))
    opened.create_changes(batch(2))
    other = log.open("source")
    other.create_changes(batch(3, "source"))
    RESTORED[:] = [change.replace(project_id="p") for change in other.get_changes_since()][2:]
    return opened


def test_every_public_method_is_called(storage: BaseStorageService) -> None:
    assert public_methods(type(storage)) - QUIET == named(METHODS)


def test_every_lower_error_is_in_the_list() -> None:
    kinds = {
        kind for kind in vars(dynamodb_errors).values() if isinstance(kind, type) and issubclass(kind, DynamoDBError)
    }
    assert kinds <= {type(error) for error in LOWER}
    assert all(isinstance(error, LOWER_ERRORS) for error in LOWER)


@pytest.mark.parametrize("error", LOWER, ids=lambda error: f"{type(error).__name__} {getattr(error, 'codes', '')}")
@pytest.mark.parametrize("method", METHODS)
def test_a_lower_error_becomes_an_error_of_the_contract(
    storage: BaseStorageService, method: str, error: SlttError
) -> None:
    faults = Faults(storage)
    client: Any = storage._client  # type: ignore[attr-defined]
    for operation in (
        "GetItem",
        "BatchGetItem",
        "Query",
        "Scan",
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "TransactGetItems",
        "TransactWriteItems",
        "DescribeTable",
    ):
        faults.always[operation] = not_sent(error)
    if method in ("initialize", "warm"):
        client.warm = lambda *arguments: faults.always["GetItem"](dict)
        storage._parts = None if method == "initialize" else storage._parts  # type: ignore[attr-defined]
    if isinstance(error, ConditionFailed) and method in SINGLE_WRITES:
        assert attempt(METHODS[method], storage) == SINGLE_WRITES[method]
        return
    with pytest.raises(StorageError) as caught:
        METHODS[method](storage)
    raised = caught.value
    assert type(raised).__module__ == contract.__name__
    assert "SENTINEL" not in raised.message + raised.hint
    assert raised.__cause__ is not None or isinstance(raised, (NotALog, LogDamaged))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (dynamodb_errors.Throttled("slow down"), StorageThrottled),
        (canceled("ThrottlingError"), StorageThrottled),
        (dynamodb_errors.TransactionConflict("busy"), StorageBusy),
        (dynamodb_errors.ServerFault("oops"), StorageUnavailable),
        (ConnectFailed("no route"), StorageUnavailable),
        (OutcomeUnknown("cut"), StorageUnavailable),
    ],
)
def test_a_failed_read_raises_its_class(
    storage: BaseStorageService, error: SlttError, expected: type[StorageError]
) -> None:
    Faults(storage).always["Query"] = not_sent(error)
    with pytest.raises(StorageError) as caught:
        storage.get_changes_with_cursor()
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error
    assert caught.value.retryable


def test_the_cause_of_a_partial_append_is_an_error_of_the_contract(storage: BaseStorageService) -> None:
    faults = Faults(storage)
    faults.plan("TransactWriteItems", lambda call: call(), *[not_sent(ConnectFailed("no route"))] * 50)
    faults.plan("GetItem", lambda call: call(), *[not_sent(ConnectFailed("no route"))] * 50)
    with pytest.raises(PartialAppend) as caught:
        storage.create_changes([NewChange(entity_type="t", entity_id="e", data={}) for _ in range(150)], KEY)
    assert type(caught.value.cause) is StorageUnavailable
