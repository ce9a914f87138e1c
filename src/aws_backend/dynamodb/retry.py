"""Retries: which failures are retried, how often and after how long. A table, a formula and a quota, without I/O.

The rules follow AWS's standard retry mode (AWS SDKs and Tools Reference Guide, "Retry behavior"). The number of
attempts is bounded. Each wait is a random time below a limit that doubles (full jitter). Retries use up a quota, which
keeps many clients from adding to the load of a failing service. In addition, every call has a deadline.
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
from sltt_core.base.forks import call_after_fork
from sltt_core.base.record import Record
from sltt_core.http_client.transport import BadResponse, ConnectFailed, OutcomeUnknown

MAX_ATTEMPTS = 5
"""Attempts of one call, with the first. The standard mode's default is 3, but AWS's SDKs use more for DynamoDB."""
MAX_WAIT_SECONDS = 20.0
"""The longest wait before one attempt."""
QUOTA = 500
"""The budget of a client for its retries. A success refunds its last retry, or 1."""


class Rule(Record):
    """How to treat one kind of failure."""

    base_seconds: float
    """The first wait is a random time from 0 to this; the limit doubles with each attempt."""
    cost: int
    """The cost of a retry, which is taken from the quota."""
    maybe_carried_out: bool
    """Whether the request may have been carried out despite the error. If so, only a repeatable request is retried."""


RULES: dict[type[SlttError], Rule] = {
    Throttled: Rule(0.1, 5, maybe_carried_out=False),
    TransactionInProgress: Rule(0.05, 5, maybe_carried_out=True),
    TransactionConflict: Rule(0.05, 5, maybe_carried_out=False),
    ServerFault: Rule(0.05, 5, maybe_carried_out=True),
    ConnectFailed: Rule(0.05, 10, maybe_carried_out=False),
    OutcomeUnknown: Rule(0.05, 10, maybe_carried_out=True),
    BadResponse: Rule(0.05, 10, maybe_carried_out=True),
}
"""The failures that are retried. A class stands for its subclasses, too, unless they have their own entry."""


def rule_for(error: SlttError) -> Rule | None:
    """Return the rule for an error; `None` if a retry cannot help."""
    for kind in type(error).__mro__:
        rule = RULES.get(kind)
        if rule is not None:
            return rule
    return None


def may_have_been_carried_out(error: SlttError) -> bool:
    """Return whether the request may have been carried out although it failed with this error."""
    rule = rule_for(error)
    return rule is not None and rule.maybe_carried_out and not isinstance(error, TransactionInProgress)


def wait_before(attempt: int, rule: Rule, random: float) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 1) failed; `random` is in [0, 1)."""
    limit: float = min(MAX_WAIT_SECONDS, rule.base_seconds * 2.0 ** (attempt - 1))
    return random * limit


class RetryQuota:
    """The budget of a client's retries. Safe for use by several threads."""

    __slots__ = ("__weakref__", "_left", "_limit", "_lock", "full")

    def __init__(self, limit: int = QUOTA) -> None:
        self._limit = limit
        self._left = limit
        self._lock = allocate_lock()
        self.full = True
        """Whether nothing is taken, so that a refund would change nothing."""
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may hold."""
        self._lock = allocate_lock()

    @property
    def left(self) -> int:
        """The rest of the budget."""
        return self._left

    def take(self, cost: int) -> bool:
        """Take the cost of a retry; return false, and take nothing, if less is left."""
        with self._lock:
            if cost > self._left:
                return False
            self._left -= cost
            self.full = False
            return True

    def refund(self, cost: int) -> None:
        """Refund the cost of the last retry before a success, or 1 for a success at the first attempt."""
        with self._lock:
            self._left = min(self._limit, self._left + cost)
            self.full = self._left == self._limit
