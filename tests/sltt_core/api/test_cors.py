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
