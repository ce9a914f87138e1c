"""The server of the model: it speaks DynamoDB's HTTP protocol and stops at Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.errors import InvalidRequest, TableNotFound
from aws_backend.dynamodb.sigv4 import Credentials
from tests.dynamodb_model.calls import SCHEMA

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.dynamodb_model.serve", *arguments],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def test_the_model_is_served_until_ctrl_c() -> None:
    with start("--port", "0") as process:
        assert process.stdout is not None
        url = process.stdout.readline().split(" ")[4]
        credentials = Credentials("AKIDLOCAL", "secret")
        client = DynamoDBClient("eu-west-1", lambda: credentials, endpoint=url)
        item = {"pk": {"S": "é🤟"}, "seq": {"N": "1"}}
        client.call("CreateTable", SCHEMA)
        client.call("PutItem", {"TableName": SCHEMA["TableName"], "Item": item})
        found = client.call("GetItem", {"TableName": SCHEMA["TableName"], "Key": item})
        assert found == {"Item": item}
        with pytest.raises(TableNotFound):
            client.call("DescribeTable", {"TableName": "none"})
        with pytest.raises(InvalidRequest):
            client.call("NoSuchOperation", {})
        client.close()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == "stopped\n"
    assert process.returncode == 0


def test_a_port_in_use_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with start("--port", str(taken.getsockname()[1])) as process:
            error = process.communicate(timeout=20)[1]
    assert process.returncode == 1
    assert error.startswith("cannot listen on port ")
