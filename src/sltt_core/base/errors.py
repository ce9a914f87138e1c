"""The errors of the log, one tree. Each class says what a caller needs in order to go on.

    SlttError                       status  retryable
      InvalidInput                  400             what the caller gave is wrong
        InvalidBatch                400             ... one or more changes of a batch (413: only too large)
        PayloadTooLarge             413             ... more bytes than are taken
        UnsupportedMediaType        415             ... a body that is not JSON
      NotFound                      404             no such change, project or path
      MethodNotAllowed              405             the path exists, not for this method
      NotAllowed                    403             `authorize` said no
      HeadersTooLarge               431             a request's headers are too long
      RequestTimeout                408             a request came in too slowly
      HostNotAllowed                421             a `Host` that this server does not answer for
      ChainMismatch                 409             the log is not the one the reader knew
      KeyReused                     422             an idempotency key came with another batch
      StorageError                  500             the log could not do it
        LogDamaged                  500             a hole or a contradiction in the log itself
        NotALog                     500             the file or table is not a log, or of a newer format
        StorageBusy                 503     yes     somebody else holds the log; try again
          TooManyWriters            429     yes     ... others wrote to it all the time
          StorageThrottled          429     yes     ... more was asked of it than it may do
        StorageUnavailable          503     yes     it did not answer: nobody knows whether it was written
        PartialAppend               503     yes     a large or mixed batch stopped midway

`status` is the HTTP status the REST API answers with; `kind` names the error in a problem document's `type`.
"""

from __future__ import annotations

from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class SlttError(Exception):
    """Base of all errors of this project: a message for a person, and what a program can act on."""

    status: int = 500
    """The HTTP status that says the same."""
    kind: str = "internal"
    """A stable name, in a problem document's `type`."""
    title: str = "Internal error"
    """The same for every error of the class."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    retry_after: int | None = None
    """Seconds after which trying again makes sense, when `retryable`."""
    hint: str = ""
    """What to do about it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint

    def rename(self, names: Mapping[str, str]) -> None:
        """Call the fields that the error names by other names, as the REST API does with Python's.

        `names` gives the new name for each old one; a field that it does not have keeps its name.
        """

    def _say(self, message: str) -> None:
        self.message = message
        self.args = (message,)


class InvalidInput(SlttError):
    """What the caller gave breaks a rule; `field` names the part at fault.

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
    """One thing wrong with one change of a batch."""

    index: int | None
    """The change's place in the batch, from 0; `None` when the batch as a whole is wrong."""
    field: str
    """The field, with its path: `changes[3].entity_id`; from the REST API `changes[3].entityId`."""
    reason: str
    """Why, in words."""
    too_large: bool = False
    """Whether size is all that is wrong."""

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


