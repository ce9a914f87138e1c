"""Retries: which errors are retried, after which wait, and the quota."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aws_backend.dynamodb.errors import (
    AccessDenied,
    ConditionFailed,
    DynamoDBError,
    InvalidRequest,
    ServerFault,
    TableNotFound,
    Throttled,
    TokenReused,
    TransactionCanceled,
    TransactionConflict,
    TransactionInProgress,
)
from aws_backend.dynamodb.retry import (
    MAX_WAIT_SECONDS,
    QUOTA,
    RULES,
    RetryQuota,
    Rule,
    may_have_been_carried_out,
    rule_for,
    wait_before,
)
from sltt_core.base.errors import SlttError
from sltt_core.http_client.transport import BadResponse, ConnectFailed, OutcomeUnknown


@pytest.mark.parametrize(
    "kind",
    [DynamoDBError, ConditionFailed, TransactionCanceled, TokenReused, InvalidRequest, TableNotFound, AccessDenied],
)
def test_an_error_that_would_recur_is_not_retried(kind: type[SlttError]) -> None:
    assert rule_for(kind("x")) is None
    assert not may_have_been_carried_out(kind("x"))


@pytest.mark.parametrize("kind", [Throttled, TransactionConflict, ConnectFailed])
def test_a_request_that_was_not_carried_out_is_always_retried(kind: type[SlttError]) -> None:
    rule = rule_for(kind("x"))
    assert rule is not None
    assert not rule.maybe_carried_out


@pytest.mark.parametrize("kind", [ServerFault, OutcomeUnknown, BadResponse])
def test_errors_after_which_the_outcome_is_unknown_are_known(kind: type[SlttError]) -> None:
    assert may_have_been_carried_out(kind("x"))


def test_a_transaction_in_progress_is_retried_only_if_repeatable() -> None:
    rule = rule_for(TransactionInProgress("x"))
    assert rule is not None
    assert rule.maybe_carried_out


def test_every_rule_is_for_a_retryable_error() -> None:
    for kind in RULES:
        assert kind.retryable


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True), st.sampled_from(list(RULES.values())))
def test_a_wait_is_between_zero_and_a_limit_that_doubles(attempt: int, random: float, rule: Rule) -> None:
    seconds = wait_before(attempt, rule, random)
    limit = min(MAX_WAIT_SECONDS, rule.base_seconds * 2 ** (attempt - 1))
    assert 0 <= seconds < limit or seconds == limit == 0
    assert wait_before(attempt, rule, 0.0) == 0


def test_the_quota_is_used_up_and_refunded() -> None:
    quota = RetryQuota()
    taken = 0
    while quota.take(5):
        taken += 5
    assert taken == QUOTA
    assert not quota.take(1)
    quota.refund(5)
    assert quota.take(5)
    for _ in range(2 * QUOTA):
        quota.refund(1)
    assert quota.left == QUOTA


def test_threads_can_share_a_quota() -> None:
    quota = RetryQuota(1000)
    with ThreadPoolExecutor(8) as threads:
        took = sum(threads.map(lambda _: quota.take(1), range(2000)))
    assert (took, quota.left) == (1000, 0)
