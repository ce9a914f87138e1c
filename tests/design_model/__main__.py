"""`python -m tests.design_model`: checks the designs and prints the results."""

from __future__ import annotations

import argparse
import json
import sys

from scripts.pipes import run_program
from tests.design_model.checker import LIVE, Move, Result
from tests.design_model.designs import DESIGNS, INVARIANTS, check_design
from tests.design_model.model import HOLE, State

MEANINGS = {rule.__name__: (rule.__doc__ or "").strip() for rule in INVARIANTS} | {
    LIVE: "From every state, without more faults, every change can still be acknowledged and read."
}
EXAMPLES = """examples:
  python -m tests.design_model                   all designs
  python -m tests.design_model original          one design, with a shortest trace to each violation
  python -m tests.design_model --json > out.json for programs

exit code: 0, 1 when the design `ours` breaks an invariant, 2 for a wrong argument
"""


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.design_model",
        description="Visit every state of two writers, a reader and a log, and check the invariants in each.\n\n"
        f"designs: {', '.join(DESIGNS)}",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("designs", nargs="*", metavar="DESIGN", help="what to check; all designs by default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    return parser


def report(results: dict[str, Result[State]]) -> str:
    """Return the results as text."""
    parts = [table([["design", "faults", "states", "transitions", "farthest", "breaks"], *map(row, results.items())])]
    parts.append(table([[name, meaning] for name, meaning in MEANINGS.items()]))
    for design, result in results.items():
        for trace, names in traces(result):
            parts.append(f"{design} breaks {' and '.join(names)}:\n{table([cells(at, move) for at, move in trace])}")
    return "\n\n".join(parts)


def row(found: tuple[str, Result[State]]) -> list[str]:
    """Return the row of a design in the table of designs."""
    name, result = found
    faults = DESIGNS[name].faults
    counts = [f"{count:,}" for count in result[:3]]
    return [name, "any" if faults is None else str(faults), *counts, ", ".join(broken(result)) or "nothing"]


def broken(result: Result[State]) -> list[str]:
    """Return the names of the broken invariants, in the order of the invariants."""
    return [name for name in MEANINGS if name in result.counterexamples]


def traces(result: Result[State]) -> list[tuple[list[tuple[int, Move[State]]], list[str]]]:
    """Return the counterexamples, each with the invariants that it breaks: one trace may break several."""
    found: dict[tuple[Move[State], ...], list[str]] = {}
    for name in broken(result):
        found.setdefault(tuple(result.counterexamples[name]), []).append(name)
    return [(list(enumerate(trace)), names) for trace, names in found.items()]


def cells(at: int, move: Move[State]) -> list[str]:
    """Return the row of a move: what happens, the next number of the log, the log, and what the reader has."""
    log, view = as_text(move.state)
    event = f"{at}. {move.label}" if at else "   at first"
    return [f"  {event}", f"next: {move.state.next}", f"log: {log}", f"reader: {view}"]


def as_text(state: State) -> tuple[str, str]:
    """Return the log up to its last number, and what the reader has, as text."""
    log = [*state.log, *[HOLE] * (state.next - 1 - len(state.log))]
    return " ".join(change or "_" for change in log) or "-", " ".join(change for _, change in state.view) or "-"


def table(rows: list[list[str]]) -> str:
    """Return rows of cells as text in columns; numbers are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for line in rows:
        padded = [
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(line, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def as_json(results: dict[str, Result[State]]) -> str:
    """Return the results as JSON."""
    designs = {
        name: {
            "faults": DESIGNS[name].faults,
            "states": result.states,
            "transitions": result.transitions,
            "farthest": result.depth,
            "broken": {
                invariant: [
                    {"move": move.label, "fault": move.fault, "next": move.state.next, "log": log, "reader": view}
                    for move in result.counterexamples[invariant][1:]
                    for log, view in [as_text(move.state)]
                ]
                for invariant in broken(result)
            },
        }
        for name, result in results.items()
    }
    return json.dumps({"invariants": MEANINGS, "designs": designs}, indent=2)


def main(words: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = arguments()
    options = parser.parse_args(words)
    for name in options.designs:
        if name not in DESIGNS:
            parser.error(f"design {name!r} does not exist; the designs are: {', '.join(DESIGNS)}")
    try:
        results = {name: check_design(DESIGNS[name]) for name in options.designs or DESIGNS}
    except KeyboardInterrupt:
        print("stopped by Ctrl-C", file=sys.stderr)
        return 130
    print(as_json(results) if options.json else report(results))
    return int("ours" in results and bool(results["ours"].counterexamples))


if __name__ == "__main__":
    run_program(main)
