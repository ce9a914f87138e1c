"""The context that every bench gets: how much to measure, a folder, logs that are ready, a progress display."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, TextIO, TypeVar

from bench.support.stats import quantile
from sltt_core.model.changes import NewChange
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

PROJECT = "bench"
DATA = {
    "title": "Famine in Bethlehem",
    "gloss": "In the days when the judges ruled there was a famine in the land",
    "video": {"seconds": 41.5, "file": "ruth-01-take-3.mp4", "signer": "Noémie Baptiste"},
    "reviewed": False,
}
"""The data of a change: about 200 bytes."""


class BenchError(Exception):
    """A bench could not measure what it reports."""


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    seconds: float
    """Seconds that each case is measured in each round."""
    growth: tuple[int, ...]
    """The lengths of the logs of the bench `growth`."""
    memory: tuple[int, ...]
    """The lengths of the logs whose reading must not take more memory."""
    stored: tuple[int, ...]
    """The lengths of the logs on DynamoDB that must cost the same."""
    waiters: int
    trials: int
    """How often a round measures the response to one waiting client."""
    warm: int = 200
    """Pages that warm up a server, so that each of its threads has its memory before it is measured."""
    shapes: int = 4
    """How many shapes of clients and batches."""
    instructions: bool = True
    synced: tuple[int, ...] = (100_000,)
    """The lengths of the logs of the bench `sync`; more than the first for the memory only."""
    edits: int = 10_000
    """Edits that a device sends."""
    peers: int = 10_000
    """Documents that the databases of others replicate."""


SIZES = {
    "full": Size(
        9,
        0.5,
        (1_000, 100_000, 1_000_000),
        (10_000, 100_000, 1_000_000),
        (10, 100_000),
        500,
        5,
        synced=(100_000, 1_000_000),
    ),
    "quick": Size(3, 0.3, (1_000, 100_000), (10_000, 100_000), (10, 10_000), 500, 5),
    "tiny": Size(1, 0.02, (100, 1_000), (1_000, 2_000), (10, 200), 10, 1, 5, 2, False, (300,), 100, 100),
}


def new_change(project: str = PROJECT) -> NewChange:
    """Return a change to append, as a program creates it."""
    return NewChange(project_id=project, entity_type="passage", entity_id="ruth-1", operation="update", data=DATA)


class Progress:
    """Shows the progress on stderr: one changing line on a terminal, otherwise a line for each bench."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()

    def begin(self, text: str) -> None:
        """Show the start of a bench or another long task."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._terminal else f"{text}\n")
        self._stream.flush()

    def step(self, text: str) -> None:
        """Show a step of it."""
        if self._terminal:
            self._stream.write(f"\r\x1b[K  {text}"[:110])
            self._stream.flush()

    def end(self) -> None:
        """Clear the line at the end."""
        if self._terminal:
            self._stream.write("\r\x1b[K")


@dataclass
class BenchContext:
    """The settings and the logs of a run. `log` creates each log once for all benches."""

    folder: Path
    size: Size
    progress: Progress
    _logs: dict[int, Path] = field(default_factory=dict)

    def log(self, length: int) -> Path:
        """Return an SQLite file with a log of this length."""
        if length not in self._logs:
            path = self.folder / f"log-{length}.db"
            with LocalStorageService(path, chunk_changes=10_000) as storage:
                for start in range(0, length, 10_000):
                    self.progress.step(f"a log of {length:,} changes: {start:,}")
                    storage.create_changes([new_change()] * min(10_000, length - start))
            self._logs[length] = path
        return self._logs[length]

    def rounds(self, cases: Mapping[str, Callable[[], T]], times: int | None = None) -> dict[str, list[T]]:
        """Measure every case once in each round, every other round in reverse order; return the values."""
        found: dict[str, list[T]] = {name: [] for name in cases}
        count = times or self.size.rounds
        for at in range(count):
            for name in list(cases)[:: -1 if at % 2 else 1]:
                self.progress.step(f"round {at + 1} of {count}: {name}")
                found[name].append(cases[name]())
        return found


def median_ms(call: Callable[[], object], seconds: float) -> float:
    """Call a function repeatedly for `seconds`, and return the median of its milliseconds."""
    taken: list[float] = []
    end = perf_counter() + seconds
    while not taken or perf_counter() < end:
        begin = perf_counter()
        call()
        taken.append((perf_counter() - begin) * 1000)
    return quantile(taken, 0.5)
