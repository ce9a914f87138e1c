"""The tree of all errors of this project.

    SlttError                       status  retryable
      InvalidInput                  400             the caller's input is not valid
        InvalidBatch                400             ... one or more changes of a batch (413: all are too large)
        PayloadTooLarge             413             ... more bytes than are accepted
        UnsupportedMediaType        415             ... a body that is not JSON
      NotFound                      404             the change, project or path does not exist
      MethodNotAllowed              405             the path does not support this method
      NotAllowed                    403             the access check refused the action
        AccessRevoked               403             ... to a former member of the project
        ReservedType                403             ... an entity type that only this program writes
      Unauthenticated               401             there is no credential, or it is not valid
      IssuerUnavailable             503     yes     the issuer of tokens does not respond, and its keys are needed
      HeadersTooLarge               431             the request's headers are too large
      RequestTimeout                408             the request arrived too slowly
      HostNotAllowed                421             the server does not serve this `Host`
      UnknownCoding                 501             the request's body has a transfer coding beside `chunked`
      ChainMismatch                 409             the log has another history than the reader knows
      LastOwner                     409             a project would have no owner any more
      ProjectExists                 409             a project cannot be created, because it has changes
      CredentialExists              409             a device token or an invitation was created before
      HeadMoved                     412             the log does not end where the caller expected it
      KeyReused                     422             the idempotency key was used with another batch
      StorageError                  500             the storage failed
        LogDamaged                  500             a number is missing, or the log contradicts itself
        NotALog                     500             the file or table is not a log, or has a newer format
        StorageBusy                 503     yes     another process holds the log; try again
          ServerBusy                503     yes     ... this process has no connection, descriptor or memory to spare
          TooManyWriters            429     yes     ... other writers took all the time of the request
          StorageThrottled          429     yes     ... the storage limits the rate of requests
        StorageUnavailable          503     yes     no response: the write may have been executed
        PartialAppend               503     yes     only part of a batch was stored

`status` is the HTTP status of the REST API's response. `kind` names the error in a problem document's `type`.
"""

from __future__ import annotations

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class SlttError(Exception):
    """Base of all errors of this project: a message for people, and attributes for programs."""

    status: int = 500
    """The HTTP status of the response."""
    kind: str = "internal"
    """A stable name: the last part of a problem document's `type`."""
    title: str = "Internal error"
    """A short text, the same for every error of the class."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    retry_after: int | None = None
    """Seconds to wait before the next try; `None` unless `retryable`."""
    hint: str = ""
    """What the caller can do, in the imperative; may be empty."""
    operator_hint: str = ""
    """What the operator of a server can do, if the caller is a client of the server. Only the server's log has it."""
    challenge: str | None = None
    """The value of `WWW-Authenticate` in the response, if there is one (RFC 9110, section 11.6.1)."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint

    @property
    def public_hint(self) -> str:
        """The hint for any client of the REST API: nothing about options, settings and files of the server."""
        return self.hint

    def rename(self, names: Mapping[str, str]) -> None:
        """Call the fields that the error names by other names, as the REST API does with Python's.

        `names` gives the new name for each old one; a field that it does not have keeps its name.
        """

    def _say(self, message: str) -> None:
        self.message = message
        self.args = (message,)


class InvalidInput(SlttError):
    """The caller's input breaks a rule; `field` names the part that does, where one can be named.

    Errors of the Python API name its parameters (`project_id`, `changes[0].entity_id`), those of the REST API its
    fields (`projectId`, `changes[0].entityId`).
    """

    status = 400
    kind = "invalid-input"
    title = "Invalid input"

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field

    def rename(self, names: Mapping[str, str]) -> None:
        old = self.field or ""
        if old in names:
            self.field = names[old]
            if self.message.startswith(old):
                self._say(self.field + self.message.removeprefix(old))


class Problem(Record):
    """One error in one change of a batch."""

    index: int | None
    """The change's place in the batch, from 0; `None` when the batch as a whole is wrong."""
    field: str
    """The field, with its path: `changes[3].entity_id`; from the REST API `changes[3].entityId`."""
    reason: str
    """The rule that the field breaks."""
    too_large: bool = False
    """Whether the only error is the size."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class InvalidBatch(InvalidInput):
    """One or more changes of a batch are not valid; nothing of the batch was stored."""

    kind = "invalid-batch"
    title = "Invalid batch of changes"

    def __init__(self, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__(_first_of(problems), field=problems[0].field, hint=hint)
        if all(problem.too_large for problem in problems):
            self.status = 413

    @property
    def failed_at_index(self) -> int | None:
        """The lowest index of an invalid change, or `None` when the batch as a whole is wrong."""
        return min((p.index for p in self.problems if p.index is not None), default=None)

    def rename(self, names: Mapping[str, str]) -> None:
        self.problems = tuple(problem.replace(field=_renamed(problem.field, names)) for problem in self.problems)
        self.field = self.problems[0].field
        self._say(_first_of(self.problems))


def _first_of(problems: Sequence[Problem]) -> str:
    return f"{problems[0]} (and {len(problems) - 1} more)" if len(problems) > 1 else str(problems[0])


def _renamed(path: str, names: Mapping[str, str]) -> str:
    """Rename the field of a change in a path; what lies inside the field is the caller's own: `data.entity_id`."""
    change, dot, rest = path.partition(".")
    name = rest.partition(".")[0].partition("[")[0]
    return f"{change}{dot}{names.get(name, name)}{rest.removeprefix(name)}"


