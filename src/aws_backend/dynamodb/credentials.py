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
from time import monotonic, sleep, time

from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.errors import SlttError
from sltt_core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Protocol

    from sltt_core.transport import HttpTransport, Origin, Reply

    class Source(Protocol):
        """A place that credentials may come from."""

        place: str
        """What messages call it."""

        def load(self) -> Credentials:
            """Return credentials as they are now; raises `NothingHere` or `SourceBroken`."""

    MakeTransport = Callable[[Origin, float], HttpTransport]
    """Makes a transport to an origin, with so many seconds for connecting and for an answer."""
    ReadText = Callable[[str], str]
    """Returns the text of the file with a path; raises `OSError` or `ValueError` (no UTF-8)."""
    Run = Callable[[str], tuple[int, bytes]]
    """Runs a command line and returns its exit code and what it wrote to stdout; raises `OSError` or `ValueError`."""

ADVISORY_SECONDS = 15 * 60
"""So long before credentials expire one looks for new ones (botocore: `_DEFAULT_ADVISORY_REFRESH_TIMEOUT`)."""
MANDATORY_SECONDS = 5 * 60
"""From here on one looks more often: EC2 has new ones "at least five minutes before" (AWS: "IAM roles for EC2")."""
ADVISORY_PAUSE = 60.0
"""Seconds from one look to the next when there was nothing newer, until `MANDATORY_SECONDS`; then the other."""
MANDATORY_PAUSE = 10.0
INSTANCE_SECONDS = 1.0
"""For an answer of the instance's metadata, as botocore has it."""
CONTAINER_SECONDS = 2.0
"""For an answer of a container's credentials, as botocore has it."""
ATTEMPTS = 3
"""Requests before a metadata service is given up: those without an answer, or with status 429 or 500 and up."""
PROCESS_SECONDS = 60.0
"""What a `credential_process` may take."""


class CredentialError(SlttError):
    """There are no credentials, or none that work; `looked` holds each place looked at and why it gave none."""

    kind = "no-credentials"
    title = "No AWS credentials"
    hint = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached."

    def __init__(self, message: str, looked: Iterable[tuple[str, str]] = ()) -> None:
        self.looked = tuple(looked)
        places = "; ".join(f"{place}: {reason}" for place, reason in self.looked)
        super().__init__(message, hint=f"Looked at: {places}." if places else None)


class NothingHere(Exception):
    """This place was not asked to have credentials, and has none; says why."""


class SourceBroken(Exception):
    """This place was to have credentials, and gives none; says why."""


class CredentialChain:
    """Gives credentials that are valid, from the first source that has some. Safe for use by several threads.

    They are renewed, from the same source, before they expire: by one thread, while the others go on with the old
    ones. As long as those are valid a renewal that fails only means another one soon. Once they have expired, all
    wait for one thread's attempt, and share its error.
    """

    __slots__ = ("_clock", "_failed", "_lock", "_sources", "_state")

    def __init__(self, sources: Sequence[Source], *, clock: Callable[[], float] = time) -> None:
        """`clock` gives seconds since 1970."""
        self._sources = tuple(sources)
        self._clock = clock
        self._lock = allocate_lock()
        # What is given, and when to look for newer; replaced as a whole, so that `get` needs no lock.
        self._state: tuple[Credentials, float] | None = None
        self._failed: tuple[str, tuple[tuple[str, str], ...]] | None = None

    def get(self) -> Credentials:
        """Return credentials that are valid now; raises `CredentialError`."""
        state = self._state
        if state is not None and self._clock() < state[1]:
            return state[0]
        return self._renew()

    def _renew(self) -> Credentials:
        failed = self._failed
        state = self._state
        if state is not None and not _has_expired(state[0], self._clock()):
            if not self._lock.acquire(False):
                return state[0]  # another thread is at it
        else:
            self._lock.acquire()
        try:
            state = self._state
            now = self._clock()
            if state is not None and now < state[1]:
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
            self._state = (fresh, next_look(fresh.expires, self._clock()))
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
                problem = "they have expired" if _has_expired(found, self._clock()) else ""
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


def read_text(path: str) -> str:
    """Read a file as UTF-8, with or without a byte order mark."""
    with open(path, encoding="utf-8-sig") as file:
        return file.read()


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


def make_transport(origin: Origin, seconds: float) -> HttpTransport:
    """Make the transport that metadata services are asked over; see `MakeTransport`."""
    from sltt_core.transport import HttpTransport

    return HttpTransport(origin, connect_seconds=seconds, read_seconds=seconds, max_body=100_000)


