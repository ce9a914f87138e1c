"""The JSON Schemas of requests and responses, with examples, for the OpenAPI document."""

from __future__ import annotations

from sltt_core.api.http import MAX_WAIT_SECONDS
from sltt_core.api.routes import (
    CREDENTIAL_ID_SCHEMA,
    ENTITY_TYPE_SCHEMA,
    FREE_TEXT_SCHEMA,
    LINK_SCHEMA,
    PROJECT_SCHEMA,
    SEQ_SCHEMA,
)
from sltt_core.model.credentials import MAX_DAYS, MAX_USES
from sltt_core.model.fields import NEW_FIELDS, OPERATIONS, SHOWN_FIELDS, TOMBSTONE
from sltt_core.model.grants import ROLES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_ANY_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}
"""Any JSON object. Without `additionalProperties`, openapi-typescript makes it a type that no object fits."""

_NEW_EXAMPLE = {
    "projectId": "ruth",
    "entityType": "passage",
    "entityId": "ruth-1",
    "operation": "create",
    "timestamp": "2025-03-01T09:30:00.000Z",
    "data": {"title": "Famine in Bethlehem"},
    "cid": "2025-0301-093000-000+0000-a1b2",
}
_EXAMPLE = {
    "projectId": "ruth",
    "seq": 1,
    "entityType": "passage",
    "entityId": "ruth-1",
    "operation": "create",
    "timestamp": "2025-03-01T09:30:00.000Z",
    "cloudAt": "2025-03-01T09:31:12.345Z",
    "data": {"title": "Famine in Bethlehem"},
    "cid": "2025-0301-093000-000+0000-a1b2",
    "chain": "Fw6_kdmmwW0jSSR9cuLF7A",
}


def _object(properties: dict[str, Any], optional: str = "", **more: Any) -> dict[str, Any]:
    required = [name for name in properties if name not in optional.split()]
    return {"type": "object", "properties": properties, "required": required, **more}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_NEW: dict[str, dict[str, Any]] = {
    "projectId": PROJECT_SCHEMA,
    "entityType": ENTITY_TYPE_SCHEMA,
    "entityId": {**FREE_TEXT_SCHEMA, "description": "No control characters"},
    "data": {**_ANY_OBJECT, "description": "Any JSON object; stored verbatim"},
    "operation": {"type": "string", "enum": [*OPERATIONS], "default": "create"},
    "timestamp": {**_TIME, "description": "When the change was made; UTC if it has no zone; default: now"},
    "changeAt": {**_TIME, "description": "Another name for timestamp; send only one of the two"},
    "cid": {**FREE_TEXT_SCHEMA, "description": "The client's own id for the change"},
    "changeBy": {**FREE_TEXT_SCHEMA, "description": "Who made it"},
    "seq": {**_COUNT, "maximum": 2**63 - 1, "description": "The client's own number; a key of seqMap"},
    "cloudAt": {**_TIME, "description": "Ignored: the log sets it"},
    "outdatedBy": {**_COUNT, "maximum": 2**63 - 1, "description": "Ignored: the log sets it"},
}
"""The schema of each field that a client may send."""

_STORED: dict[str, dict[str, Any]] = {
    "projectId": PROJECT_SCHEMA,
    "seq": SEQ_SCHEMA,
    "entityType": ENTITY_TYPE_SCHEMA,
    "entityId": FREE_TEXT_SCHEMA,
    "operation": {"type": "string", "enum": [*OPERATIONS, TOMBSTONE]},
    "timestamp": _TIME,
    "cloudAt": _TIME,
    "data": _ANY_OBJECT,
    "outdatedBy": SEQ_SCHEMA,
    "cid": FREE_TEXT_SCHEMA,
    "changeBy": FREE_TEXT_SCHEMA,
    "chain": LINK_SCHEMA,
}
"""The schema of each field of a stored change."""


