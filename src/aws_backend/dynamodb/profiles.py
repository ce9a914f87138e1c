"""Profiles in AWS's shared files, `~/.aws/credentials` and `~/.aws/config`.

A Lambda function has no such files; the package for Lambda does not have this module.
"""

from __future__ import annotations

from aws_backend.dynamodb.credential_documents import (
    CredentialError,
    SourceEmpty,
    SourceFailed,
    expand,
    reason_of,
    variable,
)
from sltt_core.base.errors import InvalidInput
from sltt_core.base.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from configparser import RawConfigParser

    from aws_backend.dynamodb.credential_documents import ReadText


class Profile(Record):
    """The settings of a profile in the two shared files."""

    name: str
    credentials: Mapping[str, str]
    """From the credentials file, which has precedence; empty if the profile is not in it."""
    config: Mapping[str, str]
    """From the config file; empty if the profile is not in it."""

    def __repr__(self) -> str:
        """Leave out the settings, which may contain a secret key."""
        return f"Profile({self.name!r})"

    @property
    def merged(self) -> dict[str, str]:
        """The settings of both files."""
        return {**self.config, **self.credentials}


def profile_name(environ: Mapping[str, str]) -> str:
    """Return the profile that the environment names; empty if it names none.

    Both variables exist: botocore prefers AWS_DEFAULT_PROFILE, other SDKs know AWS_PROFILE only. Raises `SourceFailed`
    if they differ.
    """
    names = {variable(environ, name) for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")} - {""}
    if len(names) > 1:
        raise SourceFailed("AWS_PROFILE and AWS_DEFAULT_PROFILE name different profiles; unset one of them")
    return names.pop() if names else ""


def read_profile(environ: Mapping[str, str], profile: str | None, read_text: ReadText) -> Profile:
    """Read a profile, by default that of `profile_name`; raises `SourceEmpty` and `SourceFailed` as a source does."""
    asked_for = profile or profile_name(environ)
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


def read_config_section(environ: Mapping[str, str], kind: str, name: str, read_text: ReadText) -> dict[str, str]:
    """Read the section `[KIND NAME]` of the config file; raises `SourceEmpty` and `SourceFailed` as a source does."""
    setting, default_path, _ = _FILES[1]
    path = variable(environ, setting)
    shown = f"the file of {setting}" if path else default_path
    parser = _parse(expand(path or default_path, environ), shown, read_text)
    for title in parser.sections():
        if _name_in(title, kind) == name:
            return dict(parser.items(title))
    raise SourceEmpty(f"{shown} has no {kind} {name!r}")


def _read_section(path: str, shown: str, name: str, prefixed: bool, read_text: ReadText) -> dict[str, str]:
    parser = _parse(path, shown, read_text)
    titles = [name]
    if prefixed:
        titles = [title for title in parser.sections() if _name_in(title, "profile") == name]
        titles += [name] if name == "default" else []
    for title in titles:
        if parser.has_section(title):
            return dict(parser.items(title))
    raise SourceEmpty(f"{shown} has no profile {name!r}")


def _parse(path: str, shown: str, read_text: ReadText) -> RawConfigParser:
    """Parse a file. A missing file is empty. Any other failure is an error, and never another identity."""
    import configparser

    parser = configparser.RawConfigParser()
    problem = ""
    try:
        parser.read_string(read_text(path))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceEmpty(f"{shown} cannot be read ({reason_of(error)})") from None
    except OSError as error:
        problem = f"cannot be read ({reason_of(error)})"
    except ValueError:
        problem = "is not UTF-8"
    except configparser.Error as error:  # its message may quote the line
        lines = getattr(error, "errors", None) or [(getattr(error, "lineno", "?"), "")]
        problem = f"cannot be parsed, line {lines[0][0]}"
    if problem:
        raise SourceFailed(f"{shown} {problem}")
    return parser


def _name_in(title: str, kind: str) -> str:
    """Return the name in a section title of the config file, `KIND NAME` or `KIND "NAME"`; otherwise `""`."""
    word, _, name = title.partition(" ")
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1]
    return name if word == kind else ""


def profile_settings(environ: Mapping[str, str], profile: str | None, read_text: ReadText) -> Mapping[str, str]:
    """Return the settings of a profile from both files; empty if there is no profile.

    Raises `CredentialError` if a file cannot be read or parsed, or a profile that is named does not exist.
    """
    try:
        return read_profile(environ, profile, read_text).merged
    except SourceEmpty:
        return {}
    except SourceFailed as error:
        raise CredentialError(str(error)) from None


def endpoint_of_service(environ: Mapping[str, str], section: str, service: str, read_text: ReadText) -> str:
    """Return the URL of a service in the section `[services NAME]` that a profile names; empty if it has none.

    Raises `InvalidInput` if the section does not exist, or the file cannot be read or parsed.
    """
    try:
        settings = read_config_section(environ, "services", section, read_text)
    except (SourceEmpty, SourceFailed) as error:
        raise InvalidInput(f"services of the profile: {error}", field="services") from None
    for line in settings.get(service, "").splitlines():
        name, _, value = line.partition("=")
        if name.strip() == "endpoint_url":
            return value.strip()
    return ""
