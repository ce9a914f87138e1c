"""The HTTP suite on serverless-offline: an API Gateway on this machine, in front of the function in another process.

`DEVIATIONS` lists where serverless-offline does something else than AWS. Tests that need a server with settings of
their own, or its storage, are not run here.
"""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from scripts.engines import free_port
from tests.contract.logs import DynoxideLog
from tests.deploy.test_serverless import COMMAND, ROOT
from tests.http import test_errors, test_filter, test_headers, test_outdated, test_responses
from tests.http.entry_points import NAME, ServerEntryPoint
from tests.lambda_code import runtime_python

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60.0
"""How long the gateway may take to start."""
SLASH = "removes a slash at the end of the path"
TYPE = "adds a content type to a request without one"
UTF8 = "decodes what is not UTF-8, or no percent-encoding, to other characters"
BODY = "reads a body that is not UTF-8 as if it were"
EMPTIED = "nothing: the function remembers the end of the log that `OfflineEntryPoint` emptied"
DEVIATIONS = {
    "test_an_unknown_path_is_404[/api/projects/]": SLASH,
    "test_an_unknown_path_is_404[/api/projects/p/stats/]": SLASH,
    "test_an_unknown_path_is_404[/health/]": SLASH,
    "test_a_body_that_is_not_json_is_415[None]": TYPE,
    "test_a_body_that_is_not_json_is_415[]": TYPE,
    "test_the_body_has_the_rules_of_every_body": TYPE,
    "test_a_bad_parameter_is_400_and_reported[entityId=%FF-entityId]": UTF8,
    "test_a_bad_parameter_is_400_and_reported[entityId=%zz-entityId]": UTF8,
    "test_an_invalid_number_of_a_change_is_400[%FF]": UTF8,
    "test_an_invalid_number_of_a_change_is_400[%]": UTF8,
    "test_a_bad_number_of_the_change_is_400[%FF]": UTF8,
    "test_a_compressed_body_is_decompressed": BODY,
    "test_a_badly_compressed_body_is_refused[bomb]": BODY,
    "test_a_badly_compressed_body_is_refused[two halves]": BODY,
    "test_without_cors_responses_have_no_cors_headers": "adds CORS headers of its own",
    "test_health": "adds a charset to the content type of JSON",
    "test_a_tag_changes_with_the_response[/api/projects/p/changes?limit=1]": EMPTIED,
}
"""The tests that must fail here, and what serverless-offline 14.8.2 does."""


def suite() -> dict[str, Any]:
    """Return the tests of the HTTP suite that need nothing but `entry_point`, and their fixtures."""
    return {
        name: test
        for module in (test_errors, test_filter, test_headers, test_outdated, test_responses)
        for name, test in vars(module).items()
        if name.startswith("test_")
        and not {"make_entry_point", "described"} & inspect.signature(test).parameters.keys()
        and "inside(" not in inspect.getsource(test)
    } | {"filled": test_filter.filled}


globals().update(suite())


class OfflineGateway:
    """A running serverless-offline."""

    def __init__(self, folder: Path) -> None:
        self.log = DynoxideLog(folder)
        self.storage = self.log.open()
        ports = {name: str(free_port()) for name in ("--httpPort", "--lambdaPort", "--websocketPort")}
        self.url = f"http://127.0.0.1:{ports['--httpPort']}"
        python = Path(runtime_python())
        (folder / "bin").mkdir()
        (folder / "bin" / "python3").symlink_to(python)
        self._output = (folder / "output").open("w+")
        self._process = subprocess.Popen(
            [COMMAND, "offline", "--config", "offline.yml", *(part for pair in ports.items() for part in pair)],
            cwd=ROOT / "deploy",
            env={
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
                "HOME": str(folder),
                "CI": "1",
                "PYTHONPATH": str(ROOT / "src"),
                "DYNAMODB_TABLE": self.log.table,
                "SERVER_NAME": NAME,
                **self.log.environ,
            },
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = monotonic() + SECONDS
        while monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health", timeout=SECONDS).status_code == 200:
                    return
            except httpx.HTTPError:
                sleep(0.1)
        self.close()
        raise AssertionError(f"serverless-offline does not start: {Path(self._output.name).read_text()}")

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()
        self.log.close()


class OfflineEntryPoint(ServerEntryPoint):
    """The API behind a gateway that runs already, with an empty table."""

    name = "serverless-offline"

    def __init__(self, gateway: OfflineGateway) -> None:
        self.log = gateway.log
        self.storage = gateway.storage
        self.url = gateway.url
        self._client = httpx.Client(timeout=30)
        for item in gateway.log.items():
            gateway.log.call("DeleteItem", Key={"pk": item["pk"], "seq": item["seq"]})

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfflineGateway]:
    running = OfflineGateway(tmp_path_factory.mktemp("offline"))
    yield running
    running.close()


@pytest.fixture
def entry_point(gateway: OfflineGateway, request: pytest.FixtureRequest) -> Iterator[OfflineEntryPoint]:
    if request.node.name in DEVIATIONS:
        request.applymarker(pytest.mark.xfail(reason=DEVIATIONS[request.node.name], strict=True))
    made = OfflineEntryPoint(gateway)
    yield made
    made.close()