def _new_change() -> dict[str, Any]:
    fields = [*NEW_FIELDS, *(field for field in SHOWN_FIELDS if field.check and field.position is None)]
    names = [name for field in fields for name in (field.wire, field.alias) if name]
    required = {field.wire for field in fields if field.required}
    # The project is optional, but not nullable.
    plain = {*required, "projectId"}
    return _object(
        {name: _NEW[name] if name in plain else _or_null(_NEW[name]) for name in names},
        optional=" ".join(name for name in names if name not in required),
        additionalProperties=False,
        **{"not": {"required": [name for field in fields if field.alias for name in (field.wire, field.alias)]}},
        examples=[_NEW_EXAMPLE],
    )


_MEMBER: dict[str, dict[str, Any]] = {
    "principal": FREE_TEXT_SCHEMA,
    "role": {"type": "string", "enum": [*ROLES]},
    "since": {**SEQ_SCHEMA, "description": "The number of the change that granted the role"},
}

_GRANTED: dict[str, Any] = {"type": "string", "enum": [*ROLES[1:]]}
_CREDENTIAL: dict[str, dict[str, Any]] = {
    "id": CREDENTIAL_ID_SCHEMA,
    "role": {**_GRANTED, "description": "As granted first; a later change is in the members of the project"},
    "createdBy": FREE_TEXT_SCHEMA,
    "createdAt": _TIME,
    "expires": _TIME,
}
_HEAD = _object({"seq": _COUNT, "chain": LINK_SCHEMA})
_WAITED: dict[str, dict[str, Any]] = {
    "waited": {"type": "number", "minimum": 0, "description": "Seconds that the server waited for a change"},
    "maxWait": {
        "type": "number",
        "minimum": 0,
        "maximum": MAX_WAIT_SECONDS,
        "description": "The longest time that this server waits, in seconds; 0 if it never does: poll by the clock",
    },
}
_TOKEN: dict[str, dict[str, Any]] = {
    **_CREDENTIAL,
    "principal": {**FREE_TEXT_SCHEMA, "description": "device:<id>"},
    "name": FREE_TEXT_SCHEMA,
    "revokedAt": _TIME,
}
_INVITATION: dict[str, dict[str, Any]] = {
    **_CREDENTIAL,
    "uses": {**_COUNT, "maximum": MAX_USES, "description": "How many principals can still accept it"},
}


def _one(properties: dict[str, Any], **more: dict[str, Any]) -> dict[str, Any]:
    return _object({**properties, **more, "timestamp": _TIME}, optional="createdBy revokedAt")


