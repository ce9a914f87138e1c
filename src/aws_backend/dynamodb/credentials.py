"""AWS credentials: where they come from and how they are renewed, as in AWS's SDKs but without one.

    CredentialChain        tries its sources in order, keeps the first credentials found, and renews them in time
      EnvironmentSource    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; used by Lambda functions
      WebIdentitySource    AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN: EKS service accounts, GitHub Actions
      ProfileSource        ~/.aws/credentials and ~/.aws/config: keys, SSO, web identity, or `credential_process`
      ContainerSource      ECS, EKS Pod Identity, Lambda SnapStart, and services with the same protocol
      InstanceSource       EC2's instance metadata, version 2

A source that is not configured raises `SourceEmpty`, and the chain tries the next. A source that is configured but does
not work raises `SourceFailed`, and the chain stops, because the next source may belong to another identity.

Sources: AWS, "Standardized credential providers" and its linked pages (AWS SDKs and Tools Reference Guide); for what
they leave open, botocore 1.44 (`credentials.py`, `utils.py`). `credential_documents` explains what an error must not
contain.
"""

from __future__ import annotations

import os
from _thread import allocate_lock

from aws_backend.dynamodb.credential_documents import (
    CredentialError,
    SourceEmpty,
    SourceFailed,
    checked_credentials,
    on_lambda,
    parse_instant,
    read_text,
    variable,
)
from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.base.forks import call_after_fork
from sltt_core.base.runtime import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aws_backend.dynamodb.credential_documents import ReadText, RunCommand, Source
    from sltt_core.base.runtime import Runtime

EXTENSION_SECONDS = 12 * 60
"""While an instance has no new credentials, the expired ones are used for at least this many seconds …"""
EXTENSION_JITTER = 8 * 60
"""… and at most this many more: botocore's 10 minutes and 2 to 10 more (`InstanceMetadataFetcher`)."""

__all__ = ["CredentialChain", "CredentialError", "default_chain", "region_from_environment"]

ADVISORY_SECONDS = 15 * 60
"""The chain looks for new credentials from this long before expiry (botocore: `_DEFAULT_ADVISORY_REFRESH_TIMEOUT`)."""
MANDATORY_SECONDS = 5 * 60
"""It looks more often from here on: EC2 has new ones "at least five minutes before" (AWS: "IAM roles for EC2")."""
ADVISORY_PAUSE = 60.0
"""Seconds between two attempts to renew, while more than `MANDATORY_SECONDS` are left."""
MANDATORY_PAUSE = 10.0
"""Seconds between two attempts to renew, after that."""


class ExplicitSource:
    """Credentials that the caller passes."""

    place = "given credentials"

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials


class EnvironmentSource:
    """Keys in environment variables, as in a Lambda function."""

    place = "environment"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def load(self) -> Credentials:
        environ = self._environ
        access_key = variable(environ, "AWS_ACCESS_KEY_ID")
        if not access_key:
            raise SourceEmpty("AWS_ACCESS_KEY_ID is not set")
        expiration = variable(environ, "AWS_CREDENTIAL_EXPIRATION")
        return checked_credentials(
            {
                "AWS_ACCESS_KEY_ID": access_key,
                "AWS_SECRET_ACCESS_KEY": variable(environ, "AWS_SECRET_ACCESS_KEY"),
                "AWS_SESSION_TOKEN": variable(environ, "AWS_SESSION_TOKEN") or None,
            },
            parse_instant("AWS_CREDENTIAL_EXPIRATION", expiration) if expiration else None,
        )


