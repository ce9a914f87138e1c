"""A TypeScript client: its types are generated from the OpenAPI document, compiled strictly, and used on a server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from scripts.engines import MODULES
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = Path(__file__).with_name("program.ts")
STRICT = "--strict --noUncheckedIndexedAccess --noUnusedParameters --target es2022 --module nodenext --lib es2022,dom"


@pytest.fixture(params=[None, "ruth"], ids=["all projects", "one project"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RestApiServer]:
    with RestApiServer(storage=LocalStorageService(tmp_path / "log.db", request.param), port=0) as server:
        yield server


def run(folder: Path, *command: str | Path) -> str:
    """Run a program in a folder; return its output. The test fails with the output of a program that fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_generated_client_compiles_and_works(server: RestApiServer, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(MODULES)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "openapi.json").write_bytes(httpx.get(f"{server.url}/openapi.json").content)
    (tmp_path / "program.ts").write_text(PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")
    tools = MODULES / ".bin"
    run(tmp_path, tools / "openapi-typescript", "openapi.json", "--output", "api.d.ts")
    run(tmp_path, tools / "tsc", *STRICT.split(), "program.ts")
    assert json.loads(run(tmp_path, "node", "program.js", server.url)) == {
        "seqs": [1, 2, 3, 4],
        "assigned": 4,
        "titles": [None, "Famine", None, "Famine in Bethlehem"],
        "verse": {"number": 1, "text": None},
        "outdatedBy": 2,
        "through": 4,
        "refused": "changes[0].entityId",
    }