def _list(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    return _object(
        {
            name: {"type": "array", "items": _object(properties, optional="createdBy revokedAt")},
            "count": _COUNT,
            "cursor": {**CREDENTIAL_ID_SCHEMA, "description": "The cursor of the next page, if there may be more"},
            "timestamp": _TIME,
        },
        optional="cursor",
    )


SCHEMAS: dict[str, dict[str, Any]] = {
    "NewChange": _new_change(),
    "Change": _object(
        {field.wire: _STORED[field.wire] for field in SHOWN_FIELDS},
        optional=" ".join(field.wire for field in SHOWN_FIELDS if field.optional),
        examples=[_EXAMPLE],
    ),
    "ChangeWithText": _object(
        {
            **{field.wire: _STORED[field.wire] for field in SHOWN_FIELDS},
            "data": {"type": "string", "description": "The JSON text of the object, verbatim"},
        },
        optional=" ".join(field.wire for field in SHOWN_FIELDS if field.optional),
        description="A change, as `data=text` returns it",
    ),
    "Appended": _object(
        {
            "success": {"const": True},
            "created": {"type": "integer", "minimum": 1},
            "createdSeqs": {"type": "array", "items": SEQ_SCHEMA, "description": "In the order of the request"},
            "seqMap": {
                "type": "object",
                "additionalProperties": SEQ_SCHEMA,
                "description": "Maps the client's seq (the assigned one if absent), as text, to the assigned one",
            },
            "replayed": {"type": "boolean", "description": "Whether the batch was already stored under the same key"},
            "timestamp": _TIME,
        }
    ),
    "Page": _object(
        {
            "changes": {
                "type": "array",
                "items": {
                    "oneOf": [{"$ref": "#/components/schemas/Change"}, {"$ref": "#/components/schemas/ChangeWithText"}]
                },
            },
            "count": _COUNT,
            "cursor": {"type": "integer", "minimum": 0, "description": "The cursor of the next page, if there is more"},
            "through": {
                "type": "integer",
                "minimum": 0,
                "description": "The last number examined; always the next cursor",
            },
            "chain": {**LINK_SCHEMA, "description": "The link at `through`; absent if the cursor is beyond the end"},
            **_WAITED,
            "timestamp": _TIME,
        },
        optional="cursor chain",
    ),
    "Projects": _object(
        {
            "projects": {"type": "array", "items": PROJECT_SCHEMA},
            "count": _COUNT,
            "cursor": {**PROJECT_SCHEMA, "description": "The cursor of the next page, if there is more"},
            "timestamp": _TIME,
        },
        optional="cursor",
    ),
    "Stats": _object(
        {
            "projectId": PROJECT_SCHEMA,
            "changeStats": _object({"total": _COUNT, "creates": _COUNT, "updates": _COUNT, "deletes": _COUNT}),
            "entityTypeStats": {"type": "object", "additionalProperties": _COUNT},
            "head": {**_HEAD, "description": "The end of the log"},
            "timestamp": _TIME,
            "storageType": {"type": "string"},
        }
    ),
    "Heads": _object(
        {
            "heads": {
                "type": "object",
                "additionalProperties": _HEAD,
                "description": "The ends of the logs that have more changes, by project",
            },
            "diverged": {
                "type": "array",
                "items": PROJECT_SCHEMA,
                "description": "The projects whose log ends before the number, or has another link there at its end",
            },
            "refused": {
                "type": "array",
                "items": PROJECT_SCHEMA,
                "description": "The projects that do not exist, or that the sender may not read",
            },
            **_WAITED,
            "timestamp": _TIME,
        }
    ),
    "Health": _object(
        {
            "status": {"const": "healthy"},
            "timestamp": _TIME,
            "server": {"type": "string"},
            "storageType": {"type": "string"},
        }
    ),
    "Ready": _object(
        {
            "status": {"const": "ready"},
            "timestamp": _TIME,
            "server": {"type": "string"},
            "storageType": {"type": "string"},
        }
    ),
    "Help": _object(
        {
            "server": {"type": "string"},
            "endpoints": {
                "type": "array",
                "items": _object(
                    {
                        "method": {"type": "string"},
                        "path": {"type": "string"},
                        "description": {"type": "string"},
                        "parameters": {"type": "array", "items": _ANY_OBJECT},
                    }
                ),
            },
        }
    ),
    "Mark": _object(
        {"outdatedBy": {**SEQ_SCHEMA, "minimum": 2, "description": "A later change of the log"}},
        additionalProperties=False,
        examples=[{"outdatedBy": 2}],
    ),
    "Me": _object(
        {
            "principal": {**FREE_TEXT_SCHEMA, "type": ["string", "null"]},
            "admin": {"type": "boolean"},
            "timestamp": _TIME,
        }
    ),
    "Members": _object(
        {
            "members": {"type": "array", "items": _object(_MEMBER)},
            "count": _COUNT,
            "version": {**_COUNT, "description": "The number of the last grant in the log"},
            "timestamp": _TIME,
        }
    ),
    "Member": _object({**_MEMBER, "version": _COUNT, "timestamp": _TIME}),
    "NewRole": _object(
        {"role": {"type": "string", "enum": [*ROLES[1:]]}}, additionalProperties=False, examples=[{"role": "editor"}]
    ),
    "Tokens": _list("tokens", _TOKEN),
    "CreatedToken": _one(_TOKEN, token={"type": "string", "description": "Shown once"}),
    "RevokedToken": _one(_TOKEN),
    "NewToken": _object(
        {"name": FREE_TEXT_SCHEMA, "role": _GRANTED},
        additionalProperties=False,
        examples=[{"name": "tablet 7", "role": "editor"}],
    ),
    "Invitations": _list("invitations", _INVITATION),
    "CreatedInvitation": _one(_INVITATION, code={"type": "string", "description": "Shown once"}),
    "WithdrawnInvitation": _one(_INVITATION),
    "NewInvitation": _object(
        {
            "role": _GRANTED,
            "expiresInDays": {"type": "integer", "minimum": 1, "maximum": MAX_DAYS, "default": 7},
            "uses": {"type": "integer", "minimum": 1, "maximum": MAX_USES, "default": 1},
        },
        optional="expiresInDays uses",
        additionalProperties=False,
        examples=[{"role": "editor", "expiresInDays": 7, "uses": 4}],
    ),
    "Code": _object({"code": FREE_TEXT_SCHEMA}, additionalProperties=False),
    "Accepted": _object({"projectId": PROJECT_SCHEMA, **_MEMBER, "version": _COUNT, "timestamp": _TIME}),
    "OpenApi": _ANY_OBJECT,
    "Problem": _object(
        {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "error": {"type": "string"},
            "timestamp": _TIME,
            "server": {"type": "string"},
            "requestId": {"type": "string"},
            "hint": {"type": "string"},
            "retryable": {"const": True},
            "field": {"type": "string"},
            "id": {**CREDENTIAL_ID_SCHEMA, "description": "What the idempotency key created before"},
            "failedAtIndex": _or_null(_COUNT),
            "errors": {
                "type": "array",
                "items": _object(
                    {"index": _or_null(_COUNT), "field": {"type": "string"}, "reason": {"type": "string"}}
                ),
            },
            "created": _COUNT,
            "createdSeqs": {"type": "array", "items": _or_null(SEQ_SCHEMA)},
            "seq": {**_COUNT, "description": "The end of the log"},
            "chain": {**LINK_SCHEMA, "description": "The link there"},
        },
        optional="hint retryable field id failedAtIndex errors created createdSeqs seq chain",
        description="Problem details (RFC 9457), and the members error, timestamp and server of the original API",
    ),
}

METADATA_SCHEMA: dict[str, dict[str, Any]] = {
    "ResourceMetadata": _object(
        {
            "resource": {"type": "string", "format": "uri"},
            "authorization_servers": {"type": "array", "items": {"type": "string", "format": "uri"}},
            "bearer_methods_supported": {"const": ["header"]},
        },
        optional="authorization_servers",
    )
}
"""The schema of the one response of an API that verifies tokens, and of no other."""

REQUEST_BODIES: dict[str, dict[str, Any]] = {
    "post_changes": {
        "schema": {
            "oneOf": [
                {"type": "array", "items": {"$ref": "#/components/schemas/NewChange"}, "minItems": 1},
                {"$ref": "#/components/schemas/NewChange"},
            ]
        },
        "examples": {
            "batch": {"summary": "A batch", "value": [_NEW_EXAMPLE]},
            "one": {"summary": "One change", "value": _NEW_EXAMPLE},
        },
    },
    "mark_as_outdated": {"schema": {"$ref": "#/components/schemas/Mark"}},
    "put_member": {"schema": {"$ref": "#/components/schemas/NewRole"}},
    "create_token": {"schema": {"$ref": "#/components/schemas/NewToken"}},
    "create_invitation": {"schema": {"$ref": "#/components/schemas/NewInvitation"}},
    "accept_invitation": {"schema": {"$ref": "#/components/schemas/Code"}},
}
"""The schema and the examples of the body of each handler that reads one."""
