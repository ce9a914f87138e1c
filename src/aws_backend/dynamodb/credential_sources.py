"""Sources of credentials on this machine: given by the caller, in the environment, in a profile of AWS's files."""

from __future__ import annotations

import os

from aws_backend.dynamodb.credential_documents import (
    SourceEmpty,
    SourceFailed,
    checked_credentials,
    credentials_from_document,
    expand,
    parse_document,
    parse_instant,
    reason_of,
    variable,
)
from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_backend.dynamodb.credential_documents import ReadText, RunCommand

PROCESS_SECONDS = 60.0
"""Time limit for a `credential_process`."""


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


class Profile(Record):
    """The settings of a profile in the two shared files."""

    name: str
    credentials: Mapping[str, str]
    """From the credentials file, which has precedence; empty if the profile is not in it."""
    config: Mapping[str, str]
    """From the config file; empty if the profile is not in it."""


def read_profile(environ: Mapping[str, str], profile: str | None, read_text: ReadText) -> Profile:
    """Read a profile, by default that of AWS_PROFILE; raises `SourceEmpty` and `SourceFailed` as a source does."""
    asked_for = profile or variable(environ, "AWS_PROFILE")
    name = asked_for or "default"
    found = []
    missing = []
    for setting, default_path, prefixed in _FILES:
        path = variable(environ, setting)
        shown = f"the file of {setting}" if path else default_path
        try:
            found.append(_read_section(expand(path or default_path, environ), shown, name, prefixed, read_text))
        except SourceEmpty as reason:
            missing.append(str(reason))
            found.append({})
    if len(missing) < len(_FILES):
        return Profile(name, *found)
    if asked_for:
        raise SourceFailed(f"profile {name!r} does not exist: {', '.join(missing)}")
    raise SourceEmpty(", ".join(missing))


_FILES = (
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", False),
    ("AWS_CONFIG_FILE", "~/.aws/config", True),
)
"""For each file: the variable with its path, its default path, and whether its sections are named `profile NAME`."""


def _read_section(path: str, shown: str, name: str, prefixed: bool, read_text: ReadText) -> dict[str, str]:
    import configparser

    parser = configparser.RawConfigParser()
    problem = ""
    try:
        parser.read_string(read_text(path))
    except OSError as error:
        raise SourceEmpty(f"{shown} cannot be read ({reason_of(error)})") from None
    except ValueError:
        problem = "is not UTF-8"
    except configparser.Error as error:  # its message may quote the line
        lines = getattr(error, "errors", None) or [(getattr(error, "lineno", "?"), "")]
        problem = f"cannot be parsed, line {lines[0][0]}"
    if problem:
        raise SourceFailed(f"{shown} {problem}")
    titles = [name]
    if prefixed:
        titles = [title for title in parser.sections() if _profile_of(title) == name]
        titles += [name] if name == "default" else []
    for title in titles:
        if parser.has_section(title):
            return dict(parser.items(title))
    raise SourceEmpty(f"{shown} has no profile {name!r}")


def _profile_of(title: str) -> str:
    """Return the name in a section title of the config file, `profile NAME` or `profile "NAME"`; otherwise `""`."""
    word, _, name = title.partition(" ")
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1]
    return name if word == "profile" else ""


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
