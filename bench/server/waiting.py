"""The cost of waiting clients for other clients, and the time until a waiting client gets a change."""

from __future__ import annotations

import resource
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from bench.server.delivery import WATCHED, delivery_bench, nothing
from bench.support.servers import CHANGES, BenchServer, cpu_ms, get, load, post, status, waiters
from bench.support.stats import quantile
from bench.support.tables import Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.support.context import BenchContext

TURNS = 2
SAME, OTHER = "same server", "another process"
NOBODY = "none wait"


def measure(context: BenchContext) -> list[Table]:
    """Measure the latency without and with many waiting clients, in turns, and the delivery of a change to them."""
    size, many = context.size, context.size.waiters
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a server and its clients inherit it
    values: dict[str, list[float]] = {}
    with ExitStack() as stack:
        names = ("quiet", "together", "apart")
        quiet, together, apart = (stack.enter_context(delivery_bench(context, name)) for name in names)
        servers = {NOBODY: quiet.server, f"{many} wait": together.server, f"{many} wait apart": apart.server}
        writers = {SAME: together.append_by_http, OTHER: together.append_by_another_process}
        for at in range(size.rounds):
            for writer, append in writers.items():
                context.progress.step(f"round {at + 1} of {size.rounds}: 1 waits, then {many}; {writer}")
                one = together.deliver_to_one(append, size.trials)
                with waiters(apart.server) as others:
                    others.wait([f"/api/projects/{WATCHED}-{n}/changes?wait=60" for n in range(many)])
                    compare = partial(_burdens, servers, size.seconds)
                    all_, found = together.deliver(many, append, compare if writer == SAME else nothing)
                found |= {
                    f"{writer}: append, 1 waits": one.appended,
                    f"{writer}: its response": one.last,
                    f"{writer}: append, {many} wait": all_.appended,
                    f"{writer}: half of the responses": all_.half,
                    f"{writer}: the last response": all_.last,
                }
                for name, value in found.items():
                    values.setdefault(name, []).append(value)
    return list(_tables(values, list(servers)))


def _burdens(servers: dict[str, BenchServer], seconds: float) -> dict[str, float]:
    """Measure requests without and with waiting clients, in turns, and the resources that waiting takes."""
    taken: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for method, request in (("GET", get(f"{CHANGES}?limit=100")), ("POST", post(1))):
            for state, server in servers.items():
                taken.setdefault(f"{method} {{}}, {state}", []).extend(load(server, request, 1, seconds / 2).taken)
    found = {
        name.format(part): quantile(values, share)
        for name, values in taken.items()
        for part, share in (("p50", 0.50), ("p99", 0.99))
    }
    for state, server in servers.items():
        if server.process.exists():
            before, begin = cpu_ms(server.process), time.monotonic()
            time.sleep(seconds)
            found |= {
                f"threads, {state}": status(server.process, "Threads"),
                f"memory, {state}": status(server.process, "VmRSS"),
                f"processor, {state}": (cpu_ms(server.process) - before) / (time.monotonic() - begin),
            }
    return found


def _tables(values: dict[str, list[float]], states: list[str]) -> Iterator[Table]:
    def rows(units: dict[str, str]) -> list[Row]:
        return [
            Row(f"{name}, {state}", unit, values[f"{name}, {state}"], f"{name}, {NOBODY}")
            for name, unit in units.items()
            for state in states
        ]

    latencies = {f"{method} {part}": "ms" for method in ("GET", "POST") for part in ("p50", "p99")}
    notes = [
        "GET: the first 100 changes; POST: one change, to a project without waiting clients. Apart: each client waits "
        "for its own project. Three servers in turns, a fraction of a second each.",
    ]
    yield Table("waiting", "Latency of one client while others wait, and while none do", rows(latencies), notes)
    if f"threads, {NOBODY}" in values:
        notes = ["Of the server's process; processor: milliseconds in a second in which nothing happens."]
        yield Table("", "What waiting takes", rows({"threads": "", "memory": "kB", "processor": "ms/s"}), notes)
    delivered = [
        Row(name, "ms", values[name], _of_delivery(writer, name))
        for writer in (SAME, OTHER)
        for name in values
        if name.startswith(writer)
    ]
    notes = [
        "From the start of the append to its end, and to the responses of the waiting clients. Another process: "
        "on the same SQLite file; the server checks for its changes 20 times a second.",
    ]
    yield Table("delivery", "From an append to the responses of the waiting clients", delivered, notes)


def _of_delivery(writer: str, name: str) -> str:
    """Return the baseline of a row of the last table."""
    if ": append" in name:
        return name
    return f"{writer}: append, 1 waits" if name.endswith("its response") else f"{writer}: its response"