class CredentialChain:
    """Returns valid credentials from the first source that has some. Safe for use by several threads.

    One thread renews the credentials from the same source before they expire, while the other threads use the old
    ones. While the old ones are valid, a renewal that fails is tried again soon. Once they have expired, all threads
    wait for the attempt of one thread, and raise its error if it fails. The credentials of an EC2 instance are an
    exception: while its metadata service is out or has no new ones, the expired ones are used, because AWS then accepts
    them longer. botocore does this if the service returns the expired ones.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_failed",
        "_lock",
        "_random",
        "_replaced_at",
        "_skew",
        "_sources",
        "_state",
    )

    def __init__(self, sources: Iterable[Source], *, runtime: Runtime = SYSTEM) -> None:
        """`sources` are tried in order until one has credentials."""
        self._sources = sources
        self._clock = runtime.clock
        self._random = runtime.random
        self._lock = allocate_lock()
        self._skew = 0.0
        self._replaced_at: float | None = None
        # The credentials and when to renew them (nanoseconds); replaced as a whole, so that `get` needs no lock.
        self._state: tuple[Credentials, float] | None = None
        self._failed: tuple[str, tuple[tuple[str, str], ...]] | None = None
        call_after_fork(self)

    def _after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may hold while it renews the credentials."""
        self._lock = allocate_lock()

    def get(self) -> Credentials:
        """Return credentials that are valid now; raises `CredentialError`."""
        state = self._state
        if state is not None and self._clock() < state[1]:
            return state[0]
        return self._renew()

    def replace_expired(self, expired: Credentials) -> None:
        """Load new credentials in place of those that AWS reported as expired; raises `CredentialError`.

        Does nothing if another thread has replaced them, or a replacement was tried `MANDATORY_PAUSE` ago or less.
        """
        with self._lock:
            now = self._now()
            tried = self._replaced_at
            recently = tried is not None and 0 <= now - tried < MANDATORY_PAUSE
            if self._state is None or _key_of(self._state[0]) != _key_of(expired) or recently:
                return
            self._replaced_at = now
            self._store(self._load())

    def correct_clock(self, skew: float) -> None:
        """Take into account that AWS's clock is `skew` seconds ahead of the runtime's."""
        with self._lock:
            self._skew = skew
            if self._state is not None:
                credentials, _ = self._state
                if credentials.expires is not None:
                    self._state = (credentials, (credentials.expires - ADVISORY_SECONDS - skew) * 1e9)

    def _now(self) -> float:
        """Return the seconds since 1970 on AWS's clock, as far as it is known."""
        return self._clock() / 1e9 + self._skew

    def _store(self, credentials: Credentials) -> None:
        look = next_renewal(credentials.expires, self._now()) - self._skew
        self._state = (credentials, look * 1e9)

    def _renew(self) -> Credentials:
        failed = self._failed
        state = self._state
        if state is not None and not _has_expired(state[0], self._now()):
            if not self._lock.acquire(False):
                return state[0]  # another thread is renewing them
        else:
            self._lock.acquire()
        try:
            state = self._state
            now = self._now()
            if state is not None and self._clock() < state[1]:
                return state[0]  # another thread has renewed them
            if state is not None and not _has_expired(state[0], now):
                try:
                    fresh = self._load()
                except Exception:  # any error: the old ones are still valid
                    fresh = state[0]
            elif self._failed is not failed and self._failed is not None:
                raise CredentialError(*self._failed)  # the error of the thread that this one waited for
            else:
                try:
                    fresh = self._load()
                except CredentialError as error:
                    if state is None or not _outlives(self._sources):
                        self._failed = (error.message, error.tried)
                        raise
                    fresh = self._extended(state[0])
            self._store(fresh)
            return fresh
        finally:
            self._lock.release()

    def _extended(self, credentials: Credentials) -> Credentials:
        """Return credentials that are used beyond their expiry for a random time, as botocore does."""
        return credentials.replace(expires=self._now() + EXTENSION_SECONDS + self._random() * EXTENSION_JITTER)

    def _load(self) -> Credentials:
        """Try the sources in order. Once a source has had credentials, it stays the only one."""
        message = "no AWS credentials were found"
        tried = []
        for source in self._sources:
            try:
                found = source.load()
                if _has_expired(found, self._now()) and _outlives((source,)):
                    found = self._extended(found)
                problem = "they have expired" if _has_expired(found, self._now()) else ""
            except SourceEmpty as reason:
                tried.append((source.place, str(reason)))
                continue
            except SourceFailed as reason:
                problem = str(reason) or "it does not work"
            if not problem:
                self._sources = (source,)
                return found
            tried.append((source.place, problem))
            message = f"the AWS credentials cannot be used: {source.place}: {problem}"
            break
        raise CredentialError(message, tried)


