from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import combinations_with_replacement, pairwise, product
from pathlib import Path

import pytest

from tests.design_model.__main__ import MEANINGS, main
from tests.design_model.checker import LIVE, Move, Result, check
from tests.design_model.designs import DESIGNS, INVARIANTS, check_design
from tests.design_model.model import Design, Model, Request, State

ROOT = Path(__file__).resolve().parents[2]

FOUND: dict[str, tuple[int, int, int, dict[str, int]]] = {
    "ours": (11_492, 73_769, 21, {}),
    "original": (
        45_920,
        87_800,
        18,
        {"together": 1, "dense": 3, "kept": 2, "once": 4, "prefix": 4, "unskipped": 5, "live": 4},
    ),
    "numbers-first": (2_140, 6_599, 11, {"together": 1, "dense": 3, "kept": 2, "live": 2}),
    "no-conditions": (
        2_315,
        5_919,
        13,
        {"together": 4, "acknowledged": 4, "prefix": 5, "unskipped": 5, "live": 3},
    ),
    "no-request-item": (4_718, 18_212, 18, {"once": 5}),
    "refusal-without-number": (330, 1_108, 9, {"live": 0}),
    "timeout-is-success": (2_486, 8_558, 17, {"acknowledged": 2}),
    "no-gap-rule": (9_183, 35_818, 16, {"prefix": 3, "unskipped": 3, "live": 3}),
}
"""For each design: states, transitions, moves to the farthest state, moves to the first violation of each invariant."""

SPLITS = [(3,), (2, 1), (1, 2), (1, 1, 1)]
"""All divisions of three changes into batches."""


@cache
def found(design: Design) -> Result[State]:
    return check_design(design)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_design_has_these_states_and_breaks_these_invariants(name: str) -> None:
    states, transitions, depth, counterexamples = found(DESIGNS[name])
    moves = {invariant: len(trace) - 1 for invariant, trace in counterexamples.items()}
    assert (states, transitions, depth, moves) == FOUND[name]


@pytest.mark.parametrize("batches", [*combinations_with_replacement(SPLITS, 2)], ids=str)
def test_our_design_breaks_nothing_for_any_division_into_batches(batches: tuple[tuple[int, ...], ...]) -> None:
    result = found(Design(batches=batches))
    assert not result.counterexamples
    assert result.states > 1_000


def test_every_invariant_is_broken_by_our_design_with_one_part_changed() -> None:
    changed = [result[3] for name, result in FOUND.items() if name not in ("ours", "original")]
    assert all(changed)
    assert set().union(*changed) == set(MEANINGS)


def test_the_original_design_skips_a_change_without_any_fault() -> None:
    result = found(DESIGNS["original"]._replace(faults=0))
    assert {"dense", "prefix", "unskipped", "live"} <= result.counterexamples.keys()
    assert not {"once", "kept"} & result.counterexamples.keys()


@pytest.mark.parametrize("name", DESIGNS)
def test_a_counterexample_is_a_trace_of_the_model_to_the_first_violation(name: str) -> None:
    model = Model(DESIGNS[name])
    rules = {rule.__name__: rule for rule in INVARIANTS}
    for invariant, trace in found(DESIGNS[name]).counterexamples.items():
        assert trace[0].state == model.initial()
        for previous, move in pairwise(trace):
            assert move in list(model.moves(previous.state))
        if invariant != LIVE:
            assert [rules[invariant](model, move.state) for move in trace] == [True] * (len(trace) - 1) + [False]


CONDITIONAL = [name for name, design in DESIGNS.items() if design.one_transaction and design.conditions]


@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_table_refuses_a_refused_request_for_ever(name: str) -> None:
    """So the model may drop it: a request is never ahead of the log, and the next number never decreases."""
    model = Model(DESIGNS[name])
    carry_out = cache(model._carry_out)
    writes = set()
    reached = {model.initial()}
    waiting = [model.initial()]
    for state in waiting:
        assert all(writer.number <= state.next for writer in state.writers)
        for move in model.moves(state):
            writes.add((table(state), table(move.state)))
            if move.state not in reached:
                reached.add(move.state)
                waiting.append(move.state)
    assert len(reached) == FOUND[name][0]
    for before, after in writes:
        for at, batch, first in product((0, 1), (0, 1), range(1, before.next + 1)):
            request = Request(at, batch, first)
            assert carry_out(before, request) or not carry_out(after, request)


def table(state: State) -> State:
    return State(next=state.next, log=state.log, requests=state.requests)


# The checker, on a simple model


class Counter:
    """Counts to ten in steps of one or two. A fault halves the count, and 7 is a dead end."""

    def initial(self) -> int:
        return 0

    def moves(self, state: int) -> Iterator[Move[int]]:
        if state == 7:
            return
        for step in (1, 2):
            if state + step <= 10:
                yield Move(f"add {step}", state + step)
        yield Move("halve", state // 2, fault=True)

    def is_done(self, state: int) -> bool:
        return state == 10


def test_the_checker_visits_every_state_and_finds_shortest_traces() -> None:
    result = check(Counter(), {"small": lambda state: state < 5, "there": lambda state: state <= 10})
    assert result.states == 11
    assert result.transitions == 8 * 2 + 1 + 10  # 0 to 8 without 7 add both, 9 adds one; all but 7 halve
    assert result.depth == 5
    traces = {name: [move.label for move in trace] for name, trace in result.counterexamples.items()}
    assert traces == {"small": ["", "add 1", "add 2", "add 2"], "live": ["", "add 1", "add 2", "add 2", "add 2"]}


def test_the_checker_does_not_use_faults_to_reach_the_end() -> None:
    class OnlyByFault(Counter):
        def moves(self, state: int) -> Iterator[Move[int]]:
            yield Move("jump", 10, fault=True)

    result = check(OnlyByFault(), {})
    assert [move.state for move in result.counterexamples[LIVE]] == [0]


# The command


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-request-item", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["invariants"] == MEANINGS
    design = printed["designs"]["no-request-item"]
    assert (design["states"], design["transitions"], design["farthest"]) == FOUND["no-request-item"][:3]
    (moves,) = design["broken"].values()
    assert moves[-1] == {
        "move": "A gets the response: stored a1 a2 at #3",
        "fault": False,
        "next": 5,
        "log": "a1 a2 a1 a2",
        "reader": "-",
    }


def test_the_command_fails_if_our_design_breaks_an_invariant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(DESIGNS, "ours", DESIGNS["timeout-is-success"])
    assert main(["ours"]) == 1
    assert "ours breaks acknowledged:" in capsys.readouterr().out


def test_the_command_reports_an_unknown_design(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["mine"])
    assert end.value.code == 2
    assert "design 'mine' does not exist; the designs are: ours, original" in capsys.readouterr().err


def test_the_command_has_help_with_examples() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.design_model", "--help"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "examples:\n  python -m tests.design_model " in run.stdout
