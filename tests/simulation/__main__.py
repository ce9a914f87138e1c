"""`python -m tests.simulation` (`make simulate`): run schedules, replay one, or look for the planted bugs."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from time import monotonic
from typing import TYPE_CHECKING

from scripts.pipes import run_program
from tests.simulation.bugs import BUGS
from tests.simulation.checker import violations
from tests.simulation.devices.bugs import DEVICE_BUGS
from tests.simulation.devices.world import DeviceWorld
from tests.simulation.planting import find
from tests.simulation.team import TeamWorld
from tests.simulation.totals import Tally, ignore_ctrl_c, run_some
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.simulation.planting import Bug

PROGRESS_SECONDS = 2.0
SHOWN = 10
BLOCK = 20
"""How many schedules a process runs before it reports them."""
WORLDS: dict[str, type[World]] = {"members": TeamWorld, "devices": DeviceWorld}
"""The kinds of schedules besides the usual, by option."""
EXAMPLES = """examples:
  make simulate SEEDS=1000                run the schedules of the seeds 0 to 999
  make simulate SEEDS=1000 ARGS='--from 5000'
  make simulate SEED=744                  replay one, with its trace
  make simulate ARGS='--members'          run schedules with members, whose requests go through the API
  make simulate ARGS='--devices'          run schedules with devices that sync
  make simulate SEEDS=50000 ARGS='--devices --jobs 4'
  make simulate ARGS='--planted'          find the planted bugs, each from seeds alone

exit codes: 0 every promise held (or every planted bug was found), 1 otherwise, 2 wrong argument, 130 Ctrl-C
"""


def run_many(world: type[World], first: int, count: int, jobs: int, as_json: bool) -> int:
    """Run the schedules of many seeds in so many processes and print the totals; return the exit code."""
    tally = Tally(world)
    reported = monotonic()
    stopped = False
    last = first + count
    blocks = [range(start, min(start + BLOCK, last)) for start in range(first, last, BLOCK)]
    try:
        with ExitStack() as stack:
            run = partial(run_some, world)
            done: Iterator[Tally] = map(run, blocks)
            if jobs > 1:
                pool = stack.enter_context(get_context("spawn").Pool(jobs, ignore_ctrl_c))
                done = pool.imap_unordered(run, blocks)
            for some in done:
                tally.add(some)
                if monotonic() - reported > PROGRESS_SECONDS:
                    reported = monotonic()
                    _progress(f"{tally.schedules:,} of {count:,} schedules, {len(tally.violations)} violations")
    except KeyboardInterrupt:
        stopped = True
    _progress("")
    if as_json:
        print(json.dumps(tally.to_json(), indent=2))
    else:
        for name, number in tally.faults.most_common():
            print(f"  {number:>11,}  {name}")
        for seed, violation in tally.violations[:SHOWN]:
            option = next((f" ARGS=--{name}" for name, world in WORLDS.items() if world is tally.world), "")
            print(f"seed {seed}: {violation}\n  replay it: make simulate SEED={seed}{option}")
        if len(tally.violations) > SHOWN:
            print(f"… and {len(tally.violations) - SHOWN} more")
        print(f"{tally} ({monotonic() - tally.began:.0f} s)" + (", stopped by Ctrl-C" if stopped else ""))
    return 130 if stopped else int(bool(tally.violations))


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def replay(world: type[World], seed: int, as_json: bool) -> int:
    """Run one schedule and print its trace; return the exit code."""
    outcome = world(seed, tracing=True).run()
    found = violations(outcome.history)
    if as_json:
        print(
            json.dumps(
                {
                    "seed": seed,
                    "digest": outcome.digest,
                    "faults": outcome.faults,
                    "violations": found,
                    "trace": outcome.trace,
                },
                indent=2,
            )
        )
    else:
        print("\n".join(outcome.trace))
        for violation in found:
            print(f"violation: {violation}")
        calls = len(outcome.history.calls) + len(outcome.history.sent)
        print(
            f"seed {seed}: {calls} calls, {outcome.requests} requests, "
            f"{outcome.seconds:.1f} s of virtual time, {len(found)} violations; trace {outcome.digest[:16]}"
        )
    return int(bool(found))


def find_planted(bugs: Sequence[Bug], most: int, as_json: bool) -> int:
    """Look for each planted bug with the seeds from 0 on; return the exit code."""
    rows = []
    for bug in bugs:
        _progress(bug.name)
        rows.append((bug, find(bug, range(most))))
        _progress("")
        if not as_json:
            found = rows[-1][1]
            print(f"  {bug.name:42} " + (f"seed {found[0]:<5} {found[1][:110]}" if found else "not found"), flush=True)
    count = sum(found is not None for _, found in rows)
    if as_json:
        print(
            json.dumps({bug.name: found and {"seed": found[0], "violation": found[1]} for bug, found in rows}, indent=2)
        )
    else:
        print(f"{count} of {len(rows)} planted bugs found")
    return int(count < len(rows))


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description="Run the storage on a simulated DynamoDB, with faults, and check its promises. \n"
        "A seed is a number that determines a run completely.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=_count, default=1000, metavar="N", help="how many schedules (default: 1000)")
    parser.add_argument("--from", type=int, default=0, metavar="SEED", dest="first", help="the first seed (default: 0)")
    parser.add_argument("--seed", type=int, metavar="SEED", help="replay this schedule and print its trace")
    parser.add_argument("--members", action="store_true", help="run the schedules with members and the API")
    parser.add_argument("--devices", action="store_true", help="run the schedules with devices that sync")
    parser.add_argument("--jobs", type=_count, default=1, metavar="N", help="in how many processes (default: 1)")
    parser.add_argument("--planted", action="store_true", help="look for each planted bug with up to N seeds")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if given.members and given.devices:
        parser.error("--members and --devices exclude each other")
    world = TeamWorld if given.members else DeviceWorld if given.devices else World
    if given.seed is not None and given.planted:
        parser.error("--seed and --planted exclude each other")
    try:
        if given.planted:
            return find_planted(DEVICE_BUGS if given.devices else BUGS, given.seeds, given.json)
        if given.seed is not None:
            return replay(world, given.seed, given.json)
        return run_many(world, given.first, given.seeds, given.jobs, given.json)
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130


def _count(text: str) -> int:
    number = int(text.replace(",", "").replace("_", ""))
    if number < 1:
        raise ValueError
    return number


_count.__name__ = "number of seeds"  # argparse uses it in the error for a wrong value


if __name__ == "__main__":
    run_program(main)