def next_renewal(expires: float | None, now: float) -> float:
    """Return when to renew credentials that were just loaded. All times are in seconds since 1970."""
    if expires is None:
        return float("inf")
    left = expires - now
    if left > ADVISORY_SECONDS:
        return expires - ADVISORY_SECONDS
    return min(expires, now + (ADVISORY_PAUSE if left > MANDATORY_SECONDS else MANDATORY_PAUSE))


def _key_of(credentials: Credentials) -> tuple[str, str | None]:
    return credentials.access_key, credentials.token


def _outlives(sources: Iterable[Source]) -> bool:
    """Return whether these are the one source whose credentials are used beyond their expiry."""
    return all(getattr(source, "outlives_expiry", False) for source in sources)


def _has_expired(credentials: Credentials, now: float) -> bool:
    return credentials.expires is not None and credentials.expires <= now


def default_chain(
    explicit: Credentials | None = None,
    *,
    profile: str | None = None,
    region: str | None = None,
    environ: Mapping[str, str] = os.environ,
    read_text: ReadText = read_text,
    run: RunCommand | None = None,
    runtime: Runtime = SYSTEM,
) -> CredentialChain:
    """Return the chain of sources that AWS's SDKs use.

    With `explicit` credentials, only these are used. With a `profile` (as opposed to AWS_PROFILE), the keys in the
    environment are not used. `region` is the region whose STS creates credentials for a web identity; by default, that
    of `region_from_environment`. `read_text` reads a file (see `ReadText`), `run` runs a command (see `RunCommand`;
    by default `credential_sources.run_command`).
    """
    if explicit is not None:
        return CredentialChain([ExplicitSource(explicit)], runtime=runtime)

    def other_sources() -> list[Source]:
        from aws_backend.dynamodb.metadata_sources import (
            ContainerSource,
            InstanceSource,
            MetadataClient,
            make_transport,
        )

        metadata = MetadataClient(runtime.transport or make_transport, runtime.steady_clock, runtime.pause)
        sources: list[Source] = [ContainerSource(environ, metadata, read_text), InstanceSource(environ, metadata)]
        if on_lambda(environ):
            return sources
        try:
            from aws_backend.dynamodb.credential_sources import file_sources
        except ModuleNotFoundError:  # the package for Lambda, somewhere else
            return sources

        def find_region() -> str | None:
            return region or region_from_environment(environ, profile=profile, read_text=read_text)

        return [*file_sources(environ, profile, find_region, read_text, run, runtime), *sources]

    first: list[Source] = [] if profile else [EnvironmentSource(environ)]
    return CredentialChain(_FirstThenOthers(first, other_sources), runtime=runtime)


class _FirstThenOthers:
    """The sources in the environment, then all others, whose code is imported only when needed."""

    def __init__(self, first: list[Source], make_others: Callable[[], list[Source]]) -> None:
        self._first = first
        self._make_others = make_others
        self._others: list[Source] | None = None

    def __iter__(self) -> Iterator[Source]:
        yield from self._first
        if self._others is None:
            self._others = self._make_others()
        yield from self._others


def region_from_environment(
    environ: Mapping[str, str] = os.environ, *, profile: str | None = None, read_text: ReadText = read_text
) -> str | None:
    """Return the region from AWS_REGION, AWS_DEFAULT_REGION or the profile; `None` if none of them has one.

    Raises `CredentialError` if a file cannot be read or parsed, or the profile named by `profile`, AWS_PROFILE or
    AWS_DEFAULT_PROFILE does not exist.
    """
    region = variable(environ, "AWS_REGION") or variable(environ, "AWS_DEFAULT_REGION")
    if region or on_lambda(environ):
        return region or None
    try:
        from aws_backend.dynamodb.profiles import profile_settings
    except ModuleNotFoundError:  # the package for Lambda, somewhere else
        return None
    return profile_settings(environ, profile, read_text).get("region") or None


CONNECTION_SETTINGS = (
    "AWS_CA_BUNDLE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
)
"""The variables that change how AWS is reached; see `aws_backend.dynamodb.connections`."""


def connection_is_configured(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether `aws_backend.dynamodb.connections` is needed: there may be settings for it."""
    return not on_lambda(environ) or any(environ.get(name) for name in CONNECTION_SETTINGS)
