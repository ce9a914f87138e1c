"""A Lambda function's settings: they are read from the environment and checked, and the function is created from them.

`SETTINGS` lists them. Those of the storage are in `aws_backend.settings`.
"""

from __future__ import annotations

from aws_backend.function.function import Function, report
from aws_backend.function.gateway import MAX_PAGE_BYTES, Gateway
from aws_backend.log.table import REQUEST_SECONDS
from aws_backend.settings import storage_from_environment
from sltt_core.api.app import Api
from sltt_core.api.http import MAX_WAIT_SECONDS
from sltt_core.api.request_log import ALL, NONE, CallCounter, RequestLog, check_requests, check_sample
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
    """Returns the time limit of a request to the storage, in seconds: at most the time left for the invocation."""

    __slots__ = ("_steady_clock", "deadline")

    def __init__(self, steady_clock: Callable[[], float]) -> None:
        self._steady_clock = steady_clock
        self.deadline = steady_clock() + REQUEST_SECONDS

    def limit(self, deadline: float) -> None:
        """Set the time, in seconds of the steady clock, by which the storage's calls must be done."""
        self.deadline = deadline

    def __call__(self) -> float:
        return min(REQUEST_SECONDS, self.deadline - self._steady_clock())


def function_of(environ: Mapping[str, str], access: Access | None = None, *, runtime: Runtime = SYSTEM) -> Function:
    """Return the function that the environment describes, ready for its first event.

    `access` decides what each principal may do. By default, the roles of the projects do if the function verifies
    tokens or ACCESS_CONTROL is `roles`; otherwise everyone may do everything.

    Raises `InvalidInput`, with the name of the setting, for one that is missing or not valid, and `StorageError` if no
    region is known. If DynamoDB cannot be reached, the error is only logged, because the first request may succeed.
    """
    settings = {name: _read(environ, name, default, parse) for name, (default, parse) in SETTINGS.items()}
    log = RequestLog(
        settings["LOG_REQUESTS"],
        sample=settings["LOG_SAMPLE"],
        service=settings["SERVER_NAME"] if settings["LOG_METRICS"] else None,
        runtime=runtime,
    )
    counter = None
    if settings["LOG_REQUESTS"] != NONE:  # DynamoDB then reports the units of every call
        counter = CallCounter(runtime.observer)
        runtime = runtime.replace(observer=counter)
    time_limit = TimeLimit(runtime.steady_clock)
    storage = storage_from_environment(
        environ,
        settings["PROJECT_ID"],
        runtime=runtime,
        time_limit=time_limit,
        page_bytes=MAX_PAGE_BYTES,
        check_table=False,
    )
    authenticator = None
    if any(name.startswith("AUTH_") or name == "ACCESS_CONTROL" for name in environ):
        from sltt_core.api.bearer import authenticator_from_environment

        authenticator = authenticator_from_environment(environ, storage=storage, runtime=runtime)
    storage.initialize()

    def warm() -> None:
        try:
            storage.warm()
        except SlttError as error:
            report(error)

    warm()
    if access is None and (authenticator is not None or environ.get("ACCESS_CONTROL")):
        from sltt_core.api.roles import ADMINS, access_from_environment

        verifies = authenticator is not None
        access = access_from_environment(storage, environ, verifies=verifies, creation=ADMINS, runtime=runtime)
    api = Api(
        storage,
        settings["SERVER_NAME"],
        access=access,
        authenticator=authenticator,
        cors=settings["CORS_ORIGINS"],
        cors_setting="CORS_ORIGINS",
        runtime=runtime,
    )
    gateway = Gateway(settings["BASE_PATH"], settings["PRINCIPAL_CLAIM"], settings["REST_API_BINARY"])
    max_wait = settings["MAX_WAIT_SECONDS"]
    return Function(
        api,
        storage,
        gateway,
        max_wait=max_wait,
        limit=time_limit.limit,
        warm=warm,
        verifies=bool(environ.get("AUTH_ISSUER")),
        log=log,
        counter=counter,
        runtime=runtime,
    )


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
        raise ValueError(
            "is not a list of origins: write * or, for example, https://app.example.org,https://example.org"
        )
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
        raise ValueError("is not a path: it must begin with a slash, and must not end with one")
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
    "LOG_REQUESTS": (ALL, check_requests),
    "LOG_SAMPLE": (1.0, check_sample),
    "LOG_METRICS": (True, _yes_or_no),
}
"""For each setting: its value when absent or empty, and its parser. docs/lambda.md describes them."""
