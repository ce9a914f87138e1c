from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sltt_core.api.access import READ
from sltt_core.api.app import Api
from sltt_core.api.http import Request, Response
from sltt_core.base.errors import InvalidInput, LogDamaged, NotAllowed, StorageBusy, StorageError
from sltt_core.log.pages import ChangeStats, Head
from sltt_core.sqlite.storage import LocalStorageService
from tests.sltt_core.api.client import KEY, RUNTIME, Asks, Question, api_on, body_from, get, post
from tests.sltt_core.api.test_problems import MEMBERS
from tests.sltt_core.samples import NOW, wire_change

Storage = LocalStorageService
Call = Callable[[Api], Response]

CALLS: dict[str, tuple[Call, tuple[str, str | None]]] = {
    "projects": (lambda api: get(api, "/api/projects", principal="anna"), ("list", None)),
    "changes": (lambda api: get(api, "/api/projects/ruth/changes", principal="anna"), ("read", "ruth")),
    "filtered": (
        lambda api: get(api, "/api/projects/ruth/changes?entityType=note&wait=5", principal="anna"),
        ("read", "ruth"),
    ),
    "change": (lambda api: get(api, "/api/projects/ruth/changes/1", principal="anna"), ("read", "ruth")),
    "stats": (lambda api: get(api, "/api/projects/ruth/stats", principal="anna"), ("read", "ruth")),
    "head": (lambda api: get(api, "/api/projects/ruth/changes", "HEAD", principal="anna"), ("read", "ruth")),
    "append": (lambda api: post(api, [wire_change()], principal="anna"), ("append", "ruth")),
    "mark": (
        lambda api: post(api, {"outdatedBy": 2}, "/api/projects/ruth/changes/1/outdated", principal="anna"),
        ("mark", "ruth"),
    ),
    "replay": (lambda api: post(api, [wire_change()], principal="anna", idempotency_key=KEY), ("append", "ruth")),
}
calls = pytest.mark.parametrize(("call", "asked"), CALLS.values(), ids=CALLS)


def say_no(principal: str | None, action: str, project: str | None) -> None:
    raise NotAllowed(f"{principal} may not {action} {project}")


refuse = Asks(say_no)


@pytest.fixture
def unopened(tmp_path: Path) -> LocalStorageService:
    """A storage that is not open, so that every access fails."""
    return LocalStorageService(tmp_path / "log.db")


# Who may.


@calls
def test_a_refused_request_is_a_403_before_the_storage_is_accessed(
    unopened: Storage, call: Call, asked: tuple[str, str | None]
) -> None:
    problem = body_from(call(api_on(unopened, access=refuse)), 403)
    assert problem["type"] == "urn:sltt:problem:not-allowed"
    assert problem["detail"] == f"anna may not {asked[0]} {asked[1]}"
    assert not unopened.path.exists()
    # Touched, it would have said so:
    assert body_from(call(api_on(unopened)), 500)["detail"] == "the storage is not open"


@calls
def test_each_request_is_authorized_with_its_action(
    storage: Storage, call: Call, asked: tuple[str, str | None]
) -> None:
    questions: list[Question] = []
    post(api_on(storage), [wire_change()], principal="anna", idempotency_key=KEY)
    post(api_on(storage), [wire_change()], principal="anna")
    body_from(call(api_on(storage, access=Asks(lambda *question: questions.append(question)))), 200)
    # A read is authorized again when it is done: see `test_a_reader_who_is_removed_during_a_read_gets_nothing`.
    assert questions == [("anna", *asked)] * (2 if asked[0] == READ else 1)


def test_a_batch_is_not_appended_if_one_project_is_refused(storage: Storage) -> None:
    questions: list[str | None] = []

    def not_esther(principal: str | None, action: str, project: str | None) -> None:
        questions.append(project)
        if project == "esther":
            raise NotAllowed("not esther")

    batch = [wire_change(projectId=name) for name in ("ruth", "boaz", "ruth", "esther", "naomi")]
    body_from(post(api_on(storage, access=Asks(not_esther)), batch), 403)
    assert questions == ["ruth", "boaz", "esther"]
    assert storage.get_all_projects().projects == ()


