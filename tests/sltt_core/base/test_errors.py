from __future__ import annotations

import re

import pytest

from sltt_core.base import errors
from sltt_core.base.errors import (
    InvalidBatch,
    InvalidInput,
    MethodNotAllowed,
    NotFound,
    PartialAppend,
    PayloadTooLarge,
    Problem,
    SlttError,
    StorageBusy,
)

CLASSES = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, SlttError)
}


def tree_of_the_docstring() -> dict[str, tuple[str | None, int, bool]]:
    """Return each class of the module's docstring with its parent, its status and whether it is retryable."""
    found: dict[str, tuple[str | None, int, bool]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"( {4,})([A-Z]\w+) +(\d{3})(?: +(yes))?|( {4})(SlttError) +status", line)
        if match is None:
            continue
        indent, name = len(match[1] or match[5]), match[2] or match[6]
        above = [(i, n) for i, n in above if i < indent]
        found[name] = (above[-1][1] if above else None, int(match[3] or 500), match[4] == "yes")
        above.append((indent, name))
    return found


def test_the_tree_in_the_docstring_matches_the_classes() -> None:
    truth = {
        name: (None if kind is SlttError else kind.__mro__[1].__name__, kind.status, kind.retryable)
        for name, kind in CLASSES.items()
    }
    assert tree_of_the_docstring() == truth
    assert len(truth) > 10


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_every_class_has_a_status_a_kind_and_a_title(kind: type[SlttError]) -> None:
    assert 400 <= kind.status <= 599
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.kind)
    assert kind.title
    assert kind.retryable == (kind.retry_after is not None) == (kind.status in (429, 503))
    assert not kind.retryable or kind.hint


def test_kinds_and_titles_are_unique() -> None:
    for names in ([kind.kind for kind in CLASSES.values()], [kind.title for kind in CLASSES.values()]):
        assert len(set(names)) == len(names)


def test_kinds_and_statuses_do_not_change() -> None:
    """Clients read the kinds in the `type` of problem documents, so that they must not be renamed."""
    assert {kind.kind: kind.status for kind in CLASSES.values()} == {
        "internal": 500,
        "invalid-input": 400,
        "invalid-batch": 400,
        "payload-too-large": 413,
        "unsupported-media-type": 415,
        "not-found": 404,
        "method-not-allowed": 405,
        "unauthenticated": 401,
        "not-allowed": 403,
        "access-revoked": 403,
        "reserved-type": 403,
        "last-owner": 409,
        "project-exists": 409,
        "credential-exists": 409,
        "headers-too-large": 431,
        "request-timeout": 408,
        "issuer-unavailable": 503,
        "host-not-allowed": 421,
        "unknown-coding": 501,
        "chain-mismatch": 409,
        "head-moved": 412,
        "key-reused": 422,
        "storage": 500,
        "log-damaged": 500,
        "not-a-log": 500,
        "storage-busy": 503,
        "server-busy": 503,
        "too-many-writers": 429,
        "storage-throttled": 429,
        "storage-unavailable": 503,
        "partial-append": 503,
    }
    assert {kind.retry_after for kind in CLASSES.values() if kind.retryable} == {1, 5}


def test_an_error_has_its_message_and_its_own_hint_or_that_of_its_class() -> None:
    assert (str(NotFound("not found")), NotFound("not found").message) == ("not found",) * 2
    assert StorageBusy("x").hint == StorageBusy.hint != ""
    assert StorageBusy("x", hint="wait").hint == "wait"
    assert StorageBusy("x", hint="").hint == ""


def test_invalid_input_names_the_field() -> None:
    assert InvalidInput("x").field is None
    assert InvalidInput("x", field="limit").field == "limit"
    assert PayloadTooLarge("x", field="body").field == "body"


def test_method_not_allowed_lists_the_allowed_methods() -> None:
    error = MethodNotAllowed("PUT", ["GET", "HEAD"])
    assert error.allow == ("GET", "HEAD")
    assert "PUT" in error.message
    assert "GET, HEAD" in error.hint


