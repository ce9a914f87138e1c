"""What DynamoDB says when it does not do what was asked, one tree, drawn from one table.

    DynamoDBError                       status  retryable
      ConditionFailed                   409             the item was not as the condition says (`item`: how it was)
      TransactionCanceled               409             one reason an action (`reasons`)
      TransactionConflict               503     yes     another transaction holds an item
      TransactionInProgress             503     yes     the same transaction is still being carried out
      TokenReused                       500             a request token came with another request before
      Throttled                         429     yes     too much at once, for the table or the account
      ServerFault                       503     yes     DynamoDB's own trouble; a write may have been carried out
      InvalidRequest                    500             the request breaks a rule of DynamoDB
      TableNotFound                     500             no such table (or index, or backup)
      TableInUse                        500             the table is being made, changed or deleted
      AccessDenied                      500             the credentials do not allow it, or are no good
      ClockSkewed                       500             the request's time is too far from DynamoDB's

`OutcomeUnknown` (`sltt_core.http_client`) is raised for a write that may have been applied and must not be repeated.
Sources: AWS, "Error handling with DynamoDB" and the API reference's "Common Errors".
"""

from __future__ import annotations

from sltt_core.base.errors import SlttError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class DynamoDBError(SlttError):
    """DynamoDB answered with an error; `code` is its name on the wire."""

    kind = "dynamodb"
    title = "DynamoDB refused"
    code = "Unknown"
    request_id: str | None = None
    """DynamoDB's id of the request, for AWS support."""

    @classmethod
    def from_response(cls, code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError:
        """Make the error of this class for a reply's JSON."""
        error = cls(f"{code}: {message}" if message else code)
        error.code = code
        return error


class ConditionFailed(DynamoDBError):
    """A condition did not hold; nothing was written."""

    status = 409
    title = "Condition failed"
    item: Mapping[str, Any] | None = None
    """The item as it was, when the request asked for it (`ReturnValuesOnConditionCheckFailure`)."""

    @classmethod
    def from_response(cls, code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError:
        error = super().from_response(code, message, response)
        assert isinstance(error, ConditionFailed)
        error.item = response.get("Item")
        return error


class TransactionCanceled(DynamoDBError):
    """A transaction was not carried out; nothing was written."""

    status = 409
    title = "Transaction canceled"
    reasons: tuple[Mapping[str, Any], ...] = ()
    """One for each action, in order: `Code` (`None` for those not at fault), `Message`, `Item`."""

    @classmethod
    def from_response(cls, code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError:
        error = super().from_response(code, message, response)
        assert isinstance(error, TransactionCanceled)
        error.reasons = tuple(response.get("CancellationReasons") or ())
        return error

    @property
    def codes(self) -> set[str]:
        """The codes of the actions that are at fault."""
        return {str(reason.get("Code")) for reason in self.reasons} - {"None"}

    @property
    def is_transient(self) -> bool:
        """Whether the same work may succeed later, perhaps in a transaction that is built again."""
        return bool(self.codes) and self.codes <= _TRANSIENT_CODES

    @property
    def is_throttled(self) -> bool:
        """Whether a lack of capacity was among the reasons."""
        return bool(self.codes.intersection(THROTTLING))


class TransactionConflict(DynamoDBError):
    """Another transaction is busy with an item; nothing was written."""

    status = 503
    title = "Transaction conflict"
    retryable = True
    retry_after = 1


class TransactionInProgress(TransactionConflict):
    """The transaction with this token is still being carried out; the same request, later, gets its result."""

    title = "Transaction in progress"


class TokenReused(DynamoDBError):
    """A client request token came with another request within ten minutes."""


class Throttled(DynamoDBError):
    """More than the table or the account may do just now; nothing was done."""

    status = 429
    title = "Throttled"
    retryable = True
    retry_after = 1
    hint = "Try again later, or give the table more capacity."


class ServerFault(DynamoDBError):
    """Something failed in DynamoDB. A write may have been carried out."""

    status = 503
    title = "DynamoDB failed"
    retryable = True
    retry_after = 1


class InvalidRequest(DynamoDBError):
    """The request breaks one of DynamoDB's rules."""


class TableNotFound(DynamoDBError):
    """There is no such table, in this region and account."""

    title = "No such table"
    hint = "Look at the table's name, the region and the account that the credentials are of."


class TableInUse(DynamoDBError):
    """The table is being made, changed or deleted, or is there already."""


class AccessDenied(DynamoDBError):
    """The credentials do not allow this, or are not accepted at all."""

    title = "Access denied"
    hint = "Look at the policies of the role or user whose credentials these are, and whether they have expired."


class ClockSkewed(DynamoDBError):
    """The request's time is more than five minutes from DynamoDB's; the machine's clock is wrong."""

    title = "Clock is wrong"
    date = ""
    """The `Date` of DynamoDB's answer."""
    hint = "Set the machine's clock."


BY_CODE: dict[str, type[DynamoDBError]] = {
    "ConditionalCheckFailedException": ConditionFailed,
    "TransactionCanceledException": TransactionCanceled,
    "TransactionConflictException": TransactionConflict,
    "TransactionInProgressException": TransactionInProgress,
    "IdempotentParameterMismatchException": TokenReused,
    "ProvisionedThroughputExceededException": Throttled,
    "ThrottlingException": Throttled,
    "Throttling": Throttled,
    "RequestLimitExceeded": Throttled,
    "LimitExceededException": Throttled,
    "InternalServerError": ServerFault,
    "InternalFailure": ServerFault,
    "ServiceUnavailable": ServerFault,
    "ServiceUnavailableException": ServerFault,
    "ValidationException": InvalidRequest,
    "ValidationError": InvalidRequest,
    "SerializationException": InvalidRequest,
    "ItemCollectionSizeLimitExceededException": InvalidRequest,
    "UnknownOperationException": InvalidRequest,
    "ResourceNotFoundException": TableNotFound,
    "TableNotFoundException": TableNotFound,
    "ResourceInUseException": TableInUse,
    "TableInUseException": TableInUse,
    "AccessDeniedException": AccessDenied,
    "UnrecognizedClientException": AccessDenied,
    "InvalidSignatureException": AccessDenied,
    "SignatureDoesNotMatch": AccessDenied,
    "IncompleteSignatureException": AccessDenied,
    "IncompleteSignature": AccessDenied,
    "MissingAuthenticationTokenException": AccessDenied,
    "MissingAuthenticationToken": AccessDenied,
    "InvalidClientTokenId": AccessDenied,
    "ExpiredTokenException": AccessDenied,
    "ExpiredToken": AccessDenied,
    "OptInRequired": AccessDenied,
    "NotAuthorized": AccessDenied,
    "RequestTimeTooSkewed": ClockSkewed,
    "RequestExpired": ClockSkewed,
    "RequestInTheFuture": ClockSkewed,
}
"""Names on the wire, and what they mean. Others are `ServerFault` with a status of 500 and up, else `DynamoDBError`."""

THROTTLING = ("ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded", "ThrottlingException")
"""Codes of the reasons of a canceled transaction that say that there was too much at once."""

_TRANSIENT_CODES = {"ConditionalCheckFailed", "TransactionConflict", *THROTTLING}

_SKEW_WORDS = ("Signature expired", "Signature not yet current")


def error_of(status: int, body: bytes, request_id: str | None = None) -> DynamoDBError:
    """Make the error that an answer with a bad status tells of, whatever its body holds."""
    from json import loads

    try:
        response = loads(body)
    except ValueError:
        response = None
    if not isinstance(response, dict):
        response = {}
    code = str(response.get("__type") or response.get("code") or f"HTTP {status}").rpartition("#")[2]
    message = str(response.get("message") or response.get("Message") or "")
    kind = BY_CODE.get(code) or (ServerFault if status >= 500 else DynamoDBError)
    if kind is AccessDenied and message.startswith(_SKEW_WORDS):
        kind = ClockSkewed
    error = kind.from_response(code, message, response)
    error.request_id = request_id
    return error
