"""The documentation of the API, generated from the routes: `/api/help` and OpenAPI 3.1."""

from __future__ import annotations

from sltt_core.api.access import OPEN
from sltt_core.api.http import JSON, PROBLEM_JSON
from sltt_core.api.routes import routes
from sltt_core.api.schemas import METADATA_SCHEMA, REQUEST_BODIES, SCHEMAS
from sltt_core.base.version import __version__
from sltt_core.model.fields import MAX_SEQ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sltt_core.api.routes import Parameter, Route

RESPONSES = {
    "health": "Health",
    "ready": "Ready",
    "help_page": "Help",
    "openapi": "OpenApi",
    "post_changes": "Appended",
    "get_projects": "Projects",
    "get_changes": "Page",
    "get_change": "Change",
    "get_stats": "Stats",
    "get_heads": "Heads",
    "mark_as_outdated": "Change",
    "me": "Me",
    "list_members": "Members",
    "put_member": "Member",
    "delete_member": "Member",
    "resource_metadata": "ResourceMetadata",
    "list_tokens": "Tokens",
    "create_token": "CreatedToken",
    "revoke_token": "RevokedToken",
    "list_invitations": "Invitations",
    "create_invitation": "CreatedInvitation",
    "withdraw_invitation": "WithdrawnInvitation",
    "accept_invitation": "Accepted",
}
"""The schema of each handler's successful response."""

_PROBLEMS = {
    "400": "The request breaks a rule; `field` or `errors` says which",
    "401": "There is no bearer token, or it is not valid",
    "403": "Not allowed",
    "404": "The change or the project does not exist here",
    "409": "The log has another history than the one the reader knows, the project would lose its last owner, or the "
    "key has created a device token or an invitation before",
    "412": "The log does not end at If-Head; `seq` and `chain` are its end",
    "413": "The body, or a change in it, is too large",
    "415": "The body is not JSON, or its compression is not gzip",
    "422": "The idempotency key was used before with another batch",
    "429": "Too many requests for the project or for the storage: retry with the same key",
    "500": "The log is damaged, or the server failed",
    "503": "The log is busy or cannot be reached, or only part of the batch was stored: retry with the same key",
}
_PROBLEMS_OF = {
    "health": "400",
    "ready": "400 503",
    "help_page": "400",
    "openapi": "400",
    "post_changes": "400 403 404 412 413 415 422 429 500 503",
    "mark_as_outdated": "400 403 404 413 415 429 500 503",
    "get_changes": "400 403 404 409 429 500 503",
    "get_change": "400 403 404 429 500 503",
    "get_stats": "400 403 404 429 500 503",
    "get_heads": "400 403 429 500 503",
    "get_projects": "400 403 429 500 503",
    "me": "400",
    "list_members": "400 403 404 429 500 503",
    "put_member": "400 403 404 409 413 415 429 500 503",
    "delete_member": "400 403 404 409 429 500 503",
    "list_tokens": "400 403 404 429 500 503",
    "create_token": "400 403 404 409 413 415 429 500 503",
    "revoke_token": "400 403 404 409 429 500 503",
    "list_invitations": "400 403 404 429 500 503",
    "create_invitation": "400 403 404 409 413 415 429 500 503",
    "withdraw_invitation": "400 403 404 429 500 503",
    "accept_invitation": "400 403 404 413 415 429 500 503",
    "resource_metadata": "400",
}
_CONDITIONAL = {"help_page", "openapi", "get_projects", "get_changes", "get_change", "get_stats"}

_KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key with the same batch returns the numbers of the first attempt, for 400 days. "
    "A key in double quotes is the same key",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{16,128}$"},
    "example": "2f1c9a54-0b7e-4d0e-9d1c-6a1f0e5b7c33",
}
_IF_HEAD: dict[str, Any] = {
    "name": "If-Head",
    "in": "header",
    "description": "The batch is appended only if the log of its project ends at this number; one atomic write",
    "schema": {"type": "integer", "minimum": 0, "maximum": MAX_SEQ},
    "example": 41,
}
_ONCE: dict[str, Any] = {**_KEY, "description": "A second request with the same key gets a 409 that has the id"}
_BEARER = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
_CHALLENGE: dict[str, Any] = {"description": "How to authenticate (RFC 6750, RFC 9728)", "schema": {"type": "string"}}
_ETAG: dict[str, Any] = {"description": "For If-None-Match", "schema": {"type": "string"}}


def endpoints(*, with_auth: bool = False) -> list[dict[str, Any]]:
    """Describe every route, for `GET /api/help`."""
    return [
        {
            "method": route.method,
            "path": route.path,
            "description": route.description,
            "parameters": [
                {"name": parameter.name, "in": parameter.place, "description": parameter.description}
                for parameter in route.parameters
            ],
        }
        for route in routes(with_auth=with_auth)
    ]


def document(server: str, project_id: str | None = None, *, with_auth: bool = False) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.0).

    `project_id` is the project of a service that serves only one. Then a change may omit it. `with_auth` describes an
    API that verifies bearer tokens.
    """
    new_change = SCHEMAS["NewChange"]
    if project_id is None:
        new_change = {**new_change, "required": ["projectId", *new_change["required"]]}
    paths: dict[str, Any] = {}
    for route in routes(with_auth=with_auth):
        operation = paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        if with_auth and route.action != OPEN:
            operation["security"] = [{"bearer": []}]
            operation["responses"]["401"] = {**_problem("401"), "headers": {"WWW-Authenticate": _CHALLENGE}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{server}: change log sync API",
            "version": __version__,
            "description": "Each project has an append-only log of changes, numbered 1, 2, 3, … without gaps. "
            "Devices push their own changes and pull those of others.",
            "license": {"name": "MPL-2.0", "identifier": "MPL-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {**SCHEMAS, "NewChange": new_change, **(METADATA_SCHEMA if with_auth else {})},
            **({"securitySchemes": {"bearer": _BEARER}} if with_auth else {}),
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    good: dict[str, Any] = {
        "description": "Success",
        "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{RESPONSES[route.handler]}"}}},
    }
    responses: dict[str, Any] = {"200": good}
    parameters = [_parameter(parameter) for parameter in route.parameters]
    if route.handler in _CONDITIONAL:
        good["headers"] = {"ETag": _ETAG}
        responses["304"] = {"description": "Not modified: the ETag in If-None-Match is still current"}
    for status in _PROBLEMS_OF.get(route.handler, "").split():
        responses[status] = _problem(status)
    operation: dict[str, Any] = {
        "operationId": route.handler,
        "summary": route.description,
        "parameters": parameters,
        "responses": responses,
    }
    if route.handler in REQUEST_BODIES:
        operation["requestBody"] = {"required": True, "content": {JSON: REQUEST_BODIES[route.handler]}}
    if route.handler == "post_changes":
        parameters += [_KEY, _IF_HEAD]
    if route.handler in ("create_token", "create_invitation"):
        parameters.append(_ONCE)
    return operation


def _problem(status: str) -> dict[str, Any]:
    return {
        "description": _PROBLEMS[status],
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required or parameter.place == "path",
        "description": parameter.description,
        "schema": dict(parameter.schema),
    }
    if parameter.repeatable:
        described["schema"] = {"type": "array", "items": dict(parameter.schema), "minItems": 1, "maxItems": 100}
        described["style"], described["explode"] = "form", True
    if parameter.example is not None:
        described["example"] = parameter.example
    return described
