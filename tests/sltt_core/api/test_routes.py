from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest

from sltt_core.api import handlers
from sltt_core.api.http import MAX_PARAMETERS
from sltt_core.api.routes import MAX_REPEATED, ROUTES, Route, allowed_at, match, parse_parameters
from sltt_core.base.errors import InvalidInput, MethodNotAllowed, NotFound
from sltt_core.model.chain import GENESIS
from sltt_core.model.fields import MAX_SEQ
from tests.sltt_core.model.test_fields import GOOD_PROJECT_IDS, HOSTILE_PROJECT_IDS

# The routes of the original, and what was added: none of them may vanish.
TABLE = [
    ("GET", "/health", "health", {}),
    ("GET", "/ready", "ready", {}),
    ("GET", "/api/help", "help_page", {}),
    ("GET", "/openapi.json", "openapi", {}),
    ("POST", "/api/changes", "post_changes", {}),
    ("GET", "/api/projects", "get_projects", {}),
    ("GET", "/api/projects/ruth/changes", "get_changes", {"projectId": "ruth"}),
    ("GET", "/api/projects/ruth/changes/5", "get_change", {"projectId": "ruth", "seq": "5"}),
    ("GET", "/api/projects/ruth/stats", "get_stats", {"projectId": "ruth"}),
    ("GET", "/api/heads", "get_heads", {}),
    ("GET", "/api/me", "me", {}),
    ("GET", "/api/projects/ruth/members", "list_members", {"projectId": "ruth"}),
    ("PUT", "/api/projects/ruth/members/a%2Fb", "put_member", {"projectId": "ruth", "principal": "a%2Fb"}),
    ("DELETE", "/api/projects/ruth/members/ada", "delete_member", {"projectId": "ruth", "principal": "ada"}),
    ("GET", "/api/projects/ruth/tokens", "list_tokens", {"projectId": "ruth"}),
    ("POST", "/api/projects/ruth/tokens", "create_token", {"projectId": "ruth"}),
    ("DELETE", "/api/projects/ruth/tokens/a", "revoke_token", {"projectId": "ruth", "tokenId": "a"}),
    ("GET", "/api/projects/ruth/invitations", "list_invitations", {"projectId": "ruth"}),
    ("POST", "/api/projects/ruth/invitations", "create_invitation", {"projectId": "ruth"}),
    ("DELETE", "/api/projects/ruth/invitations/a", "withdraw_invitation", {"projectId": "ruth", "invitationId": "a"}),
    ("POST", "/api/invitations/accept", "accept_invitation", {}),
    ("POST", "/api/projects/ruth/changes/5/outdated", "mark_as_outdated", {"projectId": "ruth", "seq": "5"}),
    ("GET", "/.well-known/oauth-protected-resource", "resource_metadata", {}),
    # Nothing is decoded or judged yet.
    ("GET", "/api/projects/a%2Fb/changes", "get_changes", {"projectId": "a%2Fb"}),
    ("GET", "/api/projects//changes", "get_changes", {"projectId": ""}),
    ("GET", "/api/projects/changes/changes", "get_changes", {"projectId": "changes"}),
    ("GET", "/api/projects/../changes", "get_changes", {"projectId": ".."}),
    ("GET", "/api/projects/{projectId}/stats", "get_stats", {"projectId": "{projectId}"}),
]


@pytest.mark.parametrize(("method", "path", "handler", "found"), TABLE)
def test_a_route_is_found_by_method_and_path(method: str, path: str, handler: str, found: dict[str, str]) -> None:
    route, parameters = match(method, path)
    assert (route.method, route.handler, parameters) == (method, handler, found)
    assert match("HEAD", path) == (route, parameters) if method == "GET" else True


def test_every_route_is_in_the_table_above() -> None:
    assert [route.handler for route in ROUTES] == list(dict.fromkeys(handler for _, _, handler, _ in TABLE))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.handler)
