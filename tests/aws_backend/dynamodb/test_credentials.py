"""AWS credentials: each source, the order of the sources, renewal, and errors without secrets."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trustme

from aws_backend.dynamodb import credential_sources, metadata_sources
from aws_backend.dynamodb.credential_documents import SourceEmpty, SourceFailed
from aws_backend.dynamodb.credential_sources import run_command
from aws_backend.dynamodb.credentials import (
    ADVISORY_PAUSE,
    ADVISORY_SECONDS,
    MANDATORY_PAUSE,
    MANDATORY_SECONDS,
    CredentialChain,
    CredentialError,
    default_chain,
    next_renewal,
    region_from_environment,
)
from aws_backend.dynamodb.metadata_sources import ATTEMPTS
from aws_backend.dynamodb.sigv4 import Credentials
from sltt_core.base.runtime import Runtime
from sltt_core.http_client.transport import HttpTransport, Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KEY = "AKIASENTINELKEY00042"
SECRET = "SENTINEL-SECRET/+"
TOKEN = "SENTINEL-TOKEN=="
SENTINEL = "SENTINEL"
NOW = datetime(2025, 3, 1, 9, 30, tzinfo=UTC).timestamp()
LATER = "2025-03-01T15:30:00Z"
SRC = Path(credential_sources.__file__).parents[2]

DOCUMENT = {"AccessKeyId": KEY, "SecretAccessKey": SECRET, "Token": TOKEN, "Expiration": LATER}
FOUND = Credentials(KEY, SECRET, TOKEN, NOW + 6 * 3600)


# Servers with the behaviour of the real ones.


class SeenRequest(NamedTuple):
    """A request as the server received it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Response(NamedTuple):
    """The server's response."""

    status: int = 200
    body: str | bytes = ""
    seconds: float = 0.0
    raw: bytes | None = None
    """Bytes to send in place of an HTTP response."""
    dribble: float = 0.0
    """Seconds before each byte of `raw`."""


class Service(ThreadingHTTPServer):
    """A server on the loopback address; `response` returns its response to a request."""

    daemon_threads = True

    def __init__(self, response: Callable[[SeenRequest], Response], context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.response = response
        self.requests: list[SeenRequest] = []
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing about clients that closed the connection."""

    @property
    def origin(self) -> Origin:
        return Origin("http", "127.0.0.1", self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = SeenRequest(self.command, self.path, headers, body)
        self.server.requests.append(request)
        response = self.server.response(request)
        if response.seconds:
            time.sleep(response.seconds)
        if response.raw is not None:
            for at in range(0, len(response.raw), 1 if response.dribble else 65_536):
                time.sleep(response.dribble)
                self.wfile.write(response.raw[at : at + 1] if response.dribble else response.raw)
            self.close_connection = True
            return
        body = response.body.encode() if isinstance(response.body, str) else response.body
        self.send_response(response.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def serving(response: Callable[[SeenRequest], Response], context: ssl.SSLContext | None = None) -> Iterator[Service]:
    service = Service(response, context)
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


class Instance:
    """An instance's metadata service, version 2 only."""

    def __init__(self, role: str = "the-role", **document: Any) -> None:
        self.role = role
        self.document = {"Code": "Success", "Type": "AWS-HMAC", **DOCUMENT, **document}
        self.token = "AQAEtoken=="

    def __call__(self, request: SeenRequest) -> Response:
        if request.path == "/latest/api/token":
            if request.method != "PUT":
                return Response(405)
            seconds = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds", "")
            if "x-forwarded-for" in request.headers:
                return Response(403)
            return Response(200, self.token) if seconds.isdigit() and 1 <= int(seconds) <= 21600 else Response(400)
        if request.headers.get("x-aws-ec2-metadata-token") != self.token:
            return Response(401, "<html>401 - Unauthorized</html>")
        if request.path == "/latest/meta-data/iam/security-credentials/":
            return Response(200, self.role) if self.role else Response(404, "<html>404 - Not Found</html>")
        if request.path == f"/latest/meta-data/iam/security-credentials/{self.role}":
            return Response(200, json.dumps(self.document))
        return Response(404)


class Container:
    """ECS's endpoint, or with a token, the agent of EKS Pod Identity."""

    def __init__(self, path: str = "/v2/credentials/the-id", token: str | None = None, **document: Any) -> None:
        self.path = path
        self.token = token
        self.document = {"RoleArn": "arn:aws:iam::1:role/r", **DOCUMENT, **document}

    def __call__(self, request: SeenRequest) -> Response:
        if request.path != self.path:
            return Response(404, '{"code": "NotFound"}')
        if request.headers.get("authorization") != self.token:
            return Response(401, '{"code": "Unauthorized"}')
        return Response(200, json.dumps(self.document))


class Places:
    """All places where a chain looks for credentials, and a record of what it did there."""

    def __init__(self, **environ: str) -> None:
        self.environ = {"HOME": "/home/u", "AWS_EC2_METADATA_DISABLED": "true", **environ}
        self.files: dict[str, str | Exception] = {}
        self.processes: dict[str, tuple[int, bytes] | Exception] = {}
        self.services: dict[tuple[str, str, int], Service] = {}
        self.now = NOW
        self.seconds = 5.0
        self.paused: list[float] = []
        self.opened: list[tuple[Origin, float]] = []
        self.ran: list[str] = []

    def read_text(self, path: str) -> str:
        text = self.files.get(path.replace("\\", "/"), FileNotFoundError(2, "No such file or directory", path))
        if isinstance(text, Exception):
            raise text
        return text

    def run(self, command: str) -> tuple[int, bytes]:
        self.ran.append(command)
        result = self.processes[command]
        if isinstance(result, Exception):
            raise result
        return result

    def transport(self, origin: Origin, seconds: float) -> HttpTransport:
        self.opened.append((origin, seconds))
        service = self.services.get((origin.scheme, origin.host, origin.port))
        target = service.origin if service else origin
        return HttpTransport(target, connect_seconds=self.seconds, read_seconds=self.seconds)

    def chain(self, explicit: Credentials | None = None, profile: str | None = None) -> CredentialChain:
        return default_chain(
            explicit,
            profile=profile,
            environ=self.environ,
            runtime=Runtime(
                clock=lambda: int((self.now) * 1e9),
                steady_clock=lambda: time.monotonic() + 30.0,
                pause=self.paused.append,
                transport=self.transport,
            ),  # `seconds` sets the time limit, not the steady clock
            read_text=self.read_text,
            run=self.run,
        )

    def get(self, **kwargs: Any) -> Credentials:
        return self.chain(**kwargs).get()

    def region(self, profile: str | None = None) -> str | None:
        return region_from_environment(self.environ, profile=profile, read_text=self.read_text)


def failure(attempt: Callable[[], object]) -> CredentialError:
    """Return the error of an attempt; check that neither it nor an exception behind it contains a secret."""
    with pytest.raises(CredentialError) as caught:
        attempt()
    error = caught.value
    seen: list[BaseException] = []
    behind: list[BaseException | None] = [error]
    while behind:
        one = behind.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        shown = [str(one), repr(one), repr(one.args), repr(vars(one)), *map(repr, getattr(one, "__notes__", []))]
        shown += [repr(getattr(one, name, None)) for name in ("doc", "object", "output", "stdout", "stderr", "cmd")]
        assert SENTINEL not in "".join(shown)
        behind += [one.__context__, one.__cause__]
    assert SENTINEL not in "".join(traceback.format_exception(error))
    assert error.status == 500
    assert error.kind == "no-credentials"
    assert not error.retryable
    return error


def keys(letter: str) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": letter, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}


def section(title: str, **settings: str) -> str:
    return f"[{title}]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def key_section(title: str, letter: str, **more: str) -> str:
    return section(title, aws_access_key_id=letter, aws_secret_access_key=SECRET, **more)


CREDENTIALS_FILE = "/home/u/.aws/credentials"
CONFIG_FILE = "/home/u/.aws/config"


def process_output(letter: str = KEY, **more: Any) -> bytes:
    return json.dumps({"Version": 1, "AccessKeyId": letter, "SecretAccessKey": SECRET, **more}).encode()


# The environment.


def test_the_environment_provides_keys() -> None:
    assert Places(**keys(KEY)).get() == Credentials(KEY, SECRET, TOKEN)


def test_the_environment_may_have_no_token() -> None:
    assert Places(AWS_ACCESS_KEY_ID="A", AWS_SECRET_ACCESS_KEY="S", AWS_SESSION_TOKEN="").get() == Credentials("A", "S")


def test_white_space_around_keys_is_removed() -> None:
    places = Places(AWS_ACCESS_KEY_ID=" A\n", AWS_SECRET_ACCESS_KEY="S\r\n", AWS_SESSION_TOKEN="T\n")
    assert places.get() == Credentials("A", "S", "T")


def test_keys_in_the_environment_may_expire() -> None:
    places = Places(**keys(KEY), AWS_CREDENTIAL_EXPIRATION=LATER)
    assert places.get() == FOUND
    places.now = NOW + 7 * 3600
    assert "environment: they have expired" in failure(places.get).message


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"AWS_ACCESS_KEY_ID": KEY}, "AWS_SECRET_ACCESS_KEY is missing"),
        ({"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": " "}, "AWS_SECRET_ACCESS_KEY is missing"),
        (keys("SENTINEL KEY"), "AWS_ACCESS_KEY_ID is not valid"),
        ({**keys(KEY), "AWS_SECRET_ACCESS_KEY": "SENTINEL\nX"}, "AWS_SECRET_ACCESS_KEY is not valid"),
        ({**keys(KEY), "AWS_SESSION_TOKEN": "SENTINEL\r\nx-evil: 1"}, "AWS_SESSION_TOKEN is not valid"),
        ({**keys(KEY), "AWS_SESSION_TOKEN": "SENTINEL-é"}, "AWS_SESSION_TOKEN is not valid"),
        ({**keys(KEY), "AWS_CREDENTIAL_EXPIRATION": SECRET}, "AWS_CREDENTIAL_EXPIRATION is not an ISO 8601 time"),
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"},
            "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not",
        ),
    ],
)
def test_an_invalid_environment_stops_the_search(environ: dict[str, str], reason: str) -> None:
    places = Places(**environ)
    places.files[CREDENTIALS_FILE] = key_section("default", "OTHER")
    assert reason in failure(places.get).message


