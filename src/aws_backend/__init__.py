"""Everything AWS: the change log in DynamoDB, and the REST API as a Lambda function. Builds on `sltt_core`.

Everything public is imported from here: `from aws_backend import DynamoDBStorageService`. A name is loaded when it is
first used (PEP 562), so importing the package costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aws_backend.dynamodb.client import DynamoDBClient
    from aws_backend.dynamodb.credentials import (
        CredentialChain,
        CredentialError,
        default_chain,
        region_from_environment,
    )
    from aws_backend.dynamodb.errors import (
        AccessDenied,
        ClockSkewed,
        ConditionFailed,
        CredentialsExpired,
        DynamoDBError,
        InvalidRequest,
        NotDynamoDB,
        ServerFault,
        TableInUse,
        TableNotFound,
        Throttled,
        TokenReused,
        TransactionCanceled,
        TransactionConflict,
        TransactionInProgress,
    )
    from aws_backend.dynamodb.sigv4 import Credentials
    from aws_backend.function.function import Function
    from aws_backend.function.gateway import (
        Gateway,
        UnknownEvent,
    )
    from aws_backend.function.settings import function_of
    from aws_backend.rest_api_server import AwsRestApiServer
    from aws_backend.settings import storage_from_environment
    from aws_backend.storage import DynamoDBStorageService

_ROOMS = {
    "dynamodb.client": "DynamoDBClient",
    "dynamodb.credentials": "CredentialChain CredentialError default_chain region_from_environment",
    "dynamodb.errors": "AccessDenied ClockSkewed ConditionFailed CredentialsExpired DynamoDBError "
    "InvalidRequest NotDynamoDB ServerFault TableInUse TableNotFound Throttled "
    "TokenReused TransactionCanceled TransactionConflict TransactionInProgress",
    "dynamodb.sigv4": "Credentials",
    "function.function": "Function",
    "function.gateway": "Gateway UnknownEvent",
    "function.settings": "function_of",
    "rest_api_server": "AwsRestApiServer",
    "settings": "storage_from_environment",
    "storage": "DynamoDBStorageService",
}
"""Where each public name is defined."""

__all__ = [
    "AccessDenied",
    "AwsRestApiServer",
    "ClockSkewed",
    "ConditionFailed",
    "CredentialChain",
    "CredentialError",
    "Credentials",
    "CredentialsExpired",
    "DynamoDBClient",
    "DynamoDBError",
    "DynamoDBStorageService",
    "Function",
    "Gateway",
    "InvalidRequest",
    "NotDynamoDB",
    "ServerFault",
    "TableInUse",
    "TableNotFound",
    "Throttled",
    "TokenReused",
    "TransactionCanceled",
    "TransactionConflict",
    "TransactionInProgress",
    "UnknownEvent",
    "default_chain",
    "function_of",
    "region_from_environment",
    "storage_from_environment",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module, on first use."""
    for room, names in _ROOMS.items():
        if name in names.split():
            module = __import__(f"{__name__}.{room}", fromlist=[name])
            value: object = getattr(module, name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