SMALL = Problem(3, "changes[3].entityId", "is empty")
LARGE = Problem(1, "changes[1].data", "is too much", too_large=True)


@pytest.mark.parametrize(
    ("problems", "message", "first", "status"),
    [
        ([SMALL], "changes[3].entityId: is empty", 3, 400),
        ([LARGE], "changes[1].data: is too much", 1, 413),
        ([LARGE, LARGE.replace(index=2)], "changes[1].data: is too much (and 1 more)", 1, 413),
        ([SMALL, LARGE], "changes[3].entityId: is empty (and 1 more)", 1, 400),
        ([LARGE, SMALL, SMALL], "changes[1].data: is too much (and 2 more)", 1, 400),
        ([Problem(None, "changes", "is empty")], "changes: is empty", None, 400),
        ([Problem(None, "body", "is truncated"), SMALL], "body: is truncated (and 1 more)", 3, 400),
        ([Problem(0, "changes[0]", "is not an object"), SMALL], "changes[0]: is not an object (and 1 more)", 0, 400),
    ],
)
def test_an_invalid_batch_reports_the_first_problem_and_is_413_only_for_sizes(
    problems: list[Problem], message: str, first: int | None, status: int
) -> None:
    error = InvalidBatch(problems)
    assert (str(error), error.failed_at_index, error.status) == (message, first, status)
    assert error.problems == tuple(problems)
    assert error.field == problems[0].field
    assert InvalidBatch.status == 400  # the class is unchanged


@pytest.mark.parametrize(
    ("seqs", "first", "stored"),
    [([None], 0, 0), ([1, None], 1, 1), ([1, None, 2], 1, 2), ([7, 8, None, None], 2, 2)],
)
def test_a_partial_append_reports_the_stored_changes_and_the_cause(
    seqs: list[int | None], first: int, stored: int
) -> None:
    cause = StorageBusy("another process writes")
    error = PartialAppend(seqs, cause)
    assert (error.seqs, error.failed_at_index, error.cause) == (tuple(seqs), first, cause)
    assert error.message == f"stored {stored} of {len(seqs)} changes, then: another process writes"


NAMES = {"entity_id": "entityId", "project_id": "projectId", "key": "Key"}


def test_a_field_is_called_by_another_name() -> None:
    error = InvalidInput("key is empty", field="key", hint="Fill it.")
    error.rename(NAMES)
    assert (error.field, error.message, str(error), error.hint) == ("Key", "Key is empty", "Key is empty", "Fill it.")
    for other in (InvalidInput("key is empty"), InvalidInput("x", field="limit"), NotFound("key is empty")):
        before = str(other)
        other.rename(NAMES)
        assert str(other) == before


@pytest.mark.parametrize(
    ("path", "renamed"),
    [
        ("changes[3].entity_id", "changes[3].entityId"),
        ("changes[3].data.entity_id", "changes[3].data.entity_id"),
        ("changes[3].data[0].entity_id", "changes[3].data[0].entity_id"),
        ("changes[3].entity_id[0].entity_id", "changes[3].entityId[0].entity_id"),
        ("changes[3].cid", "changes[3].cid"),
        ("changes[3]", "changes[3]"),
        ("changes", "changes"),
    ],
)
def test_the_fields_of_a_batch_are_called_by_other_names(path: str, renamed: str) -> None:
    error = InvalidBatch([Problem(3, path, "is wrong", too_large=True), SMALL])
    partial = PartialAppend([1, None], error)
    partial.rename(NAMES)
    assert error.problems == (Problem(3, renamed, "is wrong", too_large=True), SMALL)
    assert (error.field, error.status, error.failed_at_index) == (renamed, 400, 3)
    assert str(error) == error.message == f"{renamed}: is wrong (and 1 more)"
    assert str(partial) == partial.message == f"stored 1 of 2 changes, then: {error.message}"
