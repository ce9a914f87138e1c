"""Access control: principals, the action of every route, the projects in a list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sltt_core.api.access import ACTIONS, LIST, OPEN, Access, AllowAll, Principal, check_access
from sltt_core.api.handlers import BODIES, HANDLERS
from sltt_core.api.http import Request
from sltt_core.api.routes import PROJECT, ROUTES, Route
from sltt_core.base.errors import NotAllowed, NotFound
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import new
from tests.sltt_core.api.client import Asks, api_on, body_from, get, post
from tests.sltt_core.samples import wire_change

NAMES = ["a", "b", "c", "d"]

# A new route needs a line here: what its client must be allowed to do.
EXPECTED = {
    "health": "open",
    "ready": "open",
    "help_page": "open",
    "openapi": "open",
    "post_changes": "append",
    "get_projects": "list",
    "get_changes": "read",
    "get_change": "read",
    "get_stats": "read",
    "get_heads": "list",  # its handler demands `read` of each project
    "me": "list",
    "list_members": "read",
    "put_member": "grant",
    "delete_member": "read",  # its handler demands `grant`, unless members remove themselves
    "list_tokens": "grant",
    "create_token": "grant",
    "revoke_token": "grant",
    "list_invitations": "grant",
    "create_invitation": "grant",
    "withdraw_invitation": "grant",
    "accept_invitation": "list",  # the code decides
    "mark_as_outdated": "mark",
    "resource_metadata": "open",
}


def allow(*_: object) -> None:
    pass


@pytest.fixture
def filled(storage: LocalStorageService) -> LocalStorageService:
    post(api_on(storage), [wire_change(projectId=name) for name in NAMES])
    return storage


def test_every_route_has_the_action_that_is_expected() -> None:
    assert {route.handler: route.action for route in ROUTES} == EXPECTED
    assert set(EXPECTED.values()) == set(ACTIONS)


def test_a_route_without_an_action_cannot_be_created() -> None:
    with pytest.raises(TypeError, match="'action'"):
        Route("GET", "/new", "new", description="A route that says nothing about access")  # type: ignore[call-arg]


def test_every_route_that_touches_a_project_names_it() -> None:
    for route in ROUTES:
        names_a_project = PROJECT in route.parameters or route.handler == "post_changes"
        assert names_a_project == (route.action not in (OPEN, LIST)), route


def test_every_route_has_a_handler_and_every_handler_a_route() -> None:
    assert HANDLERS.keys() == {route.handler for route in ROUTES}
    assert BODIES.keys() <= HANDLERS.keys()


def test_the_base_class_of_access_is_abstract() -> None:
    with pytest.raises(NotImplementedError):
        Access().authorize(None, "read", "ruth")
    with pytest.raises(NotImplementedError):
        Access().visible(None, None)


def test_allow_all_allows_everything_and_shows_everything() -> None:
    AllowAll().authorize(None, "append", "ruth")  # or it would raise
    assert AllowAll().visible(Principal("anna"), None) is None


def test_an_access_has_no_administrators_and_no_owners_unless_it_says_so() -> None:
    access = AllowAll()
    assert access.is_admin(Principal("ann")) is False
    assert access.owners(Principal("ann"), ["a"]) == {}


@pytest.mark.parametrize(
    ("action", "parameters", "projects"),
    [
        ("open", {"projectId": "a"}, []),
        ("read", {"projectId": "a"}, ["a"]),
        ("list", {}, [None]),
        ("append", {"changes": [new(project_id=name) for name in "baab"]}, ["b", "a"]),
        ("append", {"changes": [new(project_id="a")], "projectId": "b"}, ["a"]),
        ("append", {"changes": []}, []),
    ],
)
def test_each_project_of_a_request_is_checked_once(
    action: str, parameters: dict[str, object], projects: list[str | None]
) -> None:
    asked: list[tuple[object, str, str | None]] = []

    class Asked(AllowAll):
        def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
            asked.append((principal, action, project_id))

    check_access(Asked(), Principal("ann"), action, parameters)
    assert asked == [(Principal("ann"), action, project_id) for project_id in projects]


def test_access_gets_the_claims(storage: LocalStorageService) -> None:
    asked: list[Principal | None] = []

    class ByClaim(AllowAll):
        def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
            asked.append(principal)
            if principal is None or principal.claims.get("team") != project_id:
                raise NotAllowed("another team's project")

    api = api_on(storage, access=ByClaim())
    anna = Principal("anna", {"team": "ruth"})
    statuses = [
        api.handle(Request("GET", f"/api/projects/{name}/stats", principal=anna)).status for name in ("ruth", "boaz")
    ]
    assert statuses == [200, 403]
    assert asked == [anna, anna, anna]  # what was read is authorized again


def test_a_project_may_be_hidden_instead_of_refused(filled: LocalStorageService) -> None:
    def hide(principal: str | None, action: str, project: str | None) -> None:
        raise NotFound("there is no such project")

    body_from(get(api_on(filled, access=Asks(hide)), "/api/projects/a/changes"), 404)


# Lists.


def test_a_list_shows_what_the_principal_may_see_in_pages(filled: LocalStorageService) -> None:
    api = api_on(filled, access=Asks(allow, ["a", "c", "d"]))
    first = body_from(get(api, "/api/projects?limit=2"))
    assert (first["projects"], first["count"], first["cursor"]) == (["a", "c"], 2, "c")
    second = body_from(get(api, "/api/projects?limit=2&cursor=c"))
    assert (second["projects"], "cursor" in second) == (["d"], False)
    assert body_from(get(api, "/api/projects?limit=3"))["projects"] == ["a", "c", "d"]
    assert "cursor" not in body_from(get(api, "/api/projects?limit=3"))


@pytest.mark.parametrize(("visible", "expected"), [(None, NAMES), ([], []), (["b"], ["b"])])
def test_none_is_all_and_an_empty_list_is_nothing(
    filled: LocalStorageService, visible: list[str] | None, expected: list[str]
) -> None:
    assert body_from(get(api_on(filled, access=Asks(allow, visible)), "/api/projects"))["projects"] == expected


def test_a_list_reads_at_most_one_id_more_than_a_page(filled: LocalStorageService) -> None:
    taken: list[str] = []

    def names() -> Iterator[str]:
        for name in NAMES:
            taken.append(name)
            yield name

    api = api_on(filled, access=Asks(allow, names()))
    assert body_from(get(api, "/api/projects?limit=2"))["cursor"] == "b"
    assert taken == ["a", "b", "c"]


def test_a_service_bound_to_one_project_shows_no_other(tmp_path: Path) -> None:
    with LocalStorageService(tmp_path / "log.db", "b") as bound:
        assert body_from(get(api_on(bound, access=Asks(allow, NAMES)), "/api/projects"))["projects"] == ["b"]


def test_the_entity_tag_of_a_list_depends_on_who_sees_it(filled: LocalStorageService) -> None:
    tags = [
        get(api_on(filled, access=Asks(allow, names)), "/api/projects").header("etag") for names in (None, ["a"], NAMES)
    ]
    assert tags[0] == tags[2] != tags[1]


# Again, when a waiting request wakes.


def test_access_is_checked_again_for_a_repeated_request(filled: LocalStorageService) -> None:
    revoked: list[str] = []

    def decide(principal: str | None, action: str, project: str | None) -> None:
        if principal in revoked:
            raise NotAllowed("revoked")

    api = api_on(filled, access=Asks(decide))
    target = "/api/projects/a/changes?cursor=1&wait=5"
    assert get(api, target, principal="anna").wait is not None
    revoked.append("anna")
    post(api, [wire_change(projectId="a")], principal="ruth")
    response = get(api, target, principal="anna")
    assert (response.status, response.wait) == (403, None)
