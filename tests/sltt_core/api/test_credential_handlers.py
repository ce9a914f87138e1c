"""The routes of device tokens and invitations."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.api.device_tokens import DeviceTokens, code_of
from sltt_core.api.http import Request
from sltt_core.api.roles import RoleAccess
from sltt_core.model.grants import MEMBER
from tests.sltt_core.api.client import RUNTIME, api_on, body_from, get, named_principal, other_secret, post
from tests.sltt_core.samples import wire_change

if TYPE_CHECKING:
    from sltt_core.api.app import Api
    from sltt_core.api.http import Response
    from sltt_core.sqlite.storage import LocalStorageService

KEY = {"idempotency_key": "key-0123456789abcdef"}
TOKENS, INVITATIONS, ACCEPT = "/api/projects/p/tokens", "/api/projects/p/invitations", "/api/invitations/accept"
TOKEN = {"name": "tablet 7", "role": "editor"}


@pytest.fixture
def api(storage: LocalStorageService) -> Api:
    for project_id in ("p", "q"):
        storage.set_role("ada", "owner", project_id=project_id)
    return api_on(storage, access=RoleAccess(storage, runtime=RUNTIME))


def accept(api: Api, code: object, principal: str | None = "bob") -> Response:
    return post(api, {"code": code}, ACCEPT, principal)


def delete(api: Api, target: str, principal: str = "ada") -> Response:
    return get(api, target, "DELETE", principal)


def without_time(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "timestamp"}


# Device tokens


def test_a_token_is_shown_once_and_works(api: Api, storage: LocalStorageService) -> None:
    made = without_time(body_from(post(api, TOKEN, TOKENS, "ada")))
    text = made.pop("token")
    assert made == {
        "id": made["id"],
        "principal": f"device:{made['id']}",
        "role": "editor",
        "name": "tablet 7",
        "createdBy": "ada",
        "createdAt": "2025-03-01T09:30:00.123Z",
        "expires": "2026-04-05T09:30:00.000Z",
    }
    assert text.startswith(f"sltt_{made['id']}_")
    listed = without_time(body_from(get(api, TOKENS, principal="ada")))
    assert listed == {"tokens": [made], "count": 1}
    principal = DeviceTokens(storage, runtime=RUNTIME).use_token(text)
    change = wire_change(projectId="p")
    sent = Request("POST", "/api/changes", "", {"content-type": "application/json"}, json.dumps([change]).encode())
    assert api.handle(sent.replace(principal=principal)).status == 200
    assert storage.get_change(3, project_id="p").change_by == made["principal"]


def test_a_token_that_is_revoked_is_refused_at_once(api: Api) -> None:
    made = body_from(post(api, TOKEN, TOKENS, "ada"))
    device = made["principal"]
    assert get(api, "/api/projects/p/changes", principal=device).status == 200
    for _ in range(2):
        revoked = body_from(delete(api, f"{TOKENS}/{made['id']}"))
        assert revoked["revokedAt"] == "2025-03-01T09:30:00.123Z"
        assert "token" not in revoked
    body = body_from(get(api, "/api/projects/p/changes", principal=device), 403)
    assert body["type"].endswith(":access-revoked")
    assert body_from(get(api, TOKENS, principal="ada"))["tokens"][0]["revokedAt"]


@pytest.mark.parametrize(
    ("target", "body"), [(TOKENS, TOKEN), (INVITATIONS, {"role": "viewer"})], ids=["token", "invitation"]
)
def test_a_key_creates_one(api: Api, storage: LocalStorageService, target: str, body: dict[str, str]) -> None:
    made = body_from(post(api, body, target, "ada", **KEY))
    head = storage.get_head(project_id="p")
    again = body_from(post(api, {**body, "role": "owner"}, target, "ada", **KEY), 409)
    assert again["type"].endswith(":credential-exists")
    assert again["id"] == made["id"]
    assert made["id"] in again["error"]
    assert "Idempotency-Key" in again["hint"]
    assert storage.get_head(project_id="p") == head
    # Other projects have keys of their own, and so does the other route.
    assert post(api, body, target.replace("/p/", "/q/"), "ada", **KEY).status == 200
    other, its_body = (INVITATIONS, {"role": "viewer"}) if target == TOKENS else (TOKENS, TOKEN)
    assert post(api, its_body, other, "ada", **KEY).status == 200
    assert post(api, body, target, "ada").status == 200
    assert post(api, body, target, "ada").status == 200


def test_a_key_that_is_not_valid_is_refused(api: Api) -> None:
    for target, body in ((TOKENS, TOKEN), (INVITATIONS, {"role": "viewer"})):
        assert body_from(post(api, body, target, "ada", idempotency_key="short"), 400)["field"] == "Idempotency-Key"


def test_a_token_of_another_project_is_not_found(api: Api) -> None:
    token = body_from(post(api, TOKEN, TOKENS, "ada"))
    invitation = body_from(post(api, {"role": "viewer"}, INVITATIONS, "ada"))
    for target in (
        f"/api/projects/q/tokens/{token['id']}",
        f"/api/projects/q/invitations/{invitation['id']}",
        f"/api/projects/q/tokens/{invitation['id']}",
        f"{TOKENS}/{invitation['id']}",
        f"{INVITATIONS}/{token['id']}",
        f"{TOKENS}/{'A' * 16}",
    ):
        assert delete(api, target).status == 404
    assert "revokedAt" not in body_from(get(api, TOKENS, principal="ada"))["tokens"][0]
    assert body_from(get(api, INVITATIONS, principal="ada"))["invitations"][0]["uses"] == 1


@pytest.mark.parametrize(
    "credential_id", ["x", "A" * 17, "AAAAAAAAAAAAAAA%23", "..%2FAAAAAAAAAAAAA", "AAAAAAAAAAAAAA%00", "%D9%A3"]
)
def test_an_id_that_is_not_valid_is_refused(api: Api, credential_id: str) -> None:
    for target, field in ((TOKENS, "tokenId"), (INVITATIONS, "invitationId")):
        assert body_from(delete(api, f"{target}/{credential_id}"), 400)["field"] == field
        assert body_from(get(api, f"{target}?cursor={credential_id}", principal="ada"), 400)["field"] == "cursor"


@pytest.mark.parametrize("target", [TOKENS, INVITATIONS])
def test_a_list_comes_in_pages(api: Api, target: str) -> None:
    body = TOKEN if target == TOKENS else {"role": "viewer"}
    made = sorted(body_from(post(api, body, target, "ada"))["id"] for _ in range(3))
    name = target.rpartition("/")[2]
    first = body_from(get(api, f"{target}?limit=2", principal="ada"))
    assert ([one["id"] for one in first[name]], first["count"], first["cursor"]) == (made[:2], 2, made[1])
    second = body_from(get(api, f"{target}?limit=2&cursor={first['cursor']}", principal="ada"))
    assert ([one["id"] for one in second[name]], "cursor" in second) == (made[2:], False)


BAD = [
    (TOKENS, {"role": "editor"}, "name"),
    (TOKENS, {"name": "x"}, "role"),
    (TOKENS, {**TOKEN, "name": ""}, "name"),
    (TOKENS, {**TOKEN, "name": "x" * 256}, "name"),
    (TOKENS, {**TOKEN, "name": "a\nb"}, "name"),
    (TOKENS, {**TOKEN, "name": 7}, "name"),
    (TOKENS, {**TOKEN, "role": "none"}, "role"),
    (TOKENS, {**TOKEN, "role": "admin"}, "role"),
    (TOKENS, {**TOKEN, "expires": 0}, "expires"),
    (TOKENS, [TOKEN], "body"),
    (INVITATIONS, {}, "role"),
    (INVITATIONS, {"role": "none"}, "role"),
    (INVITATIONS, {"role": ["editor"]}, "role"),
    *((INVITATIONS, {"role": "editor", "uses": uses}, "uses") for uses in (0, 1001, -1, "1", True, None, 1.5)),
    *((INVITATIONS, {"role": "editor", "expiresInDays": n}, "expiresInDays") for n in (0, 366, "7", False, 10**30)),
    (ACCEPT, {}, "code"),
    (ACCEPT, {"code": 7}, "code"),
    (ACCEPT, {"code": ""}, "code"),
    (ACCEPT, {"code": "x" * 256}, "code"),
    (ACCEPT, {"code": "x", "projectId": "p"}, "projectId"),
]


@pytest.mark.parametrize(("target", "body", "field"), BAD, ids=str)
def test_a_body_that_is_not_valid_is_refused(
    api: Api, storage: LocalStorageService, target: str, body: object, field: str
) -> None:
    assert body_from(post(api, body, target, "ada"), 400)["field"] == field
    assert storage.get_head(project_id="p").seq == 1


# Invitations


def test_a_code_is_shown_once_and_gives_its_role(api: Api, storage: LocalStorageService) -> None:
    made = without_time(body_from(post(api, {"role": "editor", "expiresInDays": 30, "uses": 2}, INVITATIONS, "ada")))
    code = made.pop("code")
    assert made == {
        "id": made["id"],
        "role": "editor",
        "uses": 2,
        "createdBy": "ada",
        "createdAt": "2025-03-01T09:30:00.123Z",
        "expires": "2025-03-31T09:30:00.000Z",
    }
    assert code.startswith(f"sltti_{made['id']}_")
    assert without_time(body_from(get(api, INVITATIONS, principal="ada"))) == {"invitations": [made], "count": 1}
    assert get(api, "/api/projects/p/changes", principal="bob").status == 404
    for _ in range(2):  # the second time uses nothing up
        accepted = without_time(body_from(accept(api, code)))
        assert accepted == {"projectId": "p", "principal": "bob", "role": "editor", "since": 2, "version": 2}
    assert get(api, "/api/projects/p/changes", principal="bob").status == 200  # here, at once
    assert body_from(get(api, INVITATIONS, principal="ada"))["invitations"][0]["uses"] == 1
    change = storage.get_change(2, project_id="p")
    assert (change.entity_type, change.change_by) == (MEMBER, "bob")


def test_an_invitation_has_defaults(api: Api) -> None:
    made = body_from(post(api, {"role": "viewer"}, INVITATIONS, "ada"))
    assert (made["uses"], made["expires"]) == (1, "2025-03-08T09:30:00.000Z")


def test_a_code_that_cannot_be_accepted_is_not_found(
    api: Api, storage: LocalStorageService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes for every reason, and for a wrong secret the same reads as for an unknown id."""
    made = [body_from(post(api, {"role": "editor"}, INVITATIONS, "ada")) for _ in range(3)]
    token = body_from(post(api, TOKEN, TOKENS, "ada"))["token"]
    accept(api, made[0]["code"], "cleo")
    delete(api, f"{INVITATIONS}/{made[1]['id']}")
    wrong_secret = code_of(other_secret(made[2]["id"]))
    unknown = code_of(other_secret("A" * 16))
    reads: list[str] = []
    find = storage._credential

    def counted(kind: Any, credential_id: str) -> Any:
        reads.append(credential_id)
        return find(kind, credential_id)

    monkeypatch.setattr(storage, "_credential", counted)
    responses = {}
    costs = {}
    for name, code in {
        "used up": made[0]["code"],
        "withdrawn": made[1]["code"],
        "wrong secret": wrong_secret,
        "unknown": unknown,
        "cut": made[2]["code"][:-1],
        "token": token,
        "text": "please",
    }.items():
        responses[name] = accept(api, code)
        costs[name] = len(reads)
        reads.clear()
    assert len(set(responses.values())) == 1, responses
    assert body_from(responses["unknown"], 404)["type"].endswith(":not-found")
    assert costs["wrong secret"] == costs["unknown"] == 1
    assert "bob" not in storage.get_members(project_id="p").roles


