"""RxDB and TanStack DB: three clients converge while 30 % of the requests are cut, and no edit is doubled."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.clients.cutting_proxy import KINDS, CuttingProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
CLIENTS, EDITS = 3, 12
SEEDS = (1, 2, 3)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RestApiServer]:
    with RestApiServer(storage=LocalStorageService(tmp_path / "log.db"), port=0) as server:
        yield server


def run(program: str, *arguments: str) -> dict[str, Any]:
    """Run a program; return the JSON that it prints."""
    command = ["node", str(FOLDER / program), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def converged(program: str, server: RestApiServer, seed: int) -> dict[str, Any]:
    """Let the clients edit; return their report. What no client may do is checked here."""
    with CuttingProxy(server.url, seed) as proxy:
        report = run(program, proxy.url, server.url, str(seed))
    assert all(proxy.cuts[kind] for kind in KINDS)
    changes = report["changes"]

    assert report["documents"] == [report["expected"]] * CLIENTS
    assert max(Counter(change["cid"] for change in changes).values()) == 1

    created = Counter(change["entityId"] for change in changes if change["operation"] == "create")
    deleted = Counter(change["entityId"] for change in changes if change["operation"] == "delete")
    own = {f"own-{client}-{n}" for client in range(CLIENTS) for n in range(1, EDITS + 1)}
    gone = {f"own-{client}-{n}" for client in range(CLIENTS) for n in range(2, EDITS, 3)}
    assert {document["id"] for document in report["expected"]} == own - gone | {"shared"}
    assert all(created[name] == 1 for name in own - gone)
    assert all(created[name] <= 1 and deleted[name] == 1 for name in gone)

    shared = next(document for document in report["expected"] if document["id"] == "shared")
    for client in range(CLIENTS):
        values = sent(changes, client)
        assert values == sorted(set(values))
        assert shared[f"f{client}"] == EDITS
    return report


def sent(changes: list[dict[str, Any]], client: int) -> list[int]:
    """Return the values of a client's own field of the shared document, in the order of the log."""
    name = f"f{client}"
    shared = [change for change in changes if change["entityId"] == "shared"]
    return [change["data"][name] for change in shared if name in change["data"]]


@pytest.mark.parametrize("seed", SEEDS)
def test_rxdb(server: RestApiServer, seed: int) -> None:
    report = converged("rxdb_program.mjs", server, seed)
    assert report["heard"] == ["RESYNC"]
    assert report["pulls"]
    assert all(fresh == used for fresh, used in report["pulls"])
    assert [len(fresh["documents"]) for fresh, _ in report["pulls"]][-2:] == [0, 0]


@pytest.mark.parametrize("seed", SEEDS)
def test_tanstack_db(server: RestApiServer, seed: int) -> None:
    report = converged("tanstack_program.mjs", server, seed)
    changes = report["changes"]
    assert report["missing"] == []
    assert [sent(changes, client) for client in range(CLIENTS)] == [[*range(1, EDITS + 1)]] * CLIENTS


BASE = {"id": "r1", "cid": "base", "title": "a", "verses": 1, "_deleted": False}


def test_the_rare_orders_of_a_push_of_rxdb(server: RestApiServer) -> None:
    found = run("push_program.mjs", server.url)
    first = ["base", "create", {"title": "a", "verses": 1}]
    assert found["overtaken"] == {
        "conflicts": [{**BASE, "cid": "theirs", "title": "b"}],
        "resolved": {**BASE, "cid": "mine", "title": "c"},
        "log": [first, ["theirs", "update", {"title": "b"}]],
    }
    assert found["lost"] == {
        "error": "the response was lost",
        "conflicts": [{**BASE, "cid": "theirs", "title": "c"}],
        "resolved": {**BASE, "cid": "theirs", "title": "c"},
        "log": [first, ["mine", "update", {"title": "b"}], ["theirs", "update", {"title": "c"}]],
    }
    assert found["again"] == {"conflicts": [], "log": [first, ["mine", "update", {"title": "b"}]]}
    assert found["deleted"] == {
        "conflicts": [],
        "same": True,
        "resolved": {"id": "r1", "cid": "c2", "_deleted": True},
        "log": [
            first,
            ["c1", "update", {"verses": None}],
            ["c2", "delete", {}],
            ["c3", "create", {"title": "a", "verses": 2}],
        ],
    }
    assert found["foreign"] == {
        "states": [{**BASE, "cid": "2", "title": "b"}, {**BASE, "cid": "3", "title": "c"}],
        "equal": False,
        "unchanged": {**BASE, "cid": "3", "title": "c"},
        "log": [first, [None, "update", {"title": "b"}], [None, "update", {"title": "c"}]],
    }