def default_chain(
    explicit: Credentials | None = None,
    *,
    profile: str | None = None,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time,
    steady_clock: Callable[[], float] = monotonic,
    pause: Callable[[float], None] = sleep,
    read_text: ReadText = read_text,
    run: Run = run_command,
    transport: MakeTransport = make_transport,
) -> CredentialChain:
    """Make the chain that AWS's SDKs have.

    `explicit` credentials are the only ones when given. A `profile` named here, and not by AWS_PROFILE, goes before
    the environment's keys. `clock` gives seconds since 1970; `steady_clock` is the one of the transports' deadlines.
    What `read_text`, `run` and `transport` have to do is said at `ReadText`, `Run` and `MakeTransport`.
    """
    if explicit is not None:
        return CredentialChain([ExplicitSource(explicit)], clock=clock)
    metadata = MetadataClient(transport, steady_clock, pause)
    sources: list[Source] = [
        ProfileSource(environ, profile, read_text, run),
        ContainerSource(environ, metadata, read_text),
        InstanceSource(environ, metadata),
    ]
    if not profile:
        sources = [EnvironmentSource(environ), WebIdentitySource(environ), *sources]
    return CredentialChain(sources, clock=clock)


def region_from_environment(
    environ: Mapping[str, str] = os.environ, *, profile: str | None = None, read_text: ReadText = read_text
) -> str | None:
    """Return the region by AWS_REGION, AWS_DEFAULT_REGION or the profile; `None` when nobody says.

    Raises `CredentialError` when a file cannot be understood, or a profile that was asked for does not exist.
    """
    region = _variable(environ, "AWS_REGION") or _variable(environ, "AWS_DEFAULT_REGION")
    if region:
        return region
    try:
        found = read_profile(environ, profile, read_text)
    except NothingHere:
        return None
    except SourceBroken as error:
        raise CredentialError(str(error)) from None
    return found.credentials.get("region") or found.config.get("region") or None


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
        access_key = _variable(environ, "AWS_ACCESS_KEY_ID")
        if not access_key:
            raise NothingHere("AWS_ACCESS_KEY_ID is not set")
        expiration = _variable(environ, "AWS_CREDENTIAL_EXPIRATION")
        return _checked(
            {
                "AWS_ACCESS_KEY_ID": access_key,
                "AWS_SECRET_ACCESS_KEY": _variable(environ, "AWS_SECRET_ACCESS_KEY"),
                "AWS_SESSION_TOKEN": _variable(environ, "AWS_SESSION_TOKEN") or None,
            },
            _instant("AWS_CREDENTIAL_EXPIRATION", expiration) if expiration else None,
        )


class WebIdentitySource:
    """Finds that a role was to be taken on by a web identity (EKS: IAM roles for service accounts), and says no."""

    place = "web identity"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def load(self) -> Credentials:
        if not _variable(self._environ, "AWS_WEB_IDENTITY_TOKEN_FILE"):
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
            problem = f"cannot be run ({_reason(error)})"
        except ValueError:
            problem = "is not a command line"
        if problem:
            raise SourceBroken(f"its credential_process {problem}")
        document = _parse(output, "what its credential_process writes")
        version = document.get("Version")
        if version != 1 or isinstance(version, bool):
            raise SourceBroken("its credential_process writes another Version than 1")
        return _from_document(document, "SessionToken", temporary=False)


class Profile(Record):
    """What the two shared files say of a profile."""

    name: str
    credentials: Mapping[str, str]
    """From the credentials file, which wins; empty when it says nothing."""
    config: Mapping[str, str]
    """From the config file."""


def read_profile(environ: Mapping[str, str], profile: str | None, read_text: ReadText) -> Profile:
    """Read a profile, by default the one of AWS_PROFILE; raises `NothingHere` and `SourceBroken` as a source does."""
    asked_for = profile or _variable(environ, "AWS_PROFILE")
    name = asked_for or "default"
    found = []
    missing = []
    for variable, usual, prefixed in _FILES:
        path = _variable(environ, variable)
        shown = f"the file of {variable}" if path else usual
        try:
            found.append(_read_section(_expand(path or usual, environ), shown, name, prefixed, read_text))
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
        raise NothingHere(f"{shown} cannot be read ({_reason(error)})") from None
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
    return _checked({name: section.get(name) for name in names})