def test_the_parameters_of_a_route_are_consistent(route: Route) -> None:
    assert callable(handlers.HANDLERS[route.handler])
    assert route.description
    in_path = [parameter.name for parameter in route.parameters if parameter.place == "path"]
    assert in_path == re.findall(r"{(\w+)}", route.path)
    assert {parameter.place for parameter in route.parameters} <= {"path", "query"}
    names = [parameter.name for parameter in route.parameters]
    assert len(set(names)) == len(names)
    assert all(parameter.description and parameter.schema["type"] for parameter in route.parameters)


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "//", "health", "/Health", "/health/", "//health", "/%68ealth", "/health%2F", "/api", "/api/"),
        *("/api/change", "/api/changes/", "/api/changes/1", "/api/projects/", "/api/projects/ruth", "/API/projects"),
        *("/api/projects/ruth/", "/api/projects/ruth/change", "/api/projects/ruth/changes/"),
        *("/api/projects/ruth/stats/", "/api/projects/ruth/changes/1/2"),
        *("/api/projects/a/b/changes", "/api/projects/ruth/stats/1"),
        *("/api/../health", "/./health", "/health;a=b", "/health?", "/health#x", "\\health", "/api/projects\0"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_an_unknown_path_is_not_found(method: str, path: str) -> None:
    if path == "/api/projects/ruth/changes/":  # a change without a number: a 400, below
        return
    with pytest.raises(NotFound, match="no route has the path"):
        match(method, path)
    with pytest.raises(NotFound):
        allowed_at(path)


def test_a_long_path_is_not_repeated_at_length() -> None:
    with pytest.raises(NotFound) as caught:
        match("GET", "/" + "x" * 10_000)
    assert len(caught.value.message) < 250


READ = ("GET", "HEAD", "OPTIONS")
WRITE = ("OPTIONS", "POST")
MEMBER = ("DELETE", "OPTIONS", "PUT")
LIST = ("GET", "HEAD", "OPTIONS", "POST")
ISSUED = ("DELETE", "OPTIONS")


def methods_of(method: str, path: str) -> tuple[str, ...]:
    """The methods of a path, of which `method` is one."""
    patterns = {r"/members/": MEMBER, r"/(tokens|invitations)$": LIST, r"/(tokens|invitations)/a$": ISSUED}
    for pattern, methods in patterns.items():
        if re.search(pattern, path):
            return methods
    return READ if method == "GET" else WRITE


@pytest.mark.parametrize(
    ("path", "allow"),
    [(path, methods_of(method, path)) for method, path, _, _ in TABLE],
    ids=[path for _, path, _, _ in TABLE],
)
def test_a_path_lists_its_methods(path: str, allow: tuple[str, ...]) -> None:
    assert allowed_at(path) == allow
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get", "", "BREW"):
        if method in allow:
            match(method, path)
            continue
        with pytest.raises(MethodNotAllowed) as caught:
            match(method, path)
        assert caught.value.allow == allow


# Parameters.

CHANGES, CHANGE, PROJECTS, STATS, HELP = (
    match("GET", path)[0]
    for path in (
        "/api/projects/ruth/changes",
        "/api/projects/ruth/changes/1",
        "/api/projects",
        "/api/projects/ruth/stats",
        "/api/help",
    )
)
RUTH = {"projectId": "ruth"}


@pytest.mark.parametrize(
    ("route", "found", "query", "values"),
    [
        (HELP, {}, "", {}),
        (STATS, RUTH, "", {"projectId": "ruth"}),
        (STATS, {"projectId": "%72uth"}, "", {"projectId": "ruth"}),
        (STATS, {"projectId": "a%2Bb+c"}, "", {"projectId": "a+b+c"}),
        (CHANGE, {**RUTH, "seq": "17"}, "", {"projectId": "ruth", "seq": 17}),
        (CHANGE, {**RUTH, "seq": str(MAX_SEQ)}, "", {"projectId": "ruth", "seq": MAX_SEQ}),
        (CHANGES, RUTH, "", {"projectId": "ruth"}),
        (
            CHANGES,
            RUTH,
            f"cursor=0&limit=1&chain={GENESIS}",
            {"projectId": "ruth", "cursor": 0, "limit": 1, "chain": GENESIS},
        ),
        (CHANGES, RUTH, f"limit=1000&cursor={MAX_SEQ}", {"projectId": "ruth", "cursor": MAX_SEQ, "limit": 1000}),
        (CHANGES, RUTH, "%63ursor=%35", {"projectId": "ruth", "cursor": 5}),
        (CHANGES, RUTH, "wait=2.5&outdated=exclude", {"projectId": "ruth", "wait": 2.5, "outdated": False}),
        (CHANGES, RUTH, "wait=60&outdated=include", {"projectId": "ruth", "wait": 60.0, "outdated": True}),
        (
            CHANGES,
            RUTH,
            "entityType=note&entityId=a%26b&entityType=video&entityId=%F0%9F%98%80+%2B",
            {"projectId": "ruth", "entityType": ("note", "video"), "entityId": ("a&b", "😀 +")},
        ),
        (PROJECTS, {}, "cursor=a%2Bb&limit=5", {"cursor": "a+b", "limit": 5}),
    ],
)
def test_parameters_are_read_as_the_route_describes_them(
    route: Route, found: dict[str, str], query: str, values: dict[str, Any]
) -> None:
    assert parse_parameters(route, found, query) == values


NUMBERS = [
    *("x", "1x", "-1", "-0", "+5", "%2B5", "1.0", "1e3", "0x1", "1_000", "5+", "%205", "5%0A", "null", "true"),
    *(quote(digits) for digits in ("\u0665", "\uff15", "\u00b2", "\u2163", "๕")),
    *("9" * 15, "9" * 16, "1" * 5000, str(2**63), str(MAX_SEQ + 1)),
]


@pytest.mark.parametrize("text", NUMBERS)
def test_an_invalid_number_is_refused_and_not_clamped(text: str) -> None:
    for name in ("cursor", "limit"):
        with pytest.raises(InvalidInput, match=rf"^{name} is not ") as caught:
            parse_parameters(CHANGES, RUTH, f"{name}={text}")
        assert caught.value.field == name
        assert len(caught.value.message) < 100
    with pytest.raises(InvalidInput, match=r"^seq is not "):
        parse_parameters(CHANGE, {**RUTH, "seq": text}, "")


@pytest.mark.parametrize("limit", ["0", "1001", "00", "999999"])
def test_a_limit_beyond_the_bounds_is_refused(limit: str) -> None:
    for route, found in ((CHANGES, RUTH), (PROJECTS, {})):
        with pytest.raises(InvalidInput, match=r"^limit is not an integer from 1 to 1000$"):
            parse_parameters(route, found, f"limit={limit}")


def test_change_0_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^seq is not from 1 "):
        parse_parameters(CHANGE, {**RUTH, "seq": "0"}, "")


@pytest.mark.parametrize("wait", ["-1", "61", "60.1", "1e1", "5.", ".", "nan", "inf", "Infinity", "0x1", "1.2.3"])
def test_an_invalid_time_to_wait_is_refused(wait: str) -> None:
    with pytest.raises(InvalidInput, match=r"^wait is not a number of seconds from 0 to 60$"):
        parse_parameters(CHANGES, RUTH, f"wait={wait}")


BAD_QUERIES = [
    # Empty.
    *[(f"{name}=", name) for name in ("cursor", "limit", "chain", "wait", "entityType", "entityId", "outdated")],
    *[("limit", "limit"), ("cursor=5&limit", "limit"), ("entityType=a&entityType=", "entityType")],
    # Repeated.
    *[("limit=5&limit=5", "limit"), ("cursor=1&limit=5&cursor=2", "cursor")],
    *[(f"chain={GENESIS}&chain={GENESIS}", "chain")],
    *[("limit=5&%6Cimit=6", "limit"), ("projectId=ruth", "projectId"), ("wait=1&wait=1", "wait")],
    # Unknown.
    *[("Limit=5", "Limit"), ("limit[]=5", "limit[]"), ("offset=5", "offset"), ("", None), ("&limit=5", ""), ("=5", "")],
    *[("limit=5&", ""), ("seq=5", "seq"), ("x" * 300 + "=1", "x" * 40), ("%F0%9F%98%80=1", "😀")],
    # Broken rules.
    *[("entityType=a%20b", "entityType"), (f"entityType={'x' * 65}", "entityType"), ("entityId=%00", "entityId")],
    *[(f"entityId={'x' * 256}", "entityId"), ("outdated=yes", "outdated"), ("outdated=Include", "outdated")],
    *[("chain=abc", "chain"), (f"chain={'A' * 21}%2B", "chain"), (f"chain={'A' * 21}+", "chain")],
    # No percent-encoding.
    *[("limit=%zz", "limit"), ("limit=%FF", "limit"), ("%=1", "query"), ("cursor=%", "cursor")],
]  # fmt: skip


@pytest.mark.parametrize(("query", "field"), BAD_QUERIES)
def test_a_query_that_breaks_a_rule_is_refused_under_its_name(query: str, field: str | None) -> None:
    if field is None:
        parse_parameters(CHANGES, RUTH, query)
        return
    with pytest.raises(InvalidInput) as caught:
        parse_parameters(CHANGES, RUTH, query)
    assert (caught.value.field, caught.value.status) == (field, 400)
    assert len(caught.value.message) < 250


@pytest.mark.parametrize("name", ["cursor", "limit", "chain", "wait", "entityType", "entityId", "outdated"])
def test_an_empty_parameter_is_reported(name: str) -> None:
    for query in (name, f"{name}="):
        with pytest.raises(InvalidInput, match=f"^{name} is empty$"):
            parse_parameters(CHANGES, RUTH, query)


def test_a_repeatable_parameter_has_a_largest_number_of_values() -> None:
    values = parse_parameters(CHANGES, RUTH, "&".join(["entityId=e"] * MAX_REPEATED))
    assert values["entityId"] == ("e",) * MAX_REPEATED
    with pytest.raises(InvalidInput, match="entityId is given 101 times"):
        parse_parameters(CHANGES, RUTH, "&".join(["entityId=e"] * (MAX_REPEATED + 1)))


def test_the_error_for_an_unknown_parameter_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="the parameter 'offset' is unknown") as caught:
        parse_parameters(PROJECTS, {}, "offset=5")
    assert caught.value.hint == "This route has: cursor, limit."
    with pytest.raises(InvalidInput) as caught:
        parse_parameters(HELP, {}, "offset=5")
    assert caught.value.hint == "This route has: none."


