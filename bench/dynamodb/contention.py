"""Appends to DynamoDB by concurrent writers, on one and many projects, compared with the original backend."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from itertools import count
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from aws_backend.storage import DynamoDBStorageService
from bench.dynamodb import policies
from bench.support.context import BenchError
from bench.support.stats import quantile, share_of_least
from bench.support.tables import Row, Table
from scripts import engines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.support.context import BenchContext

TABLE = "bench-contention"
WRITERS = (1, 4, 16, 32)
FEW, MANY = 16, 32
DELAY_MS = 4
ROUNDS = 3
TIMES = 6
"""The factor of the time that other benches measure a case: an append may take a second."""
START_SECONDS = 0.1
"""Seconds from the order to the first append, so that all writers begin together."""
OURS, ORIGINAL = "ours", "original"


class Shape(NamedTuple):
    """A case: writers and projects."""

    way: str
    processes: int
    threads: int
    projects: int
    delay_ms: int

    @property
    def name(self) -> str:
        """The name of the case."""
        writers = self.processes * self.threads
        who = f"{writers} writer{'s' if writers > 1 else ''}"
        who += " in one process" if self.threads > 1 else ""
        where = "" if self.projects == 1 else f", {self.projects} projects"
        return f"{self.way}, {who}{where}{f', +{self.delay_ms} ms' if self.delay_ms else ''}"

    @property
    def original(self) -> str:
        """The name of the baseline case."""
        return Shape(ORIGINAL, self.processes * self.threads, 1, 1, self.delay_ms).name


class Sample(NamedTuple):
    """The figures of one case in one round."""

    rate: float
    """Appends a second."""
    taken: list[float]
    """Milliseconds of each append."""
    attempts: float
    """Transactions for each append."""
    share: float
    """The appends of the slowest writer, in percent of an equal share."""
    refused: int
    """Appends that failed after the maximum time."""
    appended: int
    missed: int | None
    """Changes that a reader missed; `None` without a reader."""


def measure(context: BenchContext) -> list[Table]:
    """Measure processes that write to an engine, and simulate the conflicts that local engines do not have."""
    simulated = policies.tables(context)
    try:
        engine = engines.start(engines.DYNOXIDE)
    except engines.CannotRun as error:
        context.progress.begin(f"contention: left out but for what is simulated; {error}")
        return simulated
    with ExitStack() as closing:
        closing.callback(engine.stop)
        with DynamoDBStorageService(TABLE, use_local_dynamodb=True, local_endpoint=engine.url):
            pass  # creates the table
        most = MANY if context.size.shapes > 2 else 4
        team = [closing.enter_context(Process(engine.url)) for _ in range(most + 1)]
        for process in team:
            process.hear()  # wait until it is ready
        projects = (f"project-{number}" for number in count())
        seconds = TIMES * context.size.seconds
        shapes = list(_shapes(most))
        cases: dict[str, Callable[[], Sample]] = {
            shape.name: partial(_write, shape, team, projects, seconds) for shape in shapes
        }
        found = context.rounds(cases, min(ROUNDS, context.size.rounds))
    return [*_tables(shapes, found), *simulated]


def _shapes(most: int) -> Iterator[Shape]:
    some = min(FEW, most)
    for delay in (0, DELAY_MS):
        for writers in (number for number in WRITERS if number <= most):
            for way in (ORIGINAL, OURS):
                yield Shape(way, writers, 1, 1, delay)
        yield Shape(OURS, some, 1, some, delay)
        yield Shape(OURS, 1, some, 1, delay)


def _write(shape: Shape, team: Sequence[Process], projects: Iterator[str], seconds: float) -> Sample:
    """Let the processes write to new projects, and another process read the first of them."""
    names = [next(projects) for _ in range(shape.projects)]
    writers, reader = team[: shape.processes], team[-1]
    reads = shape.projects == 1
    order = {"way": shape.way, "delay": shape.delay_ms / 1000}
    if reads:
        reader.say(do="read", project=names[0], **order)
    begin = time.monotonic() + START_SECONDS
    for place, writer in enumerate(writers):
        project = names[place % len(names)]
        writer.say(do="write", project=project, threads=shape.threads, begin=begin, seconds=seconds, **order)
    heard = [writer.hear() for writer in writers]
    missed = None
    taken = [mine for response in heard for mine in response["taken"]]
    refused = sum(response["refused"] for response in heard)
    appended = sum(map(len, taken)) - refused
    if reads:
        reader.say(do="stop")
        seen = reader.hear()
        missed = appended - len(set(seen))
    end = max(response["end"] for response in heard)
    return Sample(
        appended / (end - begin),
        [value for mine in taken for value in mine],
        sum(response["attempts"] for response in heard) / appended,
        share_of_least([len(mine) for mine in taken]),
        refused,
        appended,
        missed,
    )


def _tables(shapes: Sequence[Shape], found: Mapping[str, Sequence[Sample]]) -> Iterator[Table]:
    def table(name: str, title: str, unit: str, value: Callable[[Sample], float], *notes: str) -> Table:
        rows = [Row(shape.name, unit, list(map(value, found[shape.name])), shape.original) for shape in shapes]
        return Table(name, f"{title}; beside the original's way", rows, list(notes))

    yield table(
        "contention",
        "Appends of one change a second",
        "/s",
        lambda sample: sample.rate,
        "A writer is a process with its own storage; writers in one process share "
        "transactions. +4 ms: every round trip takes 4 ms longer. All of them share the machine with the engine.",
        "Original: the counter is incremented, then the change is put; nothing else is written.",
    )
    for part, called in ((0.5, "p50"), (0.99, "p99"), (1.0, "slowest")):
        yield table(
            f"contention-{called}" if called == "p99" else "",
            f"An append, {called}",
            "ms",
            lambda sample, part=part: quantile(sample.taken, part),  # type: ignore[misc]
        )
    yield table(
        "",
        "Appends of the slowest writer, in percent of an equal share",
        "%",
        lambda sample: sample.share,
        "Appends that were given up: "
        + "; ".join(f"{shape.name}: {sum(sample.refused for sample in found[shape.name])}" for shape in shapes),
    )
    mine = [shape for shape in shapes if shape.way == OURS]
    alone = mine[0].name
    rows = [Row(shape.name, "", [sample.attempts for sample in found[shape.name]], alone) for shape in mine]
    yield Table("", "Transactions for each append", rows)
    read = [shape for shape in shapes if found[shape.name][0].missed is not None]
    yield Table(
        "",
        "Changes that a reader missed which continues after the last number that it got",
        [Row(shape.name, "", [sample.missed or 0 for sample in found[shape.name]], shape.original) for shape in read],
        [f"Of, in all rounds: {'; '.join(f'{shape.name}: {_all(found[shape.name])}' for shape in read)}"],
    )


def _all(samples: Sequence[Sample]) -> str:
    return f"{sum(sample.missed or 0 for sample in samples):,} of {sum(sample.appended for sample in samples):,}"


class Process:
    """A process that writes or reads, until the end of the block."""

    def __init__(self, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.dynamodb.writer", url, TABLE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches only this process, which ends it
        )

    @property
    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes:
            pipe.close()

    def say(self, **order: Any) -> None:
        """Send an order."""
        say, _ = self._pipes
        say.write(json.dumps(order) + "\n")
        say.flush()

    def hear(self) -> Any:
        """Return the response."""
        _, heard = self._pipes
        line = heard.readline()
        if not line:
            raise BenchError("a process that writes ended early; what it said stands above")
        return json.loads(line)
