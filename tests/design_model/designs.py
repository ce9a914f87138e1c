"""The designs that are checked, and the invariants that are checked for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.design_model.checker import Result, check
from tests.design_model.model import HOLE, Design, Model, State

DESIGNS = {
    "ours": Design(),
    "original": Design(
        batches=((1, 1, 1), (1, 1, 1)),
        one_transaction=False,
        request_item=False,
        gap_rule=False,
        exact_reads=True,
        faults=1,
    ),
    "numbers-first": Design(one_transaction=False, faults=1),
    "no-conditions": Design(conditions=False, faults=1),
    "no-request-item": Design(request_item=False, faults=1),
    "refusal-without-number": Design(refusal_has_number=False, faults=1),
    "timeout-is-success": Design(timeout_is_success=True, faults=1),
    "no-gap-rule": Design(gap_rule=False, faults=1),
}
"""Our design, the original design, and ours with one part changed. Each change must break something."""


def together(model: Model, state: State) -> bool:
    """A number and its change appear together: the log ends right before its next number."""
    return len(state.stored()) == state.next - 1


def dense(model: Model, state: State) -> bool:
    """The numbers of the log are 1, 2, 3, … without a hole."""
    return HOLE not in state.log


def kept(model: Model, state: State) -> bool:
    """Every number has its change, or a writer that will still write it: no hole stays for ever."""
    holes = {number for number in range(1, state.next) if number > len(state.log) or state.log[number - 1] == HOLE}
    for at, writer in enumerate(state.writers):
        if len(writer.acks) < len(model.design.batches[at]):
            size = len(model.changes(at, len(writer.acks)))
            holes -= set(range(writer.number, writer.number + size))
    return not holes


def once(model: Model, state: State) -> bool:
    """No change is in the log twice."""
    return len(state.stored()) == len({change for _, change in state.stored()})


def acknowledged(model: Model, state: State) -> bool:
    """Every acknowledged change is in the log, under the number that the writer received."""
    for at, writer in enumerate(state.writers):
        for batch, first in enumerate(writer.acks):
            changes = model.changes(at, batch)
            if state.log[first - 1 : first - 1 + len(changes)] != changes:
                return False
    return True


def prefix(model: Model, state: State) -> bool:
    """The reader has exactly the first changes of the log, from 1 to its cursor."""
    return state.view == tuple(enumerate(state.log[: len(state.view)], 1))


def unskipped(model: Model, state: State) -> bool:
    """The reader has every change up to its cursor: it would never see a change that it skipped."""
    return set(state.view) >= {item for item in state.stored() if item[0] <= state.cursor()}


INVARIANTS: tuple[Callable[[Model, State], bool], ...] = (
    together,
    dense,
    kept,
    once,
    acknowledged,
    prefix,
    unskipped,
)


def check_design(design: Design) -> Result[State]:
    """Check a design for every invariant."""
    model = Model(design)
    return check(model, {rule.__name__: partial(rule, model) for rule in INVARIANTS})
