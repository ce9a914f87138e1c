"""The OpenAPI document against the server: schemathesis makes requests of it, good and bad, and checks the answers.

Every check that schemathesis has is on. Two of its requests are altered before they are sent, where said.
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

from sltt_core.api.openapi import document
from sltt_core.api.routes import ROUTES
from sltt_core.model.changes import NewChange
from tests.hostile.raw import SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sltt_core.server.rest_api_server import RestApiServer
    from sltt_core.sqlite.storage import LocalStorageService

CONFIG = schemathesis.Config.from_dict({"seed": 1, "generation": {"deterministic": True, "database": "none"}})

schema = schemathesis.openapi.from_dict(document(SERVER), config=CONFIG)


@pytest.fixture(scope="module", autouse=True)
def examples(server: RestApiServer, storage: LocalStorageService) -> None:
    """Store what the document's examples ask for."""
    storage.create_changes(
        [
            NewChange(project_id="ruth", entity_type="passage", entity_id=f"ruth-{n}", data={"n": n}, cid=f"c{n}")
            for n in range(1, 6)
        ]
    )


@pytest.fixture
def statuses() -> Iterator[Counter[int]]:
    """Count an operation's answers, and see that it was reached with good requests and bad ones."""
    counted: Counter[int] = Counter()
    yield counted
    assert counted[200]
    assert counted[400] + counted[405]


@schema.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_an_operation_does_what_the_document_says(
    case: schemathesis.Case[Any], server: RestApiServer, statuses: Counter[int]
) -> None:
    adjust(case, statuses.total())
    response = case.call(base_url=server.url)
    statuses[response.status_code] += 1
    case.validate_response(response)


def adjust(case: schemathesis.Case[Any], number: int) -> None:
    """Alter what a good request may say, but not one after the other or for so long."""
    wait = case.query.get("wait")
    if isinstance(wait, int | float) and 0 <= wait <= 60:
        case.query["wait"] = 0.01  # a minute of waiting shows no more
    key = case.headers.get("Idempotency-Key", "")
    if re.fullmatch("[A-Za-z0-9._:-]{16,128}", key):
        # The same key with another batch is refused, as it should be.
        case.headers["Idempotency-Key"] = f"{key[:100]}-{number}"
    changes: Any = case.body if isinstance(case.body, list) else [case.body]
    for change in changes:
        for name in ("seq", "outdatedBy"):
            # To JSON Schema 1.0 is an integer; the API wants digits only, which no schema can say.
            if isinstance(change, dict) and isinstance(change.get(name), float) and change[name].is_integer():
                change[name] = int(change[name])


def test_every_route_is_an_operation() -> None:
    operations = {found.ok().label for found in schema.get_all_operations() if isinstance(found, Ok)}
    assert operations == {f"{route.method} {route.path}" for route in ROUTES}


def test_the_document_is_the_one_the_server_gives(server: RestApiServer) -> None:
    assert httpx.get(f"{server.url}/openapi.json").json() == document(SERVER)


def test_a_change_names_its_project_unless_there_is_only_one() -> None:
    required = {
        project: document(SERVER, project)["components"]["schemas"]["NewChange"]["required"]
        for project in (None, "ruth")
    }
    assert required["ruth"] == ["entityType", "entityId", "data"]
    assert required[None] == ["projectId", *required["ruth"]]
