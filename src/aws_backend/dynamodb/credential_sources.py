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
    parse_document,
    reason_of,
    variable,
)
from aws_backend.dynamodb.profiles import read_profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_backend.dynamodb.credential_documents import ReadText, RunCommand, Source
    from aws_backend.dynamodb.profiles import Profile
    from aws_backend.dynamodb.sigv4 import Credentials
    from sltt_core.base.runtime import Runtime

PROCESS_SECONDS = 60.0
"""Time limit for a `credential_process`."""


def file_sources(
    environ: Mapping[str, str],
    profile: str | None,
    region: str | None,
    read_text: ReadText,
    run: RunCommand | None,
    runtime: Runtime,
) -> list[Source]:
    """Return the sources of this module in order; the parameters are those of `credentials.default_chain`."""
    sources: list[Source] = [] if profile else [WebIdentitySource(environ)]
    return [*sources, ProfileSource(environ, profile, read_text, run or run_command)]


class WebIdentitySource:
    """Reports that a web identity is configured (EKS: IAM roles for service accounts), which is not supported."""

    place = "web identity"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def load(self) -> Credentials:
        if not variable(self._environ, "AWS_WEB_IDENTITY_TOKEN_FILE"):
            raise SourceEmpty("AWS_WEB_IDENTITY_TOKEN_FILE is not set")
        raise SourceFailed("AWS_WEB_IDENTITY_TOKEN_FILE is set, but web identity is not supported; use Pod Identity")


class ProfileSource:
    """A profile in AWS's shared files.

    It uses the keys of the credentials file, else `credential_process`, else the keys of the config file. This is the
    order of botocore. A profile with one of botocore's other providers is refused at the place that botocore gives it.
    """

    place = "profile"

    def __init__(self, environ: Mapping[str, str], profile: str | None, read_text: ReadText, run: RunCommand) -> None:
        """`profile` is the profile's name; by default, that of AWS_PROFILE, or `default`."""
        self._environ = environ
        self._profile = profile
        self._read_text = read_text
        self._run = run

    def load(self) -> Credentials:
        profile = read_profile(self._environ, self._profile, self._read_text)
        merged = {**profile.config, **profile.credentials}
        _refuse(
            profile, merged, "role_arn", "web_identity_token_file", "sso_session", "sso_start_url", "sso_account_id"
        )
        if profile.credentials.get("aws_access_key_id"):
            return _keys_of(profile.credentials)
        _refuse(profile, merged, "login_session")
        command = merged.get("credential_process")
        if command:
            return self._from_process(command)
        if profile.config.get("aws_access_key_id"):
            return _keys_of(profile.config)
        raise SourceEmpty(f"{profile.name!r} has neither aws_access_key_id nor credential_process")

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
                f"{profile.name!r} has {key}, which is not supported; use a profile with credential_process = "
                "aws configure export-credentials --format process --profile …"
            )


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
