"""`Remote`: a client of the REST API, exported as `Client`. It is blocking, and several threads may use one object.

Every append has an idempotency key, so a request that got no response can be sent again. The client itself sends a
request once, except on a kept connection that turns out to be dead (`HttpTransport`).
"""

from __future__ import annotations

import json
import os
from typing import Any, Self
from urllib.parse import urlencode

from sltt_core.api.bodies import WORTH_BYTES, decoded_body, gzipped
from sltt_core.api.http import JSON
from sltt_core.base.errors import InvalidInput
from sltt_core.base.runtime import SYSTEM
from sltt_core.base.version import __version__
from sltt_core.http_client.cancellation import CancellableTransport, RequestCancelled
from sltt_core.http_client.proxies import connect_through, proxy_of
from sltt_core.http_client.transport import (
    BadResponse,
    ConnectFailed,
    OutcomeUnknown,
    open_connection,
)
from sltt_core.log.pages import MAX_LIMIT, ChangeStats, Head, ProjectsPage
from sltt_core.model.changes import Change, NewChange
from sltt_core.sync.documents import RemoteResponse
from sltt_core.sync.errors import Cancelled, ForeignResponse, ServerUnreachable
from sltt_core.sync.requests import at_text, batch_body, check_headers, member_path, parse_server, project_path
from sltt_core.sync.results import (
    AppendResult,
    Heads,
    Health,
    Me,
    RemoteMember,
    RemotePage,
    RemoteStats,
    changes_of,
    read_change,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from sltt_core.base.runtime import Runtime
    from sltt_core.http_client.cancellation import Progress
    from sltt_core.http_client.transport import Origin

MAX_BODY_BYTES = 20_000_000
"""The most bytes of a response's body."""
KEPT_SECONDS = 5.0
"""How long a request on a kept connection waits for a response before it is sent again on a new one, in seconds."""
CONNECT_SECONDS = 10.0
"""The longest time to open a connection, in seconds."""


class Remote:
    """A client of one server."""

    def __init__(
        self,
        server: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] = {},
        timeout: float = 30.0,
        user: str | None = None,
        runtime: Runtime = SYSTEM,
        transport: Any = None,
        cancelled: Callable[[], bool] | None = None,
        progress: Progress | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """`server` is the URL of the API, for example `https://sync.example.org` or one with a path before `/api`.

        `token` is sent as a bearer token. `headers` are sent with each request. `timeout` bounds a request in seconds;
        a `wait` is added to it. `user` is the `changeBy` of changes that name nobody. `transport` replaces the
        connection to the server (an object with `send` and `close` as `HttpTransport` has).

        `cancelled` is asked at least twice a second while a request runs; when it returns `True`, the request ends with
        `Cancelled`. `progress` is called with the numbers of bytes that were sent and received since the last call.
        Both are called in the thread of the request. `environ` names a proxy (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
        `https:` trusts the certificates that the system trusts.

        Raises `InvalidInput` for a `server`, a `token`, a header or a proxy that is not valid.
        """
        self.server = server
        self._origin, self._prefix = parse_server(server)
        self._user = user
        self._timeout = timeout
        self._runtime = runtime
        self._cancellers = [] if cancelled is None else [cancelled]
        self._progress = progress or (lambda sent, received: None)
        self._proxy = proxy_of(self._origin, environ)
        self._takes_gzip = True
        self._headers = {
            "host": self._origin.authority,
            "user-agent": f"sltt/{__version__}",
            "accept": JSON,
            "accept-encoding": "gzip",
        }
        if token is not None:
            self._headers["authorization"] = f"Bearer {token}"
        self._headers |= {name.lower(): value for name, value in headers.items()}
        check_headers(self._headers)
        make = runtime.transport or self._new_transport
        self._transport = transport if transport is not None else make(self._origin, timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. A later request opens a new one."""
        self._transport.close()

    def cancel_when(self, cancelled: Callable[[], bool]) -> None:
        """Ask this, too, whether to cancel requests, as `cancelled` is asked. A device does it with its client."""
        self._cancellers.append(cancelled)

    def cancel_no_more(self, cancelled: Callable[[], bool]) -> None:
        """End `cancel_when`."""
        self._cancellers.remove(cancelled)

    def _cancelled(self) -> bool:
        return any(ask() for ask in self._cancellers)

    # Requests

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | Iterable[tuple[str, object]] = (),
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        wait: float = 0,
    ) -> RemoteResponse:
        """Send a request and return its response, whatever its status.

        `path` is percent-encoded and begins with `/`; `query` has the names and values, not encoded. `wait` is how long
        the server may wait in addition to the time limit, in seconds. Raises `ServerUnreachable`, `ForeignResponse`
        for a response that is not valid HTTP, and `Cancelled`.
        """
        query = list(query.items() if hasattr(query, "items") else query)
        pairs = urlencode(query)
        target = f"{self._prefix}{path}?{pairs}" if pairs else self._prefix + path
        sent = {**self._headers, **{name.lower(): value for name, value in headers.items()}}
        given = body
        if body is not None:
            if self._takes_gzip and len(body) >= WORTH_BYTES and "content-encoding" not in sent:
                body = gzipped(body)
                sent["content-encoding"] = "gzip"
            sent["content-length"] = str(len(body))
        check_headers(sent)
        if any(not "!" <= character <= "~" for character in method + target):
            raise InvalidInput("path is not percent-encoded", field="path")
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        message = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")
        if self._cancelled():
            raise Cancelled("the request was cancelled before it was sent", sent=False)
        deadline = self._runtime.steady_clock() + self._timeout + wait
        repeatable = method in ("GET", "PUT", "DELETE") or "idempotency-key" in sent
        try:
            more = {"wait_seconds": wait} if wait else {}
            response = self._transport.send(message, deadline=deadline, repeatable=repeatable, **more)
        except ConnectFailed as error:
            raise ServerUnreachable(error.message, sent=False) from error
        except OutcomeUnknown as error:
            raise ServerUnreachable(f"{self._origin.host}: {error.message}", sent=True) from error
        except BadResponse as error:
            raise ForeignResponse(f"{self._origin.host}: {error.message}", status=0) from error
        except RequestCancelled as error:
            raise Cancelled(str(error), sent=error.sent) from None
        if response.status == 415 and body is not given and self._takes_gzip:  # as a gateway may that changes bodies
            self._takes_gzip = False
            return self.request(method, path, query=query, headers=headers, body=given, wait=wait)
        try:
            plain = decoded_body(response.body, response.headers, MAX_BODY_BYTES)
        except InvalidInput as error:
            raise ForeignResponse(f"{self._origin.host}: {error.message}", status=response.status) from None
        return RemoteResponse(method, path, response.status, response.headers, plain)

    # Changes

    def append(
        self,
        changes: Iterable[NewChange | Mapping[str, Any]],
        *,
        key: str | None = None,
        if_head: int | None = None,
    ) -> AppendResult:
        """Append a batch. A change is a `NewChange`, or a mapping with the names of the API (`projectId`, …).

        `key` is the idempotency key; without one, the client makes one, and the caller cannot send the batch again
        after an error. With `if_head`, the batch is appended only if the log of its project ends there.

        Raises `ApiProblem`, for example of the type `invalid-batch`, `ServerUnreachable`, `ForeignResponse` and
        `Cancelled`.
        """
        return self.append_body(
            batch_body(changes, self._user), key=self._runtime.new_token() if key is None else key, if_head=if_head
        )

    def append_body(self, body: bytes, *, key: str, if_head: int | None = None) -> AppendResult:
        """Append a batch that is written already: exactly these bytes. Otherwise like `append`."""
        headers = {"content-type": JSON, "idempotency-key": key}
        if if_head is not None:
            headers["if-head"] = str(if_head)
        found = self.request("POST", "/api/changes", headers=headers, body=body).document()
        return AppendResult(tuple(found["createdSeqs"]), found["replayed"], found["timestamp"])

    def changes_after(
        self,
        project_id: str,
        cursor: int = 0,
        *,
        limit: int = MAX_LIMIT,
        chain: str | None = None,
        wait: float = 0,
        data_text: bool = True,
    ) -> RemotePage:
        """Return the page of changes after a cursor; the log's end has an empty one.

        `chain` is the link at the cursor: the server responds with an `ApiProblem` of the type `chain-mismatch` if its
        log has another. With `wait`, the server waits so many seconds for a change if there is none; a server may
        wait for less (`RemotePage.max_wait`). `data_text` asks for each `data` as text, which is faster to read; the
        result is the same.
        """
        query: dict[str, object] = {"cursor": cursor, "limit": limit}
        if data_text:
            query["data"] = "text"
        if chain is not None:
            query["chain"] = chain
        if wait:
            query["wait"] = f"{wait:.3f}"
        response = self.request("GET", f"{project_path(project_id)}/changes", query=query, wait=wait)
        found = response.document()
        changes = changes_of(response, found["changes"])
        if len(changes) != found["count"] or any(change.project_id != project_id for change in changes):
            raise ForeignResponse(f"the page is not one of project {project_id}", status=response.status)
        return RemotePage(
            changes,
            found["through"],
            found.get("chain"),
            found.get("cursor"),
            found["waited"],
            found["maxWait"],
            found["timestamp"],
        )

    def change(self, project_id: str, seq: int) -> Change:
        """Return one change; raises `ApiProblem` of the type `not-found` if it is not in the log."""
        response = self.request("GET", f"{project_path(project_id)}/changes/{seq}")
        return _change(response)

    def mark_as_outdated(self, project_id: str, seq: int, outdated_by: int) -> Change:
        """Record that a later change made a change obsolete; return the latter."""
        body = json.dumps({"outdatedBy": outdated_by}).encode()
        path = f"{project_path(project_id)}/changes/{seq}/outdated"
        return _change(self.request("POST", path, headers={"content-type": JSON}, body=body))

    def heads(self, ends: Mapping[str, tuple[int, str | None]], *, wait: float = 0) -> Heads:
        """Return the ends of the logs that moved since `ends`: by project, the last number and its link if known."""
        query: list[tuple[str, object]] = [("at", at_text(project, *end)) for project, end in ends.items()]
        if wait:
            query.append(("wait", f"{wait:.3f}"))
        found = self.request("GET", "/api/heads", query=query, wait=wait).document()
        heads = {project: Head(head["seq"], head["chain"]) for project, head in found["heads"].items()}
        return Heads(
            heads,
            tuple(found["diverged"]),
            tuple(found["refused"]),
            found["waited"],
            found["maxWait"],
            found["timestamp"],
        )

    # Projects

    def projects(self, cursor: str | None = None, limit: int = MAX_LIMIT) -> ProjectsPage:
        """Return the ids of the projects after `cursor`, sorted."""
        query = {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}
        found = self.request("GET", "/api/projects", query=query).document()
        return ProjectsPage(tuple(found["projects"]), found.get("cursor"))

    def stats(self, project_id: str) -> RemoteStats:
        """Return the counts of a project's log, and its end."""
        found = self.request("GET", f"{project_path(project_id)}/stats").document()
        counts, head = found["changeStats"], found["head"]
        return RemoteStats(
            ChangeStats(*(counts[name] for name in ChangeStats.fields)),
            found["entityTypeStats"],
            Head(head["seq"], head["chain"]),
            found["storageType"],
            found["timestamp"],
        )

    # Members

    def me(self) -> Me:
        """Return who the sender of this client's requests is."""
        found = self.request("GET", "/api/me").document()
        return Me(found["principal"], found["admin"])

    def members(self, project_id: str) -> tuple[RemoteMember, ...]:
        """Return the members of a project, sorted by principal."""
        found = self.request("GET", f"{project_path(project_id)}/members").document()
        return tuple(_member(one) for one in found["members"])

    def set_role(self, project_id: str, principal: str, role: str) -> RemoteMember:
        """Give a principal a role in a project."""
        body = json.dumps({"role": role}).encode()
        path = member_path(project_id, principal)
        return _member(self.request("PUT", path, headers={"content-type": JSON}, body=body).document())

    def remove_member(self, project_id: str, principal: str) -> RemoteMember:
        """Take the role of a principal away."""
        path = member_path(project_id, principal)
        return _member(self.request("DELETE", path).document())

    def accept_invitation(self, code: str) -> tuple[str, RemoteMember]:
        """Accept an invitation; return the project and the membership."""
        body = json.dumps({"code": code}).encode()
        headers = {"content-type": JSON}
        found = self.request("POST", "/api/invitations/accept", headers=headers, body=body).document()
        return found["projectId"], _member(found)

    # The server

    def health(self) -> Health:
        """Return whether the server responds, and what it is."""
        found = self.request("GET", "/health").document()
        return Health(found["status"], found["server"], found["storageType"], found["timestamp"])

    def _new_transport(self, origin: Origin, seconds: float) -> CancellableTransport:
        return CancellableTransport(
            origin,
            cancelled=self._cancelled,
            progress=self._progress,
            connect_seconds=min(CONNECT_SECONDS, seconds),
            read_seconds=seconds,
            kept_seconds=KEPT_SECONDS,
            max_body=MAX_BODY_BYTES,
            connect=open_connection if self._proxy is None else connect_through(self._proxy, origin),
            steady_clock=self._runtime.steady_clock,
        )


def _change(response: RemoteResponse) -> Change:
    response.document()
    try:
        return read_change(response.body.decode())
    except ValueError as error:
        raise ForeignResponse(f"the change is not of this API: {error}", status=response.status) from None


def _member(found: Mapping[str, Any]) -> RemoteMember:
    return RemoteMember(found["principal"], found["role"], found["since"])


Client = Remote
"""The public name."""
