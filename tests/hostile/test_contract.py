"""The OpenAPI document against the server: schemathesis generates requests from it and checks the responses.

The requests are valid and invalid. All checks of schemathesis are on. `adjust` alters some requests before sending.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.core.result import Ok

from sltt_core.api.bearer import authenticator_from_environment
from sltt_core.api.openapi import document
from sltt_core.api.routes import routes
from sltt_core.model.changes import NewChange
from sltt_core.model.fields import MAX_SEQ
from sltt_core.server.rest_api_server import RestApiServer
from sltt_core.sqlite.storage import LocalStorageService
from tests.hostile.raw import SERVER
from tests.sltt_core.auth.samples import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = schemathesis.Config.from_dict({"seed": 1, "generation": {"deterministic": True, "database": "none"}})

schema = schemathesis.openapi.from_dict(document(SERVER), config=CONFIG)


@pytest.fixture(scope="module", autouse=True)
def examples(server: RestApiServer, storage: LocalStorageService) -> None:
    """Store the changes, the token and the invitation that the document's examples request."""
    storage.create_changes(
        [
            NewChange(project_id="ruth", entity_type="passage", entity_id=f"ruth-{n}", data={"n": n}, cid=f"c{n}")
            for n in range(1, 6)
        ]
    )
    storage.create_token("0123456789abcdef", bytes(32), "editor", "tablet", project_id="ruth")
    storage.create_invitation("0123456789abcdef", bytes(32), "editor", project_id="ruth")


@pytest.fixture
def statuses() -> Iterator[Counter[int]]:
    """Count the statuses of an operation, and check that it got valid and invalid requests."""
    counted: Counter[int] = Counter()
    yield counted
    assert counted[200] + counted[403]  # an invitation needs a principal, and the senders of these requests have none
    assert counted[400] + counted[405]


@schema.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_an_operation_conforms_to_the_document(
    case: schemathesis.Case[Any], server: RestApiServer, statuses: Counter[int]
) -> None:
    adjust(case, statuses.total())
    response = case.call(base_url=server.url)
    statuses[response.status_code] += 1
    case.validate_response(response)


def adjust(case: schemathesis.Case[Any], number: int) -> None:
    """Alter values that are valid, but not in many requests one after the other."""
    wait = case.query.get("wait")
    if isinstance(wait, int | float) and 0 <= wait <= 60:
        case.query["wait"] = 0.01  # a longer wait would test nothing more
    key = case.headers.get("Idempotency-Key", "")
    if re.fullmatch("[A-Za-z0-9._:-]{16,128}", key):
        # A key that was used with another batch is refused.
        case.headers["Idempotency-Key"] = f"{key[:100]}-{number}"
    ends = case.query.get("at")
    if isinstance(ends, list) and 1 < len(ends) <= 100:  # a schema cannot express that each names another project
        case.query["at"] = ends[:1]
    if str(case.headers.get("If-Head", "")).isdecimal():
        del case.headers["If-Head"]  # only one append of many finds the log with that end
    changes: Any = case.body if isinstance(case.body, list) else [case.body]
    for change in changes:
        for name in ("seq", "outdatedBy", "uses", "expiresInDays"):
            # In JSON Schema 1.0 is an integer; the API accepts digits only, which a schema cannot express.
            if isinstance(change, dict) and isinstance(change.get(name), float) and change[name].is_integer():
                change[name] = int(change[name])
    seq, by = str(case.path_parameters.get("seq")), case.body.get("outdatedBy") if isinstance(case.body, dict) else None
    if type(by) is int and seq.isdecimal() and 2 <= by <= int(seq) <= MAX_SEQ:
        case.path_parameters["seq"] = "1"  # a schema cannot express that one number is greater than another


def test_every_route_is_an_operation() -> None:
    operations = {found.ok().label for found in schema.get_all_operations() if isinstance(found, Ok)}
    assert operations == {f"{route.method} {route.path}" for route in routes(with_auth=False)}


secured = schemathesis.openapi.from_dict(document(SERVER, with_auth=True), config=CONFIG)


@pytest.fixture(scope="module")
def secured_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestApiServer]:
    log = LocalStorageService(tmp_path_factory.mktemp("secured") / "log.db")
    authenticator = authenticator_from_environment(SETTINGS)
    with RestApiServer(storage=log, server_name=SERVER, port=0, authenticator=authenticator) as running:
        yield running


@secured.parametrize()
@settings(max_examples=5, deadline=None, derandomize=True, database=None)
def test_an_operation_without_a_token_conforms_to_the_document(
    case: schemathesis.Case[Any], secured_server: RestApiServer
) -> None:
    case.headers.pop("Authorization", None)
    response = case.call(base_url=secured_server.url)
    case.validate_response(response)
    public = "security" not in case.operation.definition.raw
    assert public or response.status_code in (401, 204, 405)  # 204 is for OPTIONS


def test_every_route_is_an_operation_where_tokens_are_verified() -> None:
    operations = {found.ok().label for found in secured.get_all_operations() if isinstance(found, Ok)}
    assert operations == {f"{route.method} {route.path}" for route in routes(with_auth=True)}


def test_the_server_returns_the_document(server: RestApiServer) -> None:
    assert httpx.get(f"{server.url}/openapi.json").json() == document(SERVER)


def test_project_id_is_required_unless_the_service_has_one_project() -> None:
    required = {
        project: document(SERVER, project)["components"]["schemas"]["NewChange"]["required"]
        for project in (None, "ruth")
    }
    assert required["ruth"] == ["entityType", "entityId", "data"]
    assert required[None] == ["projectId", *required["ruth"]]
