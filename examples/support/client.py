"""A client of the REST API for the demonstrations: JSON in and out as on the wire, and safe retries."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import sltt_core
from sltt_core import ApiProblem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

JSONObject = dict[str, Any]

BUSY = {429, 503}  # the server asks for a retry, with Retry-After
PATIENCE = 30.0  # seconds of retries


class Client:
    """A client of one server."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url
        self._client = sltt_core.Client(url, timeout=timeout)

    def close(self) -> None:
        """Close the connections; the next request opens another."""
        self._client.close()

    def get(self, path: str, **query: object) -> JSONObject:
        """Return the response to ``GET path?query``."""
        return self._send("GET", path, query, None, {})

    def append(self, changes: Sequence[JSONObject], key: str) -> JSONObject:
        """Append ``changes`` under an idempotency key, so that sending them again is safe."""
        body = json.dumps(changes, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._send("POST", "/api/changes", {}, body, headers)

    def page(self, project: str, cursor: int = 0, **query: object) -> JSONObject:
        """Return one page of a project's changes after ``cursor``."""
        return self.get(f"{project_path(project)}/changes", cursor=cursor, **query)

    def pages(self, project: str, limit: int) -> Iterator[JSONObject]:
        """Yield all pages of a project's changes; the last has no ``cursor``."""
        cursor: int | None = 0
        while cursor is not None:
            page = self.page(project, cursor, limit=limit)
            yield page
            cursor = page.get("cursor")

    def stats(self, project: str) -> JSONObject:
        """Return a project's counts."""
        return self.get(f"{project_path(project)}/stats")

    def _send(
        self, method: str, path: str, query: Mapping[str, object], body: bytes | None, headers: Mapping[str, str]
    ) -> JSONObject:
        """Send a request, and repeat it while the server is busy."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self._client.request(method, path, query=query, headers=headers, body=body).document()
            except ApiProblem as problem:
                wait = problem.retry_after or 1.0
                if problem.status not in BUSY or time.monotonic() + wait > deadline:
                    raise
            time.sleep(wait)


def project_path(project: str) -> str:
    """Return the path of a project."""
    return f"/api/projects/{quote(project, safe='')}"
