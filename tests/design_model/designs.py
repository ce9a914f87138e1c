"""What is checked: the designs, and the invariants that each is asked for."""

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
    "refusal-tells-nothing": Design(refusal_tells=False, faults=1),
    "silence-is-success": Design(silence_is_success=True, faults=1),
    "no-gap-rule": Design(gap_rule=False, faults=1),
}
"""Ours; the original's; and ours with one part changed, which must break something, or that part would be idle."""


def together(model: Model, state: State) -> bool:
    """A number and its change appear together: the log ends just before its next number."""
    return len(state.stored()) == state.next - 1


def dense(model: Model, state: State) -> bool:
    """The numbers of the log are 1, 2, 3, … without a hole."""
    return HOLE not in state.log


def kept(model: Model, state: State) -> bool:
    """Every number has its change, or a writer that is about to write it: no hole is left for ever."""
    holes = {number for number in range(1, state.next) if number > len(state.log) or state.log[number - 1] == HOLE}
    for at, writer in enumerate(state.writers):
        if len(writer.told) < len(model.design.batches[at]):
            size = len(model.changes(at, len(writer.told)))
            holes -= set(range(writer.number, writer.number + size))
    return not holes


def once(model: Model, state: State) -> bool:
    """No change is in the log twice."""
    return len(state.stored()) == len({change for _, change in state.stored()})


def acknowledged(model: Model, state: State) -> bool:
    """What a writer was told is stored is in the log, at the numbers that it was told."""
    for at, writer in enumerate(state.writers):
        for batch, first in enumerate(writer.told):
            changes = model.changes(at, batch)
            if state.log[first - 1 : first - 1 + len(changes)] != changes:
                return False
    return True


def prefix(model: Model, state: State) -> bool:
    """What the reader has is the log's beginning: 1, 2, 3, …, and nothing else."""
    return state.view == tuple(enumerate(state.log[: len(state.view)], 1))


def unskipped(model: Model, state: State) -> bool:
    """No change is behind the reader's cursor that the reader does not have: it would never see that one."""
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