class MetadataClient:
    """Asks the services that give credentials to a container or an instance."""

    def __init__(
        self, transport: MakeTransport, steady_clock: Callable[[], float], pause: Callable[[float], None]
    ) -> None:
        self._transport = transport
        self._steady_clock = steady_clock
        self._pause = pause

    def ask(
        self,
        origin: Origin,
        method: str,
        path: str,
        headers: Mapping[str, str],
        seconds: float,
        *,
        must_be_there: bool,
    ) -> Reply:
        """Return the answer to a request without a body, any but status 429 or 500 and up; raises `SourceBroken`.

        `seconds` is for one attempt. Whether the service `must_be_there` decides whether one that cannot be reached
        is tried again.
        """
        from sltt_core.transport import BadReply, ConnectFailed, TransportError

        lines = {"host": _authority(origin), "accept": "application/json", "content-length": "0", **headers}
        if method == "GET":
            del lines["content-length"]
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        request = f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("ascii")
        transport = self._transport(origin, seconds)
        problem = ""
        try:
            for attempt in range(ATTEMPTS):
                if attempt:
                    self._pause(0.2 * attempt)
                try:
                    reply = transport.send(request, deadline=self._steady_clock() + seconds, repeatable=True)
                except TransportError as error:
                    # What is no HTTP is quoted in the message, and may be anything.
                    problem = "what answers does not speak HTTP" if isinstance(error, BadReply) else error.message
                    if isinstance(error, ConnectFailed) and not must_be_there:
                        break
                else:
                    if reply.status < 500 and reply.status != 429:
                        return reply
                    problem = f"it answers with status {reply.status}"
        finally:
            transport.close()
        raise SourceBroken(problem)


