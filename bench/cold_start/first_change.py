"""A cold start: from the start of a process to the first change in the table, compared with the usual libraries."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from aws_backend.dynamodb.tls import ROOTS
from aws_backend.storage import DynamoDBStorageService
from bench.cold_start.programs import EVENT, FLOOR, NOTHING, OURS, PROGRAMS
from bench.dynamodb.calls import TABLE, fill
from bench.support.context import BenchError
from bench.support.tables import Row, Table
from scripts import engines, package
from scripts.interpreters import NoInterpreter, find
from scripts.lambda_runtime import ROOT, FunctionError, LambdaProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.context import BenchContext

PYTHON = ROOT / ".venv-cold" / "bin" / "python"
"""The environment with the compared libraries, of Lambda's Python; `make bench` creates it."""
RUNTIME, RUNTIME_OURS = "awslambdaric, a handler that does nothing", "awslambdaric, ours"
LOG = "bench-log"
"""The table of our programs."""
COUNTED = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--log-file={log}")


class Scene(NamedTuple):
    """The surroundings of a cold start."""

    python: Path
    code: Path
    endpoint: str
    roots: str
    """The file of all roots that a usual client trusts; empty without TLS."""
    folder: Path
    environment: dict[str, str]


class Run(NamedTuple):
    """The figures of one cold start."""

    seconds: float
    modules: float
    """The modules that were loaded at its end; 0 when they could not be counted."""
    mebibytes: float
    """The peak memory."""


def measure(context: BenchContext) -> list[Table]:
    """Measure everything over plain HTTP and over TLS, on one engine; count instructions when valgrind is installed."""
    try:
        engine = engines.start(engines.DYNOXIDE)
        interpreter = find(package.PYTHON)
    except (engines.CannotRun, NoInterpreter) as error:
        context.progress.begin(f"cold_start: left out; {error}")
        return []
    with ExitStack() as closing:
        closing.callback(engine.stop)
        fill(engine.url)
        with DynamoDBStorageService(LOG, use_local_dynamodb=True, local_endpoint=engine.url):
            pass  # creates the table; a function does not check for it
        python = PYTHON if PYTHON.exists() else Path(interpreter)
        plain = _scene(context.folder / "plain", python, engine.url, None)
        tables = _measured(context, plain, "over plain HTTP")
        try:
            from bench.cold_start.tls_front import TlsFront
        except ModuleNotFoundError:
            context.progress.begin("cold_start: nothing over TLS, for trustme is not installed")
            return tables
        front = TlsFront(urlsplit(engine.url).port or 80)
        closing.callback(front.close)
        return tables + _measured(context, _scene(context.folder / "tls", python, front.url, front), "over TLS")


def _scene(folder: Path, python: Path, endpoint: str, front: Any) -> Scene:
    folder.mkdir()
    shutil.unpack_archive(package.build(folder / "lambda.zip"), folder / "code")
    (folder / "nothing.py").write_text(NOTHING)
    roots = ""
    if front is not None:
        front.write_roots(folder / "code" / "aws_backend" / "dynamodb" / Path(ROOTS).name)
        output = subprocess.run(
            [python, "-c", "import certifi; print(certifi.where())"], capture_output=True, check=False
        )
        usual = Path(output.stdout.decode().strip()) if output.returncode == 0 else Path(ROOTS)
        roots = str(front.write_roots(folder / "usual.pem", usual.read_bytes()))
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONHASHSEED": "0",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_EC2_METADATA_DISABLED": "true",
        "POWERTOOLS_SERVICE_NAME": "bench",
    }
    return Scene(python, folder / "code", endpoint, roots, folder, environment)


def _measured(context: BenchContext, scene: Scene, how: str) -> list[Table]:
    names = [name for name in PROGRAMS if _runs(scene, name)]
    cases: dict[str, Callable[[], Run]] = {name: partial(_program, scene, name) for name in names}
    if _has(scene, "awslambdaric"):
        cases |= {RUNTIME: partial(_process, scene, RUNTIME), RUNTIME_OURS: partial(_process, scene, RUNTIME_OURS)}
    found = context.rounds(cases)
    kind = how.rpartition(" ")[2].lower()
    tables = [
        Table(
            f"cold-start-{kind}-time",
            f"A cold start {how}: time",
            [Row(name, "ms", [run.seconds * 1000 for run in runs], FLOOR) for name, runs in found.items()],
        ),
        Table(
            "",
            f"... modules {how}",
            [Row(n, "modules", [r.modules for r in runs], FLOOR) for n, runs in found.items() if n in PROGRAMS],
        ),
        Table(
            "",
            f"... peak memory {how}",
            [Row(n, "MiB", [r.mebibytes for r in runs], FLOOR) for n, runs in found.items()],
        ),
    ]
    if kind == "http":
        tables.append(_sizes(scene, names))
    if not context.size.instructions:
        return tables
    if shutil.which("valgrind") is None:
        context.progress.begin("cold_start: no instructions are counted, for there is no valgrind here")
        return tables
    counted = context.rounds({name: partial(_instructions, scene, name) for name in cases}, 1)
    base = {RUNTIME_OURS: RUNTIME}
    rows = [Row(name, "million", values, base.get(name, FLOOR)) for name, values in counted.items()]
    notes = ["Counted by valgrind's cachegrind from start to end of the process, with PYTHONHASHSEED=0."]
    if RUNTIME_OURS in counted:
        more = counted[RUNTIME_OURS][0] - counted[RUNTIME][0]
        notes.append(f"Ours adds {more:.1f} million to awslambdaric.")
    return [*tables, Table(f"cold-start-{kind}", f"A cold start {how}: instructions", rows, notes)]


