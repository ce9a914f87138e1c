"""Roles: what hides a project, who creates one, and what is remembered. The matrix of roles is in `tests/http`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.api.access import Principal
from sltt_core.api.http import Request, Response
from sltt_core.api.roles import (
    ADMINS,
    MAX_REMEMBERED,
    REFUSED_SECONDS,
    REMEMBERED_SECONDS,
    RoleAccess,
    access_from_environment,
)
from sltt_core.api.routes import ROUTES, Route
from sltt_core.base.errors import (
    AccessRevoked,
    InvalidInput,
    NotAllowed,
    NotFound,
    StorageUnavailable,
    Unauthenticated,
)
from sltt_core.model.grants import MEMBER, Member, Members
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import new
from tests.http.role_matrix import DEVICE, EXPECTED, PROJECTS, REVOKED, ROLES, Cell, prepare
from tests.sltt_core.api.client import RUNTIME, api_on, body_from, get, post
from tests.sltt_core.samples import wire_change

if TYPE_CHECKING:
    from sltt_core.api.app import Api
    from sltt_core.base.errors import SlttError
    from sltt_core.log.pages import ProjectsPage


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(storage: LocalStorageService, clock: Clock) -> RoleAccess:
    """The members of the matrix."""
    prepare(storage)
    return RoleAccess(storage, admins=["admin"], runtime=RUNTIME.replace(steady_clock=clock))


@pytest.fixture
def api(storage: LocalStorageService, access: RoleAccess) -> Api:
    return api_on(storage, access=access)


def send(api: Api, route: Route, project: str, role: str) -> Response:
    cell = Cell(route, route.method, project, role, 200)
    body = cell.body(project)
    headers = {} if body is None else {"content-type": "application/json"}
    path, _, query = cell.target(project).partition("?")
    return api.handle(Request(route.method, path, query, headers, body or b"", Principal(role)))


@pytest.mark.parametrize("role", ROLES[1:7])
def test_the_heads_of_projects_that_a_role_may_not_read_are_refused(api: Api, role: str) -> None:
    query = "&".join(f"at={project}:0" for project in PROJECTS)
    found = json.loads(api.handle(Request("GET", "/api/heads", query, {}, b"", Principal(role))).content)
    readable = {"stranger": [], "former": [], "admin": ["own", "foreign"]}.get(role, ["own"])
    assert list(found["heads"]) == readable
    unknown = [] if role == "admin" else [project for project in PROJECTS if project not in readable]
    assert (found["refused"], found["diverged"]) == (unknown, [])


CREDENTIALS = ("_credential", "_credentials", "_replace_credential", "_change_credential")


@pytest.mark.parametrize("role", ["stranger", "viewer"])
@pytest.mark.parametrize("route", [route for route in ROUTES if route.handler in EXPECTED], ids=lambda r: r.handler)
def test_a_foreign_project_looks_like_an_absent_one(
    api: Api, storage: LocalStorageService, access: RoleAccess, route: Route, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes, and the same reads."""
    if route.handler == "post_changes":  # who may create projects learns whether one exists
        monkeypatch.setattr(access, "_creation", ADMINS)
    reads: list[str] = []
    for name in (
        "_members",
        "_get",
        "_run",
        "_head",
        "_stats",
        "_projects_of",
        "_append",
        "_mark",
        "_grant",
        *CREDENTIALS,
    ):
        method = getattr(storage, name)

        def counted(*args: Any, name: str = name, method: Any = method) -> Any:
            reads.append(name)
            return method(*args)

        monkeypatch.setattr(storage, name, counted)
    foreign, absent = (send(api, route, project, role) for project in ("foreign", "absent"))
    assert foreign == absent
    assert reads == ["_members", "_members"]


# Creating projects


