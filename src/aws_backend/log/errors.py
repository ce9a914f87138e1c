"""Translates the errors of DynamoDB, of the transport and of the credentials to the errors of the storage's contract.

The messages of the lower errors contain accounts, roles and hosts, which clients of the API must not see. The lower
error stays in `__cause__`, for the operator.
"""

from __future__ import annotations

from aws_backend.dynamodb.credentials import CredentialError
from aws_backend.dynamodb.errors import (
    AccessDenied,
    ClockSkewed,
    DynamoDBError,
    NotDynamoDB,
    ServerFault,
    TableInUse,
    TableNotFound,
    Throttled,
    TransactionCanceled,
    TransactionConflict,
)
from sltt_core.base.errors import StorageBusy, StorageError, StorageThrottled, StorageUnavailable
from sltt_core.http_client.transport import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

LOWER_ERRORS = (DynamoDBError, TransportError, CredentialError)
"""The errors that the layers below the storage raise. Only these are translated."""

_TRANSIENT: dict[type[Exception], tuple[type[StorageError], str]] = {
    Throttled: (StorageThrottled, "the table is throttled"),
    TransactionConflict: (StorageBusy, "another transaction holds an item that this one needs"),
    ServerFault: (StorageUnavailable, "DynamoDB failed"),
    NotDynamoDB: (StorageUnavailable, "the response is not DynamoDB's"),
    TransportError: (StorageUnavailable, "DynamoDB cannot be reached, or did not respond"),
}
"""Errors that a later attempt may not meet: for each, the error of the contract and its message."""

_HINTS: dict[type[Exception], str] = {
    TableNotFound: "Check the table name and DYNAMODB_REGION. A local DynamoDB that was restarted is empty: restart "
    "this program too.",
    TableInUse: "The table is being created, changed or deleted. Try again when that is done.",
    AccessDenied: AccessDenied.hint,
    ClockSkewed: "Set the clock of this machine.",
    CredentialError: CredentialError.hint,
}


def translate(error: Exception) -> StorageError:
    """Return the contract's error for one of `LOWER_ERRORS`. The caller raises it `from` the lower error."""
    if isinstance(error, TransactionCanceled) and error.is_transient:
        busy = StorageThrottled if error.is_throttled else StorageBusy
        return busy("other transactions write to the same items, or the table is throttled")
    for lower, (kind, message) in _TRANSIENT.items():
        if isinstance(error, lower):
            return kind(message)
    code = error.code if isinstance(error, DynamoDBError) else "no credentials"
    hint = next((text for lower, text in _HINTS.items() if isinstance(error, lower)), None)
    return StorageError(f"DynamoDB refused the request: {code}", hint=hint)


def translated(method: F) -> F:
    """Decorate a method of the storage, so that it raises only errors of the contract."""

    def wrapper(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except LOWER_ERRORS as error:
            raise translate(error) from error

    wrapper.__doc__, wrapper.__name__, wrapper.__wrapped__ = method.__doc__, method.__name__, method  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]
