"""Appends and reads per second: in Python and over HTTP, compared with plain SQLite and with an empty request."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from bench.log.contenders import Contenders, Sample
from bench.support.stats import figure
from bench.support.tables import Row, Table, number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.support.context import BenchContext

SHAPES = [(1, 1), (16, 1), (1, 100), (16, 100)]
"""Clients, and changes in each batch or page."""
CALLS = ["append by hand", "append in Python", "append over HTTP", "read by hand", "read in Python", "read over HTTP"]
MORE = {(1, 1): ["append to file"], (16, 1): ["append with key", "append with access log"]}
"""Calls that are measured in one shape only; those with keys and access log are over HTTP."""
POCKETBASE = {"0.24.0-dev": 92_500 / 49.867, "0.36.0": 92_500 / 45.394}
"""Creates per second of two versions: requests divided by seconds, of the four runs of posts without a rule."""
SOURCE = "https://github.com/pocketbase/benchmarks (results/hetzner_cax11.md)"


def measure(context: BenchContext) -> list[Table]:
    """Measure each shape with every call, one after the other."""
    cases: dict[str, Callable[[], Sample]] = {}
    with ExitStack() as stack:
        contenders = Contenders(context, stack)
        for shape in SHAPES[: context.size.shapes]:
            for call in calls(shape):
                cases[named(call, shape)] = partial(getattr(contenders, call.lower().replace(" ", "_")), *shape)
            if shape[1] == 1:
                cases[floor(shape)] = partial(contenders.health, *shape)
        found = context.rounds(cases)
    return [beside_hand("append", found), beside_hand("read", found), beside_floor(found), processor(found)]


def calls(shape: tuple[int, int]) -> list[str]:
    """Return the calls that are measured in a shape."""
    return CALLS + MORE.get(shape, [])


def named(call: str, shape: tuple[int, int]) -> str:
    """Return the name of a case: `append over HTTP, 16 × 100`."""
    return f"{call}, {shape[0]} × {shape[1]}"


def floor(shape: tuple[int, int]) -> str:
    """Return the name of the baseline case of a request of this shape."""
    return f"/health, {shape[0]}"


def beside_hand(kind: str, found: Mapping[str, Sequence[Sample]]) -> Table:
    """Return the changes per second, compared with those by hand in the same shape."""
    rows = []
    for shape in SHAPES:
        for call in calls(shape):
            name = named(call, shape)
            if call.startswith(kind) and name in found:
                values = [sample.rate * shape[1] for sample in found[name]]
                rows.append(Row(name, "changes/s", values, named(f"{kind} by hand", shape)))
    notes = ["16 × 100: 16 clients, 100 changes in each batch or page."]
    if kind == "append":
        notes += [
            "By hand: a bare SQLite table, WAL, synchronous=FULL, a commit for each batch; nothing is checked. Its 16 "
            "threads have a connection each, and wait for one another in SQLite. To file: the same as a "
            "line of JSON and an fdatasync, which is the cost of the disk.",
            *pocketbase(figure([sample.rate for sample in found[named("append over HTTP", (16, 1))]]).median),
        ]
    return Table(f"{kind}s", f"{kind.capitalize()}s a second, beside SQLite by hand", rows, notes)


def pocketbase(ours: float) -> list[str]:
    """Return notes that compare our rate with published figures, which are not measured here."""
    compared = [
        f"PocketBase {version}: {number(theirs)} creates/s; append over HTTP, 16 × 1, "
        f"{'passes' if ours > theirs else 'does NOT pass'} it: ×{number(ours / theirs)}."
        for version, theirs in POCKETBASE.items()
    ]
    return [
        *compared,
        f"Published by PocketBase, not measured here: {SOURCE}, on another machine with 2 cores; 500 clients, records "
        "of 600 bytes, and synchronous=NORMAL, which does not wait for the disk.",
    ]


def beside_floor(found: Mapping[str, Sequence[Sample]]) -> Table:
    """Return the requests per second, compared with empty requests."""
    rows = []
    for shape in sorted(SHAPES):
        names = [named(call, shape) for call in ("append over HTTP", "read over HTTP")]
        for name in (name for name in ([floor(shape), *names] if shape[1] == 1 else names) if name in found):
            rows.append(Row(name, "requests/s", [sample.rate for sample in found[name]], floor(shape)))
    notes = ["/health does not use the storage: it is the minimum of a request through client, uvicorn and threads."]
    return Table("requests", "Requests a second, beside /health", rows, notes)


def processor(found: Mapping[str, Sequence[Sample]]) -> Table:
    """Return the processor time of a call, which the disk does not change, and a busy machine hardly."""
    rows = []
    for shape in SHAPES:
        for kind in ("append", "read"):
            for call in (call for call in calls(shape) if call.startswith(kind) and named(call, shape) in found):
                values = [sample.cpu for sample in found[named(call, shape)]]
                rows.append(Row(named(call, shape), "ms", values, named(f"{kind} by hand", shape)))
        if shape[1] == 1:
            rows.append(Row(floor(shape), "ms", [sample.cpu for sample in found[floor(shape)]], floor(shape)))
    return Table("processor", "Processor time of a call; over HTTP, the server's", rows)