class ContainerSource:
    """What a container's environment points to: ECS, EKS Pod Identity, Lambda with SnapStart, Greengrass.

    AWS SDKs and Tools Reference Guide, "Container credential provider".
    """

    place = "container"

    def __init__(self, environ: Mapping[str, str], metadata: MetadataClient, read_text: ReadText) -> None:
        self._environ = environ
        self._metadata = metadata
        self._read_text = read_text

    def load(self) -> Credentials:
        relative = _variable(self._environ, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        full = _variable(self._environ, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
        if relative:
            if not relative.startswith("/"):
                raise SourceBroken("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /")
            origin, path = _split("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", f"http://169.254.170.2{relative}")
        elif full:
            origin, path = _split("AWS_CONTAINER_CREDENTIALS_FULL_URI", full)
            if not _may_be_asked(origin):
                raise SourceBroken(
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor of a host that may be asked without: "
                    f"loopback, {', '.join(sorted(_CONTAINER_HOSTS))}"
                )
        else:
            raise NothingHere("no AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or AWS_CONTAINER_CREDENTIALS_FULL_URI is set")
        token = self._token()
        headers = {"authorization": token} if token else {}
        reply = self._metadata.ask(origin, "GET", path, headers, CONTAINER_SECONDS, must_be_there=True)
        if reply.status != 200:
            raise SourceBroken(f"it answers with status {reply.status}")
        return _from_document(_parse(reply.body, "its answer"), "Token", temporary=True)

    def _token(self) -> str:
        """Return what to authorise oneself with; a file is read each time, because it changes (EKS)."""
        name = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
        path = _variable(self._environ, name)
        if not path:
            name = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
            token = _variable(self._environ, name)
            if not token:
                return ""
        else:
            name = f"the file of {name}"
            try:
                token = self._read_text(path).strip()
            except OSError as error:
                raise SourceBroken(f"{name} cannot be read ({_reason(error)})") from None
            except ValueError:
                token = ""
        if not _is_visible(token.replace(" ", "_")):
            raise SourceBroken(f"{name} holds no token")
        return token


_CONTAINER_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23"})
"""ECS, and EKS Pod Identity over IPv4 and IPv6."""


def _may_be_asked(origin: Origin) -> bool:
    if origin.scheme == "https" or origin.host == "localhost":
        return True
    from ipaddress import ip_address

    try:
        address = ip_address(origin.host)
    except ValueError:
        return False
    return address.is_loopback or str(address) in _CONTAINER_HOSTS


class InstanceSource:
    """An EC2 instance's role, by version 2 of its metadata service: a token first, then the role, then its keys.

    AWS, "Use the Instance Metadata Service" (EC2 User Guide). Version 1, which anything that can be made to send a GET
    may use, is never spoken. Nobody asks for this source, so whatever goes wrong means that there is nothing here.
    A container on an instance gets no token when the instance's hop limit for metadata is 1: that looks like a timeout.
    """

    place = "instance metadata"

    def __init__(self, environ: Mapping[str, str], metadata: MetadataClient) -> None:
        self._environ = environ
        self._metadata = metadata

    def load(self) -> Credentials:
        if _variable(self._environ, "AWS_EC2_METADATA_DISABLED").lower() == "true":
            raise NothingHere("AWS_EC2_METADATA_DISABLED is true")
        try:
            return self._load()
        except SourceBroken as error:
            raise NothingHere(str(error)) from None

    def _load(self) -> Credentials:
        name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
        usual = "http://169.254.169.254"
        if _variable(self._environ, f"{name}_MODE").lower() == "ipv6":
            usual = "http://[fd00:ec2::254]"
        origin, base = _split(name, _variable(self._environ, name) or usual)
        base = base.rstrip("/")

        def ask(method: str, path: str, headers: Mapping[str, str]) -> str:
            path = f"{base}/latest/{path}"
            reply = self._metadata.ask(origin, method, path, headers, INSTANCE_SECONDS, must_be_there=False)
            if reply.status != 200:
                raise SourceBroken(f"it answers {method} {path} with status {reply.status}")
            return reply.body.decode("utf-8", "replace")

        token = ask("PUT", "api/token", {"x-aws-ec2-metadata-token-ttl-seconds": "60"})
        if not _is_visible(token):
            raise SourceBroken("it gives something else than a token")
        headers = {"x-aws-ec2-metadata-token": token}
        roles = ask("GET", "meta-data/iam/security-credentials/", headers)
        role = roles.strip().partition("\n")[0].rstrip()
        if not role.isascii() or not role or role.strip(_ROLE):
            raise SourceBroken("it gives something else than a role's name")
        document = _parse(ask("GET", f"meta-data/iam/security-credentials/{role}", headers), "its answer")
        code = document.get("Code", "Success")
        if code != "Success":
            known = code if isinstance(code, str) and code.isalpha() and len(code) < 64 else "another Code than Success"
            raise SourceBroken(f"it has no keys for the instance's role: {known}")
        return _from_document(document, "Token", temporary=True)


_ROLE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-"
"""The characters of a role's name (AWS: "IAM and AWS STS quotas")."""


def _variable(environ: Mapping[str, str], name: str) -> str:
    """Return a variable without blanks and line ends around it; empty is the same as not set."""
    return environ.get(name, "").strip()


def _expand(path: str, environ: Mapping[str, str]) -> str:
    """Put the home folder in the place of a leading `~`."""
    if path[:2] not in ("~/", "~\\"):
        return path
    home = environ.get("HOME") or environ.get("USERPROFILE") or os.path.expanduser("~")
    return os.path.join(home, path[2:])


def _reason(error: OSError) -> str:
    """Say what the system says of an error, without the path."""
    return error.strerror or (str(error) if isinstance(error, TimeoutError) else "") or type(error).__name__


def _is_visible(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _split(name: str, url: str) -> tuple[Origin, str]:
    """Take the URL of a variable apart; raises `SourceBroken`."""
    from sltt_core.transport import parse_origin

    scheme, _, rest = url.partition("://")
    length = min(at for at in (rest.find("/"), rest.find("?"), len(rest)) if at >= 0)
    path = rest[length:]
    try:
        origin = parse_origin(f"{scheme}://{rest[:length]}")
    except ValueError:
        origin = None
    if origin is None or not _is_visible(url) or "#" in url:
        raise SourceBroken(f"{name} is no URL that can be asked")
    return origin, path if path.startswith("/") else f"/{path}"


def _authority(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == (443 if origin.scheme == "https" else 80) else f"{host}:{origin.port}"


def _parse(text: str | bytes, what: str) -> dict[str, Any]:
    from json import loads

    try:
        document = loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise SourceBroken(f"{what} is no JSON object")
    return document


def _from_document(document: Mapping[str, Any], token: str, *, temporary: bool) -> Credentials:
    """Read the JSON that credentials come in; `temporary` ones have a token and an end."""
    expiration = document.get("Expiration")
    for name in (token, "Expiration") if temporary else ():
        if not document.get(name):
            raise SourceBroken(f"{name} is missing")
    return _checked(
        {name: document.get(name) for name in ("AccessKeyId", "SecretAccessKey", token)},
        None if expiration is None else _instant("Expiration", expiration),
    )


def _checked(fields: Mapping[str, Any], expires: float | None = None) -> Credentials:
    """Make credentials of an access key, a secret key and a token, which may be `None` or empty."""
    for place, (name, value) in enumerate(fields.items()):
        if not value and place < 2:
            raise SourceBroken(f"{name} is missing")
        if value and not (isinstance(value, str) and _is_visible(value)):
            raise SourceBroken(f"{name} is not text without blanks, as keys and tokens are")
    access_key, secret_key, token = fields.values()
    return Credentials(access_key, secret_key, token or None, expires)


def _instant(name: str, text: object) -> float:
    """Read an ISO 8601 time as seconds since 1970."""
    from datetime import datetime

    from sltt_core.timestamps import normalise

    try:
        return datetime.fromisoformat(normalise(str(text))).timestamp()
    except (ValueError, IndexError, OverflowError):
        pass
    raise SourceBroken(f"{name} is no ISO 8601 time")
