"""What lies between a process and DynamoDB: requests and answers that are lost, late, doubled or garbled."""

from __future__ import annotations

import json
from calendar import timegm
from collections.abc import Callable
from functools import lru_cache
from time import strptime
from typing import TYPE_CHECKING, Any

from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.http_client.transport import ConnectFailed, HttpResponse, OutcomeUnknown
from tests.dynamodb_model.model import latest as see_latest
from tests.dynamodb_model.table import Slot
from tests.dynamodb_model.values import Item, Refused
from tests.dynamodb_model.wire import Request, carry_out, refusal

if TYPE_CHECKING:
    from tests.dynamodb_model.model import Model
    from tests.simulation.faults import Weather
    from tests.simulation.scheduler import Host, Scheduler, Task

READ_SECONDS = 10.0
"""How long the transport waits for an answer."""
MAX_SKEW = 300.0
"""How far a request's time may be from DynamoDB's."""
MAX_LAG = 4
"""How many writes an eventually consistent read may be behind."""


class Network:
    """The way to the model, and what it does on top of it."""

    def __init__(self, scheduler: Scheduler, model: Model, weather: Weather, note: Callable[..., None]) -> None:
        self._scheduler = scheduler
        self._model = model
        self._weather = weather
        self._random = scheduler.random
        self._note = note
        self.flights = 0
        self._unsettled: dict[int, int] = {}
        """The transactions in flight: number of the write, and of the flight."""
        self._requests: set[bytes] = set()

    def send(self, host: Host, octets: bytes, seconds: float) -> HttpResponse:
        """Send a request of a host, and wait for its answer at most so long."""
        weather, scheduler = self._weather, self._scheduler
        if seconds <= 0 or weather.strikes("no connection"):
            scheduler.sleep(self._delay())
            raise ConnectFailed("no connection")
        self.flights += 1
        flight = self.flights
        request = Request(octets)
        self._note("send", flight, host.name, request.operation, request.body)
        task = scheduler.current
        wait = min(seconds, READ_SECONDS)
        if weather.strikes("request lost"):
            # The connection breaks, or nothing comes.
            scheduler.wake(task, self._random.choice((self._delay(), wait)), None)
        else:
            scheduler.later(self._way("slow request"), self._arrive, flight, request, task, task.turn)
            if weather.strikes("delivered twice"):
                scheduler.later(self._way("slow request") + self._long(), self._arrive, flight, request, None, 0)
            scheduler.wake(task, wait, None)
        response: HttpResponse | None = scheduler.wait()
        if response is None:
            raise OutcomeUnknown("no whole answer came in time")
        return response

    def _delay(self) -> float:
        return 0.001 + 0.009 * self._random.random()

    def _long(self) -> float:
        """A delay that most patience outlasts; now and then one that outlasts even a request token."""
        return self._random.choice((0.01, 0.1, 1.0, 5.0, 15.0, 700.0)) * self._random.random()

    def _way(self, fault: str) -> float:
        return self._delay() + (self._long() if self._weather.strikes(fault) else 0.0)

    def _arrive(self, flight: int, request: Request, task: Task | None, turn: int) -> None:
        """Have DynamoDB carry out a request, and send the answer back."""
        weather = self._weather
        response = self._refuse(request)
        hold = 0.0
        if response is None:
            response, hold = self._carry_out(flight, request)
            if weather.strikes("server fault after"):
                response = refusal(Refused("InternalServerError", status=500), self._model.now())
        self._note("answer", flight, response.status, response.body)
        if task is None or task.turn != turn:
            return  # nobody waits for it any more
        if weather.strikes("reply lost"):
            if self._random.random() < 0.5:
                self._scheduler.wake(task, hold + self._delay(), None)
            return
        if weather.strikes("reply garbled") and response.body:
            place = self._random.randrange(len(response.body))
            body = response.body[:place] + bytes([response.body[place] ^ 1]) + response.body[place + 1 :]
            response = HttpResponse(response.status, response.headers, body)
        self._scheduler.wake(task, hold + self._way("slow reply"), response)

    def _refuse(self, request: Request) -> HttpResponse | None:
        """Refuse a request without doing anything, if that is to be."""
        weather, now = self._weather, self._model.now()
        stamp = _seconds(request.headers["x-amz-date"])
        token = request.headers.get("x-amz-security-token")
        refused = None
        if abs(stamp - now) > MAX_SKEW:
            refused = Refused("InvalidSignatureException", "Signature expired: the clock is wrong")
        elif token is not None and float(token) <= now:
            weather.counts["expired credentials refused"] += 1
            refused = Refused("ExpiredTokenException", "The security token included in the request is expired")
        elif weather.strikes("throttled"):
            refused = Refused(self._random.choice(("ThrottlingException", "ProvisionedThroughputExceededException")))
        elif weather.strikes("server fault before"):
            refused = Refused("InternalServerError", status=500)
        elif request.operation == "TransactWriteItems":
            again = request.body in self._requests
            self._requests.add(request.body)
            if again and weather.strikes("token mismatch"):
                refused = Refused("IdempotentParameterMismatchException", "another request came with this token")
            elif weather.strikes("transaction conflict"):
                refused = self._canceled(request, "TransactionConflict")
            elif weather.strikes("throttled in a transaction"):
                refused = self._canceled(request, "ThrottlingError")
        return None if refused is None else refusal(refused, now)

    def _canceled(self, request: Request, code: str) -> Refused:
        count = len(json.loads(request.body)["TransactItems"])
        reasons: list[dict[str, Any]] = [{"Code": "None"} for _ in range(count)]
        for place in self._random.sample(range(count), self._random.randint(1, count)):
            reasons[place] = {"Code": code, "Message": "for the simulation"}
        return Refused("TransactionCanceledException", "Transaction cancelled", CancellationReasons=reasons)

    def _carry_out(self, flight: int, request: Request) -> tuple[HttpResponse, float]:
        """Have the model carry out a request; returns the answer, and how long its transaction holds items."""
        model, weather = self._model, self._weather
        if request.operation == "TransactWriteItems":
            held = len(model.held)
            model.holding = weather.strikes("transaction held")
            response = carry_out(model, request)
            model.holding = False
            if len(model.held) == held:
                return response, 0.0
            hold = self._random.choice((0.01, 0.1, 1.0)) * self._random.random()
            self._scheduler.later(hold, model.let_go, *model.held[-1])
            return response, hold
        if weather.strikes("stale read"):
            oldest = max(model.oldest, model.version - self._random.randint(1, MAX_LAG))
            model.sight = self._as_of(oldest)
        if request.operation in ("Query", "Scan") and model.held and weather.strikes("half a transaction seen"):
            model.query_sight = self._half_seen
        if weather.strikes("short page"):
            model.page_bytes = self._random.choice((1, 300, 700, 1500))
        response = carry_out(model, request)
        model.sight = model.query_sight = see_latest
        model.page_bytes = 1024 * 1024
        return response, 0.0

    def _as_of(self, oldest: int) -> Callable[[Slot], Item | None]:
        """See each item as it was at one of the last writes, each at another: replicas lag as they like."""
        latest = self._model.version

        def see(slot: Slot) -> Item | None:
            if not slot.versions or slot.versions[-1].number <= oldest:
                return see_latest(slot)
            number = self._random.randint(oldest, latest)
            return see_latest(slot) if number >= slot.versions[-1].number else slot.at(number)

        return see

    def _half_seen(self, slot: Slot) -> Item | None:
        """See an item that a transaction in flight holds before it or after it; who saw it after it does so again."""
        if not slot.hidden or self._random.random() < 0.5:
            return see_latest(slot)
        return slot.versions[-2].item if len(slot.versions) > 1 else None


@lru_cache(1024)
def _seconds(stamp: str) -> int:
    return timegm(strptime(stamp, "%Y%m%dT%H%M%SZ"))


class HostTransport:
    """The transport of one process."""

    def __init__(self, network: Network, host: Host, steady: Callable[[], float]) -> None:
        self._network = network
        self._host = host
        self._steady = steady

    def send(self, request: bytes, *, deadline: float, repeatable: bool = False) -> HttpResponse:
        return self._network.send(self._host, request, deadline - self._steady())

    def warm(self, deadline: float) -> None:
        pass

    def close(self) -> None:
        pass


class TokenService:
    """Where a process gets credentials: they last an hour, or, in a bad hour, a little less than they say."""

    place = "the simulation"

    def __init__(self, now: Callable[[], float], seconds: float, early: float) -> None:
        self._now = now
        self._seconds = seconds
        self._early = early

    def load(self) -> Credentials:
        expires = self._now() + self._seconds
        return Credentials("AKIDSIMULATION", "secret", str(expires - self._early), expires)
