"""Bearer tokens on every way into the API: who is let in, what the others get, and what needs no token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.http.entry_points import EntryPoint, Response, post
from tests.http.test_errors import check
from tests.sltt_core.auth.forgeries import forged_tokens
from tests.sltt_core.auth.samples import ISSUER, SETTINGS, claims, good_tokens, token

METADATA = "/.well-known/oauth-protected-resource"
PUBLIC = ("/health", "/ready", "/openapi.json", "/api/help", METADATA)
PROTECTED = ("/api/projects", "/api/projects/p/changes", "/api/projects/p/changes/1", "/api/projects/p/stats")
ORIGIN = "https://app.example.org"

Make = Callable[..., EntryPoint]


@pytest.fixture
def secured(make_entry_point: Make) -> EntryPoint:
    return make_entry_point(settings={**SETTINGS, "ACCESS_CONTROL": "none"}, cors=[ORIGIN])


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def check_401(response: Response, code: str | None) -> None:
    check(response, 401, "unauthenticated")
    challenge = response.headers["www-authenticate"]
    assert challenge.startswith('Bearer realm="sltt"')
    assert ("error=" in challenge) == (code is not None)
    assert code is None or f'error="{code}"' in challenge
    assert f'{METADATA}"' in challenge


def test_a_good_token_lets_in_and_names_who_made_a_change(secured: EntryPoint) -> None:
    for name, good in good_tokens().items():
        assert secured.ask("GET", "/api/projects", headers=bearer(good)).status == 200, name
    anna = bearer(token(payload=claims(sub="auth0|anna")))
    assert post(secured, {"changeBy": "boaz"}, headers=anna).status == 200
    changes = secured.ask("GET", "/api/projects/p/changes", headers=anna).json()["changes"]
    assert [change["changeBy"] for change in changes] == ["auth0|anna"]


def test_no_forged_token_is_accepted_and_none_is_a_500(secured: EntryPoint) -> None:
    forged = forged_tokens()
    assert len(forged) >= 60
    got = {}
    for name, text in forged.items():
        response = secured.ask("GET", "/api/projects", headers=bearer(text))
        got[name] = response.status
        assert text.encode() not in response.body
    assert set(got.values()) <= {400, 401}, {name: status for name, status in got.items() if status not in (400, 401)}
    # Only this one has not the form of a token (RFC 6750, section 2.1).
    assert [name for name, status in got.items() if status == 400] == ["padding behind the payload"]
    assert secured.ask("GET", "/api/projects", headers=bearer(token())).status == 200


def test_a_write_without_a_good_token_stores_nothing(secured: EntryPoint) -> None:
    check_401(post(secured, {}), None)
    check_401(post(secured, {}, headers=bearer(token(payload=claims(exp=1)))), "invalid_token")
    assert post(secured, {}, headers={"authorization": "Bearer a b"}).status == 400
    assert secured.ask("GET", "/api/projects", headers=bearer(token())).json()["projects"] == []


def test_the_routes_of_projects_need_a_token(secured: EntryPoint) -> None:
    for path in PROTECTED:
        check_401(secured.ask("GET", path), None)
        assert secured.ask("HEAD", path).status == 401
        check_401(secured.ask("GET", path, headers={"authorization": "Basic YTpi"}), None)
        check_401(secured.ask("GET", path, headers=bearer("a.b.c")), "invalid_token")
        # A token in the query is none (RFC 9700, section 4.3.2).
        check_401(secured.ask("GET", f"{path}?access_token={token()}"), None)


def test_public_routes_need_no_token(secured: EntryPoint) -> None:
    for headers in ({}, bearer("a.b.c"), {"authorization": "Bearer"}, bearer(token())):
        for path in PUBLIC:
            assert secured.ask("GET", path, headers=headers).status == 200, (path, headers)
            assert secured.ask("HEAD", path, headers=headers).status == 200, (path, headers)


def test_the_metadata_names_the_issuer(secured: EntryPoint) -> None:
    response = secured.ask("GET", METADATA)
    found = response.json()
    assert found["authorization_servers"] == [ISSUER]
    assert found["bearer_methods_supported"] == ["header"]
    assert response.headers["content-type"] == "application/json"
    challenge = secured.ask("GET", "/api/projects").headers["www-authenticate"]
    assert f'resource_metadata="{found["resource"]}{METADATA}"' in challenge


def test_a_malformed_header_is_a_400(secured: EntryPoint) -> None:
    for value in ("Bearer", "Bearer a b", "Bearer a, Bearer b", 'Bearer "a"', "Bearer a=b"):
        response = secured.ask("GET", "/api/projects", headers={"authorization": value})
        assert check(response, 400, "invalid-input")["field"] == "Authorization"
        assert 'error="invalid_request"' in response.headers["www-authenticate"]


def test_a_preflight_needs_no_token_and_a_401_can_be_read_by_pages(secured: EntryPoint) -> None:
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "authorization"}
    preflight = secured.ask("OPTIONS", "/api/projects", headers={"origin": ORIGIN, **asked})
    assert preflight.status == 204
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    refused = secured.ask("GET", "/api/projects", headers={"origin": ORIGIN})
    check_401(refused, None)
    assert refused.headers["access-control-allow-origin"] == ORIGIN
    assert "www-authenticate" in refused.headers["access-control-expose-headers"]


def test_unknown_paths_and_methods_are_as_without_tokens(secured: EntryPoint) -> None:
    check(secured.ask("GET", "/api/nothing"), 404, "not-found")
    check(secured.ask("DELETE", "/api/projects"), 405, "method-not-allowed")


def test_without_settings_nothing_needs_a_token_and_the_metadata_does_not_exist(entry_point: EntryPoint) -> None:
    assert entry_point.ask("GET", "/api/projects", headers=bearer("a.b.c")).status == 200
    for method in ("GET", "POST"):
        check(entry_point.ask(method, METADATA), 404, "not-found")
    assert entry_point.ask("OPTIONS", METADATA).status == 404
    paths = [endpoint["path"] for endpoint in entry_point.ask("GET", "/api/help").json()["endpoints"]]
    assert METADATA not in paths


def test_no_log_line_and_no_response_contains_a_token(secured: EntryPoint, capfd: Any) -> None:
    texts = [token(), token(payload=claims(exp=1)), token()[:-9]]
    bodies = [secured.ask("GET", "/api/projects", headers=bearer(text)).body for text in texts]
    shown = b"".join(bodies).decode() + "".join(capfd.readouterr())
    for text in texts:
        assert not any(part in shown for part in text.split("."))
