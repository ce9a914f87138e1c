"""The program of docs/chain.md that checks links in JavaScript, on real servers: difficult, long and altered logs."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from sltt_core.model.changes import NewChange
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.contract.logs import HttpSqliteLog
from tests.docs.documents import blocks
from tests.docs.test_docs import ADDRESS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

(RECIPE,) = (block.text for block in blocks("docs/chain.md") if "async function check(" in block.text)

NUMBERS = ["0", "-0", "1.0", "1.00", "-0.0", "1e2", "1E+2", "1e-400", "0.1e-1", "1.7976931348623157e308"]
LONG = ["9" * 400, "-" + "1" * 17, "0." + "3" * 400, "1" + "0" * 308, "1e+0000000000000000000000000000001"]
TEXTS = ['""', '"}"', '"{[,:]}"', '"\\\\"', '"\\""', '"a\\\\\\"]"', '"\\u007b\\/"', '"é 𝠀 \u2028\ufeff"', '"\u00a0"']
SHAPES = [
    "{}",
    "{ }",
    "[]",
    "[ ]",
    "[[],{}]",
    '{"data":{"data":{"seq":1}}}',
    '{"chain":"x","changes":[{"seq":9}]}',
    "null",
]
WIDE = [
    '"' + '\\n"\\\\'.replace('"', '\\"') * 30_000 + '"',
    "[" + ",".join(["1.0"] * 50_000) + "]",
    "[" * 60 + "]" * 60,
]
DATA = [f'{{ "v" :\t{value} }}' for value in (*NUMBERS, *LONG, *TEXTS, *SHAPES, *WIDE)]


def run_recipe(url: str, projects: Sequence[str]) -> subprocess.CompletedProcess[str]:
    code = RECIPE.replace(ADDRESS, url).replace('["ruth", "odd"]', json.dumps(projects))
    assert code.count(url) == 1
    return subprocess.run(["node", "-e", code], capture_output=True, encoding="utf-8", timeout=120, check=False)


def append(storage: LocalStorageService, project: str, data: Sequence[str]) -> None:
    storage.create_changes(
        [
            NewChange(
                project_id=project,
                entity_type="t",
                entity_id=f']}} \\ " {number} 日本',
                data=text,
                cid="c" if number % 2 else None,
                change_by='"me"' if number % 3 else None,
            )
            for number, text in enumerate(data)
        ]
    )


def test_difficult_and_long_logs_are_right(tmp_path: Path) -> None:
    storage = LocalStorageService(tmp_path / "log.db")
    with RestApiServer(storage=storage, port=0) as server:
        append(storage, "a+b@c", DATA)
        append(storage, "long", ["{}"] * 2500)  # three pages
        storage.mark_as_outdated(1, 2, project_id="a+b@c")
        heads = {project: storage.get_head(project_id=project) for project in ("a+b@c", "long", "empty")}
        done = run_recipe(server.url, list(heads))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name}: {head.seq} changes, {head.chain}" for name, head in heads.items()]


@pytest.mark.parametrize(("before", "after"), [("1.0", "1.00"), ("1.0", "1"), ("1e-400", "0"), ('"a"', '"\\u0061"')])
def test_a_change_whose_text_was_altered_is_found_though_its_value_is_the_same(
    before: str, after: str, tmp_path: Path
) -> None:
    assert json.loads(before) == json.loads(after)
    log = HttpSqliteLog(tmp_path)
    storage = LocalStorageService(log.path)
    with RestApiServer(storage=storage, port=0) as server:
        append(storage, "p", ["{}", f'{{"v":{before}}}', "{}"])
        assert run_recipe(server.url, ["p"]).returncode == 0
        log.alter("p", 2, f'{{"v":{after}}}')
        done = run_recipe(server.url, ["p"])
    assert done.returncode != 0
    assert "change 2 was altered" in done.stderr
    assert done.stdout == ""


def test_an_error_of_the_server_is_an_error(tmp_path: Path) -> None:
    with RestApiServer(storage=LocalStorageService(tmp_path / "log.db"), port=0) as server:
        done = run_recipe(server.url, ["not a project"])
    assert done.returncode != 0
    assert "400" in done.stderr
