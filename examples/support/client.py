"""A client of the REST API in a few lines: one keep-alive connection, JSON in and out, safe retries."""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

JSONObject = dict[str, Any]

BUSY = {429, 503}  # the server asks for a retry, with Retry-After
PATIENCE = 30.0  # seconds of retries


class Problem(Exception):
    """The server's response was an error; ``body`` is its problem document (RFC 9457)."""

    def __init__(self, status: int, body: JSONObject) -> None:
        super().__init__(body.get("detail") or body.get("error") or body.get("title") or f"status {status}")
        self.status = status
        self.body = body


class Unreachable(Exception):
    """There was no response, or not one of this API."""


class Client:
    """A client of one server. It is not safe for several threads: each needs its own."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = url
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._connection.close()

    def get(self, path: str, **query: object) -> JSONObject:
        """Return the response to ``GET path?query``."""
        return self._send("GET", f"{path}?{urlencode(query)}" if query else path, None, {})

    def append(self, changes: Sequence[JSONObject], key: str) -> JSONObject:
        """Append ``changes`` under an idempotency key, so that sending them again is safe."""
        body = json.dumps(changes, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._send("POST", "/api/changes", body, headers)

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

    def _send(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> JSONObject:
        """Send a request, and repeat it while the server is busy."""
        deadline = time.monotonic() + PATIENCE
        while True:
            status, retry_after, response = self._exchange(method, target, body, headers)
            if status == 200:
                return response
            if status not in BUSY or time.monotonic() + retry_after > deadline:
                raise Problem(status, response)
            time.sleep(retry_after)

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, float, JSONObject]:
        """Send a request once, or twice when the kept connection was closed."""
        fresh = self._connection.sock is None
        try:
            self._connection.request(method, target, body, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (http.client.HTTPException, OSError) as error:
            self._connection.close()
            if not fresh and not isinstance(error, TimeoutError):
                return self._exchange(method, target, body, headers)  # it was idle for too long
            raise Unreachable(f"no response from {self.url}: {error or type(error).__name__}") from error
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Unreachable(f"{method} {target}: status {response.status}, but not a JSON object")
        wait = response.headers.get("Retry-After", "")
        return response.status, float(wait) if wait.isdigit() else 1.0, document


def project_path(project: str) -> str:
    """Return the path of a project."""
    return f"/api/projects/{quote(project, safe='')}"
