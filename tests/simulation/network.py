"""The network between a process and DynamoDB: it loses, delays, repeats and garbles requests and responses."""

from __future__ import annotations

import json
from calendar import timegm
from collections.abc import Callable
from functools import lru_cache
from math import inf
from time import strptime
from typing import TYPE_CHECKING, Any

from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.http_client.transport import ConnectFailed, HttpResponse, OutcomeUnknown
from tests.dynamodb_model.model import latest
from tests.dynamodb_model.table import Slot
from tests.dynamodb_model.values import Item, Refused, item_size
from tests.dynamodb_model.wire import Request, carry_out, refusal
from tests.simulation.history import Transaction

if TYPE_CHECKING:
    from tests.dynamodb_model.model import Model
    from tests.simulation.faults import FaultInjector
    from tests.simulation.scheduler import Host, Scheduler, Task

READ_SECONDS = 10.0
"""How long the transport waits for a response, in seconds."""
MAX_SKEW = 300.0
"""Largest accepted difference between the time of a request and DynamoDB's clock, in seconds."""
MAX_LAG = 4
"""How many writes an eventually consistent read may lag behind."""


class Network:
    """The network to the model of DynamoDB, with the faults of the network and of DynamoDB."""

    def __init__(self, scheduler: Scheduler, model: Model, faults: FaultInjector, note: Callable[..., None]) -> None:
        self._scheduler = scheduler
        self._model = model
        self._faults = faults
        self._random = scheduler.random
        self._note = note
        self.lag = inf
        """How many seconds an eventually consistent read may be behind."""
        self.request_count = 0
        self._requests: set[bytes] = set()
        self.transactions: list[Transaction] = []

    def send(self, host: Host, octets: bytes, seconds: float, limit: int) -> HttpResponse:
        """Send a request of a host, and wait for its response at most so many seconds.

        `limit` is the largest number of bytes of changes in an atomic write of the host's process.
        """
        faults, scheduler = self._faults, self._scheduler
        if seconds <= 0 or faults.occurs("no connection"):
            scheduler.sleep(self._delay())
            raise ConnectFailed("no connection")
        self.request_count += 1
        number = self.request_count
        request = Request(octets)
        self._note("send", number, host.name, request.operation, request.body)
        if request.operation == "TransactWriteItems":
            self.transactions.append(_measured(json.loads(request.body)["TransactItems"], limit))
        task = scheduler.current
        wait = min(seconds, READ_SECONDS)
        if faults.occurs("request lost"):
            # The connection breaks, or the request times out.
            scheduler.wake(task, self._random.choice((self._delay(), wait)), None)
        else:
            scheduler.later(self._way("slow request"), self._arrive, number, request, task, task.turn)
            if faults.occurs("delivered twice"):
                scheduler.later(self._way("slow request") + self._long(), self._arrive, number, request, None, 0)
            scheduler.wake(task, wait, None)
        response: HttpResponse | None = scheduler.wait()
        if response is None:
            raise OutcomeUnknown("no complete response in time")
        return response

    def _delay(self) -> float:
        return 0.001 + 0.009 * self._random.random()

    def _long(self) -> float:
        """Return a delay within most time limits; sometimes one that exceeds even the life of a request token."""
        return self._random.choice((0.01, 0.1, 1.0, 5.0, 15.0, 700.0)) * self._random.random()

    def _way(self, fault: str) -> float:
        return self._delay() + (self._long() if self._faults.occurs(fault) else 0.0)

    def _arrive(self, number: int, request: Request, task: Task | None, turn: int) -> None:
        """Carry out a request that has arrived at DynamoDB, and send the response back."""
        faults = self._faults
        response = self._refuse(request)
        hold = 0.0
        if response is None:
            response, hold = self._carry_out(request)
            if faults.occurs("server fault after"):
                response = refusal(Refused("InternalServerError", status=500), self._model.now())
        self._note("response", number, response.status, response.body)
        if task is None or task.turn != turn:
            return  # the task does not wait for it any more
        if faults.occurs("response lost"):
            if self._random.random() < 0.5:
                self._scheduler.wake(task, hold + self._delay(), None)
            return
        if faults.occurs("response garbled") and response.body:
            place = self._random.randrange(len(response.body))
            body = response.body[:place] + bytes([response.body[place] ^ 1]) + response.body[place + 1 :]
            response = HttpResponse(response.status, response.headers, body)
        self._scheduler.wake(task, hold + self._way("slow response"), response)

    def _refuse(self, request: Request) -> HttpResponse | None:
        """Return a refusal if the request is not to be carried out, otherwise `None`."""
        faults, now = self._faults, self._model.now()
        sent_at = _seconds(request.headers["x-amz-date"])
        token = request.headers.get("x-amz-security-token")
        refused = None
        if abs(sent_at - now) > MAX_SKEW:
            refused = Refused("InvalidSignatureException", "Signature expired: the clock is wrong")
        elif token is not None and float(token) <= now:
            faults.counts["expired credentials refused"] += 1
            refused = Refused("ExpiredTokenException", "The security token included in the request is expired")
        elif faults.occurs("throttled"):
            refused = Refused(self._random.choice(("ThrottlingException", "ProvisionedThroughputExceededException")))
        elif faults.occurs("server fault before"):
            refused = Refused("InternalServerError", status=500)
        elif request.operation == "TransactWriteItems":
            again = request.body in self._requests
            self._requests.add(request.body)
            if again and faults.occurs("token mismatch"):
                refused = Refused("IdempotentParameterMismatchException", "this token belongs to another request")
            elif faults.occurs("transaction conflict"):
                refused = self._canceled(request, "TransactionConflict")
            elif faults.occurs("throttled in a transaction"):
                refused = self._canceled(request, "ThrottlingError")
        return None if refused is None else refusal(refused, now)

    def _canceled(self, request: Request, code: str) -> Refused:
        count = len(json.loads(request.body)["TransactItems"])
        reasons: list[dict[str, Any]] = [{"Code": "None"} for _ in range(count)]
        for place in self._random.sample(range(count), self._random.randint(1, count)):
            reasons[place] = {"Code": code, "Message": "for the simulation"}
        return Refused("TransactionCanceledException", "Transaction cancelled", CancellationReasons=reasons)

    def _carry_out(self, request: Request) -> tuple[HttpResponse, float]:
        """Let the model carry out a request; return the response, and how many seconds its transaction holds items."""
        model, faults = self._model, self._faults
        if request.operation == "TransactWriteItems":
            held = len(model.held)
            model.holding = faults.occurs("transaction held")
            response = carry_out(model, request)
            model.holding = False
            if len(model.held) == held:
                return response, 0.0
            hold = self._random.choice((0.01, 0.1, 1.0)) * self._random.random()
            self._scheduler.later(hold, model.release, *model.held[-1])
            return response, hold
        if faults.occurs("stale read"):
            oldest = max(model.oldest, model.version - self._random.randint(1, MAX_LAG))
            model.view = self._as_of(oldest)
        if request.operation in ("Query", "Scan") and model.held and faults.occurs("half a transaction seen"):
            model.query_view = self._half_seen
        if faults.occurs("short page"):
            model.page_bytes = self._random.choice((1, 300, 700, 1500))
        response = carry_out(model, request)
        model.view = model.query_view = latest
        model.page_bytes = 1024 * 1024
        return response, 0.0

    def _as_of(self, oldest: int) -> Callable[[Slot], Item | None]:
        """Return a view in which each item has its state at one of the last writes, independently of the others."""
        newest = self._model.version

        def see(slot: Slot) -> Item | None:
            if not slot.versions or slot.versions[-1].number <= oldest:
                return latest(slot)
            settled = self._settled(slot)
            number = max(settled, self._random.randint(oldest, newest))
            return latest(slot) if number >= slot.versions[-1].number else slot.at(number)

        return see

    def _settled(self, slot: Slot) -> int:
        """Return the number of the last write of an item that every replica has by now; 0 if there may be none."""
        before = self._model.now() - self.lag
        return next((version.number for version in reversed(slot.versions) if version.time <= before), 0)

    def _half_seen(self, slot: Slot) -> Item | None:
        """Return an item that a transaction in flight holds, as it is before or after the transaction."""
        if not slot.hidden or self._random.random() < 0.5:
            return latest(slot)
        return slot.versions[-2].item if len(slot.versions) > 1 else None


