"""Extends `sltt_core` for AWS: change logs in DynamoDB, and the REST API as a Lambda function.

Import all public names from here: `from aws_backend import DynamoDBStorageService`. A name is loaded when it is first
used (PEP 562), so importing the package costs little.
"""

from __future__ import annotations

from sltt_core import _lazy

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
"""The public names, by the modules that define them."""

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

__getattr__, __dir__ = _lazy(__name__, _ROOMS)