def test_only_a_principal_accepts(api: Api, storage: LocalStorageService) -> None:
    code = body_from(post(api, {"role": "viewer"}, INVITATIONS, "ada"))["code"]
    assert accept(api, code, None).status == 401
    assert post(api_on(storage), {"code": code}, ACCEPT).status == 403  # a server that does not know who sends it
    assert accept(api, code).status == 200


def test_a_server_without_access_control_issues_credentials(storage: LocalStorageService) -> None:
    api = api_on(storage)
    made = body_from(post(api, TOKEN, TOKENS))
    assert "createdBy" not in made
    assert storage.get_members(project_id="p").roles[made["principal"]].role == "editor"
    assert body_from(delete_anonymous(api, f"{TOKENS}/{made['id']}"))["revokedAt"]


def test_no_response_but_the_first_has_a_secret_or_a_hash(api: Api, storage: LocalStorageService) -> None:
    token = body_from(post(api, TOKEN, TOKENS, "ada", **KEY))
    invitation = body_from(post(api, {"role": "editor"}, INVITATIONS, "ada", **KEY))
    others = [
        post(api, TOKEN, TOKENS, "ada", **KEY),
        post(api, {"role": "editor"}, INVITATIONS, "ada", **KEY),
        get(api, TOKENS, principal="ada"),
        get(api, INVITATIONS, principal="ada"),
        accept(api, invitation["code"]),
        accept(api, invitation["code"], "cleo"),
        accept(api, invitation["code"] + "0"),
        delete(api, f"{TOKENS}/{token['id']}"),
        delete(api, f"{INVITATIONS}/{invitation['id']}"),
        get(api, "/api/projects/p/changes", principal="ada"),
    ]
    found_token, found_invitation = storage.get_token(token["id"]), storage.get_invitation(invitation["id"])
    assert found_token is not None
    assert found_invitation is not None
    secrets = [token["token"][22:], invitation["code"][23:], found_token.hash, found_invitation.hash]
    for response in others:
        assert response.content
        for secret in secrets:
            assert secret.encode() not in response.content
    for response in others:
        assert response.header("cache-control") in ("no-store", "no-cache")


# Helpers


def delete_anonymous(api: Api, target: str) -> Response:
    return api.handle(Request("DELETE", target, principal=named_principal(None)))
