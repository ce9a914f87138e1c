"""Pages filtered by entity and by outdated changes; `through` advances past filtered changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.log import pages
from tests.http.entry_points import EntryPoint, inside, post

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGES = "/api/projects/p/changes"


@pytest.fixture
def filled(entry_point: EntryPoint) -> EntryPoint:
    """Twelve changes: types a, b, c in turn, entities e0 to e3 in turn; 2 and 5 are outdated."""
    post(entry_point, *({"entityType": "abc"[n % 3], "entityId": f"e{n % 4}"} for n in range(12)))
    entry_point.storage.mark_as_outdated(2, 5, project_id="p")
    entry_point.storage.mark_as_outdated(5, 8, project_id="p")
    return entry_point


def seqs(body: Any) -> list[int]:
    return [change["seq"] for change in body["changes"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("entityType=a", [1, 4, 7, 10]),
        ("entityType=a&entityType=c", [1, 3, 4, 6, 7, 9, 10, 12]),
        ("entityId=e0", [1, 5, 9]),
        ("entityId=e0&entityId=e3", [1, 4, 5, 8, 9, 12]),
        ("entityType=b&entityId=e1", [2]),
        ("entityType=none", []),
        ("outdated=exclude", [1, 3, 4, 6, 7, 8, 9, 10, 11, 12]),
        ("outdated=include", list(range(1, 13))),
        ("outdated=exclude&entityType=b", [8, 11]),
        ("entityType=a&cursor=4", [7, 10]),
    ],
)
def test_a_page_has_only_the_requested_changes(filled: EntryPoint, query: str, expected: list[int]) -> None:
    body = filled.ask("GET", f"{CHANGES}?{query}").json()
    assert seqs(body) == expected
    assert body["count"] == len(expected)
    assert body["through"] == 12
    assert "cursor" not in body
    assert body["chain"] == filled.ask("GET", f"{CHANGES}/12").json()["chain"]


@pytest.mark.parametrize("limit", range(1, 6))
def test_filtered_pages_of_every_size_return_the_same_changes(filled: EntryPoint, limit: int) -> None:
    found, cursor, chain = [], 0, ""
    while True:
        body = filled.ask("GET", f"{CHANGES}?entityType=a&limit={limit}&cursor={cursor}{chain}").json()
        assert body["count"] <= limit
        found += seqs(body)
        assert body["through"] >= cursor
        assert body.get("cursor", body["through"]) == body["through"]
        if "cursor" not in body:
            break
        cursor, chain = body["cursor"], f"&chain={body['chain']}"
    assert found == [1, 4, 7, 10]


def test_a_filtered_page_examines_a_bounded_number_of_changes(
    filled: EntryPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside(filled)
    monkeypatch.setattr(pages, "MAX_EXAMINED", 5)
    pages_seen: list[tuple[list[int], int]] = []
    cursor: int | None = 0
    while cursor is not None:
        body = filled.ask("GET", f"{CHANGES}?entityId=e3&cursor={cursor}").json()
        pages_seen.append((seqs(body), body["through"]))
        cursor = body.get("cursor")
    assert pages_seen == [([4], 5), ([8], 10), ([12], 12)]


def test_a_filtered_page_stops_before_a_gap(filled: EntryPoint) -> None:
    post(filled, *({"entityType": "z"} for _ in range(2000)))
    filled.log.lose("p", 1500)
    body = filled.ask("GET", f"{CHANGES}?entityType=a").json()
    assert (seqs(body), body["through"], body["cursor"]) == ([1, 4, 7, 10], 1499, 1499)
    response = filled.ask("GET", f"{CHANGES}?entityType=a&cursor=1499")
    assert response.status == 500
    assert "1500" in response.json()["detail"]


def every_filter() -> Iterator[str]:
    for entity_type in ("", "entityType=a", "entityType=b&entityType=c"):
        for entity_id in ("", "entityId=e1", "entityId=e2&entityId=e0"):
            for outdated in ("", "outdated=exclude"):
                yield "&".join(filter(None, (entity_type, entity_id, outdated)))


@pytest.mark.parametrize("query", list(every_filter()))
def test_a_filter_returns_what_a_client_would_filter_itself(filled: EntryPoint, query: str) -> None:
    types = [part[11:] for part in query.split("&") if part.startswith("entityType=")]
    ids = [part[9:] for part in query.split("&") if part.startswith("entityId=")]
    everything = filled.ask("GET", CHANGES).json()["changes"]
    expected = [
        change
        for change in everything
        if (not types or change["entityType"] in types)
        and (not ids or change["entityId"] in ids)
        and ("exclude" not in query or "outdatedBy" not in change)
    ]
    assert filled.ask("GET", f"{CHANGES}?{query}").json()["changes"] == expected