def _runs(scene: Scene, name: str) -> bool:
    return all(_has(scene, package_name) for package_name in PROGRAMS[name].packages)


def _has(scene: Scene, distribution: str) -> bool:
    look = f"import importlib.metadata; importlib.metadata.version({distribution!r})"
    return subprocess.run([scene.python, "-c", look], capture_output=True, check=False).returncode == 0


PRINT_FIGURES = """
import sys
found = dict(line.split(":", 1) for line in open("/proc/self/status")) if sys.platform == "linux" else {}
print(len(sys.modules), found.get("VmHWM", "0").split()[0])
"""


def _text(scene: Scene, name: str) -> str:
    names = {
        "ENDPOINT": scene.endpoint,
        "TABLE": TABLE,
        "LOG": LOG,
        "ROOTS": scene.roots,
        "CODE": str(scene.code),
        "AMAZON_ROOTS": str(scene.code / "aws_backend" / "dynamodb" / Path(ROOTS).name),
        "EVENT": EVENT,
    }
    needed = {key: value for key, value in names.items() if re.search(rf"\b{key}\b", PROGRAMS[name].text)}
    return "".join(f"{key} = {value!r}\n" for key, value in needed.items()) + PROGRAMS[name].text


def _run(scene: Scene, name: str, text: str, command: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [*command, str(scene.python), "-P", "-c", text],
        capture_output=True,
        encoding="utf-8",
        env=scene.environment,
        cwd=scene.folder,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"{name}: {done.stderr.strip()[-600:]}")
    return done.stdout


def _program(scene: Scene, name: str) -> Run:
    begin = perf_counter()
    output = _run(scene, name, _text(scene, name) + PRINT_FIGURES)
    seconds = perf_counter() - begin
    modules, kibibytes = output.split()
    return Run(seconds, float(modules), float(kibibytes) / 1024)


def _started(scene: Scene, name: str, command: tuple[str, ...] = ()) -> LambdaProcess:
    ours = name == RUNTIME_OURS
    return LambdaProcess(
        scene.code if ours else scene.folder,
        {**scene.environment, "DYNAMODB_TABLE": LOG, "DYNAMODB_ENDPOINT": scene.endpoint},
        python=scene.python,
        command=command,
        **({} if ours else {"handler": "nothing.handler"}),
    )


def _process(scene: Scene, name: str) -> Run:
    begin = perf_counter()
    with _started(scene, name) as function:
        _invoke(function, name)
        seconds = perf_counter() - begin
        assert function.process is not None
        status = Path(f"/proc/{function.process.pid}/status")
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
        return Run(seconds, 0, int(found[1]) / 1024 if found else 0)


def _invoke(function: LambdaProcess, name: str) -> None:
    try:
        response = function.invoke(EVENT, 120)
    except FunctionError as error:
        raise BenchError(f"{name}: {error}") from error
    if response["statusCode"] != 200:
        raise BenchError(f"{name}: {json.dumps(response)[:600]}")


def _instructions(scene: Scene, name: str) -> float:
    log = scene.folder / "cachegrind.log"
    command = tuple(part.format(log=log) for part in COUNTED)
    if name in PROGRAMS:
        _run(scene, name, _text(scene, name), command)
    else:
        with _started(scene, name, command) as function:
            _invoke(function, name)
            assert function.process is not None
            function.process.send_signal(signal.SIGTERM)
            function.process.wait(60)
    found = re.search(r"I +refs: +([\d,]+)", log.read_text())
    if found is None:
        raise BenchError(f"valgrind counted nothing: {log.read_text()[-300:]}")
    return int(found[1].replace(",", "")) / 1e6


PACKED = """
import importlib.metadata, re, sys, zlib
todo, seen, size = sys.argv[1:], set(), 0
while todo:
    name = re.sub("[-_.]+", "-", todo.pop()).lower()
    if name not in seen:
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        todo += [re.split("[ <>=!~;\\\\[(]", line)[0] for line in found.requires or () if "extra ==" not in line]
        for file in found.files or ():
            if file.suffix != ".pyc" and file.locate().is_file():
                size += len(zlib.compress(file.read_binary(), 9))
print(size)
"""


def _sizes(scene: Scene, names: list[str]) -> Table:
    """Return the sizes of the zips: ours, and the wheels of the other packages with their dependencies."""
    rows = [Row(OURS, "KiB", [(scene.folder / "lambda.zip").stat().st_size / 1024], OURS)]
    for name in names:
        packages = PROGRAMS[name].packages
        if packages:
            arguments = [str(scene.python), "-c", PACKED, *packages]
            output = subprocess.run(arguments, capture_output=True, encoding="utf-8", check=True)
            rows.append(Row(name, "KiB", [int(output.stdout) / 1024], OURS))
    return Table(
        "", "What is in the zip", rows, ["The others: their packages and what those need, without compiled code."]
    )
