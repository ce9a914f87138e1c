"""What becomes of a batch, or of a project, after each response of a server: one table.

Only a problem document with a type of this API refuses a change. Whatever else responds, the same bytes are sent again
under the same key.
"""

from __future__ import annotations

from sltt_core.sync.errors import ApiProblem, Cancelled, ForeignResponse, ServerUnreachable
from sltt_core.sync.outcomes import CANCELLED, DIVERGED, OFFLINE, PAUSED, STOPPED, Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sltt_core.sync.errors import RemoteError
    from sltt_core.sync.outcomes import Outcome

AGAIN = "again"
"""The same bytes under the same key, later."""
REFUSE = "refuse"
"""The named edits are rejected; the others go on under a new key."""
REFUSE_RESERVED = "refuse-reserved"
"""The edits of reserved entity types are rejected."""
HALVE = "halve"
"""The batch is divided; its parts get new keys."""
PAUSE = "pause"
"""The project is paused; the outbox is kept."""
DIVERGE = "diverge"
"""The server has another history: nothing is sent until `resync`."""
SETTLE = "settle"
"""The key is in use: the whole log is read, edits that are in it are done, the others get new keys."""
PULL = "pull"
"""Others were faster: their changes are read, and then it is decided again."""
STOP = "stop"
"""A mistake in settings or between versions, no refusal of a change."""

BECOMES = {
    "invalid-batch": REFUSE,
    "reserved-type": REFUSE_RESERVED,
    "payload-too-large": HALVE,
    "unauthenticated": PAUSE,
    "not-allowed": PAUSE,
    "access-revoked": PAUSE,
    "not-found": PAUSE,
    "chain-mismatch": DIVERGE,
    "key-reused": SETTLE,
    "head-moved": PULL,
    "partial-append": AGAIN,
    "project-exists": AGAIN,
    "request-timeout": AGAIN,
}
"""By the last part of a problem document's `type`."""

_OUTCOMES: dict[str, Outcome] = {PAUSE: PAUSED, DIVERGE: DIVERGED, STOP: STOPPED}


def action_of(error: RemoteError) -> str:
    """Return what to do after an error: one of the constants above."""
    if not isinstance(error, ApiProblem):
        return AGAIN
    if error.type == "invalid-batch" and not refused(error):
        return STOP  # it names no change: the body as a whole is wrong, which is a mistake of this program
    default = AGAIN if error.status >= 500 or error.status in (408, 429) else STOP
    return BECOMES.get(error.type, default)


def refused(error: ApiProblem) -> dict[int, list[dict[str, str]]]:
    """Return the errors of each refused change of a batch, by its index."""
    found: dict[int, list[dict[str, str]]] = {}
    for one in error.extensions.get("errors") or ():
        index = one.get("index")
        if type(index) is int:
            found.setdefault(index, []).append({"field": str(one.get("field")), "reason": str(one.get("reason"))})
    return found


def is_of_server(trouble: Trouble) -> bool:
    """Return whether a trouble with one project is one with every project, so that the others need not be tried."""
    return trouble.kind in (ServerUnreachable.kind, Cancelled.kind) or trouble.retry_after is not None


def trouble_of(error: RemoteError) -> Trouble:
    """Return an error as the value that a result has."""
    if isinstance(error, Cancelled):
        return Trouble(CANCELLED, error.kind, error.message)
    outcome = _OUTCOMES.get(action_of(error), OFFLINE)
    detail = error.message
    if isinstance(error, ForeignResponse) and error.hint:
        detail = f"{detail}. {error.hint}"
    return Trouble(outcome, error.kind, detail, error.retry_after)
