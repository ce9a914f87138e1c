from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sltt_core.api.http import Response
from sltt_core.api.problems import described, problem_response
from sltt_core.base.errors import (
    ChainMismatch,
    CredentialExists,
    HeadMoved,
    InvalidBatch,
    InvalidInput,
    KeyReused,
    LogDamaged,
    MethodNotAllowed,
    NotFound,
    PartialAppend,
    Problem,
    SlttError,
    StorageBusy,
    StorageError,
    StorageUnavailable,
)
from tests.sltt_core.base.test_errors import CLASSES
from tests.sltt_core.samples import NOW

STORAGE_ERRORS = [kind for kind in CLASSES.values() if issubclass(kind, StorageError) and kind is not PartialAppend]
MEMBERS = {"type", "title", "status", "detail", "error", "timestamp", "server", "requestId"}


def answer_to(error: SlttError) -> tuple[Response, dict[str, Any]]:
    response = problem_response(error, server="here", timestamp=NOW, request_id="r-1")
    problem = json.loads(response.content)
    assert isinstance(problem, dict)
    return response, problem


def make(kind: type[SlttError]) -> SlttError:
    """An error of any class; a new class with arguments of its own must be added."""
    if kind is InvalidBatch:
        return InvalidBatch([Problem(2, "changes[2].cid", "is empty")])
    if kind is MethodNotAllowed:
        return MethodNotAllowed("PUT", ["GET", "HEAD"])
    if kind is CredentialExists:
        return CredentialExists("device token", "A" * 16)
    if kind is HeadMoved:
        return HeadMoved("the log ends at 41", 41, "A" * 22)
    if kind is PartialAppend:
        return PartialAppend([1, None], StorageBusy("not now"))
    return kind("the message")


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_every_error_becomes_a_problem_document(kind: type[SlttError]) -> None:
    error = make(kind)
    response, problem = answer_to(error)
    assert response.header("content-type") == "application/problem+json"
    assert response.status == problem["status"] == error.status
    assert problem.keys() >= MEMBERS
    assert problem["type"] == f"urn:sltt:problem:{kind.kind}"
    assert problem["title"] == kind.title
    assert problem["detail"] == problem["error"] == error.message
    assert (problem["timestamp"], problem["server"], problem["requestId"]) == (NOW, "here", "r-1")
    assert problem.get("hint", "") == error.hint.replace("idempotency_key", "Idempotency-Key")
    assert problem.get("retryable", False) == error.retryable
    assert response.header("retry-after") == (str(error.retry_after) if error.retryable else None)
    assert (response.header("allow") is not None) == (kind is MethodNotAllowed)


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (SlttError("x"), {}),
        (NotFound("x"), {}),
        (InvalidInput("x"), {}),
        (InvalidInput("x", field="limit"), {"field": "limit"}),
        (InvalidInput("x", field="limit", hint="Less."), {"field": "limit", "hint": "Less."}),
        (
            InvalidBatch([Problem(2, "changes[2].cid", "is empty"), Problem(1, "changes[1]", "is wrong")]),
            {
                "failedAtIndex": 1,
                "errors": [
                    {"index": 2, "field": "changes[2].cid", "reason": "is empty"},
                    {"index": 1, "field": "changes[1]", "reason": "is wrong"},
                ],
            },
        ),
        (
            InvalidBatch([Problem(None, "body", "is empty")]),
            {"failedAtIndex": None, "errors": [{"index": None, "field": "body", "reason": "is empty"}]},
        ),
        (ChainMismatch("x"), {"hint": ChainMismatch.hint}),
    ],
)
def test_a_problem_document_has_the_attributes_of_its_error(error: SlttError, more: dict[str, Any]) -> None:
    _, problem = answer_to(error)
    assert {name: value for name, value in problem.items() if name not in MEMBERS} == more


def test_a_batch_that_is_only_too_large_is_a_413() -> None:
    response, problem = answer_to(InvalidBatch([Problem(0, "changes[0].data", "is too much", too_large=True)]))
    assert response.status == problem["status"] == 413


def test_the_methods_that_are_allowed_are_listed() -> None:
    response, _ = answer_to(MethodNotAllowed("PUT", ["GET", "HEAD"]))
    assert response.header("allow") == "GET, HEAD"


def test_the_problem_of_a_partial_append_lists_the_stored_changes() -> None:
    response, problem = answer_to(PartialAppend([5, None, 6, 7], StorageBusy("not now")))
    assert (response.status, response.header("retry-after")) == (503, "1")
    assert problem["failedAtIndex"] == 1
    assert problem["created"] == 3
    assert problem["createdSeqs"] == [5, None, 6, 7]
    assert problem["retryable"] is True
    assert problem["hint"] == PartialAppend.hint.replace("idempotency_key", "Idempotency-Key")
    assert problem["detail"] == "stored 3 of 4 changes, then: not now"


@pytest.mark.parametrize(
    "cause",
    [
        KeyReused("another batch"),
        LogDamaged("a hole"),
        StorageError("the disk is full", hint="Free some space in /var/log."),
        InvalidBatch([Problem(1, "changes[1].entityType", "is one too many")]),
    ],
)
def test_a_permanent_cause_of_a_partial_append_gives_the_hint(cause: SlttError) -> None:
    response, problem = answer_to(PartialAppend([5, None], cause))
    assert response.status == problem["status"] == cause.status
    assert response.header("retry-after") is None
    assert "retryable" not in problem
    assert problem.get("hint", "") == cause.public_hint
    # The stored changes are still reported.
    assert problem["type"] == "urn:sltt:problem:partial-append"
    assert (problem["created"], problem["createdSeqs"], problem["failedAtIndex"]) == (1, [5, None], 1)


@pytest.mark.parametrize("kind", STORAGE_ERRORS)
def test_the_hint_for_the_operator_stays_in_the_log(kind: type[StorageError]) -> None:
    error = kind("it failed", hint="Set DYNAMODB_REGION, or use --storage sqlite:/var/team.db.")
    _, problem = answer_to(error)
    assert problem.get("hint", "") == kind.hint.replace("idempotency_key", "Idempotency-Key")
    assert described(error)["hint"] == error.hint
    _, problem = answer_to(PartialAppend([1, None], error))
    assert "DYNAMODB_REGION" not in json.dumps(problem)


def test_no_class_has_a_hint_that_only_an_operator_understands() -> None:
    for kind in CLASSES.values():
        assert not re.search(r"--|[A-Z]+_[A-Z]+|/\w+/|restart", kind.hint), kind


@pytest.mark.parametrize("message", ['say "no"', "a\\b", "a\nb", "</script>", "é😀\u2028", "half \ud800"])
def test_a_response_is_json_for_any_message(message: str) -> None:
    response, problem = answer_to(NotFound(message))
    assert problem["detail"] == message.replace("\ud800", "?")
    assert b"\n" not in response.body


def test_a_response_has_no_stack_trace_and_no_cause() -> None:
    try:
        try:
            raise RuntimeError("password=hunter2")
        except RuntimeError as secret:
            raise StorageError("the disk failed") from secret
    except StorageError as error:
        response, _ = answer_to(error)
    assert not re.search(rb"hunter2|Traceback|RuntimeError|\.py", response.content)


@pytest.mark.parametrize(
    "error", [StorageBusy("x"), StorageUnavailable("x"), PartialAppend([1, None], StorageBusy("x"))]
)
def test_a_hint_names_the_header_for_the_parameter(error: SlttError) -> None:
    assert "the same idempotency_key" in error.hint
    hint = answer_to(error)[1]["hint"]
    assert "the same Idempotency-Key" in hint
    assert "idempotency_key" not in hint
