"""Servers for tests of the device: the API in process behind a transport, whose responses a test can change."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from sltt_core.api.access import Authenticator, Principal
from sltt_core.api.app import Api
from sltt_core.api.http import Request
from sltt_core.base.errors import Unauthenticated
from sltt_core.base.runtime import SYSTEM, Runtime
from sltt_core.http_client.responses import HttpResponse
from sltt_core.http_client.transport import ConnectFailed, OutcomeUnknown
from sltt_core.model.chain import GENESIS
from sltt_core.sqlite.storage import LocalStorageService
from sltt_core.sync.device import Device
from sltt_core.sync.remote import Remote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sltt_core.api.access import Access
    from sltt_core.log.storage import BaseStorageService

Answer = Callable[[str, str, Callable[[], HttpResponse]], HttpResponse | None]
"""What responds in place of the API, or lets it (`Server.answer`)."""


class Server:
    """The API over an SQLite log, and the network between it and the devices of a test.

    `answer` is asked before each request: it gets the method, the target and a function that lets the API respond. It
    returns the response, or `None` for that of the API.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "server",
        access: Callable[[BaseStorageService], Access] | None = None,
        **options: Any,
    ) -> None:
        """`access` makes the access control of a storage; `options` are those of `Api`."""
        self.path = folder / f"{name}.db"
        self._access = access
        self._options = options
        self._replacing = Lock()
        self._open(self.path, name)
        self.answer: Answer | None = None
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []

    def replace(self, path: Path) -> None:
        """Let the server have another log, as after a restore. No request sees it in between."""
        with self._replacing:
            self.storage.close()
            self._open(path, "restored")

    def _open(self, path: Path, name: str) -> None:
        self.storage: BaseStorageService = LocalStorageService(path)
        self.storage.initialize()
        access = None if self._access is None else self._access(self.storage)
        self._api = Api(self.storage, name, access=access, **self._options)

    def close(self) -> None:
        """End the server."""
        self.storage.close()

    def client(self, **options: Any) -> Remote:
        """Return a client of this server."""
        return Remote("http://server", transport=Wire(self), **options)

    def device(self, path: Path, user: str | None = None, *, runtime: Runtime = SYSTEM, **options: Any) -> Device:
        """Return a device of this server, not open yet."""
        client = self.client(**{name: options.pop(name) for name in ("token", "headers") if name in options})
        return Device(path, client=client, user=user, runtime=runtime, **options)

    def handle(self, message: bytes) -> HttpResponse:
        """Respond to the bytes of a request."""
        head, _, body = message.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        # Tests look at bodies and change them.
        headers.pop("accept-encoding", None)
        if headers.pop("content-encoding", None) == "gzip":
            body = gzip.decompress(body)
        self.requests.append((method, target, headers, body))

        def respond() -> HttpResponse:
            path, _, query = target.partition("?")
            with self._replacing:
                found = self._api.handle(Request(method, path, query, headers, body))
            return HttpResponse(found.status, dict(found.headers), bytes(found.content))

        response = None if self.answer is None else self.answer(method, target, respond)
        return respond() if response is None else response

    @property
    def appends(self) -> list[tuple[str, bytes]]:
        """The key and the body of each append that was requested, in order."""
        return [(headers["idempotency-key"], body) for method, _, headers, body in self.requests if method == "POST"]


class Wire:
    """The transport of one client to a `Server`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def send(self, message: bytes, *, deadline: float, repeatable: bool, **_: Any) -> HttpResponse:
        return self._server.handle(message)

    def close(self) -> None:
        """There is no connection to close."""


class Logins(Authenticator):
    """Verifies tokens that are the name of their owner. A test changes `valid`."""

    def __init__(self, *names: str) -> None:
        self.valid = set(names)

    def authenticate(self, headers: Mapping[str, str]) -> Principal:
        name = headers.get("authorization", "").removeprefix("Bearer ")
        if name not in self.valid:
            raise Unauthenticated("the token is not valid")
        return Principal(name)


def stale() -> HttpResponse:
    """Return the page of a server whose log is empty, or seems so."""
    page = {"changes": [], "count": 0, "through": 0, "chain": GENESIS, "waited": 0, "maxWait": 0}
    text = json.dumps({**page, "timestamp": "2026-01-01T00:00:00.000Z"})
    return HttpResponse(200, {"content-type": "application/json"}, text.encode())


def refuses(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse:
    """Let no request reach the server."""
    raise ConnectFailed("there is no network")


def loses_response(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
    """Lose the response of each append after the server has stored it."""
    if method != "POST":
        return None
    respond()
    raise OutcomeUnknown("the connection was closed")


def html(status: int) -> Answer:
    """Return a network that responds to appends in place of the server, with a page for people."""

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method != "POST":
            return None
        return HttpResponse(status, {"content-type": "text/html"}, b"<html>Log in to the hotel network</html>")

    return answer


def problem(status: int, kind: str, **more: object) -> Answer:
    """Return a server that responds to appends with a problem document."""
    document = {
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

    def answer(method: str, target: str, respond: Callable[[], HttpResponse]) -> HttpResponse | None:
        if method != "POST":
            return None
        return HttpResponse(status, {"content-type": "application/problem+json"}, json.dumps(document).encode())

    return answer
