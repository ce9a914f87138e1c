"""The checker: it accepts a history that keeps every promise, and finds a violation of each promise."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import pytest

from sltt_core.base.errors import (
    ChainMismatch,
    InvalidBatch,
    InvalidInput,
    KeyReused,
    NotFound,
    Problem,
    StorageBusy,
)
from sltt_core.log.batches import Appended
from sltt_core.log.pages import ChangeStats, Head, Page
from sltt_core.model.chain import GENESIS, link_of
from sltt_core.model.changes import Change, NewChange
from sltt_core.model.grants import MEMBER
from tests.simulation.checker import CHECKS, violations
from tests.simulation.history import Batch, Call, History, Logs, Restored, Sent, Transaction
from tests.simulation.scheduler import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = "2023-11-14T22:13:20.000Z"


def logged(project: str, cids: list[str]) -> tuple[Change, ...]:
    """Return a log of changes with these cids."""
    found: list[Change] = []
    previous = GENESIS
    for seq, cid in enumerate(cids, 1):
        values = (project, seq, "document", "e", "create", NOW, NOW, "{}", None, cid, None, "", None)
        change = Change.of(values)
        previous = link_of(previous, change)
        found.append(change.replace(chain=previous))
    return tuple(found)


P = logged("p", ["0.0", "0.1", "0.2", "1.0"])
Q = logged("q", ["2.0"])


def called(by: int, method: str, response: Any, at: int, **arguments: Any) -> Call:
    call = Call("process-1", by, method, arguments, at, float(at), 1.0)
    call.ended = (at + 1, at + 0.5)
    call.response = response
    return call


def logs(changes: tuple[Change, ...]) -> Logs:
    count = len(changes)
    return Logs(changes, ChangeStats(count, count, 0, 0), {"document": count}, None, ())


def sound() -> History:
    """A correct history: two batches in p, the first in chunks of two, one in q; a reader; single requests."""
    calls = [
        called(0, "create_changes", Appended((1, 2, 3), False), 0),
        called(1, "create_changes", Appended((4,), False), 2),
        called(0, "create_changes", Appended((1, 2, 3), True), 4),
        called(2, "create_changes", Appended((1,), False), 6),
        called(0, "get_changes_with_cursor", Page(P, 4, P[3].chain, None), 8, **page_of(0, GENESIS)),
        called(-1, "get_change_stats", ChangeStats(4, 4, 0, 0), 10, project_id="p"),
        called(-1, "get_entity_type_stats", {"document": 4}, 12, project_id="p"),
        called(-1, "get_head", Head(4, P[3].chain), 14, project_id="p"),
        called(-1, "get_change", P[0], 16, project_id="p", seq=1),
    ]
    batches = [
        Batch(0, "key-0", (("p", "0.0"), ("p", "0.1"), ("p", "0.2"))),
        Batch(1, None, (("p", "1.0"),)),
        Batch(2, "key-2", (("q", "2.0"),)),
    ]
    return History(1, calls, batches, frozenset({(2, 1_000)}), {"p": logs(P), "q": logs(Q)}, ("p", "q"), [], [], 0)


def page_of(cursor: int, link: str) -> dict[str, Any]:
    return {"project_id": "p", "cursor": cursor, "limit": 1000, "chain": link}


def test_a_correct_history_has_no_violations() -> None:
    assert violations(sound()) == []


def final(history: History, changes: tuple[Change, ...]) -> History:
    return history._replace(final={**history.final, "p": logs(changes)})


def response(history: History, place: int, result: Any) -> History:
    """Return the history with another response, or an error, of one call."""
    calls = list(history.calls)
    call = calls[place] = copy(calls[place])
    call.response, call.error = (None, result) if isinstance(result, Exception) else (result, None)
    return history._replace(calls=calls)


def late(history: History) -> History:
    calls = list(history.calls)
    calls[4] = copy(calls[4])
    calls[4].ended = (9, 100.0)
    return history._replace(calls=calls)


def marked(history: History) -> History:
    return history._replace(
        calls=[*history.calls, called(-1, "mark_as_outdated", P[0], 18, project_id="p", seq=1, outdated_by=3)]
    )


def split(history: History) -> History:
    """Return the history with a change of another batch inside a chunk of two."""
    order = ["0.0", "1.0", "0.1", "0.2"]
    return response(final(history, logged("p", order)), 0, Appended((1, 3, 4), False))


def reused(history: History, result: Any) -> History:
    """Return the history with a batch that has the key of the first, sent when faults have stopped."""
    batches = [*history.batches, Batch(3, "key-0", (("p", "3.0"),), reuses=0)]
    calls = [*history.calls, called(3, "create_changes", None, 18)]
    return response(history._replace(batches=batches, calls=calls, settled=17), 9, result)


def invalid(history: History, result: Any) -> History:
    """Return the history with another result of a batch whose first change is not valid. It is stored, too."""
    batches = list(history.batches)
    batches[1] = batches[1]._replace(invalid=0)
    return response(history._replace(batches=batches), 1, result)


def sent(history: History, began: float = EPOCH, **fields: Any) -> History:
    """Return the history with the content of a batch, which differs from what is stored."""
    given = {"project_id": "p", "entity_type": "document", "entity_id": "e", "operation": "create", "data": {}} | fields
    batches = list(history.batches)
    batches[1] = batches[1]._replace(changes=(NewChange(cid="1.0", **given),))
    calls = list(history.calls)
    calls[1] = copy(calls[1])
    calls[1].began, calls[1].ended = began, (3, began + 1.0)
    return history._replace(batches=batches, calls=calls)


def granted(principal: str, role: str, by: str) -> Change:
    return Change.of(("p", 0, MEMBER, principal, "update", NOW, NOW, f'{{"role":"{role}"}}', None, None, by, "", None))


def chained(changes: list[Change]) -> tuple[Change, ...]:
    found: list[Change] = []
    previous = GENESIS
    for seq, change in enumerate(changes, 1):
        numbered = change.replace(seq=seq)
        previous = link_of(previous, numbered)
        found.append(numbered.replace(chain=previous))
    return tuple(found)


NOTE = P[0].replace(change_by="ann", cid="0.0")


def with_members(*requests: Sent, first: str = "owner", second: str = "viewer", third: str = "none") -> History:
    """A history with members: ann creates p, gives bob a role at 100, and takes it away at 200; he makes a request."""
    log = chained([granted("ann", first, "ann"), NOTE, granted("bob", second, "ann"), granted("bob", third, "ann")])
    types = {"document": 1, MEMBER: 3}
    final = {"p": Logs(log, ChangeStats(4, 1, 3, 0), types, None, ())}
    sent = [
        request("ann", "append", 0, cids=("0.0",)),
        request("ann", "grant", 99, grants=("bob", second), version=3),
        request("ann", "grant", 199, grants=("bob", third), version=4),
        *requests,
    ]
    written_at: dict[str, list[float]] = {"p": [0.5, 0.5, 100.0, 200.0]}
    return sound()._replace(calls=[], batches=[], final=final, projects=("p",), sent=tuple(sent), written_at=written_at)


def request(
    principal: str, action: str, at: int, refusal: str | None = "", host: str = "process-1", **fields: Any
) -> Sent:
    sent = Sent(host, principal, action, "p", at, float(at))
    sent.ended, sent.status, sent.refusal, sent.time_limit = (at + 1, at + 1.0), 403 if refusal else 200, refusal, 1.0
    for name, value in fields.items():
        setattr(sent, name, value)
    return sent


ALLOWED_WITH_MEMBERS = [
    request("bob", "read", 150),
    request("bob", "read", 150, host="process-2"),
    request("bob", "read", 260, host="process-2"),
    request("bob", "read", 203, "access-revoked"),
    request("bob", "read", 104, "not-found", host="process-2"),
    request("bob", "read", 90, "not-found"),
    request("bob", "append", 150, "not-allowed"),
    request("bob", "list", 150, listed=["p"]),
    request("bob", "list", 250, listed=[]),
    request("bob", "append", 150, None, cids=("0.7",)),
]
FORBIDDEN = [
    ("roles are obeyed", request("bob", "read", 203)),
    ("roles are obeyed", request("bob", "read", 262, host="process-2")),
    ("roles are obeyed", request("bob", "read", 90)),
    ("roles are obeyed", request("bob", "append", 150)),
    ("roles are obeyed", request("bob", "grant", 150, grants=("eve", "viewer"))),
    ("refusals are true", request("bob", "read", 103, "not-found")),
    ("refusals are true", request("bob", "read", 107, "not-found", host="process-2")),
    ("refusals are true", request("bob", "read", 150, "access-revoked")),
    ("refusals are true", request("ann", "append", 150, "not-allowed")),
    ("lists are one's own", request("bob", "list", 150, listed=[])),
    ("lists are one's own", request("bob", "list", 250, listed=["p"])),
    ("no unexpected errors", request("bob", "read", 150, error=KeyError("x"))),
    ("no livelock", request("bob", "read", 150, ended=(151, 400.0))),
]


@pytest.mark.parametrize("sent", ALLOWED_WITH_MEMBERS, ids=repr)
def test_what_the_log_allows_is_not_a_violation(sent: Sent) -> None:
    assert violations(with_members(sent)) == []


def unasked() -> History:
    """A history in which nobody sent the request that took the role away."""
    history = with_members()
    return history._replace(sent=history.sent[:2])


def by_a_viewer() -> History:
    """A history with a change of a member that may only read."""
    history = with_members(request("bob", "append", 150, None, cids=("0.7",)))
    log = chained([*history.final["p"].changes[:3], NOTE.replace(change_by="bob", cid="0.7")])
    return history._replace(final={"p": history.final["p"]._replace(changes=log)})


BROKEN: list[tuple[str, Callable[[History], History]]] = [
    ("no unexpected errors", lambda h: h._replace(failures=[RuntimeError()])),
    ("no unexpected errors", lambda h: response(h, 4, KeyError("x"))),
    ("no unexpected errors", lambda h: response(h, 4, InvalidInput("x", field="x"))),
    ("no livelock", lambda h: h._replace(stuck=1)),
    ("no livelock", late),
    ("dense", lambda h: final(h, (P[0], *P[2:]))),
    ("dense", lambda h: h._replace(final=h.final | {"p": logs(P)._replace(error=StorageBusy("x"))})),
    ("dense", lambda h: h._replace(final=h.final | {"p": logs(P)._replace(stats=ChangeStats(5, 5, 0, 0))})),
    ("chain unbroken", lambda h: final(h, (P[0], P[1].replace(entity_id="other"), *P[2:]))),
    ("acknowledged implies present", lambda h: response(h, 1, Appended((3,), False))),
    ("acknowledged implies present", lambda h: final(h, P[:3])),
    ("stored once", lambda h: final(h, logged("p", ["0.0", "0.1", "0.2", "1.0", "1.0"]))),
    ("a key's numbers never change", lambda h: response(h, 2, Appended((1, 2, 4), True))),
    ("stored in the end", lambda h: response(h, 3, StorageBusy("x"))),
    ("every view is a growing prefix", lambda h: response(h, 4, Page((P[0], P[2]), 2, P[2].chain, None))),
    ("every view is a growing prefix", lambda h: response(h, 4, Page(P, 5, P[3].chain, None))),
    ("a view is one history", lambda h: response(h, 4, Page(P[1:], 4, P[3].chain, None))),
    ("errors are true", lambda h: response(h, 4, ChainMismatch("x"))),
    ("errors are true", lambda h: response(h, 8, NotFound("x"))),
    ("chunks contiguous", split),
    ("chunks contiguous", lambda h: final(h, logged("p", ["0.1", "0.0", "0.2", "1.0"]))),
    ("statistics equal the log", lambda h: response(h, 5, ChangeStats(4, 3, 1, 0))),
    ("statistics equal the log", lambda h: response(h, 6, {"video": 4})),
    ("a caller reads its own writes", lambda h: response(h, 4, Page(P[:2], 2, P[1].chain, None))),
    ("a caller reads its own writes", lambda h: response(h, 7, Head(3, P[2].chain))),
    ("a caller reads its own writes", lambda h: response(h, 5, ChangeStats(3, 3, 0, 0))),
    ("projects are separate", lambda h: final(h, logged("p", ["0.0", "0.1", "0.2", "2.0"]))),
    ("projects are separate", lambda h: response(h, 8, Q[0])),
    ("projects are separate", lambda h: h._replace(projects=("p",))),
    ("a key belongs to one batch", lambda h: reused(h, Appended((1,), True))),
    ("a key belongs to one batch", lambda h: reused(h, StorageBusy("x"))),
    (
        "a key belongs to one batch",
        lambda h: reused(final(h, logged("p", ["0.0", "0.1", "0.2", "3.0"])), KeyReused("x")),
    ),
    ("a key is remembered", lambda h: response(h, 2, Appended((1, 2, 3), False))._replace(late=3)),
    ("a key is remembered", lambda h: response(h, 2, StorageBusy("x"))._replace(late=3)),
    ("transactions fit", lambda h: h._replace(transactions=(Transaction(101, 1, 99, 900, 800, 1_000),))),
    ("transactions fit", lambda h: h._replace(transactions=(Transaction(5, 2, 2, 1_001, 800, 1_000),))),
    ("transactions fit", lambda h: h._replace(transactions=(Transaction(4, 1, 2, 1_100, 1_001, 1_000),))),
    ("refused is not written", lambda h: response(h, 1, StorageBusy("x"))),
    ("stored as sent", lambda h: sent(h, entity_id="other")),
    ("stored as sent", lambda h: sent(h, data={"a": 1})),
    ("stored as sent", lambda h: sent(h, timestamp="2023-11-14T22:13:21.000Z")),
    ("stored as sent", lambda h: sent(h, began=EPOCH + 5.0)),
    ("invalid batches are refused", lambda h: invalid(h, Appended((4,), False))),
    ("invalid batches are refused", lambda h: invalid(h, InvalidBatch([Problem(1, "x", "x")]))),
    ("invalid batches are refused", lambda h: invalid(h, InvalidBatch([Problem(0, "x", "x")]))),
    ("single reads are true", lambda h: response(h, 8, P[1])),
    ("single reads are true", lambda h: response(h, 7, Head(4, P[2].chain))),
    ("single reads are true", lambda h: response(h, 4, Page(P, 4, P[2].chain, None))),
    ("every view is a growing prefix", lambda h: response(h, 4, Page(P[:2], 2, P[1].chain, 3))),
    ("marks only grow", marked),
    ("verify is right", lambda h: h._replace(final=h.final | {"p": logs(P)._replace(findings=("hole",))})),
    *[(promise, lambda _, sent=sent: with_members(sent)) for promise, sent in FORBIDDEN],
    ("writes are allowed", lambda _: unasked()),
    ("writes are allowed", lambda _: by_a_viewer()),
    ("owners remain", lambda _: with_members(first="editor")),
]


def test_content_that_is_stored_as_sent_is_not_a_violation() -> None:
    assert violations(sent(sound())) == []


def test_an_error_that_names_the_change_that_is_not_valid_is_not_a_violation() -> None:
    refused = final(invalid(sound(), InvalidBatch([Problem(0, "x", "x")])), P[:3])
    refused = response(response(refused, 4, Page(P[:3], 3, P[2].chain, None)), 7, Head(3, P[2].chain))
    refused = response(response(refused, 5, ChangeStats(3, 3, 0, 0)), 6, {"document": 3})
    assert violations(refused) == []


def test_the_error_for_a_reused_key_is_not_a_violation() -> None:
    assert violations(reused(sound(), KeyReused("x"))) == []


def test_a_request_that_arrived_twice_may_be_carried_out_after_it_was_refused() -> None:
    promise = "refused is not written"
    refused = response(sound(), 1, StorageBusy("x"))
    assert any(found.startswith(promise) for found in violations(refused))
    assert not any(found.startswith(promise) for found in violations(refused._replace(repeated=True)))


@pytest.mark.parametrize(("promise", "broken"), BROKEN)
def test_a_violation_names_its_promise(promise: str, broken: Callable[[History], History]) -> None:
    assert promise in {violation.split(":")[0] for violation in violations(broken(sound()))}


def test_every_promise_has_a_violation_in_these_tests() -> None:
    assert {promise for promise, _ in BROKEN} == set(CHECKS)


def test_changes_that_a_restore_removed_are_not_a_violation() -> None:
    lost = final(sound(), P[:2])._replace(restored=[Restored(8, False)])
    assert violations(lost) == []
