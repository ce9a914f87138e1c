"""How an error of DynamoDB, of its transport or of the credentials becomes an error of the storage's contract.

The lower errors keep their own words (accounts, roles, hosts), which are not for clients of the API. They stay in
`__cause__`, for the operator.
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
"""What is raised below the storage: these and nothing else are translated."""

_TRANSIENT: dict[type[Exception], tuple[type[StorageError], str]] = {
    Throttled: (StorageThrottled, "the table is throttled"),
    TransactionConflict: (StorageBusy, "another transaction holds an item that this one needs"),
    ServerFault: (StorageUnavailable, "DynamoDB failed"),
    NotDynamoDB: (StorageUnavailable, "the response is not DynamoDB's"),
    TransportError: (StorageUnavailable, "DynamoDB cannot be reached, or did not respond"),
}
"""What may pass by itself: the error of the contract, and its message."""

_HINTS: dict[type[Exception], str] = {
    TableNotFound: "Check the table name and DYNAMODB_REGION. A local DynamoDB that was restarted is empty: restart "
    "this program too.",
    TableInUse: "The table is being created, changed or deleted. Try again when that is done.",
    AccessDenied: AccessDenied.hint,
    ClockSkewed: "Set the machine's clock.",
    CredentialError: CredentialError.hint,
}


def translate(error: Exception) -> StorageError:
    """Return the contract's error for one of `LOWER_ERRORS`; raise it `from` that one."""
    if isinstance(error, TransactionCanceled) and error.is_transient:
        busy = StorageThrottled if error.is_throttled else StorageBusy
        return busy("others write to the same items, or the table is throttled")
    for lower, (kind, message) in _TRANSIENT.items():
        if isinstance(error, lower):
            return kind(message)
    code = error.code if isinstance(error, DynamoDBError) else "no credentials"
    hint = next((text for lower, text in _HINTS.items() if isinstance(error, lower)), None)
    return StorageError(f"DynamoDB refused the request: {code}", hint=hint)


def translated(method: F) -> F:
    """Decorate a method of the storage: what it raises is of the contract."""

    def wrapper(*arguments: Any, **options: Any) -> Any:
        try:
            return method(*arguments, **options)
        except LOWER_ERRORS as error:
            raise translate(error) from error

    wrapper.__doc__, wrapper.__name__, wrapper.__wrapped__ = method.__doc__, method.__name__, method  # type: ignore[attr-defined]
    return wrapper  # type: ignore[return-value]
