"""The errors that DynamoDB returns: a tree of classes, and the table that maps error codes to them.

    DynamoDBError                       status  retryable
      ConditionFailed                   409             the condition does not hold (`item`: the item's state)
      TransactionCanceled               409             `reasons` holds one reason for each action
      TransactionConflict               503     yes     another transaction is using an item
      TransactionInProgress             503     yes     the same transaction is still being carried out
      TokenReused                       500             another request has used this request token
      Throttled                         429     yes     the table or the account is over its limit
      ServerFault                       503     yes     DynamoDB failed; a write may have been carried out
      InvalidRequest                    500             the request breaks a rule of DynamoDB
      TableNotFound                     500             the table (or index, or backup) does not exist
      TableInUse                        500             the table is being created, changed or deleted
      AccessDenied                      500             the credentials are not valid, or do not allow the call
        CredentialsExpired              500             the credentials have expired
      NotDynamoDB                       502     yes     the response is not DynamoDB's; also a `BadResponse`
      ClockSkewed                       500             the request's time is too far from DynamoDB's

`OutcomeUnknown` (`sltt_core.http_client`) is raised for a write that may have been applied and must not be repeated.
Sources: AWS, "Error handling with DynamoDB" and the API reference's "Common Errors".
"""

from __future__ import annotations

