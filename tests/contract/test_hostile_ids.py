"""No project id gives access to the data of another project."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from sltt_core.base.errors import InvalidBatch, InvalidInput
from sltt_core.server.storages import open_storage
from tests.contract.logs import HttpSqliteLog, Log, new

if TYPE_CHECKING:
    from pathlib import Path

    from sltt_core.log.storage import BaseStorageService

HOSTILE = {
    "sequence": "SEQUENCE#x",
    "request": "REQUEST#p#key-0123456789abcdef",
    "parent": "../",
    "parent of p": "../p",
    "dot": ".",
    "dots": "..",
    "empty": "",
    "too long": "x" * 129,
    "emoji": "🤟",
    "right-to-left mark": "p\u200f",
    "right-to-left override": "\u202ep",
    "zero width": "p\u200b",
    "encoded hash": "%23",
    "encoded slash": "p%2Fq",
    "star": "*",
    "question mark": "p?",
    "hash": "p#1",
    "slash": "p/q",
    "backslash": "p\\q",
    "blank": "p q",
    "blank first": " p",
    "newline": "p\n",
    "nul": "p\x00",
    "quote": "p'",
    "double quote": 'p"',
    "semicolon": "p;DROP TABLE logs",
    "percent": "p%",
    "underscore first": "_p",
    "dash first": "-p",
    "plus first": "+p",
    "full width": "\uff50",
    "combining": "p\u0301",
    "dotless i": "\u0131",
    "surrogate": "\ud800",
    "brackets": "p[0]",
    "braces": "{projectId}",
    "ampersand": "p&q=1",
    "comma": "p,q",
    "dollar": "$p",
    "tab": "p\tq",
}


@pytest.mark.parametrize("project_id", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_project_id_is_refused_by_the_python_api(direct: Log, tmp_path: Path, project_id: str) -> None:
    with pytest.raises(InvalidBatch, match="project_id"):
        new(project_id=project_id)
    with pytest.raises(InvalidInput, match="project_id"):
        direct.open(project_id)
    with pytest.raises(InvalidInput, match="project_id"):
        open_storage(direct.url, project_id)
    storage: BaseStorageService = direct.open()
    storage.create_change(new())
    calls: list[Any] = [
        lambda: storage.get_change(1, project_id=project_id),
        lambda: storage.get_changes_with_cursor(project_id=project_id),
        lambda: storage.get_changes_not_outdated(project_id=project_id),
        lambda: storage.get_changes_since(project_id=project_id),
        lambda: storage.get_change_stats(project_id=project_id),
        lambda: storage.get_entity_type_stats(project_id=project_id),
        lambda: storage.get_head(project_id=project_id),
        lambda: storage.mark_as_outdated(1, 2, project_id=project_id),
        lambda: storage.wait_for_changes(0, 0, project_id=project_id),
        lambda: storage.get_all_projects(project_id),
        lambda: storage.restore_changes([storage.get_change(1, project_id="p").replace(project_id=project_id)]),
    ]
    for call in calls:
        with pytest.raises(InvalidInput):
            call()
    assert storage.get_all_projects().projects == ("p",)


def test_a_hostile_project_id_is_refused_over_http(tmp_path: Path) -> None:
    log = HttpSqliteLog(tmp_path)
    try:
        log.reach()
        client = httpx.Client(base_url=log.server_url)
        for name, project_id in HOSTILE.items():
            body = json.dumps([{"projectId": project_id, "entityType": "t", "entityId": "e", "data": {}}])
            response = client.post("/api/changes", content=body, headers={"content-type": "application/json"})
            assert (name, response.status_code) == (name, 400)
            octets = project_id.encode("utf-8", "surrogatepass")
            encoded = "".join(f"%{octet:02X}" for octet in octets)
            for rest in ("changes", "changes/1", "stats"):
                response = client.send(
                    httpx.Request(
                        "GET", httpx.URL(str(client.base_url), raw_path=f"/api/projects/{encoded}/{rest}".encode())
                    )
                )
                assert (name, response.status_code) == (name, 400)
                assert response.json()["field"] == "projectId"
        assert client.get("/api/projects").json()["projects"] == []
        client.close()
    finally:
        log.close()
