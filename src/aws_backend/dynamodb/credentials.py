"""Where credentials come from, and how they are renewed: what AWS's SDKs do, without one.

    CredentialChain        asks its sources in order, keeps what the first one gave, and renews it in time
      EnvironmentSource    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN: a Lambda function's
      WebIdentitySource    not implemented: says so, instead of going on to another identity
      ProfileSource        ~/.aws/credentials and ~/.aws/config: keys, or `credential_process`
      ContainerSource      ECS, EKS Pod Identity, Lambda SnapStart, and what speaks like them
      InstanceSource       EC2's instance metadata, version 2

A source that was not asked for says `NothingHere`, and the next is asked. One that was asked for and does not work
says `SourceBroken`, and nothing else is asked: other credentials may be somebody else's.

Sources: AWS, "Standardized credential providers" and what it leads to (AWS SDKs and Tools Reference Guide); where
that is silent, botocore 1.44 (`credentials.py`, `utils.py`). No message ever holds a key, a token, a file's content,
a command, or what a command or a server answered; nor does an exception behind it (`__context__`): therefore some
errors are raised after the `except` in which they were found.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from aws_backend.dynamodb.credential_documents import NothingHere, SourceBroken, read_text, variable
from aws_backend.dynamodb.credential_sources import (
    EnvironmentSource,
    ExplicitSource,
    ProfileSource,
    WebIdentitySource,
    read_profile,
    run_command,
)
from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.base.errors import SlttError
from sltt_core.base.runtime import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aws_backend.dynamodb.credential_documents import ReadText, Run, Source
    from sltt_core.base.runtime import Runtime

ADVISORY_SECONDS = 15 * 60
"""So long before credentials expire one looks for new ones (botocore: `_DEFAULT_ADVISORY_REFRESH_TIMEOUT`)."""
MANDATORY_SECONDS = 5 * 60
"""From here on one looks more often: EC2 has new ones "at least five minutes before" (AWS: "IAM roles for EC2")."""
ADVISORY_PAUSE = 60.0
"""Seconds from one look to the next when there was nothing newer, until `MANDATORY_SECONDS`; then the other."""
MANDATORY_PAUSE = 10.0


class CredentialError(SlttError):
    """There are no credentials, or none that work; `looked` holds each place looked at and why it gave none."""

    kind = "no-credentials"
    title = "No AWS credentials"
    hint = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached."

    def __init__(self, message: str, looked: Iterable[tuple[str, str]] = ()) -> None:
        self.looked = tuple(looked)
        places = "; ".join(f"{place}: {reason}" for place, reason in self.looked)
        super().__init__(message, hint=f"Looked at: {places}." if places else None)


class CredentialChain:
    """Gives credentials that are valid, from the first source that has some. Safe for use by several threads.

    They are renewed, from the same source, before they expire: by one thread, while the others go on with the old
    ones. As long as those are valid a renewal that fails only means another one soon. Once they have expired, all
    wait for one thread's attempt, and share its error.
    """

    __slots__ = ("_clock", "_failed", "_lock", "_sources", "_state")

    def __init__(self, sources: Iterable[Source], *, runtime: Runtime = SYSTEM) -> None:
        """`sources` are asked in order, until one has credentials."""
        self._sources = sources
        self._clock = runtime.clock
        self._lock = allocate_lock()
        # What is returned, and when to look for newer (nanoseconds); replaced as a whole, so that `get` needs no lock.
        self._state: tuple[Credentials, float] | None = None
        self._failed: tuple[str, tuple[tuple[str, str], ...]] | None = None

    def get(self) -> Credentials:
        """Return credentials that are valid now; raises `CredentialError`."""
        state = self._state
        if state is not None and self._clock() < state[1]:
            return state[0]
        return self._renew()

    def _now(self) -> float:
        """Return the seconds since 1970."""
        return self._clock() / 1e9

    def _renew(self) -> Credentials:
        failed = self._failed
        state = self._state
        if state is not None and not _has_expired(state[0], self._now()):
            if not self._lock.acquire(False):
                return state[0]  # another thread is at it
        else:
            self._lock.acquire()
        try:
            state = self._state
            now = self._now()
            if state is not None and now * 1e9 < state[1]:
                return state[0]  # another thread has done it
            if state is not None and not _has_expired(state[0], now):
                try:
                    fresh = self._load()
                except Exception:  # whatever it is: what we have is good
                    fresh = state[0]
            elif self._failed is not failed and self._failed is not None:
                raise CredentialError(*self._failed)  # of the thread that this one waited for
            else:
                try:
                    fresh = self._load()
                except CredentialError as error:
                    self._failed = (error.message, error.looked)
                    raise
            self._state = (fresh, next_look(fresh.expires, self._now()) * 1e9)
            return fresh
        finally:
            self._lock.release()

    def _load(self) -> Credentials:
        """Ask the sources in order; from then on it is only the one that had credentials."""
        message = "there are no AWS credentials"
        looked = []
        for source in self._sources:
            try:
                found = source.load()
                problem = "they have expired" if _has_expired(found, self._now()) else ""
            except NothingHere as reason:
                looked.append((source.place, str(reason)))
                continue
            except SourceBroken as reason:
                problem = str(reason) or "it does not work"
            if not problem:
                self._sources = (source,)
                return found
            looked.append((source.place, problem))
            message = f"the AWS credentials cannot be used: {source.place}: {problem}"
            break
        raise CredentialError(message, looked)


def next_look(expires: float | None, now: float) -> float:
    """Return when to look for newer credentials than those just loaded, all in seconds since 1970."""
    if expires is None:
        return float("inf")
    left = expires - now
    if left > ADVISORY_SECONDS:
        return expires - ADVISORY_SECONDS
    return min(expires, now + (ADVISORY_PAUSE if left > MANDATORY_SECONDS else MANDATORY_PAUSE))


def _has_expired(credentials: Credentials, now: float) -> bool:
    return credentials.expires is not None and credentials.expires <= now


def default_chain(
    explicit: Credentials | None = None,
    *,
    profile: str | None = None,
    environ: Mapping[str, str] = os.environ,
    read_text: ReadText = read_text,
    run: Run = run_command,
    runtime: Runtime = SYSTEM,
) -> CredentialChain:
    """Make the chain that AWS's SDKs have.

    `explicit` credentials are the only ones when given. A `profile` named here, and not by AWS_PROFILE, goes before
    the environment's keys. `read_text` reads a file (`ReadText`), `run` runs a command (`Run`).
    """
    if explicit is not None:
        return CredentialChain([ExplicitSource(explicit)], runtime=runtime)
    sources: list[Source] = [ProfileSource(environ, profile, read_text, run)]
    if not profile:
        sources = [EnvironmentSource(environ), WebIdentitySource(environ), *sources]

    def services() -> list[Source]:
        from aws_backend.dynamodb.metadata_sources import (
            ContainerSource,
            InstanceSource,
            MetadataClient,
            make_transport,
        )

        metadata = MetadataClient(runtime.transport or make_transport, runtime.steady_clock, runtime.pause)
        return [ContainerSource(environ, metadata, read_text), InstanceSource(environ, metadata)]

    return CredentialChain(_HereThenServices(sources, services), runtime=runtime)


class _HereThenServices:
    """Sources of this machine, and after them those of a service, whose code is loaded when it comes to that."""

    def __init__(self, here: list[Source], services: Callable[[], list[Source]]) -> None:
        self._here = here
        self._make = services
        self._services: list[Source] | None = None

    def __iter__(self) -> Iterator[Source]:
        yield from self._here
        if self._services is None:
            self._services = self._make()
        yield from self._services


def region_from_environment(
    environ: Mapping[str, str] = os.environ, *, profile: str | None = None, read_text: ReadText = read_text
) -> str | None:
    """Return the region by AWS_REGION, AWS_DEFAULT_REGION or the profile; `None` when nobody says.

    Raises `CredentialError` when a file cannot be understood, or a profile that was asked for does not exist.
    """
    region = variable(environ, "AWS_REGION") or variable(environ, "AWS_DEFAULT_REGION")
    if region:
        return region
    try:
        found = read_profile(environ, profile, read_text)
    except NothingHere:
        return None
    except SourceBroken as error:
        raise CredentialError(str(error)) from None
    return found.credentials.get("region") or found.config.get("region") or None
