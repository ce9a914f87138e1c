"""What each role may do: the status of every route for every role, in every kind of project, by every method."""

from __future__ import annotations

import json
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from sltt_core.api.device_tokens import code_of
from sltt_core.api.routes import ROUTES, Route, allowed_at
from sltt_core.auth.device_tokens import new_token
from tests.contract.logs import batch
from tests.sltt_core.samples import wire_change

if TYPE_CHECKING:
    from sltt_core.log.storage import BaseStorageService

ROLES = ("anonymous", "stranger", "former", "viewer", "editor", "owner", "admin", "device")
"""Their roles in the project `own`, where `device` is the device token of an editor."""
PROJECTS = ("own", "foreign", "absent")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# The statuses for each role in ROLES, by handler and project. A new route needs its lines here.
READ = {"own": "401 404 403 200 200 200 200 200", "foreign": "401 404 404 404 404 404 200 404"}
GRANT = {"own": "401 404 403 403 403 200 200 403", "foreign": "401 404 404 404 404 404 200 404"}
APPEND = {"own": "401 404 403 403 200 200 200 200", "foreign": "401 404 404 404 404 404 200 404"}
# The token and the invitation are those of `own`. Not even an administrator reaches them by another project's routes.
ISSUED = {"own": "401 404 403 403 403 200 200 403", "foreign": "401 404 404 404 404 404 404 404"}
ADMIN_ONLY = "401 404 404 404 404 404 200 404"
NOBODY = "401 404 404 404 404 404 404 404"
EXPECTED: dict[str, dict[str, str]] = {
    "post_changes": {**APPEND, "absent": "401 200 200 200 200 200 200 404"},
    "get_changes": {**READ, "absent": ADMIN_ONLY},
    "get_change": {**READ, "absent": NOBODY},
    "get_stats": {**READ, "absent": ADMIN_ONLY},
    "list_members": {**READ, "absent": ADMIN_ONLY},
    "put_member": {**GRANT, "absent": ADMIN_ONLY},
    "delete_member": {**GRANT, "absent": NOBODY},
    "list_tokens": {**GRANT, "absent": ADMIN_ONLY},
    "create_token": {**GRANT, "absent": ADMIN_ONLY},
    "revoke_token": {**ISSUED, "absent": NOBODY},
    "list_invitations": {**GRANT, "absent": ADMIN_ONLY},
    "create_invitation": {**GRANT, "absent": ADMIN_ONLY},
    "withdraw_invitation": {**ISSUED, "absent": NOBODY},
    "mark_as_outdated": {**APPEND, "absent": NOBODY},
}
"""The routes of one project."""
EVERYONE = {
    "get_projects": "401 200 200 200 200 200 200 200",
    "me": "401 200 200 200 200 200 200 200",
    "get_heads": "401 200 200 200 200 200 200 200",
    "accept_invitation": "401 200 200 200 200 200 200 403",
    **dict.fromkeys(("health", "ready", "help_page", "openapi", "resource_metadata"), " ".join(["200"] * len(ROLES))),
}
"""The routes without a project."""


def secret(number: int) -> Any:
    """The same secret for the same number."""
    return new_token(Random(number).randbytes)


DEVICE = secret(1)
"""The token of the role `device`."""
REVOKED = secret(2)
"""The token and the invitation of `own` that the routes with an id concern."""
INVITATION = secret(3)
"""The invitation to accept, to a project that nothing else concerns."""

BODIES: dict[str, Any] = {
    "post_changes": lambda project: [wire_change(projectId=project)],
    "put_member": lambda project: {"role": "viewer"},
    "mark_as_outdated": lambda project: {"outdatedBy": 2},
    "create_token": lambda project: {"name": "tablet", "role": "editor"},
    "create_invitation": lambda project: {"role": "editor"},
    "accept_invitation": lambda project: {"code": code_of(INVITATION)},
}
QUERIES = {"get_heads": "at=own:0&at=foreign:0"}
PARAMETERS = {"seq": "1", "principal": "guest", "tokenId": REVOKED.id, "invitationId": REVOKED.id}


class Cell(NamedTuple):
    """A request of the matrix, and the status of its response."""

    route: Route
    """The route, or for a method that the path does not have, one of the path."""
    method: str
    project: str
    role: str
    status: int

    def target(self, project_id: str) -> str:
        path = self.route.path.replace("{projectId}", project_id)
        for name, value in PARAMETERS.items():
            path = path.replace(f"{{{name}}}", value)
        return f"{path}?{QUERIES[self.route.handler]}" if self.route.handler in QUERIES else path

    def body(self, project_id: str) -> bytes | None:
        if self.method != self.route.method or self.route.handler not in BODIES:
            return None
        return json.dumps(BODIES[self.route.handler](project_id)).encode()

    @property
    def kind(self) -> str | None:
        """The kind of the error; `None` for a success."""
        refusals = {403: "access-revoked" if self.role == "former" else "not-allowed", 404: "not-found"}
        return {401: "unauthenticated", 405: "method-not-allowed", **refusals}.get(self.status)


def statuses(route: Route, project: str) -> dict[str, int]:
    """The status of a route by role."""
    line = EVERYONE[route.handler] if route.handler in EVERYONE else EXPECTED[route.handler][project]
    return dict(zip(ROLES, map(int, line.split()), strict=True))


@cache
def cells() -> tuple[Cell, ...]:
    """Every cell: also `HEAD` for each `GET`, `OPTIONS`, and the methods that a path does not have."""
    found = []
    first: dict[str, Route] = {}
    for route in ROUTES:
        methods = {route.method, "HEAD"} if route.method == "GET" else {route.method}
        if first.setdefault(route.path, route) is route:
            methods |= {*METHODS} - {*allowed_at(route.path)} | {"OPTIONS"}
        for project in PROJECTS if route.handler in EXPECTED else PROJECTS[:1]:
            for role, status in statuses(route, project).items():
                for method in sorted(methods):
                    refused = 204 if method == "OPTIONS" else 405
                    own = method in (route.method, "HEAD") and method in allowed_at(route.path)
                    found.append(Cell(route, method, project, role, status if own else refused))
    return tuple(found)


def prepare(storage: BaseStorageService) -> None:
    """Write what the cells expect: a member of each role in `own`, others in `foreign`, and what was issued."""
    for project in ("own", "foreign"):
        storage.create_changes(batch(2, project), owners={project: f"boss-{project}"})
        storage.set_role("guest", "viewer", project_id=project)
    for role in ("viewer", "editor", "owner"):
        storage.set_role(role, role, project_id="own")
    storage.set_role("former", "editor", project_id="own")
    storage.set_role("former", "none", project_id="own")
    for token in (DEVICE, REVOKED):
        storage.create_token(token.id, token.digest(), "editor", "tablet", project_id="own")
    storage.create_invitation(REVOKED.id, REVOKED.digest(), "viewer", project_id="own")
    storage.create_invitation(INVITATION.id, INVITATION.digest(), "viewer", project_id="invited", uses=len(ROLES))
