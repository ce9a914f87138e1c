"""`Faults`: a client that fails on demand, in front of a real engine. Everything that is not told to fail is real."""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Any

from aws_backend.dynamodb.errors import TransactionCanceled
from sltt_core.base.errors import SlttError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sltt_core.log.storage import BaseStorageService

    Call = Callable[[], dict[str, Any]]
    Fault = Callable[[Call], dict[str, Any]]
    """What happens instead of a call, which it is given."""


class Faults:
    """Stands between a storage and its client; each operation meets the faults that are planned for it, in order."""

    def __init__(self, storage: BaseStorageService) -> None:
        self._client: Any = storage._client  # type: ignore[attr-defined]
        self._call = self._client.call
        self._client.call = self.call
        self.planned: dict[str, list[Fault]] = {}
        self.always: dict[str, Fault] = {}
        self.calls: list[str] = []
        self.payloads: list[Any] = []

    def call(self, operation: str, payload: Any, **options: Any) -> dict[str, Any]:
        self.calls.append(operation)
        self.payloads.append(payload)

        def real() -> dict[str, Any]:
            response: dict[str, Any] = self._call(operation, payload, **options)
            return response

        if self.planned.get(operation):
            return self.planned[operation].pop(0)(real)
        fault = self.always.get(operation)
        return real() if fault is None else fault(real)

    def plan(self, operation: str, *faults: Fault) -> None:
        self.planned.setdefault(operation, []).extend(faults)


def not_sent(error: SlttError) -> Fault:
    """The call never reaches DynamoDB."""

    def fault(call: Call) -> dict[str, Any]:
        raise error

    return fault


def reply_lost(error: SlttError) -> Fault:
    """DynamoDB does it, and nobody hears of it."""

    def fault(call: Call) -> dict[str, Any]:
        call()
        raise error

    return fault


def late(error: SlttError, arrives: list[Call]) -> Fault:
    """The call is still on its way when the error comes; whoever has the list lets it arrive."""

    def fault(call: Call) -> dict[str, Any]:
        arrives.append(call)
        raise error

    return fault


def canceled(*codes: str | None) -> TransactionCanceled:
    """A transaction that was refused for these reasons."""
    error = TransactionCanceled("TransactionCanceledException")
    error.code = "TransactionCanceledException"
    error.reasons = tuple({"Code": code or "None"} for code in codes)
    return error


class Gate:
    """Holds a call back until it is opened, and tells when it came. Then the call may meet another fault."""

    def __init__(self, then: Fault | None = None) -> None:
        self.came = Event()
        self.open = Event()
        self._then = then

    def __call__(self, call: Call) -> dict[str, Any]:
        self.came.set()
        assert self.open.wait(30)
        return call() if self._then is None else self._then(call)
