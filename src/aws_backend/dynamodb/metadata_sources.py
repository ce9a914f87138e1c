"""Credentials that a service on the spot gives: to a container, or to an EC2 instance."""

from __future__ import annotations

from aws_backend.dynamodb.credential_documents import (
    NothingHere,
    SourceBroken,
    from_document,
    is_visible,
    parse_document,
    reason_of,
    variable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aws_backend.dynamodb.credential_documents import ReadText
    from aws_backend.dynamodb.sigv4 import Credentials
    from sltt_core.http_client.transport import HttpResponse, HttpTransport, Origin

    MakeTransport = Callable[[Origin, float], HttpTransport]
    """Makes a transport to an origin, with so many seconds for connecting and for an answer."""

INSTANCE_SECONDS = 1.0
"""For an answer of the instance's metadata, as botocore has it."""
CONTAINER_SECONDS = 2.0
"""For an answer of a container's credentials, as botocore has it."""
ATTEMPTS = 3
"""Requests before a metadata service is given up: those without an answer, or with status 429 or 500 and up."""


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
    ) -> HttpResponse:
        """Return the answer to a request without a body, any but status 429 or 500 and up; raises `SourceBroken`.

        `seconds` is for one attempt. Whether the service `must_be_there` decides whether one that cannot be reached
        is tried again.
        """
        from sltt_core.http_client.transport import BadResponse, ConnectFailed, TransportError

        lines = {"host": origin.authority, "accept": "application/json", "content-length": "0", **headers}
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
                    response = transport.send(request, deadline=self._steady_clock() + seconds, repeatable=True)
                except TransportError as error:
                    # What is no HTTP is quoted in the message, and may be anything.
                    problem = "what answers does not speak HTTP" if isinstance(error, BadResponse) else error.message
                    if isinstance(error, ConnectFailed) and not must_be_there:
                        break
                else:
                    if response.status < 500 and response.status != 429:
                        return response
                    problem = f"it answers with status {response.status}"
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
        relative = variable(self._environ, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        full = variable(self._environ, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
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
        response = self._metadata.ask(origin, "GET", path, headers, CONTAINER_SECONDS, must_be_there=True)
        if response.status != 200:
            raise SourceBroken(f"it answers with status {response.status}")
        return from_document(parse_document(response.body, "its answer"), "Token", temporary=True)

    def _token(self) -> str:
        """Return what to authorise oneself with; a file is read each time, because it changes (EKS)."""
        name = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
        path = variable(self._environ, name)
        if not path:
            name = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
            token = variable(self._environ, name)
            if not token:
                return ""
        else:
            name = f"the file of {name}"
            try:
                token = self._read_text(path).strip()
            except OSError as error:
                raise SourceBroken(f"{name} cannot be read ({reason_of(error)})") from None
            except ValueError:
                token = ""
        if not is_visible(token.replace(" ", "_")):
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
        if variable(self._environ, "AWS_EC2_METADATA_DISABLED").lower() == "true":
            raise NothingHere("AWS_EC2_METADATA_DISABLED is true")
        try:
            return self._load()
        except SourceBroken as error:
            raise NothingHere(str(error)) from None

    def _load(self) -> Credentials:
        name = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
        usual = "http://169.254.169.254"
        if variable(self._environ, f"{name}_MODE").lower() == "ipv6":
            usual = "http://[fd00:ec2::254]"
        origin, base = _split(name, variable(self._environ, name) or usual)
        base = base.rstrip("/")

        def ask(method: str, path: str, headers: Mapping[str, str]) -> str:
            path = f"{base}/latest/{path}"
            response = self._metadata.ask(origin, method, path, headers, INSTANCE_SECONDS, must_be_there=False)
            if response.status != 200:
                raise SourceBroken(f"it answers {method} {path} with status {response.status}")
            return response.body.decode("utf-8", "replace")

        token = ask("PUT", "api/token", {"x-aws-ec2-metadata-token-ttl-seconds": "60"})
        if not is_visible(token):
            raise SourceBroken("it gives something else than a token")
        headers = {"x-aws-ec2-metadata-token": token}
        roles = ask("GET", "meta-data/iam/security-credentials/", headers)
        role = roles.strip().partition("\n")[0].rstrip()
        if not role.isascii() or not role or role.strip(_ROLE):
            raise SourceBroken("it gives something else than a role's name")
        document = parse_document(ask("GET", f"meta-data/iam/security-credentials/{role}", headers), "its answer")
        code = document.get("Code", "Success")
        if code != "Success":
            known = code if isinstance(code, str) and code.isalpha() and len(code) < 64 else "another Code than Success"
            raise SourceBroken(f"it has no keys for the instance's role: {known}")
        return from_document(document, "Token", temporary=True)


_ROLE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-"
"""The characters of a role's name (AWS: "IAM and AWS STS quotas")."""


def _split(name: str, url: str) -> tuple[Origin, str]:
    """Take the URL of a variable apart; raises `SourceBroken`."""
    from sltt_core.http_client.transport import parse_origin

    scheme, _, rest = url.partition("://")
    length = min(at for at in (rest.find("/"), rest.find("?"), len(rest)) if at >= 0)
    path = rest[length:]
    try:
        origin = parse_origin(f"{scheme}://{rest[:length]}")
    except ValueError:
        origin = None
    if origin is None or not is_visible(url) or "#" in url:
        raise SourceBroken(f"{name} is no URL that can be asked")
    return origin, path if path.startswith("/") else f"/{path}"


def make_transport(origin: Origin, seconds: float) -> HttpTransport:
    """Make the transport that metadata services are asked over; see `MakeTransport`."""
    from sltt_core.http_client.transport import HttpTransport

    return HttpTransport(origin, connect_seconds=seconds, read_seconds=seconds, max_body=100_000)
