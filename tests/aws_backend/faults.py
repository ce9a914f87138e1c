"""`Faults`: makes calls to a real engine fail on demand. All other calls are real."""

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
    """Replaces a call, which it receives as its argument."""


class Faults:
    """Intercepts the calls of a storage's client. Each operation gets its planned faults, in order."""

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
    """Return a fault: the call does not reach DynamoDB."""

    def fault(call: Call) -> dict[str, Any]:
        raise error

    return fault


def response_lost(error: SlttError) -> Fault:
    """Return a fault: DynamoDB carries out the call, but its response does not arrive."""

    def fault(call: Call) -> dict[str, Any]:
        call()
        raise error

    return fault


def late(error: SlttError, arrives: list[Call]) -> Fault:
    """Return a fault: the error is raised, and the call is added to a list, from which a test can make it later."""

    def fault(call: Call) -> dict[str, Any]:
        arrives.append(call)
        raise error

    return fault


def canceled(*codes: str | None) -> TransactionCanceled:
    """Return the error of a transaction that was canceled for these reasons."""
    error = TransactionCanceled("TransactionCanceledException")
    error.code = "TransactionCanceledException"
    error.reasons = tuple({"Code": code or "None"} for code in codes)
    return error


class Gate:
    """A fault that delays a call until `open` is set. It sets `came` when the call comes; `then` is the next fault."""

    def __init__(self, then: Fault | None = None) -> None:
        self.came = Event()
        self.open = Event()
        self._then = then

    def __call__(self, call: Call) -> dict[str, Any]:
        self.came.set()
        assert self.open.wait(30)
        return call() if self._then is None else self._then(call)