def test_the_first_to_append_owns_the_project(api: Api, storage: LocalStorageService) -> None:
    key = {"idempotency_key": "key-0123456789abcdef"}
    body = body_from(post(api, [wire_change(projectId="mine")] * 2, principal="ada", **key))
    assert body["createdSeqs"] == [2, 3]
    assert storage.get_members(project_id="mine") == Members({"ada": Member("owner", 1)})
    again = body_from(post(api, [wire_change(projectId="mine")] * 2, principal="ada", **key))
    assert (again["createdSeqs"], again["replayed"]) == ([2, 3], True)
    assert post(api, [wire_change(projectId="mine")], principal="bob").status == 404
    assert body_from(post(api, [wire_change(projectId="mine")], principal="ada"))["createdSeqs"] == [4]


def test_only_administrators_create_projects_where_it_is_so(storage: LocalStorageService, access: RoleAccess) -> None:
    strict = RoleAccess(storage, admins=["admin"], creation=ADMINS, runtime=RUNTIME)
    api = api_on(storage, access=strict)
    assert post(api, [wire_change(projectId="mine")], principal="ada").status == 404
    assert body_from(post(api, [wire_change(projectId="mine")], principal="admin"))["createdSeqs"] == [2]
    with pytest.raises(InvalidInput, match="creation is not one of anyone, admins"):
        RoleAccess(storage, creation="me")


def test_a_project_from_before_access_control_belongs_to_nobody(api: Api, storage: LocalStorageService) -> None:
    storage.create_change(new(project_id="old"))
    for _ in range(2):
        assert post(api, [wire_change(projectId="old")], principal="ada").status == 404
    assert storage.get_head(project_id="old").seq == 1
    send(api, next(route for route in ROUTES if route.handler == "put_member"), "old", "admin")
    assert body_from(get(api, "/api/projects/old/changes", principal="guest"))["count"] == 2


def test_the_second_to_create_a_project_is_refused(api: Api, storage: LocalStorageService) -> None:
    """Both are told that the project is new, then one is faster."""
    create_changes = storage.create_changes

    def overtaken(*args: Any, **options: Any) -> Any:
        storage.create_changes = create_changes  # type: ignore[method-assign]
        create_changes([new(project_id="new")], owners={"new": "bob"})
        return create_changes(*args, **options)

    storage.create_changes = overtaken  # type: ignore[method-assign]
    assert post(api, [wire_change(projectId="new")], principal="ada").status == 404
    assert storage.get_members(project_id="new") == Members({"bob": Member("owner", 1)})
    assert storage.get_head(project_id="new").seq == 2


def test_reserved_types_are_refused_with_the_field_of_the_api(api: Api) -> None:
    change = wire_change(projectId="own", entityType=MEMBER, entityId="viewer", data={"role": "owner"})
    body = body_from(post(api, [change], principal="editor"), 403)
    assert body["type"].endswith(":reserved-type")
    assert body["error"].startswith("changes[0].entityType: ")


# Devices


def test_a_device_stays_in_its_project(api: Api, storage: LocalStorageService) -> None:
    """Even where an owner has granted it a role elsewhere, and where everyone may create projects."""
    device = "device:4fJ9sK2mQx8LbN3v"
    for project in ("p", "own"):
        storage.set_role(device, "editor", project_id=project)
    assert post(api, [wire_change(projectId="p")], principal=device).status == 200
    assert post(api, [wire_change(projectId="own")], principal=device).status == 404
    assert post(api, [wire_change(projectId="new")], principal=device).status == 404
    assert get(api, "/api/projects/own/changes", principal=device).status == 404
    assert storage.get_head(project_id="new").seq == 0


# Members


def test_members_are_listed_changed_and_removed(api: Api, storage: LocalStorageService) -> None:
    listed = body_from(get(api, "/api/projects/own/members", principal="viewer"))
    assert [(member["principal"], member["role"]) for member in listed["members"]] == [
        ("boss-own", "owner"),
        *((f"device:{token.id}", "editor") for token in sorted((DEVICE, REVOKED), key=lambda token: token.id)),
        ("editor", "editor"),
        ("guest", "viewer"),
        ("owner", "owner"),
        ("viewer", "viewer"),
    ]
    assert listed["count"] == 7
    assert body_from(get(api, "/api/projects/own/members/viewer", "DELETE", principal="viewer"))["role"] == "none"
    assert get(api, "/api/projects/own/changes", principal="viewer").status == 403
    assert get(api, "/api/projects/own/members/nobody", "DELETE", principal="owner").status == 404
    change = storage.get_change(storage.get_head(project_id="own").seq, project_id="own")
    assert (change.entity_id, change.change_by) == ("viewer", "viewer")


