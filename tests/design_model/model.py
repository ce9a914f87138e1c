"""The model: two writers, A and B, with three changes each, and a reader, on one log.

A `Design` defines how they work. Each event is a `Move` from one `State` to another.
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
    """How the log is written and read. The defaults are our design."""

    batches: tuple[tuple[int, ...], ...] = ((2, 1), (1, 2))
    """The sizes of each writer's batches."""
    one_transaction: bool = True
    """Whether one transaction assigns numbers and writes changes. Otherwise a counter assigns them before the write."""
    conditions: bool = True
    """Whether the transaction is refused if the next number differs from the expected one, or is in use."""
    request_item: bool = True
    """Whether the transaction writes a request item, and is refused if the request item exists."""
    refusal_has_number: bool = True
    """Whether a refusal contains the next number."""
    timeout_is_success: bool = False
    """Whether a writer without a response assumes that its changes are stored."""
    gap_rule: bool = True
    """Whether the reader stops at the first gap."""
    exact_reads: bool = False
    """Whether the reader sees all changes. Otherwise it sees any part: replicas lag, and batches are half visible."""
    faults: int | None = None
    """The largest number of faults; `None` for any number. If retries make the log longer, only a limit makes the
    number of states finite."""


class Request(NamedTuple):
    """A batch that was sent to the table. The first two fields are its idempotency key."""

    writer: int
    batch: int
    first: int
    """The number for its first change."""


class Writer(NamedTuple):
    """The knowledge of a writer."""

    acks: tuple[int, ...] = ()
    """The first number of each acknowledged batch. A crash loses everything else."""
    number: int = 0
    """The next number of the log as far as the writer knows, or the number from the counter; 0 if unknown."""
    waiting: bool = False
    """Whether it has sent its next batch and waits for the response."""


class State(NamedTuple):
    """The state of the table, the network, the writers and the reader."""

    next: int = 1
    """The next number of the log in the table."""
    log: tuple[str, ...] = ()
    """The changes at 1, 2, 3, …"""
    requests: frozenset[Request] = frozenset()
    """The request items."""
    network: frozenset[Request] = frozenset()
    """The requests that were sent, and may still arrive for the first time or again."""
    writers: tuple[Writer, ...] = (Writer(), Writer())
    view: Items = ()
    """The changes that the reader has."""
    faults: int = 0
    """The number of faults so far, if it is limited."""

    def stored(self) -> Items:
        """Return the changes of the log."""
        return tuple((number, change) for number, change in enumerate(self.log, 1) if change != HOLE)

    def cursor(self) -> int:
        """Return the last number that the reader has."""
        return self.view[-1][0] if self.view else 0

    def stored_at(self, request: Request) -> int:
        """Return the first number that was stored under the request's key; 0 if none was."""
        return next((known.first for known in self.requests if known[:2] == request[:2]), 0)

    def knowing(self, at: int, number: int, *, waiting: bool = False) -> State:
        """Return the state with other knowledge of a writer, but the same acknowledgements."""
        return self._with(at, Writer(self.writers[at].acks, number, waiting))

    def acknowledged(self, at: int, first: int, number: int) -> State:
        """Return the state in which a writer's batch is acknowledged, so that its next batch follows."""
        return self._with(at, Writer((*self.writers[at].acks, first), number))

    def _with(self, at: int, writer: Writer) -> State:
        return self._replace(writers=(*self.writers[:at], writer, *self.writers[at + 1 :]))