# The shared files.


@pytest.mark.parametrize(
    ("credentials", "config", "profile", "letter"),
    [
        (key_section("default", "A"), "", "", "A"),
        ("", key_section("default", "A"), "", "A"),
        ("", key_section("profile default", "A"), "", "A"),
        ("", key_section("default", "B") + key_section("profile default", "A"), "", "A"),
        ("", key_section("profile default", "A") + key_section("default", "B"), "", "A"),
        (key_section("default", "A"), key_section("default", "B"), "", "A"),  # the credentials file has precedence
        (key_section("p", "A") + key_section("default", "B"), "", "p", "A"),
        ("", key_section("profile p", "A") + key_section("default", "B"), "p", "A"),
        ("", key_section("profile   p ", "A"), "p", "A"),
        ("", key_section('profile "my own"', "A"), "my own", "A"),
        ("", key_section("profile 'p'", "A"), "p", "A"),
        (key_section("p", "A"), key_section("profile p", "B"), "p", "A"),
        (section("p", region="r"), key_section("profile p", "A"), "p", "A"),
        ("# a comment\n; another\n\n" + key_section("default", "A"), "", "", "A"),
        (key_section("default", "A") + "s3 =\n  max_queue_size = 1\n  x = %(y)s\n", "", "", "A"),
        ("[default]\nAWS_ACCESS_KEY_ID=A\nAws_Secret_Access_Key = " + SECRET + "\n", "", "", "A"),
    ],
)
def test_a_profile_provides_keys(credentials: str, config: str, profile: str, letter: str) -> None:
    places = Places(AWS_PROFILE=profile)
    places.files.update({CREDENTIALS_FILE: credentials, CONFIG_FILE: config})
    assert places.get() == Credentials(letter, SECRET)


def test_a_profile_may_have_a_token() -> None:
    places = Places()
    places.files[CREDENTIALS_FILE] = key_section("default", KEY, aws_session_token=TOKEN)
    assert places.get() == Credentials(KEY, SECRET, TOKEN)


def test_variables_set_the_paths_of_the_files() -> None:
    places = Places(AWS_SHARED_CREDENTIALS_FILE="/a/creds", AWS_CONFIG_FILE="~/conf", AWS_PROFILE="p")
    places.files["/a/creds"] = key_section("p", "A")
    places.files["/home/u/conf"] = section("profile p", region="eu-west-1")
    assert places.get() == Credentials("A", SECRET)
    assert places.region() == "eu-west-1"


def test_the_home_directory_on_windows_is_found() -> None:
    places = Places(USERPROFILE="/users/u")
    del places.environ["HOME"]
    places.files["/users/u/.aws/credentials"] = key_section("default", "A")
    assert places.get() == Credentials("A", SECRET)


