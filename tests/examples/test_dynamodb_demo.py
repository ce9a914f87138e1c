"""The demonstration on a real engine: it succeeds repeatedly, and stops at the first broken promise."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest

from aws_backend.log.items import change_key
from aws_backend.storage import DynamoDBStorageService
from examples.dynamodb_demo import demonstrate
from examples.support.promises import Broken
from examples.support.report import Report
from scripts.engines import free_port
from sltt_core.base.errors import SlttError
from tests.conftest import engine_url

if TYPE_CHECKING:
    from sltt_core.log.batches import Chunk, StoredChunk
    from sltt_core.log.pages import ChangeStats, Head, Run
    from sltt_core.model.changes import Change


def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("DYNAMODB_", "AWS_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "examples.dynamodb_demo", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environ, "PYTHONIOENCODING": "utf-8", **environment},
    )


@pytest.fixture
def table() -> str:
    return f"demo-{uuid4().hex}"


def test_the_demo_succeeds_on_a_new_table_and_on_a_used_one(dynamodb_url: str, table: str) -> None:
    said = []
    for _ in range(2):
        process = start("--no-server", "--table", table, "--endpoint", dynamodb_url)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert out.endswith("  ✓ every promise held\n")
        assert "\x1b" not in out
        assert max(map(len, out.splitlines())) <= 120
        said.append(out)
    assert said[0] != said[1]  # other projects


def test_the_server_handles_the_shown_commands_until_ctrl_c() -> None:
    process = start("--port", "0", "--table", f"demo-{uuid4().hex}", DYNAMODB_ENDPOINT=engine_url("dynoxide"))
    assert process.stdout is not None
    lines: list[str] = []
    while len(curls := [line.strip() for line in lines if line.strip().startswith("curl ")]) < 4:
        lines.append(process.stdout.readline())
        assert lines[-1], process.communicate()
    responses = [httpx.get(shlex.split(curl)[-1]) for curl in curls]
    assert [response.status_code for response in responses] == [200] * 4
    assert responses[0].json()["storageType"] == "dynamodb"
    assert len(responses[1].json()["projects"]) == 2
    assert [change["seq"] for change in responses[2].json()["changes"]] == [3, 4]
    assert responses[3].json()["changeStats"]["total"] == 6
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "stopped\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--endpoint", "http://127.0.0.1:{free}"], "DynamoDB does not respond at http://127.0.0.1:{free}"),
        (["--endpoint", "localhost"], "DYNAMODB_ENDPOINT: 'localhost' does not begin with http"),
        (["--endpoint", "{engine}", "--table", "a"], "table name 'a' is not valid"),
        (["--endpoint", "{engine}", "--port", "99999"], "cannot listen on 127.0.0.1, port 99999"),
    ],
)
def test_an_invalid_setup_is_one_message_with_a_hint(arguments: list[str], said: str) -> None:
    values = {"free": free_port(), "engine": engine_url("dynoxide")}
    process = start(*(argument.format(**values) for argument in arguments))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert re.match(f"demo: .*{re.escape(said.format(**values))}", err)
    assert "\nHint: " in err
    assert "Traceback" not in err


# Storages on a real engine that break a promise


class Forgetful(DynamoDBStorageService):
    def _stored_chunk(self, project_id: str, key: str, number: int) -> StoredChunk | None:
        return None

    def _append(self, chunk: Chunk) -> StoredChunk:
        key = uuid4().hex
        return super()._append(chunk.replace(key=key))


class Skipping(DynamoDBStorageService):
    def _run(self, project_id: str, cursor: int, limit: int, chain: str | None) -> Run:
        end, known, changes = super()._run(project_id, cursor, limit, chain)
        return end, known, [change for change in changes if change.seq != 2]


class Counting(DynamoDBStorageService):
    def _stats(self, project_id: str) -> tuple[ChangeStats, dict[str, int], Head]:
        stats, types, head = super()._stats(project_id)
        return stats.replace(updates=0), types, head


class Typeless(DynamoDBStorageService):
    def _stats(self, project_id: str) -> tuple[ChangeStats, dict[str, int], Head]:
        stats, _, head = super()._stats(project_id)
        return stats, {"passage": 1}, head


class Hiding(DynamoDBStorageService):
    def _projects(self, after: str | None, limit: int) -> list[str]:
        return []


class Other(DynamoDBStorageService):
    def _get(self, project_id: str, seq: int) -> Change | None:
        return super()._get(project_id, 1)


class Altering(DynamoDBStorageService):
    """What marking does to a change does it to its data, too."""

    def _mark(self, project_id: str, seq: int, outdated_by: int) -> Change | None:
        marked = super()._mark(project_id, seq, outdated_by)
        table = self._open.table
        table.client.call(
            "UpdateItem",
            {
                "TableName": table.name,
                "Key": change_key(project_id, seq),
                "UpdateExpression": "SET dataJson = :d",
                "ExpressionAttributeValues": {":d": {"S": "{}"}},
            },
        )
        return marked


@pytest.mark.parametrize(
    ("kind", "part"),
    [(Forgetful, 1), (Skipping, 1), (Hiding, 1), (Other, 3), (Counting, 5), (Typeless, 5), (Altering, 6)],
)
def test_the_demo_stops_at_the_first_broken_promise(kind: Any, part: int, table: str) -> None:
    written = io.StringIO()
    with (
        kind(table, use_local_dynamodb=True, local_endpoint=engine_url("dynoxide")) as storage,
        pytest.raises((Broken, SlttError)) as caught,
    ):
        demonstrate(storage, uuid4().hex[:8], Report(written))
    assert str(caught.value)
    assert re.findall(r"^(\d) ", written.getvalue(), re.MULTILINE)[-1] == str(part)


def test_the_demo_shows_all_six_parts(table: str) -> None:
    written = io.StringIO()
    with DynamoDBStorageService(table, use_local_dynamodb=True, local_endpoint=engine_url("dynoxide")) as storage:
        demonstrate(storage, "12345678", Report(written))
    assert re.findall(r"^(\d) ", written.getvalue(), re.MULTILINE) == list("123456")
