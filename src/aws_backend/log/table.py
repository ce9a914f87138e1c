"""`LogTable`: the table that the logs are in, as the rest of this package calls it.

Holds what every call needs (the client, the clocks, the time a request may take) and makes the errors that are not the
caller's fault say so without telling clients of the API about accounts, roles and hosts; whoever runs the program finds
that in `__cause__`.
"""

from __future__ import annotations

from _thread import allocate_lock
from os import urandom
from time import monotonic, sleep, time_ns

from aws_backend.dynamodb.client import random_fraction
from aws_backend.dynamodb.credentials import CredentialError
from aws_backend.dynamodb.errors import (
    THROTTLING,
    AccessDenied,
    ClockSkewed,
    ConditionFailed,
    DynamoDBError,
    InvalidRequest,
    ServerFault,
    TableInUse,
    TableNotFound,
    Throttled,
    TokenReused,
    TransactionCanceled,
    TransactionConflict,
)
from aws_backend.log.items import change_key, log_end_of, request_of, sequence_key
from sltt_core.base.errors import SlttError, StorageBusy, StorageError, StorageThrottled, StorageUnavailable
from sltt_core.http_client.transport import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from aws_backend.dynamodb.client import DynamoDBClient
    from aws_backend.log.items import Item, LogEnd, Request
    from sltt_core.base.timestamps import Clock

REQUEST_SECONDS = 10.0
"""How long a request to a storage may take, with all its calls and all its waiting."""
DAMAGED_HINT = "Look at what verify(project_id) finds, and mend it with repair()."
THROTTLE_SECONDS = 0.1
"""The first wait after a refusal for want of capacity is a random part of this; it doubles each time."""
MAX_SEEN = 100_000
"""Projects of which it is remembered how far their logs were seen to reach."""

_HINTS: dict[type[SlttError], str] = {
    TableNotFound: "Look at the table's name and at DYNAMODB_REGION. A local DynamoDB that was started again is empty: "
    "start this program again, too.",
    TableInUse: "The table is being made, changed or deleted; try again when that is done.",
    AccessDenied: AccessDenied.hint,
    ClockSkewed: "Set the machine's clock.",
    CredentialError: CredentialError.hint,
}


def refused(error: SlttError) -> StorageError:
    """Make the error for what DynamoDB refuses and no caller can help; the details stay in `__cause__`."""
    code = error.code if isinstance(error, DynamoDBError) else "no credentials"
    hint = next((text for kind, text in _HINTS.items() if isinstance(error, kind)), None)
    made = StorageError(f"DynamoDB did not take the request: {code}", hint=hint)
    made.__cause__ = error
    return made


_PASSING: dict[type[SlttError], tuple[type[StorageError], str]] = {
    Throttled: (StorageThrottled, "the table may not do more just now"),
    TransactionConflict: (StorageBusy, "another transaction held what this one needs"),
    ServerFault: (StorageUnavailable, "DynamoDB failed"),
    TransportError: (StorageUnavailable, "DynamoDB cannot be reached, or did not answer"),
}
"""What may pass by itself: as which error of the contract a client sees it, and in which words."""


_OWN: dict[str, tuple[type[SlttError], ...]] = {
    "TransactWriteItems": (InvalidRequest, TransactionCanceled, TokenReused),
    "TransactGetItems": (TransactionCanceled,),
}
"""What the callers of an operation know what to do about; of all others it is a condition that failed."""


def veiled(error: SlttError) -> SlttError:
    """Make the same error with nothing in it of DynamoDB's own words; they stay in `__cause__`."""
    shown = next((found for kind, found in _PASSING.items() if isinstance(error, kind)), None)
    if shown is None:
        return refused(error)
    kind, text = shown
    made = type(error)(text, hint=kind.hint)
    made.status, made.kind, made.title, made.retry_after = kind.status, kind.kind, kind.title, kind.retry_after
    if isinstance(made, DynamoDBError) and isinstance(error, DynamoDBError):
        made.code = error.code
    made.__cause__ = error
    return made


_PASSES = {"ConditionalCheckFailed", "TransactionConflict", *THROTTLING}


def codes_of(error: TransactionCanceled) -> set[str]:
    """Return the codes of the reasons that a transaction was canceled for."""
    return {str(reason.get("Code")) for reason in error.reasons} - {"None"}


def may_pass(error: TransactionCanceled) -> bool:
    """Tell whether a canceled transaction may succeed later, perhaps built anew."""
    codes = codes_of(error)
    return bool(codes) and codes <= _PASSES


def random_key() -> str:
    """Return 32 random characters: a request token, or a key for a caller that gave none."""
    return urandom(16).hex()


