"""Credentials that this process, or this machine's files, have: given, in the environment, in a profile."""

from __future__ import annotations

import os

from aws_backend.dynamodb.credential_documents import (
    NothingHere,
    SourceBroken,
    checked_credentials,
    expand,
    from_document,
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

    from aws_backend.dynamodb.credential_documents import ReadText, Run

PROCESS_SECONDS = 60.0
"""What a `credential_process` may take."""


class ExplicitSource:
    """Credentials that the caller has."""

    place = "given credentials"

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials


class EnvironmentSource:
    """Keys in the environment, as a Lambda function gets them."""

    place = "environment"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def load(self) -> Credentials:
        environ = self._environ
        access_key = variable(environ, "AWS_ACCESS_KEY_ID")
        if not access_key:
            raise NothingHere("AWS_ACCESS_KEY_ID is not set")
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
    """Finds that a role was to be taken on by a web identity (EKS: IAM roles for service accounts), and says no."""

    place = "web identity"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def load(self) -> Credentials:
        if not variable(self._environ, "AWS_WEB_IDENTITY_TOKEN_FILE"):
            raise NothingHere("AWS_WEB_IDENTITY_TOKEN_FILE is not set")
        raise SourceBroken("AWS_WEB_IDENTITY_TOKEN_FILE is set, and web identity is not supported; use Pod Identity")


class ProfileSource:
    """A profile of the shared files: the credentials file's keys, else `credential_process`, else the config's keys.

    The order is botocore's, as are the ways to get credentials that come before them and are not supported here.
    """

    place = "profile"

    def __init__(self, environ: Mapping[str, str], profile: str | None, read_text: ReadText, run: Run) -> None:
        """Without a `profile` it is the one of AWS_PROFILE, or the default one."""
        self._environ = environ
        self._profile = profile
        self._read_text = read_text
        self._run = run

    def load(self) -> Credentials:
        profile = read_profile(self._environ, self._profile, self._read_text)
        both = {**profile.config, **profile.credentials}
        _refuse(profile, both, "role_arn", "web_identity_token_file", "sso_session", "sso_start_url", "sso_account_id")
        if profile.credentials.get("aws_access_key_id"):
            return _keys_of(profile.credentials)
        _refuse(profile, both, "login_session")
        command = both.get("credential_process")
        if command:
            return self._from_process(command)
        if profile.config.get("aws_access_key_id"):
            return _keys_of(profile.config)
        raise NothingHere(f"{profile.name!r} has neither aws_access_key_id nor credential_process")

    def _from_process(self, command: str) -> Credentials:
        try:
            code, output = self._run(command)
            problem = f"ended with exit code {code}" if code else ""
        except OSError as error:
            problem = f"cannot be run ({reason_of(error)})"
        except ValueError:
            problem = "is not a command line"
        if problem:
            raise SourceBroken(f"its credential_process {problem}")
        document = parse_document(output, "what its credential_process writes")
        version = document.get("Version")
        if version != 1 or isinstance(version, bool):
            raise SourceBroken("its credential_process writes another Version than 1")
        return from_document(document, "SessionToken", temporary=False)


class Profile(Record):
    """What the two shared files say of a profile."""

    name: str
    credentials: Mapping[str, str]
    """From the credentials file, which wins; empty when it says nothing."""
    config: Mapping[str, str]
    """From the config file."""


def read_profile(environ: Mapping[str, str], profile: str | None, read_text: ReadText) -> Profile:
    """Read a profile, by default the one of AWS_PROFILE; raises `NothingHere` and `SourceBroken` as a source does."""
    asked_for = profile or variable(environ, "AWS_PROFILE")
    name = asked_for or "default"
    found = []
    missing = []
    for setting, usual, prefixed in _FILES:
        path = variable(environ, setting)
        shown = f"the file of {setting}" if path else usual
        try:
            found.append(_read_section(expand(path or usual, environ), shown, name, prefixed, read_text))
        except NothingHere as reason:
            missing.append(str(reason))
            found.append({})
    if len(missing) < len(_FILES):
        return Profile(name, *found)
    if asked_for:
        raise SourceBroken(f"there is no profile {name!r}: {', '.join(missing)}")
    raise NothingHere(", ".join(missing))


_FILES = (
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", False),
    ("AWS_CONFIG_FILE", "~/.aws/config", True),
)
"""The variable that names a file, its path otherwise, and whether its sections are called `profile NAME`."""


def _read_section(path: str, shown: str, name: str, prefixed: bool, read_text: ReadText) -> dict[str, str]:
    import configparser

    parser = configparser.RawConfigParser()
    problem = ""
    try:
        parser.read_string(read_text(path))
    except OSError as error:
        raise NothingHere(f"{shown} cannot be read ({reason_of(error)})") from None
    except ValueError:
        problem = "is not UTF-8"
    except configparser.Error as error:  # its message may quote the line
        lines = getattr(error, "errors", None) or [(getattr(error, "lineno", "?"), "")]
        problem = f"cannot be understood, line {lines[0][0]}"
    if problem:
        raise SourceBroken(f"{shown} {problem}")
    titles = [name]
    if prefixed:
        titles = [title for title in parser.sections() if _profile_of(title) == name]
        titles += [name] if name == "default" else []
    for title in titles:
        if parser.has_section(title):
            return dict(parser.items(title))
    raise NothingHere(f"{shown} has no profile {name!r}")


def _profile_of(title: str) -> str:
    """Return the name in a section's title of the config file, `profile NAME` or `profile "NAME"`; else nothing."""
    word, _, name = title.partition(" ")
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1]
    return name if word == "profile" else ""


def _refuse(profile: Profile, settings: Mapping[str, str], *keys: str) -> None:
    for key in keys:
        if settings.get(key):
            raise SourceBroken(
                f"{profile.name!r} has {key}, which is not supported; a profile with credential_process = "
                "aws configure export-credentials --format process --profile … serves instead"
            )


def _keys_of(section: Mapping[str, str]) -> Credentials:
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return checked_credentials({name: section.get(name) for name in names})


def run_command(command: str) -> tuple[int, bytes]:
    """Run a command line, without a shell; see `Run`. It gets no input, and what it writes to stderr is dropped."""
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
        pass  # it holds what the command wrote
    else:
        return done.returncode, done.stdout
    raise TimeoutError(f"no end after {PROCESS_SECONDS:g} seconds")