def _measured(actions: list[dict[str, Any]], limit: int) -> Transaction:
    sizes: dict[bool, list[int]] = {False: [], True: []}
    for action in actions:
        if "Put" in action:
            item = action["Put"]["Item"]
            sizes[item["pk"]["S"].startswith("REQUEST#")].append(item_size(item))
    changes, requests = sizes[False], sizes[True]
    return Transaction(len(actions), len(requests), len(changes), sum(changes) + sum(requests), sum(changes), limit)


@lru_cache(1024)
def _seconds(stamp: str) -> int:
    return timegm(strptime(stamp, "%Y%m%dT%H%M%SZ"))


class HostTransport:
    """The transport of one process."""

    def __init__(self, network: Network, host: Host, steady: Callable[[], float], limit: int) -> None:
        self._network = network
        self._host = host
        self._steady = steady
        self._limit = limit

    def send(self, request: bytes, *, deadline: float, repeatable: bool = False) -> HttpResponse:
        return self._network.send(self._host, request, deadline - self._steady(), self._limit)

    def warm(self, deadline: float) -> None:
        pass

    def close(self) -> None:
        pass


class TokenService:
    """A source of temporary credentials. They may expire `early` seconds before the time that they report."""

    place = "the simulation"

    def __init__(self, now: Callable[[], float], seconds: float, early: float) -> None:
        self._now = now
        self._seconds = seconds
        self._early = early

    def load(self) -> Credentials:
        expires = self._now() + self._seconds
        return Credentials("AKIDSIMULATION", "secret", str(expires - self._early), expires)