def test_an_implied_project_is_authorized_by_its_id(tmp_path: Path) -> None:
    bound = LocalStorageService(tmp_path / "log.db", "ruth")
    problem = body_from(post(api_on(bound, access=refuse), [wire_change(projectId=...)], principal="anna"), 403)
    assert problem["detail"] == "anna may not append ruth"


def test_routes_without_a_project_are_always_allowed(unopened: Storage) -> None:
    for target in ("/health", "/api/help", "/openapi.json"):
        body_from(get(api_on(unopened, access=refuse), target))


@calls
def test_by_default_every_action_is_allowed(storage: Storage, call: Call, asked: tuple[str, str | None]) -> None:
    post(api_on(storage), [wire_change()], principal="anna", idempotency_key=KEY)
    post(api_on(storage), [wire_change()], principal="anna")
    body_from(call(api_on(storage)))


# What goes wrong.


def fail(*_: object) -> None:
    raise RuntimeError("password=hunter2 in /home/anna/log.db")


@pytest.fixture
def broken(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A storage that fails with an unexpected error."""
    for name in ("_append", "_get", "_run", "_head", "_projects", "_stats", "_mark"):
        monkeypatch.setattr(storage, name, fail)
    return storage


@calls
def test_an_unexpected_error_is_reported_and_becomes_a_bare_500(
    broken: Storage, call: Call, asked: tuple[str, str | None]
) -> None:
    reported: list[BaseException] = []
    response = call(api_on(broken, report=reported.append))
    problem = body_from(response, 500)
    assert problem.keys() == MEMBERS
    assert problem["type"] == "urn:sltt:problem:internal"
    assert not any(secret in response.body for secret in (b"hunter2", b"anna", b"RuntimeError", b"Traceback", b".py"))
    [error] = reported
    assert isinstance(error, RuntimeError)
    assert error.__traceback__ is not None


def test_without_a_report_function_the_response_is_the_same(broken: Storage) -> None:
    body_from(get(api_on(broken), "/api/projects"), 500)


def test_an_error_in_authorize_refuses_the_request(unopened: Storage) -> None:
    def broken(principal: str | None, action: str, project: str | None) -> None:
        raise KeyError(project)

    reported: list[BaseException] = []
    body_from(get(api_on(unopened, access=Asks(broken), report=reported.append), "/api/projects/ruth/stats"), 500)
    assert len(reported) == 1


def test_an_expected_error_is_not_reported(storage: Storage) -> None:
    reported: list[BaseException] = []
    api = api_on(storage, report=reported.append)
    for target, status in [
        ("/", 404),
        ("/api/projects/a%2Fb/stats", 400),
        ("/api/projects/%ED%A0%80/stats", 400),
        ("/api/projects/\ud800/stats", 400),
        ("/api/projects/ruth/changes/1", 404),
        ("/api/projects/ruth/changes?limit=0", 400),
        ("/api/projects/ruth/changes?\ud800", 400),
        ("/api/changes", 405),
    ]:
        body_from(get(api, target), status)
    assert reported == []


def test_a_response_does_not_contain_the_path_of_the_log(storage: Storage) -> None:
    import sqlite3

    other = sqlite3.connect(storage.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    impatient = LocalStorageService(storage.path, busy_seconds=0.0)
    with impatient:
        response = post(api_on(impatient), [wire_change()])
    other.execute("ROLLBACK")
    other.close()
    assert body_from(response, 503)["type"] == f"urn:sltt:problem:{StorageBusy.kind}"
    assert response.header("retry-after") == "1"
    assert str(storage.path.parent).encode() not in response.body


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", "/api/projects/ruth/changes/1", "GET, HEAD, OPTIONS"),
        ("GET", "/api/changes", "OPTIONS, POST"),
        ("HEAD", "/api/changes", "OPTIONS, POST"),
        ("get", "/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_an_unsupported_method_gets_the_supported_ones(storage: Storage, method: str, path: str, allow: str) -> None:
    response = api_on(storage).handle(Request(method, path))
    assert (response.status, response.header("allow")) == (405, allow)


def test_options_lists_the_methods(storage: Storage) -> None:
    response = api_on(storage).handle(Request("OPTIONS", "/api/changes"))
    assert (response.status, response.header("allow"), response.body) == (204, "OPTIONS, POST", b"")
    assert api_on(storage).handle(Request("OPTIONS", "/nothing")).status == 404


def test_a_server_can_create_a_problem_response_itself(unopened: Storage) -> None:
    response = api_on(unopened).problem(InvalidInput("no such header", field="host"), Request("GET", "/"))
    problem = body_from(response, 400)
    assert (problem["timestamp"], problem["server"], problem["field"]) == (NOW, "here", "host")


# What every answer has.


@pytest.mark.parametrize("target", ["/health", "/api/projects/ruth/changes", "/nothing", "/api/projects/a%2Fb/stats"])
@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, "made-here"),
        ("a", "a"),
        ("A-z_0.9" * 9, "A-z_0.9" * 9),
        ("x" * 64, "x" * 64),
        ("x" * 65, "made-here"),
        ("", "made-here"),
        ("a b", "made-here"),
        ("a, b", "made-here"),
        ("a\r\nset-cookie: b", "made-here"),
        ("é", "made-here"),
        ("\uff41", "made-here"),
    ],
)
def test_a_request_keeps_its_id_or_gets_a_new_one(storage: Storage, target: str, given: str | None, sent: str) -> None:
    headers = {} if given is None else {"x_request_id": given}
    response = get(api_on(storage), target, **headers)
    assert response.header("x-request-id") == sent
    if response.status >= 400:
        assert json.loads(response.content)["requestId"] == sent


def test_generated_request_ids_are_unique(storage: Storage) -> None:
    api = Api(storage)
    made = {get(api, "/health").header("x-request-id") for _ in range(10)}
    assert len(made) == 10


@pytest.mark.parametrize(
    ("target", "cache"),
    [
        ("/health", "no-store"),
        ("/nothing", "no-store"),
        ("/api/projects/ruth/changes", "no-cache"),
        ("/api/projects/ruth/stats", "no-cache"),
        ("/api/projects/ruth/changes?limit=0", "no-store"),
        ("/api/help", "public, max-age=300"),
    ],
)
def test_a_response_has_cache_control(storage: Storage, target: str, cache: str) -> None:
    assert get(api_on(storage), target).header("cache-control") == cache


@pytest.mark.parametrize("target", ["/api/projects", "/api/projects/ruth/changes", "/api/projects/ruth/stats"])
def test_a_client_with_the_current_response_gets_a_304(storage: Storage, target: str) -> None:
    api = api_on(storage)
    post(api, [wire_change()])
    tag = str(get(api, target).header("etag"))
    for known in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
        response = get(api, target, if_none_match=known)
        assert (response.status, response.body, response.header("etag")) == (304, b"", tag)
    assert get(api, target, if_none_match='"x"').status == 200
    later = api_on(storage, runtime=RUNTIME.replace(clock=lambda: 0))
    assert get(later, target, if_none_match=tag).status == 304  # the time of the answer does not count
    post(api, [wire_change(projectId="esther"), wire_change()])
    assert get(api, target, if_none_match=tag).status == 200


@pytest.mark.parametrize(
    ("error", "told"),
    [(LogDamaged("a hole"), True), (StorageError("the disk is full"), True), (StorageBusy("not now"), False)],
)
def test_errors_that_need_an_operator_are_reported(
    storage: LocalStorageService, error: StorageError, told: bool
) -> None:
    def fail(project_id: str) -> tuple[ChangeStats, dict[str, int], Head]:
        raise error

    storage._stats = fail  # type: ignore[method-assign]
    reports: list[BaseException] = []
    Api(storage, report=reports.append).handle(Request("GET", "/api/projects/p/stats"))
    assert reports == ([error] if told else [])
