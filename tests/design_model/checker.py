"""A checker for models with finitely many states: it visits all states, breadth first.

So the trace to the first state that breaks an invariant is a shortest one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Move(NamedTuple, Generic[S]):
    """A transition from a state."""

    label: str
    state: S
    """The state after it."""
    fault: bool = False


class Model(Protocol[S]):
    """A model that can be checked."""

    def initial(self) -> S: ...
    def moves(self, state: S) -> Iterable[Move[S]]: ...
    def is_done(self, state: S) -> bool: ...


class Result(NamedTuple, Generic[S]):
    """The result of a check."""

    states: int
    transitions: int
    depth: int
    """The number of moves from the initial state to the farthest state."""
    counterexamples: dict[str, list[Move[S]]]
    """For each broken invariant, a shortest trace to a state that breaks it; its first move has no label."""


LIVE = "live"
"""The name of the liveness property: from every state, moves without faults can lead to a state where all is done."""


def check(model: Model[S], invariants: Mapping[str, Callable[[S], bool]]) -> Result[S]:
    """Visit every reachable state, and check the invariants in it."""
    initial = model.initial()
    came_by: dict[S, tuple[S, Move[S]]] = {initial: (initial, Move("", initial))}
    before: dict[S, list[S]] = {initial: []}  # the states with a move to this one that is not a fault
    broken: dict[str, S] = {}
    transitions = 0
    found = [initial]
    for state in found:  # the list grows during the loop
        for name, holds in invariants.items():
            if name not in broken and not holds(state):
                broken[name] = state
        for move in model.moves(state):
            transitions += 1
            if move.state not in came_by:
                came_by[move.state] = (state, move)
                before[move.state] = []
                found.append(move.state)
            if not move.fault:
                before[move.state].append(state)

    live = [state for state in found if model.is_done(state)]
    known = set(live)
    for state in live:
        fresh = set(before[state]) - known
        known |= fresh
        live += fresh
    if len(live) < len(found):
        broken[LIVE] = next(state for state in found if state not in known)

    def trace_to(state: S) -> list[Move[S]]:
        trace = []
        while state != initial:
            state, move = came_by[state]
            trace.append(move)
        return [Move("", initial), *reversed(trace)]

    traces = {name: trace_to(state) for name, state in broken.items()}
    return Result(len(found), transitions, len(trace_to(found[-1])) - 1, traces)
