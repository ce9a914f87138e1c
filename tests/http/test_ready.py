"""`/ready`, over every way in."""

from __future__ import annotations

from tests.http.entry_points import NAME, EntryPoint


def test_ready_reads_from_the_storage(entry_point: EntryPoint) -> None:
    response = entry_point.ask("GET", "/ready")
    body = response.json()
    expected = (200, "ready", NAME, entry_point.storage.storage_type)
    assert (response.status, body["status"], body["server"], body["storageType"]) == expected
    assert response.headers["cache-control"] == "no-store"
    assert "etag" not in response.headers
