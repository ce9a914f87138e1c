"""The policies in docs/table.md allow every call that a storage makes, and no other."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from aws_backend.dynamodb.client import DynamoDBClient
from aws_backend.dynamodb.sigv4 import Credentials
from aws_backend.log.schema import definition
from aws_backend.storage import DynamoDBStorageService
from scripts.engines import DYNOXIDE
from sltt_core.base.errors import ProjectExists
from sltt_core.log.storage import BaseStorageService
from tests.aws_backend.iam import ACCOUNT, Access, accesses, allowing
from tests.conftest import engine_url
from tests.contract.logs import batch, everything, new
from tests.docs.documents import blocks
from tests.http.role_matrix import secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sltt_core.log.storage import BaseStorageService as Storage
    from sltt_core.model.changes import Change

    Step = Callable[[Storage, str], object]

KEY = "key-0123456789abcdef"
TABLE = "team"
"""The table of the policies."""


class Recorder(DynamoDBClient):
    """A client that records its calls."""

    def __init__(self, url: str) -> None:
        super().__init__("us-east-1", lambda: Credentials("local", "local"), endpoint=url)
        self.calls: list[tuple[str, Mapping[str, Any]]] = []

    def call(self, operation: str, payload: Mapping[str, Any], **options: Any) -> dict[str, Any]:
        self.calls.append((operation, payload))
        return super().call(operation, payload, **options)


def _create(storage: Storage, project: str) -> None:
    storage.create_changes(batch(150, project), KEY, owners={project: "ada"})
    with pytest.raises(ProjectExists):
        storage.create_changes(batch(1, project), owners={project: "bob"})
    storage.create_changes(batch(150, project), KEY)


def _issue(storage: Storage, project: str) -> None:
    number = sum(project.encode())
    for one in (secret(number), secret(number + 1)):
        storage.create_token(one.id, one.digest(), "editor", "tablet", project_id=project)
        storage.create_invitation(one.id, one.digest(), "editor", project_id=project, uses=9)


def _secret_of(project: str) -> str:
    return str(secret(sum(project.encode())).id)


def _extend(storage: Storage, project: str) -> None:
    token = storage.get_token(_secret_of(project))
    assert token is not None
    storage.extend_token(token.replace(expires=token.expires - 999_999))


STEPS: dict[str, Step] = {
    "initialize": lambda storage, project: storage.initialize(),
    "create_changes": _create,
    "create_change": lambda storage, project: storage.create_change(new(project_id=project)),
    "mark_as_outdated": lambda storage, project: storage.mark_as_outdated(2, 3, project_id=project),
    "set_role": lambda storage, project: storage.set_role("auth0|bob#1", "editor", project_id=project),
    "get_members": lambda storage, project: storage.get_members(project_id=project),
    "get_projects_of": lambda storage, project: storage.get_projects_of("ada"),
    "get_change": lambda storage, project: storage.get_change(2, project_id=project),
    "get_changes_with_cursor": lambda storage, project: everything(storage, project, 50),
    "get_changes_not_outdated": lambda storage, project: storage.get_changes_not_outdated(project_id=project),
    "get_changes_since": lambda storage, project: list(storage.get_changes_since(0, project_id=project)),
    "wait_for_changes": lambda storage, project: storage.wait_for_changes(0, 1, project_id=project),
    "wait_for_any": lambda storage, project: storage.wait_for_any({project: 0}, 1),
    "get_head": lambda storage, project: storage.get_head(project_id=project),
    "get_heads": lambda storage, project: storage.get_heads([project]),
    "get_ends": lambda storage, project: storage.get_ends([project]),
    "get_change_stats": lambda storage, project: storage.get_change_stats(project_id=project),
    "get_entity_type_stats": lambda storage, project: storage.get_entity_type_stats(project_id=project),
    "get_stats": lambda storage, project: storage.get_stats(project_id=project),
    "get_stats_with_head": lambda storage, project: storage.get_stats_with_head(project_id=project),
    "get_all_projects": lambda storage, project: storage.get_all_projects(),
    "create_token": _issue,
    "get_token": lambda storage, project: storage.get_token(_secret_of(project)),
    "get_tokens": lambda storage, project: storage.get_tokens(project_id=project),
    "extend_token": _extend,
    "revoke_token": lambda storage, project: storage.revoke_token(_secret_of(project), project_id=project),
    "create_invitation": lambda storage, project: None,  # in `create_token`
    "get_invitation": lambda storage, project: storage.get_invitation(_secret_of(project)),
    "get_invitations": lambda storage, project: storage.get_invitations(project_id=project),
    "accept_invitation": lambda storage, project: storage.accept_invitation(_secret_of(project), "cleo"),
    "withdraw_invitation": lambda storage, project: storage.withdraw_invitation(
        _secret_of(project), project_id=project
    ),
    "restore_changes": lambda storage, project: None,  # into a table of its own: see `Calls`
    "check": lambda storage, project: storage.check(),
    "write_mark": lambda storage, project: storage.write_mark(),
    "wait_for_write": lambda storage, project: storage.wait_for_write(storage.write_mark(), 0),
    "verify": lambda storage, project: list(storage.verify(project_id=project)),
    "repair": lambda storage, project: storage.repair(project_id=project, dry_run=False),
    "observe": lambda storage, project: None,  # makes no call, as `gauges`
    "gauges": lambda storage, project: storage.gauges(),
    "close": lambda storage, project: storage.close(),
}
"""Every method of a storage."""
UPKEEP = ("verify", "repair")


class Calls:
    """What the methods of a storage of one project need the permission for."""

    def __init__(self, project: str, *, bound: bool) -> None:
        self.needed: dict[str, set[Access]] = {}
        """By method."""
        self._project = project
        self._bound = bound
        url = engine_url(DYNOXIDE)
        with closing(DynamoDBClient("us-east-1", lambda: Credentials("local", "local"), endpoint=url)) as client:
            copied: list[Change] = []
            copy = {"get_head": lambda storage, _: copied.extend(everything(storage, project))}
            self._run(client, url, STEPS | copy)
            restore = {"restore_changes": lambda storage, _: storage.restore_changes(copied)}
            self._run(client, url, {"initialize": STEPS["initialize"], **restore, "close": STEPS["close"]})

    def _run(self, client: DynamoDBClient, url: str, steps: Mapping[str, Step]) -> None:
        """Run steps on a new table."""
        name = f"permissions-{uuid4().hex}"
        client.call("CreateTable", definition(name))
        recorder = Recorder(url)
        project = self._project if self._bound else None
        storage = DynamoDBStorageService(name, project, client=recorder, check_table=not self._bound)
        for method, step in steps.items():
            recorder.calls.clear()
            step(storage, self._project)
            for operation, payload in recorder.calls:
                named = json.loads(json.dumps(payload).replace(name, TABLE))
                self.needed.setdefault(method, set()).update(accesses(operation, named))
        recorder.close()
        client.call("DeleteTable", {"TableName": name})


@pytest.fixture(scope="module")
def calls_of_a_server() -> dict[str, set[Access]]:
    return Calls("ruth", bound=False).needed


@pytest.fixture(scope="module")
def calls_of_a_function() -> dict[str, set[Access]]:
    return Calls("ruth", bound=True).needed


SERVER, FUNCTION = (json.loads(block.text) for block in blocks("docs/table.md") if block.language == "json")


def test_every_method_of_a_storage_is_called() -> None:
    names = {name for name in dir(BaseStorageService) if not name.startswith("_")}
    assert STEPS.keys() == {name for name in names if callable(getattr(BaseStorageService, name))}


def test_a_server_needs_each_statement_and_no_more(calls_of_a_server: dict[str, set[Access]]) -> None:
    needed = set()
    for method, made in calls_of_a_server.items():
        for access in made if method not in UPKEEP else ():
            statements = allowing(SERVER, access)
            assert len(statements) == 1, f"{method}: {access}"
            needed.add((statements[0], access.action))
    assert needed == listed(SERVER)


def test_a_function_for_one_project_needs_each_statement_and_key(calls_of_a_function: dict[str, set[Access]]) -> None:
    needed, keys = set(), set()
    for method, made in calls_of_a_function.items():
        for access in made if method not in UPKEEP else ():
            statements = allowing(FUNCTION, access)
            assert len(statements) == 1, f"{method}: {access}"
            needed.add((statements[0], access.action))
            keys |= {without_id(key) for key in access.leading_keys}
    assert needed == listed(FUNCTION)
    assert keys == {key for statement in FUNCTION["Statement"] for key in condition(statement)}


def listed(policy: Mapping[str, Any]) -> set[tuple[int, str]]:
    return {
        (number, action)
        for number, statement in enumerate(policy["Statement"])
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


def condition(statement: Mapping[str, Any]) -> list[str]:
    keys: list[str] = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    return keys


def without_id(key: str) -> str:
    """The pattern of the policy for a key of `ruth`."""
    kind, _, rest = key.partition("#")
    if kind in ("TOKEN", "INVITE"):
        return f"{kind}#*"
    return f"{kind}#ruth#*" if kind in ("REQUEST", "MEMBER") and rest.startswith("ruth#") else key


def test_verify_and_repair_need_what_the_document_says(calls_of_a_server: dict[str, set[Access]]) -> None:
    refused = {access.action for name in UPKEEP for access in calls_of_a_server[name] if not allowing(SERVER, access)}
    assert refused == {"dynamodb:Scan"}  # and `DeleteItem`, where there is something to delete


OTHERS = ["esther", "ruth2", "ruth-1", "xruth", "Ruth", "rut"]


@pytest.mark.parametrize("project", OTHERS)
def test_a_function_for_one_project_reaches_no_other(calls_of_a_function: dict[str, set[Access]], project: str) -> None:
    """Each call as it would be for another project."""
    own = {access for made in calls_of_a_function.values() for access in made if access.leading_keys}
    others = {access._replace(leading_keys=tuple(moved(key, project) for key in access.leading_keys)) for access in own}
    reached = {key for access in others if allowing(FUNCTION, access) for key in access.leading_keys}
    assert {key.partition("#")[0] for key in reached} == {"TOKEN", "INVITE"}  # as the document says
    batch_of_both = Access("dynamodb:BatchGetItem", ACCOUNT + TABLE, ("SEQUENCE#ruth", f"SEQUENCE#{project}"))
    assert allowing(FUNCTION, batch_of_both) == []
    assert allowing(SERVER, batch_of_both) == [0]


def moved(key: str, project: str) -> str:
    parts = key.split("#", 2)
    place = 0 if len(parts) == 1 else 1
    if parts[place] == "ruth":
        parts[place] = project
    return "#".join(parts)


def test_a_function_for_one_project_does_not_list_the_projects(calls_of_a_server: dict[str, set[Access]]) -> None:
    for method in ("get_all_projects", "get_projects_of"):
        assert [allowing(FUNCTION, access) for access in calls_of_a_server[method]] == [[]]


RESOURCES = (ACCOUNT + TABLE, f"{ACCOUNT}{TABLE}/index/projects")
NEVER = [
    *(
        Access(f"dynamodb:{action}", resource)
        for resource in RESOURCES
        for action in ("Scan", "DeleteTable", "CreateTable", "UpdateTable", "UpdateTimeToLive", "PartiQLSelect")
    ),
    *(
        Access(f"dynamodb:{action}", ACCOUNT + TABLE, ("ruth",))
        for action in (
            "DeleteItem",
            "BatchWriteItem",
            "ConditionCheckItem",
            "PartiQLDelete",
            "ExportTableToPointInTime",
        )
    ),
    *(
        Access(f"dynamodb:{action}", ACCOUNT + table, ("ruth",))
        for action in ("GetItem", "PutItem", "UpdateItem", "Query", "BatchGetItem")
        for table in ("other", "team2", "tea", "team/index/other", "team/index/projects2")
    ),
    Access("dynamodb:GetItem", f"{ACCOUNT}{TABLE}/index/projects", ("TOKENS#ruth",)),
]


@pytest.mark.parametrize("access", NEVER, ids=lambda access: f"{access.action} {access.resource.rpartition(':')[2]}")
def test_no_policy_allows_more(access: Access) -> None:
    assert allowing(SERVER, access) == []
    assert allowing(FUNCTION, access) == []


# The evaluator


def test_the_evaluator_knows_the_rules_of_iam() -> None:
    read = Access("dynamodb:GetItem", ACCOUNT + TABLE, ("a",))
    scan = Access("dynamodb:Scan", ACCOUNT + TABLE)
    every = {"Effect": "Allow", "Action": "dynamodb:*", "Resource": f"{ACCOUNT}t*m"}
    assert allowing({"Statement": []}, read) == []
    assert allowing({"Statement": [every]}, read) == [0]
    assert allowing({"Statement": [{**every, "Action": "DYNAMODB:getitem"}]}, read) == [0]
    assert allowing({"Statement": [{**every, "Resource": f"{ACCOUNT}TEAM"}]}, read) == []
    assert allowing({"Statement": [every, {**every, "Effect": "Deny", "Action": "dynamodb:G*"}]}, read) == []
    equals = {**every, "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["a", "b*"]}}}
    like = {**every, "Condition": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["a", "b*"]}}}
    for keys, with_equals, with_like in (
        (("a",), [0], [0]),
        (("bc",), [], [0]),
        (("a", "c"), [], []),
        (("B",), [], []),
        (("b*",), [0], [0]),
    ):
        assert allowing({"Statement": [equals]}, read._replace(leading_keys=keys)) == with_equals
        assert allowing({"Statement": [like]}, read._replace(leading_keys=keys)) == with_like
    assert allowing({"Statement": [like]}, scan) == [0]  # which is why no policy lists it
