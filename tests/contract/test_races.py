"""Two requests about the members of a project at the same time, in the order that is worst for them.

The first one stops when it has decided, before it writes. On DynamoDB, the second is done by then, and the first must
decide again. On SQLite, nobody else decides meanwhile, and the second must see what the first has written.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

import aws_backend.log.grants
import sltt_core.log.issuing
import sltt_core.sqlite.storage
from sltt_core.api.access import Principal
from sltt_core.api.app import Api
from sltt_core.api.http import Request
from sltt_core.api.roles import RoleAccess
from sltt_core.base.errors import LastOwner, NotFound, SlttError
from sltt_core.log import members as rules
from tests.aws_backend.faults import Faults, Gate
from tests.contract.logs import DynamoDBLog, Log, batch, everything
from tests.contract.test_credentials import invite, secret
from tests.contract.test_members import check_derived, roles
from tests.sltt_core.samples import wire_change

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService

DECIDING = (aws_backend.log.grants, sltt_core.sqlite.storage, sltt_core.log.issuing)
"""The modules that decide by the members whether a grant is needed."""

Work = Callable[[], object]


@pytest.fixture
def race(direct: Log, monkeypatch: pytest.MonkeyPatch) -> Callable[[Work, Work], list[object]]:
    """Returns a function that runs two works at the same time, and returns their results or errors."""

    def run(first: Work, second: Work) -> list[object]:
        decided, go = Event(), Event()
        stopped: list[int] = []

        def is_needed(*arguments: Any) -> bool:
            needed = rules.is_needed(*arguments)
            if threading.current_thread().name.startswith("first") and not stopped:
                stopped.append(1)
                decided.set()
                assert go.wait(30)
            return needed

        for module in DECIDING:
            monkeypatch.setattr(module, "is_needed", is_needed)
        with ThreadPoolExecutor(1, "first") as one, ThreadPoolExecutor(1, "second") as other:
            works = [one.submit(first)]
            assert decided.wait(30)
            works.append(other.submit(second))
            if isinstance(direct, DynamoDBLog):
                works[1].exception(30)
            go.set()
            return [outcome(work) for work in works]

    return run


def outcome(work: Future[Any]) -> object:
    error = work.exception(30)
    if error is not None and not isinstance(error, SlttError):
        raise error
    return work.result() if error is None else type(error)


@pytest.fixture
def storages(direct: Log) -> tuple[BaseStorageService, BaseStorageService]:
    """Two services of one log, as two processes have them."""
    return direct.open(), direct.open()


Storages = tuple["BaseStorageService", "BaseStorageService"]
Race = Callable[[Work, Work], list[object]]


def test_two_last_owners_remove_each_other(race: Race, storages: Storages, direct: Log) -> None:
    for owner in ("ada", "bob"):
        storages[0].set_role(owner, "owner", project_id="p")
    removals = [
        partial(storage.set_role, owner, "none", project_id="p")
        for storage, owner in zip(storages, ("bob", "ada"), strict=True)
    ]
    results = race(*removals)
    late = 0 if isinstance(direct, DynamoDBLog) else 1
    assert results[late] is LastOwner
    assert results[1 - late] is not LastOwner
    left = roles(storages[0].get_members(project_id="p"))
    assert left == ({"ada": "none", "bob": "owner"} if late == 0 else {"ada": "owner", "bob": "none"})
    check_derived(storages[0])


def test_a_grant_and_an_append(race: Race, storages: Storages) -> None:
    storages[0].set_role("ada", "owner", project_id="p")
    race(
        partial(storages[0].set_role, "bob", "editor", project_id="p"),
        partial(storages[1].create_changes, batch(3)),
    )
    assert storages[1].get_head(project_id="p").seq == 5
    assert roles(storages[1].get_members(project_id="p")) == {"ada": "owner", "bob": "editor"}
    check_derived(storages[1])


def test_a_grant_during_an_append(storages: Storages, direct: Log) -> None:
    """The other way round: the append is ready to be written when the role is granted."""
    if not isinstance(direct, DynamoDBLog):
        pytest.skip("one transaction of SQLite reads the end of the log and appends")
    storages[0].set_role("ada", "owner", project_id="p")
    gate = Gate()
    Faults(storages[0]).plan("TransactWriteItems", gate)
    with ThreadPoolExecutor(1) as threads:
        appended = threads.submit(storages[0].create_changes, batch(3))
        assert gate.came.wait(30)
        storages[1].set_role("bob", "editor", project_id="p")
        gate.open.set()
        assert appended.result(30).seqs == (3, 4, 5)
    check_derived(storages[1])


def test_two_principals_use_the_last_use_of_an_invitation(race: Race, storages: Storages, direct: Log) -> None:
    storages[0].set_role("ada", "owner", project_id="p")
    invite(storages[0], 1)
    code = secret(1).id
    results = race(
        partial(storages[0].accept_invitation, code, "bob"),
        partial(storages[1].accept_invitation, code, "cleo"),
    )
    late = 0 if isinstance(direct, DynamoDBLog) else 1
    assert results[late] is NotFound
    assert results[1 - late] is not NotFound
    assert roles(storages[0].get_members(project_id="p")) == {"ada": "owner", ("cleo", "bob")[late]: "editor"}
    invitation = storages[0].get_invitation(code)
    assert invitation is not None
    assert invitation.uses == 0
    check_derived(storages[0])


def test_an_invitation_is_withdrawn_while_it_is_used(race: Race, storages: Storages, direct: Log) -> None:
    storages[0].set_role("ada", "owner", project_id="p")
    invite(storages[0], 1)
    results = race(
        partial(storages[0].accept_invitation, secret(1).id, "bob"),
        partial(storages[1].withdraw_invitation, secret(1).id, project_id="p"),
    )
    accepted = results[0] is not NotFound
    assert accepted == (not isinstance(direct, DynamoDBLog))
    assert roles(storages[0].get_members(project_id="p")) == {"ada": "owner", **({"bob": "editor"} if accepted else {})}
    check_derived(storages[0])


# Requests in flight


class Server:
    """An API with roles, as one process has it."""

    def __init__(self, storage: BaseStorageService) -> None:
        self.storage = storage
        self.api = Api(storage, access=RoleAccess(storage, admins=["root"]))

    def ask(self, method: str, path: str, principal: str, body: bytes = b"") -> int:
        headers = {"content-type": "application/json"}
        self.response = self.api.handle(Request(method, path, "", headers, body, Principal(principal)))
        return self.response.status

    def during_next(self, name: str, meanwhile: Work) -> None:
        """Do something when the next call of a method of the storage has been allowed, before it begins."""
        method = getattr(self.storage, name)

        def stopped(*arguments: Any, **options: Any) -> Any:
            delattr(self.storage, name)
            meanwhile()
            return method(*arguments, **options)

        setattr(self.storage, name, stopped)


@pytest.fixture
def server(storages: Storages) -> Server:
    storages[0].create_changes(batch(2), owners={"p": "ada"})
    storages[0].set_role("bob", "editor", project_id="p")
    return Server(storages[0])


CHANGES = "/api/projects/p/changes"
BOB = "/api/projects/p/members/bob"
NOTE = json.dumps([wire_change(projectId="p", entityId="late")]).encode()


def test_an_append_that_was_allowed_before_the_removal_is_stored_and_the_next_is_not(server: Server) -> None:
    server.during_next("create_changes", lambda: server.ask("DELETE", BOB, "ada"))
    assert server.ask("POST", "/api/changes", "bob", NOTE) == 200
    assert [change.entity_id for change in everything(server.storage)][-2:] == ["bob", "late"]
    assert server.ask("POST", "/api/changes", "bob", NOTE) == 403
    assert server.storage.get_head(project_id="p").seq == 6
    check_derived(server.storage)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (CHANGES, "get_changes_with_cursor"),
        (f"{CHANGES}/6", "get_change"),
        ("/api/projects/p/stats", "get_stats_with_head"),
        ("/api/projects/p/members", "get_members"),
    ],
)
def test_a_reader_who_is_removed_during_a_read_gets_nothing(server: Server, path: str, method: str) -> None:
    def remove_and_write() -> None:
        assert server.ask("DELETE", BOB, "ada") == 200
        assert server.ask("POST", "/api/changes", "ada", NOTE) == 200

    assert server.ask("GET", CHANGES, "bob") == 200  # its members are remembered
    server.during_next(method, remove_and_write)
    assert server.ask("GET", path, "bob") == 403
    assert b"late" not in server.response.content
    assert server.ask("GET", path, "ada") == 200


@pytest.mark.parametrize("kind", ["tokens", "invitations"])
def test_an_owner_who_is_removed_during_a_list_gets_nothing(server: Server, kind: str) -> None:
    server.storage.set_role("bob", "owner", project_id="p")
    path = f"/api/projects/p/{kind}"
    server.during_next(f"get_{kind}", lambda: server.ask("DELETE", BOB, "ada"))
    assert server.ask("GET", path, "bob") == 403
    assert server.ask("GET", path, "ada") == 200


def test_a_member_who_leaves_gets_the_response(server: Server) -> None:
    """The route needs no more than a role, which is gone when it is done."""
    assert server.ask("DELETE", BOB, "bob") == 200
    assert server.ask("GET", CHANGES, "bob") == 403
