"""Sources of credentials in files: a web identity, a profile of AWS's shared files.

A Lambda function has no such files; the package for Lambda does not have this module.
"""

from __future__ import annotations

import os

from aws_backend.dynamodb.credential_documents import (
    SourceEmpty,
    SourceFailed,
    checked_credentials,
    credentials_from_document,
    expand,
    parse_document,
    reason_of,
    variable,
)
from aws_backend.dynamodb.profiles import read_config_section, read_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aws_backend.dynamodb.credential_documents import ReadText, RunCommand, Source
    from aws_backend.dynamodb.profiles import Profile
    from aws_backend.dynamodb.sigv4 import Credentials
    from aws_backend.dynamodb.token_sources import TokenExchange
    from sltt_core.base.runtime import Runtime

PROCESS_SECONDS = 60.0
"""Time limit for a `credential_process`."""


def file_sources(
    environ: Mapping[str, str],
    profile: str | None,
    region: Callable[[], str | None],
    read_text: ReadText,
    run: RunCommand | None,
    runtime: Runtime,
) -> list[Source]:
    """Return the sources of this module in order; the parameters are those of `credentials.default_chain`."""

    def make_exchange() -> TokenExchange:
        from aws_backend.dynamodb.token_sources import TokenExchange

        return TokenExchange(environ, profile, region, read_text, runtime)

    sources: list[Source] = [] if profile else [WebIdentitySource(environ, make_exchange)]
    return [*sources, ProfileSource(environ, profile, read_text, run or run_command, make_exchange)]


class WebIdentitySource:
    """A role for a token that another system issues: EKS service accounts (IRSA), GitHub Actions and similar."""

    place = "web identity"

    def __init__(self, environ: Mapping[str, str], make_exchange: Callable[[], TokenExchange]) -> None:
        self._environ = environ
        self._make_exchange = make_exchange

    def load(self) -> Credentials:
        names = ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_SESSION_NAME")
        role, path, session = (variable(self._environ, name) for name in names)
        if not path:
            raise SourceEmpty("AWS_WEB_IDENTITY_TOKEN_FILE is not set")
        if not role:
            raise SourceFailed("AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not")
        return self._make_exchange().for_web_identity(role, path, session)


class ProfileSource:
    """A profile in AWS's shared files.

    It uses a web identity or an SSO login, the keys of the credentials file, `credential_process`, or the keys of the
    config file. This is the order of botocore. A profile with another of botocore's providers is refused at the place
    that botocore gives it.
    """

    place = "profile"

    def __init__(
        self,
        environ: Mapping[str, str],
        profile: str | None,
        read_text: ReadText,
        run: RunCommand,
        make_exchange: Callable[[], TokenExchange],
    ) -> None:
        """`profile` is the profile's name; by default, the one that the environment names, or `default`."""
        self._environ = environ
        self._profile = profile
        self._read_text = read_text
        self._run = run
        self._make_exchange = make_exchange

    def load(self) -> Credentials:
        profile = read_profile(self._environ, self._profile, self._read_text)
        merged = profile.merged
        if merged.get("web_identity_token_file") and merged.get("role_arn"):
            return self._make_exchange().for_web_identity(
                merged["role_arn"],
                expand(merged["web_identity_token_file"], self._environ),
                merged.get("role_session_name", ""),
            )
        _refuse(profile, merged, "role_arn", "web_identity_token_file")
        if any(merged.get(key) for key in ("sso_session", "sso_start_url", "sso_account_id", "sso_role_name")):
            return self._from_login(profile)
        if profile.credentials.get("aws_access_key_id"):
            return _keys_of(profile.credentials)
        _refuse(profile, merged, "login_session")
        command = merged.get("credential_process")
        if command:
            return self._from_process(command)
        if profile.config.get("aws_access_key_id"):
            return _keys_of(profile.config)
        raise SourceEmpty(f"{profile.name!r} has neither aws_access_key_id nor credential_process")

    def _from_login(self, profile: Profile) -> Credentials:
        settings = profile.merged
        session = settings.get("sso_session", "")
        if session:
            try:
                settings.update(read_config_section(self._environ, "sso-session", session, self._read_text))
            except SourceEmpty:
                settings.clear()
            if not settings:
                raise SourceFailed(
                    f"{profile.name!r} has sso_session, but the config file has no such section; run: aws configure sso"
                )
        for key in ("sso_start_url", "sso_region", "sso_account_id", "sso_role_name"):
            if not settings.get(key):
                raise SourceFailed(f"{profile.name!r} uses SSO, but has no {key}; run: aws configure sso")
        return self._make_exchange().for_login(
            session or settings["sso_start_url"],
            settings["sso_region"],
            settings["sso_account_id"],
            settings["sso_role_name"],
            f"aws sso login --profile {_quoted(profile.name)}",
        )

    def _from_process(self, command: str) -> Credentials:
        try:
            code, output = self._run(command)
            problem = f"exited with code {code}" if code else ""
        except OSError as error:
            problem = f"cannot be run ({reason_of(error)})"
        except ValueError:
            problem = "is not a command line"
        if problem:
            raise SourceFailed(f"its credential_process {problem}")
        document = parse_document(output, "the output of its credential_process")
        version = document.get("Version")
        if version != 1 or isinstance(version, bool):
            raise SourceFailed("the output of its credential_process does not have Version 1")
        return credentials_from_document(document, "SessionToken", temporary=False)


def _refuse(profile: Profile, settings: Mapping[str, str], *keys: str) -> None:
    for key in keys:
        if settings.get(key):
            raise SourceFailed(
                f"{profile.name!r} has {key}, which is not supported; set AWS_PROFILE to a new profile with "
                f"credential_process = aws configure export-credentials --format process "
                f"--profile {_quoted(profile.name)}"
            )


def _quoted(name: str) -> str:
    return f'"{name}"' if " " in name else name


def _keys_of(section: Mapping[str, str]) -> Credentials:
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return checked_credentials({name: section.get(name) for name in names})


def run_command(command: str) -> tuple[int, bytes]:
    """Run a command line without a shell (see `RunCommand`). Its stdin is empty, and its stderr is discarded."""
    import shlex
    import subprocess

    arguments = command if os.name == "nt" else shlex.split(command)
    if not arguments:
        raise ValueError("the command is empty")
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROCESS_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pass  # the exception holds the command's output: see the module's docstring
    else:
        return done.returncode, done.stdout
    raise TimeoutError(f"timed out after {PROCESS_SECONDS:g} seconds")