class PayloadTooLarge(InvalidInput):
    """The request has more bytes than are accepted."""

    status = 413
    kind = "payload-too-large"
    title = "Payload too large"
    hint = "Send the changes in several smaller batches."


class NotFound(SlttError):
    """The change, project or path does not exist."""

    status = 404
    kind = "not-found"
    title = "Not found"


class MethodNotAllowed(SlttError):
    """The path does not support this method; `allow` lists the methods that it supports."""

    status = 405
    kind = "method-not-allowed"
    title = "Method not allowed"

    def __init__(self, method: str, allow: Sequence[str]) -> None:
        self.allow = tuple(allow)
        super().__init__(f"{method} is not allowed here", hint=f"Use one of {', '.join(allow)}.")


class NotAllowed(SlttError):
    """The principal may not do this."""

    status = 403
    kind = "not-allowed"
    title = "Not allowed"


class AccessRevoked(NotAllowed):
    """The principal was a member of the project, and is not any more."""

    kind = "access-revoked"
    title = "Access revoked"
    hint = "Ask an owner of the project. Changes that were not sent yet stay on the device."


class ReservedType(NotAllowed):
    """Only this program writes changes of this entity type."""

    kind = "reserved-type"
    title = "Reserved entity type"

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: entity types that begin with sltt. are reserved; the routes of members write them")
        self.field = field

    def rename(self, names: Mapping[str, str]) -> None:
        field = _renamed(self.field, names)
        self._say(self.message.replace(self.field, field, 1))
        self.field = field


class LastOwner(SlttError):
    """The project would have no owner any more; nothing was written."""

    status = 409
    kind = "last-owner"
    title = "Last owner"
    hint = "Make another member an owner first."


class ProjectExists(SlttError):
    """The project has changes already, so nobody becomes its owner by appending to it; nothing was written."""

    status = 409
    kind = "project-exists"
    title = "Project exists"


class Unauthenticated(SlttError):
    """The request has no credential, or one that is not valid."""

    status = 401
    kind = "unauthenticated"
    title = "Not authenticated"


class IssuerUnavailable(SlttError):
    """A token cannot be verified, because its issuer's keys are not known here and the issuer does not respond."""

    status = 503
    kind = "issuer-unavailable"
    title = "The issuer of tokens cannot be reached"
    retryable = True
    retry_after = 5
    hint = "Try again in a moment; the credential may be valid."


class CredentialExists(SlttError):
    """A device token or an invitation with this id, or under this idempotency key, was created before."""

    status = 409
    kind = "credential-exists"
    title = "Created already"
    hint = "Its secret cannot be shown again. If it is lost, revoke it and create another, with a new idempotency_key."

    def __init__(self, what: str, credential_id: str) -> None:
        super().__init__(f"the {what} {credential_id} was created before")
        self.credential_id = credential_id


class HeadersTooLarge(SlttError):
    """The request's first line and headers have more bytes than the server accepts."""

    status = 431
    kind = "headers-too-large"
    title = "Request headers too large"


class RequestTimeout(SlttError):
    """The client took too long to send its request."""

    status = 408
    kind = "request-timeout"
    title = "Request timeout"


class HostNotAllowed(SlttError):
    """The request's `Host` header names a host that this server does not serve."""

    status = 421
    kind = "host-not-allowed"
    title = "Host not allowed"


class UnknownCoding(SlttError):
    """The request's body has a transfer coding beside `chunked` (RFC 9112, section 6.1)."""

    status = 501
    kind = "unknown-coding"
    title = "Unknown transfer coding"
    hint = "Send the body with Content-Length, or with Transfer-Encoding: chunked."


