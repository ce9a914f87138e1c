"""Two writers, A and B, with three changes each, and a reader, on one log: everything that can happen to them.

A `Design` says how they go about it. Each thing that can happen is a `Move` from one `State` to another.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import chain, combinations
from typing import NamedTuple

from tests.design_model.checker import Move

WRITERS = "AB"
HOLE = ""

Items = tuple[tuple[int, str], ...]
"""Changes with their numbers."""


class Design(NamedTuple):
    """How the log is written and read. The defaults are ours."""

    batches: tuple[tuple[int, ...], ...] = ((2, 1), (1, 2))
    """The sizes of each writer's batches."""
    one_transaction: bool = True
    """Whether numbers are taken and changes written in one; or else a counter gives numbers, and then comes a write."""
    conditions: bool = True
    """Whether that transaction is refused when the next number is another one, or a change stands there already."""
    request_item: bool = True
    """Whether a request is remembered with its changes, and refused the second time."""
    refusal_tells: bool = True
    """Whether a writer that is refused learns the next number."""
    silence_is_success: bool = False
    """Whether a writer that hears nothing takes its changes for stored."""
    gap_rule: bool = True
    """Whether the reader stops at the first gap."""
    exact_reads: bool = False
    """Whether the reader sees all there is; or else any part of it, as stale replicas and half-visible batches show."""
    faults: int | None = None
    """How many; None: any number. Where a retry makes the log longer, only a limit makes the states finite."""


class Request(NamedTuple):
    """A batch on its way to the table. The first two fields are its idempotency key."""

    writer: int
    batch: int
    first: int
    """The number meant for its first change."""


class Writer(NamedTuple):
    """What a writer knows."""

    told: tuple[int, ...] = ()
    """The first number of each batch that was acknowledged to it. A crash does not lose this; all else it does."""
    number: int = 0
    """The log's next number as far as it knows, or the number that the counter gave it; 0: none."""
    waiting: bool = False
    """Whether it has sent its next batch and waits for the answer."""


class State(NamedTuple):
    """Everything there is."""

    next: int = 1
    """The log's next number, as the table has it."""
    log: tuple[str, ...] = ()
    """The changes at 1, 2, 3, …"""
    requests: frozenset[Request] = frozenset()
    """The request items."""
    network: frozenset[Request] = frozenset()
    """What was sent, and may yet arrive for the first time or again."""
    writers: tuple[Writer, ...] = (Writer(), Writer())
    view: Items = ()
    """What the reader has."""
    faults: int = 0
    """How many there were, if they are limited."""

    def stored(self) -> Items:
        """What the log has."""
        return tuple((number, change) for number, change in enumerate(self.log, 1) if change != HOLE)

    def cursor(self) -> int:
        """The last number that the reader has."""
        return self.view[-1][0] if self.view else 0

    def stored_at(self, request: Request) -> int:
        """The first number of what was stored under the request's key; 0 if nothing was."""
        return next((known.first for known in self.requests if known[:2] == request[:2]), 0)

    def knowing(self, at: int, number: int, *, waiting: bool = False) -> State:
        """The state in which a writer knows this, and has been told no more than before."""
        return self._with(at, Writer(self.writers[at].told, number, waiting))

    def acknowledged(self, at: int, first: int, number: int) -> State:
        """The state in which a writer was told where its batch is, and goes on to its next."""
        return self._with(at, Writer((*self.writers[at].told, first), number))

    def _with(self, at: int, writer: Writer) -> State:
        return self._replace(writers=(*self.writers[:at], writer, *self.writers[at + 1 :]))


