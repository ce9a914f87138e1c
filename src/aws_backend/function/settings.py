"""A Lambda function's settings, from its environment: each is checked, and the function made from them.

`SETTINGS` lists them; those of the storage are in `aws_backend.settings`.
"""

from __future__ import annotations

from aws_backend.function.function import Function, report
from aws_backend.function.gateway import MAX_PAGE_BYTES, Gateway
from aws_backend.log.table import REQUEST_SECONDS
from aws_backend.settings import storage_from_environment
from sltt_core.api.app import Api
from sltt_core.api.waiting import MAX_WAIT_SECONDS
from sltt_core.base.errors import InvalidInput, SlttError
from sltt_core.base.runtime import SYSTEM
from sltt_core.model.fields import check_project_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sltt_core.api.access import Access
    from sltt_core.base.runtime import Runtime


class TimeLimit:
    """How many seconds a request to the storage may take: no more than the invocation has left."""

    __slots__ = ("_steady_clock", "deadline")

    def __init__(self, steady_clock: Callable[[], float]) -> None:
        self._steady_clock = steady_clock
        self.deadline = steady_clock() + REQUEST_SECONDS

    def limit(self, deadline: float) -> None:
        """Take note of when an invocation's calls have to be done."""
        self.deadline = deadline

    def __call__(self) -> float:
        return min(REQUEST_SECONDS, self.deadline - self._steady_clock())


def function_of(environ: Mapping[str, str], access: Access | None = None, *, runtime: Runtime = SYSTEM) -> Function:
    """Make the function that the environment describes, ready for its first event.

    `access` decides who may do what; by default everybody may do everything.

    Raises `InvalidInput`, naming the setting, for one that is missing or wrong, and `StorageError` where no region is
    known. That DynamoDB cannot be reached just now is only reported: the first request will say so too, or succeed.
    """
    settings = {name: _read(environ, name, default, parse) for name, (default, parse) in SETTINGS.items()}
    time_limit = TimeLimit(runtime.steady_clock)
    storage = storage_from_environment(
        environ,
        settings["PROJECT_ID"],
        runtime=runtime,
        time_limit=time_limit,
        page_bytes=MAX_PAGE_BYTES,
        check_table=False,
    )
    storage.initialize()
    try:
        storage.warm()
    except SlttError as error:
        report(error)
    api = Api(
        storage,
        settings["SERVER_NAME"],
        access=access,
        cors=settings["CORS_ORIGINS"],
        runtime=runtime,
        report=report,
    )
    gateway = Gateway(settings["BASE_PATH"], settings["PRINCIPAL_CLAIM"], settings["REST_API_BINARY"])
    max_wait = settings["MAX_WAIT_SECONDS"]
    return Function(api, storage, gateway, max_wait=max_wait, limit=time_limit.limit, runtime=runtime)


def _read(environ: Mapping[str, str], name: str, default: object, parse: Callable[[str], Any]) -> Any:
    text = environ.get(name, "")
    if not text:
        return default
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidInput(f"the setting {name} {error}", field=name) from None


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(","))
    if not all(origin == "*" or "://" in origin for origin in origins):
        raise ValueError("is not a list of origins with commas between, such as https://app.example.org, or *")
    return origins


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise ValueError(f"is not a number of seconds from 0 to {MAX_WAIT_SECONDS}")
    return seconds


def _base_path(text: str) -> str:
    if not text.startswith("/") or text.endswith("/"):
        raise ValueError("does not begin with a slash, or ends with one")
    return text


def _yes_or_no(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("is neither true nor false")
    return text == "true"


SETTINGS: dict[str, tuple[object, Callable[[str], Any]]] = {
    "PROJECT_ID": (None, check_project_id),
    "SERVER_NAME": ("sltt", str),
    "CORS_ORIGINS": ((), _origins),
    "MAX_WAIT_SECONDS": (0.0, _seconds),
    "BASE_PATH": ("", _base_path),
    "PRINCIPAL_CLAIM": ("sub", str),
    "REST_API_BINARY": (False, _yes_or_no),
}
"""Each setting: what it is when absent or empty, and how it is read. docs/lambda.md says what they do."""
