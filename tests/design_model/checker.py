"""A checker for models with finitely many states: it visits them all, breadth first.

So the way it came to the first state that breaks an invariant is a shortest one: no simpler example exists.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Move(NamedTuple, Generic[S]):
    """One way on from a state."""

    label: str
    state: S
    """The state after it."""
    fault: bool = False


class Model(Protocol[S]):
    """What can be checked."""

    def initial(self) -> S: ...
    def moves(self, state: S) -> Iterable[Move[S]]: ...
    def is_done(self, state: S) -> bool: ...


class Result(NamedTuple, Generic[S]):
    """What the check found."""

    states: int
    transitions: int
    depth: int
    """Moves to a state that is farthest from the initial one."""
    counterexamples: dict[str, list[Move[S]]]
    """For each broken invariant a shortest way to a state that breaks it; its first move has no label."""


LIVE = "live"
"""Asked of the whole: from every state, moves that are no faults lead on to one in which everything is done."""


def check(model: Model[S], invariants: Mapping[str, Callable[[S], bool]]) -> Result[S]:
    """Visit every state that can be reached, and see whether the invariants hold in it."""
    initial = model.initial()
    came_by: dict[S, tuple[S, Move[S]]] = {initial: (initial, Move("", initial))}
    before: dict[S, list[S]] = {initial: []}  # the states from which a move that is no fault leads here
    broken: dict[str, S] = {}
    transitions = 0
    found = [initial]
    for state in found:  # it grows meanwhile
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

    def way_to(state: S) -> list[Move[S]]:
        way = []
        while state != initial:
            state, move = came_by[state]
            way.append(move)
        return [Move("", initial), *reversed(way)]

    ways = {name: way_to(state) for name, state in broken.items()}
    return Result(len(found), transitions, len(way_to(found[-1])) - 1, ways)
