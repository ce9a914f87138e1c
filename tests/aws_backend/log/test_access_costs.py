"""What access control adds to the cost of requests: calls of DynamoDB, and capacity units as AWS bills them."""

from __future__ import annotations

import json
from collections import Counter
from time import time_ns
from typing import TYPE_CHECKING

import pytest

from sltt_core.api.access import Principal
from sltt_core.api.app import Api
from sltt_core.api.bearer import BearerAuthenticator
from sltt_core.api.device_tokens import REMEMBERED_SECONDS as TOKEN_SECONDS
from sltt_core.api.device_tokens import DeviceTokens, new_secret
from sltt_core.api.http import Request
from sltt_core.api.roles import REMEMBERED_SECONDS, RoleAccess
from sltt_core.base.runtime import Runtime
from tests.aws_backend.meter import Meter, Metered
from tests.contract.logs import DynoxideLog, new

if TYPE_CHECKING:
    from sltt_core.auth.device_tokens import DeviceToken
    from sltt_core.log.storage import BaseStorageService

READ = Request("GET", "/api/projects/p/changes")
COUNT = Request("GET", "/api/projects/p/stats")
MARK = Request(
    "POST", "/api/projects/p/changes/2/outdated", "", {"content-type": "application/json"}, b'{"outdatedBy":3}'
)
CHANGE = {"projectId": "p", "entityType": "note", "entityId": "n", "data": {}}
APPEND = Request("POST", "/api/changes", "", {"content-type": "application/json"}, json.dumps([CHANGE]).encode())
REQUESTS = (READ, COUNT, APPEND, MARK)


class Servers:
    """Two APIs of one storage: with roles and without. A clock of their own tells them what is too old."""

    def __init__(self, storage: BaseStorageService, meter: Meter) -> None:
        self.now = 0.0
        self.meter = meter
        runtime = Runtime(steady_clock=lambda: self.now)
        self.open = Api(storage)
        self.roles = Api(
            storage,
            access=RoleAccess(storage, runtime=runtime),
            authenticator=BearerAuthenticator(None, None, DeviceTokens(storage, runtime=runtime)),
        )

    def cost(self, request: Request, principal: str | None = None, token: DeviceToken | None = None) -> Metered:
        """Return the cost of a request; without a principal and a token, on the API without access control."""
        api = self.open if principal is None and token is None else self.roles
        if token is not None:
            headers = {**request.headers, "authorization": f"Bearer {token.reveal()}"}
            request = request.replace(headers=headers)
        response = api.handle(request.replace(principal=None if principal is None else Principal(principal)))
        assert response.status == 200, response.content
        return self.meter.read()


@pytest.fixture
def device() -> DeviceToken:
    return new_secret("token", "p", None)


@pytest.fixture
def servers(log: DynoxideLog, device: DeviceToken) -> Servers:
    meter = Meter()
    storage = log.open(runtime=Runtime(observer=meter))
    storage.create_changes([new(), new()], owners={"p": "ada"})
    storage.create_token(device.id, device.digest(), "editor", "tablet", project_id="p")
    storage.create_change(new())
    storage.mark_as_outdated(2, 3, project_id="p")  # once more costs less
    meter.read()
    return Servers(storage, meter)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: f"{request.method} {request.path}")
def test_roles_cost_one_read_of_half_a_unit_a_minute(servers: Servers, request_: Request) -> None:
    alone = servers.cost(request_)
    first = servers.cost(request_, "ada")
    assert Counter(first.calls) - Counter(alone.calls) == Counter(["GetItem"])
    assert first.units - alone.units == 0.5
    for request in REQUESTS:
        for _ in range(3):
            servers.now += (REMEMBERED_SECONDS - 1) / 12
            assert servers.cost(request, "ada") == servers.cost(request)
    servers.now += REMEMBERED_SECONDS
    assert servers.cost(request_, "ada").units - servers.cost(request_).units == 0.5


def test_a_device_token_costs_one_strong_read_in_five_minutes(servers: Servers, device: DeviceToken) -> None:
    alone = servers.cost(READ)
    first = servers.cost(READ, token=device)
    assert Counter(first.calls) - Counter(alone.calls) == Counter({"GetItem": 2})
    assert first.units - alone.units == 1 + 0.5
    assert servers.cost(READ, token=device) == alone
    servers.now += TOKEN_SECONDS - 1  # only the members are read again
    assert servers.cost(READ, token=device).units - alone.units == 0.5
    servers.now += 1
    assert servers.cost(READ, token=device).units - alone.units == 1


def test_the_first_use_of_a_device_token_in_a_day_also_writes_one_unit(log: DynoxideLog, device: DeviceToken) -> None:
    meter, days = Meter(), [0]
    storage = log.open(runtime=Runtime(observer=meter, clock=lambda: time_ns() + days[0] * 86_400 * 10**9))
    storage.create_token(device.id, device.digest(), "editor", "tablet", project_id="p")
    for _ in range(2):
        days[0] += 1
        for expected in ((("GetItem", "UpdateItem"), 1 + 1), (("GetItem",), 1)):
            meter.read()
            DeviceTokens(storage).use_token(device.reveal())
            assert meter.read() == expected


def test_a_list_costs_one_query_however_many_projects_there_are(servers: Servers) -> None:
    """It has the projects of its sender. Without access control, it has all."""
    listed = Request("GET", "/api/projects")
    assert servers.cost(listed) == (("Query",), 0.5)
    assert servers.cost(listed, "ada") == (("Query",), 0.5)


def test_a_refusal_costs_one_read_in_five_seconds(servers: Servers) -> None:
    stranger = READ.replace(principal=Principal("eve"))
    for _ in range(5):
        assert servers.roles.handle(stranger).status == 404
    assert servers.meter.read() == (("GetItem",), 0.5)
