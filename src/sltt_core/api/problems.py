"""Responses for errors: problem details (RFC 9457), with the fields of the original backend's errors."""

from __future__ import annotations

from sltt_core.api.http import PROBLEM_JSON, Response
from sltt_core.base.c_json import dumps
from sltt_core.base.errors import (
    CredentialExists,
    HeadMoved,
    InvalidBatch,
    InvalidInput,
    MethodNotAllowed,
    PartialAppend,
    SlttError,
)
from sltt_core.model.fields import WIRE_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KEY = "idempotency_key"
API_NAMES = {**WIRE_NAMES, _KEY: "Idempotency-Key", "if_head": "If-Head"}
"""What the API calls the parameters of a storage's methods, for the errors that name one (`SlttError.rename`)."""


def problem_response(error: SlttError, *, server: str, timestamp: str, request_id: str) -> Response:
    """Return the response for an error. It contains no stack trace, no secrets and no data of others."""
    problem: dict[str, Any] = {
        "type": f"urn:sltt:problem:{error.kind}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "error": error.message,
        "timestamp": timestamp,
        "server": server,
        "requestId": request_id,
    }
    if error.public_hint:
        problem["hint"] = error.public_hint.replace(_KEY, API_NAMES[_KEY])
    if error.retryable:
        problem["retryable"] = True
    problem.update(_particulars(error))
    headers = [("content-type", PROBLEM_JSON)]
    if error.retryable and error.retry_after is not None:
        headers.append(("retry-after", str(error.retry_after)))
    if isinstance(error, MethodNotAllowed):
        headers.append(("allow", ", ".join(error.allow)))
    if error.challenge is not None:
        headers.append(("www-authenticate", error.challenge))
    return Response(error.status, tuple(headers), dumps(problem, ascii_only=False).encode("utf-8", "replace"))


def described(error: BaseException, *, messages: bool = False) -> dict[str, Any]:
    """Return what the operator's log says about an error.

    For an unexpected error and an unexpected cause, that is only the class and the place, because the message may
    contain anything; `messages` includes those of causes. The causes of an `SlttError` hold what DynamoDB or the
    credential sources reported. The client sees neither them nor the hint.
    """
    from traceback import walk_tb

    frames = [f"{frame.f_globals.get('__name__')}:{line}" for frame, line in walk_tb(error.__traceback__)]
    entry: dict[str, Any] = {"error": type(error).__name__, "at": frames[-8:]}
    if isinstance(error, SlttError):
        entry["message"] = error.message
        hint = error.operator_hint or (error.hint if error.hint != error.public_hint else "")
        if hint:
            entry["hint"] = hint
    causes, behind = [], error.__cause__
    while behind is not None:
        causes.append(type(behind).__name__ + (f": {behind}" if messages or isinstance(behind, SlttError) else ""))
        behind = behind.__cause__
    if causes:
        entry["because"] = causes
    return entry


def _particulars(error: SlttError) -> dict[str, Any]:
    if isinstance(error, InvalidBatch):
        return {
            "failedAtIndex": error.failed_at_index,
            "errors": [{"index": p.index, "field": p.field, "reason": p.reason} for p in error.problems],
        }
    if isinstance(error, InvalidInput) and error.field:
        return {"field": error.field}
    if isinstance(error, PartialAppend):
        return {
            "failedAtIndex": error.failed_at_index,
            "created": sum(seq is not None for seq in error.seqs),
            "createdSeqs": error.seqs,
        }
    if isinstance(error, HeadMoved):
        return {"seq": error.seq, "chain": error.chain}
    if isinstance(error, CredentialExists):
        return {"id": error.credential_id}
    return {}