class InvalidBatch(InvalidInput):
    """One or more changes of a batch are wrong; nothing of it was stored."""

    kind = "invalid-batch"
    title = "Invalid batch of changes"

    def __init__(self, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__(_first_of(problems), field=problems[0].field, hint=hint)
        if all(problem.too_large for problem in problems):
            self.status = 413

    @property
    def failed_at_index(self) -> int | None:
        """The first bad index, or `None` when the batch as a whole is wrong."""
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
    """More bytes than are taken in one request."""

    status = 413
    kind = "payload-too-large"
    title = "Payload too large"
    hint = "Send the changes in several smaller batches."


class NotFound(SlttError):
    """There is no such change, project or path."""

    status = 404
    kind = "not-found"
    title = "Not found"


class MethodNotAllowed(SlttError):
    """The path exists, but not for this method; `allow` lists those it has."""

    status = 405
    kind = "method-not-allowed"
    title = "Method not allowed"

    def __init__(self, method: str, allow: Sequence[str]) -> None:
        self.allow = tuple(allow)
        super().__init__(f"{method} is not allowed here", hint=f"This path answers {', '.join(allow)}.")


class NotAllowed(SlttError):
    """The principal may not do this here."""

    status = 403
    kind = "not-allowed"
    title = "Not allowed"


class HeadersTooLarge(SlttError):
    """The request's first line and headers are longer than the server takes."""

    status = 431
    kind = "headers-too-large"
    title = "Request headers too large"


class RequestTimeout(SlttError):
    """The client took too long to send its request."""

    status = 408
    kind = "request-timeout"
    title = "Request timeout"


class HostNotAllowed(SlttError):
    """The request names a host that this server does not answer for."""

    status = 421
    kind = "host-not-allowed"
    title = "Host not allowed"


class UnsupportedMediaType(InvalidInput):
    """The body is not JSON, by its own account."""

    status = 415
    kind = "unsupported-media-type"
    title = "Unsupported media type"
    hint = "Send Content-Type: application/json."


class ChainMismatch(SlttError):
    """The link a reader knows is not the one the log has there: another history than the one it read."""

    status = 409
    kind = "chain-mismatch"
    title = "The log has another history"
    hint = "The log was restored, replaced or altered. Read it again from cursor 0 and compare."


class KeyReused(SlttError):
    """An idempotency key was used before with another batch."""

    status = 422
    kind = "key-reused"
    title = "Idempotency key used with another batch"
    hint = "Use a new key for a new batch, and send the same bytes when you retry one."


class StorageError(SlttError):
    """The log could not do what was asked; the message says why."""

    kind = "storage"
    title = "Storage error"


class LogDamaged(StorageError):
    """The log contradicts itself: a number is missing, or a link is wrong."""

    kind = "log-damaged"
    title = "The log is damaged"
    hint = "Stop writing to this project and restore it from a backup or from a device that has it whole."


class NotALog(StorageError):
    """The file or table is not a change log, or one of a newer format; it was not altered."""

    kind = "not-a-log"
    title = "Not a change log"


class StorageBusy(StorageError):
    """Somebody else holds the log and did not let go in time; nothing was written."""

    status = 503
    kind = "storage-busy"
    title = "The log is busy"
    retryable = True
    retry_after = 1
    hint = "Try again in a moment with the same idempotency_key."


class TooManyWriters(StorageBusy):
    """Others appended to the project all the time that a request may take; nothing was written."""

    status = 429
    kind = "too-many-writers"
    title = "Too many write to the project"


class StorageThrottled(StorageBusy):
    """What holds the log may not do more just now; nothing was written."""

    status = 429
    kind = "storage-throttled"
    title = "Too much at once"


class StorageUnavailable(StorageError):
    """What holds the log cannot be reached, failed, or did not answer: a write may have been carried out."""

    status = 503
    kind = "storage-unavailable"
    title = "The log cannot be reached"
    retryable = True
    retry_after = 1
    hint = "Try again in a moment. An append: with the same idempotency_key, so that it is not stored twice."


class PartialAppend(StorageError):
    """A batch of several chunks or projects stopped midway. The same key resumes it where it stopped.

    Where what stopped it does not pass by itself, it has the cause's status and hint.
    """

    status = 503
    kind = "partial-append"
    title = "Stored in part"
    retryable = True
    retry_after: int | None = 1
    hint = "Send the same batch again with the same idempotency_key: what was stored is not stored twice."

    def __init__(self, seqs: Sequence[int | None], cause: SlttError) -> None:
        """`seqs` holds, for each change of the batch in order, its number or `None` when not stored."""
        self.seqs = tuple(seqs)
        self.cause = cause
        self.failed_at_index = self.seqs.index(None)
        super().__init__(self._text())
        if not cause.retryable:  # it will not pass by itself: the cause says what to do
            self.status, self.hint = cause.status, cause.hint
            self.retryable, self.retry_after = False, None

    def rename(self, names: Mapping[str, str]) -> None:
        self.cause.rename(names)
        self._say(self._text())

    def _text(self) -> str:
        stored = sum(seq is not None for seq in self.seqs)
        return f"stored {stored} of {len(self.seqs)} changes, then: {self.cause.message}"
