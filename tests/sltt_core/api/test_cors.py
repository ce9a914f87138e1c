from __future__ import annotations

import pytest

from sltt_core.api.cors import Cors
from sltt_core.api.http import Request
from sltt_core.base.errors import InvalidInput, NotAllowed


@pytest.mark.parametrize(
    "origin", ["foo", "", "not an origin", "https://a.example/path", "https://", "https://a.example,https://b.example"]
)
def test_an_invalid_origin_is_refused_with_an_example(origin: str) -> None:
    with pytest.raises(InvalidInput, match="not the origin of a web page") as caught:
        Cors([origin])
    assert "https://app.example.org" in caught.value.hint


@pytest.mark.parametrize(
    "origin", ["https://app.example.org", "HTTPS://App.example.org/", "http://localhost:5173", "capacitor://localhost"]
)
def test_an_origin_may_write(origin: str) -> None:
    page = Request("POST", "/api/changes", "", {"origin": origin.lower().rstrip("/"), "host": "api.example.org"})
    Cors([origin]).check(page)
    with pytest.raises(NotAllowed):
        Cors(["https://another.example"]).check(page)


APP = "https://app.example.org"


@pytest.mark.parametrize(
    ("origin", "headers", "own"),
    [
        (APP, {"host": "app.example.org"}, True),
        (APP, {"host": "id.execute-api.us-east-1.amazonaws.com", "x-forwarded-host": "App.example.org"}, True),
        (APP, {"host": "id.example", "x-forwarded-host": "app.example.org, proxy.example"}, True),
        (APP, {"host": "id.example", "x-forwarded-host": "proxy.example, app.example.org"}, False),
        ("http://app.example.org", {"host": "id.example", "x-forwarded-host": "app.example.org"}, False),
        (APP, {"host": "id.example"}, False),
        ("null", {}, False),
        ("null", {"x-forwarded-host": ""}, False),
        ("https://", {"x-forwarded-host": ""}, False),
    ],
)
def test_a_page_of_the_same_origin_may_write(origin: str, headers: dict[str, str], own: bool) -> None:
    page = Request("POST", "/api/changes", "", {"origin": origin, **headers})
    if own:
        Cors().check(page)
    else:
        with pytest.raises(NotAllowed):
            Cors().check(page)


def test_the_hint_names_the_setting() -> None:
    page = Request("POST", "/api/changes", "", {"origin": APP, "host": "id.example"})
    for cors, setting in ((Cors(), "--cors"), (Cors([], "CORS_ORIGINS"), "CORS_ORIGINS")):
        with pytest.raises(NotAllowed) as caught:
            cors.check(page)
        assert (caught.value.operator_hint, caught.value.hint) == (f"Add the origin to {setting}.", "")


def allowed(asked: str, origin: str = APP) -> list[str]:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": asked,
    }
    found = dict(Cors([APP]).preflight_headers(Request("OPTIONS", "/api/changes", "", headers), ["POST"]))
    return found.get("access-control-allow-headers", "").split(", ")


def test_a_preflight_allows_common_headers() -> None:
    common = {"authorization", "x-api-key", "x-amz-date", "x-amz-security-token", "traceparent", "baggage"}
    assert common <= set(allowed(""))
    assert len(set(allowed("x-api-key, X-Api-Key"))) == len(allowed("x-api-key, X-Api-Key")) == len(allowed(""))


def test_a_preflight_echoes_valid_names_to_an_allowed_origin() -> None:
    assert allowed("X-Team,x-amz-meta-a")[-2:] == ["x-team", "x-amz-meta-a"]
    assert allowed("x-a b, x:c, \x00, \ud800, , x-\r\ny: z, (x), é") == allowed("")
    assert allowed("x-team", "https://evil.example") == [""]
