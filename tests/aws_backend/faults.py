"""`Faults`: makes the calls of a storage's client fail on demand. All other calls reach a real engine."""

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
    """Replaces a call. Its parameter is the real call."""


class Faults:
    """Replaces `call` of a storage's client. Each operation meets the faults that are planned for it, in order."""

    def __init__(self, storage: BaseStorageService) -> None:
        self._client: Any = storage._client  # type: ignore[attr-defined]
        self._call = self._client.call
        self._client.call = self.call
        self.planned: dict[str, list[Fault]] = {}
        """By operation: the faults of its next calls."""
        self.always: dict[str, Fault] = {}
        """By operation: the fault of every call that no planned fault meets."""
        self.calls: list[str] = []
        """The operations that were called."""
        self.payloads: list[Any] = []
        """Their payloads."""

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
        """Let the next calls of an operation meet these faults, one each."""
        self.planned.setdefault(operation, []).extend(faults)


def not_sent(error: SlttError) -> Fault:
    """The call never reaches DynamoDB."""

    def fault(call: Call) -> dict[str, Any]:
        raise error

    return fault


def reply_lost(error: SlttError) -> Fault:
    """DynamoDB carries out the call, but the response is lost."""

    def fault(call: Call) -> dict[str, Any]:
        call()
        raise error

    return fault


def late(error: SlttError, arrives: list[Call]) -> Fault:
    """The error comes before the call arrives; the test calls the function in `arrives` to let it arrive."""

    def fault(call: Call) -> dict[str, Any]:
        arrives.append(call)
        raise error

    return fault


def canceled(*codes: str | None) -> TransactionCanceled:
    """Return the error of a transaction that was refused for these reasons."""
    error = TransactionCanceled("TransactionCanceledException")
    error.code = "TransactionCanceledException"
    error.reasons = tuple({"Code": code or "None"} for code in codes)
    return error


class Gate:
    """A fault that blocks a call until `open` is set, and sets `came` when it begins. Then the call may meet `then`."""

    def __init__(self, then: Fault | None = None) -> None:
        self.came = Event()
        self.open = Event()
        self._then = then

    def __call__(self, call: Call) -> dict[str, Any]:
        self.came.set()
        assert self.open.wait(30)
        return call() if self._then is None else self._then(call)
