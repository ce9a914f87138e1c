"""The network between devices and the server, and the server's side of it.

It loses, delays, repeats and replaces requests and responses. What does reach the server goes through the real `Api` of
one of its processes, whose storage is on the simulated DynamoDB.
"""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

from sltt_core.api.access import Access, Principal
from sltt_core.api.http import Request
from sltt_core.base.errors import AccessRevoked, NotFound
from sltt_core.http_client.responses import HttpResponse
from sltt_core.http_client.transport import ConnectFailed, OutcomeUnknown
from sltt_core.model.chain import GENESIS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.simulation.devices.tablet import Tablet
    from tests.simulation.devices.world import DeviceWorld
    from tests.simulation.scheduler import Task

HTML = {"content-type": "text/html"}
JSON = {"content-type": "application/json"}
PROBLEM_JSON = {"content-type": "application/problem+json"}
PORTALS = (
    HttpResponse(200, HTML, b"<html>Log in to the hotel network</html>"),
    HttpResponse(200, JSON, b'{"success":true}'),
    HttpResponse(200, JSON, b"[]"),
    HttpResponse(302, {"location": "http://portal.example/"}, b""),
)
PROXIES = tuple(
    HttpResponse(status, HTML, b"<html>Bad gateway</html>") for status in (400, 400, 404, 409, 413, 422, 502, 504)
)
GATEWAYS = (
    HttpResponse(403, JSON, b'{"message":"Forbidden"}'),
    HttpResponse(401, JSON, b'{"message":"Unauthorized"}'),
    HttpResponse(429, JSON, b'{"message":"Too Many Requests"}'),
    HttpResponse(
        400, {"content-type": "application/problem+json"}, b'{"type":"about:blank","title":"Bad","status":400}'
    ),
)


class Gate(Access):
    """Refuses people whose membership is revoked."""

    def __init__(self, revoked: set[tuple[str, str]]) -> None:
        self._revoked = revoked

    def authorize(self, principal: Principal | None, action: str, project_id: str | None) -> None:
        if principal is not None and project_id is not None and (principal.id, project_id) in self._revoked:
            raise AccessRevoked("the membership was revoked") if project_id == "p" else NotFound("no such project")

    def visible(self, principal: Principal | None, cursor: str | None) -> Iterable[str] | None:
        return None


class Wire:
    """The transport of one device under one login."""

    def __init__(self, world: DeviceWorld, tablet: Tablet, user: str) -> None:
        self._world = world
        self._tablet = tablet
        self._user = user

    def send(self, message: bytes, *, deadline: float, repeatable: bool, **_: Any) -> HttpResponse:
        world, faults = self._world, self._world.device_faults
        scheduler, random = world.scheduler, world.random
        task = scheduler.current
        request = _parsed(message, Principal(self._user) if world.verifies else None)
        world.note("request", self._tablet.host.name, request.method, request.path, request.query, request.body)
        if faults.occurs("device without network"):
            scheduler.sleep(random.random())
            raise ConnectFailed("there is no network")
        for name, responses in (
            ("captive portal", PORTALS),
            ("page of a proxy", PROXIES),
            ("refusal of a gateway", GATEWAYS),
        ):
            if faults.occurs(name):
                scheduler.sleep(0.01)
                return random.choice(responses)
        seconds = max(0.0, deadline - self._tablet.steady_clock())
        if not faults.occurs("device request lost"):
            self._deliver(request, task, 0.01 + (60.0 * random.random() if faults.occurs("device request late") else 0))
        if faults.occurs("device request twice"):
            self._deliver(request, None, random.choice((0.1, 5.0, 100.0)) * random.random())
        scheduler.wake(task, seconds, None)
        response: HttpResponse | None = scheduler.wait()
        if response is None:
            raise OutcomeUnknown("there was no complete response in time")
        world.note("response", self._tablet.host.name, response.status, response.body)
        return response

    def close(self) -> None:
        """There is no connection to close."""

    def _deliver(self, request: Request, task: Task | None, delay: float) -> None:
        """Let a process of the server carry out a request after a delay; the response goes to a task."""
        turn = 0 if task is None else task.turn
        self._world.scheduler.later(delay, self._arrive, request, task, turn)

    def _arrive(self, request: Request, task: Task | None, turn: int) -> None:
        world = self._world
        process = world.living()

        def respond() -> None:
            response = world.respond(process, request)
            if task is None or task.turn != turn:
                return
            changed = self._on_the_way(request, response)
            if changed is not None:
                world.scheduler.wake(task, 0.01, changed)

        world.scheduler.spawn(process.host, respond)

    def _on_the_way(self, request: Request, response: HttpResponse) -> HttpResponse | None:
        """Return what the network makes of a response; `None` if it loses it."""
        world, faults, random = self._world, self._world.device_faults, self._world.random
        if faults.occurs("device response lost"):
            return None
        if faults.occurs("device response cut"):
            return response.replace(body=response.body[: random.randrange(len(response.body) or 1)])
        if request.method != "GET" or response.status != 200:
            return response
        if request.path == "/api/heads":
            return _same_heads(response) if faults.occurs("stale page") else response
        if not request.path.endswith("/changes"):
            return response
        if faults.occurs("stale page"):
            return _shorter(request, response, random.random(), is_last=True)
        if faults.occurs("short page of the API"):
            return _shorter(request, response, random.random(), is_last=False)
        if faults.occurs("page garbled"):
            return response.replace(body=response.body.replace(b'\\"n\\":', b'\\"m\\":', 1))
        cached = world.cache.setdefault(request.path, response)
        if faults.occurs("page of a cache"):
            return cached
        world.cache[request.path] = response
        return response