RAW_IDS = [
    *("a%2Fb", "%2F", "%2e%2e", "%FF", "%00", "%zz", "%", "%2", "a%23b", "SEQUENCE%23x", "a%20b", "a b", "", "%252F"),
    *("é", "%C3%A9", "%F0%9F%98%80", "a%E2%80%8F", "%EF%BC%A1", "x" * 129, "%78" * 129, "*", "%2A", "a%0A"),
    *("\udcff", "\ud800"),
    *(quote(text.encode("utf-8", "surrogatepass"), safe="") for text in HOSTILE_PROJECT_IDS),
]


@pytest.mark.parametrize("raw", RAW_IDS)
def test_a_hostile_project_id_in_a_path_is_a_bad_request(raw: str) -> None:
    for route, found in ((CHANGES, {}), (STATS, {}), (CHANGE, {"seq": "1"})):
        with pytest.raises(InvalidInput) as caught:
            parse_parameters(route, {"projectId": raw, **found}, "")
        assert (caught.value.field, caught.value.status) == ("projectId", 400)


@pytest.mark.parametrize("project_id", GOOD_PROJECT_IDS)
def test_a_valid_project_id_in_a_path_is_accepted(project_id: str) -> None:
    for raw in (project_id, quote(project_id, safe=""), "".join(f"%{ord(c):02x}" for c in project_id)):
        assert parse_parameters(STATS, {"projectId": raw}, "") == {"projectId": project_id}
    assert parse_parameters(PROJECTS, {}, f"cursor={quote(project_id, safe='')}") == {"cursor": project_id}


def test_no_route_accepts_as_many_parameters_as_are_read() -> None:
    for route in ROUTES:
        assert sum(MAX_REPEATED if one.repeatable else 1 for one in route.parameters) < MAX_PARAMETERS
