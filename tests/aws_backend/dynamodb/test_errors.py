"""DynamoDB's errors: from the response to the class."""

from __future__ import annotations

import json

import pytest

from aws_backend.dynamodb.errors import (
    BY_CODE,
    AccessDenied,
    ClockSkewed,
    ConditionFailed,
    DynamoDBError,
    NotDynamoDB,
    ServerFault,
    Throttled,
    TransactionCanceled,
    error_from_response,
)

PREFIX = "com.amazonaws.dynamodb.v20120810#"


def wire(code: str, message: str = "because", **more: object) -> bytes:
    return json.dumps({"__type": PREFIX + code, "message": message, **more}).encode()


@pytest.mark.parametrize("code", BY_CODE)
def test_each_error_code_has_its_class(code: str) -> None:
    error = error_from_response(400, wire(code), "id-1")
    assert type(error) is BY_CODE[code]
    assert error.code == code
    assert error.message == f"{code}: because"
    assert error.request_id == "id-1"


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, wire("BrandNewException"), DynamoDBError),
        (500, wire("BrandNewException"), ServerFault),
        (503, b"", ServerFault),
        (502, b"<html>Bad Gateway</html>", ServerFault),
        (413, b"\xff\xfe", NotDynamoDB),
        (400, b"[]", NotDynamoDB),
        (400, b'{"__type":null,"message":null}', NotDynamoDB),
        (400, b'{"__type":"com.amazon.coral.service#ThrottlingException","Message":"slow down"}', Throttled),
        (400, wire("InvalidSignatureException", "Signature expired: 20250101T000000Z is now earlier"), ClockSkewed),
        (400, wire("InvalidSignatureException", "Signature not yet current: 2025"), ClockSkewed),
        (400, wire("InvalidSignatureException", "The request signature we calculated does not match"), AccessDenied),
    ],
)
def test_any_error_response_becomes_an_error(status: int, body: bytes, kind: type[DynamoDBError]) -> None:
    assert type(error_from_response(status, body)) is kind


def test_a_failed_condition_has_the_item() -> None:
    error = error_from_response(400, wire("ConditionalCheckFailedException", Item={"value": {"N": "7"}}))
    assert isinstance(error, ConditionFailed)
    assert error.item == {"value": {"N": "7"}}
    error = error_from_response(400, wire("ConditionalCheckFailedException"))
    assert isinstance(error, ConditionFailed)
    assert error.item is None


def test_a_canceled_transaction_has_a_reason_for_each_action() -> None:
    reasons = [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Message": "no", "Item": {"a": {"S": "b"}}}]
    error = error_from_response(400, wire("TransactionCanceledException", CancellationReasons=reasons))
    assert isinstance(error, TransactionCanceled)
    assert error.reasons == tuple(reasons)


def test_retryable_errors_have_a_retry_time() -> None:
    kinds: set[type[DynamoDBError]] = {DynamoDBError, *BY_CODE.values()}
    for kind in kinds:
        assert kind.retryable == (kind.retry_after is not None)
        assert 400 <= kind.status <= 503
