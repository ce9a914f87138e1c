"""A Lambda function on this machine: AWS's own runtime client, a handler, and the Runtime API that they call.

It reproduces what a function sees of Lambda: one event at a time, each with a deadline; a function that takes longer is
killed, and the next event starts a new process (AWS: "Lambda runtime API", 2018-06-01).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv-lambda" / "bin" / "python"
"""The interpreter of an environment with `awslambdaric` but without this project; `make test` creates it."""
HANDLER = "aws_backend.lambda_handler.handler"
START_SECONDS = 30.0


class RuntimeCall(NamedTuple):
    """A request that a process sent to the Runtime API."""

    path: str
    """Without the prefix `/2018-06-01/runtime/`."""
    body: bytes


class RuntimeApi(ThreadingHTTPServer):
    """The server from which a function gets events, and to which it sends responses."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.events: Queue[tuple[str, float, bytes] | None] = Queue()
        self.calls: Queue[RuntimeCall] = Queue()
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        """Host and port, in the format of `AWS_LAMBDA_RUNTIME_API`."""
        return f"127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        """Stop the server, and end the request that waits for an event."""
        self.events.put(None)
        self.shutdown()
        self.server_close()


class _Exchange(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body of a response would wait 40 ms for the client's ACK of the headers

    def do_GET(self) -> None:
        """Respond with the next event, as soon as there is one."""
        self.server.calls.put(RuntimeCall("next", b""))
        event = self.server.events.get()
        if event is not None:
            request_id, deadline, body = event
            self._respond(
                200,
                body,
                {
                    "Content-Type": "application/json",
                    "Lambda-Runtime-Aws-Request-Id": request_id,
                    "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:sltt",
                },
            )

    def do_POST(self) -> None:
        """Receive a response or an error."""
        path = self.path.removeprefix("/2018-06-01/runtime/")
        body = self._chunks() if "chunked" in self.headers.get("transfer-encoding", "") else self._body()
        self._respond(202, b'{"status":"OK"}', {})
        self.server.calls.put(RuntimeCall(path, body))

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


class FunctionError(Exception):
    """The function raised an error, or did not start; `report` is the error report of its runtime."""

    def __init__(self, report: Any) -> None:
        self.report = report
        super().__init__(f"{report.get('errorType')}: {report.get('errorMessage')}")


class TimedOut(Exception):
    """The function exceeded its time limit and was killed."""


class LambdaProcess:
    """A function under `awslambdaric`. Its process starts with the first event and is replaced after it has ended."""

    def __init__(
        self,
        code: Path,
        settings: Mapping[str, str],
        *,
        python: Path = PYTHON,
        handler: str = HANDLER,
        command: tuple[str, ...] = (),
    ) -> None:
        """`code` is the folder with the zip's files, `settings` are environment variables.

        `command` is put before the interpreter's name in the command line.
        """
        self._code = code
        self._settings = settings
        self._arguments = [*command, str(python), "-m", "awslambdaric", handler]
        self._api: RuntimeApi | None = None  # one for each process, so that an old process gets no event of a new one
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `close`)
        self._count = 0
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start a process, as Lambda's init phase does; raises `FunctionError` if it does not start."""
        self.stop()
        self._api = RuntimeApi()
        self.process = subprocess.Popen(
            self._arguments,
            cwd=self._code,
            env={
                "PATH": os.environ.get("PATH", ""),
                "AWS_LAMBDA_RUNTIME_API": self._api.address,
                "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
                "LAMBDA_TASK_ROOT": str(self._code),
                "TZ": ":UTC",
                "PYTHONHASHSEED": "0",
                **self._settings,
            },
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        call = self._next(START_SECONDS)
        if call.path != "next":
            self.process.wait(START_SECONDS)
            raise FunctionError(json.loads(call.body))

    def send(self, event: object, seconds: float) -> str:
        """Send an event to the function, with a time limit in seconds; returns the request's id."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        assert self._api is not None
        self._count += 1
        request_id = f"{self._count:08d}-0000-4000-8000-000000000000"
        self._api.events.put((request_id, time() + seconds, json.dumps(event).encode()))
        return request_id

    def invoke(self, event: object, seconds: float = 30.0) -> Any:
        """Return the function's response to an event; raises `FunctionError`, or `TimedOut` after so many seconds."""
        request_id = self.send(event, seconds)
        try:
            call = self._next(seconds)
        except TimedOut:
            self.stop()
            raise
        self._next(START_SECONDS)  # the request for the next event
        if call.path == f"invocation/{request_id}/error":
            raise FunctionError(json.loads(call.body))
        assert call.path == f"invocation/{request_id}/response", call.path
        return json.loads(call.body)

    def _next(self, seconds: float) -> RuntimeCall:
        assert self.process is not None
        assert self._api is not None
        until = time() + seconds
        while True:
            try:
                return self._api.calls.get(timeout=0.05)
            except Empty:
                if self.process.poll() is not None:
                    raise FunctionError({"errorType": "Runtime.ExitError", "errorMessage": self.output()}) from None
                if time() > until:
                    raise TimedOut(f"no response in {seconds} seconds") from None

    def output(self) -> str:
        """Return what all processes have written to stdout and stderr so far."""
        self._log.seek(0)
        return self._log.read().decode("utf-8", "replace")

    def stop(self) -> None:
        """Kill the process, as Lambda does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        if self._api is not None:
            self._api.close()
            self._api = None

    def close(self) -> None:
        """Kill the process and close the log."""
        self.stop()
        self._log.close()