def test_the_last_owner_cannot_be_removed(api: Api) -> None:
    assert body_from(get(api, "/api/projects/own/members/owner", "DELETE", principal="boss-own"))["role"] == "none"
    body = body_from(get(api, "/api/projects/own/members/boss-own", "DELETE", principal="boss-own"), 409)
    assert body["type"].endswith(":last-owner")


def test_a_list_has_ones_own_projects(api: Api) -> None:
    post(api, [wire_change(projectId="mine")], principal="viewer")
    assert body_from(get(api, "/api/projects", principal="viewer"))["projects"] == ["mine", "own"]
    assert body_from(get(api, "/api/projects?limit=1", principal="viewer"))["cursor"] == "mine"
    assert body_from(get(api, "/api/projects", principal="stranger"))["projects"] == []
    assert body_from(get(api, "/api/projects", principal="admin"))["projects"] == ["foreign", "mine", "own"]


def test_me(api: Api) -> None:
    assert body_from(get(api, "/api/me", principal="viewer"))["principal"] == "viewer"
    assert body_from(get(api, "/api/me", principal="admin"))["admin"]


@pytest.mark.parametrize("cursor", [None, "p1", "p9"])
def test_the_projects_of_a_principal_are_read_page_by_page(
    access: RoleAccess, storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch, cursor: str | None
) -> None:
    for number in range(5):
        storage.create_changes([new(project_id=f"p{number}")], owners={f"p{number}": "ann"})
    read, pages = storage.get_projects_of, []

    def read_two(principal: str, cursor: str | None = None) -> ProjectsPage:
        pages.append(cursor)
        assert len(pages) < 9
        return read(principal, cursor, limit=2)

    monkeypatch.setattr(storage, "get_projects_of", read_two)
    found = access.visible(Principal("ann"), cursor)
    assert found is not None
    expected = [f"p{number}" for number in range(5) if cursor is None or f"p{number}" > cursor]
    assert list(found) == expected
    assert pages == [cursor, *expected[1:-1:2]]


@pytest.mark.parametrize(
    ("principal", "action", "kind", "message"),
    [
        (None, "read", Unauthenticated, "the request has no credential"),
        ("stranger", "read", NotFound, "there is no such project, or you are not a member of it"),
        ("former", "read", AccessRevoked, "you are no longer a member of this project"),
        ("viewer", "append", NotAllowed, "your role in this project is viewer; this needs editor"),
        ("editor", "grant", NotAllowed, "your role in this project is editor; this needs owner"),
        ("owner", "paint", NotAllowed, "this server knows no action paint"),
    ],
)
def test_a_refusal_has_a_reason(
    access: RoleAccess, principal: str | None, action: str, kind: type[SlttError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        access.authorize(None if principal is None else Principal(principal), action, "own")
    assert (type(caught.value), str(caught.value)) == (kind, message)


# Settings


@pytest.mark.parametrize(
    ("environ", "verifies", "on"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"ACCESS_CONTROL": "none"}, True, False),
        ({"ACCESS_CONTROL": "roles"}, False, True),
        ({"ACCESS_CONTROL": "roles", "ADMINS": "ada, bob", "PROJECT_CREATION": "admins"}, False, True),
    ],
)
def test_the_settings_switch_access_control_on(
    storage: LocalStorageService, environ: dict[str, str], verifies: bool, on: bool
) -> None:
    access = access_from_environment(storage, environ, verifies=verifies)
    assert (access is not None) == on
    if access is not None:
        assert access.is_admin(Principal("bob")) == ("ADMINS" in environ)
        creates = access.owners(Principal("cleo"), ["new"])
        assert creates == ({} if "PROJECT_CREATION" in environ else {"new": "cleo"})


