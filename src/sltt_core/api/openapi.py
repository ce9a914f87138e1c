"""What the API says of itself, generated from the routes."""

from __future__ import annotations

from sltt_core.api.routes import ROUTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def endpoints() -> list[dict[str, Any]]:
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
        for route in ROUTES
    ]
