"""The cost of a call, as a number of function calls: this number is reproducible, the duration is not."""

from __future__ import annotations

from functools import partial

from aws_backend.dynamodb.client import DynamoDBClient
from bench.dynamodb.calls import CREDENTIALS, OPERATIONS, REGION, count_calls, fill
from scripts.engines import DYNOXIDE
from tests.conftest import engine_url

BUDGET = 60
"""The largest number of function calls (Python and C) for an operation on an open connection.

boto3 makes 3,900 for a PutItem."""


def test_an_operation_calls_few_functions() -> None:
    url = engine_url(DYNOXIDE)
    fill(url)
    client = DynamoDBClient(REGION, lambda: CREDENTIALS, endpoint=url)
    for operation, payload in OPERATIONS.items():
        call = partial(client.call, operation, payload)
        for _ in range(3):
            call()
        # More calls are made when a new second begins, or when a large response arrives in two pieces.
        assert min(count_calls(call) for _ in range(5)) <= BUDGET, operation
    client.close()


def test_the_client_imports_few_modules() -> None:
    """Checks the imports of the client alone; tests/test_layers.py checks the whole Lambda path."""
    import subprocess
    import sys
    from pathlib import Path

    src = Path(__file__).resolve().parents[3] / "src"
    program = f"import sys; sys.path.insert(0, {str(src)!r}); import aws_backend.dynamodb.client; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert not loaded & {"asyncio", "http.client", "email", "logging", "typing", "dataclasses", "datetime", "urllib"}
    assert not loaded & {"configparser", "subprocess", "threading", "random", "zlib"}
