"""Bearer tokens in `Authorization`, the challenge of a 401, the metadata, and the settings."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from sltt_core.api.bearer import authenticator_from_environment
from sltt_core.api.device_tokens import new_secret
from sltt_core.api.http import Request
from sltt_core.auth.jwks import KEY_TYPES
from sltt_core.base.errors import InvalidInput, IssuerUnavailable, SlttError, Unauthenticated
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import ConnectFailed
from sltt_core.sqlite.storage import LocalStorageService
from tests.sltt_core.api.client import Asks, api_on, body_from, get
from tests.sltt_core.auth.samples import (
    AUDIENCE,
    ISSUER,
    SETTINGS,
    claims,
    key_set,
    rsa_jwk,
    secret_jwk,
    token,
)

METADATA = "/.well-known/oauth-protected-resource"
HOST = {"host": "sync.example.org"}


def authenticator(**changes: str) -> Any:
    made = authenticator_from_environment({**SETTINGS, **changes})
    assert made is not None
    return made


def failure(headers: dict[str, str], **changes: str) -> SlttError:
    with pytest.raises((Unauthenticated, InvalidInput)) as caught:
        authenticator(**changes).authenticate({**HOST, **headers})
    return caught.value


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}", "Bearer {} ", " Bearer {}\t"])
def test_a_good_token_names_the_principal(form: str) -> None:
    principal = authenticator().authenticate({"authorization": form.format(token())})
    assert principal.id == "anna"
    assert principal.claims["aud"] == AUDIENCE


@pytest.mark.parametrize("value", [None, "", " ", "Basic YTpi", "Digest a", "Token abc", "Bearerx abc", "DPoP abc"])
def test_without_a_bearer_token_there_is_no_error_code(value: str | None) -> None:
    error = failure({} if value is None else {"authorization": value})
    assert isinstance(error, Unauthenticated)
    assert error.challenge == (
        f'Bearer realm="sltt", resource_metadata="https://sync.example.org{METADATA}"'
    )  # RFC 6750, section 3.1


@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer a, Bearer b", 'Bearer "a"', "Bearer é", "Bearer a=b",
     "Bearer ==", "Bearer token=a", "Bearer\ta", "Bearer a\x00", "Bearer a%20b", "Bearer {a}"],
)  # fmt: skip
def test_a_malformed_header_is_an_invalid_request(value: str) -> None:
    error = failure({"authorization": value})
    if value == "Bearer\ta":  # the scheme ends at a space only
        assert isinstance(error, Unauthenticated)
        return
    assert isinstance(error, InvalidInput)
    assert (error.status, error.field) == (400, "Authorization")
    assert error.challenge is not None
    assert 'error="invalid_request"' in error.challenge
    assert value.removeprefix("Bearer").strip() in ("", "a") or value not in f"{error} {error.challenge}"


def test_a_bad_token_is_an_invalid_token() -> None:
    bad = token(payload=claims(exp=5))
    error = failure({"authorization": f"Bearer {bad}"})
    assert error.challenge == (
        'Bearer realm="sltt", error="invalid_token", error_description="the token has expired", '
        f'resource_metadata="https://sync.example.org{METADATA}"'
    )
    assert bad not in repr([error, error.challenge, error.hint, error.__cause__])


@pytest.mark.parametrize(
    ("host", "resource"),
    [
        ("sync.example.org", "https://sync.example.org"),
        ("Sync.Example.org:8443", "https://sync.example.org:8443"),
        ("localhost:8080", "http://localhost:8080"),
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("[2001:db8::1]", "https://[2001:db8::1]"),
        ("", None),
        ('a"b', None),
        ("a b", None),
        ("a/b", None),
        ("a\r\nb", None),
        ("é", None),
        ("a" * 256, None),
    ],
)
def test_the_resource_is_the_host_of_the_request(host: str, resource: str | None) -> None:
    error = failure({"host": host})
    assert error.challenge is not None
    assert ("resource_metadata" in error.challenge) == (resource is not None)
    if resource is None:
        with pytest.raises(InvalidInput):
            authenticator().metadata({"host": host})
    else:
        assert error.challenge.endswith(f', resource_metadata="{resource}{METADATA}"')
        assert authenticator().metadata({"host": host}) == {
            "resource": resource,
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
        }


def test_a_setting_names_the_resource() -> None:
    made = authenticator(AUTH_RESOURCE="https://api.example.org/sync/", AUTH_ISSUER="an issuer without a URL")
    assert made.metadata(HOST) == {
        "resource": "https://api.example.org/sync",
        "bearer_methods_supported": ["header"],
    }


def test_an_issuer_that_does_not_respond_is_a_503_and_reported(storage: LocalStorageService) -> None:
    class Dead:
        def __init__(self, origin: object, seconds: float) -> None:
            pass

        def send(self, request: bytes, **_: object) -> object:
            raise ConnectFailed("the network is down")

        def close(self) -> None:
            pass

    made = authenticator_from_environment(
        {**SETTINGS, "AUTH_JWKS": "https://id.example.org/keys"}, runtime=Runtime(transport=Dead)
    )
    reported: list[BaseException] = []
    api = api_on(storage, authenticator=made, report=reported.append)
    response = get(api, "/api/projects", authorization=f"Bearer {token()}")
    problem = body_from(response, 503)
    assert problem["type"] == "urn:sltt:problem:issuer-unavailable"
    assert response.header("retry-after") == "5"
    assert [type(error) for error in reported] == [IssuerUnavailable]
    assert get(api, "/health").status == 200


# The API


def test_the_body_is_not_read_and_access_not_asked_before_the_token_is_verified(storage: LocalStorageService) -> None:
    api = api_on(storage, authenticator=authenticator(), access=Asks(lambda *_: pytest.fail("access was asked")))
    response = api.handle(Request("POST", "/api/changes", "nonsense=1", {"content-encoding": "gzip"}, b"no gzip"))
    assert response.status == 401
    assert get(api, "/api/projects/a%2Fb/changes?limit=x").status == 401


def test_a_principal_of_the_gateway_is_not_verified_again(storage: LocalStorageService) -> None:
    api = api_on(storage, authenticator=authenticator())
    assert get(api, "/api/projects", principal="arn:aws:iam::1:user/anna").status == 200
    assert get(api, "/api/projects").status == 401


def test_a_waiting_request_is_verified_again_when_it_wakes(storage: LocalStorageService) -> None:
    now = 1_800_000_000
    clock = [now]
    made = authenticator_from_environment(SETTINGS, runtime=Runtime(clock=lambda: clock[0] * 10**9))
    api = api_on(storage, authenticator=made)
    bearer = f"Bearer {token(payload=claims(now, exp=now + 30))}"
    assert get(api, "/api/projects/p/changes?wait=60", authorization=bearer).wait is not None
    clock[0] += 30
    assert get(api, "/api/projects/p/changes?wait=60", authorization=bearer).status == 401


def test_a_request_does_not_show_its_token() -> None:
    request = Request("GET", "/api/projects", "access_token=secret", {"authorization": "Bearer secret"}, b"secret")
    assert repr(request) == "Request('GET', '/api/projects')"


def test_openapi_has_the_security_scheme_where_tokens_are_verified(storage: LocalStorageService) -> None:
    plain = body_from(get(api_on(storage), "/openapi.json"))
    assert "securitySchemes" not in plain["components"]
    assert METADATA not in plain["paths"]
    assert "401" not in str(plain["paths"])
    secured = body_from(get(api_on(storage, authenticator=authenticator()), "/openapi.json"))
    assert secured["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, operations in secured["paths"].items():
        public = path in ("/health", "/ready", "/api/help", "/openapi.json", METADATA)
        for operation in operations.values():
            assert operation.get("security") == (None if public else [{"bearer": []}])
            assert ("401" in operation["responses"]) != public


# The settings


def test_no_settings_are_no_authenticator() -> None:
    assert authenticator_from_environment({}) is None
    assert authenticator_from_environment(dict.fromkeys(SETTINGS, " ") | {"AUTH_OTHER": "x"}) is None


@pytest.mark.parametrize("missing", list(SETTINGS))
def test_half_of_the_settings_are_an_error_that_names_the_other(missing: str) -> None:
    with pytest.raises(InvalidInput, match=f"the setting {missing} is missing, but ") as caught:
        authenticator_from_environment({**SETTINGS, missing: ""})
    assert caught.value.field == missing
    with pytest.raises(InvalidInput, match="the setting AUTH_ISSUER is missing, but AUTH_RESOURCE is set"):
        authenticator_from_environment({"AUTH_RESOURCE": "https://api.example.org"})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("AUTH_JWKS", "keys.json", "is not a URL"),
        ("AUTH_JWKS", "http://id.example.org/keys", "does not begin with https"),
        ("AUTH_JWKS", "{", "is not valid JSON"),
        ("AUTH_JWKS", '{"keys":[]}', "no key that can be used: it is empty"),
        ("AUTH_JWKS", key_set(secret_jwk(b"secret of 16 byt")), r"no key that can be used: keys\[0\] is a secret of"),
        ("AUTH_JWKS", key_set(rsa_jwk(d="secret")), "contains a private key"),
        ("AUTH_RESOURCE", "api.example.org", "is not a URL"),
        ("AUTH_RESOURCE", "http://api.example.org", "does not begin with https"),
        ("AUTH_RESOURCE", "https://api.example.org/?a", "is not a URL without a query"),
        ("AUTH_RESOURCE", 'https://api.example.org/"', "is not a URL without a query"),
    ],
)
def test_a_bad_setting_is_named_and_no_key_is_shown(name: str, value: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"the setting {name} .*{reason}") as caught:
        authenticator_from_environment({**SETTINGS, name: value})
    assert caught.value.field == name
    assert "c2VjcmV0" not in str(caught.value)  # the base64url of `secret`


@pytest.mark.parametrize("fast", [True, False])
def test_cryptography_is_used_only_where_it_is_asked_for_and_installed(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[object] = []

    def parse(text: str, types: object, *, secrets: bool) -> list[int]:
        used.append(types)
        return [1]

    monkeypatch.setattr("sltt_core.api.bearer.parse_key_set", parse)
    authenticator_from_environment(SETTINGS, fast=fast)
    monkeypatch.setitem(sys.modules, "sltt_core.auth.openssl", None)
    monkeypatch.delattr("sltt_core.auth.openssl", raising=False)
    authenticator_from_environment(SETTINGS, fast=fast)
    assert (used[0] is not KEY_TYPES) == fast
    assert used[1] is KEY_TYPES


# Device tokens


def device_token(storage: LocalStorageService) -> str:
    secret = new_secret("token", "ruth", None)
    storage.create_token(secret.id, secret.digest(), "editor", "tablet 7", project_id="ruth")
    return secret.reveal()


@pytest.mark.parametrize("settings", [{"ACCESS_CONTROL": "roles"}, SETTINGS], ids=["alone", "with an issuer"])
def test_a_device_token_names_its_device(storage: LocalStorageService, settings: dict[str, str]) -> None:
    text = device_token(storage)
    made = authenticator_from_environment(settings, storage=storage)
    assert made is not None
    principal = made.authenticate({**HOST, "authorization": f"Bearer {text}"})
    assert principal.id == f"device:{text[5:21]}"
    assert principal.claims["projectId"] == "ruth"
    other = text[:-1] + ("x" if text[-1] != "x" else "y")
    for wrong in (other, "sltt_", "sltt_x_y"):
        with pytest.raises(Unauthenticated) as caught:
            made.authenticate({**HOST, "authorization": f"Bearer {wrong}"})
        assert 'error="invalid_token"' in str(caught.value.challenge)
        assert text[22:] not in f"{caught.value} {caught.value.challenge}"


def test_without_access_control_no_device_token_is_accepted(storage: LocalStorageService) -> None:
    text = device_token(storage)
    made = authenticator_from_environment({**SETTINGS, "ACCESS_CONTROL": "none"}, storage=storage)
    assert made is not None
    with pytest.raises(Unauthenticated):
        made.authenticate({**HOST, "authorization": f"Bearer {text}"})
    assert authenticator_from_environment({"ACCESS_CONTROL": "none"}, storage=storage) is None


def test_without_an_issuer_only_device_tokens_are_accepted(storage: LocalStorageService) -> None:
    made = authenticator_from_environment({"ACCESS_CONTROL": "roles"}, storage=storage)
    assert made is not None
    with pytest.raises(Unauthenticated, match="the token is not a device token"):
        made.authenticate({**HOST, "authorization": f"Bearer {token()}"})
    assert "authorization_servers" not in made.metadata(HOST)


def test_an_issuer_cannot_name_a_device() -> None:
    error = failure({"authorization": f"Bearer {token(payload=claims(sub='device:4fJ9sK2mQx8LbN3v'))}"})
    assert "sub begins with device:, which is reserved" in error.message
