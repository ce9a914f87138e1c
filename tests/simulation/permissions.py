"""What the log allows, and whether the API kept to it: the promises about members, checked in the record of a schedule.

The rules are written here once more, so that an error in those of the server is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple

from sltt_core.model.changes import Change
from sltt_core.model.grants import MEMBER
from tests.simulation.history import History, Sent

ALLOWED = ""
ALLOWED_SECONDS = 60.0
"""How old the members may be on which a permission is based."""
REFUSED_SECONDS = 5.0
"""How old the members may be on which a refusal is based."""
MEMBERS = {"owner", "editor", "viewer"}
MAY = {"read": MEMBERS, "append": {"owner", "editor"}, "grant": {"owner"}}
REFUSALS = {(404, "not-found"), (403, "not-allowed"), (403, "access-revoked")}


class State(NamedTuple):
    """The members of a project between two grants."""

    since: float
    """When the first of these grants was written, in virtual time."""
    until: float
    version: int
    """The number of the last grant; 0 before the first change of the project."""
    roles: dict[str, str]

    def verdict(self, principal: str, action: str) -> str:
        """Return why an action is refused, or `ALLOWED`."""
        role = self.roles.get(principal)
        if role is None:
            return ALLOWED if action == "append" and not self.roles else "not-found"
        if role == "none":
            return "access-revoked"
        return ALLOWED if role in MAY[action] else "not-allowed"


def states(history: History, project: str) -> list[State]:
    """Return the states of a project's members in order."""
    return _states(history.final[project].changes, tuple(history.written_at[project]))


@lru_cache(4)
def _states(changes: tuple[Change, ...], written_at: tuple[float, ...]) -> list[State]:
    found = [State(-inf, inf, 0, {})]
    for change, at in zip(changes, written_at, strict=True):
        if change.entity_type == MEMBER:
            found[-1] = found[-1]._replace(until=at)
            found.append(State(at, inf, change.seq, {**found[-1].roles, change.entity_id: change.data["role"]}))
    return found


def window(history: History, sent: Sent, seconds: float) -> list[State]:
    """Return the states that a decision about a request may be based on, if members are remembered for so long.

    A process knows the grants that it has made. Its steady clock may have stood still.
    """
    lost = history.lost.get(sent.host, 0.0)
    begin = sent.began - seconds - history.lag - lost
    end = inf if sent.ended is None else sent.ended[1]
    own = max((other.version for other in _granted(history, sent)), default=0)
    return [
        state
        for state in states(history, sent.project)
        if state.since <= end and state.until >= begin and state.version >= own
    ]


def _granted(history: History, sent: Sent) -> Iterator[Sent]:
    """Yield the requests that gave or took a role on the same process, and whose responses came before."""
    for other in history.sent:
        if (
            other.action == "grant"
            and (other.host, other.project) == (sent.host, sent.project)
            and other.ended is not None
            and other.ended[0] < sent.started
            and other.status == 200
        ):
            yield other


def roles_are_obeyed(history: History) -> Iterator[str]:
    """A request is allowed only if a role of the last 60 s allows it; on the server of the grant, if the last does."""
    for sent in _decided(history, ALLOWED):
        if not any(
            state.verdict(sent.principal, sent.action) == ALLOWED for state in window(history, sent, ALLOWED_SECONDS)
        ):
            yield repr(sent)


def refusals_are_true(history: History) -> Iterator[str]:
    """A request is refused only for a reason of the last 5 s; on the server of the grant, for the last."""
    for sent in _decided(history):
        possible = window(history, sent, REFUSED_SECONDS)
        found = {state.verdict(sent.principal, sent.action) for state in possible}
        if len(possible) > 1 and possible[0].version == 0:
            found.add("not-found")  # the project exists now, but a replica has no members yet
        if sent.refusal != ALLOWED and sent.refusal not in found:
            yield f"{sorted(found)}: {sent!r}"


def _decided(history: History, refusal: str | None = None) -> Iterator[Sent]:
    """Yield the requests about one project that were allowed or refused; with `refusal`, those with this outcome."""
    for sent in history.sent:
        if sent.refusal is not None and sent.action in MAY and (refusal is None or sent.refusal == refusal):
            yield sent


def writes_are_allowed(history: History) -> Iterator[str]:
    """Each change in the log was sent by its `changeBy`, who was a member that may write, or created the project."""
    for project, log in history.final.items():
        creator = log.changes[1].cid if len(log.changes) > 1 else None
        for change in log.changes:
            if change.seq > 1 and not any(
                _writes(sent, change) and (creator in sent.cids or _may_write(history, sent)) for sent in history.sent
            ):
                yield f"change {change.seq} of {project}: {change}"
        if log.changes and log.changes[0].entity_id != log.changes[0].change_by:
            yield f"the first change of {project}: {log.changes[0]}"


def _writes(sent: Sent, change: Change) -> bool:
    if (sent.project, sent.principal) != (change.project_id, change.change_by):
        return False
    if change.entity_type == MEMBER:
        return sent.grants == (change.entity_id, change.data["role"])
    return change.cid in sent.cids


def _may_write(history: History, sent: Sent) -> bool:
    """Return whether the sender was a member that may do this. The creation of a project is another case."""
    own = sent.grants is not None and sent.grants == (sent.principal, "none")
    action = "read" if own else sent.action  # everyone may leave
    states = window(history, sent, ALLOWED_SECONDS)
    return any(state.roles and state.verdict(sent.principal, action) == ALLOWED for state in states)


def lists_are_own(history: History) -> Iterator[str]:
    """A list has the projects of its sender and no others; a replica may be some seconds behind."""
    for sent in history.sent:
        if sent.listed is None or sent.ended is None:
            continue
        for project in history.final:
            roles = {
                state.roles.get(sent.principal, "none") in MEMBERS
                for state in states(history, project)
                if state.since <= sent.ended[1] and state.until >= sent.began - history.lag
            }
            if (project in sent.listed) not in roles:
                yield f"{project}: {sent!r}"


def owners_remain(history: History) -> Iterator[str]:
    """A project that has changes has an owner."""
    for project in history.final:
        for state in states(history, project)[1:]:
            if "owner" not in state.roles.values():
                yield f"{project} after change {state.version}"


def outcome(status: int, body: Any) -> str | None:
    """Return why a request was refused, `ALLOWED`, or `None` if the response says neither."""
    if status in (200, 409):
        return ALLOWED
    kind = str(body.get("type", "")).removeprefix("urn:sltt:problem:")
    return kind if (status, kind) in REFUSALS else None


CHECKS: dict[str, Callable[[History], Iterator[str]]] = {
    "roles are obeyed": roles_are_obeyed,
    "refusals are true": refusals_are_true,
    "writes are allowed": writes_are_allowed,
    "lists are one's own": lists_are_own,
    "owners remain": owners_remain,
}
"""The promises about members."""