class LogTable:
    """A table with logs in it. Safe for use by several threads."""

    def __init__(
        self,
        name: str,
        client: DynamoDBClient,
        *,
        clock: Clock = time_ns,
        steady_clock: Callable[[], float] = monotonic,
        pause: Callable[[float], None] = sleep,
        random: Callable[[], float] = random_fraction,
        new_token: Callable[[], str] = random_key,
        time_limit: Callable[[], float] = lambda: REQUEST_SECONDS,
    ) -> None:
        """`clock` gives nanoseconds since 1970; deadlines are on `steady_clock`, which must be the client's, too.

        `patience` is asked at the beginning of each request how many seconds it may take.
        """
        self.name = name
        self.client = client
        self.clock = clock
        self.steady_clock = steady_clock
        self.pause = pause
        self.random = random
        self.new_token = new_token
        self._time_limit = time_limit
        self._seen: dict[str, int] = {}
        self._lock = allocate_lock()

    def deadline(self) -> float:
        """Return when a request that begins now has to end."""
        return self.steady_clock() + self._time_limit()

    def call(self, operation: str, payload: Mapping[str, Any], deadline: float, **options: Any) -> dict[str, Any]:
        """Call an operation that names the table itself, or in each of its parts."""
        try:
            return self.client.call(operation, payload, deadline=deadline, **options)
        except SlttError as error:
            if isinstance(error, _OWN.get(operation, ConditionFailed)):
                raise
            raise veiled(error) from error

    def back_off(self, attempt: int, deadline: float) -> None:
        """Wait after being throttled, longer with each attempt (from 0); raises `Throttled` when the time is up."""
        wait = THROTTLE_SECONDS * 2.0**attempt * self.random()
        if self.steady_clock() + wait >= deadline:
            raise veiled(Throttled("the table may not do more just now"))
        self.pause(wait)

    # What a process knows of logs it has written or read: they reach this far at least.

    def seen(self, project_id: str) -> int:
        """Return the greatest sequence number that this process has seen of a project, 0 for none."""
        return self._seen.get(project_id, 0)

    def see(self, project_id: str, seq: int) -> None:
        """Remember that a log reaches so far."""
        with self._lock:
            seen = self._seen
            if seq > seen.get(project_id, 0):
                if len(seen) >= MAX_SEEN and project_id not in seen:
                    del seen[next(iter(seen))]
                seen.pop(project_id, None)  # so that those written to last stay longest
                seen[project_id] = seq

    def unsee(self, project_id: str) -> None:
        """Forget how far a log reached: it was replaced."""
        self._seen.pop(project_id, None)

    # Single items

    def get(self, key: Item, deadline: float, *, strong: bool) -> Item | None:
        """Return an item, or `None`; `strong` sees every write that was answered before, at twice the price."""
        payload = {"TableName": self.name, "Key": key, "ConsistentRead": strong}
        item: Item | None = self.call("GetItem", payload, deadline).get("Item")
        return item

    def read_end(self, project_id: str, deadline: float, *, strong: bool = True) -> LogEnd:
        """Return a log's end. Weakly read, it may be an earlier one, but never before what this process has seen."""
        seen = self.seen(project_id)
        end = log_end_of(self.get(sequence_key(project_id), deadline, strong=strong), project_id)
        if end.head.seq < seen:
            if not strong:
                return self.read_end(project_id, deadline)
            # Shorter than it was before this was asked: it was replaced. What was seen meanwhile, as by an append of
            # another thread, is younger than this answer and says nothing of the kind.
            if self.seen(project_id) == seen:
                self.unsee(project_id)
        self.see(project_id, end.head.seq)
        return end

    def read_request(self, key: Item, deadline: float) -> Request | None:
        """Return what an idempotency key wrote, by a strong read; `None` when it wrote nothing."""
        item = self.get(key, deadline, strong=True)
        return None if item is None else request_of(item)

    def read_together(self, project_id: str, seq: int, deadline: float) -> tuple[Item | None, Item | None]:
        """Return a change's item and the sequence item as they are at one moment between all transactions.

        (AWS, "DynamoDB transactions: how it works": TransactGetItems is serializable with TransactWriteItems, where a
        strong read of one item after the other is not.)
        """
        keys = (change_key(project_id, seq), sequence_key(project_id))
        payload = {"TransactItems": [{"Get": {"TableName": self.name, "Key": key}} for key in keys]}
        while True:
            try:
                change, sequence = self.call("TransactGetItems", payload, deadline)["Responses"]
            except TransactionCanceled as error:  # a transaction is in flight: then it is not at rest yet
                if not may_pass(error):
                    raise refused(error) from error
                if self.steady_clock() + CONFLICT_PAUSE >= deadline:
                    raise StorageBusy(f"others write to project {project_id} without a pause") from error
                self.pause(CONFLICT_PAUSE)
            else:
                return change.get("Item"), sequence.get("Item")


CONFLICT_PAUSE = 0.02
"""Before items are read together again that a transaction was writing."""
