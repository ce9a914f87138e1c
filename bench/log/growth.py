"""The latency of statistics, pages and appends on a short and on a long log, which must be the same."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from bench.support.context import PROJECT, median_ms, new_change
from bench.support.servers import CHANGES, BenchServer, get, load, post
from bench.support.stats import quantile
from bench.support.tables import Row, Table, number
from sltt_core.sqlite.storage import LocalStorageService

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.support.context import BenchContext

LIMIT = 100
"""Changes on a page."""
SHARE = 4
"""The divisor of the time per case, because this bench has many cases."""


def measure(context: BenchContext) -> list[Table]:
    """Measure every operation on logs of every length, the lengths of one operation after one another."""
    seconds = context.size.seconds / SHARE
    cases: dict[str, dict[int, Callable[[], float]]] = {}
    with ExitStack() as stack:
        for length in context.size.growth:
            log = context.log(length)
            storage = stack.enter_context(LocalStorageService(log, PROJECT))
            server = stack.enter_context(BenchServer(context.folder / f"growth-{length}", log, "--quiet"))
            last = storage.get_head().seq - LIMIT
            calls: dict[str, Callable[[], object]] = {
                "statistics": storage.get_change_stats,
                "first page": partial(storage.get_changes_with_cursor, 0, LIMIT),
                "last page": partial(storage.get_changes_with_cursor, last, LIMIT),
                "append": partial(storage.create_changes, [new_change()]),
            }
            requests = {
                "statistics": get(f"/api/projects/{PROJECT}/stats"),
                "first page": get(f"{CHANGES}?limit={LIMIT}"),
                "last page": get(f"{CHANGES}?limit={LIMIT}&cursor={last}"),
                "append": post(1),
            }
            for name, call in calls.items():
                cases.setdefault(f"{name}, Python", {})[length] = partial(median_ms, call, seconds)
            for name, request in requests.items():
                cases.setdefault(f"{name}, HTTP", {})[length] = partial(_median_of_requests, server, request, seconds)
        named = {f"{name}, {length:,}": case for name, of in cases.items() for length, case in of.items()}
        values = context.rounds(named, 2 * context.size.rounds)
    shortest = f"{context.size.growth[0]:,}"
    rows = [
        Row(f"{name}, {length:,}", "ms", values[f"{name}, {length:,}"], f"{name}, {shortest}", name, length)
        for name, of in cases.items()
        for length in of
    ]
    table = Table("growth", f"Median latency by the length of the log; pages of {LIMIT}", rows)
    worst = max(ratio.median for row in rows if (ratio := table.ratio(row)) is not None)
    table.notes.append(f"The largest median ratio is ×{number(worst)}; a cost that grew with the log would be ×1,000.")
    table.notes[0] = table.notes[0].replace("×1,000", f"×{context.size.growth[-1] // context.size.growth[0]:,}")
    return [table]


def _median_of_requests(server: BenchServer, request: str, seconds: float) -> float:
    return quantile(load(server, request, 1, seconds).taken, 0.5)
