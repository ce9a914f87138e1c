"""The lines of the access log."""

from __future__ import annotations

import io
import json

import pytest

from sltt_core.api.http import Request
from sltt_core.base.runtime import Runtime
from sltt_core.server.access_log import AccessEntry, AccessLog

REQUEST = Request("GET", "/api/projects/p/changes")
ENTRY = AccessEntry(REQUEST, 200, 12_345, 0.0042, "id-1")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def log_to(stream: io.StringIO, entry: AccessEntry) -> str:
    log = AccessLog(stream, runtime=Runtime(clock=lambda: 1_740_821_400_123_000_000))
    log.write(entry)
    assert log.flush(30)
    return stream.getvalue()


def test_a_terminal_gets_a_readable_line() -> None:
    line = log_to(Terminal(), ENTRY)
    assert line == "09:30:00.123 200 GET    /api/projects/p/changes 12,345 B 4.2 ms id-1\n"


def test_any_other_stream_gets_json() -> None:
    assert json.loads(log_to(io.StringIO(), ENTRY)) == {
        "level": "INFO",
        "time": "2025-03-01T09:30:00.123Z",
        "requestId": "id-1",
        "route": "GET /api/projects/{projectId}/changes",
        "status": 200,
        "ms": 4.2,
        "bytes": 12345,
        "cold": True,
    }


@pytest.mark.parametrize("path", ["/\x1b[2J", "/a\nb", "/\x07\x00", "/\u202ex"])
def test_a_path_cannot_control_the_terminal(path: str) -> None:
    line = log_to(Terminal(), ENTRY.replace(request=REQUEST.replace(path=path)))
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()


def test_a_long_path_is_truncated() -> None:
    assert len(log_to(Terminal(), ENTRY.replace(request=REQUEST.replace(path="/" + "x" * 100_000)))) < 300
    assert len(log_to(io.StringIO(), ENTRY.replace(request=REQUEST.replace(path="/" + "x" * 100_000)))) < 3000


FAILED = ENTRY.replace(
    status=503,
    error={
        "error": "StorageUnavailable",
        "at": ["storage:7"],
        "message": "DynamoDB cannot be reached",
        "because": ["ConnectFailed: refused\x1b[2J"],
        "hint": "Check DYNAMODB_ENDPOINT.",
    },
)


def test_an_error_is_in_the_line_of_its_request() -> None:
    entry = json.loads(log_to(io.StringIO(), FAILED))
    assert (entry["status"], entry["requestId"], entry["error"]) == (503, "id-1", "StorageUnavailable")
    assert entry["hint"] == "Check DYNAMODB_ENDPOINT."


def test_a_terminal_gets_the_error_below_the_line() -> None:
    lines = log_to(Terminal(), FAILED).splitlines()
    assert lines[1:] == [
        "  StorageUnavailable: DynamoDB cannot be reached; because ConnectFailed: refused?[2J Check DYNAMODB_ENDPOINT."
    ]


def test_a_log_of_errors_leaves_out_the_other_requests() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, errors_only=True)
    for entry in (ENTRY, FAILED, ENTRY.replace(status=404)):
        log.write(entry)
    assert log.flush(30)
    assert [json.loads(line)["status"] for line in stream.getvalue().splitlines()] == [503]
