"""The errors of a client of the REST API.

RemoteError
  ServerUnreachable     no complete response: `sent` tells whether the request may have been carried out
  ForeignResponse       a response that is not of this API: of a proxy, of a captive portal, a redirect
  ApiProblem            a problem document of this API
  Cancelled             the caller cancelled the request: `sent` tells whether it may have been carried out
"""

from __future__ import annotations

from sltt_core.base.errors import SlttError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class RemoteError(SlttError):
    """Base of the errors of a client."""

    status = 502
    kind = "remote"
    title = "The server gave no result"


class ServerUnreachable(RemoteError):
    """There is no connection, or no complete response came in time.

    `sent` is `False` when the server got nothing of the request, and `True` when it may have carried it out.
    """

    kind = "server-unreachable"
    title = "The server cannot be reached"
    retryable = True
    hint = "Try again later; repeat an append with the same idempotency key, so that it is not stored twice."

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class ForeignResponse(RemoteError):
    """The response is not of this API, so it says nothing about the request.

    It is of a proxy, of a gateway, of the login page of a network, or of another server.
    """

    kind = "foreign-response"
    title = "The response is not of this API"
    retryable = True
    hint = "Check the URL of the server, and whether a proxy or the login page of a network responds in its place."

    def __init__(self, message: str, *, status: int, location: str | None = None) -> None:
        """`status` is the status of the response, 0 if it is not HTTP; `location` is the target of a redirect."""
        super().__init__(message)
        self.status = status
        self.location = location


class ApiProblem(RemoteError):
    """The server refused the request with a problem document (RFC 9457) of this API."""

    def __init__(self, status: int, type: str, title: str, detail: str, extensions: Mapping[str, Any]) -> None:
        """`type` is the `kind` of an error in `sltt_core.base.errors`, for example `invalid-batch`.

        `extensions` has the other members of the document, for example `errors`, `failedAtIndex`, `createdSeqs`.
        """
        super().__init__(detail, hint=str(extensions.get("hint", "")))
        self.status = status
        self.type = self.kind = type
        self.title = title
        self.detail = detail
        self.extensions = extensions
        self.retryable = extensions.get("retryable") is True
        self.retry_after: float | None = None  # type: ignore[assignment]
        """Seconds to wait before the next try, as the header `Retry-After` gives them; `None` without one."""


class Cancelled(RemoteError):
    """The caller cancelled the request. `sent` is `True` when the server may have carried it out."""

    kind = "cancelled"
    title = "Cancelled"

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