def test_real_files_are_read(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_bytes(b"\xef\xbb\xbf" + key_section("default", "A").encode())
    environ = {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    assert default_chain(environ=environ).get() == Credentials("A", SECRET)
    (tmp_path / ".aws" / "credentials").write_bytes(b"[default]\nx = SENTINEL \xff\n")
    assert "~/.aws/credentials is not UTF-8" in failure(default_chain(environ=environ).get).message


def test_the_files_are_read_again_after_a_failure() -> None:
    places = Places()
    chain = places.chain()
    failure(chain.get)
    places.files[CREDENTIALS_FILE] = key_section("default", "A")
    assert chain.get() == Credentials("A", SECRET)


@pytest.mark.parametrize(
    ("credentials", "config", "reason"),
    [
        (section("p", aws_access_key_id=KEY), "", "aws_secret_access_key is missing"),
        ("", section("profile p", aws_access_key_id=KEY), "aws_secret_access_key is missing"),
        (key_section("p", "SENTINEL é"), "", "aws_access_key_id is not valid"),
        (
            "",
            key_section("p", KEY),
            "profile 'p' does not exist: ~/.aws/credentials has no profile 'p', ~/.aws/config has",
        ),
        (key_section("profile p", KEY), "", "profile 'p' does not exist"),
        ("", key_section("profile \"p'", KEY), "profile 'p' does not exist"),
        ("", key_section("profilep", KEY) + key_section("profiles p", KEY), "profile 'p' does not exist"),
        ("aws_secret_access_key = SENTINEL\n", "", "~/.aws/credentials cannot be parsed, line 1"),
        ("[p]\nSENTINEL\n", "", "~/.aws/credentials cannot be parsed, line 2"),
        ("[p]\nx = 1\n[p]\ny = SENTINEL\n", "", "~/.aws/credentials cannot be parsed, line 3"),
        ("[p]\nx = 1\nx = SENTINEL\n", "", "~/.aws/credentials cannot be parsed, line 3"),
        ("", "[profile p\nx = SENTINEL\n", "~/.aws/config cannot be parsed, line 1"),
        *(
            ("", section("profile p", **{key: "SENTINEL"}), f"'p' has {key}, which is not supported")
            for key in ("role_arn", "web_identity_token_file", "login_session")
        ),
        ("", section("profile p", sso_session="SENTINEL"), "'p' has sso_session, but the config file has no such"),
        ("", section("profile p", sso_start_url="SENTINEL"), "'p' uses SSO, but has no sso_region"),
        (key_section("p", KEY, role_arn="SENTINEL"), "", "'p' has role_arn, which is not supported"),
        (key_section("p", KEY), section("profile p", sso_account_id="SENTINEL"), "'p' uses SSO, but has no sso_start"),
    ],
)
def test_an_invalid_profile_stops_the_search(credentials: str, config: str, reason: str) -> None:
    places = Places(AWS_PROFILE="p")
    places.files.update({CREDENTIALS_FILE: credentials, CONFIG_FILE: config})
    with serving(Container()) as service:
        places.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{service.url}/v2/credentials/the-id"
        assert reason in failure(places.get).message
        assert not service.requests


def test_keys_of_the_credentials_file_come_before_a_login_session() -> None:
    places = Places()
    places.files[CREDENTIALS_FILE] = key_section("default", "A", login_session="x")
    assert places.get() == Credentials("A", SECRET)


def test_a_missing_file_counts_as_empty() -> None:
    places = Places()
    places.files[CONFIG_FILE] = section("default", region="r")
    error = failure(places.get)
    assert "profile: 'default' has neither aws_access_key_id nor credential_process" in error.hint
    del places.files[CONFIG_FILE]
    places.files[CREDENTIALS_FILE] = NotADirectoryError(20, "Not a directory", "/SENTINEL")
    error = failure(places.get)
    assert "~/.aws/credentials cannot be read (Not a directory)" in error.hint
    assert "~/.aws/config cannot be read (No such file or directory)" in error.hint


@pytest.mark.parametrize(
    "wrong",
    [
        PermissionError(13, "Permission denied", "/SENTINEL"),
        IsADirectoryError(21, "Is a directory", "/SENTINEL"),
        OSError(5, "Input/output error", "/SENTINEL"),
    ],
)
@pytest.mark.parametrize("file", [CREDENTIALS_FILE, CONFIG_FILE])
def test_an_unreadable_file_stops_the_search(file: str, wrong: OSError) -> None:
    places = Places()
    places.files = {CREDENTIALS_FILE: key_section("default", "A"), CONFIG_FILE: key_section("default", "B")}
    places.files[file] = wrong
    assert f"cannot be read ({wrong.strerror})" in failure(places.get).message
    assert f"cannot be read ({wrong.strerror})" in failure(places.region).message


# A command.


def test_a_command_provides_keys() -> None:
    places = Places(AWS_PROFILE="p")
    places.files[CONFIG_FILE] = section("profile p", credential_process='/opt/x --for "a b"')
    places.processes['/opt/x --for "a b"'] = (0, process_output(SessionToken=TOKEN, Expiration=LATER))
    assert places.get() == FOUND


def test_a_command_may_provide_keys_that_do_not_expire() -> None:
    places = Places()
    places.files[CREDENTIALS_FILE] = section("default", credential_process="x")
    places.processes["x"] = (0, process_output())
    assert places.get() == Credentials(KEY, SECRET)


def test_keys_and_commands_have_the_order_of_botocore() -> None:
    places = Places()
    places.files[CREDENTIALS_FILE] = key_section("default", "A", credential_process="one")
    places.files[CONFIG_FILE] = key_section("default", "B", credential_process="two")
    places.processes = {"one": (0, process_output("C")), "two": (0, process_output("D"))}
    assert places.get().access_key == "A"
    places.files[CREDENTIALS_FILE] = section("default", credential_process="one")
    assert places.get().access_key == "C"
    places.files[CREDENTIALS_FILE] = ""
    assert places.get().access_key == "D"
    assert places.ran == ["one", "two"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ((1, process_output()), "exited with code 1"),
        ((255, b"SENTINEL"), "exited with code 255"),
        ((-9, b"SENTINEL"), "exited with code -9"),
        ((0, b""), "credential_process is not a JSON object"),
        ((0, b"SENTINEL"), "credential_process is not a JSON object"),
        ((0, b"\xff\xfeSENTINEL"), "credential_process is not a JSON object"),
        ((0, b'["SENTINEL"]'), "credential_process is not a JSON object"),
        ((0, b"[" * 100_000), "credential_process is not a JSON object"),
        ((0, process_output(Version="SENTINEL")), "does not have Version 1"),
        ((0, process_output(Version=True)), "does not have Version 1"),
        ((0, b'{"AccessKeyId": "SENTINEL"}'), "does not have Version 1"),
        ((0, b'{"Version": 1, "AccessKeyId": "SENTINEL"}'), "SecretAccessKey is missing"),
        ((0, b'{"Version": 1, "SecretAccessKey": "SENTINEL"}'), "AccessKeyId is missing"),
        ((0, process_output(AccessKeyId=["SENTINEL"])), "AccessKeyId is not valid"),
        ((0, process_output(SecretAccessKey="SENTINEL\n")), "SecretAccessKey is not valid"),
        ((0, process_output(SessionToken={"SENTINEL": 1})), "SessionToken is not valid"),
        ((0, process_output(Expiration="SENTINEL")), "Expiration is not an ISO 8601 time"),
        ((0, process_output(Expiration=1)), "Expiration is not an ISO 8601 time"),
        ((0, process_output(Expiration="2025-03-01T09:29:59Z")), "they have expired"),
        (FileNotFoundError(2, "No such file or directory", "SENTINEL"), "cannot be run (No such file or directory)"),
        (TimeoutError("timed out after 60 seconds"), "cannot be run (timed out after 60 seconds)"),
        (ValueError("SENTINEL"), "is not a command line"),
    ],
)
def test_a_failed_command_is_reported(result: tuple[int, bytes] | Exception, reason: str) -> None:
    places = Places()
    places.files[CONFIG_FILE] = section("default", credential_process="get --key SENTINEL")
    places.processes["get --key SENTINEL"] = result
    error = failure(places.get)
    assert reason in error.message
    assert error.tried[-1][0] == "profile"


PYTHON = f'"{sys.executable}"'.replace("\\", "/")


def test_a_real_command_returns_its_code_and_output(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; sys.stderr.write('SENTINEL'); print(sys.stdin.read() or 'out'); sys.exit(3)"
    assert run_command(f'{PYTHON} -c "{program}"') == (3, f"out{os.linesep}".encode())
    assert capfd.readouterr() == ("", "")


def test_a_real_command_gets_no_input() -> None:
    program = f"""
import sys
sys.path.insert(0, {str(SRC)!r})
from aws_backend.dynamodb.credential_sources import run_command
print(run_command({f'{PYTHON} -c "import sys; print(sys.stdin.read())"'!r})[1].split(), sys.stdin.read())
"""
    run = subprocess.run([sys.executable, "-c", program], input="given", capture_output=True, text=True, timeout=60)
    assert run.stdout.split() == ["[]", "given"]


def test_a_real_command_does_not_run_in_a_shell() -> None:
    code, output = run_command(f"{PYTHON} -c \"import sys; print(sys.argv[1:])\" $HOME ';' '*'")
    assert code == 0
    assert output.split() == b"['$HOME', ';', '*']".split()


@pytest.mark.parametrize("command", ["/nowhere/at/all", "", "''"])
def test_a_command_that_does_not_exist_raises_an_error(command: str) -> None:
    with pytest.raises((OSError, ValueError)):
        run_command(command)


def test_a_command_that_times_out_is_reported_without_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_sources, "PROCESS_SECONDS", 0.2)
    places = Places()
    program = "import time; print('SENTINEL', flush=True); time.sleep(60)"
    places.files[CONFIG_FILE] = section("default", credential_process=f'{PYTHON} -c "{program}"')
    chain = default_chain(
        environ=places.environ, read_text=places.read_text, runtime=Runtime(clock=lambda: int(NOW * 1e9))
    )
    assert "cannot be run (timed out after 0.2 seconds)" in failure(chain.get).message
    with pytest.raises(TimeoutError) as caught:
        run_command(f'{PYTHON} -c "{program}"')
    assert caught.value.__context__ is None  # the exception behind it would contain the output


def test_an_invalid_command_line_is_reported() -> None:
    places = Places()
    places.files[CONFIG_FILE] = section("default", credential_process="x 'SENTINEL")
    chain = default_chain(
        environ=places.environ, read_text=places.read_text, runtime=Runtime(clock=lambda: int(NOW * 1e9))
    )
    assert "is not a command line" in failure(chain.get).message


# A container.


def test_a_relative_url_is_requested_from_ecs() -> None:
    places = Places(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/v2/credentials/the-id")
    with serving(Container()) as service:
        places.services["http", "169.254.170.2", 80] = service
        assert places.get() == FOUND
    (request,) = service.requests
    assert request.headers == {"host": "169.254.170.2", "accept": "application/json"}
    assert places.opened == [(Origin("http", "169.254.170.2", 80), 2.0)]


def test_a_full_url_is_requested_with_a_token() -> None:
    with serving(Container("/get?a=b", "Basic c2Vj")) as service:
        places = Places(
            AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{service.url}/get?a=b", AWS_CONTAINER_AUTHORIZATION_TOKEN="Basic c2Vj"
        )
        assert places.get() == FOUND


def test_a_url_may_have_no_path() -> None:
    with serving(Container("/")) as service:
        assert Places(AWS_CONTAINER_CREDENTIALS_FULL_URI=service.url).get() == FOUND
    with serving(Container("/?a")) as service:
        assert Places(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{service.url}?a").get() == FOUND


def test_the_token_file_is_read_for_each_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    container = Container("/v1/credentials", "SENTINEL-1")
    file.write_text("SENTINEL-1\n")
    with serving(container) as service:
        places = Places(
            AWS_CONTAINER_CREDENTIALS_FULL_URI="http://169.254.170.23/v1/credentials",
            AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(file),
            AWS_CONTAINER_AUTHORIZATION_TOKEN="not this one",
        )
        places.services["http", "169.254.170.23", 80] = service
        places.files[str(file).replace("\\", "/")] = file.read_text()
        chain = places.chain()
        assert chain.get() == FOUND

        container.token = "SENTINEL-2"
        container.document["Expiration"] = "2025-03-01T21:30:00Z"
        file.write_text("SENTINEL-2")
        places.files[str(file).replace("\\", "/")] = file.read_text()
        places.now = NOW + 6 * 3600 - 60
        assert chain.get() == FOUND.replace(expires=NOW + 12 * 3600)

        container.token = "SENTINEL-3"
        places.now = NOW + 12 * 3600
        assert "container: its response has status 401" in failure(chain.get).message


@pytest.mark.parametrize("url", ["http://[::1]:1234/x", "http://localhost:1234/x", "http://127.9.8.7:1234/x",
                                 "http://[fd00:ec2::23]:1234/x", "http://[FD00:ec2:0::23]:1234/x",
                                 "http://169.254.170.2:1234/x", "https://example.org:1234/x",
                                 "https://10.0.0.1:1234/x"])  # fmt: skip
def test_trusted_origins_are_requested(url: str) -> None:
    places = Places(AWS_CONTAINER_CREDENTIALS_FULL_URI=url)
    with serving(Container("/x")) as service:
        origin = Origin(url.partition(":")[0], url.partition("://")[2].rpartition(":")[0].strip("[]").lower(), 1234)
        places.services[origin.scheme, origin.host, origin.port] = service
        assert places.get() == FOUND
    assert service.requests[0].headers["host"] == url.partition("://")[2].removesuffix("/x").lower()


@pytest.mark.parametrize(
    "host",
    ["example.org", "10.0.0.1", "169.254.169.254", "169.254.170.22", "127.1", "0.0.0.0", "localhost.example.org",
     "[fd00:ec2::254]", "[::]", "2130706433", "localhost."],
)  # fmt: skip
def test_http_is_refused_for_other_hosts(host: str) -> None:
    places = Places(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"http://{host}/SENTINEL")
    assert "FULL_URI is neither https nor of a host" in failure(places.get).message
    assert not places.opened


@pytest.mark.parametrize(
    "url",
    ["x", "ftp://127.0.0.1/", "http://", "http:///x", "http://u:SENTINEL@127.0.0.1/", "http://127.0.0.1:0/",
     "http://127.0.0.1:x/", "http://127.0.0.1/ SENTINEL", "http://127.0.0.1/\r\nx:y", "http://127.0.0.1/#x",
     "http://127.0.0.1/é", "http://[::1/", "127.0.0.1/SENTINEL"],
)  # fmt: skip
def test_an_invalid_url_is_reported(url: str) -> None:
    places = Places(AWS_CONTAINER_CREDENTIALS_FULL_URI=url)
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI is not a valid http or https URL" in failure(places.get).message
    places = Places(AWS_EC2_METADATA_DISABLED="", AWS_EC2_METADATA_SERVICE_ENDPOINT=url)
    assert "AWS_EC2_METADATA_SERVICE_ENDPOINT is not a valid http or https URL" in failure(places.get).hint


def test_a_relative_url_cannot_name_another_host() -> None:
    places = Places(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="@example.org/SENTINEL")
    assert "RELATIVE_URI does not begin with /" in failure(places.get).message
    assert not places.opened


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (FileNotFoundError(2, "No such file or directory"), "TOKEN_FILE cannot be read (No such file or directory)"),
        (UnicodeDecodeError("utf-8", b"SENTINEL\xff", 8, 9, "SENTINEL"), "TOKEN_FILE does not contain a token"),
        ("", "TOKEN_FILE does not contain a token"),
        ("SENTINEL\r\nx: y", "TOKEN_FILE does not contain a token"),
        ("SENTINEL-é", "TOKEN_FILE does not contain a token"),
    ],
)
def test_an_invalid_authorization_token_is_reported(file: str | Exception, reason: str) -> None:
    places = Places(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/x", AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="/t")
    places.files["/t"] = file
    assert reason in failure(places.get).message
    if isinstance(file, str) and file:
        del places.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
        places.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = file
        assert "AWS_CONTAINER_AUTHORIZATION_TOKEN does not contain a token" in failure(places.get).message
    assert not places.opened


HTML = f"<html><body>{SECRET}</body></html>"
WRONG_RESPONSES = [
    (Response(404, HTML), "status 404", 1),
    (Response(403, json.dumps({"message": SECRET})), "status 403", 1),
    (Response(302, HTML), "status 302", 1),
    (Response(500, HTML), "status 500", ATTEMPTS),
    (Response(429, HTML), "status 429", ATTEMPTS),
    (Response(raw=f'{{"SecretAccessKey": "{SECRET}"}}\r\n\r\n'.encode()), "is not HTTP", ATTEMPTS),
    (Response(raw=b""), "the connection was closed without a response", ATTEMPTS),
    (Response(raw=f"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{SECRET}".encode()), "the connection ended", ATTEMPTS),
    (Response(200, "x", seconds=0.5), "no complete response came in time", ATTEMPTS),
]
WRONG_DOCUMENTS: list[tuple[str | bytes, str]] = [
    (HTML, "its response is not a JSON object"),
    ("", "its response is not a JSON object"),
    (b"\xff" + SECRET.encode(), "its response is not a JSON object"),
    (json.dumps([SECRET]), "its response is not a JSON object"),
    ("[" * 90_000, "its response is not a JSON object"),
    *(
        (json.dumps({name: value for name, value in DOCUMENT.items() if name != missing}), f"{missing} is missing")
        for missing in DOCUMENT
    ),
    *((json.dumps({**DOCUMENT, missing: None}), f"{missing} is missing") for missing in DOCUMENT),
    (json.dumps({**DOCUMENT, "Token": ""}), "Token is missing"),
    (json.dumps({**DOCUMENT, "Token": 5}), "Token is not valid"),
    (json.dumps({**DOCUMENT, "SecretAccessKey": "SENTINEL\r\n"}), "SecretAccessKey is not valid"),
    (json.dumps({**DOCUMENT, "Expiration": SECRET}), "Expiration is not an ISO 8601 time"),
    (json.dumps({**DOCUMENT, "Expiration": ""}), "Expiration is missing"),
    (json.dumps({**DOCUMENT, "Expiration": 1.0e12}), "Expiration is not an ISO 8601 time"),
]


@pytest.mark.parametrize(("response", "reason", "requests"), WRONG_RESPONSES)
def test_an_error_response_of_a_container_is_reported(response: Response, reason: str, requests: int) -> None:
    places = Places(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/x")
    places.seconds = 0.15 if response.seconds else 5.0
    with serving(lambda request: response) as service:
        places.services["http", "169.254.170.2", 80] = service
        error = failure(places.get)
    assert reason in error.message
    assert error.tried[-1][0] == "container"
    assert len(service.requests) == requests
    assert len(places.paused) == requests - 1


EXPIRED = (json.dumps({**DOCUMENT, "Expiration": "2025-03-01T09:30:00Z"}), "they have expired")


@pytest.mark.parametrize(("body", "reason"), [*WRONG_DOCUMENTS, EXPIRED])
def test_an_invalid_document_of_a_container_is_reported(body: str | bytes, reason: str) -> None:
    with serving(lambda request: Response(200, body)) as service:
        error = failure(Places(AWS_CONTAINER_CREDENTIALS_FULL_URI=service.url).get)
    assert reason in error.message


def test_a_container_is_asked_up_to_three_times() -> None:
    responses = [Response(503), Response(raw=b""), Response(200, json.dumps(DOCUMENT))]
    with serving(lambda request: responses.pop(0)) as service:
        assert Places(AWS_CONTAINER_CREDENTIALS_FULL_URI=service.url).get() == FOUND


def test_a_container_service_that_cannot_be_reached_is_retried() -> None:
    with serving(Container()) as service:
        pass
    places = Places(AWS_CONTAINER_CREDENTIALS_FULL_URI=service.url)
    assert f"cannot reach 127.0.0.1, port {service.origin.port}" in failure(places.get).message
    assert len(places.paused) == ATTEMPTS - 1


def test_the_certificate_of_a_container_service_is_verified() -> None:
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)

    def trusting() -> ssl.SSLContext:
        ours = ssl.create_default_context()
        authority.configure_trust(ours)
        return ours

    with serving(Container("/x"), theirs) as service:
        url = service.url.replace("http:", "https:") + "/x"
        environ = {**Places().environ, "AWS_CONTAINER_CREDENTIALS_FULL_URI": url}
        chain = default_chain(
            environ=environ,
            read_text=Places().read_text,
            runtime=Runtime(
                clock=lambda: int(NOW * 1e9),
                pause=lambda seconds: None,
                transport=lambda origin, seconds: HttpTransport(origin, tls=[trusting]),
            ),
        )
        assert chain.get() == FOUND
        chain = default_chain(
            environ=environ,
            read_text=Places().read_text,
            runtime=Runtime(clock=lambda: int(NOW * 1e9), pause=lambda seconds: None),
        )
        assert "127.0.0.1 is not trusted" in failure(chain.get).message


# An instance.


def instance_places(service: Service, path: str = "") -> Places:
    return Places(AWS_EC2_METADATA_DISABLED="false", AWS_EC2_METADATA_SERVICE_ENDPOINT=service.url + path)


def test_an_instance_provides_keys() -> None:
    with serving(Instance()) as service:
        places = instance_places(service)
        assert places.get() == FOUND
    assert [(request.method, request.path) for request in service.requests] == [
        ("PUT", "/latest/api/token"),
        ("GET", "/latest/meta-data/iam/security-credentials/"),
        ("GET", "/latest/meta-data/iam/security-credentials/the-role"),
    ]
    assert service.requests[0].headers["content-length"] == "0"
    assert {seconds for _, seconds in places.opened} == {1.0}


@pytest.mark.parametrize(
    ("environ", "host"),
    [
        ({}, "169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4"}, "169.254.169.254"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "fd00:ec2::254"),
    ],
)
def test_the_default_endpoint_depends_on_the_mode(environ: dict[str, str], host: str) -> None:
    places = Places(AWS_EC2_METADATA_DISABLED="", **environ)
    with serving(Instance()) as service:
        places.services["http", host, 80] = service
        assert places.get() == FOUND


def test_the_endpoint_of_an_instance_may_have_a_path() -> None:
    instance = Instance()
    with serving(lambda request: instance(request._replace(path=request.path.removeprefix("/base")))) as service:
        assert instance_places(service, "/base/").get() == FOUND
    assert all(request.path.startswith("/base/latest/") for request in service.requests)


def test_the_first_of_several_roles_is_used() -> None:
    instance = Instance("a-role")

    def several(request: SeenRequest) -> Response:
        response = instance(request)
        return Response(200, "a-role\nb-role\n") if response.body == "a-role" else response

    with serving(several) as service:
        assert instance_places(service).get() == FOUND


def test_no_request_is_sent_when_instance_metadata_is_disabled() -> None:
    with serving(Instance()) as service:
        places = instance_places(service)
        places.environ["AWS_EC2_METADATA_DISABLED"] = "True"
        assert "instance metadata: AWS_EC2_METADATA_DISABLED is true" in failure(places.get).hint
    assert not service.requests


def at_step(step: int, wrong: Response) -> Callable[[SeenRequest], Response]:
    """An instance with a wrong response to the request for the token (0), for the role (1) or for the keys (2)."""
    instance = Instance()

    def response(request: SeenRequest) -> Response:
        at = 0 if request.path.endswith("token") else 1 if request.path.endswith("/") else 2
        return wrong if at == step else instance(request)

    return response


@pytest.mark.parametrize("step", [0, 1, 2])
@pytest.mark.parametrize(("response", "reason", "requests"), WRONG_RESPONSES)
def test_an_error_response_of_an_instance_is_reported(
    step: int, response: Response, reason: str, requests: int
) -> None:
    with serving(at_step(step, response)) as service:
        places = instance_places(service)
        places.seconds = 0.15 if response.seconds else 5.0
        error = failure(places.get)
    place, why = error.tried[-1]
    assert place == "instance metadata"
    assert reason in why
    assert len(service.requests) == step + requests


@pytest.mark.parametrize(("body", "reason"), WRONG_DOCUMENTS)
def test_an_invalid_document_of_an_instance_is_reported(body: str | bytes, reason: str) -> None:
    with serving(at_step(2, Response(200, body))) as service:
        error = failure(instance_places(service).get)
    assert reason in error.tried[-1][1]


@pytest.mark.parametrize(
    ("step", "body", "reason"),
    [
        (0, "", "is not a token"),
        (0, HTML + " x", "is not a token"),
        (0, "SENTINEL\r\nx: y", "is not a token"),
        (1, "", "is not a role name"),
        (1, HTML, "is not a role name"),
        (1, "../SENTINEL", "is not a role name"),
        (1, "rôle-SENTINEL", "is not a role name"),
        (2, '{"Code": "AssumeRoleUnauthorizedAccess", "Message": "SENTINEL"}', "AssumeRoleUnauthorizedAccess"),
        (2, json.dumps({**DOCUMENT, "Code": SECRET}), "Code is not Success"),
    ],
)
def test_an_unexpected_response_of_an_instance_is_reported(step: int, body: str, reason: str) -> None:
    with serving(at_step(step, Response(200, body))) as service:
        error = failure(instance_places(service).get)
    assert reason in error.tried[-1][1]


def test_an_instance_without_a_role_is_reported() -> None:
    with serving(Instance("")) as service:
        error = failure(instance_places(service).get)
    assert "GET /latest/meta-data/iam/security-credentials/ has status 404" in error.hint


def test_an_instance_service_that_cannot_be_reached_is_not_retried() -> None:
    with serving(Instance()) as service:
        pass
    places = instance_places(service)
    assert f"cannot reach 127.0.0.1, port {service.origin.port}" in failure(places.get).hint
    assert not places.paused


@pytest.mark.parametrize(
    "response", [Response(200, "token", seconds=1.0), Response(raw=b"HTTP/1.1 200 OK\r\n", dribble=0.06)]
)
def test_a_slow_instance_service_times_out(monkeypatch: pytest.MonkeyPatch, response: Response) -> None:
    monkeypatch.setattr(metadata_sources, "INSTANCE_SECONDS", 0.1)
    with serving(lambda request: response) as service:
        environ = instance_places(service).environ
        chain = default_chain(
            environ=environ, read_text=Places().read_text, runtime=Runtime(pause=lambda seconds: None)
        )
        begin = time.monotonic()
        error = failure(chain.get)
        took = time.monotonic() - begin
    assert "no complete response came in time" in error.tried[-1][1]
    assert len(service.requests) == ATTEMPTS
    assert 0.1 * ATTEMPTS <= took < 0.9 * ATTEMPTS


def test_each_renewal_gets_a_new_token() -> None:
    instance = Instance()
    with serving(instance) as service:
        places = instance_places(service)
        chain = places.chain()
        chain.get()
        instance.token = "another"
        instance.document["Expiration"] = "2025-03-01T21:30:00Z"
        places.now = NOW + 6 * 3600 - 60
        assert chain.get().expires == NOW + 12 * 3600


# Precedence.

ALL = ["environment", "web identity", "profile", "container", "instance metadata"]


@pytest.mark.parametrize("first", ["given", "environment", "profile", "container", "instance"])
def test_the_first_source_with_credentials_wins(first: str) -> None:
    instance, container = Instance(AccessKeyId="INSTANCE"), Container(AccessKeyId="CONTAINER")
    with serving(instance) as one, serving(container) as other:
        places = instance_places(one)
        order = ["given", "environment", "profile", "container", "instance"]
        present = set(order[order.index(first) :])
        if "environment" in present:
            places.environ.update(keys("ENVIRONMENT"))
        if "profile" in present:
            places.files[CREDENTIALS_FILE] = key_section("default", "PROFILE")
        if "container" in present:
            places.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"{other.url}/v2/credentials/the-id"
        given = Credentials("GIVEN", "s") if "given" in present else None
        assert places.get(explicit=given).access_key == first.upper()
        assert bool(other.requests) == (first == "container")
        assert bool(one.requests) == (first == "instance")


def test_keys_in_the_environment_come_before_aws_profile() -> None:
    places = Places(**keys("ENVIRONMENT"), AWS_PROFILE="p")
    places.files[CREDENTIALS_FILE] = key_section("p", "PROFILE")
    assert places.get().access_key == "ENVIRONMENT"
    assert places.get(profile="p").access_key == "PROFILE"


def test_a_profile_named_by_the_caller_must_exist() -> None:
    places = Places(**keys("ENVIRONMENT"))
    assert "profile 'p' does not exist" in failure(lambda: places.get(profile="p")).message


def test_the_relative_url_comes_before_the_full_url() -> None:
    with serving(Container("/a")) as service:
        places = Places(
            AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/a", AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:1/b"
        )
        places.services["http", "169.254.170.2", 80] = service
        assert places.get() == FOUND


def test_the_error_lists_all_places_that_were_tried() -> None:
    error = failure(Places().get)
    assert error.message == "no AWS credentials were found"
    assert [place for place, _ in error.tried] == ALL
    assert dict(error.tried) == {
        "environment": "AWS_ACCESS_KEY_ID is not set",
        "web identity": "AWS_WEB_IDENTITY_TOKEN_FILE is not set",
        "profile": "~/.aws/credentials cannot be read (No such file or directory), "
        "~/.aws/config cannot be read (No such file or directory)",
        "container": "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
        "instance metadata": "AWS_EC2_METADATA_DISABLED is true",
    }
    for place, reason in error.tried:
        assert f"{place}: {reason}" in error.hint


def test_the_default_hint_names_the_settings() -> None:
    assert "AWS_PROFILE" in CredentialError("none").hint


# Renewal.


class Fake:
    """A source with scripted results, which counts its loads."""

    place = "fake"

    def __init__(self, *results: Credentials | Exception) -> None:
        self.results = list(results)
        self.loads = 0

    def load(self) -> Credentials:
        self.loads += 1
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> int:
        return int(self.now * 1e9)


OLD, NEW = Credentials("OLD", SECRET, None, 3600.0), Credentials("NEW", SECRET, None, 7200.0)


def test_credentials_that_do_not_expire_are_loaded_once() -> None:
    clock, source = Clock(), Fake(Credentials("A", SECRET))
    chain = CredentialChain([source], runtime=Runtime(clock=clock))
    first = chain.get()
    clock.now = 1e12
    assert chain.get() is first
    assert source.loads == 1


def test_fresh_credentials_are_not_loaded_again() -> None:
    clock, source = Clock(), Fake(OLD, NEW)
    chain = CredentialChain([source], runtime=Runtime(clock=clock))
    assert chain.get() is OLD
    clock.now = 3600 - ADVISORY_SECONDS - 0.001
    assert chain.get() is OLD
    assert source.loads == 1
    clock.now = 3600 - ADVISORY_SECONDS
    assert chain.get() is NEW
    assert source.loads == 2


def test_returning_fresh_credentials_calls_two_functions() -> None:
    chain = CredentialChain([Fake(OLD)], runtime=Runtime(clock=Clock()))
    chain.get()
    counted = []

    def count(frame: object, event: str, argument: object) -> None:
        if event in ("call", "c_call") and argument is not sys.setprofile:
            counted.append(event)

    sys.setprofile(count)
    chain.get()
    sys.setprofile(None)
    assert len(counted) == 2  # itself and the clock


@pytest.mark.parametrize(
    ("expires", "renewal"),
    [
        (None, float("inf")),
        (10_000.0, 10_000.0 - ADVISORY_SECONDS),
        (ADVISORY_SECONDS + 0.5, 0.5),
        (float(ADVISORY_SECONDS), ADVISORY_PAUSE),
        (MANDATORY_SECONDS + 1.0, ADVISORY_PAUSE),
        (float(MANDATORY_SECONDS), MANDATORY_PAUSE),
        (MANDATORY_PAUSE + 1, MANDATORY_PAUSE),
        (3.0, 3.0),
    ],
)
def test_the_next_renewal_depends_on_the_time_left(expires: float | None, renewal: float) -> None:
    assert next_renewal(expires, 0.0) == renewal
    assert next_renewal(None if expires is None else expires + 1e6, 1e6) == renewal + 1e6


def test_a_failed_renewal_keeps_valid_credentials() -> None:
    clock = Clock()
    source = Fake(OLD, SourceEmpty("gone"), SourceFailed("broken"), RuntimeError("a bug"), SourceEmpty("no more"))
    chain = CredentialChain([source], runtime=Runtime(clock=clock))
    chain.get()
    clock.now = 3600 - ADVISORY_SECONDS
    for loads in (2, 3, 4):
        for _ in range(3):
            assert chain.get() is OLD
            assert source.loads == loads
        clock.now += ADVISORY_PAUSE
    clock.now = 3599.9
    assert chain.get() is OLD
    clock.now = 3600
    error = failure(chain.get)
    assert error.tried == (("fake", "no more"),)
    source.results = [NEW]
    assert chain.get() is NEW


def test_renewal_is_tried_more_often_towards_the_end() -> None:
    """As on an EC2 instance, which returns the same credentials until five minutes before their end."""
    clock, source = Clock(), Fake(OLD)
    chain = CredentialChain([source], runtime=Runtime(clock=clock))
    renewals = []
    for second in range(3600):
        clock.now = float(second)
        before = source.loads
        chain.get()
        if source.loads > before:
            renewals.append(3600 - second)
    assert renewals == [3600, 900, 840, 780, 720, 660, 600, 540, 480, 420, 360, *range(300, 0, -10)]


def test_short_lived_credentials_are_not_loaded_for_each_request() -> None:
    clock, source = Clock(), Fake(OLD.replace(expires=600.0))
    chain = CredentialChain([source], runtime=Runtime(clock=clock))
    for _ in range(100):
        chain.get()
    assert source.loads == 1


def test_renewal_uses_only_the_source_that_had_credentials() -> None:
    clock, first, second = Clock(), Fake(SourceEmpty("not here"), OLD), Fake(OLD, NEW)
    chain = CredentialChain([first, second], runtime=Runtime(clock=clock))
    chain.get()
    clock.now = 3600 - 60
    assert chain.get() is NEW
    assert (first.loads, second.loads) == (1, 2)


def test_a_failed_source_stops_the_search() -> None:
    second = Fake(OLD)
    error = failure(
        CredentialChain([Fake(SourceEmpty("a")), Fake(SourceFailed("b")), second], runtime=Runtime(clock=Clock())).get
    )
    assert error.message == "the AWS credentials cannot be used: fake: b"
    assert error.tried == (("fake", "a"), ("fake", "b"))
    assert not second.loads


def test_an_unexpected_error_passes_through_without_old_credentials() -> None:
    chain = CredentialChain([Fake(RuntimeError("a bug"), OLD)], runtime=Runtime(clock=Clock()))
    with pytest.raises(RuntimeError, match="a bug"):
        chain.get()
    assert chain.get() is OLD  # the lock is free


class Gate(Fake):
    """A source whose loads wait for `open`, except the first `free` ones."""

    def __init__(self, *results: Credentials | Exception, free: int = 1) -> None:
        super().__init__(*results)
        self.free = free
        self.entered = threading.Event()
        self.open = threading.Event()
        self.inside = 0
        self.most = 0

    def load(self) -> Credentials:
        if self.loads < self.free:
            return super().load()
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            self.entered.set()
            assert self.open.wait(20)
            return super().load()
        finally:
            self.inside -= 1


class CountingLock:
    """A lock that records each attempt to acquire it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.attempts: list[bool] = []
        self.release = self.lock.release

    def acquire(self, blocking: bool = True) -> bool:
        self.attempts.append(blocking)
        return self.lock.acquire(blocking)


class Crowd:
    """Threads that all call a chain at the same time."""

    def __init__(self, chain: CredentialChain, size: int) -> None:
        self.lock = chain._lock = CountingLock()  # type: ignore[assignment]
        self.results: list[Credentials | CredentialError] = []
        self.barrier = threading.Barrier(size)
        self.chain = chain
        self.threads = [threading.Thread(target=self.ask, daemon=True) for _ in range(size)]
        for thread in self.threads:
            thread.start()

    def ask(self) -> None:
        self.barrier.wait(20)
        try:
            self.results.append(self.chain.get())
        except CredentialError as error:
            self.results.append(error)

    def join(self) -> list[Credentials | CredentialError]:
        for thread in self.threads:
            thread.join(20)
            assert not thread.is_alive()
        return self.results


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("left", [ADVISORY_SECONDS, 600, MANDATORY_SECONDS, 1])
def test_one_thread_renews_while_the_others_use_the_old_credentials(left: float) -> None:
    clock, source = Clock(), Gate(OLD, NEW)
    chain = CredentialChain([source], runtime=Runtime(clock=clock))
    chain.get()
    clock.now = 3600.0 - left
    crowd = Crowd(chain, 8)
    assert source.entered.wait(20)
    eventually(lambda: len(crowd.results) == 7)  # before the renewal ends
    assert all(result is OLD for result in crowd.results)
    source.open.set()
    results = crowd.join()
    assert sum(result is NEW for result in results) == 1
    assert (source.loads, source.most) == (2, 1)
    assert chain.get() is NEW


def test_all_threads_wait_when_the_credentials_have_expired() -> None:
    clock, source = Clock(), Gate(OLD, NEW)
    chain = CredentialChain([source], runtime=Runtime(clock=clock))
    chain.get()
    clock.now = 3600.0
    crowd = Crowd(chain, 8)
    eventually(lambda: len(crowd.lock.attempts) == 8)
    assert all(crowd.lock.attempts)
    assert not crowd.results
    source.open.set()
    assert all(result is NEW for result in crowd.join())
    assert (source.loads, source.most) == (2, 1)


def test_all_threads_wait_for_the_first_credentials() -> None:
    source = Gate(OLD, free=0)
    crowd = Crowd(CredentialChain([source], runtime=Runtime(clock=Clock())), 8)
    assert source.entered.wait(20)
    source.open.set()
    assert all(result is OLD for result in crowd.join())
    assert source.loads == 1


def test_threads_that_waited_raise_the_same_error() -> None:
    source = Gate(SourceFailed("broken"), free=0)
    chain = CredentialChain([source], runtime=Runtime(clock=Clock()))
    crowd = Crowd(chain, 8)
    eventually(lambda: len(crowd.lock.attempts) == 8)
    source.open.set()
    results = crowd.join()
    assert len(results) == 8
    assert {str(result) for result in results} == {"the AWS credentials cannot be used: fake: broken"}
    assert len({id(result) for result in results}) == 8
    assert source.most == 1
    assert source.loads == 1
    failure(chain.get)  # a later call tries again
    assert source.loads == 2


def test_threads_never_get_expired_credentials() -> None:
    clock, source = Clock(), Fake(*(Credentials(f"K{n}", SECRET, None, (n + 1) * 1000.0) for n in range(100)))
    chain = CredentialChain([source], runtime=Runtime(clock=clock))
    wrong: list[object] = []
    done = [0] * 4
    stop = threading.Event()

    def ask(place: int) -> None:
        while not stop.is_set():
            before = clock.now
            found = chain.get()
            if found.expires is None or found.expires <= before:
                wrong.append((found, before))
            done[place] += 1
            time.sleep(0)

    def reached(goal: list[int]) -> bool:
        return all(number >= wanted for number, wanted in zip(done, goal, strict=True))

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    try:
        for step in range(60):
            clock.now = step * 250.0
            goal = [number + 2 for number in done]
            eventually(partial(reached, goal))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert source.loads <= 17


# The region.


@pytest.mark.parametrize(
    ("environ", "credentials", "config", "region"),
    [
        ({}, "", "", None),
        ({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, "", section("default", region="c"), "a"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "b"}, "", section("default", region="c"), "b"),
        ({}, "", section("default", region="c"), "c"),
        ({}, section("default", region="d"), section("default", region="c"), "d"),
        ({"AWS_PROFILE": "p"}, "", section("default", region="c") + section("profile p", region="e"), "e"),
        ({"AWS_PROFILE": "p"}, key_section("p", KEY), section("profile p", output="json"), None),
        ({"AWS_PROFILE": "p"}, "", section("profile p", region=""), None),
    ],
)
def test_the_region_comes_from_the_environment_or_the_profile(
    environ: dict[str, str], credentials: str, config: str, region: str | None
) -> None:
    places = Places(**environ)
    places.files.update({CREDENTIALS_FILE: credentials, CONFIG_FILE: config})
    assert places.region() == region


def test_the_profile_named_by_the_caller_sets_the_region() -> None:
    places = Places(AWS_PROFILE="p")
    places.files[CONFIG_FILE] = section("profile p", region="a") + section("profile q", region="b")
    assert places.region(profile="q") == "b"
    assert "profile 'r' does not exist" in failure(lambda: places.region(profile="r")).message


def test_an_invalid_file_is_reported_for_the_region() -> None:
    places = Places()
    places.files[CONFIG_FILE] = "SENTINEL"
    assert "~/.aws/config cannot be parsed, line 1" in failure(places.region).message


# Secrets and imports.


def test_no_secret_is_shown() -> None:
    places = Places(**keys(KEY), AWS_CONTAINER_AUTHORIZATION_TOKEN=TOKEN)
    chain = places.chain()
    found = chain.get()
    sources = [*chain._sources, *places.chain()._sources]
    shown = [repr(chain), str(chain), repr(found), str(found), *map(repr, sources), *map(str, sources)]
    assert SENTINEL not in "".join(shown)


def test_the_module_imports_few_modules() -> None:
    program = f"""
import json, sys
before = set(sys.modules)
sys.path.insert(0, {str(SRC)!r})
import os
from aws_backend.dynamodb.credentials import default_chain
default_chain(environ={{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r"}}).get()
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True, timeout=60)
    loaded = set(json.loads(run.stdout)) - {"json", "json.decoder", "json.encoder", "json.scanner", "_json", "re"}
    ours = {name for name in loaded if name.split(".")[0] in ("aws_backend", "sltt_core")}
    assert ours == {
        "aws_backend",
        "aws_backend.dynamodb",
        "aws_backend.dynamodb.credential_documents",
        "aws_backend.dynamodb.credentials",
        "aws_backend.dynamodb.sigv4",
        "sltt_core",
        "sltt_core.base",
        "sltt_core.base.errors",
        "sltt_core.base.forks",
        "sltt_core.base.hashes",
        "sltt_core.base.record",
        "sltt_core.base.runtime",
    }
    assert loaded - ours <= {"__future__", "_blake2", "_hashlib", "hashlib", "_operator", "operator"}
