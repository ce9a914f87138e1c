"""Appends and reads a second: through Python and HTTP, beside SQLite by hand and the server's own floor."""

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
"""What is measured in one shape only; keys and access log are over HTTP, too."""
POCKETBASE = {"0.24.0-dev": 92_500 / 49.867, "0.36.0": 92_500 / 45.394}
"""Creates a second of two versions: the four runs of posts without a rule, their requests by their seconds."""
SOURCE = "https://github.com/pocketbase/benchmarks (results/hetzner_cax11.md)"


def measure(context: BenchContext) -> list[Table]:
    """Measure each shape in every way, one way right after the other."""
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
    """What is measured in a shape."""
    return CALLS + MORE.get(shape, [])


def named(call: str, shape: tuple[int, int]) -> str:
    """What a case is called: `append over HTTP, 16 × 100`."""
    return f"{call}, {shape[0]} × {shape[1]}"


def floor(shape: tuple[int, int]) -> str:
    """What the case is called that a request of that shape is compared with."""
    return f"/health, {shape[0]}"


def beside_hand(kind: str, found: Mapping[str, Sequence[Sample]]) -> Table:
    """The changes a second, beside those of the same shape by hand."""
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
            "threads have a connection each, and wait for one another as SQLite has them wait. To file: the same as a "
            "line of JSON and an fdatasync, which is what the disk takes.",
            *pocketbase(figure([sample.rate for sample in found[named("append over HTTP", (16, 1))]]).median),
        ]
    return Table(f"{kind}s", f"{kind.capitalize()}s a second, beside SQLite by hand", rows, notes)


def pocketbase(ours: float) -> list[str]:
    """Say how we stand beside figures that others published; nothing of theirs is measured here."""
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
    """The requests a second, beside those that ask for nothing."""
    rows = []
    for shape in sorted(SHAPES):
        names = [named(call, shape) for call in ("append over HTTP", "read over HTTP")]
        for name in (name for name in ([floor(shape), *names] if shape[1] == 1 else names) if name in found):
            rows.append(Row(name, "requests/s", [sample.rate for sample in found[name]], floor(shape)))
    notes = ["/health asks nothing of the storage: the floor of a request through client, uvicorn and threads."]
    return Table("requests", "Requests a second, beside /health", rows, notes)


def processor(found: Mapping[str, Sequence[Sample]]) -> Table:
    """The processor time of a call: what a faster disk would not help, and a busy machine hardly changes."""
    rows = []
    for shape in SHAPES:
        for kind in ("append", "read"):
            for call in (call for call in calls(shape) if call.startswith(kind) and named(call, shape) in found):
                values = [sample.cpu for sample in found[named(call, shape)]]
                rows.append(Row(named(call, shape), "ms", values, named(f"{kind} by hand", shape)))
        if shape[1] == 1:
            rows.append(Row(floor(shape), "ms", [sample.cpu for sample in found[floor(shape)]], floor(shape)))
    return Table("processor", "Processor time of a call; over HTTP, the server's", rows)