from sltt_core.base.errors import SlttError
from sltt_core.http_client.transport import BadResponse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class DynamoDBError(SlttError):
    """DynamoDB returned an error. `code` is DynamoDB's name for it."""

    kind = "dynamodb"
    title = "DynamoDB refused"
    code = "Unknown"
    request_id: str | None = None
    """DynamoDB's id of the request, for AWS support."""

    @property
    def is_throttled(self) -> bool:
        """Whether the table or the account lacked capacity."""
        return isinstance(self, Throttled)

    @classmethod
    def from_response(cls, code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError:
        """Create the error for a response's JSON; `code` and `message` were read from it."""
        error = cls(f"{code}: {message}" if message else code)
        error.code = code
        return error


class NotDynamoDB(DynamoDBError, BadResponse):
    """The response does not have DynamoDB's form: a proxy, a portal or another service responded.

    The request may have been carried out, because a proxy may have replaced DynamoDB's response.
    """

    status = 502
    title = "Not DynamoDB"
    retryable = True
    retry_after = 1
    code = "NotDynamoDB"
    hint = "Check the endpoint, and the proxies on the way to it."


class ConditionFailed(DynamoDBError):
    """A condition did not hold; nothing was written."""

    status = 409
    title = "Condition failed"
    item: Mapping[str, Any] | None = None
    """The item's state, if the request asked for it (`ReturnValuesOnConditionCheckFailure`)."""

    @classmethod
    def from_response(cls, code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError:
        item = response.get("Item")
        if not _is_map(item):
            return _not_dynamodb(code)
        error = super().from_response(code, message, response)
        error.item = item  # type: ignore[attr-defined]  # it is one of this class
        return error


class TransactionCanceled(DynamoDBError):
    """A transaction was not carried out; nothing was written."""

    status = 409
    title = "Transaction canceled"
    reasons: tuple[Mapping[str, Any], ...] = ()
    """One for each action, in order: `Code` (`None` for an action that is not at fault), `Message`, `Item`."""

    @classmethod
    def from_response(cls, code: str, message: str, response: Mapping[str, Any]) -> DynamoDBError:
        reasons = response.get("CancellationReasons") or []
        if type(reasons) is not list or not all(
            type(reason) is dict and type(reason.get("Code")) in (str, type(None)) and _is_map(reason.get("Item"))
            for reason in reasons
        ):
            return _not_dynamodb(code)
        error = super().from_response(code, message, response)
        error.reasons = tuple(reasons)  # type: ignore[attr-defined]  # it is one of this class
        return error

    @property
    def codes(self) -> set[str]:
        """The codes of the actions that are at fault."""
        return {str(reason.get("Code")) for reason in self.reasons} - {"None"}

    @property
    def is_transient(self) -> bool:
        """Whether the same work may succeed later, perhaps in a new transaction."""
        return bool(self.codes) and self.codes <= _TRANSIENT_CODES

    @property
    def is_throttled(self) -> bool:
        return bool(self.codes.intersection(THROTTLING))


class TransactionConflict(DynamoDBError):
    """Another transaction is using an item; nothing was written."""

    status = 503
    title = "Transaction conflict"
    retryable = True
    retry_after = 1


class TransactionInProgress(TransactionConflict):
    """The transaction with this token is still being carried out. The same request gets its result later."""

    title = "Transaction in progress"


class TokenReused(DynamoDBError):
    """A client request token was used for two different requests within ten minutes."""


class Throttled(DynamoDBError):
    """The request exceeds the current limit of the table or the account; nothing was done."""

    status = 429
    title = "Throttled"
    retryable = True
    retry_after = 1
    hint = "Try again later, or give the table more capacity."


class ServerFault(DynamoDBError):
    """DynamoDB failed. A write may have been carried out."""

    status = 503
    title = "DynamoDB failed"
    retryable = True
    retry_after = 1


class InvalidRequest(DynamoDBError):
    """The request breaks one of DynamoDB's rules."""


class TableNotFound(DynamoDBError):
    """The table does not exist in this region and account."""

    title = "No such table"
    hint = "Check the table name, the region, and the account of the credentials."


class TableInUse(DynamoDBError):
    """The table is being created, changed or deleted, or exists already."""


class AccessDenied(DynamoDBError):
    """The credentials do not allow this call, or are not valid."""

    title = "Access denied"
    hint = "Check the policies of the role or user of these credentials, and whether the credentials have expired."


class CredentialsExpired(AccessDenied):
    """The credentials have expired; nothing was done."""

    title = "Credentials have expired"
    hint = "Renew the credentials, for example with `aws sso login`."


class ClockSkewed(DynamoDBError):
    """The request's time is more than five minutes from DynamoDB's, because this machine's clock is wrong."""

    title = "Clock is wrong"
    date = ""
    """The `Date` header of DynamoDB's response."""
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
    "ExpiredTokenException": CredentialsExpired,
    "ExpiredToken": CredentialsExpired,
    "OptInRequired": AccessDenied,
    "NotAuthorized": AccessDenied,
    "RequestTimeTooSkewed": ClockSkewed,
    "RequestExpired": ClockSkewed,
    "RequestInTheFuture": ClockSkewed,
}
"""The class for each error code. For another code it is `ServerFault` if the status is 500 or more, otherwise
`DynamoDBError`."""

THROTTLING = ("ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded", "ThrottlingException")
"""The codes of a canceled transaction's reasons that mean throttling."""

_TRANSIENT_CODES = {"ConditionalCheckFailed", "TransactionConflict", *THROTTLING}

_SKEW_WORDS = ("Signature expired", "Signature not yet current")


def error_from_response(
    status: int, body: bytes, request_id: str | None = None, secret: str | None = None
) -> DynamoDBError:
    """Return the error for a response with an error status. The body may be anything.

    `secret` is the session token of the request. A message about a wrong signature may repeat it (AWS: "Troubleshoot
    Signature Version 4 signing for AWS API requests"), and the error leaves it out.
    """
    from json import loads

    try:
        response = loads(body)
    except (ValueError, RecursionError):
        response = None
    if not isinstance(response, dict):
        response = {}
    name = response.get("__type") or response.get("code")
    text = response.get("message") or response.get("Message")
    message = text if isinstance(text, str) else ""
    if secret:
        message = message.replace(secret, "…")
    if isinstance(name, str):
        code = name.rpartition("#")[2]
        kind = BY_CODE.get(code) or (ServerFault if status >= 500 else DynamoDBError)
    else:
        code = f"HTTP {status}"
        kind = ServerFault if status >= 500 else NotDynamoDB  # a load balancer of AWS's responds with 503 and no JSON
    if kind is AccessDenied and message.startswith(_SKEW_WORDS):
        kind = ClockSkewed
    error = kind.from_response(code, message, response)
    error.request_id = request_id
    return error


def _is_map(item: object) -> bool:
    """Return whether this is the map of an item's attributes, or `None`."""
    return item is None or (type(item) is dict and all(type(value) is dict for value in item.values()))


def _not_dynamodb(code: str) -> NotDynamoDB:
    return NotDynamoDB(f"the response with the error {code} does not have the form of one of DynamoDB's")