def _parsed(message: bytes, principal: Principal | None) -> Request:
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
    # The network looks at bodies and changes them.
    headers.pop("accept-encoding", None)
    if headers.pop("content-encoding", None) == "gzip":
        body = gzip.decompress(body)
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, body, principal)


def _same_heads(response: HttpResponse) -> HttpResponse:
    """Return the response of a replica that has no news yet."""
    found = json.loads(response.body)
    return response.replace(body=json.dumps({**found, "heads": {}, "diverged": []}).encode())


def _shorter(request: Request, response: HttpResponse, share: float, *, is_last: bool) -> HttpResponse:
    """Return the first changes of a page: the page of a replica that is behind, or one that has more to come."""
    found = json.loads(response.body)
    count = int(share * (len(found["changes"]) + 1))
    if count == len(found["changes"]) or (count == 0 and not is_last):
        return response
    query = dict(pair.split("=", 1) for pair in request.query.split("&"))
    found["changes"] = found["changes"][:count]
    found["count"] = count
    found["through"] = found["changes"][-1]["seq"] if count else int(query["cursor"])
    found["chain"] = found["changes"][-1]["chain"] if count else query.get("chain", GENESIS)
    found.pop("cursor", None)
    if not is_last:
        found["cursor"] = found["through"]
    return response.replace(body=json.dumps(found).encode())


def policy_problem(body: bytes) -> HttpResponse | None:
    """Refuse the bad changes of a batch, as a server does that has a rule for the data; `None` if there is none."""
    try:
        changes = json.loads(body)
    except ValueError:
        return None
    bad = [index for index, change in enumerate(changes) if "bad" in change["data"]]
    if not bad:
        return None
    return problem(
        400,
        "invalid-batch",
        failedAtIndex=bad[0],
        errors=[{"index": index, "field": f"changes[{index}].data.bad", "reason": "is bad"} for index in bad],
    )


def problem(status: int, kind: str, **more: object) -> HttpResponse:
    """Return a problem document of the API."""
    document: Mapping[str, object] = {
        "type": f"urn:sltt:problem:{kind}",
        "title": kind,
        "status": status,
        "detail": f"because {kind}",
        "error": f"because {kind}",
        "timestamp": "2026-01-01T00:00:00.000Z",
        "server": "test",
        "requestId": "r1",
        **more,
    }
    return HttpResponse(status, PROBLEM_JSON, json.dumps(document).encode())


def numbers_in(body: bytes, *, bad: bool = False) -> list[int]:
    """Return the numbers of the edits of a batch, or of the bad ones only."""
    return [change["data"]["n"] for change in json.loads(body) if not bad or "bad" in change["data"]]