def test_an_unknown_rule_of_creation_is_refused(storage: LocalStorageService) -> None:
    with pytest.raises(InvalidInput) as caught:
        RoleAccess(storage, creation="me")
    assert (str(caught.value), caught.value.field) == ("creation is not one of anyone, admins", "creation")


LONG = "x" * 50
CLIPPED = "x" * 40


@pytest.mark.parametrize(
    ("environ", "field", "message"),
    [
        ({"ACCESS_CONTROL": "yes"}, "ACCESS_CONTROL", "is 'yes', not roles or none"),
        ({"ACCESS_CONTROL": LONG}, "ACCESS_CONTROL", f"is '{CLIPPED}', not roles or none"),
        ({"PROJECT_CREATION": "me"}, "PROJECT_CREATION", "is 'me', not anyone or admins"),
        ({"PROJECT_CREATION": LONG}, "PROJECT_CREATION", f"is '{CLIPPED}', not anyone or admins"),
        ({"ADMINS": "ada,,bob"}, "ADMINS", "has a principal that is empty"),
        ({"ACCESS_CONTROL": "none", "ADMINS": "ada"}, "ADMINS", "has no effect without ACCESS_CONTROL=roles"),
        (
            {"ACCESS_CONTROL": "none", "PROJECT_CREATION": "anyone"},
            "PROJECT_CREATION",
            "has no effect without ACCESS_CONTROL=roles",
        ),
    ],
)
def test_settings_that_are_not_valid_are_named(
    storage: LocalStorageService, environ: dict[str, str], field: str, message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        access_from_environment(storage, environ, verifies=True)
    assert (str(caught.value), caught.value.field) == (f"the setting {field} {message}", field)


def test_the_clock_of_the_settings_is_that_of_the_server(storage: LocalStorageService, clock: Clock) -> None:
    access = access_from_environment(storage, {}, verifies=True, runtime=RUNTIME.replace(steady_clock=clock))
    assert access is not None
    assert access.owners(Principal("ann"), ["new"]) == {"new": "ann"}
    storage.create_changes([new(project_id="new")], owners={"new": "bea"})  # by another process
    assert access.owners(Principal("ann"), ["new"]) == {"new": "ann"}
    clock.now += REMEMBERED_SECONDS
    assert access.owners(Principal("ann"), ["new"]) == {}


# What is remembered


def reading(storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []
    get_members = storage.get_members

    def counted(*, project_id: str | None = None) -> Members:
        reads.append(str(project_id))
        return get_members(project_id=project_id)

    monkeypatch.setattr(storage, "get_members", counted)
    return reads


def allowed(access: RoleAccess, principal: str, project: str = "own") -> bool:
    try:
        access.authorize(Principal(principal), "read", project)
    except Exception:
        return False
    return True


def test_members_are_read_once_a_minute(
    access: RoleAccess, storage: LocalStorageService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = reading(storage, monkeypatch)
    for _ in range(3):
        assert allowed(access, "viewer")
    assert len(reads) == 1
    clock.now += REMEMBERED_SECONDS
    assert allowed(access, "viewer")
    assert len(reads) == 2


def test_a_refusal_is_based_on_members_of_the_last_seconds(
    access: RoleAccess, storage: LocalStorageService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = reading(storage, monkeypatch)
    assert not allowed(access, "late")
    assert not allowed(access, "late")
    assert len(reads) == 1
    storage.set_role("late", "viewer", project_id="own")  # by another process
    clock.now += REFUSED_SECONDS
    assert allowed(access, "late")
    assert len(reads) == 2


def test_a_revocation_by_another_process_is_seen_within_a_minute(
    access: RoleAccess, storage: LocalStorageService, clock: Clock
) -> None:
    assert allowed(access, "viewer")
    storage.set_role("viewer", "none", project_id="own")
    clock.now += REMEMBERED_SECONDS
    assert not allowed(access, "viewer")


def test_the_time_of_a_slow_read_counts(
    access: RoleAccess, storage: LocalStorageService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The members are those of its beginning. They were remembered for 60 s from its end on."""
    read = storage.get_members

    def slowly(*, project_id: str) -> Members:
        members = read(project_id=project_id)
        clock.now += 9.0
        return members

    monkeypatch.setattr(storage, "get_members", slowly)
    assert allowed(access, "viewer")
    storage.set_role("viewer", "none", project_id="own")  # by another process
    clock.now += REMEMBERED_SECONDS - 9.0
    assert not allowed(access, "viewer")


def test_an_own_grant_does_not_make_the_members_younger(
    access: RoleAccess, storage: LocalStorageService, clock: Clock
) -> None:
    """Its response may be late, and another process may have made a grant meanwhile."""
    assert allowed(access, "viewer")
    clock.now += REMEMBERED_SECONDS - 1
    members = storage.set_role("new", "viewer", project_id="own")
    storage.set_role("viewer", "none", project_id="own")  # by another process
    access.members_changed("own", members)
    clock.now += 1
    assert not allowed(access, "viewer")


def test_a_read_that_began_before_an_own_grant_does_not_undo_it(
    access: RoleAccess, storage: LocalStorageService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = storage.get_members

    def overtaken(*, project_id: str) -> Members:
        members = read(project_id=project_id)
        access.members_changed("own", storage.set_role("viewer", "none", project_id="own"))
        clock.now += 2 * REFUSED_SECONDS
        return members

    monkeypatch.setattr(storage, "get_members", overtaken)
    access.project_exists("own")
    monkeypatch.setattr(storage, "get_members", read)
    assert not allowed(access, "viewer")


def test_a_stale_read_does_not_bring_a_revoked_role_back(
    access: RoleAccess, storage: LocalStorageService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = storage.get_members(project_id="own")
    access.members_changed("own", storage.set_role("viewer", "none", project_id="own"))
    monkeypatch.setattr(storage, "get_members", lambda project_id: before)
    clock.now += REFUSED_SECONDS - 0.1
    access.project_exists("own")
    with pytest.raises(AccessRevoked):
        access.authorize(Principal("viewer"), "read", "own")


def test_a_read_is_believed_when_the_grant_was_some_seconds_ago(
    access: RoleAccess, storage: LocalStorageService, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was replaced: members with a lower version are not stale then."""
    before = storage.get_members(project_id="own")
    access.members_changed("own", storage.set_role("viewer", "none", project_id="own"))
    monkeypatch.setattr(storage, "get_members", lambda project_id: before)
    clock.now += REFUSED_SECONDS
    access.project_exists("own")
    assert allowed(access, "viewer")


def test_a_project_whose_members_changed_is_not_created_again(access: RoleAccess) -> None:
    assert access.owners(Principal("ann"), ["absent"]) == {"absent": "ann"}
    access.members_changed("absent", Members({}))
    assert access.owners(Principal("ann"), ["absent"]) == {}


def test_a_project_that_exists_is_not_created_again_after_a_minute(access: RoleAccess, clock: Clock) -> None:
    """It has no member: it is from before access control."""
    access.project_exists("absent")
    clock.now += REMEMBERED_SECONDS
    assert access.owners(Principal("ann"), ["absent"]) == {}


def test_the_child_of_a_fork_does_not_wait_for_a_thread_of_its_parent(access: RoleAccess) -> None:
    access._lock.acquire()  # another thread of the parent has it
    access._after_fork()
    assert allowed(access, "viewer")
    assert access._lock.acquire(blocking=False)


def test_a_storage_that_does_not_respond_allows_nothing(
    access: RoleAccess, storage: LocalStorageService, clock: Clock, monkeypatch: pytest.MonkeyPatch, api: Api
) -> None:
    assert allowed(access, "viewer")
    clock.now += REMEMBERED_SECONDS

    def fail(*, project_id: str) -> Members:
        raise StorageUnavailable("no response")

    monkeypatch.setattr(storage, "get_members", fail)
    assert get(api, "/api/projects/own/changes", principal="viewer").status == 503


def test_the_memory_is_bounded(access: RoleAccess) -> None:
    for number in range(MAX_REMEMBERED + 10):
        with pytest.raises(NotFound):
            access.authorize(Principal("viewer"), "read", f"p{number}")
    assert len(access._known) == MAX_REMEMBERED