class Model(NamedTuple):
    """A design, as something to check."""

    design: Design

    def initial(self) -> State:
        """Return the state in which nothing has happened."""
        return State()

    def is_done(self, state: State) -> bool:
        """Whether every writer was told of all its changes, and the reader has what the log has."""
        return state.view == state.stored() and not any(self._has_more(state, at) for at in range(len(WRITERS)))

    def moves(self, state: State) -> Iterator[Move[State]]:
        """Everything that can happen next."""
        append = self._append if self.design.one_transaction else self._append_numbers_first
        ways = [append(state, at) for at in range(len(WRITERS)) if self._has_more(state, at)]
        for label, after, fault in chain(*ways, self._copies(state), self._reads(state)):
            if fault and self.design.faults is not None:
                if state.faults == self.design.faults:
                    continue
                after = after._replace(faults=state.faults + 1)
            if after.network:
                # What the table refuses now it refuses for ever. Forgotten, it leaves fewer states to visit.
                network = frozenset(sent for sent in after.network if self._carry_out(after, sent))
                after = after._replace(network=network)
            yield Move(label, after, fault)

    def changes(self, writer: int, batch: int) -> tuple[str, ...]:
        """The names of a batch's changes."""
        return _names(self.design.batches[writer], WRITERS[writer].lower())[batch]

    def _has_more(self, state: State, at: int) -> bool:
        return len(state.writers[at].told) < len(self.design.batches[at])

    # Writers

    def _append(self, state: State, at: int) -> Iterator[Move[State]]:
        writer, name = state.writers[at], WRITERS[at]
        request = Request(at, len(writer.told), writer.number or 1)
        what = self._text(request)
        stored = state.stored_at(request)
        if not writer.waiting:
            sent = state._replace(network=state.network | {request})
            yield Move(f"{name} sends {what}", sent.knowing(at, request.first, waiting=True))
            if stored:
                known = state.acknowledged(at, stored, writer.number)
                yield Move(f"{name} looks for its request: stored at #{stored}", known)
        else:
            if after := self._carry_out(state, request):
                yield Move(f"{name} is answered: stored {what}", after.acknowledged(at, request.first, after.next))
                yield Move(f"stored {what}; the answer is lost", self._silence(after, at), fault=True)
            elif stored:
                known = state.acknowledged(at, stored, writer.number)
                yield Move(f"{name} is answered: already stored at #{stored}", known)
            else:
                number = state.next if self.design.refusal_tells else writer.number
                refused = state.knowing(at, number)
                yield Move(f"{name} is refused: the next number is {state.next}", refused)
            yield Move(f"{name} waits in vain", self._silence(state, at), fault=True)
        yield from self._crash(state, at)

    def _append_numbers_first(self, state: State, at: int) -> Iterator[Move[State]]:
        writer, name = state.writers[at], WRITERS[at]
        request = Request(at, len(writer.told), writer.number)
        what = self._text(request)
        if not writer.number:
            taken = state._replace(next=state.next + len(self.changes(at, request.batch)))
            yield Move(f"{name} takes #{state.next} from the counter", taken.knowing(at, state.next))
        elif after := self._carry_out(state, request):
            yield Move(f"{name} writes {what}", after.acknowledged(at, request.first, 0))
            yield Move(f"{name} writes {what}; the answer is lost", after.knowing(at, 0), fault=True)
        else:
            stored = state.stored_at(request)
            yield Move(f"{name} is answered: already stored at #{stored}", state.acknowledged(at, stored, 0))
        yield from self._crash(state, at)

    def _crash(self, state: State, at: int) -> Iterator[Move[State]]:
        crashed = state.knowing(at, 0)
        if crashed != state:
            yield Move(f"{WRITERS[at]} crashes and starts again", crashed, fault=True)

    def _silence(self, state: State, at: int) -> State:
        number = state.writers[at].number
        return state.acknowledged(at, number, number) if self.design.silence_is_success else state.knowing(at, number)

    # The table

    def _copies(self, state: State) -> Iterator[Move[State]]:
        for request in sorted(state.network):
            if after := self._carry_out(state, request):
                yield Move(f"stored {self._text(request)}, from a copy for which nobody waits", after, fault=True)

    def _carry_out(self, state: State, request: Request) -> State | None:
        """The state after the write; None when the table refuses it."""
        changes = self.changes(request.writer, request.batch)
        begin, end = request.first - 1, request.first - 1 + len(changes)
        if self.design.request_item and state.stored_at(request):
            return None
        if self.design.one_transaction:
            if self.design.conditions and (state.next != request.first or any(state.log[begin:end])):
                return None
            state = state._replace(next=end + 1)
        log = state.log + (HOLE,) * (end - len(state.log))
        requests = state.requests | {request} if self.design.request_item else state.requests
        return state._replace(log=log[:begin] + changes + log[end:], requests=requests)

    def _text(self, request: Request) -> str:
        return f"{' '.join(self.changes(request.writer, request.batch))} at #{request.first}"

    # The reader

    def _reads(self, state: State) -> Iterator[Move[State]]:
        beyond = tuple(item for item in state.stored() if item[0] > state.cursor())
        for taken, seen in _pages(beyond, state.cursor(), self.design).items():
            shown = " ".join(f"#{number} {change}" for number, change in seen)
            yield Move(f"the reader sees {shown}", state._replace(view=state.view + taken))


@cache
def _names(sizes: tuple[int, ...], letter: str) -> list[tuple[str, ...]]:
    numbers = iter(range(1, sum(sizes) + 1))
    return [tuple(f"{letter}{next(numbers)}" for _ in range(size)) for size in sizes]


@cache
def _pages(beyond: Items, cursor: int, design: Design) -> dict[Items, Items]:
    """Everything that the reader may take of what is beyond its cursor, each with what it then saw."""
    pages: dict[Items, Items] = {}
    for size in [len(beyond)] if design.exact_reads else range(len(beyond) + 1):
        for seen in combinations(beyond, size):
            taken = seen
            if design.gap_rule:
                taken = tuple(item for at, item in enumerate(seen, 1) if item[0] == cursor + at)
            pages.setdefault(taken, seen)
    return {taken: seen for taken, seen in pages.items() if taken}