class Model(NamedTuple):
    """The model of a design, for the checker."""

    design: Design

    def initial(self) -> State:
        """Return the initial state."""
        return State()

    def is_done(self, state: State) -> bool:
        """Return whether all changes are acknowledged, and the reader has all changes of the log."""
        return state.view == state.stored() and not any(self._has_more(state, at) for at in range(len(WRITERS)))

    def moves(self, state: State) -> Iterator[Move[State]]:
        """Yield every event that can happen next."""
        append = self._append if self.design.one_transaction else self._append_numbers_first
        appends = [append(state, at) for at in range(len(WRITERS)) if self._has_more(state, at)]
        for label, after, fault in chain(*appends, self._copies(state), self._reads(state)):
            if fault and self.design.faults is not None:
                if state.faults == self.design.faults:
                    continue
                after = after._replace(faults=state.faults + 1)
            if after.network:
                # The table refuses these requests now and for ever. Without them there are fewer states to visit.
                network = frozenset(sent for sent in after.network if self._carry_out(after, sent))
                after = after._replace(network=network)
            yield Move(label, after, fault)

    def changes(self, writer: int, batch: int) -> tuple[str, ...]:
        """Return the names of a batch's changes."""
        return _names(self.design.batches[writer], WRITERS[writer].lower())[batch]

    def _has_more(self, state: State, at: int) -> bool:
        return len(state.writers[at].acks) < len(self.design.batches[at])

    # Writers

    def _append(self, state: State, at: int) -> Iterator[Move[State]]:
        writer, name = state.writers[at], WRITERS[at]
        request = Request(at, len(writer.acks), writer.number or 1)
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
                yield Move(
                    f"{name} gets the response: stored {what}", after.acknowledged(at, request.first, after.next)
                )
                yield Move(f"stored {what}; the response is lost", self._no_response(after, at), fault=True)
            elif stored:
                known = state.acknowledged(at, stored, writer.number)
                yield Move(f"{name} gets the response: already stored at #{stored}", known)
            else:
                number = state.next if self.design.refusal_has_number else writer.number
                refused = state.knowing(at, number)
                yield Move(f"{name} is refused: the next number is {state.next}", refused)
            yield Move(f"{name} times out", self._no_response(state, at), fault=True)
        yield from self._crash(state, at)

    def _append_numbers_first(self, state: State, at: int) -> Iterator[Move[State]]:
        writer, name = state.writers[at], WRITERS[at]
        request = Request(at, len(writer.acks), writer.number)
        what = self._text(request)
        if not writer.number:
            taken = state._replace(next=state.next + len(self.changes(at, request.batch)))
            yield Move(f"{name} takes #{state.next} from the counter", taken.knowing(at, state.next))
        elif after := self._carry_out(state, request):
            yield Move(f"{name} writes {what}", after.acknowledged(at, request.first, 0))
            yield Move(f"{name} writes {what}; the response is lost", after.knowing(at, 0), fault=True)
        else:
            stored = state.stored_at(request)
            yield Move(f"{name} gets the response: already stored at #{stored}", state.acknowledged(at, stored, 0))
        yield from self._crash(state, at)

    def _crash(self, state: State, at: int) -> Iterator[Move[State]]:
        crashed = state.knowing(at, 0)
        if crashed != state:
            yield Move(f"{WRITERS[at]} crashes and starts again", crashed, fault=True)

    def _no_response(self, state: State, at: int) -> State:
        number = state.writers[at].number
        return state.acknowledged(at, number, number) if self.design.timeout_is_success else state.knowing(at, number)

    # The table

    def _copies(self, state: State) -> Iterator[Move[State]]:
        for request in sorted(state.network):
            if after := self._carry_out(state, request):
                yield Move(f"stored {self._text(request)}, from a late copy", after, fault=True)

    def _carry_out(self, state: State, request: Request) -> State | None:
        """Return the state after the write; `None` if the table refuses it."""
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
    """Return all sequences of changes that the reader may add, each with the changes that it saw."""
    pages: dict[Items, Items] = {}
    for size in [len(beyond)] if design.exact_reads else range(len(beyond) + 1):
        for seen in combinations(beyond, size):
            taken = seen
            if design.gap_rule:
                taken = tuple(item for at, item in enumerate(seen, 1) if item[0] == cursor + at)
            pages.setdefault(taken, seen)
    return {taken: seen for taken, seen in pages.items() if taken}