class UnsupportedMediaType(InvalidInput):
    """The request's Content-Type is not JSON."""

    status = 415
    kind = "unsupported-media-type"
    title = "Unsupported media type"
    hint = "Send Content-Type: application/json."


class ChainMismatch(SlttError):
    """The reader's hash of the chain differs from that of the log at the same number: the log has another history."""

    status = 409
    kind = "chain-mismatch"
    title = "The log has another history"
    hint = "The log was restored, replaced or altered. Read it again from cursor 0 and compare."


class HeadMoved(SlttError):
    """The log does not end where the caller expected it; nothing was written."""

    status = 412
    kind = "head-moved"
    title = "The log has another end"
    hint = "Read the changes that are new, and decide again."

    def __init__(self, message: str, seq: int, chain: str) -> None:
        """`seq` is the last sequence number of the log, and `chain` its link."""
        super().__init__(message)
        self.seq = seq
        self.chain = chain


class KeyReused(SlttError):
    """The idempotency key was used before with another batch."""

    status = 422
    kind = "key-reused"
    title = "Idempotency key used with another batch"
    hint = "Use a new key for a new batch, and send the same bytes when you retry one."


class StorageError(SlttError):
    """The storage failed; the message contains the reason. A hint of its own is for who operates the storage."""

    kind = "storage"
    title = "Storage error"

    @property
    def public_hint(self) -> str:
        """The hint of the class."""
        return type(self).hint


class LogDamaged(StorageError):
    """The log contradicts itself: a number is missing, or a hash of the chain is wrong."""

    kind = "log-damaged"
    title = "The log is damaged"
    hint = "Run verify(project_id) to find what is wrong, and repair it with repair(), or restore it from a backup."


class NotALog(StorageError):
    """The file or table is not a change log, or has a newer format; it was not altered."""

    kind = "not-a-log"
    title = "Not a change log"


class StorageBusy(StorageError):
    """Another process holds the log and did not release it in time; nothing was written."""

    status = 503
    kind = "storage-busy"
    title = "The log is busy"
    retryable = True
    retry_after = 1
    hint = "Try again in a moment with the same idempotency_key."


class ServerBusy(StorageBusy):
    """The process has reached a limit: of its connections, its file descriptors, or bytes that clients do not read."""

    kind = "server-busy"
    title = "The server is busy"


class TooManyWriters(StorageBusy):
    """Other writers appended to the project for all the time of the request; nothing was written."""

    status = 429
    kind = "too-many-writers"
    title = "Too many writers"


class StorageThrottled(StorageBusy):
    """The storage refused the request because of its rate limit; nothing was written."""

    status = 429
    kind = "storage-throttled"
    title = "Too many requests to the storage"


class StorageUnavailable(StorageError):
    """The storage cannot be reached, failed, or did not respond: a write may have been executed."""

    status = 503
    kind = "storage-unavailable"
    title = "The log cannot be reached"
    retryable = True
    retry_after = 1
    hint = "Try again in a moment; repeat an append with the same idempotency_key, so that it is not stored twice."


class PartialAppend(StorageError):
    """Only part of a batch was stored. The same batch with the same idempotency key continues after that part.

    When the cause is not retryable, the error has the cause's status and hint and is not retryable either.
    """

    status = 503
    kind = "partial-append"
    title = "Stored in part"
    retryable = True
    retry_after: int | None = 1
    hint = "Send the same batch again with the same idempotency_key: what was stored is not stored twice."

    def __init__(self, seqs: Sequence[int | None], cause: SlttError) -> None:
        """`seqs` holds the number of each change of the batch in order, or `None` for a change that was not stored."""
        self.seqs = tuple(seqs)
        self.cause = cause
        self.failed_at_index = self.seqs.index(None)
        super().__init__(self._text())
        if not cause.retryable:  # the same request would fail again: the cause's hint applies
            self.status, self.hint = cause.status, cause.hint
            self.retryable, self.retry_after = False, None

    @property
    def public_hint(self) -> str:
        """The hint of the class, or that of a cause that is not retryable."""
        return type(self).hint if self.retryable else self.cause.public_hint

    def rename(self, names: Mapping[str, str]) -> None:
        self.cause.rename(names)
        self._say(self._text())

    def _text(self) -> str:
        stored = sum(seq is not None for seq in self.seqs)
        return f"stored {stored} of {len(self.seqs)} changes, then: {self.cause.message}"
