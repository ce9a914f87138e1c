"""What is tried again, how often and after how long: a table, a formula and a quota, all pure.

AWS's standard retry mode (AWS SDKs and Tools Reference Guide, "Retry behavior"): a bounded number of attempts, waits
drawn evenly from zero up to a limit that doubles (full jitter), and a quota that a failing service uses up, so that
many clients do not add to its trouble. On top of it every call has a deadline.
"""

from __future__ import annotations

from _thread import allocate_lock

from aws_backend.dynamodb.errors import (
    ServerFault,
    Throttled,
    TransactionConflict,
    TransactionInProgress,
)
from sltt_core.base.errors import SlttError
from sltt_core.base.record import Record
from sltt_core.http_client.transport import BadResponse, ConnectFailed, OutcomeUnknown

MAX_ATTEMPTS = 5
"""Of one call, the first included. (The standard mode's default is 3; for DynamoDB its SDKs have always done more.)"""
MAX_WAIT_SECONDS = 20.0
"""The limit of one wait, however many came before."""
QUOTA = 500
"""What all retries of a client may cost together; successes pay back."""


class Rule(Record):
    """How one kind of failure is treated."""

    base_seconds: float
    """The first wait is drawn from 0 to this; the limit doubles with each attempt."""
    cost: int
    """What a retry takes from the quota."""
    carried_out: bool
    """Whether the request may have been carried out all the same: then only a repeatable one is repeated."""


RULES: dict[type[SlttError], Rule] = {
    Throttled: Rule(0.1, 5, carried_out=False),
    TransactionInProgress: Rule(0.05, 5, carried_out=True),
    TransactionConflict: Rule(0.05, 5, carried_out=False),
    ServerFault: Rule(0.05, 5, carried_out=True),
    ConnectFailed: Rule(0.05, 10, carried_out=False),
    OutcomeUnknown: Rule(0.05, 10, carried_out=True),
    BadResponse: Rule(0.05, 10, carried_out=True),
}
"""What is tried again; nothing else is. A class stands for those below it that are not in the table themselves."""


def rule_for(error: SlttError) -> Rule | None:
    """Return how an error is treated; `None` when trying again is of no use."""
    for kind in type(error).__mro__:
        rule = RULES.get(kind)
        if rule is not None:
            return rule
    return None


def may_have_been_carried_out(error: SlttError) -> bool:
    """Tell whether the request that failed so may have done its work."""
    rule = rule_for(error)
    return rule is not None and rule.carried_out and not isinstance(error, TransactionInProgress)


def wait_before(attempt: int, rule: Rule, random: float) -> float:
    """Return the seconds to wait after the `attempt`th failure (from 1); `random` is from 0 up to 1."""
    limit: float = min(MAX_WAIT_SECONDS, rule.base_seconds * 2.0 ** (attempt - 1))
    return random * limit


class RetryQuota:
    """What retries may cost together. Safe for use by several threads."""

    __slots__ = ("_left", "_limit", "_lock", "full")

    def __init__(self, limit: int = QUOTA) -> None:
        self._limit = limit
        self._left = limit
        self._lock = allocate_lock()
        self.full = True
        """Whether nothing is taken: then there is nothing to give back."""

    @property
    def left(self) -> int:
        """What is left."""
        return self._left

    def take(self, cost: int) -> bool:
        """Take the cost of a retry, if so much is left."""
        with self._lock:
            if cost > self._left:
                return False
            self._left -= cost
            self.full = False
            return True

    def give_back(self, cost: int) -> None:
        """Give back what the last retry before a success took, or 1 for a success at the first attempt."""
        with self._lock:
            self._left = min(self._limit, self._left + cost)
            self.full = self._left == self._limit
